"""The event log of this process."""

import threading
import time

import pytest

from repositories import log_ring
from repositories.memory_event_log import MemoryEventLog


@pytest.fixture
def log() -> MemoryEventLog:
    log = MemoryEventLog()
    log.open("gen", 1, "session")
    return log


def _payloads(log: MemoryEventLog, after: int) -> list[tuple[int, bytes]]:
    batch = log.read("gen", after, 0)
    assert batch is not None
    return list(batch.events)


def test_events_are_numbered_from_one(log: MemoryEventLog) -> None:
    assert log.append("gen", [b"a", b"b"]) == 2
    assert log.append("gen", [b"c"]) == 3

    assert _payloads(log, 0) == [(1, b"a"), (2, b"b"), (3, b"c")]


def test_a_reader_goes_on_from_any_point(log: MemoryEventLog) -> None:
    log.append("gen", [b"%d" % n for n in range(10)])

    for seen in range(11):
        assert _payloads(log, seen) == [(n + 1, b"%d" % n) for n in range(seen, 10)]


def test_an_unknown_log_is_none_and_a_quiet_one_is_empty(log: MemoryEventLog) -> None:
    assert log.read("other", 0, 0) is None
    assert _payloads(log, 0) == []


def test_the_end_is_told_with_the_last_event(log: MemoryEventLog) -> None:
    log.append("gen", [b"a"], last=True)

    batch = log.read("gen", 0, 5)

    assert batch is not None
    assert (list(batch.events), batch.ended) == ([(1, b"a")], True)
    again = log.read("gen", 1, 5)
    assert again is not None
    assert (list(again.events), again.ended) == ([], True)


def test_many_readers_each_get_everything_in_order(log: MemoryEventLog) -> None:
    seen: list[list[bytes]] = [[] for _ in range(8)]

    def follow(mine: list[bytes]) -> None:
        after, ended = 0, False
        while not ended:
            batch = log.read("gen", after, 5)
            assert batch is not None
            mine.extend(event for _, event in batch.events)
            after, ended = after + len(batch.events), batch.ended

    readers = [threading.Thread(target=follow, args=(mine,)) for mine in seen]
    for reader in readers:
        reader.start()
    for n in range(300):
        log.append("gen", [b"%d" % n], last=n == 299)
        if n % 50 == 0:
            time.sleep(0.001)
    for reader in readers:
        reader.join(10)

    assert seen == [[b"%d" % n for n in range(300)]] * 8


def test_ended_logs_are_forgotten_after_a_while_and_running_ones_never(
    log: MemoryEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.open("done", 1, "session")
    log.append("done", [b"x"], last=True)
    monkeypatch.setattr(log_ring, "_KEEP_S", -1)

    log.open("next", 1, "session")

    assert log.read("done", 0, 0) is None
    assert log.read("gen", 0, 0) is not None


def test_memory_is_bounded_by_forgetting_the_oldest_ended_logs(
    log: MemoryEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_ring, "_MAX_BYTES", 10_000)
    log.append("gen", [b"x" * 20_000])  # it runs, and stays
    for name in ("first", "second", "third"):
        log.open(name, 1, "session")
        log.append(name, [b"x" * 6_000], last=True)

    log.open("next", 1, "session")

    assert log.read("first", 0, 0) is None
    assert log.read("second", 0, 0) is None
    assert log.read("third", 0, 0) is not None
    assert _payloads(log, 0) == [(1, b"x" * 20_000)]


def test_many_small_logs_are_bounded_too(log: MemoryEventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_ring, "_MAX_BYTES", 100_000)
    for n in range(1000):
        log.open(f"small {n}", 1, "session")
        log.append(f"small {n}", [b"x"], last=True)

    kept = sum(log.read(f"small {n}", 0, 0) is not None for n in range(1000))

    assert 0 < kept < 120


def test_a_log_that_ends_empty_wakes_its_readers(log: MemoryEventLog) -> None:
    batches = []
    reader = threading.Thread(target=lambda: batches.append(log.read("gen", 0, 60)))
    reader.start()

    log.append("gen", [], last=True)
    reader.join(10)

    assert [(list(batch.events), batch.ended) for batch in batches] == [([], True)]
