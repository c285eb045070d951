"""The ledger is added up in the background, and reports say all the while what its rows say."""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import chain, combinations
from typing import Any

import pytest
import sqlalchemy as sa
from flask_openapi import OpenAPI

from domain.clock import now
from domain.generation import EndReason
from domain.reports import Grouping, Span, Used, spans
from domain.usage import Usage
from models import LedgerEntity, UsageMarkEntity, UsageSumEntity, db
from services.charges import Charge
from services.ledger import Hold
from tests.actors import Actor, ok
from tests.books import entries
from tests.chats import begin, chat, entry, eventually, services, told
from tests.conftest import AppFactory
from tests.races import at_once
from tests.scripted_provider.client import ScriptedProvider

USED = {"prompt_tokens": 11, "completion_tokens": 7}
FIRST, LAST = date(2025, 11, 20), date(2026, 2, 10)
EVERY_GROUPING = list(chain.from_iterable(combinations(Grouping, size) for size in range(len(Grouping) + 1)))
FIGURES = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "cost")
pytestmark = pytest.mark.usefixtures("every_database")


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    return make_app({"openai": entry(provider)}, AUTO_TITLE=False)


def some_rows(chance: random.Random, turns: int) -> list[LedgerEntity]:
    """Turns of a few users over three months, with further attempts, titles, and all states."""
    rows = []
    for number in range(turns):
        moment = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) + timedelta(
            days=chance.randrange((LAST - FIRST).days + 1),
            microseconds=chance.choice((0, 86_399_999_999, 7_200_000_000)),
        )
        user = chance.choice(("usr_a", "usr_b", "usr_c"))
        key = chance.choice((None, None, f"key_{user}_1", f"key_{user}_2"))
        kind = chance.choice(("chat", "completion"))
        attempts = range(1, chance.choice((2, 2, 2, 3, 4)))
        rows += [row_of(chance, f"gen_{number}", attempt, kind, moment, user, key) for attempt in attempts]
        if kind == "chat" and chance.random() < 0.3:
            rows.append(row_of(chance, f"gen_{number}", 1, "title", moment + timedelta(seconds=5), user, key))
    return rows


def row_of(
    chance: random.Random, generation: str, attempt: int, kind: str, moment: datetime, user: str, key: str | None
) -> LedgerEntity:
    state = chance.choice(("settled", "settled", "settled", "released"))
    known = state == "settled"
    return LedgerEntity(
        id=f"led_{generation}_{kind}_{attempt}",
        user_id=user,
        key_id=key,
        generation_id=generation,
        attempt=attempt,
        kind=kind,
        provider=chance.choice(("openai", "local")),
        model=chance.choice(("sees", "blind")),
        public_model="any",
        state=state,
        input_price=chance.choice((None, 5)),
        prompt_tokens=chance.randrange(1000) if known else None,
        cached_tokens=chance.randrange(10) if known else None,
        completion_tokens=chance.randrange(1000) if known else None,
        reasoning_tokens=chance.randrange(10) if known else None,
        cost=chance.randrange(2**40) if known else 0,
        held_tokens=0,
        held_cost=0,
        budgeted=False,
        key_budgeted=False,
        created_at=moment,
    )


def counted(rows: Sequence[LedgerEntity], by: Sequence[Grouping], wanted: Callable[[LedgerEntity], bool]) -> set[Used]:
    """The report, row by row."""
    groups: dict[tuple[Any, ...], list[LedgerEntity]] = defaultdict(list)
    for row in rows:
        if row.state == "settled" and wanted(row):
            names = {
                Grouping.DAY: {"day": str(row.created_at.date())},
                Grouping.MODEL: {"provider": row.provider, "model": row.model},
                Grouping.USER: {"user_id": row.user_id},
                Grouping.KEY: {"key_id": row.key_id},
            }
            told = {name: value for grouping in by for name, value in names[grouping].items()}
            groups[tuple(told.items())].append(row)
    if not by and not groups:
        groups[()] = []
    return {
        Used(
            turns=len({row.generation_id for row in some if row.kind != "title"}),
            requests=len(some),
            unpriced=sum(row.input_price is None for row in some),
            **{name: sum(getattr(row, name) for row in some) for name in FIGURES},
            **dict(told),
        )
        for told, some in groups.items()
    }


