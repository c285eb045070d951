"""Fills a database with what years of use would leave in it: rows made up, and written the fastest way there is.

The same ``rows`` give the same database. Nothing but the ledger's rows depends on their number.
"""

import contextlib
import json
import random
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from domain.identifiers import id_from, new_id
from models import ApiKeyEntity, GenerationEntity, LedgerEntity, MessageEntity, SessionEntity, UserEntity
from models.database import UtcDateTime

USERS = 1_000
KEYS = 300
MODELS = 20
SHORT, LONG = 10, 10_000  # messages of a session
FEW, MANY = 10, 100_000  # sessions of a user
_AT_ONCE = 20_000
_DAYS = 365
_WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "seven", "wizards", "box")
Row = dict[str, Any]
_Caller = tuple[str, str | None, str]  # user, key, model


def fill_sessions(engine: sa.Engine) -> None:
    """Two users with sessions: ``user-few`` has 10, one of them long, and ``user-many`` 100,000."""
    begun = datetime.now(UTC) - timedelta(days=_DAYS)
    for user, sessions, lengths in (("few", FEW, {"short": SHORT, "long": LONG}), ("many", MANY, {"of many": SHORT})):
        user_id, ids = new_id("usr"), [new_id("sess") for _ in lengths]
        _load(engine, UserEntity, [_user(user, user_id, begun)])
        _load(engine, SessionEntity, _sessions(user_id, dict(zip(ids, lengths, strict=True)), sessions, begun))
        for session, length in zip(ids, lengths.values(), strict=True):
            messages = list(_messages(session, user_id, length, begun))
            _load(engine, MessageEntity, messages)
            _load(engine, GenerationEntity, (_generation(row) for row in messages if row["generation_id"]))


