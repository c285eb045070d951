"""What every test may ask for."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI

from api.lifecycle import drain
from app import create_app
from config import Settings, load_settings
from models import db
from repositories.redis_link import RedisLink
from services.retry_policy import RetryPolicy
from tests.actors import Actor, add_user, set_up
from tests.node import Node
from tests.scripted_provider.client import ScriptedProvider
from tests.servers import DATABASES, Redis, Servers

AppFactory = Callable[..., OpenAPI]
LinkFactory = Callable[[str], RedisLink]
NodeFactory = Callable[..., Node]
ECHO = {"echo": {"adapter_class": "adapters.echo_adapter.EchoAdapter", "config": {}}}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine reaches a test."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The session's own MariaDB, PostgreSQL and Redis."""
    servers = Servers()
    yield servers
    servers.close()


@pytest.fixture
def redis(servers: Servers) -> Redis:
    """A Redis that is empty."""
    redis = servers.redis()
    redis.flush()
    return redis


@pytest.fixture
def own_redis(servers: Servers) -> Iterator[Redis]:
    """An empty Redis of this test's own, which may be stopped, frozen and killed."""
    redis = Redis()
    yield redis
    redis.close()


@pytest.fixture
def link_to() -> Iterator[LinkFactory]:
    """Makes links to the Redis at a URL, as each worker has one."""
    with ExitStack() as cleanup:

        def make(url: str) -> RedisLink:
            link = RedisLink(url)
            cleanup.callback(link.close)
            return link

        yield make


@pytest.fixture(params=DATABASES)
def database_kind(request: pytest.FixtureRequest) -> str:
    """Each kind of database in turn."""
    return str(request.param)


@pytest.fixture
def empty_database_url(database_kind: str, servers: Servers, tmp_path: Path) -> Iterator[str]:
    """A database without tables, on each kind in turn."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server = servers.database(database_kind)
    url = server.empty_database()
    yield url
    server.drop(url)


@pytest.fixture
def database_url(database_kind: str, servers: Servers, tmp_path: Path) -> Iterator[str]:
    """A database with today's schema and no rows, on each kind in turn."""
    if database_kind == "sqlite":
        servers.migrated_sqlite(tmp_path / "unichat.db")
        yield f"sqlite:///{tmp_path / 'unichat.db'}"
        return
    server = servers.database(database_kind)
    url = server.migrated_database()
    yield url
    server.drop(url)


@pytest.fixture
def make_app(tmp_path: Path, servers: Servers) -> Iterator[AppFactory]:
    """Makes applications on an own data folder; ``providers`` is AI_PROVIDERS, the rest are settings.

    Their waits before another attempt at a provider are short.
    """
    with ExitStack() as cleanup:

        def make(providers: dict[str, Any] | None = None, **settings: Any) -> OpenAPI:
            values = {"FLASK_ENV": "testing", "LOG_FORMAT": "json", "RATE_LIMIT_AUTH": "10000 per minute"} | settings
            loaded = load_settings(**values)
            if not loaded.DATABASE_URL and not (loaded.DATA_DIR / "unichat.db").exists():
                servers.migrated_sqlite(loaded.DATA_DIR / "unichat.db")
            app = create_app(loaded, ECHO if providers is None else providers)
            app.extensions["unichat"].runner.upstream.policy = RetryPolicy(backoff_s=0.02, rate_limit_s=0.3)
            cleanup.callback(_close, app)
            return app

        yield make


def _close(app: OpenAPI) -> None:
    drain(app, 0)
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def any_database_app(make_app: AppFactory, database_url: str) -> OpenAPI:
    """An application on each kind of database in turn.

    For a whole module: ``@pytest.fixture def app(any_database_app): return any_database_app``.
    """
    return make_app(DATABASE_URL=database_url)


@pytest.fixture
def every_database(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    """All applications of the test share one database, of each kind in turn: ``@pytest.mark.usefixtures``."""
    monkeypatch.setenv("DATABASE_URL", database_url)


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[NodeFactory]:
    """Starts real nodes with the given settings on one data folder; they are killed after the test."""
    with ExitStack() as cleanup:

        def start(**settings: object) -> Node:
            node = Node(tmp_path / "node", **settings)
            cleanup.callback(node.kill)
            return node

        yield start


@pytest.fixture
def app(make_app: AppFactory) -> OpenAPI:
    """An application on SQLite with the echo provider."""
    return make_app()


@pytest.fixture
def client(app: OpenAPI) -> FlaskClient:
    """A client of :func:`app` that is not signed in."""
    return app.test_client()


@pytest.fixture
def admin(app: OpenAPI) -> Actor:
    """The first administrator, ``ada``, signed in."""
    return set_up(app)


@pytest.fixture
def user(app: OpenAPI, admin: Actor) -> Actor:
    """A user, ``grace``, signed in."""
    return add_user(admin, app, "grace")


@pytest.fixture
def other_user(app: OpenAPI, admin: Actor) -> Actor:
    """Another user, ``linus``, signed in."""
    return add_user(admin, app, "linus")


@pytest.fixture(scope="session")
def scripted_process() -> Iterator[ScriptedProvider]:
    """A provider over real HTTP, in a process of its own."""
    with ScriptedProvider.start() as provider:
        yield provider


@pytest.fixture
def provider(scripted_process: ScriptedProvider) -> ScriptedProvider:
    """It, with nothing to remember."""
    scripted_process.reset()
    return scripted_process
