"""The books in rounds: many requests in one transaction come to what they would have come to one by one."""

import itertools
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from gevent import GreenletExit

from domain.budgets import Amounts, Limits, Measure, Window
from domain.clock import now
from domain.errors import Conflict, StorageFull, Unavailable
from domain.generation import EndReason
from domain.identifiers import new_id
from domain.ledger import Bill, Booking, Entry, EntryKind, EntryState
from models import ApiKeyEntity, BudgetEntity, KeyBudgetEntity, LedgerEntity, UserEntity
from repositories.book_round import Reserving, Settling, write_round
from repositories.book_rounds import BookRounds
from repositories.budget_round import Refused
from repositories.database import Database, engine_options
from repositories.unit_of_work import unit_of_work_on
from services.key_limiter import Held
from tests.books import entries
from tests.cable import Cable, Way
from tests.chaos.fuse import FusedCable
from tests.chats import entry as chat_entry
from tests.chats import eventually, services
from tests.conftest import AppFactory
from tests.races import at_once
from tests.scripted_provider.client import ScriptedProvider
from tests.servers import Servers

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
REQUESTS = (Window.TOTAL, Measure.REQUESTS)


class Books:
    """One worker's rounds on a database, and a look at what is in it."""

    def __init__(self, url: str) -> None:
        self.database = Database(sa.create_engine(url, **engine_options(url, 5)))
        self.rounds = BookRounds(self.database)
        self.unit_of_work = unit_of_work_on(self.database)

    def add_user(self, limits: Limits | None = None, moment: datetime | None = None) -> str:
        user_id = new_id("usr")
        with self.unit_of_work() as uow:
            uow.users.add(user(user_id))
            if limits is not None:
                uow.budgets.limit(user_id, limits, moment or now())
            uow.commit()
        return user_id

    def add_key(self, user_id: str, limits: Limits) -> str:
        key_id = new_id("key")
        with self.unit_of_work() as uow:
            uow.api_keys.add(key(key_id, user_id))
            uow.key_budgets.limit(key_id, limits, now())
            uow.commit()
        return key_id

    def rows(self) -> Sequence[Any]:
        with self.database.engine.connect() as connection:
            return connection.execute(sa.select(LedgerEntity.__table__)).all()

    def states(self) -> Counter[str]:
        return Counter(row.state for row in self.rows())

    def held(self, user_id: str) -> Amounts:
        row = self.budget(BudgetEntity, user_id)
        return Amounts(row.requests_held, row.tokens_held, row.cost_held)

    def used(self, user_id: str) -> Amounts:
        row = self.budget(BudgetEntity, user_id)
        return Amounts(row.total_requests_used, row.total_tokens_used, row.total_cost_used)

    def budget(self, table: type[BudgetEntity | KeyBudgetEntity], of: str) -> Any:
        with self.database.engine.connect() as connection:
            whole = table.__table__
            (id_,) = sa.inspect(table).primary_key
            return connection.execute(sa.select(whole).where(id_ == of)).one()

    def write(self, *deeds: Reserving | Settling) -> None:
        """These in one round."""
        self.rounds._write(deeds)


def user(user_id: str) -> UserEntity:
    return UserEntity(
        id=user_id,
        username=user_id,
        login_name=user_id,
        password_hash="x",
        role="user",
        is_active=True,
        created_at=now(),
        updated_at=now(),
    )


def key(key_id: str, user_id: str) -> ApiKeyEntity:
    return ApiKeyEntity(
        id=key_id,
        user_id=user_id,
        name="a program",
        prefix="uc",
        key_hash=key_id,
        scopes=[],
        disabled=False,
        budgeted=True,
        created_by=user_id,
        created_at=now(),
        updated_at=now(),
    )


def entry(user_id: str, key_id: str | None = None, **changes: Any) -> Entry:
    made = Entry(
        id=new_id("led"),
        user_id=user_id,
        key_id=key_id,
        session_id=None,
        generation_id=new_id("gen"),
        kind=EntryKind.COMPLETION,
        provider="openai",
        model="sees",
        public_model="sees",
        prompt_tokens=10,
        input_price=1,
        cached_price=1,
        output_price=1,
        reasoning_price=1,
        held_tokens=30,
        held_cost=3,
        budgeted=False,
        key_budgeted=key_id is not None,
        created_at=now(),
    )
    return replace(made, **changes)


