"""What must hold whatever has happened. Each rule yields a sentence for every case in which it does not."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from tests.chaos.evidence import Evidence, Row
from tests.chaos.history import Frame, Reading

Rule = Callable[[Evidence], Iterator[str]]

RULES: dict[str, Rule] = {}

_FINAL = {"completed", "stopped", "failed", "interrupted"}
_STOP_S = 0.5  # from the answer `stopped` to the provider's seeing its socket closed
_ATTEMPTS, _WITHIN_S = 4, 3.0  # upstream calls for one turn on one target


def rule(check: Rule) -> Rule:
    """Make a function a rule of the checker."""
    RULES[check.__name__] = check
    return check


def violations(evidence: Evidence) -> list[str]:
    """Every case in which a rule does not hold; empty is good."""
    return [f"{name}: {case}" for name, check in RULES.items() for case in check(evidence)]


@rule
def no_acknowledged_message_is_lost(evidence: Evidence) -> Iterator[str]:
    """The user's message, the answer's and the generation are there for every turn that was acknowledged."""
    messages = {(row["session_id"], row["text"]) for row in evidence.messages.values() if row["role"] == "user"}
    answered = {generation_id for generation_id, _, _ in evidence.answers()}
    for turn in evidence.history.acknowledged():
        if (turn.session_id, turn.message) not in messages:
            yield f"{turn.tag} has no message of the user in {turn.session_id}"
        if turn.generation_id not in answered:
            yield f"{turn.tag} has no generation {turn.generation_id} with a message"


@rule
def no_message_is_there_twice(evidence: Evidence) -> Iterator[str]:
    """One message was sent, one is there."""
    seen: set[str] = set()
    for row in evidence.messages.values():
        if row["role"] == "user" and row["text"] in seen:
            yield f"{row['text'][:40]!r} is there again in {row['session_id']}"
        seen.add(row["text"] if row["role"] == "user" else "")


@rule
def every_generation_has_ended_once(evidence: Evidence) -> Iterator[str]:
    """Its row and its message's say the same of it, and that is an end."""
    for generation in evidence.generations.values():
        message = evidence.messages.get(generation["message_id"])
        if generation["status"] not in _FINAL or not generation["finished_at"]:
            yield f"{generation['id']} is {generation['status']}"
        elif message and (message["status"], message["end_reason"]) != (generation["status"], generation["end_reason"]):
            yield f"{generation['id']} is {generation['status']}, its message {message['status']}"


@rule
def every_reader_learns_the_end(evidence: Evidence) -> Iterator[str]:
    """One last event, and nothing after it."""
    for reading in evidence.history.readings:
        if not reading.ended:
            yield f"a reader of {reading.generation_id} was left at {reading.last_seq} {reading.gave_up}"
        elif sum(frame.is_terminal for frame in reading.frames) > 1:
            yield f"a reader of {reading.generation_id} was told the end more than once"


@rule
def ids_follow_each_other(evidence: Evidence) -> Iterator[str]:
    """No id comes again, and none is left out, save where all that was missed comes as one `replace`."""
    for reading in evidence.history.readings:
        before = reading.after
        for frame in reading.frames:
            if not _follows(before, frame):
                yield f"a reader of {reading.generation_id} got {frame.seq} after {before}"
            before = frame.seq


def _follows(seq: int, frame: Frame) -> bool:
    return frame.seq == seq + 1 or (frame.seq > seq and frame.data.startswith(b'{"type":"replace"'))


@rule
def an_id_means_one_event(evidence: Evidence) -> Iterator[str]:
    """All readers get the same event by the same id, save where one gets a `replace` for what is not there any more."""
    seen: dict[tuple[str, int], bytes] = {}
    for reading in evidence.history.readings:
        for frame in reading.frames:
            other = seen.setdefault((reading.generation_id, frame.seq), frame.data)
            stands_in = any(data.startswith(b'{"type":"replace"') for data in (other, frame.data))
            if other != frame.data and not stands_in and not _is_shortened(reading, frame):
                yield f"{frame.seq} of {reading.generation_id} is two events: {other[:60]!r}, {frame.data[:60]!r}"


def _is_shortened(reading: Reading, frame: Frame) -> bool:
    # Nobody has counted the events of a worker that died: there the end has other numbers for each reader.
    return reading.ended and frame.is_terminal and frame.parsed().get("message", {}).get("end_reason") == "node_lost"


@rule
def saved_is_what_the_reader_has(evidence: Evidence) -> Iterator[str]:
    """The text on the screen, the text in the last event and the text in the database are one."""
    saved = {generation_id: message["text"] for generation_id, _, message in evidence.answers()}
    for reading in evidence.history.readings:
        if not reading.ended or reading.after or reading.generation_id not in saved:
            continue
        said = reading.frames[-1].parsed().get("message", {}).get("content")
        if not said == reading.text() == saved[reading.generation_id]:
            lengths = [len(said or ""), len(reading.text()), len(saved[reading.generation_id])]
            yield f"{reading.generation_id} has {lengths} characters in the last event, on the screen, in the database"