def store(app: OpenAPI, rows: Sequence[LedgerEntity]) -> None:
    with app.app_context():
        db.session.add_all(rows)
        db.session.commit()
        for row in rows:
            db.session.refresh(row)
            db.session.expunge(row)


def step(app: OpenAPI, horizon: datetime, most: int = 10_000) -> datetime:
    with services(app).sessions._unit_of_work() as uow:
        mark = uow.usage_sums.add_up(horizon, most=most)
        uow.commit()
    return mark


def add_up(app: OpenAPI, horizon: datetime, most: int = 10_000) -> None:
    while step(app, horizon, most) < horizon:
        pass


def reported(app: OpenAPI, first: date, last: date, by: Sequence[Grouping], **of: str | None) -> list[Used]:
    with services(app).sessions._unit_of_work(writes=False) as uow:
        return uow.usage.report(first, last, by, **({"user_id": None} | of), limit=10_000)


def test_reports_say_what_the_rows_say_however_far_they_are_added_up(app: OpenAPI) -> None:
    chance = random.Random(7)
    rows = some_rows(chance, 400)
    store(app, rows)
    for horizon in (
        FIRST - timedelta(days=1),
        date(2025, 12, 1),
        date(2025, 12, 17),
        date(2026, 1, 5),
        date(2027, 1, 1),
    ):
        add_up(app, datetime(horizon.year, horizon.month, horizon.day, 2, tzinfo=UTC), most=chance.choice((1, 40)))
        for by in EVERY_GROUPING:
            first = FIRST + timedelta(days=chance.choice((0, 0, 11, 12, 13, 60)))
            last = max(first, LAST - timedelta(days=chance.choice((0, 0, 10, 11, 41))))
            of = chance.choice(({}, {}, {"user_id": "usr_a"}, {"key_id": "key_usr_b_1"}, {"user_id": "usr_x"}))

            def wanted(row: LedgerEntity, first: date = first, last: date = last, of: dict[str, str] = of) -> bool:
                return first <= row.created_at.date() <= last and all(getattr(row, name) == of[name] for name in of)

            answer = reported(app, first, last, by, **of)

            assert set(answer) == counted(rows, by, wanted), (horizon, by, first, last, of)
            assert len(answer) == len(set(answer))


def test_the_first_groups_are_those_of_sums_and_rows_together(app: OpenAPI) -> None:
    rows = some_rows(random.Random(8), 100)
    store(app, rows)
    add_up(app, datetime(2026, 1, 1, tzinfo=UTC))
    everything = reported(app, FIRST, LAST, (Grouping.USER, Grouping.DAY))

    with services(app).sessions._unit_of_work(writes=False) as uow:
        few = uow.usage.report(FIRST, LAST, (Grouping.USER, Grouping.DAY), user_id=None, limit=30)

    assert few == everything[:30]
    assert [(used.user_id, used.day) for used in few] == sorted((used.user_id, used.day) for used in few)


def test_what_has_not_ended_is_not_passed(app: OpenAPI, admin: Actor) -> None:
    chat(admin, told(words=5, usage=USED))
    running = begin(admin, told(words=3, first_token_ms=2_000, usage=USED))
    eventually(lambda: entries(app, state="reserved"))
    chat(admin, told(words=5, usage=USED))
    (reserved,) = entries(app, state="reserved")
    with services(app).sessions._unit_of_work(writes=False) as uow:
        horizon = uow.usage_sums.horizon(timedelta(0))

    assert horizon == reserved.created_at
    add_up(app, horizon)
    assert ok(admin.get("/api/v1/usage"))["total"]["turns"] == 2
    running.events()
    assert ok(admin.get("/api/v1/usage"))["total"]["turns"] == 3
    add_up(app, now())
    assert ok(admin.get("/api/v1/usage"))["total"]["turns"] == 3