def bill(of: Entry, *, attempts: int = 1, moment: datetime | None = None) -> Bill:
    moment = moment or now()
    row = {
        "provider": "openai",
        "model": "sees",
        "state": EntryState.SETTLED,
        "source": "provider",
        "end_reason": EndReason.STOP,
        "error_code": None,
        "prompt_tokens": 11,
        "cached_tokens": 0,
        "completion_tokens": 7,
        "reasoning_tokens": 0,
        "input_price": 1,
        "cached_price": 1,
        "output_price": 1,
        "reasoning_price": 1,
        "cost": 2,
        "settled_at": moment,
    }
    return Bill(of, [row] * attempts, Amounts(1, 18 * attempts, 2 * attempts), moment)


@pytest.fixture
def books(database_url: str) -> Iterator[Books]:
    books = Books(database_url)
    yield books
    books.database.engine.dispose()


@pytest.fixture
def other(database_url: str) -> Iterator[Books]:
    """Another worker's."""
    books = Books(database_url)
    yield books
    books.database.engine.dispose()


# Alone


def test_a_row_is_reserved_and_settled(books: Books) -> None:
    user_id = books.add_user({REQUESTS: 5})
    asked = entry(user_id)

    assert books.rounds.reserve(asked) is None
    (reserved,) = books.rows()
    assert (reserved.state, reserved.attempt, reserved.held_tokens, reserved.cost) == ("reserved", 1, 30, 0)
    assert reserved.budgeted
    assert books.held(user_id) == Amounts(1, 30, 3)

    assert books.rounds.settle(bill(asked, attempts=2))
    rows = sorted(books.rows(), key=lambda row: int(row.attempt))
    assert [(row.state, row.attempt, row.prompt_tokens, row.held_tokens) for row in rows] == [
        ("settled", 1, 11, 30),
        ("settled", 2, 11, 0),
    ]
    assert len({row.id for row in rows}) == 2
    assert (books.held(user_id), books.used(user_id)) == (Amounts(), Amounts(1, 36, 4))


def test_settling_twice_changes_nothing(books: Books) -> None:
    user_id = books.add_user({REQUESTS: 5})
    asked, never = entry(user_id), entry(user_id)
    books.rounds.reserve(asked)

    assert books.rounds.settle(bill(asked))
    assert not books.rounds.settle(bill(asked))
    assert not books.rounds.settle(bill(never))

    assert books.used(user_id) == Amounts(1, 18, 2)


def test_who_is_not_counted_has_no_budget(books: Books) -> None:
    asked = entry(books.add_user())

    assert books.rounds.reserve(asked) is None
    assert books.rounds.settle(bill(asked))

    assert [(row.state, bool(row.budgeted)) for row in books.rows()] == [("settled", False)]


def test_a_budget_of_a_key_that_is_gone_lets_nothing_in(books: Books) -> None:
    assert books.rounds.reserve(entry(books.add_user(), "key_gone")) == Refused({}, of_key=True)


@pytest.mark.parametrize("later", [timedelta(), timedelta(hours=13)])
def test_windows_begin_anew(books: Books, later: timedelta) -> None:
    """The last day of a month, and the first of the next."""
    user_id = books.add_user({(Window.DAY, Measure.REQUESTS): 1, (Window.MONTH, Measure.TOKENS): 50}, NOON)
    asked = entry(user_id, created_at=NOON)
    books.rounds.reserve(asked)
    books.rounds.settle(bill(asked, moment=NOON))

    refused = books.rounds.reserve(entry(user_id, created_at=NOON + later))

    if later:
        assert refused is None
        row = books.budget(BudgetEntity, user_id)
        assert (row.day_requests_used, row.month_tokens_used, row.total_tokens_used) == (0, 0, 18)
        assert (row.day_start, row.month_start) == ((NOON + later).date(), (NOON + later).date())
    else:
        assert refused is not None
        assert refused.standings[Window.DAY, Measure.REQUESTS].used == 1


# Together


def test_a_refused_one_in_the_middle_is_nobody_elses_business(books: Books) -> None:
    user_id = books.add_user({(Window.TOTAL, Measure.TOKENS): 100})
    small, large, last = entry(user_id), entry(user_id, held_tokens=71), entry(user_id, held_tokens=70)
    deeds = [Reserving(small), Reserving(large), Reserving(last)]

    books.write(*deeds)

    assert [deed.refused is None for deed in deeds] == [True, False, True]
    refused = deeds[1].refused
    assert refused is not None
    assert refused.standings[Window.TOTAL, Measure.TOKENS].remaining == 70
    assert {row.id for row in books.rows()} == {small.id, last.id}
    assert books.held(user_id).tokens == 100


