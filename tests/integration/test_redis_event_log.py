"""The event log on Redis: the same events for every worker, whatever becomes of Redis or of a worker meanwhile."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from typing import Any

import pytest

from repositories import log_outbox, log_tail
from repositories.log_scripts import keys
from repositories.redis_event_log import RedisEventLog
from repositories.redis_link import RedisLink
from tests.chats import eventually
from tests.races import at_once
from tests.servers import Redis

LogFactory = Callable[[str], RedisEventLog]


@pytest.fixture
def log_on() -> Iterator[LogFactory]:
    """Makes the log of one more worker on the Redis at a URL."""
    numbers = count(1)
    with ExitStack() as cleanup:

        def make(url: str) -> RedisEventLog:
            link = RedisLink(url)
            cleanup.callback(link.close)
            log = RedisEventLog(link, f"worker-{next(numbers)}")
            cleanup.callback(log.close)
            log.tail.start()
            return log

        yield make


def _all(
    log: RedisEventLog, generation_id: str = "gen", after: int = 0, seconds: float = 20
) -> list[tuple[int, bytes]]:
    """Everything up to the end, once it can be read."""
    events: list[tuple[int, bytes]] = []
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        batch = log.read(generation_id, after + len(events), 1)
        if batch is None:
            time.sleep(0.02)
            continue
        events += batch.events
        if batch.ended:
            return events
    raise AssertionError(f"no end: {events!r}")


def _stored(log: RedisEventLog, generation_id: str = "gen") -> list[tuple[bytes, dict[bytes, bytes]]]:
    found: list[Any] = log._link.call(lambda client: client.xrange(keys(generation_id)[0]))
    return [(entry_id, fields) for entry_id, fields in found]


def _numbered(payloads: list[bytes]) -> list[tuple[int, bytes]]:
    return list(enumerate(payloads, 1))


def _is_sent(log: RedisEventLog) -> bool:
    return log.outbox.lag_s == 0


def test_another_worker_reads_the_same_events_as_they_come(redis: Redis, log_on: LogFactory) -> None:
    one, other = log_on(redis.url), log_on(redis.url)
    one.open("gen", 1, "session")
    one.append("gen", [b"1", b"2"])
    eventually(lambda: other.read("gen", 0, 0))
    payloads = [b"1", b"2"]

    for n in range(3, 40):
        one.append("gen", [b"%d" % n])
        payloads.append(b"%d" % n)
        time.sleep(0.003)
    one.append("gen", [b"last"], last=True)

    assert _all(other) == _all(one) == _numbered([*payloads, b"last"])


def test_reading_on_elsewhere_after_any_event_gives_the_rest(redis: Redis, log_on: LogFactory) -> None:
    one, other = log_on(redis.url), log_on(redis.url)
    one.open("gen", 1, "session")
    one.append("gen", [b"%d" % n for n in range(1, 30)], last=True)
    whole = _all(one)

    for seen in range(30):
        assert _all(other, after=seen) == whole[seen:]


def test_a_log_that_nobody_has_begun_is_none(redis: Redis, log_on: LogFactory) -> None:
    assert log_on(redis.url).read("gen", 0, 0) is None


def test_event_numbers_are_the_entries_ids_and_the_end_is_marked(redis: Redis, log_on: LogFactory) -> None:
    log = log_on(redis.url)
    log.open("gen", 1, "session")
    log.append("gen", [b"a", b"b"])
    log.append("gen", [b"c"], last=True)
    eventually(lambda: len(_stored(log)) == 4)

    assert _stored(log) == [
        (b"1-0", {b"d": b"a"}),
        (b"2-0", {b"d": b"b"}),
        (b"3-0", {b"d": b"c"}),
        (b"3-1", {b"end": b"1"}),
    ]
    assert log._link.call(lambda client: [client.ttl(key) for key in keys("gen")]) == pytest.approx([300, 300], abs=5)


def test_what_arrived_though_the_answer_was_lost_is_not_stored_twice(redis: Redis, log_on: LogFactory) -> None:
    log = log_on(redis.url)
    log.open("gen", 1, "session")
    log.append("gen", [b"a", b"b"])
    eventually(lambda: _is_sent(log))
    log.outbox._logs["gen"].sent = 0  # as after a timeout

    log.append("gen", [b"c"], last=True)
    eventually(lambda: len(_stored(log)) == 4)

    assert [fields.get(b"d") for _, fields in _stored(log)] == [b"a", b"b", b"c", None]


def test_many_readers_of_a_log_cost_one_read(redis: Redis, log_on: LogFactory) -> None:
    one, other = log_on(redis.url), log_on(redis.url)
    one.open("gen", 1, "session")
    one.append("gen", [b"a"])
    eventually(lambda: other.read("gen", 0, 0))
    before = redis.calls("xread")

    def read_all() -> list[tuple[int, bytes]]:
        return _all(other)

    def write() -> list[tuple[int, bytes]]:
        for n in range(20):
            one.append("gen", [b"%d" % n], last=n == 19)
            time.sleep(0.005)
        return []

    whole, *_ = found = at_once(*[read_all] * 20, write)

    assert list(found) == [whole] * 20 + [[]]
    assert redis.calls("xread") - before < 60  # of two workers


def test_logs_are_sent_together(redis: Redis, log_on: LogFactory) -> None:
    log = log_on(redis.url)
    names = [f"gen-{n}" for n in range(200)]
    for name in names:
        log.open(name, 1, "session")
    for n in range(5):
        for name in names:
            log.append(name, [b"%d" % n], last=n == 4)

    other = log_on(redis.url)
    for name in names:
        assert _all(other, name) == _numbered([b"0", b"1", b"2", b"3", b"4"])


def test_short_logs_that_come_together_cost_one_command(redis: Redis, log_on: LogFactory) -> None:
    log = log_on(redis.url)
    _write_short(log, ["first"])
    eventually(lambda: _is_sent(log))  # and its script is known
    before = redis.calls("evalsha"), redis.calls("xadd")

    _write_short(log, ["one", "two", "three"])
    eventually(lambda: _is_sent(log))

    assert (redis.calls("evalsha") - before[0], redis.calls("xadd") - before[1]) == (1, 9)
    assert _all(log_on(redis.url), "two") == _numbered([b"a", b"b"])


def _write_short(log: RedisEventLog, names: list[str]) -> None:
    for name in names:
        log.open(name, 1, "session")
        log.append(name, [b"a"])
        log.append(name, [b"b"], last=True)


def test_of_a_new_log_hears_who_follows_its_session_once_and_finds_it(redis: Redis, log_on: LogFactory) -> None:
    one, other = log_on(redis.url), log_on(redis.url)
    heard: list[tuple[str, bool]] = []
    one.signals.listen("turn", lambda name: heard.append((name, True)))
    other.signals.listen("turn", lambda name: heard.append((name, other.read(f"gen-{name}", 0, 0) is not None)))
    eventually(lambda: other.tail._places.get("unichat:signals"))

    other.signals.follow(["mine", "also-mine"])
    for name in ("mine", "others"):
        one.open(f"gen-{name}", 1, name)
        for n in range(3):
            one.append(f"gen-{name}", [b"%d" % n], last=n == 2)
            time.sleep(0.05)

    eventually(lambda: heard)
    time.sleep(0.1)
    assert heard == [("mine", True)]


# Stops, and who may write


def test_the_writer_hears_of_a_stop_from_another_worker_at_once(redis: Redis, log_on: LogFactory) -> None:
    one, other = log_on(redis.url), log_on(redis.url)
    heard: list[str] = []
    one.signals.listen("stop", heard.append)
    other.signals.listen("stop", heard.append)
    one.open("gen", 1, "session")
    eventually(lambda: one.tail._places.get("unichat:signals"))

    other.request_stop("gen")

    eventually(lambda: heard)
    time.sleep(0.1)
    assert heard == ["gen"]


def test_a_stop_that_nobody_heard_comes_back_with_the_next_append(redis: Redis, log_on: LogFactory) -> None:
    one, other = log_on(redis.url), log_on(redis.url)
    one.tail.close()
    time.sleep(1.2)  # it hears nothing any more
    heard: list[str] = []
    one.signals.listen("stop", heard.append)
    one.open("gen", 1, "session")
    other.request_stop("gen")
    eventually(lambda: _is_sent(other))

    one.append("gen", [b"a"])

    eventually(lambda: heard == ["gen"])


def test_a_listener_that_fails_keeps_nobody_from_the_news(redis: Redis, log_on: LogFactory) -> None:
    one, other = log_on(redis.url), log_on(redis.url)
    heard: list[str] = []

    def fail(_: str) -> None:
        raise ValueError

    one.signals.listen("stop", fail)
    one.signals.listen("stop", heard.append)
    one.open("gen", 1, "session")
    other.request_stop("gen")
    eventually(lambda: _is_sent(other))
    one.append("gen", [b"a"])

    eventually(lambda: heard)
    one.append("gen", [b"b"], last=True)
    assert _all(other) == _numbered([b"a", b"b"])


def test_a_former_writer_is_shut_out_and_told(redis: Redis, log_on: LogFactory) -> None:
    one, reaper = log_on(redis.url), log_on(redis.url)
    lost: list[str] = []
    one.signals.listen("lost", lost.append)
    one.open("gen", 1, "session")
    one.append("gen", [b"a"])
    eventually(lambda: _is_sent(one))

    reaper.cut("gen", 1)
    one.append("gen", [b"b"])

    eventually(lambda: lost == ["gen"])
    assert list(reaper.replay("gen")) == [b"a"]


def test_readers_of_a_log_that_was_cut_get_what_there_is_and_then_none(redis: Redis, log_on: LogFactory) -> None:
    one, reaper = log_on(redis.url), log_on(redis.url)
    one.open("gen", 1, "session")
    one.append("gen", [b"a", b"b"])
    _first(reaper)
    waiting = at_once(lambda: reaper.read("gen", 2, 20), lambda: reaper.cut("gen", 1))

    assert waiting[0] is None
    for reader in (reaper, log_on(redis.url)):
        first = _first(reader)
        assert (list(first.events), first.ended) == (_numbered([b"a", b"b"]), False)
        assert reader.read("gen", 2, 20) is None


def test_a_log_that_has_ended_is_not_cut(redis: Redis, log_on: LogFactory) -> None:
    one, reaper = log_on(redis.url), log_on(redis.url)
    one.open("gen", 1, "session")
    one.append("gen", [b"a"], last=True)
    eventually(lambda: _is_sent(one))

    for _ in range(2):
        reaper.cut("gen", 1)

    assert _all(reaper) == _numbered([b"a"])


def test_a_log_that_is_not_there_is_not_cut(redis: Redis, log_on: LogFactory) -> None:
    log = log_on(redis.url)

    log.cut("gen", 1)

    assert (log.read("gen", 0, 0), list(log.replay("gen"))) == (None, [])


# Redis away


def _write(log: RedisEventLog, numbers: range, *, last: bool = False) -> None:
    for n in numbers:
        log.append("gen", [b"%d" % n], last=last and n == numbers[-1])
        time.sleep(0.002)


def _whole(most: int) -> list[tuple[int, bytes]]:
    return [(n, b"%d" % n) for n in range(1, most + 1)]


@pytest.mark.parametrize("fault", ["stopped", "frozen"])
def test_while_redis_is_away_readers_here_notice_nothing_and_others_go_on_afterwards(
    own_redis: Redis, log_on: LogFactory, fault: str
) -> None:
    one, other = log_on(own_redis.url), log_on(own_redis.url)
    one.open("gen", 1, "session")
    _write(one, range(1, 20))
    seen = eventually(lambda: (batch := other.read("gen", 0, 0)) and batch.events)

    own_redis.stop() if fault == "stopped" else own_redis.freeze()
    started = time.monotonic()
    _write(one, range(20, 60))
    here = one.read("gen", 0, 0)
    took = time.monotonic() - started
    eventually(lambda: other.read("gen", 60, 0.1) is None)  # for what is missing there is the database now
    own_redis.start_again() if fault == "stopped" else own_redis.thaw()
    _write(one, range(60, 80), last=True)

    assert here is not None
    assert list(here.events) == _whole(59)
    assert took < 10
    assert _all(other, after=len(seen)) == _whole(79)[len(seen) :]
    assert _all(log_on(own_redis.url)) == _whole(79)


def test_a_log_that_redis_has_lost_is_written_anew_with_the_next_event(redis: Redis, log_on: LogFactory) -> None:
    one, other = log_on(redis.url), log_on(redis.url)
    one.open("gen", 1, "session")
    _write(one, range(1, 1200))
    eventually(lambda: _is_sent(one))
    redis.flush()

    _write(one, range(1200, 1201), last=True)

    assert _all(other) == _whole(1200)


def test_a_log_that_ends_while_redis_is_away_is_there_when_it_is_back(own_redis: Redis, log_on: LogFactory) -> None:
    one = log_on(own_redis.url)
    own_redis.stop()
    one.open("gen", 1, "session")
    _write(one, range(1, 50), last=True)

    own_redis.start_again()

    assert _all(log_on(own_redis.url)) == _whole(49)


def test_what_is_left_at_the_end_of_a_worker_still_goes_out(redis: Redis, log_on: LogFactory) -> None:
    one = log_on(redis.url)
    one.open("gen", 1, "session")
    one.append("gen", [b"a", b"b"], last=True)

    one.close()

    assert [fields.get(b"d") for _, fields in _stored(log_on(redis.url))] == [b"a", b"b", None]


# Bounds


def test_a_log_that_is_too_large_goes_on_here_and_is_cut_off_elsewhere(redis: Redis, log_on: LogFactory) -> None:
    one, other = log_on(redis.url), log_on(redis.url)
    one.open("gen", 1, "session")
    large = [b"%d" % n + b"x" * 100_000 for n in range(60)]
    for event in large:
        one.append("gen", [event])
    one.append("gen", [b"complete"], last=True)
    most = log_outbox._MAX_LOG_BYTES // 100_002

    seen: list[tuple[int, bytes]] = []
    while (batch := other.read("gen", len(seen), 20) if seen else _first(other)) is not None:
        seen += batch.events
        assert not batch.ended

    assert _all(one) == _numbered([*large, b"complete"])
    assert seen == _numbered(large[: len(seen)])
    assert most - 2 <= len(seen) <= most


def _first(log: RedisEventLog) -> Any:
    return eventually(lambda: log.read("gen", 0, 1))


def test_what_nobody_reads_any_more_is_let_go(
    redis: Redis, log_on: LogFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_tail, "_IDLE_S", 0.1)
    one, other = log_on(redis.url), log_on(redis.url)
    one.open("gen", 1, "session")
    one.append("gen", [b"a"])
    eventually(lambda: other.read("gen", 0, 0))

    eventually(lambda: other.rings.get("gen") is None)
    one.append("gen", [b"b"], last=True)

    assert _all(other) == _numbered([b"a", b"b"])