def fill_ledger(engine: sa.Engine, count: int) -> None:
    """``count`` rows over a year, of 1,000 users, of whom a hundred have three keys each, and 20 models.

    Few use much and many little, as it is. One row in a hundred was released, one in a hundred is of another attempt.
    """
    begun = datetime.now(UTC) - timedelta(days=_DAYS)
    users = [id_from("usr", _digest("user", number)) for number in range(USERS)]
    keys = {id_from("key", _digest("key", number)): users[number // 3] for number in range(KEYS)}
    _load(engine, UserEntity, (_user(number, user, begun) for number, user in enumerate(users)))
    _load(engine, ApiKeyEntity, (_key(key, user, begun) for key, user in keys.items()))
    with _without_indexes(engine, LedgerEntity):
        _load(engine, LedgerEntity, _entries(count, users, keys, begun))


def _entries(count: int, users: Sequence[str], keys: dict[str, str], begun: datetime) -> Iterator[Row]:
    chance, pause = random.Random(count), timedelta(days=_DAYS) / count
    callers = list(_callers(chance, users, keys))
    weights = [1 / (place + 10) for place in range(len(callers))]
    chance.shuffle(weights)
    for first in range(0, count, _AT_ONCE):
        for number, caller in enumerate(chance.choices(callers, weights, k=min(_AT_ONCE, count - first)), first):
            yield _entry(number, caller, begun + number * pause)


def _callers(chance: random.Random, users: Sequence[str], keys: dict[str, str]) -> Iterator[_Caller]:
    """Who asks: a user, perhaps with a key, for one of three models that they like."""
    for user, key in [*((user, None) for user in users), *((user, key) for key, user in keys.items())]:
        for model in chance.sample(range(MODELS), 3):
            yield user, key, f"model-{model}"


def _entry(number: int, caller: _Caller, moment: datetime) -> Row:
    user, key, model = caller
    released, second = number % 100 == 0, number % 100 == 2
    priced = None if model == "model-0" else 2_500_000
    tokens = 100 + number % 900
    at = moment.strftime("%Y-%m-%d %H:%M:%S.%f")
    return {
        "id": f"led_{number:026d}",
        "user_id": user,
        "key_id": key,
        "session_id": None,
        "generation_id": f"gen_{number:026d}",
        "attempt": 1 + second,
        "kind": "completion" if key else "chat",
        "provider": "openai",
        "model": model,
        "public_model": model,
        "state": "released" if released else "settled",
        "source": None if released else "provider",
        "end_reason": "upstream_error" if released else "stop",
        "error_code": None,
        "prompt_tokens": None if released else tokens,
        "cached_tokens": None if released else tokens // 3,
        "completion_tokens": None if released else 200,
        "reasoning_tokens": None if released else 20,
        **dict.fromkeys(("input_price", "cached_price", "output_price", "reasoning_price"), priced),
        "cost": 0 if released or priced is None else tokens * 2500,
        "held_tokens": 5000,
        "held_cost": 0,
        "budgeted": 0,
        "key_budgeted": 0,
        "created_at": at,
        "settled_at": at,
    }


def _user(number: int | str, user: str, moment: datetime) -> Row:
    name = f"user-{number}"
    return _columns(
        UserEntity, id=user, username=name, login_name=name, password_hash="-", role="USER", is_active=1, at=moment
    )


def _key(key: str, user: str, moment: datetime) -> Row:
    lists = {"scopes": '["chat"]', "models": None, "addresses": None, "tools": None}
    told = {"id": key, "user_id": user, "name": "program", "prefix": "uc_", "key_hash": key, "created_by": user}
    return _columns(ApiKeyEntity, **told, **lists, disabled=0, budgeted=0, at=moment)


def _sessions(user: str, named: dict[str, str], count: int, begun: datetime) -> Iterator[Row]:
    """``named``: id -> title of the first ones."""
    pause, titles = timedelta(days=_DAYS) / count, list(named.items())
    for number in range(count):
        session_id, title = titles[number] if number < len(titles) else (new_id("sess"), _sentence(number))
        yield _columns(
            SessionEntity,
            id=session_id,
            user_id=user,
            kind="chat",
            title=title,
            title_source="words",
            system_prompt="",
            pinned=int(number % 20_000 == 3),
            archived=0,
            context_start=0,
            at=begun + number * pause,
        )


def _messages(session: str, user: str, count: int, begun: datetime) -> Iterator[Row]:
    parent = None
    for position in range(count):
        text, answers = _sentence(position), position % 2
        row = _columns(
            MessageEntity,
            id=new_id("msg"),
            session_id=session,
            user_id=user,
            parent_id=parent,
            position=position,
            role="assistant" if answers else "user",
            parts=json.dumps([{"type": "text", "text": text}]),
            text=text,
            status="completed",
            end_reason="stop" if answers else None,
            provider="openai" if answers else None,
            model="bench" if answers else None,
            generation_id=new_id("gen") if answers else None,
            at=begun + timedelta(seconds=position),
        )
        parent = row["id"]
        yield row


def _generation(message: Row) -> Row:
    names = ("session_id", "user_id", "status", "end_reason", "provider", "model", "created_at")
    row = {name: message[name] for name in names} | {"id": message["generation_id"], "message_id": message["id"]}
    counted = {"prompt_tokens": 100, "completion_tokens": 20, "usage_source": "provider", "last_seq": 3}
    lease = {"owner": "nobody", "epoch": 1, "lease_until": message["created_at"], "stop_requested": 0}
    return _columns(GenerationEntity) | row | counted | lease | {"context_limit": 128_000}


def _sentence(number: int) -> str:
    chance = random.Random(number)
    return " ".join(chance.choices(_WORDS, k=12)) + f" {number}"


def _digest(kind: str, number: int) -> bytes:
    return random.Random(f"{kind}{number}").randbytes(16)


def _columns(entity: Any, at: datetime | None = None, **values: Any) -> Row:
    """A row with every column of the entity; its times are ``at``, and what is not told is NULL."""
    text = at.strftime("%Y-%m-%d %H:%M:%S.%f") if at else None
    times = {column.name: text for column in entity.__table__.c if isinstance(column.type, UtcDateTime)}
    optional = {column.name for column in entity.__table__.c if column.nullable}
    empty = dict.fromkeys((column.name for column in entity.__table__.c), None)
    return empty | {name: time for name, time in times.items() if name not in optional} | values


@contextlib.contextmanager
def _without_indexes(engine: sa.Engine, entity: Any) -> Iterator[None]:
    """The table's indexes are made when its rows are there: that is many times as fast."""
    indexes = list(entity.__table__.indexes)
    if engine.dialect.name == "mysql":  # it sorts while it loads
        yield
        return
    for index in indexes:
        index.drop(engine)
    yield
    for index in indexes:
        index.create(engine)


def _load(engine: sa.Engine, entity: Any, rows: Iterable[Row]) -> None:
    names = [column.name for column in entity.__table__.c]
    table, values = entity.__tablename__, (tuple(row[name] for name in names) for row in rows)
    load = {"sqlite": _into_sqlite, "mysql": _into_mariadb, "postgresql": _into_postgresql}[engine.dialect.name]
    load(engine, table, names, values)


_Values = Iterator[tuple[Any, ...]]


def _into_sqlite(engine: sa.Engine, table: str, names: Sequence[str], values: _Values) -> None:
    statement = f"INSERT INTO {table} ({','.join(names)}) VALUES ({','.join('?' * len(names))})"  # ours
    with contextlib.closing(engine.raw_connection()) as connection:
        for pragma in ("synchronous=OFF", "cache_size=-500000"):
            connection.cursor().execute(f"PRAGMA {pragma}")
        for some in _parts(values):
            connection.cursor().executemany(statement, some)
            connection.commit()


def _into_mariadb(engine: sa.Engine, table: str, names: Sequence[str], values: _Values) -> None:
    with contextlib.closing(engine.raw_connection()) as connection, tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        cursor = connection.cursor()
        for check in ("unique_checks", "foreign_key_checks"):
            cursor.execute(f"SET {check} = 0")
        for some in _parts(values, 10):
            file = Path(folder, "rows")
            file.write_text("".join("\t".join(map(_written, row)) + "\n" for row in some))
            cursor.execute(f"LOAD DATA INFILE '{file}' INTO TABLE {table} ({','.join(names)})")
            connection.commit()


def _written(value: Any) -> str:
    """As LOAD DATA reads it; nothing here has a tab or a backslash."""
    return r"\N" if value is None else str(value)


def _into_postgresql(engine: sa.Engine, table: str, names: Sequence[str], values: _Values) -> None:
    with contextlib.closing(engine.raw_connection()) as connection:
        for some in _parts(values):
            with connection.cursor().copy(f"COPY {table} ({','.join(names)}) FROM STDIN") as copy:
                for row in some:
                    copy.write_row(row)
            connection.commit()


def _parts(values: _Values, times: int = 1) -> Iterator[list[tuple[Any, ...]]]:
    while some := list(islice(values, _AT_ONCE * times)):
        yield some