def test_what_a_key_refuses_is_not_held_of_its_owners_budget(books: Books) -> None:
    user_id = books.add_user({REQUESTS: 2})
    key_id = books.add_key(user_id, {REQUESTS: 1})
    deeds = [Reserving(entry(user_id, key_id)) for _ in range(2)] + [Reserving(entry(user_id)) for _ in range(2)]

    books.write(*deeds)

    assert [deed.refused and deed.refused.of_key for deed in deeds] == [None, True, None, False]
    assert books.held(user_id).requests == 2
    assert books.budget(KeyBudgetEntity, key_id).requests_held == 1


def test_what_is_given_back_in_a_round_may_be_held_in_it(books: Books) -> None:
    user_id = books.add_user({(Window.TOTAL, Measure.TOKENS): 50})
    first, second = entry(user_id), entry(user_id)
    books.rounds.reserve(first)
    early, late = Reserving(second), Reserving(entry(user_id))

    books.write(early, Settling(bill(first)), late)

    assert early.refused is not None
    assert late.refused is None
    assert (books.held(user_id).tokens, books.used(user_id).tokens) == (30, 18)


def test_one_that_was_settled_before_is_nobody_elses_business(books: Books) -> None:
    user_id = books.add_user({REQUESTS: 5})
    gone, asked = entry(user_id), entry(user_id)
    books.rounds.reserve(gone)
    books.rounds.reserve(asked)
    books.rounds.settle(bill(gone))
    deeds = [Settling(bill(asked)), Settling(bill(gone))]

    books.write(*deeds)

    assert [deed.settled for deed in deeds] == [True, False]
    assert books.used(user_id) == Amounts(2, 36, 4)


def test_a_row_that_is_there_already_is_nobody_elses_business(books: Books) -> None:
    user_id = books.add_user({REQUESTS: 5})
    there = entry(user_id)
    books.rounds.reserve(there)
    deeds = [Reserving(entry(user_id)), Reserving(there), Reserving(entry(user_id))]

    books.write(*deeds)

    assert [type(deed.error) for deed in deeds] == [type(None), Conflict, type(None)]
    assert books.states() == {"reserved": 3}
    assert books.held(user_id).requests == 3


def test_a_reserve_and_its_end_may_meet_in_a_round(books: Books) -> None:
    user_id = books.add_user({REQUESTS: 5})
    asked = entry(user_id)

    books.write(Reserving(asked), Settling(bill(asked)))

    assert books.states() == {"settled": 1}
    assert (books.held(user_id), books.used(user_id)) == (Amounts(), Amounts(1, 18, 2))


def test_a_round_takes_few_statements(books: Books) -> None:
    user_id = books.add_user({REQUESTS: 500})
    key_id = books.add_key(user_id, {REQUESTS: 500})
    old = [entry(user_id, key_id) for _ in range(16)]
    books.write(*[Reserving(one) for one in old])
    statements: list[str] = []

    class Counting:
        def __init__(self, on: Any) -> None:
            self._on, self.dialect = on, on.dialect

        def exec_driver_sql(self, statement: str, parameters: Any = None, /) -> Any:
            statements.append(statement.split(maxsplit=1)[0])
            return self._on.exec_driver_sql(statement, parameters)

    deeds = [*(Settling(bill(one)) for one in old), *(Reserving(entry(user_id, key_id)) for _ in range(16))]
    books.database.in_one_go(lambda on: write_round(deeds, Counting(on))).tell()

    assert statements == ["UPDATE", "SELECT", "SELECT", "INSERT", "UPDATE", "UPDATE"]
    assert books.states() == {"settled": 16, "reserved": 16}


# At once


def reserve_all(workers: Sequence[Books], entries: Sequence[Entry]) -> list[Entry]:
    """Those that were let in, of all; by many threads of all workers."""

    def some(start: int) -> list[Entry]:
        rounds = workers[start % len(workers)].rounds
        return [one for one in entries[start::40] if rounds.reserve(one) is None]

    return [one for part in at_once(*[lambda start=start: some(start) for start in range(40)]) for one in part]