@rule
def complete_is_all_that_the_provider_said(evidence: Evidence) -> Iterator[str]:
    """A completed answer is a whole answer of the provider's; any other is the beginning of one.

    Whole is what has its finish reason: what may follow, a count and an end marker, can get lost.
    """
    for generation_id, generation, message in evidence.answers():
        entries = evidence.calls_of(generation_id)
        whole = [entry["text_sent"] for entry in entries if entry["end"] == "complete" or entry.get("finished")]
        if generation["status"] == "completed" and message["text"] not in whole:
            yield f"{generation_id} is completed, {len(message['text'])} characters; the provider sent {_ends(entries)}"
        elif message["text"] and not any(entry["text_sent"].startswith(message["text"]) for entry in entries):
            yield f"{generation_id} has text that the provider has not sent: {message['text'][-40:]!r}"


def _ends(entries: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(entry["end"], len(entry["text_sent"])) for entry in entries]


@rule
def tokens_are_the_providers(evidence: Evidence) -> Iterator[str]:
    """A completed answer is counted, and billed, as the provider has reported; nothing is billed that it has not."""
    for generation_id, generation, _ in evidence.answers():
        calls = [call for call in evidence.calls_of(generation_id) if call["usage_reported"]]
        reported = [_tokens(call["usage_reported"]) for call in calls]
        arrived = any(call["end"] == "complete" for call in calls)  # else the count may have been lost on its way
        billed = [_tokens(row) for row in evidence.bill(generation_id) if row["source"] == "provider"]
        if Counter(billed) - Counter(reported):
            yield f"{generation_id} is billed as {billed}, the provider reported {reported}"
        counted = _tokens(generation)
        if generation["status"] == "completed" and arrived and counted not in reported:
            yield f"{generation_id} is counted as {counted}, the provider reported {reported}"
        if generation["status"] == "completed" and arrived and counted not in billed:
            yield f"{generation_id} is counted as {counted} and billed as {billed}"


def _tokens(row: Row) -> tuple[int | None, int | None]:
    return row["prompt_tokens"], row["completion_tokens"]


@rule
def the_books_are_closed(evidence: Evidence) -> Iterator[str]:
    """Every generation has a row for each attempt, once, and none is left reserved."""
    for generation_id in evidence.generations:
        attempts = sorted(row["attempt"] for row in evidence.bill(generation_id))
        if not attempts or attempts != list(range(1, len(attempts) + 1)):
            yield f"{generation_id} has rows for the attempts {attempts}"
    for row in evidence.ledger:
        if row["state"] == "reserved" or not row["settled_at"]:
            yield f"{row['generation_id']} is left {row['state']}"


@rule
def what_was_written_is_billed_once(evidence: Evidence) -> Iterator[str]:
    """A message with text has cost something, and no more rows have a price than requests were made."""
    for generation_id, _, message in evidence.answers():
        settled = [row for row in evidence.bill(generation_id) if row["state"] == "settled"]
        if message["text"] and not any(row["completion_tokens"] for row in settled):
            yield f"{generation_id} has text and no tokens"
        requests = evidence.calls_of(generation_id)
        if len(settled) > len(requests):
            yield f"{generation_id} is settled {len(settled)} times for {len(requests)} requests"


@rule
def the_balance_is_the_ledgers(evidence: Evidence) -> Iterator[str]:
    """What a budget says was used is what the ledger's rows add up to; it holds nothing, and owes nothing."""
    for budget in evidence.budgets:
        rows = [row for row in evidence.ledger if row["user_id"] == budget["user_id"] and row["budgeted"]]
        settled = [row for row in rows if row["state"] == "settled"]
        used = {
            "requests": len({row["generation_id"] for row in settled if row["kind"] == "chat"}),
            "tokens": sum((row["prompt_tokens"] or 0) + (row["completion_tokens"] or 0) for row in settled),
            "cost": sum(row["cost"] for row in settled),
        }
        for measure, sum_of_rows in used.items():
            if budget[f"total_{measure}_used"] != sum_of_rows:
                yield f"{budget[f'total_{measure}_used']} {measure} are counted, the ledger has {sum_of_rows}"
            if budget[f"{measure}_held"] != 0:
                yield f"{budget[f'{measure}_held']} {measure} are held for nobody"


@rule
def a_stop_tells_the_truth(evidence: Evidence) -> Iterator[str]:
    """Once it has answered `stopped`, the provider's socket is closed and the generation saved as stopped."""
    for stop in evidence.history.stops:
        if stop.state != "stopped":
            continue
        status = evidence.generations.get(stop.generation_id, {}).get("status")
        if status != "stopped":
            yield f"{stop.generation_id} was answered stopped and is {status}"
        for entry in evidence.calls_of(stop.generation_id):
            late = (entry["closed_mono"] or entry["ended_mono"] or float("inf")) - stop.answered_at
            if late > _STOP_S:
                yield f"the provider's socket of {stop.generation_id} was open {late:.2f} s after the answer"


@rule
def no_target_is_hammered(evidence: Evidence) -> Iterator[str]:
    """Never more than 4 calls in 3 s for one turn on one target."""
    for tag, entries in evidence.calls.items():
        by_target: dict[str, list[float]] = {}
        for entry in entries:
            by_target.setdefault(entry["model"], []).append(entry["started_mono"])
        for model, times in by_target.items():
            if any(later - first <= _WITHIN_S for first, later in zip(times, times[_ATTEMPTS:], strict=False)):
                yield f"{model} was asked {len(times)} times for {tag}"
