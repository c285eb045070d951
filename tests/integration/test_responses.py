"""Responses over HTTP: kept or not, followed from any event at any node, stopped, gone on from; and whose they are."""

import json
from typing import Any

import pytest
import sqlalchemy as sa
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from domain.principal import Principal, Role
from models import GenerationEntity, LedgerEntity, MessageEntity, ResponseEntity, SessionEntity, db
from tests.actors import Actor, ok, set_up
from tests.chats import entry, eventually, let_lease_run_out, prompt, services, told
from tests.conftest import AppFactory
from tests.scripted_provider.client import ScriptedProvider
from tests.servers import Redis

Told = dict[str, Any]
URL = "/v1/responses"
SLOW = {"words": 400, "pace_ms": 20}
SETTINGS = {"AUTO_TITLE": False, "RATE_LIMIT": "10000 per minute", "RATE_LIMIT_CHAT": "10000 per minute"}


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    dify = {
        "adapter_class": "adapters.dify_adapter.DifyAdapter",
        "config": {"api_key": "a-key-for-tests", "base_url": provider.dify_url, "models": ["app"]},
    }
    return make_app({"openai": entry(provider), "dify": dify}, **SETTINGS)


@pytest.fixture
def nodes(make_app: AppFactory, provider: ScriptedProvider, own_redis: Redis) -> tuple[OpenAPI, OpenAPI]:
    first, second = (make_app({"openai": entry(provider)}, REDIS_URL=own_redis.url, **SETTINGS) for _ in range(2))
    return first, second


@pytest.fixture
def here(nodes: tuple[OpenAPI, OpenAPI]) -> Actor:
    """A user at the first node."""
    return set_up(nodes[0])


@pytest.fixture
def there(nodes: tuple[OpenAPI, OpenAPI], here: Actor) -> Actor:
    """The same user at the second node."""
    return Actor(nodes[1], here.tokens)


def respond(user: Actor, given: Any = "hello", **fields: Any) -> Told:
    """A response, as it stands when the request is answered."""
    answer = user.post(URL, {"model": "sees", "input": given} | fields)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return dict(answer.get_json())


def stream(user: Actor, given: str, **fields: Any) -> TestResponse:
    answer = user.post(URL, {"model": "sees", "input": given, "stream": True} | fields)
    assert (answer.status_code, answer.mimetype) == (200, "text/event-stream"), answer.get_data(as_text=True)
    return answer


def frames_of(answer: TestResponse) -> list[str]:
    return [frame for frame in answer.get_data(as_text=True).split("\n\n") if frame.startswith("event: ")]


def event_of(frame: str) -> Told:
    return dict(json.loads(frame.partition("\ndata: ")[2]))


def follow(user: Actor, response_id: str, after: int | None = None) -> list[str]:
    query = "" if after is None else f"&starting_after={after}"
    return frames_of(user.get(f"{URL}/{response_id}?stream=true{query}"))


def text_of(response: Told) -> str:
    return "".join(part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"])


def get(user: Actor, response_id: str) -> Told:
    answer = user.get(f"{URL}/{response_id}")
    assert answer.status_code == 200
    return dict(answer.get_json())


def refused(answer: TestResponse, status: int, code: str) -> Told:
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), error
    return dict(error)


def first_frame(answer: TestResponse) -> Told:
    return event_of(next(answer.iter_encoded()).decode().partition("\n\n")[0])


def ended(user: Actor, response_id: str) -> Told:
    return eventually(lambda: (one := get(user, response_id))["status"] != "in_progress" and one) or {}


# At two nodes


def test_every_number_is_the_same_event_at_every_node(here: Actor, there: Actor) -> None:
    calls = [{"name": "weather", "arguments": {"city": "Bonn"}}]
    whole = frames_of(stream(here, told("one", words=12, pace_ms=3, reasoning="a b c d", tool_calls=calls)))
    events = [event_of(frame) for frame in whole]
    response_id = events[0]["response"]["id"]

    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for user in (here, there):
        assert follow(user, response_id) == whole
        for after in range(len(whole)):
            assert follow(user, response_id, after) == whole[after + 1 :]
    assert get(there, response_id) == events[-1]["response"]


