"""What is remembered of API keys: no query on the hot path, and every change is heard of within 5 s."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from flask_openapi import OpenAPI

from domain.errors import LimitExceeded, NotAuthenticated, Unavailable
from domain.key_format import new_key
from models import db
from repositories.database import Database, engine_options
from repositories.rate_counter import RateCounter
from repositories.signals import NoSignals
from repositories.unit_of_work import UnitOfWork, unit_of_work_on
from services import key_checker
from services.key_checker import KeyChecker
from tests.actors import Actor, add_user, refused, set_up
from tests.cable import Cable
from tests.chats import eventually, services
from tests.conftest import AppFactory
from tests.races import at_once
from tests.servers import Redis, Servers

ADDRESS = "192.0.2.1"
LONG_S = 1000.0
SETTINGS = {"RATE_LIMIT": "100000 per minute"}


@pytest.fixture
def app(make_app: AppFactory) -> OpenAPI:
    return make_app(**SETTINGS)


@pytest.fixture
def other_app(make_app: AppFactory, app: OpenAPI) -> OpenAPI:
    """Another node on the same database; the two hear nothing of each other."""
    return make_app(**SETTINGS)


def checker(app: OpenAPI) -> KeyChecker:
    return services(app).api_keys.checker


def make(actor: Actor, **fields: Any) -> tuple[str, str]:
    """(path of the record, key)"""
    made = Actor.ok(actor.post("/api/v1/keys", {"name": "a program"} | fields), 201)
    return f"/api/v1/keys/{made['id']}", made["key"]


def code(app: OpenAPI, key: str) -> str | None:
    """The code with which the key is refused; None if it is not."""
    try:
        checker(app).authenticate(key, ADDRESS)
    except NotAuthenticated as error:
        return error.error_code
    return None


@contextmanager
def queries(app: OpenAPI) -> Iterator[list[str]]:
    """The statements that the application sends."""
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    with app.app_context():
        engine = db.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(engine, "before_cursor_execute", note)


def test_changes_are_heard_of_elsewhere_within_5_seconds() -> None:
    assert key_checker._LIVES_S <= 4


def test_what_is_remembered_counts_no_longer_than_it_may(
    app: OpenAPI, other_app: OpenAPI, user: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_checker, "_LIVES_S", 0.4)
    monkeypatch.setattr(key_checker, "_FRESH_S", 0.2)
    path, key = make(user)
    assert code(other_app, key) is None

    Actor.ok(user.patch(path, {"disabled": True}))
    assert code(app, key) == "key_disabled"  # at once where it was changed
    eventually(lambda: code(other_app, key) == "key_disabled")
    Actor.ok(user.patch(path, {"disabled": False}))
    eventually(lambda: code(other_app, key) is None)
    Actor.ok(user.delete(path))
    eventually(lambda: code(other_app, key) == "key_revoked")


def test_a_key_that_is_used_all_the_time_costs_no_query(app: OpenAPI, user: Actor) -> None:
    _, key = make(user)
    assert code(app, key) is None

    with queries(app) as seen:
        assert [code(app, key) for _ in range(200)] == [None] * 200
    assert len(seen) <= 2  # those 200 may have taken long


def test_one_of_many_callers_asks_again(app: OpenAPI, user: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_checker, "_LIVES_S", LONG_S)
    _, key = make(user)
    assert code(app, key) is None
    monkeypatch.setattr(key_checker, "_FRESH_S", -1.0)
    keys = checker(app)
    keys._asked[next(iter(keys._known))] = key_checker._Question()  # somebody asks

    with queries(app) as seen:
        assert at_once(*[lambda: code(app, key)] * 8) == [None] * 8
    assert seen == []


@pytest.mark.parametrize("remembered", [True, False])
def test_those_who_need_the_answer_wait_for_the_one_who_asks(
    app: OpenAPI, user: Actor, remembered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = make(user)
    keys = checker(app)
    if remembered:
        assert code(app, key) is None
        keys.forget(next(iter(keys._known.values())).principal.credential_id)
    else:
        keys._known.clear()
    read, all_here = keys._read, threading.Barrier(2, timeout=30)

    def slowly(key_hash: str, address: str) -> Any:
        all_here.wait()
        return read(key_hash, address)

    monkeypatch.setattr(keys, "_read", slowly)

    with ThreadPoolExecutor(9) as pool, queries(app) as seen:
        callers = [pool.submit(code, app, key) for _ in range(8)]
        eventually(lambda: all_here.n_waiting == 1)
        all_here.wait()
        assert [caller.result() for caller in callers] == [None] * 8
    assert len([one for one in seen if "FROM api_keys" in one]) == 1


def test_those_who_wait_hear_of_a_failure_too(app: OpenAPI, user: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    _, key = make(user)
    keys = checker(app)
    keys._known.clear()
    asked, fail = threading.Event(), threading.Event()

    def failing(_key_hash: str, _address: str) -> Any:
        assert not asked.is_set(), "one has asked"
        asked.set()
        fail.wait()
        raise Unavailable("The database is not available.", "database_unavailable")

    monkeypatch.setattr(keys, "_read", failing)

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(keys.authenticate, key, ADDRESS)
        assert asked.wait(10)
        others = [pool.submit(keys.authenticate, key, ADDRESS) for _ in range(3)]
        question = next(iter(keys._asked.values()))
        eventually(lambda: len(question.answered._cond._waiters) == 3)  # type: ignore[attr-defined]  # its own
        fail.set()
        for caller in (first, *others):
            with pytest.raises(Unavailable):
                caller.result()
    assert keys._asked == {}


def test_with_redis_other_nodes_hear_of_changes_at_once(
    make_app: AppFactory, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_checker, "_LIVES_S", LONG_S)
    monkeypatch.setattr(key_checker, "_FRESH_S", LONG_S)
    here, there = (make_app(REDIS_URL=redis.url, **SETTINGS) for _ in range(2))
    admin = set_up(here)
    user_id = add_user(admin, here, "grace").id
    (path, key), (_, users) = make(admin), make(admin, user_id=user_id)
    assert (code(there, key), code(there, users)) == (None, None)

    Actor.ok(admin.delete(path))
    Actor.ok(admin.patch(f"/api/v1/users/{user_id}", {"is_active": False}))

    eventually(lambda: code(there, key) == "key_revoked")
    eventually(lambda: code(there, users) == "user_disabled")


def test_what_was_read_before_a_change_is_not_remembered_after_it(app: OpenAPI, user: Actor) -> None:
    path, key = make(user)
    url = app.config["SQLALCHEMY_DATABASE_URI"]
    engine = sa.create_engine(url, **engine_options(url, 5))
    open_unit_of_work = unit_of_work_on(Database(engine))
    between: list[Any] = []

    @contextmanager
    def unit_of_work(*, writes: bool = True) -> Iterator[UnitOfWork]:
        with open_unit_of_work(writes=writes) as uow:
            yield uow
        if between:
            between.pop()()

    keys = KeyChecker(unit_of_work, NoSignals(), RateCounter())

    def revoke() -> None:
        """The answer of the database is on its way to the checker."""
        Actor.ok(user.delete(path))
        keys.forget(path.rpartition("/")[2])

    between.append(revoke)
    keys.authenticate(key, ADDRESS)  # it was asked before the change
    with pytest.raises(NotAuthenticated):
        keys.authenticate(key, ADDRESS)
    engine.dispose()


@pytest.fixture
def cable(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cable]:
    """The way to the database of all applications."""
    server = servers.database("postgresql")
    url = server.migrated_database()
    with Cable(server.port) as cable:
        monkeypatch.setenv("DATABASE_URL", url.replace(f":{server.port}/", f":{cable.port}/"))
        yield cable
    server.drop(url)


def test_without_the_database_what_is_remembered_counts_as_long_as_ever_and_no_longer(
    cable: Cable, make_app: AppFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_checker, "_FRESH_S", -1.0)
    monkeypatch.setattr(key_checker, "_LIVES_S", LONG_S)
    app = make_app(**SETTINGS)
    (_, key), (_, unused) = make(admin := set_up(app)), make(admin)
    assert code(app, key) is None

    cable.cut()
    assert code(app, key) is None
    with pytest.raises(Unavailable):
        code(app, unused)
    monkeypatch.setattr(key_checker, "_LIVES_S", 0.0)
    with pytest.raises(Unavailable):
        code(app, key)
    answer = app.test_client().get("/api/v1/auth/me", headers={"x-api-key": key})
    refused(answer, 503, "database_unavailable")

    cable.mend()
    eventually(lambda: code(app, key) is None)


def test_guesses_are_limited_by_network_and_spare_its_neighbours(
    app: OpenAPI, user: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_checker, "_UNKNOWN_PER_NETWORK", 5)
    _, known = make(user)
    assert code(app, known) is None
    guesses = [new_key() for _ in range(6)]

    assert {code(app, guess) for guess in guesses[:5]} == {"invalid_api_key"}
    with queries(app) as seen:
        with pytest.raises(LimitExceeded) as refusal:
            code(app, guesses[5])
        assert {code(app, guess) for guess in guesses[:5]} == {"invalid_api_key"}  # the same again is no new guess
    assert seen == []
    assert 0 < refusal.value.retry_after <= 60
    checker(app).forget(user.id)
    assert code(app, known) is None  # though it has to be asked for
    with pytest.raises(NotAuthenticated):
        checker(app).authenticate(guesses[5], "198.51.100.1")
    answer = app.test_client().get(
        "/api/v1/auth/me", headers={"x-api-key": new_key()}, environ_overrides={"REMOTE_ADDR": ADDRESS}
    )
    refused(answer, 429, "too_many_attempts")


def test_unknown_keys_count_against_the_limit_of_their_address(make_app: AppFactory) -> None:
    client = make_app(RATE_LIMIT="3 per hour").test_client()

    answers = [client.get("/api/v1/auth/me", headers={"x-api-key": new_key()}).status_code for _ in range(5)]
    assert answers == [401, 401, 401, 429, 429]


def test_what_is_remembered_does_not_grow_for_ever(app: OpenAPI, user: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_checker, "_MOST", 3)
    monkeypatch.setattr(key_checker, "_MOST_UNKNOWN", 3)
    keys = checker(app)

    for _ in range(8):
        assert code(app, make(user)[1]) is None
        assert code(app, new_key()) == "invalid_api_key"
    assert (len(keys._known), len(keys._unknown)) == (3, 3)


@pytest.mark.usefixtures("every_database")
def test_when_a_key_was_used_is_written_once_a_minute_and_not_by_requests(app: OpenAPI, user: Actor) -> None:
    path, key = make(user)
    other_path, _ = make(user)

    def used() -> Any:
        return Actor.ok(user.get(path))["last_used_at"]

    assert (code(app, key), used()) == (None, None)
    services(app).keeper.tick(all_duties=True)
    first = used()
    assert first is not None
    assert code(app, key) is None
    services(app).keeper.tick(all_duties=True)
    assert used() == first  # the minute has not passed
    checker(app).note_uses()
    assert used() > first
    assert Actor.ok(user.get(other_path))["last_used_at"] is None
    with queries(app) as seen:
        checker(app).note_uses()
    assert seen == []


def test_when_keys_were_used_is_written_when_the_database_is_back(cable: Cable, make_app: AppFactory) -> None:
    app = make_app(**SETTINGS)
    path, key = make(admin := set_up(app))
    assert code(app, key) is None

    cable.cut()
    with pytest.raises(Unavailable):
        checker(app).note_uses()
    cable.mend()

    eventually(lambda: admin.get(path).status_code == 200)
    checker(app).note_uses()
    assert Actor.ok(admin.get(path))["last_used_at"] is not None


def test_all_that_a_key_has_open_asks_together(app: OpenAPI, user: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    path, key = make(user)
    keys = checker(app)
    principal = keys.authenticate(key, ADDRESS)

    with queries(app) as seen:
        for _ in range(200):
            keys.recheck(principal)
    assert len(seen) < 50  # one in half a second

    Actor.ok(user.delete(path))
    with pytest.raises(NotAuthenticated):
        keys.recheck(principal)
