"""The database's schema: brought up to date by one process at a time, or refused."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
import structlog
from sqlalchemy import exc

from domain.errors import AppError

log = structlog.get_logger()

_LOCK_KEY = 0x756E6963  # PostgreSQL's advisory locks are numbers: "unic"
_LOCK_WAIT_S = 600


class SchemaError(AppError):
    """The schema is not the one that this version needs; the message says what to do."""

    code = "schema_error"


def ensure_schema(url: str, migrations: Path, *, migrate: bool) -> None:
    """Return once the schema is current. Raises :class:`SchemaError` if it is not and ``migrate`` is false."""
    newest = revisions(migrations)[-1]
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        if current_revision(engine) == newest:
            return
        if not migrate:
            raise SchemaError("The database schema is not up to date: run `python scripts/migrate.py` first.")
        with migration_lock(engine):
            if current_revision(engine) != newest:  # another node may have done it while we waited
                _upgrade(engine, migrations)
    except exc.SQLAlchemyError as error:
        raise SchemaError(
            f"The database cannot be prepared: {_reason(error)}\n"
            "Check DATABASE_URL, that the server runs, and that its user may create tables. "
            "Then start again: a migration that stopped half-way goes on from where it stopped."
        ) from error
    finally:
        engine.dispose()


def revisions(migrations: Path) -> list[str]:
    """Every revision of this version, oldest first: the numbers that the files in ``versions`` begin with."""
    return sorted(file.name.partition("_")[0] for file in (migrations / "versions").glob("[0-9]*_*.py"))


def current_revision(engine: sa.Engine) -> str | None:
    """The revision that the database is at; None if it is empty. Without Alembic: 12 MB, and seldom needed."""
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return revision


def _upgrade(engine: sa.Engine, migrations: Path) -> None:
    from alembic import command  # noqa: PLC0415  # see current_revision
    from alembic.config import Config  # noqa: PLC0415

    before, known = current_revision(engine), revisions(migrations)
    if before is not None and before not in known:
        raise SchemaError(
            f"The database is at revision {before}, which this version does not know: a newer version has migrated it. "
            "Start that version, or restore the backup from before."
        )
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["url"] = engine.url
    command.upgrade(config, "head")
    log.info("schema_migrated", before=before, after=known[-1])


def _reason(error: exc.SQLAlchemyError) -> str:
    """What the driver said, without SQLAlchemy's additions (and never the URL, which holds a password)."""
    return str(error.orig if isinstance(error, exc.DBAPIError) else error).strip()


@contextlib.contextmanager
def migration_lock(engine: sa.Engine) -> Iterator[None]:
    """Hold the one lock under which the schema may change; a crash frees it."""
    match engine.dialect.name:
        case "sqlite":
            with open(f"{engine.url.database}.migrate.lock", "w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        case "postgresql":
            # Outside a transaction: an open one would make some of the migration's own statements wait for ever.
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql(f"SET lock_timeout = '{_LOCK_WAIT_S}s'")
                connection.execute(sa.select(sa.func.pg_advisory_lock(_LOCK_KEY)))
                yield
        case _:
            # MySQL's locks belong to the server, not to the database: the name has to tell.
            with engine.connect() as connection:
                name = sa.func.concat("unichat_", sa.func.md5(sa.func.database()))
                if not connection.scalar(sa.select(sa.func.get_lock(name, _LOCK_WAIT_S))):
                    raise SchemaError("Another process has been migrating for ten minutes; look at it, then try again.")
                yield