def test_who_leaves_comes_back_at_the_other_node(here: Actor, there: Actor) -> None:
    began = stream(here, told("long", words=40, pace_ms=10))
    frames = began.iter_encoded()
    seen = [next(frames).decode() for _ in range(4)]
    seen = [f"{frame}" for text in seen for frame in text.split("\n\n") if frame]
    began.close()
    last = event_of(seen[-1])["sequence_number"]
    response_id = event_of(seen[0])["response"]["id"]

    rest = follow(there, response_id, last)

    assert [event_of(frame)["sequence_number"] for frame in [*seen, *rest]] == list(range(len(seen) + len(rest)))
    assert [*seen, *rest] == follow(here, response_id)
    assert event_of(rest[-1])["response"]["status"] == "completed"


def test_it_is_cancelled_from_the_other_node(here: Actor, there: Actor, provider: ScriptedProvider) -> None:
    begun = respond(here, told(**SLOW), background=True)
    provider.wait_requests(1)
    assert begun["status"] == "in_progress"

    cancelled = there.post(f"{URL}/{begun['id']}/cancel").get_json()

    assert cancelled["status"] == "cancelled"
    assert provider.wait_closed()["end"] == "client_closed"
    assert get(here, begun["id"]) == cancelled
    last = event_of(follow(there, begun["id"])[-1])
    assert (last["type"], last["response"]) == ("response.incomplete", cancelled)


def test_of_a_dead_node_the_rest_comes_from_the_database(
    nodes: tuple[OpenAPI, OpenAPI], here: Actor, there: Actor
) -> None:
    begun = stream(here, told(**SLOW))
    frames = begun.iter_encoded()
    seen = [frame for _ in range(3) for frame in next(frames).decode().split("\n\n") if frame]
    response_id = event_of(seen[0])["response"]["id"]
    caller = Principal(here.id, here.user["username"], Role.ADMIN, "")
    generation_id = services(nodes[0]).responses.get(caller, response_id).generation_id
    eventually(lambda: len(services(nodes[1]).event_streams._event_log.replay(generation_id)) > len(seen))
    let_lease_run_out(nodes[0], generation_id)
    services(nodes[1]).keeper.tick(all_duties=True)

    whole, response = follow(there, response_id), get(there, response_id)

    assert whole[: len(seen)] == seen
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    assert event_of(whole[-1])["response"] == response
    events = [event_of(frame) for frame in whole]
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    standing = deltas[-1]["item_id"]  # more of it was seen than could be saved, or all that there is
    assert "".join(event["delta"] for event in deltas if event["item_id"] == standing) == text_of(response) != ""
    for after in (0, 5, len(whole) - 2):
        assert follow(there, response_id, after) == whole[after + 1 :]


# At one node


def test_the_chain_and_the_input_are_what_the_model_is_asked(user: Actor, provider: ScriptedProvider) -> None:
    first = respond(user, told("one", text="First."), instructions="Be kind.")
    second = respond(user, told("two", text="Second."), previous_response_id=first["id"], instructions="Be brief.")
    respond(user, told("fork", text="Third."), previous_response_id=first["id"])

    assert [text_of(one) for one in (first, second)] == ["First.", "Second."]
    assert second["previous_response_id"] == first["id"]
    prompts = [prompt(one) for one in provider.log()]
    assert [[role for role, _ in one] for one in prompts] == [
        ["system", "user"],
        ["system", "user", "assistant", "user"],
        ["user", "assistant", "user"],
    ]
    assert prompts[1][0] == ("system", "Be brief.")
    assert prompts[1][2] == prompts[2][1] == ("assistant", "First.")


