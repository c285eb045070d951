"""The older API's routes: the same sessions by another name, and streams of named events."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from models import db
from tests.actors import Actor, refused, set_up, sign_in
from tests.conftest import AppFactory, NodeFactory
from tests.listener import Event, Listener, parsed, text_of

ok = Actor.ok
JSON_ONLY = {"Accept": "application/json"}
HELLO = "This is UniChat's offline echo provider; no model was asked. You wrote: hello"


@pytest.fixture
def app(make_app: AppFactory) -> OpenAPI:
    return make_app(SSE_HEARTBEAT_INTERVAL_MS=200, MAX_STREAMS_PER_USER=3, AUTO_TITLE=False)


@pytest.fixture
def session_id(user: Actor) -> str:
    return str(ok(user.post("/api/v1/context/conversations", {}), 201)["conversation_id"])


@pytest.fixture
def stream(session_id: str) -> str:
    return f"/api/v1/chat/{session_id}/stream"


def begin(user: Actor, stream: str, message: str) -> Any:
    return ok(user.post(stream, {"message": message}, headers=JSON_ONLY), 202)


def ticket(user: Actor, session_id: str) -> str:
    return str(ok(user.post("/api/v1/auth/tickets", {"session_id": session_id}), 201)["ticket"])


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events]


# Sessions by their older name


def test_a_conversation_is_a_session(user: Actor) -> None:
    made = ok(user.post("/api/v1/context/conversations", {"title": "Old", "ai_provider": "echo"}), 201)
    session = ok(user.get(f"/api/v1/sessions/{made['conversation_id']}"))

    assert set(made) == {"conversation_id", "title", "provider", "model", "created_at", "updated_at"}
    assert {name: made[name] for name in ("title", "provider", "model", "created_at")} == {
        name: session[name] for name in ("title", "provider", "model", "created_at")
    }
    assert ok(user.get("/api/v1/context/conversations"))["items"] == [made]


def test_a_conversation_comes_with_its_messages(user: Actor, session_id: str) -> None:
    ok(user.post(f"/api/v1/chat/{session_id}", {"message": "hello"}))
    path = f"/api/v1/context/conversations/{session_id}"
    whole = ok(user.get(path))
    first = ok(user.get(f"{path}?limit=1"))

    assert [(message["role"], message["content"]) for message in whole["messages"]] == [
        ("user", "hello"),
        ("assistant", HELLO),
    ]
    assert whole["next_cursor"] is None
    assert first["messages"] == whole["messages"][:1]
    assert ok(user.get(f"{path}?limit=1&cursor={first['next_cursor']}"))["messages"] == whole["messages"][1:]


def test_clearing_a_conversation_keeps_its_history(user: Actor, session_id: str) -> None:
    ok(user.post(f"/api/v1/chat/{session_id}", {"message": "hello"}))
    ok(user.delete(f"/api/v1/context/conversations/{session_id}/context"))
    ok(user.post(f"/api/v1/chat/{session_id}", {"message": "again"}))
    usage = ok(user.get(f"/api/v1/chat/usage?session_id={session_id}"))

    assert len(ok(user.get(f"/api/v1/context/conversations/{session_id}"))["messages"]) == 4
    assert usage["prompt_tokens"] == 2  # the echo counts words: "hello", then "again" alone


# Turns


def test_an_answer_as_the_older_api_gives_it(user: Actor, session_id: str) -> None:
    assert ok(user.post(f"/api/v1/chat/{session_id}", {"message": "hello"})) == {
        "session_id": session_id,
        "response": HELLO,
    }


def test_routes_with_a_name_win_over_those_with_an_id(user: Actor, session_id: str) -> None:
    ok(user.post(f"/api/v1/chat/{session_id}", {"message": "hello"}))

    assert ok(user.post("/api/v1/chat/stop", {"session_id": session_id}))["state"] == "already_finished"
    assert ok(user.get(f"/api/v1/chat/usage?sessionId={session_id}"))["generations"] == 1
    assert ok(user.post("/api/v1/chat/completion", {"message": "hello"}))["message"]["content"] == HELLO
    assert user.post("/api/v1/chat/stream", {"message": "hello"}).mimetype == "text/event-stream"
    assert ok(user.post("/api/v1/chat/regenerate", {"session_id": session_id}))["session_id"] == session_id


def test_a_turn_as_named_events(user: Actor, session_id: str, stream: str) -> None:
    response = user.post(stream, {"message": "hello"})
    events = list(parsed([response.get_data()]))
    start, end = events[0].data, events[-1].data

    assert response.headers["X-Accel-Buffering"] == "no"
    assert names(events) == ["start", *["chunk"] * (len(events) - 2), "end"]
    assert (start["session_id"], start["provider"], start["model"]) == (session_id, "echo", "echo")
    assert text_of(events) == end["response"] == HELLO
    assert (end["status"], end["end_reason"], end["usage"]["source"]) == ("completed", "stop", "provider")
    assert {key: end[key] for key in ("session_id", "generation_id", "message_id")} == {
        key: start[key] for key in ("session_id", "generation_id", "message_id")
    }
    numbers = [int(event.id.removeprefix(f"{start['generation_id']}:")) for event in events]
    assert numbers == sorted(set(numbers))


def test_reasoning_is_no_part_of_what_a_client_appends(user: Actor, stream: str) -> None:
    events = list(parsed([user.post(stream, {"message": "/echo reasoning=1 hello"}).get_data()]))
    thoughts = "".join(event.data.get("reasoning", "") for event in events)

    assert thoughts.startswith("There is nothing to think about")
    assert text_of(events) == events[-1].data["response"]


@pytest.mark.parametrize("code", ["provider_rate_limited", "upstream_cut", "provider_timeout"])
def test_a_failed_turn_ends_with_one_error_that_holds_what_came(user: Actor, stream: str, code: str) -> None:
    events = list(parsed([user.post(stream, {"message": f"/echo fail={code} after=3 hello"}).get_data()]))

    assert names(events).count("error") == 1
    assert "end" not in names(events)
    error = events[-1].data
    assert (error["code"], error["status"], error["retryable"]) == (code, "failed", True)
    assert error["response"] == text_of(events) == "This is UniChat's"
    assert error["message"]


def test_a_stopped_turn_ends_as_one(user: Actor, stream: str) -> None:
    listener = Listener(user.get(stream))
    begun = begin(user, stream, "/echo pace=100 hello")
    listener.next("chunk")
    ok(user.post("/api/v1/chat/stop", {"generation_id": begun["generation_id"]}))

    end = listener.next("end", "error")
    assert (end.name, end.data["status"], end.data["end_reason"]) == ("end", "stopped", "user_stop")


def test_with_accept_json_a_turn_begins_and_is_followed_elsewhere(user: Actor, session_id: str, stream: str) -> None:
    begun = begin(user, stream, "hello")

    assert set(begun) == {"session_id", "generation_id", "message_id"}
    assert begun["session_id"] == session_id
    assert ok(user.get(f"/api/v1/generations/{begun['generation_id']}"))["message_id"] == begun["message_id"]


@pytest.mark.parametrize("accept", [None, "*/*", "text/event-stream", "text/event-stream, application/json;q=0.9"])
def test_all_others_get_the_stream(user: Actor, stream: str, accept: str | None) -> None:
    response = user.post(stream, {"message": "hello"}, headers={"Accept": accept} if accept else {})

    assert response.mimetype == "text/event-stream"


# Following a session

WAYS: dict[str, Callable[[Actor, str], TestResponse]] = {
    "older": lambda user, session: user.post(f"/api/v1/chat/{session}", {"message": "hello"}),
    "older stream": lambda user, session: user.post(f"/api/v1/chat/{session}/stream", {"message": "hello"}),
    "native": lambda user, session: user.post("/api/v1/chat", {"session_id": session, "message": "hello"}),
    "native stream": lambda user, session: user.post(
        "/api/v1/chat/stream", {"session_id": session, "message": "hello"}
    ),
    "again": lambda user, session: user.post("/api/v1/chat/regenerate", {"session_id": session}),
}


def test_a_follower_gets_every_turn_whoever_begins_it(user: Actor, session_id: str, stream: str) -> None:
    listener = Listener(user.get(stream))

    for way, start in WAYS.items():
        start(user, session_id).get_data()
        events = listener.generation()
        assert (names(events)[0], names(events)[-1]) == ("start", "end"), way
        assert text_of(events) == events[-1].data["response"] != "", way


def test_a_follower_who_comes_late_gets_the_running_turn_from_its_beginning(user: Actor, stream: str) -> None:
    ok(user.post(stream.removesuffix("/stream"), {"message": "hello"}))  # over: not told again
    begun = begin(user, stream, "/echo pace=40 hello")
    time.sleep(0.3)
    events = Listener(user.get(stream)).generation()

    assert events[0].data["generation_id"] == begun["generation_id"]
    assert text_of(events) == events[-1].data["response"] == HELLO


def test_followers_of_one_session_all_get_all(user: Actor, session_id: str, stream: str) -> None:
    listeners = [Listener(user.get(stream)) for _ in range(3)]
    ok(user.post(f"/api/v1/chat/{session_id}", {"message": "hello"}))

    told = [listener.generation() for listener in listeners]
    assert told[0] == told[1] == told[2]


def test_other_sessions_are_not_told(user: Actor, stream: str) -> None:
    listener = Listener(user.get(stream))
    ok(user.post("/api/v1/chat", {"message": "elsewhere"}))

    assert listener.is_silent(0.5)


def test_a_quiet_stream_has_a_pulse(user: Actor, stream: str) -> None:
    listener = Listener(user.get(stream))
    started = time.monotonic()
    for _ in range(3):
        listener.next("ping")

    assert 0.4 < time.monotonic() - started < 2


@pytest.mark.parametrize("where", ["header", "query"])
def test_a_reader_who_was_cut_off_goes_on_where_it_was(user: Actor, session_id: str, stream: str, where: str) -> None:
    def again(last: str) -> Listener:
        if where == "header":
            return Listener(user.get(stream, headers={"Last-Event-ID": last}))
        return Listener(user.get(stream, query_string={"last_event_id": last}))

    listener = Listener(user.get(stream))
    begin(user, stream, "/echo pace=30 hello")
    seen = [listener.next("start"), listener.next("chunk"), listener.next("chunk")]
    rest = again(seen[-1].id).generation()

    assert text_of([*seen, *rest]) == rest[-1].data["response"] == HELLO
    assert "start" not in names(rest)

    for _ in range(2):  # while nobody listens
        ok(user.post(f"/api/v1/chat/{session_id}", {"message": "hello"}))
    listener = again(rest[-1].id)
    missed = [listener.generation(), listener.generation()]
    assert [text_of(events) for events in missed] == [HELLO, HELLO]
    assert missed[0][0].data["generation_id"] < missed[1][0].data["generation_id"]
    assert listener.is_silent(0.3)


@pytest.mark.parametrize("last", ["x", "1", ":1", "gen_1:", "gen_1:x", "gen_1:-1", "gen_1:9999999999", "gén_1:1"])
def test_an_id_that_is_none_of_ours_is_refused(user: Actor, stream: str, last: str) -> None:
    refused(user.get(stream, query_string={"last_event_id": last}), 422, "invalid_event_id")


def test_an_id_of_nothing_is_not_found(user: Actor, stream: str) -> None:
    refused(user.get(stream, query_string={"last_event_id": "gen_1:1"}), 404, "generation_not_found")


def test_turns_of_another_worker_show_too(make_app: AppFactory, user: Actor, session_id: str, stream: str) -> None:
    other = make_app(SSE_HEARTBEAT_INTERVAL_MS=200)  # another process would share no more than the database
    elsewhere = sign_in(other, "grace")
    listener = Listener(user.get(stream))
    time.sleep(0.1)
    ok(elsewhere.post(f"/api/v1/chat/{session_id}", {"message": "hello"}))
    events = listener.generation(seconds=5)

    assert names(events) == ["start", "chunk", "end"]
    assert text_of(events) == events[-1].data["response"] == HELLO
    ok(user.post(f"/api/v1/chat/{session_id}", {"message": "hello"}))
    assert text_of(listener.generation()) == HELLO


def test_a_failure_that_is_only_in_the_database_is_told_as_one(
    make_app: AppFactory, user: Actor, session_id: str, stream: str
) -> None:
    elsewhere = sign_in(make_app(), "grace")
    listener = Listener(user.get(stream))
    elsewhere.post(f"/api/v1/chat/{session_id}", {"message": "/echo fail=upstream_cut after=3 hello"})
    events = listener.generation(seconds=5)

    assert names(events) == ["start", "chunk", "error"]
    assert (events[-1].data["code"], events[-1].data["response"]) == ("upstream_cut", "This is UniChat's")


# Who may listen, and for how long


def test_a_ticket_opens_one_stream_once(client: Any, user: Actor, session_id: str, stream: str) -> None:
    pass_ = ticket(user, session_id)
    listener = Listener(client.get(f"{stream}?ticket={pass_}"))
    ok(user.post(f"/api/v1/chat/{session_id}", {"message": "hello"}))

    assert text_of(listener.generation()) == HELLO
    refused(client.get(f"{stream}?ticket={pass_}"), 401, "invalid_ticket")


def test_a_ticket_opens_nothing_else(client: Any, user: Actor, session_id: str, stream: str) -> None:
    pass_ = ticket(user, session_id)
    other = ok(user.post("/api/v1/sessions", {}), 201)["id"]

    refused(client.get(f"/api/v1/sessions/{session_id}?ticket={pass_}"), 401, "not_authenticated")
    refused(client.post(f"{stream}?ticket={pass_}", json={"message": "x"}), 401, "not_authenticated")
    refused(client.get(f"/api/v1/chat/{other}/stream?ticket={pass_}"), 401, "invalid_ticket")


def test_an_access_token_in_the_address_opens_nothing(client: Any, user: Actor, stream: str) -> None:
    token = user.tokens["access_token"]

    for name in ("ticket", "token", "access_token", "jwt"):
        assert client.get(f"{stream}?{name}={token}").status_code == 401


def test_a_header_that_does_not_count_spends_no_ticket(client: Any, user: Actor, session_id: str, stream: str) -> None:
    pass_ = ticket(user, session_id)

    refused(client.get(f"{stream}?ticket={pass_}", headers={"Authorization": "Bearer x"}), 401, "invalid_token")
    Listener(client.get(f"{stream}?ticket={pass_}"))


def test_signing_out_ends_the_stream(user: Actor, stream: str) -> None:
    listener = Listener(user.get(stream))
    ok(user.post("/api/v1/auth/logout"))

    error = listener.next("error")
    assert (error.data["code"], error.id) == ("invalid_token", "")
    assert listener.is_over()


def test_signing_out_ends_the_stream_in_the_middle_of_an_answer(app: OpenAPI, user: Actor, stream: str) -> None:
    second = sign_in(app, "grace")
    listener = Listener(second.get(stream))
    begin(user, stream, "/echo pace=50 words=200 hello")
    listener.next("chunk")
    ok(second.post("/api/v1/auth/logout"))

    assert listener.next("error", "end").data["code"] == "invalid_token"
    ok(user.post("/api/v1/chat/stop", {"session_id": stream.split("/")[-2]}))


@pytest.mark.parametrize("change", [None, {"disabled": True}, {"scopes": ["read"]}])
def test_what_ends_an_api_key_ends_its_stream(
    app: OpenAPI, user: Actor, stream: str, change: dict[str, Any] | None
) -> None:
    made = ok(user.post("/api/v1/keys", {"name": "mine"}), 201)
    path = f"/api/v1/keys/{made['id']}"
    listener = Listener(app.test_client().get(stream, headers={"x-api-key": made["key"]}))
    begin(user, stream, "/echo pace=50 words=200 hello")
    listener.next("chunk")
    ok(user.delete(path) if change is None else user.patch(path, change))

    code = "key_revoked" if change is None else "key_disabled" if "disabled" in change else "key_changed"
    assert listener.next("error", "end").data["code"] == code
    ok(user.post("/api/v1/chat/stop", {"session_id": stream.split("/")[-2]}))


def test_revoking_an_api_key_ends_the_answers_that_it_has_asked_for(app: OpenAPI, user: Actor, session_id: str) -> None:
    made = ok(user.post("/api/v1/keys", {"name": "mine"}), 201)
    body = {"session_id": session_id, "message": "/echo pace=50 words=200 hello"}
    answer = app.test_client().post("/api/v1/chat/stream", json=body, headers={"x-api-key": made["key"]})
    frames = iter(answer.response)
    next(frames)
    ok(user.delete(f"/api/v1/keys/{made['id']}"))

    rest = [str(frame) for frame in frames]
    assert len(rest) < 200
    assert "complete" not in rest[-1]
    assert ok(user.get(f"/api/v1/sessions/{session_id}/messages"))["items"][-1]["status"] == "running"
    ok(user.post("/api/v1/chat/stop", {"session_id": session_id}))


def test_a_ticket_of_an_api_key_counts_as_long_as_the_key(
    app: OpenAPI, user: Actor, session_id: str, stream: str
) -> None:
    made = ok(user.post("/api/v1/keys", {"name": "mine", "scopes": ["chat"]}), 201)
    client, headers = app.test_client(), {"x-api-key": made["key"]}

    def key_ticket() -> str:
        answer = client.post("/api/v1/auth/tickets", json={"session_id": session_id}, headers=headers)
        return str(ok(answer, 201)["ticket"])

    first, second, third = (key_ticket() for _ in range(3))
    listener = Listener(client.get(f"{stream}?ticket={first}"))
    begin(user, stream, "hello")
    listener.next("end")
    ok(user.patch(f"/api/v1/keys/{made['id']}", {"scopes": ["read"]}))
    refused(client.get(f"{stream}?ticket={second}"), 403, "scope_missing")
    ok(user.delete(f"/api/v1/keys/{made['id']}"))
    refused(client.get(f"{stream}?ticket={third}"), 401, "key_revoked")


def test_deleting_the_session_ends_the_stream(user: Actor, session_id: str, stream: str) -> None:
    listener = Listener(user.get(stream))
    ok(user.delete(f"/api/v1/sessions/{session_id}"))

    assert listener.next("error").data["code"] == "session_not_found"
    assert listener.is_over()


def test_a_worker_that_goes_down_lets_its_readers_go(app: OpenAPI, user: Actor, stream: str) -> None:
    listener = Listener(user.get(stream))
    app.extensions["unichat"].feed.close()

    assert listener.is_over(1)


def test_readers_of_one_user_are_bounded_and_give_their_place_back(
    app: OpenAPI, user: Actor, other_user: Actor, stream: str
) -> None:
    responses = [user.get(stream) for _ in range(3)]
    refused(user.get(stream), 429, "too_many_streams")
    others = ok(other_user.post("/api/v1/sessions", {}), 201)["id"]
    other_user.get(f"/api/v1/chat/{others}/stream").close()
    responses[0].close()

    Listener(user.get(stream))
    refused(user.get(stream), 429, "too_many_streams")
    responses[1].close()
    for _ in range(3):
        response = user.request("HEAD", stream)  # its body is never read
        assert response.status_code == 200
        response.close()


def test_waiting_readers_cost_one_query_among_them(make_app: AppFactory) -> None:
    app = make_app(MAX_STREAMS_PER_USER=50)
    user = set_up(app)
    sessions = [ok(user.post("/api/v1/sessions", {}), 201)["id"] for _ in range(20)]
    listeners = [Listener(user.get(f"/api/v1/chat/{session}/stream")) for session in sessions]
    time.sleep(2.5)  # the first look wakes everybody once
    statements: list[str] = []
    with app.app_context():
        sa.event.listen(db.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    time.sleep(2.5)

    queries = [statement for statement in statements if statement.startswith("SELECT")]
    assert 1 <= len(queries) <= 2
    assert len(listeners) == 20


# In the server itself


def test_a_reader_who_hangs_up_gives_the_place_back(start_node: NodeFactory) -> None:
    node = start_node(SSE_HEARTBEAT_INTERVAL_MS=100, MAX_STREAMS_PER_USER=1).wait_ready()
    token = node.set_up()
    path = f"/api/v1/chat/{node.call('POST', '/api/v1/sessions', {}, token)['id']}/stream"

    with node.open("GET", path, token=token) as response:
        assert response.status == 200
        assert response.read1() == b"retry: 2000\n\n"
        with node.open("GET", path, token=token) as second:
            assert second.status == 429
    give_up = time.monotonic() + 5
    statuses = [429]
    while statuses[-1] == 429 and time.monotonic() < give_up:
        with node.open("GET", path, token=token) as response:
            statuses.append(response.status)
        time.sleep(0.05)

    assert statuses[-1] == 200


def test_a_node_that_goes_down_waits_for_no_reader(start_node: NodeFactory) -> None:
    node = start_node().wait_ready()
    token = node.set_up()
    path = f"/api/v1/chat/{node.call('POST', '/api/v1/sessions', {}, token)['id']}/stream"

    with node.open("GET", path, token=token) as response:
        assert response.read1() == b"retry: 2000\n\n"
        started = time.monotonic()
        assert node.terminate() == 0
        assert response.read() == b""
    assert time.monotonic() - started < 3


def test_a_turn_is_followed_in_the_server_as_it_comes(start_node: NodeFactory) -> None:
    node = start_node().wait_ready()
    token = node.set_up()
    session_id = node.call("POST", "/api/v1/sessions", {}, token)["id"]
    stream = f"/api/v1/chat/{session_id}/stream"
    told: list[tuple[float, Event]] = []

    turn = {"message": "/echo pace=50 words=20 hello"}
    with node.open("GET", stream, token=token) as response, node.open("POST", stream, turn, token):
        for event in parsed(iter(response.read1, b"")):
            told.append((time.monotonic(), event))
            if event.name == "end":
                break

    chunks = [(moment, event) for moment, event in told if event.name == "chunk"]
    assert len(chunks) >= 10
    assert chunks[-1][0] - chunks[0][0] > 0.5
    assert text_of([event for _, event in told]) == told[-1][1].data["response"]
