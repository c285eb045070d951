"""Create the database if the server lacks it, and its tables: ``python scripts/init_db.py [--env=production]``.

Exit code 0: it is there and current; 1: it is not, and the message says why.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import sqlalchemy as sa

from config import ConfigurationError
from repositories.schema import SchemaError
from scripts.migrate import migrate, parser, settings_of


def create_database(url: sa.URL) -> bool:
    """Create the database of ``url`` on its server; whether it was missing. SQLite's file makes itself."""
    backend = url.get_backend_name()
    if backend == "sqlite" or _exists(url):
        return False
    engine = sa.create_engine(
        url.set(database="postgres" if backend == "postgresql" else ""),
        poolclass=sa.NullPool,
        isolation_level="AUTOCOMMIT",
    )
    charset = "" if backend == "postgresql" else " CHARACTER SET utf8mb4"
    with engine.connect() as connection:
        name = engine.dialect.identifier_preparer.quote(url.database or "")
        connection.exec_driver_sql(f"CREATE DATABASE {name}{charset}")
    return True


def _exists(url: sa.URL) -> bool:
    try:
        with sa.create_engine(url, poolclass=sa.NullPool).connect():
            return True
    except sa.exc.OperationalError as error:
        if "does not exist" in str(error.orig) or "Unknown database" in str(error.orig):
            return False
        raise


def main() -> int:
    """Run the command."""
    try:
        settings = settings_of(parser(__doc__).parse_args())
        url = sa.make_url(settings.database_url)
        if create_database(url):
            print(f"Created the database {url.database}.")
        migrate(settings)
    except (ConfigurationError, SchemaError, OSError, sa.exc.SQLAlchemyError) as error:
        print(getattr(error, "orig", None) or error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
