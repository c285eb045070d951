"""The database's own clock, which all nodes share: theirs may differ by more than a lease lasts."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from models.database import UtcDateTime


class DatabaseTime(FunctionElement[Any]):
    """The moment at which the database executes the statement, and ``later`` by so much."""

    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, later: timedelta = timedelta()) -> None:
        super().__init__(sa.literal(later.total_seconds(), sa.Double()))


@compiles(DatabaseTime, "sqlite")
def _sqlite(element: DatabaseTime, compiler: Any, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    # It writes milliseconds, and the column has six digits.
    return f"strftime('%Y-%m-%d %H:%M:%f', 'now', {seconds} || ' seconds') || '000'"


@compiles(DatabaseTime, "mysql")
@compiles(DatabaseTime, "mariadb")
def _mysql(element: DatabaseTime, compiler: Any, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"(UTC_TIMESTAMP(6) + INTERVAL {seconds} SECOND)"


@compiles(DatabaseTime, "postgresql")
def _postgresql(element: DatabaseTime, compiler: Any, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"(clock_timestamp() + make_interval(secs => {seconds}))"
