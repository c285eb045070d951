"""The schema: migrated under a lock, equal to the entities, and healed after a migration that stopped half-way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import models
from repositories.schema import SchemaError, current_revision, ensure_schema, revisions
from tests.servers import MIGRATIONS, ROOT


def alembic_config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url
    return config


def engine_on(url: str) -> sa.Engine:
    return sa.create_engine(url, poolclass=sa.NullPool)


def differences(url: str) -> list[object]:
    with engine_on(url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, models.db.metadata))


def tables(url: str) -> set[str]:
    return set(sa.inspect(engine_on(url)).get_table_names())


def run_script(name: str, *arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / name), *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_revisions_are_a_line_in_the_order_of_their_file_names() -> None:
    script = ScriptDirectory(str(MIGRATIONS))
    line = [revision.revision for revision in script.walk_revisions()]

    assert revisions(MIGRATIONS) == list(reversed(line))


def test_migrations_make_exactly_what_the_entities_say(empty_database_url: str) -> None:
    ensure_schema(empty_database_url, MIGRATIONS, migrate=True)

    assert differences(empty_database_url) == []


def test_migrations_can_be_undone_and_done_again(empty_database_url: str) -> None:
    ensure_schema(empty_database_url, MIGRATIONS, migrate=True)

    command.downgrade(alembic_config(empty_database_url), "base")
    assert tables(empty_database_url) <= {"alembic_version"}
    ensure_schema(empty_database_url, MIGRATIONS, migrate=True)

    assert differences(empty_database_url) == []


@pytest.mark.parametrize("survivors", [1, 4])
def test_a_migration_that_stopped_half_way_goes_on(empty_database_url: str, survivors: int) -> None:
    ensure_schema(empty_database_url, MIGRATIONS, migrate=True)
    engine = engine_on(empty_database_url)
    with engine.begin() as connection:
        for table in list(reversed(models.db.metadata.sorted_tables))[:-survivors]:
            table.drop(connection)
        connection.exec_driver_sql("DELETE FROM alembic_version")

    ensure_schema(empty_database_url, MIGRATIONS, migrate=True)

    assert differences(empty_database_url) == []


def test_a_schema_that_is_behind_is_refused_where_migrations_are_a_step_of_their_own(empty_database_url: str) -> None:
    with pytest.raises(SchemaError, match=r"scripts/migrate\.py"):
        ensure_schema(empty_database_url, MIGRATIONS, migrate=False)

    assert tables(empty_database_url) == set()


def test_a_schema_of_a_newer_version_is_refused(database_url: str) -> None:
    with engine_on(database_url).begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(SchemaError, match="a newer version has migrated it"):
        ensure_schema(database_url, MIGRATIONS, migrate=True)


def test_an_unreachable_database_is_explained_without_its_password() -> None:
    with pytest.raises(SchemaError, match="Check DATABASE_URL") as error:
        ensure_schema("postgresql+psycopg://root:secret@127.0.0.1:1/unichat", MIGRATIONS, migrate=True)

    assert "secret" not in error.value.message


def test_the_migrate_script_says_what_it_did(empty_database_url: str, tmp_path: Path) -> None:
    (tmp_path / ".env.production").write_text(f"DATABASE_URL={empty_database_url}\nDATA_DIR={tmp_path}\n")

    result = run_script("migrate.py", "--env=production", folder=tmp_path)

    assert (result.returncode, result.stderr.count("Traceback")) == (0, 0)
    assert f"at revision {revisions(MIGRATIONS)[-1]}" in result.stdout
    assert current_revision(engine_on(empty_database_url)) == revisions(MIGRATIONS)[-1]


@pytest.mark.parametrize("script", ["migrate.py", "init_db.py"])
def test_the_database_scripts_fail_with_a_reason(script: str, tmp_path: Path) -> None:
    absent = run_script(script, "--env=absent", folder=tmp_path)
    unreachable = run_script(script, folder=tmp_path, DATABASE_URL="mysql://root:secret@127.0.0.1:1/unichat")

    assert (absent.returncode, absent.stderr) == (1, "--env=absent: there is no file .env.absent\n")
    assert unreachable.returncode == 1
    assert "Traceback" not in unreachable.stderr
    assert "127.0.0.1" in unreachable.stderr
    assert "secret" not in unreachable.stderr


def test_init_db_creates_the_database_too(empty_database_url: str, database_kind: str, tmp_path: Path) -> None:
    url = sa.make_url(empty_database_url)
    if database_kind != "sqlite":
        url = url.set(database=f"{url.database}_new")
    environment = {"DATABASE_URL": url.render_as_string(hide_password=False), "DATA_DIR": str(tmp_path)}

    first = run_script("init_db.py", folder=tmp_path, **environment)
    second = run_script("init_db.py", folder=tmp_path, **environment)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert ("Created the database" in first.stdout) == (database_kind != "sqlite")
    assert "Created the database" not in second.stdout
    assert "the schema is current" in second.stdout
