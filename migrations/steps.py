"""Steps of a migration that can be repeated.

MySQL commits each DDL statement by itself, so a migration that dies half-way leaves what it has done behind. These
steps look before they act: running the migration again does what is missing.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from models.database import UtcDateTime


def ascii_text(length: int) -> sa.types.TypeEngine[str]:
    """Text of identifiers and codes, compared byte by byte."""
    return sa.String(length).with_variant(
        mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), "mysql", "mariadb"
    )


def exact_text(length: int) -> sa.types.TypeEngine[str]:
    """Text of people that is compared character by character."""
    return sa.String(length).with_variant(mysql.VARCHAR(length, collation="utf8mb4_bin"), "mysql", "mariadb")


def long_text() -> sa.types.TypeEngine[str]:
    """Text without a practical limit."""
    return sa.Text().with_variant(mysql.LONGTEXT(collation="utf8mb4_unicode_ci"), "mysql", "mariadb")


ID = ascii_text(40)
CODE = ascii_text(64)
NAME = sa.String(255)
LONG_TEXT = long_text()
TIME = UtcDateTime()
_STAMPS = sa.table("stamps", sa.column("name", CODE), sa.column("number", sa.BigInteger))


def required(name: str, kind: Any) -> sa.Column[Any]:
    """A column that always has a value."""
    return sa.Column(name, kind, nullable=False)


def optional(name: str, kind: Any) -> sa.Column[Any]:
    """A column that may be NULL."""
    return sa.Column(name, kind, nullable=True)


def create_table(name: str, *parts: Any) -> None:
    """Create the table unless it is there: with its columns and constraints it is one statement, so it is complete."""
    if name not in _look().get_table_names():
        op.create_table(name, *parts, mysql_engine="InnoDB", mysql_charset="utf8mb4")


def add_stamp(name: str) -> None:
    """Add a row to ``stamps`` unless it is there: a name for something that nodes keep in memory."""
    if op.get_bind().scalar(sa.select(_STAMPS.c.number).where(_STAMPS.c.name == name)) is None:
        op.get_bind().execute(sa.insert(_STAMPS).values(name=name, number=0))


def drop_stamp(name: str) -> None:
    """Drop the row if it is there."""
    op.get_bind().execute(sa.delete(_STAMPS).where(_STAMPS.c.name == name))


def drop_table(name: str) -> None:
    """Drop the table if it is there."""
    if name in _look().get_table_names():
        op.drop_table(name)


def create_index(table: str, *columns: str) -> None:
    """Create the index, named as ``models.database.Base`` names it, unless it is there."""
    name = _index_name(table, columns)
    if name not in _index_names(table):
        op.create_index(name, table, list(columns))


def drop_index(table: str, *columns: str) -> None:
    """Drop the index if it is there."""
    name = _index_name(table, columns)
    if name in _index_names(table):
        op.drop_index(name, table)


def add_column(table: str, column: sa.Column[Any]) -> None:
    """Add the column unless it is there. Rows exist: it needs a server default, or to be nullable."""
    if column.name not in _column_names(table):
        op.add_column(table, column)


def drop_column(table: str, name: str) -> None:
    """Drop the column if it is there."""
    if name in _column_names(table):
        op.drop_column(table, name)


def _look() -> sa.Inspector:
    return sa.inspect(op.get_bind())  # a new one each time: it remembers what it has seen


def _index_name(table: str, columns: tuple[str, ...]) -> str:
    return f"ix_{table}_{'_'.join(columns)}"


def _index_names(table: str) -> set[str | None]:
    return {index["name"] for index in _look().get_indexes(table)}


def _column_names(table: str) -> set[str]:
    return {column["name"] for column in _look().get_columns(table)}
