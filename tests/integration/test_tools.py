"""Tools of the server: offered to who may use them, run for the model, reported, and booked."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from config import ConfigurationError
from models import LedgerEntity, db
from services.toolbox import Toolbox
from tests.actors import Actor, ok
from tests.chats import answer_in, chat, entry, events_of, services, told
from tests.conftest import ECHO, AppFactory
from tests.scripted_provider.client import ScriptedProvider
from tools.base_tool import BaseTool, ToolContext, ToolFailed

MODEL = {"name": "able", "tools": True}
NOW = {"name": "current_time", "arguments": {"timezone": "Europe/Berlin"}}
USED = {"prompt_tokens": 11, "completion_tokens": 7}


class Ledgerdemain(BaseTool):
    """A tool that does what the test wants."""

    name = "trick"
    description = "Does a trick."
    parameters: Mapping[str, Any] = {"type": "object"}  # nobody changes it

    def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        if "fail" in arguments:
            raise ToolFailed("No rabbit.")
        if "crash" in arguments:
            raise RuntimeError("secret of the house")
        if "wait" in arguments:
            time.sleep(arguments["wait"])
        return str(arguments.get("say") or context.user_id) * int(arguments.get("times", 1))


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    providers = {"openai": entry(provider, [MODEL]), **ECHO}
    app = make_app(providers, AUTO_TITLE=False, TOOLS="current_time", RATE_LIMIT_CHAT="1000 per second")
    box: Toolbox = services(app).toolbox
    box.tools = {**box.tools, "trick": Ledgerdemain()}
    services(app).runner.upstream._tools = box.tools  # type: ignore[attr-defined]  # one more than the product has
    return app


def key_of(admin: Actor, **fields: Any) -> dict[str, str]:
    made = ok(admin.post("/api/v1/keys", {"name": "k", **fields}), 201)
    return {"Authorization": f"Bearer {made['key']}"}


def complete(admin: Actor, text: str, headers: dict[str, str], **more: Any) -> TestResponse:
    body = {"model": "able", "messages": [{"role": "user", "content": text}]} | more
    return admin.post("/v1/chat/completions", body, headers=headers)


def rounds(provider: ScriptedProvider, *calls: dict[str, Any], after: str = "It is late.") -> None:
    """The provider asks for these tools, in one answer each, and then gives the last one."""
    for call in calls:
        provider.script(tool_calls=[call], usage=USED)
    provider.script(text=after, usage=USED)


def test_the_model_asks_gets_the_result_and_goes_on(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    rounds(provider, NOW)
    message = chat(admin, "How late is it?", model="able")["message"]

    assert message["content"] == "It is late."
    call, result = (part for part in message["parts"] if part["type"] != "text")
    assert (call["type"], call["name"], json.loads(call["arguments"])) == ("tool_call", *NOW.values())
    assert (result["type"], result["id"]) == ("tool_result", call["id"])
    first, second = provider.log()[-2:]
    assert [tool["function"]["name"] for tool in first["body"]["tools"]] == ["current_time", "trick"]
    said = second["body"]["messages"]
    assert [one["role"] for one in said] == ["user", "assistant", "tool"]
    assert said[2]["content"] == result["content"]


def test_a_reader_is_told_of_it_in_events(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    rounds(provider, NOW)
    events = events_of(admin.post("/api/v1/chat/stream", {"message": "How late is it?", "model": "able"}))

    told_of = [event for event in events if event["type"].startswith("tool_")]
    assert [(event["type"], event["name"]) for event in told_of] == [
        ("tool_call", "current_time"),
        ("tool_result", "current_time"),
    ]
    assert told_of[0]["by_server"] is True


def test_every_round_is_in_the_books_and_the_client_is_told_the_sum(
    app: OpenAPI, admin: Actor, provider: ScriptedProvider
) -> None:
    rounds(provider, NOW, NOW)
    usage = chat(admin, "How late is it?", model="able")["usage"]

    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (33, 21)
    with app.app_context():
        rows = db.session.scalars(sa.select(LedgerEntity).order_by(LedgerEntity.attempt)).all()
    assert [(row.state, row.end_reason, row.prompt_tokens) for row in rows] == [
        ("settled", "tool_calls", 11),
        ("settled", "tool_calls", 11),
        ("settled", "stop", 11),
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_a_key_names_the_tools_that_may_be_used(
    app: OpenAPI, admin: Actor, provider: ScriptedProvider, stream: bool
) -> None:
    rounds(provider, NOW)
    answer = complete(admin, "How late is it?", key_of(admin, tools=["current_time"]), stream=stream)

    text = answer.get_data(as_text=True)
    assert "It is late." in text or stream
    assert "tool_calls" not in text.replace("server_tool_calls", "")
    if stream:
        (comment,) = [line for line in text.splitlines() if line.startswith(": server_tool_call ")]
        run = json.loads(comment.removeprefix(": server_tool_call "))
    else:
        (run,) = answer.get_json()["server_tool_calls"]
    assert run["name"] == "current_time"
    assert [tool["function"]["name"] for tool in provider.last()["body"]["tools"]] == ["current_time"]


def test_a_response_shows_no_calls_of_ours_and_can_be_gone_on_from(
    app: OpenAPI, admin: Actor, provider: ScriptedProvider
) -> None:
    rounds(provider, NOW)
    headers = key_of(admin, tools=["current_time"])
    first = admin.post("/v1/responses", {"model": "able", "input": "How late is it?"}, headers=headers).get_json()
    provider.script(text="Good night.")
    asked = {"model": "able", "input": "Thanks.", "previous_response_id": first["id"]}
    second = admin.post("/v1/responses", asked, headers=headers).get_json()

    assert [item["type"] for item in first["output"]] == ["message"]
    assert second["output"][0]["content"][0]["text"] == "Good night."
    said = [message["role"] for message in provider.last()["body"]["messages"]]
    assert said == ["user", "assistant", "tool", "user"]


def test_a_key_that_names_none_gets_none(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    headers = key_of(admin)

    assert complete(admin, told(text="fine"), headers).status_code == 200

    assert "tools" not in provider.last()["body"]
    assert ok(admin.get("/api/v1/tools", headers=headers))["items"] == []
    assert [one["name"] for one in ok(admin.get("/api/v1/tools"))["items"]] == ["current_time", "trick"]


def test_a_clients_own_tools_are_its_own(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    own = {"type": "function", "function": {"name": "trick", "parameters": {}}}
    provider.script(tool_calls=[{"name": "trick", "arguments": {"a": 1}}])
    answer = complete(admin, "go", key_of(admin, tools=["trick", "current_time"]), tools=[own])

    (choice,) = answer.get_json()["choices"]
    assert (choice["finish_reason"], choice["message"]["tool_calls"][0]["function"]["name"]) == ("tool_calls", "trick")
    assert [tool["function"]["name"] for tool in provider.last()["body"]["tools"]] == ["trick", "current_time"]


def test_where_both_are_asked_for_the_client_is_asked(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    own = {"type": "function", "function": {"name": "mine", "parameters": {}}}
    provider.script(tool_calls=[NOW, {"name": "mine", "arguments": {}}])
    message = complete(admin, "go", key_of(admin, tools=["current_time"]), tools=[own]).get_json()["choices"][0][
        "message"
    ]

    assert [call["function"]["name"] for call in message["tool_calls"]] == ["mine"]


@pytest.mark.parametrize(
    ("arguments", "told_to_model"),
    [
        ({"fail": 1}, "Error: No rabbit."),
        ({"crash": 1}, "Error: the tool has failed."),
        ("[1]", "Error: the arguments are not a JSON object."),
        ("{broken", "Error: the arguments are not a JSON object."),
        ({"say": "x", "times": 100_000}, "[cut off: 100,000 characters]"),
    ],
    ids=["failed", "crashed", "a list", "broken", "too long"],
)
def test_whatever_a_tool_does_the_model_is_told(
    app: OpenAPI, admin: Actor, provider: ScriptedProvider, arguments: Any, told_to_model: str
) -> None:
    rounds(provider, {"name": "trick", "arguments": arguments})

    message = chat(admin, "go", model="able")["message"]

    assert message["content"] == "It is late."
    (content,) = (part["content"] for part in message["parts"] if part["type"] == "tool_result")
    assert content.endswith(told_to_model)
    assert len(content) < 66_000


def test_a_tool_runs_for_who_asks_whatever_a_client_calls_itself(
    app: OpenAPI, admin: Actor, provider: ScriptedProvider
) -> None:
    rounds(provider, {"name": "trick", "arguments": {}})

    complete(admin, "go", key_of(admin, tools=["trick"]), user="somebody else")

    assert provider.last()["body"]["messages"][-1]["content"] == admin.id


def test_there_is_an_end_to_it(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    before = len(provider.log())
    message = chat(admin, told(tool_calls=[NOW], text="x"), model="able")

    assert len(provider.log()) - before == 9
    assert "tools" not in provider.last()["body"]
    assert message["message"]["status"] == "completed"


def test_a_stop_does_not_wait_for_a_tool(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    provider.script(tool_calls=[{"name": "trick", "arguments": {"wait": 20}}])
    stream = _started(admin)
    session_id = next(stream)["sessionId"]

    stopped = ok(admin.post("/api/v1/chat/stop", {"session_id": session_id}))

    assert stopped["state"] == "stopped"
    assert answer_in(admin, session_id)["status"] == "stopped"


def _started(admin: Actor) -> Iterator[dict[str, Any]]:
    response = admin.post("/api/v1/chat/stream", {"message": "go", "model": "able"}, buffered=False)
    for line in response.iter_encoded():
        for part in line.split(b"\n"):
            if part.startswith(b"data: "):
                yield json.loads(part.removeprefix(b"data: "))


def test_a_model_that_can_use_no_tools_answers_without(
    make_app: AppFactory, provider: ScriptedProvider, admin: Actor, app: OpenAPI
) -> None:
    box: Toolbox = services(app).toolbox
    assert box.tools
    provider.script(text="plain")

    assert chat(admin, "hello", model="unknown-model", provider="openai")["message"]["content"] == "plain"
    assert "tools" not in provider.last()["body"]


def test_an_unknown_tool_is_told_at_the_start(make_app: AppFactory) -> None:
    with pytest.raises(ConfigurationError, match="there is no tool nonsense; there are: current_time"):
        make_app(TOOLS="current_time, nonsense")


def test_the_echo_shows_it_without_any_model(app: OpenAPI, admin: Actor) -> None:
    said = chat(admin, '/echo tool=trick args={"say":"abracadabra"}', provider="echo")["message"]["content"]

    assert said.endswith("You wrote: abracadabra")