def test_of_200_at_once_at_two_workers_a_budget_for_50_lets_in_50(books: Books, other: Books) -> None:
    user_id = books.add_user({REQUESTS: 50})

    passed = reserve_all([books, other], [entry(user_id) for _ in range(200)])

    assert len(passed) == 50
    assert books.states() == {"reserved": 50}
    assert books.held(user_id) == Amounts(50, 1500, 150)
    at_once(*[lambda part=passed[n::10]: [books.rounds.settle(bill(one)) for one in part] for n in range(10)])
    assert (books.held(user_id), books.used(user_id)) == (Amounts(), Amounts(50, 900, 100))


def test_workers_that_write_the_same_budgets_never_stop_each_other(books: Books, other: Books) -> None:
    """Rounds of two workers, and turns that hold by themselves, on three users and their keys in every order."""
    users = [books.add_user({REQUESTS: 10_000}) for _ in range(3)]
    keys = [books.add_key(user_id, {REQUESTS: 10_000}) for user_id in users]
    pairs = list(zip(users, keys, strict=True))

    def through(worker: Books, number: int) -> None:
        for turn in range(15):
            asked = entry(*pairs[(number + turn) % 3])
            assert worker.rounds.reserve(asked) is None
            assert worker.rounds.settle(bill(asked))

    def alone(number: int) -> None:
        for turn in range(15):
            user_id, key_id = pairs[(number - turn) % 3]
            with books.unit_of_work() as uow:
                assert uow.budgets.hold(user_id, Amounts(1, 30, 3), now())
                assert uow.key_budgets.hold(key_id, Amounts(1, 30, 3), now())
                uow.commit()

    calls: list[Callable[[], None]] = [lambda n=n: through((books, other)[n % 2], n) for n in range(12)]
    at_once(*calls, *[lambda n=n: alone(n) for n in range(3)])

    assert books.states() == {"settled": 12 * 15}
    assert sum(books.used(user_id).requests for user_id in users) == 12 * 15
    assert sum(books.held(user_id).requests for user_id in users) == 3 * 15


# What goes wrong