def test_dify_goes_on_where_it_was_and_not_from_a_fork(user: Actor, provider: ScriptedProvider) -> None:
    first = respond(user, told("one"), model="app")
    second = respond(user, told("two"), model="app", previous_response_id=first["id"])
    respond(user, told("three"), model="app", previous_response_id=second["id"])
    respond(user, told("fork"), model="app", previous_response_id=first["id"])

    bodies = [one["body"] for one in provider.log()]
    states = [body.get("conversation_id") for body in bodies]
    assert states[0] is states[3] is None
    assert states[1] == states[2] is not None
    assert bodies[1]["query"].startswith("two")
    assert "User: one" in bodies[3]["query"]


def test_what_ends_early_is_incomplete(user: Actor) -> None:
    cut = respond(user, told("x", words=5, finish_reason="length"))
    filtered = respond(user, told("x", words=5, finish_reason="content_filter"))

    assert (cut["status"], cut["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert (filtered["status"], filtered["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})
    assert cut["output"][0]["status"] == "incomplete"


def test_a_failure_is_an_error_and_the_response_says_why(user: Actor, provider: ScriptedProvider) -> None:
    broken = told("x", status=400, error="content_filter")

    refused(user.post(URL, {"model": "sees", "input": broken}), 400, "content_filter")
    events = [event_of(frame) for frame in frames_of(stream(user, broken))]

    assert [event["type"] for event in events] == ["response.created", "response.in_progress", "response.failed"]
    response = events[-1]["response"]
    assert (response["status"], response["error"]["code"]) == ("failed", "invalid_prompt")
    assert get(user, response["id"]) == response


def test_who_leaves_does_not_stop_it(user: Actor) -> None:
    began = stream(user, told(words=20, pace_ms=10))
    response_id = first_frame(began)["response"]["id"]
    began.close()

    assert ended(user, response_id)["status"] == "completed"


def test_of_what_is_not_to_be_stored_nothing_is_kept(app: OpenAPI, user: Actor) -> None:
    whole = respond(user, told("secret", text="Fine."), store=False)
    events = [event_of(frame) for frame in frames_of(stream(user, told("secret", text="Fine."), store=False))]

    streamed = events[-1]["response"]
    assert text_of(whole) == text_of(streamed) == "Fine."
    assert (whole["store"], whole["usage"]["total_tokens"] > 0) == (False, True)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for one in (whole, streamed):
        refused(user.get(f"{URL}/{one['id']}"), 404, "response_not_found")
    with app.app_context():
        for entity in (ResponseEntity, SessionEntity, MessageEntity, GenerationEntity):
            assert db.session.scalar(sa.select(sa.func.count()).select_from(entity)) == 0
        assert db.session.scalar(sa.select(sa.func.count()).select_from(LedgerEntity)) == 2


def test_what_is_not_stored_and_fails_is_an_error_too(user: Actor) -> None:
    broken = told("x", status=400, error="content_filter")

    refused(user.post(URL, {"model": "sees", "input": broken, "store": False}), 400, "content_filter")
    last = event_of(frames_of(stream(user, broken, store=False))[-1])

    assert (last["type"], last["response"]["error"]["code"]) == ("response.failed", "invalid_prompt")


