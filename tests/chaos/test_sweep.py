"""One turn of chat, in which the n-th operation fails, for every n until there is none: what must hold, holds."""

import itertools
import threading
import time
from typing import Any

import pytest
import sqlalchemy as sa
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from models import db
from tests.actors import Actor, set_up
from tests.cable import Way
from tests.chaos.evidence import gather
from tests.chaos.fuse import Fuse, FusedCable, fused_sqlite
from tests.chaos.history import Frame, History, Reading, Turn
from tests.chaos.invariants import violations
from tests.chats import entry, eventually, services, told
from tests.conftest import AppFactory
from tests.scripted_provider.client import ScriptedProvider
from tests.servers import Redis, Servers

pytestmark = pytest.mark.chaos

WAYS: tuple[Way, ...] = ("request", "reply")
SETTINGS: dict[str, Any] = {
    "AUTO_TITLE": False,
    "RATE_LIMIT": "10000 per minute",
    "RATE_LIMIT_CHAT": "10000 per minute",
}
_TRIES = 3
_PATIENCE_S = 2.0  # a turn whose commit was not confirmed is followed by nobody: its lease has to run out


class Chat:
    """A client that sends a message until it is taken, and reads on until it has the end."""

    def __init__(self, app: OpenAPI, provider: ScriptedProvider, pace_ms: float = 3) -> None:
        self._app = app
        self._pace_ms = pace_ms
        self._provider = provider
        self._user: Actor = set_up(app)
        self._history = History()

    def turn(self, tag: str) -> None:
        """One turn with its answer."""
        patience = threading.Timer(_PATIENCE_S, self._let_time_pass)
        patience.start()
        try:
            self._turn(tag)
        finally:
            patience.cancel()
            patience.join()

    def _turn(self, tag: str) -> None:
        message = told(f"{tag}?", text=f"{tag} says {' '.join(map(str, range(12)))}", pace_ms=self._pace_ms)
        turn = Turn(tag, message, 0, time.monotonic())
        self._history.turns.append(turn)
        for _ in range(_TRIES):
            response = self._user.post("/api/v1/chat/stream", {"message": message}, headers={"Idempotency-Key": tag})
            if response.status_code == 200:
                break
            assert response.status_code == 503, response.get_data(as_text=True)
            self._let_time_pass()
        turn.generation_id = response.headers["X-Generation-Id"]
        turn.session_id = response.headers["X-Session-Id"]
        self._read(turn.generation_id, response)

    def _read(self, generation_id: str, response: TestResponse) -> None:
        reading = Reading(generation_id)
        self._history.readings.append(reading)
        _take_in(reading, response)
        for _ in range(_TRIES):
            if not reading.ended:
                headers = {"Last-Event-ID": str(reading.last_seq)} if reading.last_seq else {}
                path = f"/api/v1/generations/{generation_id}/events"
                _take_in(reading, self._user.get(path, headers=headers))

    def _let_time_pass(self) -> None:
        """As much as makes a generation that nobody runs one that is reaped."""
        eventually(lambda: not services(self._app).runner.all())
        with self._app.app_context(), db.engine.begin() as connection:
            connection.execute(sa.text("UPDATE generations SET lease_until = '2000-01-01 00:00:00'"))
        services(self._app).keeper.tick(all_duties=True)

    def wait_recovered(self) -> None:
        """Return once all that the node stands on is there again."""
        eventually(lambda: b"degraded" not in self._user.get("/readyz").get_data())

    def violations(self) -> list[str]:
        """The rules that do not hold, once all is quiet."""
        self._let_time_pass()
        with self._app.app_context():
            url = db.engine.url.render_as_string(hide_password=False)
        return violations(gather(self._history, url, self._provider.log()))


def _take_in(reading: Reading, response: TestResponse) -> None:
    if response.status_code != 200:
        return
    for frame in response.get_data().split(b"\n\n"):
        head, _, data = frame.partition(b"\ndata: ")
        if data:
            reading.frames.append(Frame(int(head.removeprefix(b"id: ")), data, time.monotonic(), 0))


def sweep(chat: Chat, fuse: Fuse, name: str, *, calm: int = 0) -> int:
    """Fail the n-th operation of a turn for every n; how many there were. ``calm`` good turns follow each."""
    chat.turn(f"{name}0")  # what happens once only has happened
    for n in itertools.count(1):
        chat.wait_recovered()
        fuse.arm(n)
        chat.turn(f"{name}{n}")
        blown = fuse.blown
        fuse.arm(0)
        assert chat.violations() == [], f"operation {n}"
        if not blown:
            return n - 1
        for number in range(calm):
            chat.turn(f"{name}{n}calm{number}")
    raise AssertionError


def test_every_operation_of_sqlite(make_app: AppFactory, provider: ScriptedProvider) -> None:
    app = make_app({"openai": entry(provider)}, **SETTINGS)
    chat = Chat(app, provider)
    with app.app_context():
        fuse = fused_sqlite(db.engine)

    assert sweep(chat, fuse, "sqlite") > 10


@pytest.mark.parametrize("way", WAYS)
def test_every_message_on_the_wire_to_mariadb(
    make_app: AppFactory, provider: ScriptedProvider, servers: Servers, way: Way
) -> None:
    server = servers.database("mariadb")
    url = server.migrated_database()
    with FusedCable(server.port, way) as cable:
        app = make_app(
            {"openai": entry(provider)},
            **SETTINGS,
            DATABASE_URL=url.replace(f":{server.port}/", f":{cable.port}/"),
            DATABASE_POOL_SIZE=2,
        )
        assert sweep(Chat(app, provider), cable.fuse, f"mariadb{way}") > 10


@pytest.mark.parametrize("way", WAYS)
def test_every_message_on_the_wire_to_redis(
    make_app: AppFactory, provider: ScriptedProvider, redis: Redis, way: Way
) -> None:
    with FusedCable(redis.port, way) as cable:
        app = make_app({"openai": entry(provider)}, **SETTINGS, REDIS_URL=f"redis://127.0.0.1:{cable.port}/0")
        assert sweep(Chat(app, provider, pace_ms=25), cable.fuse, f"redis{way}") > 5


@pytest.mark.parametrize("way", WAYS)
def test_every_message_on_the_wire_to_the_provider(make_app: AppFactory, provider: ScriptedProvider, way: Way) -> None:
    with FusedCable(int(provider.base_url.rpartition(":")[2]), way) as cable:
        app = make_app({"openai": entry(provider, base_url=f"http://127.0.0.1:{cable.port}/v1")}, **SETTINGS)
        assert sweep(Chat(app, provider), cable.fuse, f"provider{way}", calm=2) > 0