def test_what_is_settled_behind_the_mark_is_added_at_once(app: OpenAPI, admin: Actor) -> None:
    """As where the clock of a node is behind those of the others."""
    chat(admin, told(words=5, usage=USED))
    ledger = services(app).books.ledger
    (done,) = entries(app)
    with app.app_context():
        db.session.execute(sa.update(LedgerEntity).values(state="reserved", created_at=now() - timedelta(days=2)))
        db.session.execute(sa.update(UsageMarkEntity).values(until=now() - timedelta(minutes=1)))
        db.session.commit()
    assert ok(admin.get("/api/v1/usage"))["total"]["turns"] == 0

    with services(app).sessions._unit_of_work() as uow:
        late = uow.ledger.reserved(done.generation_id, done.kind)
        assert late
        charge = Charge("openai", done.model, Usage(5, 6))
        assert ledger.settle(uow, Hold(late, {}), [charge, Charge("local", "blind", Usage(1, 1))], EndReason.STOP)
        uow.commit()

    total = ok(admin.get("/api/v1/usage?group_by=model"))["total"]
    assert (total["turns"], total["requests"], total["total_tokens"]) == (1, 2, 13)
    add_up(app, now())
    assert ok(admin.get("/api/v1/usage?group_by=model"))["total"] == total


@pytest.mark.parametrize("path", ["/api/v1/chat", "/v1/chat/completions"])
def test_a_mark_that_is_ahead_of_a_clock_hides_nothing(app: OpenAPI, admin: Actor, path: str) -> None:
    with app.app_context():
        db.session.execute(sa.update(UsageMarkEntity).values(until=now() + timedelta(hours=1)))
        db.session.commit()
    asked = told(words=5, usage=USED)

    for _ in range(2):
        body = {"message": asked} if path == "/api/v1/chat" else chat_body(asked)
        assert admin.post(path, body).status_code == 200

    assert ok(admin.get("/api/v1/usage"))["total"]["total_tokens"] == 36


def chat_body(text: str) -> dict[str, Any]:
    return {"model": "sees", "messages": [{"role": "user", "content": text}]}


def test_nodes_that_add_up_at_once_count_each_row_once(app: OpenAPI) -> None:
    rows = some_rows(random.Random(9), 200)
    store(app, rows)
    horizon = datetime(2026, 3, 1, tzinfo=UTC)

    at_once(*(lambda: add_up(app, horizon, most=20) for _ in range(4)))

    assert set(reported(app, FIRST, LAST, ())) == counted(rows, (), lambda _: True)
    with app.app_context():
        days = db.session.scalar(sa.select(sa.func.sum(UsageSumEntity.requests)).filter_by(grain="all", span="day"))
    assert days == sum(row.state == "settled" for row in rows)


def test_the_bookkeeper_adds_all_up_but_the_newest(app: OpenAPI) -> None:
    rows = some_rows(random.Random(10), 20)
    store(app, rows)

    services(app).books.bookkeeper.add_up()

    with services(app).sessions._unit_of_work(writes=False) as uow:
        behind = now() - uow.usage_sums.mark()
    assert timedelta(minutes=2) <= behind < timedelta(minutes=3)
    assert set(reported(app, FIRST, LAST, (Grouping.KEY,))) == counted(rows, (Grouping.KEY,), lambda _: True)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("2026-01-06", "2026-01-17", [("day", "2026-01-06", "2026-01-17")]),
        ("2026-01-05", "2026-01-18", [("week", "2026-01-05", "2026-01-12")]),
        (
            "2026-01-03",
            "2026-01-30",
            [
                ("week", "2026-01-05", "2026-01-19"),
                ("day", "2026-01-03", "2026-01-04"),
                ("day", "2026-01-26", "2026-01-30"),
            ],
        ),
        ("2026-01-01", "2026-01-31", [("month", "2026-01-01", "2026-01-01")]),
        ("2026-01-31", "2026-02-01", [("day", "2026-01-31", "2026-02-01")]),
        (
            "2025-11-20",
            "2026-02-10",
            [
                ("month", "2025-12-01", "2026-01-01"),
                ("week", "2025-11-24", "2025-11-24"),
                ("day", "2025-11-20", "2025-11-23"),
                ("week", "2026-02-02", "2026-02-02"),
                ("day", "2026-02-01", "2026-02-01"),
                ("day", "2026-02-09", "2026-02-10"),
            ],
        ),
        ("9999-12-31", "9999-12-31", [("day", "9999-12-31", "9999-12-31")]),
        ("0001-01-01", "0001-01-31", [("month", "0001-01-01", "0001-01-01")]),
    ],
)
def test_days_are_taken_by_months_and_weeks_where_these_are_whole(
    first: str, last: str, expected: list[tuple[str, str, str]]
) -> None:
    found = spans(date.fromisoformat(first), date.fromisoformat(last))

    assert found == [(Span(span), date.fromisoformat(start), date.fromisoformat(end)) for span, start, end in expected]
