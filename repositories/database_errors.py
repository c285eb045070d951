"""Where the database's errors become ours."""

import sqlite3

from sqlalchemy import exc

from domain.errors import AppError, Conflict, InvalidInput, StorageFull, Unavailable

_SQLITE_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}
_MYSQL_FULL = {1021, 1026, 1114}  # ER_DISK_FULL, ER_ERROR_ON_WRITE, ER_RECORD_FILE_FULL
_MYSQL_ENGINE = 1030  # ER_GET_ERRNO, with the system's own number in its text
_MYSQL_DEADLOCK = 1213
_POSTGRESQL_FULL = "53100"
_POSTGRESQL_DEADLOCK = {"40P01", "40001"}  # a serialization failure too


def mapped(error: exc.SQLAlchemyError) -> AppError | exc.SQLAlchemyError:
    """Our error for a database error; programming errors stay what they are."""
    if isinstance(error, exc.DBAPIError) and _is_of_full_disk(error.orig):
        return storage_full()
    return _by_class(error)


def _by_class(error: exc.SQLAlchemyError) -> AppError | exc.SQLAlchemyError:
    match error:
        case exc.IntegrityError():
            return Conflict("This is already taken, or was changed by somebody else at the same moment.")
        case exc.DataError():
            return InvalidInput("A value does not fit its field.")
        case exc.OperationalError() | exc.InterfaceError() | exc.InternalError() | exc.TimeoutError():
            return Unavailable("The database is not available.", "database_unavailable")
        case exc.ProgrammingError() | exc.NotSupportedError() if not error.connection_invalidated:
            return error
        case exc.DBAPIError() | exc.DisconnectionError():  # a broken file, or what a driver calls by no better name
            return Unavailable("The database is not available.", "database_unavailable")
    return error


def is_deadlock(error: BaseException | None) -> bool:
    """Whether the transaction was given up for another one's sake, and may be repeated at once."""
    if not isinstance(error, exc.DBAPIError) or error.orig is None:
        return False
    return getattr(error.orig, "sqlstate", None) in _POSTGRESQL_DEADLOCK or error.orig.args[:1] == (_MYSQL_DEADLOCK,)


def storage_full() -> StorageFull:
    """The database's disk is full."""
    return StorageFull("The disk of the database is full: nothing can be stored until there is room again.")


def kind_of(error: exc.SQLAlchemyError, found: Unavailable) -> str:
    """Its name in the metrics."""
    if isinstance(found, StorageFull):
        return "storage_full"
    return "pool_timeout" if isinstance(error, exc.TimeoutError) else "unavailable"


def _is_of_full_disk(error: BaseException | None) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) in _SQLITE_FULL
    if getattr(error, "sqlstate", None) == _POSTGRESQL_FULL:
        return True
    match error and error.args:
        case (int(number), *_) if number in _MYSQL_FULL:
            return True
        case (int(number), str(text), *_):
            return number == _MYSQL_ENGINE and "error 28 " in f"{text} "
    return False
