"""Bring the database's schema up to date: ``python scripts/migrate.py [--env=production]``.

The step of a deployment that runs once, before nodes with AUTO_MIGRATE=false start. Several at once do no harm:
one migrates, the others wait for it. Exit code 0: the schema is current; 1: it is not, and the message says why.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import sqlalchemy as sa  # noqa: E402  # after the path

from config import ConfigurationError, Settings, load_settings  # noqa: E402
from repositories.schema import SchemaError, current_revision, ensure_schema  # noqa: E402


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings of ``--env=<name>``: those of the file ``.env.<name>``, without it those of ``.env``."""
    if not arguments.env:
        return load_settings()
    file = Path(f".env.{arguments.env}")
    if not file.exists():
        raise ConfigurationError(f"--env={arguments.env}: there is no file {file}")
    return load_settings(_env_file=file)


def migrate(settings: Settings) -> None:
    """Migrate, and print what happened. Raises :class:`SchemaError`."""
    settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(settings.database_url, poolclass=sa.NullPool)
    place = engine.url.render_as_string(hide_password=True)
    ensure_schema(settings.database_url, ROOT / "migrations", migrate=True)
    print(f"{place}: the schema is current, at revision {current_revision(engine)}.")


def parser(description: str | None) -> argparse.ArgumentParser:
    """The command line that the database scripts share."""
    result = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    result.add_argument("--env", metavar="NAME", help="read the settings from .env.NAME instead of .env")
    return result


def main() -> int:
    """Run the command."""
    try:
        migrate(settings_of(parser(__doc__).parse_args()))
    except (ConfigurationError, SchemaError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
