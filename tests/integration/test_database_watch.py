"""The database's watch: it tells a server that hangs from one that is only slow or full."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa
import trustme
from flask_openapi import OpenAPI

from domain.errors import Unavailable
from models import db
from repositories.database import Database, engine_options
from repositories.mysql import QuickConnection
from tests.actors import refused, set_up
from tests.chats import eventually
from tests.conftest import AppFactory
from tests.servers import DATABASE_SERVERS, DatabaseServer, Servers

SLEEP = {"mariadb": "SELECT SLEEP(4)", "postgresql": "SELECT pg_sleep(4)"}
Connect = Callable[[DatabaseServer], Database]


@pytest.fixture(params=DATABASE_SERVERS)
def database_kind(request: pytest.FixtureRequest) -> str:
    """Each kind of server in turn."""
    return str(request.param)


@pytest.fixture
def connect() -> Iterator[Connect]:
    with ExitStack() as cleanup:

        def connect(server: DatabaseServer) -> Database:
            url = server.empty_database()
            engine = sa.create_engine(url, **engine_options(url, 2))
            cleanup.callback(engine.dispose)
            return Database(engine)

        yield connect


@pytest.fixture
def own_server(database_kind: str) -> Iterator[DatabaseServer]:
    """One that may be frozen."""
    server = DATABASE_SERVERS[database_kind]()
    yield server
    server.thaw()
    server.close()


def watchers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "database-watch"}


def test_a_long_statement_may_take_its_time(servers: Servers, connect: Connect, database_kind: str) -> None:
    database = connect(servers.database(database_kind))

    with database.transaction(writes=False) as session:
        assert session.scalar(sa.text(SLEEP[database_kind])) in (0, "")
        assert session.scalar(sa.text("SELECT 1")) == 1


def test_who_waits_for_a_frozen_server_is_sent_away(own_server: DatabaseServer, connect: Connect) -> None:
    database = connect(own_server)
    database.ping()
    with database.transaction(writes=False) as session:
        session.execute(sa.text("SELECT 1"))
        own_server.freeze()
        asked_at = time.monotonic()
        with pytest.raises(sa.exc.OperationalError):  # in the middle of a transaction, as the driver says it
            session.execute(sa.text("SELECT 2"))
        assert time.monotonic() - asked_at < 10  # a driver alone waits for 15

    asked_at = time.monotonic()
    for _ in range(20):
        with pytest.raises(Unavailable):
            database.ping()
    assert time.monotonic() - asked_at < 1
    own_server.thaw()

    def works() -> bool:
        try:
            database.ping()
        except Unavailable:
            return False
        return True

    assert eventually(works)


def test_a_server_that_refuses_is_not_taken_for_one_that_hangs(own_server: DatabaseServer, connect: Connect) -> None:
    database = connect(own_server)
    database.ping()
    own_server.stop()
    for _ in range(3):
        with pytest.raises(Unavailable):
            database.ping()

    own_server.start()

    database.ping()


def test_a_full_pool_is_waited_for_three_seconds(make_app: AppFactory, database_url: str) -> None:
    app: OpenAPI = make_app(DATABASE_URL=database_url, DATABASE_POOL_SIZE=1)
    admin = set_up(app)
    with app.app_context(), db.engine.connect():
        asked_at = time.monotonic()
        response = admin.get("/api/v1/sessions")
        waited_s = time.monotonic() - asked_at

    refused(response, 503, "database_unavailable")
    assert response.headers["Retry-After"]
    assert 2 < waited_s < 10
    assert admin.get("/api/v1/sessions").status_code == 200


def test_the_watch_ends_with_its_engine(servers: Servers, connect: Connect, database_kind: str) -> None:
    database, before = connect(servers.database(database_kind)), watchers()
    database.ping()
    (watcher,) = watchers() - before

    database.engine.dispose()

    watcher.join(10)
    assert not watcher.is_alive()
    database.ping()
    assert len(watchers() - before) == 1


def test_connections_to_mysql_are_as_the_driver_makes_them(servers: Servers) -> None:
    url = sa.make_url(servers.database("mariadb").empty_database())
    options = {"host": "127.0.0.1", "port": url.port, "user": "root"}

    def cipher(connection: Any) -> object:
        with connection, connection.cursor() as cursor:
            cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
            return cursor.fetchone()

    assert cipher(QuickConnection(**options)) == cipher(pymysql.connect(**options))


def test_certificates_are_read_only_where_they_are_needed(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca))
    one, two = QuickConnection(defer_connect=True), QuickConnection(defer_connect=True)
    careful = QuickConnection(defer_connect=True, ssl_verify_identity=True, ssl_ca=str(ca))

    assert one.ctx is two.ctx
    assert (one.ctx.verify_mode, careful.ctx.verify_mode) == (ssl.CERT_NONE, ssl.CERT_REQUIRED)
    assert careful.ctx.check_hostname
