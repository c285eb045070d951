"""What cannot be seen from outside: when hashes are computed, and races in slow motion."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask_openapi import OpenAPI

from domain.errors import LimitExceeded, NotAuthenticated
from repositories.database import Database, engine_options
from repositories.rate_counter import RateCounter
from repositories.signals import NoSignals
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork, unit_of_work_on
from services.auth_service import AuthService
from services.key_checker import KeyChecker
from services.login_guard import LoginGuard
from services.passwords import Passwords
from services.sign_ins import SignedIn, SignIns
from tests.actors import PASSWORD, Actor
from tests.races import at_once
from tests.unit.test_passwords import CountingOffload

ADDRESS = "192.0.2.1"


@pytest.fixture
def unit_of_work(app: OpenAPI) -> Iterator[OpenUnitOfWork]:
    """The way to the application's database, over connections of our own."""
    url = app.config["SQLALCHEMY_DATABASE_URI"]
    engine = sa.create_engine(url, **engine_options(url, 5))
    yield unit_of_work_on(Database(engine))
    engine.dispose()


@pytest.fixture
def offload() -> CountingOffload:
    return CountingOffload()


def _service(unit_of_work: OpenUnitOfWork, offload: CountingOffload) -> AuthService:
    return service_on(unit_of_work, offload, SignIns(3600))


def service_on(unit_of_work: OpenUnitOfWork, offload: CountingOffload, sign_ins: SignIns) -> AuthService:
    counter = RateCounter()
    keys = KeyChecker(unit_of_work, NoSignals(), counter)
    return AuthService(unit_of_work, Passwords(offload), LoginGuard(counter), sign_ins, keys)


@pytest.fixture
def auth(unit_of_work: OpenUnitOfWork, offload: CountingOffload) -> AuthService:
    return _service(unit_of_work, offload)


@pytest.mark.parametrize(("name", "password"), [("ada", "wrong horse battery"), ("nobody", PASSWORD), ("ada", "")])
def test_a_failed_login_costs_one_hash_whether_the_user_is_there_or_not(
    auth: AuthService, offload: CountingOffload, admin: Actor, name: str, password: str
) -> None:
    with pytest.raises(NotAuthenticated):
        auth.login(name, password, ADDRESS)

    assert offload.calls == 1


def test_a_throttled_login_costs_no_hash(auth: AuthService, offload: CountingOffload, admin: Actor) -> None:
    for _ in range(5):
        with pytest.raises(NotAuthenticated):
            auth.login("ada", "wrong horse battery", ADDRESS)
    with pytest.raises(LimitExceeded):
        auth.login("ada", PASSWORD, ADDRESS)

    assert offload.calls == 5


def _try_login(auth: AuthService, password: str) -> bool:
    try:
        auth.login("ada", password, ADDRESS)
    except (NotAuthenticated, LimitExceeded):
        return False
    return True


def test_many_guesses_at_once_gain_next_to_nothing(auth: AuthService, offload: CountingOffload, admin: Actor) -> None:
    at_once(*[lambda: _try_login(auth, "wrong horse battery")] * 20)

    assert 5 <= offload.calls <= 5 + 3  # as many more as are computed at the same time


def test_many_right_logins_at_once_all_succeed(auth: AuthService, admin: Actor) -> None:
    assert all(at_once(*[lambda: _try_login(auth, PASSWORD)] * 20))


@pytest.mark.usefixtures("every_database")
def test_a_login_at_the_moment_of_a_password_change_fails(
    unit_of_work: OpenUnitOfWork, offload: CountingOffload, admin: Actor
) -> None:
    class Slow(CountingOffload):
        """The password is changed while the hash is computed."""

        def __call__(self, function: Callable[..., Any], *args: object) -> Any:
            answer = super().__call__(function, *args)
            change = {"current_password": PASSWORD, "new_password": "another fine day"}
            admin.ok(admin.put("/api/v1/auth/password", change))
            return answer

    with pytest.raises(NotAuthenticated):
        _service(unit_of_work, Slow()).login("ada", PASSWORD, ADDRESS)


class _Meeting:
    """Units of work in which all writers wait for each other before they begin."""

    def __init__(self, unit_of_work: OpenUnitOfWork, parties: int) -> None:
        self._unit_of_work = unit_of_work
        self._barrier = threading.Barrier(parties)

    @contextlib.contextmanager
    def __call__(self, *, writes: bool = True) -> Iterator[UnitOfWork]:
        if writes:
            self._barrier.wait()
        with self._unit_of_work(writes=writes) as uow:
            yield uow


def _try_refresh(auth: AuthService, signed_in: SignedIn) -> SignedIn | None:
    try:
        return auth.refresh(sign_in_id=signed_in.sign_in_id, user_id=signed_in.user.id, rotation=signed_in.rotation)
    except NotAuthenticated:
        return None


@pytest.mark.usefixtures("every_database")
def test_the_loser_of_two_refreshes_at_once_is_refused_and_the_winner_goes_on(
    auth: AuthService, unit_of_work: OpenUnitOfWork, offload: CountingOffload, admin: Actor
) -> None:
    signed_in = auth.login("ada", PASSWORD, ADDRESS)
    racing = _service(_Meeting(unit_of_work, 2), offload)

    results = at_once(*[lambda: _try_refresh(racing, signed_in)] * 2)

    winners = [result for result in results if result]
    assert len(winners) == 1
    assert _try_refresh(auth, winners[0])


@pytest.mark.usefixtures("every_database")
def test_a_later_use_of_an_older_token_is_a_theft_and_ends_the_sign_in(auth: AuthService, admin: Actor) -> None:
    signed_in = auth.login("ada", PASSWORD, ADDRESS)
    newest = _try_refresh(auth, signed_in)

    assert newest
    assert _try_refresh(auth, signed_in) is None
    assert _try_refresh(auth, newest) is None
    with pytest.raises(NotAuthenticated):
        auth.authenticate(sign_in_id=newest.sign_in_id, user_id=newest.user.id)


@pytest.mark.usefixtures("every_database")
def test_sign_ins_and_tickets_that_expired_are_cleaned_up(
    auth: AuthService, unit_of_work: OpenUnitOfWork, offload: CountingOffload, admin: Actor
) -> None:
    expired = service_on(unit_of_work, offload, SignIns(-1))
    old = expired.login("ada", PASSWORD, "192.0.2.99")

    auth.login("ada", PASSWORD, ADDRESS)

    with unit_of_work(writes=False) as uow:
        assert not uow.sign_ins.is_known(old.user.id, "192.0.2.99")
        assert uow.sign_ins.is_known(old.user.id, ADDRESS)
