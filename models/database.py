"""The one database module: Flask-SQLAlchemy's registry, naming rules, and column types for three databases."""

from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, mapped_column


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An aware UTC time with microseconds, also where the database knows no time zones."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """The column's type at one database."""
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(sa.DateTime(timezone=dialect.name == "postgresql"))

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """A time on its way into the database."""
        if value is None or dialect.name == "postgresql":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002  # theirs
        """A time on its way out."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _ascii(length: int) -> sa.types.TypeEngine[str]:
    """Identifiers and codes: compared byte by byte, one byte a character in MySQL's indices."""
    binary = mysql.VARCHAR(length, charset="ascii", collation="ascii_bin")
    return sa.String(length).with_variant(binary, "mysql", "mariadb")


# MySQL's TEXT ends at 64 KiB; an answer may not.
LongText = sa.Text().with_variant(mysql.LONGTEXT(collation="utf8mb4_unicode_ci"), "mysql", "mariadb")

# Compared character by character: MySQL's usual collations take é for e, and so one person for another.
ExactText = sa.String(255).with_variant(mysql.VARCHAR(255, collation="utf8mb4_bin"), "mysql", "mariadb")

Id = Annotated[str, mapped_column(_ascii(40))]
Code = Annotated[str, mapped_column(_ascii(64))]


class Base(DeclarativeBase):
    """Base of every entity. Named constraints, so that every database can drop them again."""

    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy's own class attribute, never changed
        datetime: UtcDateTime(),
        str: sa.String(255),
    }


db = SQLAlchemy(metadata=Base.metadata)
