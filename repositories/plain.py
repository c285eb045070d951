"""Prepared statements on the driver's own connection: for a short one, what SQLAlchemy does around it is half."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from repositories.prepared import Result


class PlainConnection:
    """The driver's connection under one of SQLAlchemy's, in its transaction. Its errors are SQLAlchemy's."""

    def __init__(self, connection: sa.Connection) -> None:
        self.dialect = connection.dialect
        self._connection = connection
        self._driver: Any = connection.connection.dbapi_connection

    def exec_driver_sql(self, statement: str, parameters: Any = (), /) -> Result:
        """Execute it; with a list of parameters, once for each. Rows come as the driver gives them."""
        cursor: Any = self._driver.cursor()
        try:
            if isinstance(parameters, list):
                cursor.executemany(statement, parameters)
            else:
                cursor.execute(statement, parameters)
        except self.dialect.loaded_dbapi.Error as error:
            raise self._wrapped(error, statement, cursor) from error
        except BaseException:  # nobody knows what the server was about to say
            self._connection.invalidate()
            raise
        result: Result = cursor
        return result

    def _wrapped(self, error: Any, statement: str, cursor: Any) -> BaseException:
        dialect = self.dialect
        is_gone = dialect.is_disconnect(error, self._driver, cursor)
        if is_gone:
            self._connection.invalidate(error)
        wrapped: BaseException = exc.DBAPIError.instance(
            statement, None, error, dialect.loaded_dbapi.Error, connection_invalidated=is_gone, dialect=dialect
        )
        return wrapped