def test_in_the_background_it_is_queued_made_and_there(user: Actor) -> None:
    begun = respond(user, told(words=3, pace_ms=20), background=True)
    made = ended(user, begun["id"])
    events = [event_of(frame) for frame in follow(user, begun["id"])]

    assert (begun["background"], made["status"]) == (True, "completed")
    assert [event["type"] for event in events[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert events[-1]["response"] == made
    assert made["completed_at"] >= made["created_at"]


def test_the_input_items_are_listed_by_pages(user: Actor) -> None:
    given = [{"role": "user", "content": text} for text in ("one", "two", "three")]
    made = respond(user, given)

    def page(query: str) -> Told:
        return dict(user.get(f"{URL}/{made['id']}/input_items?{query}").get_json())

    first = page("order=asc&limit=2")
    rest = page(f"order=asc&after={first['last_id']}")
    texts = [item["content"][0]["text"] for item in first["data"] + rest["data"]]
    assert texts == ["one", "two", "three"]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert page("")["data"] == [*first["data"], *rest["data"]][::-1]
    refused(user.get(f"{URL}/{made['id']}/input_items?after=msg_x"), 400, "item_not_found")


def test_items_of_earlier_responses_are_named_by_their_ids(user: Actor, provider: ScriptedProvider) -> None:
    first = respond(user, told("one", text="First."))
    references = [
        {"type": "item_reference", "id": user.get(f"{URL}/{first['id']}/input_items").get_json()["data"][0]["id"]},
        {"id": first["output"][0]["id"]},
        {"role": "user", "content": told("two")},
    ]

    respond(user, references)

    asked = prompt(provider.last())
    assert [role for role, _ in asked] == ["user", "assistant", "user"]
    assert asked[1][1] == "First."


def test_a_deleted_one_is_gone_with_all_that_goes_on_from_it(user: Actor) -> None:
    first = respond(user)
    second = respond(user, previous_response_id=first["id"])

    deleted = user.delete(f"{URL}/{first['id']}")

    assert deleted.get_json() == {"id": first["id"], "object": "response", "deleted": True}
    refused(user.get(f"{URL}/{first['id']}"), 404, "response_not_found")
    for gone in (first, second):
        body = {"model": "sees", "input": "on", "previous_response_id": gone["id"]}
        assert refused(user.post(URL, body), 400, "previous_response_not_found")["param"] == "previous_response_id"
    assert get(user, second["id"])["status"] == "completed"


def test_a_response_that_is_deleted_while_it_is_made_is_stopped(user: Actor, provider: ScriptedProvider) -> None:
    begun = stream(user, told(**SLOW))
    response_id = first_frame(begun)["response"]["id"]
    provider.wait_requests(1)

    assert user.delete(f"{URL}/{response_id}").status_code == 200

    assert provider.wait_closed()["end"] == "client_closed"
    assert event_of(frames_of(begun)[-1])["type"] == "error"


def test_the_same_request_under_the_same_key_is_the_same_response(user: Actor, provider: ScriptedProvider) -> None:
    headers = {"Idempotency-Key": "one"}
    body = {"model": "sees", "input": "hello"}

    first = user.post(URL, body, headers=headers)
    second = user.post(URL, body, headers=headers)

    assert first.get_json() == second.get_json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert len(provider.log()) == 1
    refused(user.post(URL, body | {"input": "else"}, headers=headers), 400, "idempotency_key_reused")


def test_what_is_wrong_is_told_in_the_words_of_the_protocol(user: Actor) -> None:
    refused(user.post(URL, {"model": "nobody", "input": "x"}), 404, "model_not_found")
    assert refused(user.post(URL, {"model": "sees"}), 400, "missing_required_parameter")["param"] == "input"
    assert refused(user.post(URL, {"model": "sees", "input": "x", "prompt": {}}), 400, "unsupported_parameter")
    made = respond(user)
    assert refused(user.get(f"{URL}/{made['id']}?starting_after=1"), 400, "invalid_value")["param"] == "starting_after"
    assert user.get(f"{URL}/{made['id']}?stream=true&starting_after=-1").status_code == 400


def test_anothers_response_is_not_found_and_stays_as_it_is(user: Actor, other_user: Actor) -> None:
    mine = respond(user, told("my secret", text="Fine."))
    path = f"{URL}/{mine['id']}"
    item = {"type": "item_reference", "id": mine["output"][0]["id"]}

    for method, at in (
        ("GET", path),
        ("GET", f"{path}?stream=true"),
        ("GET", f"{path}/input_items"),
        ("POST", f"{path}/cancel"),
        ("DELETE", path),
    ):
        refused(other_user.request(method, at), 404, "response_not_found")
    on = {"model": "sees", "input": "x", "previous_response_id": mine["id"]}
    refused(other_user.post(URL, on), 400, "previous_response_not_found")
    refused(other_user.post(URL, {"model": "sees", "input": [item]}), 400, "item_not_found")
    assert get(user, mine["id"]) == mine
    assert ok(user.get("/api/v1/sessions"))["items"] == []
