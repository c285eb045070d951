"""Transactions: dead connections cost nobody an error, locks are waited for, and what is not committed never was."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import sqlalchemy as sa

from domain.errors import Conflict, Unavailable
from models import StampEntity
from repositories.database import Database, engine_options
from repositories.plain import PlainConnection
from repositories.prepared import Prepared
from repositories.unit_of_work import unit_of_work_on
from tests.servers import DATABASE_SERVERS, DatabaseServer, Servers

NAME = "routes"
ADD = Prepared(sa.insert(cast("sa.Table", StampEntity.__table__)))


def open_database(url: str) -> Database:
    return Database(sa.create_engine(url, **engine_options(url, 2)))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = open_database(database_url)
    yield database
    database.engine.dispose()


@pytest.fixture(params=DATABASE_SERVERS)
def own_server(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    server = DATABASE_SERVERS[request.param]()
    yield server
    server.close()


def number(database: Database) -> int:
    with unit_of_work_on(database)(writes=False) as uow:
        return uow.stamps.read(NAME)


@pytest.mark.parametrize("brief", [False, True])
def test_only_what_is_committed_stays(database: Database, *, brief: bool) -> None:
    unit_of_work, before = unit_of_work_on(database), number(database)

    with unit_of_work(brief=brief) as uow:
        uow.stamps.move(NAME)
    with unit_of_work(brief=brief) as uow:
        uow.stamps.move(NAME)
        uow.commit()
        uow.stamps.move(NAME)

    assert number(database) == before + 1


def test_one_unit_of_work_may_commit_more_than_once(database: Database) -> None:
    before = number(database)

    with unit_of_work_on(database)() as uow:
        for _ in range(2):
            uow.stamps.move(NAME)
            uow.commit()

    assert number(database) == before + 2


def test_entities_that_were_changed_are_written_with_the_commit(database: Database) -> None:
    with unit_of_work_on(database)() as uow:
        stamp = uow._session.get(StampEntity, NAME)
        assert stamp is not None
        stamp.number = 4711
        uow.commit()

    assert number(database) == 4711


def test_a_commit_that_fails_leaves_no_transaction_open(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    before = number(database)

    def fail(*_: object) -> None:
        raise database.engine.dialect.loaded_dbapi.OperationalError("out of order")

    with monkeypatch.context() as patch, pytest.raises(Unavailable), unit_of_work_on(database)() as uow:
        uow.stamps.move(NAME)
        patch.setattr(database.engine.dialect, "do_commit", fail)
        uow.commit()

    for _ in range(3):
        with unit_of_work_on(database)() as uow:  # nobody waits for a lock of the first one
            uow.stamps.move(NAME)
            uow.commit()
    assert number(database) == before + 3


def test_what_is_taken_is_a_conflict(database: Database) -> None:
    row = {"name": NAME, "number": 1}
    for rows in (row, [row, row | {"name": "another"}]):
        with pytest.raises(Conflict), database.transaction(writes=True) as connection:
            ADD.on(PlainConnection(connection), rows)

    assert number(database) != 1


def test_a_server_that_goes_away_in_the_middle_is_unavailable(own_server: DatabaseServer) -> None:
    database = open_database(own_server.migrated_database())
    with pytest.raises(Unavailable), database.transaction(writes=True) as connection:
        plain = PlainConnection(connection)
        own_server.stop()
        ADD.on(plain, {"name": "another", "number": 1})
    own_server.start()

    assert number(database) >= 0

    database.engine.dispose()


def test_a_connection_whose_answer_nobody_waited_for_is_not_used_again(own_server: DatabaseServer) -> None:
    database = open_database(own_server.migrated_database())

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), database.transaction(writes=True) as connection:
        plain, driver = PlainConnection(connection), connection.connection.dbapi_connection
        plain._driver = SimpleNamespace(cursor=lambda: SimpleNamespace(execute=interrupt))
        ADD.on(plain, {"name": "another", "number": 1})

    with database.transaction(writes=False) as connection:
        assert connection.connection.dbapi_connection is not driver
    database.engine.dispose()


def test_a_server_that_was_restarted_costs_nobody_an_error(own_server: DatabaseServer) -> None:
    database = open_database(own_server.migrated_database())
    with database.transaction(writes=False), database.transaction(writes=False) as second:
        second.execute(sa.text("SELECT 1"))
    own_server.stop()
    own_server.start()

    for _ in range(4):
        database.ping()

    database.engine.dispose()


def test_a_connection_that_the_server_has_ended_costs_nobody_an_error(servers: Servers) -> None:
    server = servers.database("mariadb")
    url = server.empty_database()
    database, other = open_database(url), open_database(url)
    with database.transaction(writes=False) as connection:
        number = connection.scalar(sa.text("SELECT CONNECTION_ID()"))
    with other.transaction(writes=False) as connection:
        connection.execute(sa.text(f"KILL {number}"))
    time.sleep(0.1)

    database.ping()

    for one in (database, other):
        one.engine.dispose()
    server.drop(url)


@pytest.fixture
def file(servers: Servers, tmp_path: Path) -> Path:
    path = tmp_path / "unichat.db"
    servers.migrated_sqlite(path)
    return path


@pytest.mark.parametrize("brief", [False, True])
def test_a_lock_of_another_process_is_waited_for(file: Path, *, brief: bool) -> None:
    database = open_database(f"sqlite:///{file}")
    holder = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    threading.Timer(0.5, lambda: holder.execute("ROLLBACK")).start()
    asked_at = time.monotonic()

    with unit_of_work_on(database)(brief=brief) as uow:
        uow.stamps.move(NAME)
        uow.commit()

    assert time.monotonic() - asked_at > 0.4
    database.engine.dispose()
    holder.close()


def test_a_lock_that_is_not_given_back_is_not_waited_for_without_end(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repositories.sqlite._PATIENCE_MS", 100)
    database = open_database(f"sqlite:///{file}")
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    for brief in (True, False, True):
        with pytest.raises(Unavailable), unit_of_work_on(database)(brief=brief):
            pass

    holder.execute("ROLLBACK")
    with unit_of_work_on(database)(brief=True) as uow:
        uow.stamps.move(NAME)
        uow.commit()
    database.engine.dispose()
    holder.close()
