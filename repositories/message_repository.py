"""Messages of a session: the chosen branch and its alternatives."""

from sqlalchemy.orm import Session


class MessageRepository:
    """Queries on messages; every one has the owner in its WHERE."""

    def __init__(self, session: Session) -> None:
        self._session = session
