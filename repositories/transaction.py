"""One transaction, as repositories use it."""

from functools import cached_property

import sqlalchemy as sa
from sqlalchemy.orm import Session

from repositories.plain import PlainConnection


class Transaction:
    """A connection, plain for what every request does; and the ORM's session over it for those who ask."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.plain = PlainConnection(connection)

    @cached_property
    def session(self) -> Session:
        """For repositories that read and write entities."""
        return Session(self.connection, expire_on_commit=False, autoflush=False, join_transaction_mode="control_fully")

    def commit(self) -> None:
        """Make everything so far permanent."""
        if "session" in self.__dict__:
            self.session.commit()  # what was changed in entities comes first
        self.connection.commit()

    def close(self) -> None:
        """Let entities go. The connection is for who has opened it to close."""
        if "session" in self.__dict__:
            self.session.close()