@pytest.mark.parametrize("database_kind", ["mariadb", "postgresql"], indirect=True)  # SQLite has one writer
def test_a_round_that_loses_to_another_transaction_is_repeated(
    books: Books, database_kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = "1213" if database_kind == "mariadb" else "40P01"
    lose = {
        "1213": "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'deadlock'",
        "40P01": "DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$",
    }[number]
    went, user_id = books.database.in_one_go, books.add_user()
    losses = iter([True, True])

    def in_one_go(work: Any) -> Any:
        def losing(on: Any) -> Any:
            outcome = work(on)
            if next(losses, False):
                on.exec_driver_sql(lose)
            return outcome

        return went(losing)

    monkeypatch.setattr(books.database, "in_one_go", in_one_go)

    assert books.rounds.reserve(entry(user_id)) is None
    assert books.states() == {"reserved": 1}


def test_whoever_is_in_a_round_that_fails_is_told(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    user_id = books.add_user()
    there = entry(user_id)
    books.rounds.reserve(there)
    real = books.database.in_one_go

    def full(_work: Any) -> Any:
        raise StorageFull("no room")

    monkeypatch.setattr(books.database, "in_one_go", full)
    deeds = [Reserving(entry(user_id)), Settling(bill(there))]
    books.write(*deeds)
    assert [type(deed.error) for deed in deeds] == [StorageFull, StorageFull]

    monkeypatch.setattr(books.database, "in_one_go", real)
    assert books.rounds.reserve(entry(user_id)) is None
    assert books.rounds.settle(bill(there))


@pytest.fixture
def cable(servers: Servers) -> Iterator[tuple[Books, Cable]]:
    """Books on a MariaDB at the other end of a cable."""
    server = servers.database("mariadb")
    url = server.migrated_database()
    with Cable(server.port) as cable:
        books = Books(url.replace(f":{server.port}/", f":{cable.port}/"))
        yield books, cable
        books.database.engine.dispose()


def test_a_database_that_goes_away_is_told_and_its_return_noticed(cable: tuple[Books, Cable]) -> None:
    books, line = cable
    user_id = books.add_user({REQUESTS: 100})
    first = entry(user_id)
    books.rounds.reserve(first)
    line.cut()

    errors = at_once(*[lambda: error_of(lambda: books.rounds.reserve(entry(user_id)))] * 5)
    assert [type(error) for error in errors] == [Unavailable] * 5
    assert type(error_of(lambda: books.rounds.settle(bill(first)))) is Unavailable

    line.mend()
    assert books.rounds.reserve(entry(user_id)) is None
    assert books.rounds.settle(bill(first))
    assert books.states() == {"reserved": 1, "settled": 1}
    assert books.held(user_id).requests == 1


@pytest.mark.parametrize("way", ["request", "reply"])
def test_whichever_message_is_lost_the_books_are_right(servers: Servers, way: Way) -> None:
    server = servers.database("mariadb")
    url = server.migrated_database()
    with FusedCable(server.port, way) as line:
        books = Books(url.replace(f":{server.port}/", f":{line.port}/"))
        user_id = books.add_user({REQUESTS: 10_000})
        for number in itertools.count(1):
            old = [entry(user_id) for _ in range(3)]
            books.write(*[Reserving(one) for one in old])
            deeds = [*(Settling(bill(one)) for one in old), *(Reserving(entry(user_id)) for _ in range(3))]
            line.fuse.arm(number)
            books.write(*deeds)
            blown = line.fuse.blown
            line.fuse.arm(0)
            for one in old:  # as long as it takes, by who was not told
                while error_of(lambda one=one: books.rounds.settle(bill(one))):  # type: ignore[misc]
                    pass
            if not blown:
                break
        states = books.states()
        assert number > 5
        assert states["settled"] == 3 * number
        assert books.used(user_id) == Amounts(3 * number, 54 * number, 6 * number)
        assert books.held(user_id) == Amounts(states["reserved"], 30 * states["reserved"], 3 * states["reserved"])
        books.database.engine.dispose()


def test_whichever_statement_fails_nothing_is_half_written(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers.migrated_sqlite(tmp_path / "books.db")
    books = Books(f"sqlite:///{tmp_path / 'books.db'}")
    user_id = books.add_user({REQUESTS: 1000})
    real = books.database.in_one_go

    class Failing:
        """Fails at its n-th statement, and at all that follow, as on a disk that does."""

        def __init__(self, on: Any, left: int) -> None:
            self._on, self.dialect, self.left = on, on.dialect, left

        def exec_driver_sql(self, statement: str, parameters: Any = None, /) -> Any:
            self.left -= 1
            if self.left < 0:
                raise sqlite3.OperationalError("disk I/O error")
            return self._on.exec_driver_sql(statement, parameters)

    for number in range(4):
        old = entry(user_id)
        assert books.rounds.reserve(old) is None
        before = books.rows()
        deeds = [Settling(bill(old)), Reserving(entry(user_id))]

        monkeypatch.setattr(books.database, "in_one_go", lambda work, n=number: real(lambda on: work(Failing(on, n))))
        books.write(*deeds)
        assert [type(deed.error) for deed in deeds] == [Unavailable, Unavailable]
        assert books.rows() == before

        monkeypatch.setattr(books.database, "in_one_go", real)
        assert books.rounds.settle(bill(old))
    assert books.held(user_id) == Amounts()
    assert books.used(user_id).requests == 4
    books.database.engine.dispose()


def error_of(call: Callable[[], Any]) -> Exception | None:
    try:
        call()
    except Unavailable as error:
        return error
    return None


# Who asks may be gone


def test_what_is_put_behind_a_reserve_ends_it(books: Books) -> None:
    user_id = books.add_user({REQUESTS: 5})
    asked = entry(user_id)

    books.rounds._rounds.put(Reserving(asked))
    books.rounds.settle_unseen(bill(asked))

    eventually(lambda: books.states() == {"settled": 1})
    assert books.held(user_id) == Amounts()


def test_who_is_ended_while_it_waits_leaves_nothing(
    make_app: AppFactory, monkeypatch: pytest.MonkeyPatch, provider: ScriptedProvider
) -> None:
    app = make_app({"openai": chat_entry(provider)})
    desk, ledger, rounds = services(app).desk, services(app).books.ledger, services(app).desk._rounds._rounds
    hold = ledger.prepare_counted(Booking("usr_1", "gen_1", "sees"), "openai", "sees", 10, 20)

    def ended(deed: Reserving) -> None:
        rounds.put(deed)
        raise GreenletExit

    monkeypatch.setattr(rounds, "do", ended)
    with pytest.raises(GreenletExit):
        desk.reserve(Held(), hold)

    eventually(lambda: [row.state for row in entries(app)] == ["released"])
