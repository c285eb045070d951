"""Branches of a session: answered again, edited, chosen; and turns that race for one place."""

import json
from functools import partial
from typing import Any

import pytest
from flask_openapi import OpenAPI

from tests.actors import Actor, ok, refused
from tests.races import at_once

pytestmark = pytest.mark.usefixtures("every_database")


def _chat(user: Actor, message: str, session_id: str | None = None) -> dict[str, Any]:
    return dict(ok(user.post("/api/v1/chat", {"message": message, "session_id": session_id})))


def _messages(user: Actor, session_id: str) -> list[dict[str, Any]]:
    return list(ok(user.get(f"/api/v1/sessions/{session_id}/messages?limit=100"))["items"])


def _texts(user: Actor, session_id: str) -> list[str]:
    return [message["content"] for message in _messages(user, session_id) if message["role"] == "user"]


def test_an_earlier_answer_stays_beside_the_new_one_and_can_be_chosen_again(user: Actor) -> None:
    first = _chat(user, "one")
    again = ok(user.post("/api/v1/chat/regenerate", {"message_id": first["message"]["id"]}))

    both = [first["message"]["id"], again["message"]["id"]]
    assert again["message"]["siblings"] == both
    assert [m["id"] for m in _messages(user, first["session_id"])][1:] == both[1:]

    chosen = ok(user.post("/api/v1/chat/choose", {"message_id": both[0]}))

    assert chosen["siblings"] == both
    assert [m["id"] for m in _messages(user, first["session_id"])][1:] == both[:1]


def test_an_edited_message_begins_a_branch_and_choosing_the_old_one_brings_back_what_followed(user: Actor) -> None:
    session_id = _chat(user, "one")["session_id"]
    _chat(user, "two", session_id)
    _chat(user, "three", session_id)
    before = _messages(user, session_id)

    ok(user.post("/api/v1/chat/edit", {"message_id": before[2]["id"], "message": "two, in other words"}))

    assert _texts(user, session_id) == ["one", "two, in other words"]
    ok(user.post("/api/v1/chat/choose", {"message_id": before[2]["id"]}))
    assert [m["id"] for m in _messages(user, session_id)] == [m["id"] for m in before]


def test_the_first_message_can_be_edited_too(user: Actor) -> None:
    session_id = _chat(user, "one")["session_id"]
    first = _messages(user, session_id)[0]

    ok(user.post("/api/v1/chat/edit", {"message_id": first["id"], "message": "uno"}))

    assert _texts(user, session_id) == ["uno"]
    assert len(_messages(user, session_id)[0]["siblings"]) == 2


def test_what_is_not_on_the_branch_cannot_be_gone_on_from(user: Actor) -> None:
    first = _chat(user, "one")
    old_question = _messages(user, first["session_id"])[0]
    ok(user.post("/api/v1/chat/edit", {"message_id": old_question["id"], "message": "uno"}))

    again = user.post("/api/v1/chat/regenerate", {"message_id": first["message"]["id"]})
    edited = user.post("/api/v1/chat/edit", {"message_id": old_question["id"], "message": "eins"})
    chosen = user.post("/api/v1/chat/choose", {"message_id": first["message"]["id"]})

    for response in (again, edited, chosen):
        refused(response, 409, "not_on_branch")


def test_an_answer_cannot_be_edited_as_if_it_were_the_users(user: Actor) -> None:
    answer = _chat(user, "one")["message"]

    response = user.post("/api/v1/chat/edit", {"message_id": answer["id"], "message": "I never said that"})

    refused(response, 422, "wrong_role")


def test_of_turns_that_race_for_one_place_the_losers_leave_nothing(user: Actor) -> None:
    session_id = _chat(user, "one")["session_id"]

    def send(number: int) -> tuple[int, str]:
        response = user.post("/api/v1/chat", {"message": f"racer {number}", "session_id": session_id})
        return response.status_code, response.get_json().get("code", "")

    outcomes = at_once(*(partial(send, number) for number in range(6)))

    won = sum(status == 200 for status, _ in outcomes)
    assert won >= 1
    assert {code for status, code in outcomes if status != 200} <= {"session_busy", "session_changed", "conflict"}
    # Each winner's question has its answer behind it, in one unbroken row.
    messages = _messages(user, session_id)
    assert len(messages) == 2 + 2 * won
    assert [m["role"] for m in messages] == ["user", "assistant"] * (1 + won)
    assert [m["parent_id"] for m in messages] == [None, *(m["id"] for m in messages[:-1])]
    assert all(len(m["siblings"]) == 1 for m in messages)


def test_clearing_the_context_keeps_the_history(user: Actor, app: OpenAPI) -> None:
    session_id = _chat(user, "one")["session_id"]

    ok(user.delete(f"/api/v1/sessions/{session_id}/context"))
    _chat(user, "two", session_id)

    assert _texts(user, session_id) == ["one", "two"]
    usage = json.loads(user.get(f"/api/v1/chat/usage?sessionId={session_id}").get_data())["data"]
    assert usage["generations"] == 2
