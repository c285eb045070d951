"""What the server process does with the application at its start and at its end."""

import contextlib
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from flask import Flask

from config import Settings
from domain.chat import ModelInfo
from domain.errors import Unavailable
from services.registry import Services

_SHOWN_MODELS = 3


def announce_drain(app: Flask) -> None:
    """Not be ready any more, while what comes is still served."""
    services: Services = app.extensions["unichat"]
    services.health.begin_drain()


def drain(app: Flask, seconds: float) -> None:
    """Refuse new work, let running answers end within ``seconds``, then interrupt the rest and save it."""
    services: Services = app.extensions["unichat"]
    deadline = time.monotonic() + seconds
    services.health.begin_drain()
    services.desk.begin_drain()
    services.runner.drain(seconds)
    with contextlib.suppress(Unavailable):
        services.api_keys.checker.note_uses()
    services.desk.drain(max(0.0, deadline - time.monotonic()))
    services.key_limiter.flush()
    services.feed.close()
    services.close()


def welcome(app: Flask, settings: Settings) -> str:
    """What a person who has just started the service wants to know."""
    services: Services = app.extensions["unichat"]
    host = "localhost" if settings.HOST in ("0.0.0.0", "::", "127.0.0.1") else settings.HOST  # noqa: S104  # compared
    address = f"http://{host}:{settings.PORT}"
    lines = [
        f"UniChat is ready at {address}",
        f"  API docs    {address}/api/v1/docs",
        *(f"  Provider    {provider.name}: {_names(provider.models)}" for provider in services.providers.all()),
        f"  Data        {_place(settings.database_url)}",
    ]
    if services.setup.is_open():
        lines.append(f"  Setup token {services.setup.setup_token}  (makes the first administrator, once)")
    return "\n".join(["", *lines, "", ""])


def _names(models: Sequence[ModelInfo]) -> str:
    shown = ", ".join(model.name for model in models[:_SHOWN_MODELS])
    return f"{shown}, ..." if len(models) > _SHOWN_MODELS else shown


def _place(database_url: str) -> str:
    url = urlsplit(database_url)
    if url.scheme == "sqlite":
        return url.path[1:]
    return f"{url.scheme.partition('+')[0]}://{url.hostname}{url.path}"
