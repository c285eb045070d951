"""What every test may ask for."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI

from app import create_app
from config import Settings, load_settings
from tests.actors import Actor, add_user, set_up

AppFactory = Callable[..., OpenAPI]
ECHO = {"echo": {"adapter_class": "adapters.echo_adapter.EchoAdapter", "config": {}}}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine reaches a test."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[AppFactory]:
    """Makes applications on an own data folder; ``providers`` is AI_PROVIDERS, the rest are settings."""

    def make(providers: dict[str, Any] | None = None, **settings: Any) -> OpenAPI:
        values = {"FLASK_ENV": "testing", "LOG_FORMAT": "json", "RATE_LIMIT_AUTH": "10000 per minute"} | settings
        return create_app(load_settings(**values), ECHO if providers is None else providers)

    yield make


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
