"""The checker sees each kind of fault: a good history passes, and every rule has histories that break it."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.evidence import Evidence
from tests.chaos.history import Frame, History, Reading, Stop, Turn
from tests.chaos.invariants import RULES, violations

Break = Callable[[Evidence], object]


def frame(seq: int, kind: str, **fields: Any) -> Frame:
    return Frame(seq, json.dumps({"type": kind} | fields, separators=(",", ":")).encode(), float(seq), 3000)


def complete(seq: int, text: str, **fields: Any) -> Frame:
    return frame(seq, "complete", message={"content": text, "end_reason": "stop"} | fields)


USED = {"total_requests_used": 1, "total_tokens_used": 5, "total_cost_used": 7}


def evidence() -> Evidence:
    """One turn that went well: two events of text, and a second reader who came after the first of them."""
    turn = Turn("t1", "t1? hello", 3000, 0.0, 200, session_id="sess_1", generation_id="gen_1")
    frames = [
        frame(1, "start"),
        frame(2, "content", content="a "),
        frame(3, "content", content="b"),
        complete(4, "a b"),
    ]
    readings = [Reading("gen_1", 0, list(frames)), Reading("gen_1", 2, frames[2:])]
    stop = Stop("gen_1", 3000, 9.0, 10.0, 200, "already_finished")
    tokens = {"prompt_tokens": 3, "completion_tokens": 2}
    answer = {"status": "completed", "end_reason": "stop"}
    return Evidence(
        History([turn], readings, [stop]),
        {"gen_1": {"id": "gen_1", "message_id": "msg_2", "finished_at": "now"} | answer | tokens},
        {
            "msg_1": {"role": "user", "session_id": "sess_1", "text": turn.message},
            "msg_2": {"role": "assistant", "session_id": "sess_1", "text": "a b"} | answer,
        },
        [call("complete", "a b", 0.0, usage_reported=tokens)],
        [bill(1)],
        [{"user_id": "usr_1"} | USED | {"requests_held": 0, "tokens_held": 0, "cost_held": 0}],
    )


def call(end: str, text: str, started: float, **fields: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": "t1? hello"}]}
    times = {"started_mono": started, "ended_mono": started + 1, "closed_mono": None}
    return {"body": body, "model": "m", "text_sent": text, "end": end, "usage_reported": None} | times | fields


def bill(attempt: int, **fields: Any) -> dict[str, Any]:
    state = {"state": "settled", "source": "provider", "settled_at": "now"}
    known = {"generation_id": "gen_1", "kind": "chat", "prompt_tokens": 3, "completion_tokens": 2}
    return {"attempt": attempt, "user_id": "usr_1", "budgeted": True, "cost": 7} | known | state | fields


def set_bill(*rows: dict[str, Any]) -> Break:
    return lambda found: found.ledger.__setitem__(slice(None), rows)


def set_budget(**fields: Any) -> Break:
    return lambda found: found.budgets[0].update(fields)


def row(found: Evidence, table: str, key: str) -> dict[str, Any]:
    rows: dict[str, dict[str, Any]] = getattr(found, table)
    return rows[key]


def set_generation(**fields: Any) -> Break:
    return lambda found: row(found, "generations", "gen_1").update(fields)


def set_answer(**fields: Any) -> Break:
    return lambda found: row(found, "messages", "msg_2").update(fields)


def set_frames(*frames: Frame) -> Break:
    return lambda found: found.history.readings[0].frames.__setitem__(slice(None), frames)


def set_stop(**fields: Any) -> Break:
    return lambda found: found.history.stops.__setitem__(0, replace(found.history.stops[0], **fields))


def set_calls(*calls: dict[str, Any]) -> Break:
    return lambda found: found.upstream.__setitem__(slice(None), calls)


def both(*breaks: Break) -> Break:
    return lambda found: [one(found) for one in breaks]


START, A, B = evidence().history.readings[0].frames[:3]
BROKEN: list[tuple[str, str, Break]] = [
    ("no_acknowledged_message_is_lost", "the user's", lambda found: found.messages.pop("msg_1")),
    ("no_acknowledged_message_is_lost", "the answer's", lambda found: found.messages.pop("msg_2")),
    ("no_acknowledged_message_is_lost", "the generation", lambda found: found.generations.pop("gen_1")),
    (
        "no_message_is_there_twice",
        "the user's",
        lambda found: found.messages.update(msg_3=found.messages["msg_1"]),
    ),
    ("every_generation_has_ended_once", "left running", set_generation(status="running")),
    ("every_generation_has_ended_once", "no time of the end", set_generation(finished_at=None)),
    ("every_generation_has_ended_once", "two opinions", set_answer(status="interrupted")),
    ("every_reader_learns_the_end", "silence", set_frames(START, A, B)),
    ("every_reader_learns_the_end", "nothing at all", set_frames()),
    ("every_reader_learns_the_end", "twice", set_frames(START, A, B, complete(4, "a b"), complete(5, "a b"))),
    ("ids_follow_each_other", "a gap", set_frames(START, B, complete(4, "b"))),
    ("ids_follow_each_other", "a repeat", set_frames(START, A, A, B, complete(4, "a a b"))),
    ("ids_follow_each_other", "from the start again", set_frames(START, A, START, A, B, complete(4, "a b"))),
    (
        "ids_follow_each_other",
        "backwards",
        set_frames(START, A, frame(1, "replace", content="a b"), complete(4, "a b")),
    ),
    ("ids_follow_each_other", "not from the start", set_frames(A, B, complete(4, "a b"))),
    ("an_id_means_one_event", "other text", set_frames(START, A, frame(3, "content", content="c"), complete(4, "a c"))),
    ("saved_is_what_the_reader_has", "more on the screen", set_answer(text="a ")),
    ("saved_is_what_the_reader_has", "less on the screen", set_frames(START, A, complete(3, "a b"))),
    ("saved_is_what_the_reader_has", "another last event", set_frames(START, A, B, complete(4, "a"))),
    (
        "saved_is_what_the_reader_has",
        "a replace is not applied",
        set_frames(START, A, B, frame(4, "replace", content="a"), complete(5, "a b")),
    ),
    ("complete_is_all_that_the_provider_said", "cut off", set_calls(call("complete", "a b c", 0.0))),
    ("complete_is_all_that_the_provider_said", "never whole", set_calls(call("fault:cut", "a b", 0.0))),
    ("complete_is_all_that_the_provider_said", "never asked", set_calls()),
    (
        "complete_is_all_that_the_provider_said",
        "a partial of other text",
        both(
            set_calls(call("client_closed", "x y z", 0.0)),
            set_generation(status="stopped"),
            set_answer(status="stopped"),
        ),
    ),
    ("tokens_are_the_providers", "more", set_generation(completion_tokens=3)),
    ("tokens_are_the_providers", "none", set_generation(prompt_tokens=None)),
    ("tokens_are_the_providers", "billed more", set_bill(bill(1, completion_tokens=3))),
    ("tokens_are_the_providers", "billed twice", set_bill(bill(1), bill(2))),
    ("tokens_are_the_providers", "guessed", set_bill(bill(1, source="estimated"))),
    ("the_books_are_closed", "left reserved", set_bill(bill(1, state="reserved", settled_at=None))),
    ("the_books_are_closed", "not in them", set_bill()),
    ("the_books_are_closed", "an attempt is missing", set_bill(bill(1), bill(3))),
    ("the_books_are_closed", "an attempt is there twice", set_bill(bill(1), bill(1))),
    ("what_was_written_is_billed_once", "for nothing", set_bill(bill(1, state="released", completion_tokens=None))),
    ("what_was_written_is_billed_once", "twice", set_bill(bill(1), bill(2, source="partial"))),
    ("the_balance_is_the_ledgers", "a turn is not counted", set_budget(total_requests_used=0)),
    ("the_balance_is_the_ledgers", "tokens are counted twice", set_budget(total_tokens_used=10)),
    ("the_balance_is_the_ledgers", "money is lost", set_budget(total_cost_used=6)),
    ("the_balance_is_the_ledgers", "held for nobody", set_budget(requests_held=1)),
    ("the_balance_is_the_ledgers", "negative", set_budget(tokens_held=-1)),
    ("a_stop_tells_the_truth", "not stopped", set_stop(state="stopped")),
    (
        "a_stop_tells_the_truth",
        "still reading",
        both(
            set_generation(status="stopped"),
            set_answer(status="stopped"),
            set_stop(state="stopped", answered_at=0.1),
            set_calls(call("client_closed", "a b", 0.0, closed_mono=0.7)),
        ),
    ),
    (
        "a_stop_tells_the_truth",
        "never closed",
        both(
            set_generation(status="stopped"),
            set_answer(status="stopped"),
            set_stop(state="stopped"),
            set_calls(call("", "a b", 0.0, ended_mono=None)),
        ),
    ),
    ("no_target_is_hammered", "five in two seconds", set_calls(*(call("complete", "a b", n / 2) for n in range(5)))),
]


def test_what_went_well_passes() -> None:
    assert violations(evidence()) == []


@pytest.mark.parametrize(("name", "what", "damage"), BROKEN, ids=[f"{name}: {what}" for name, what, _ in BROKEN])
def test_what_is_broken_is_seen(name: str, what: str, damage: Break) -> None:
    found = evidence()
    damage(found)

    assert any(case.startswith(f"{name}: ") for case in violations(found))


def test_every_rule_has_a_history_that_breaks_it() -> None:
    assert {name for name, _, _ in BROKEN} == set(RULES)


def test_a_snapshot_in_place_of_missed_events_is_no_gap() -> None:
    found = evidence()
    set_frames(START, frame(3, "replace", content="a b"), complete(4, "a b"))(found)

    assert violations(found) == []


def test_an_answer_cut_short_by_a_stop_is_good_as_a_beginning() -> None:
    found = evidence()
    for damage in (
        set_generation(status="stopped", end_reason="user_stop"),
        set_answer(status="stopped", end_reason="user_stop"),
        set_stop(state="stopped", answered_at=0.5),
        set_calls(call("client_closed", "a b c d", 0.0, closed_mono=0.6)),
        set_bill(bill(1, source="partial")),
    ):
        damage(found)

    assert violations(found) == []


def test_four_attempts_and_a_fifth_later_are_no_hammering() -> None:
    found = evidence()
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    set_calls(*(call("complete", "a b", at, usage_reported=usage) for at in (0.0, 0.5, 1.0, 2.0, 3.5)))(found)

    assert violations(found) == []
