"""The database's schema: brought up to date by one process at a time, or refused."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import exc

from domain.errors import AppError

_LOCK_NAME = "unichat_migrate"
_LOCK_KEY = 0x756E6963  # PostgreSQL's advisory locks are numbers: "unic"
_LOCK_WAIT_S = 600


class SchemaError(AppError):
    """The schema is not the one that this version needs; the message says what to do."""

    code = "schema_error"


def ensure_schema(url: str, migrations: Path, *, migrate: bool) -> None:
    """Return once the schema is current. Raises :class:`SchemaError` if it is not and ``migrate`` is false."""
    config = _config(url, migrations)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        if _is_current(engine, config):
            return
        if not migrate:
            raise SchemaError("The database schema is not up to date: run `python scripts/migrate.py` first.")
        with migration_lock(engine):
            if not _is_current(engine, config):  # another node may have done it while we waited
                command.upgrade(config, "head")
    except exc.SQLAlchemyError as error:
        raise SchemaError(
            f"The database cannot be prepared: {error}. Check DATABASE_URL and that the server runs; "
            "nothing is lost, and starting again repeats the migration from where it stopped."
        ) from error
    finally:
        engine.dispose()


def _config(url: str, migrations: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.attributes["url"] = url
    return config


def _is_current(engine: sa.Engine, config: Config) -> bool:
    heads = set(ScriptDirectory.from_config(config).get_heads())
    with engine.connect() as connection:
        return set(MigrationContext.configure(connection).get_current_heads()) == heads


@contextlib.contextmanager
def migration_lock(engine: sa.Engine) -> Iterator[None]:
    """Hold the one lock under which the schema may change; a crash frees it."""
    match engine.dialect.name:
        case "sqlite":
            with open(f"{engine.url.database}.migrate.lock", "w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        case "postgresql":
            with engine.connect() as connection:
                connection.execute(sa.select(sa.func.pg_advisory_lock(_LOCK_KEY)))
                yield
        case _:
            with engine.connect() as connection:
                got = connection.scalar(sa.select(sa.func.get_lock(_LOCK_NAME, _LOCK_WAIT_S)))
                if not got:
                    raise SchemaError("Another process has been migrating for ten minutes; look at it, then try again.")
                yield
