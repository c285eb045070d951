"""The official ``openai`` client's responses, unmodified, in front of every provider."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.chats import eventually, told
from tests.contract.gateway import Gateway, gateway
from tests.scripted_provider.client import ScriptedProvider

MODELS = ["plain", "alias", "translated", "scoped", "app", "echo"]
WITH_TOOLS = ["plain", "translated", "scoped"]
USED = {"prompt_tokens": 11, "completion_tokens": 7}
TOOLS: Any = [
    {
        "type": "function",
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "strict": False,
    }
]
CALLS = [{"name": "weather", "arguments": {"city": "Bonn"}}, {"name": "weather", "arguments": {"city": "Köln"}}]
SLOW = {"words": 400, "pace_ms": 20}


class City(BaseModel):
    """What is asked for."""

    name: str


@pytest.fixture(scope="module")
def node(scripted_process: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("responses"), scripted_process) as started:
        yield started


@pytest.fixture
def client(node: Gateway, provider: ScriptedProvider) -> Iterator[openai.OpenAI]:
    assert provider is node.provider
    with node.client() as made:
        yield made


@pytest.mark.parametrize("model", MODELS)
def test_a_whole_response(client: openai.OpenAI, model: str) -> None:
    made = client.responses.create(model=model, input=told("hello", text="All is well.", usage=USED))

    assert (made.status, made.model, made.object) == ("completed", model, "response")
    assert made.usage
    if model != "echo":
        assert made.output_text == "All is well."
        assert (made.usage.input_tokens, made.usage.output_tokens, made.usage.total_tokens) == (11, 7, 18)
    assert client.responses.retrieve(made.id) == made


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_is_resumed_after_any_event(client: openai.OpenAI, model: str) -> None:
    whole = list(client.responses.create(model=model, input=told("hello", words=5), stream=True))
    first, last = whole[0], whole[-1]
    assert first.type == "response.created"
    assert last.type == "response.completed"

    assert [event.sequence_number for event in whole] == list(range(len(whole)))
    assert "".join(event.delta for event in whole if event.type == "response.output_text.delta")
    for after in (0, len(whole) // 2, len(whole) - 2):
        rest = list(client.responses.retrieve(first.response.id, stream=True, starting_after=after))
        assert rest == whole[after + 1 :]
    assert client.responses.retrieve(first.response.id) == last.response


def test_the_client_s_own_stream_helper(client: openai.OpenAI) -> None:
    with client.responses.stream(model="plain", input=told("hello", words=6, reasoning="a b")) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()

    assert final.output_text == text != ""
    assert [item.type for item in final.output] == ["reasoning", "message"]
    with client.responses.stream(response_id=final.id, starting_after=4) as rest:
        numbers = [event.sequence_number for event in rest]
    assert numbers == list(range(5, numbers[-1] + 1))


@pytest.mark.parametrize("model", WITH_TOOLS)
def test_functions_are_called_and_their_results_taken(
    client: openai.OpenAI, provider: ScriptedProvider, model: str
) -> None:
    question = told("Weather?", tool_calls=CALLS)
    events = list(client.responses.create(model=model, input=question, tools=TOOLS, stream=True))
    done = [event for event in events if event.type == "response.function_call_arguments.done"]
    asked = events[-1]
    assert asked.type == "response.completed"
    calls = [item for item in asked.response.output if item.type == "function_call"]

    assert [event.name for event in done] == ["weather", "weather"]
    assert [call.arguments for call in calls] == [event.arguments for event in done]
    assert [City.model_validate_json(call.arguments.replace("city", "name")).name for call in calls] == ["Bonn", "Köln"]
    results: Any = [
        {"type": "function_call_output", "call_id": call.call_id, "output": f"{number} degrees"}
        for number, call in enumerate(calls)
    ]
    answer = client.responses.create(model=model, input=results, previous_response_id=asked.response.id, tools=TOOLS)

    assert answer.status == "completed"
    assert "0 degrees" in str(provider.last()["body"])
    with pytest.raises(openai.BadRequestError, match="No tool output found"):
        client.responses.create(model=model, input="on", previous_response_id=asked.response.id)


def test_structured_output_is_parsed(client: openai.OpenAI, provider: ScriptedProvider) -> None:
    made = client.responses.parse(model="plain", input=told("Where?", text='{"name": "Bonn"}'), text_format=City)

    assert made.output_parsed == City(name="Bonn")
    assert provider.last()["body"]["response_format"]["json_schema"]["name"] == "City"


def test_turns_follow_each_other_on_any_provider(client: openai.OpenAI, provider: ScriptedProvider) -> None:
    first = client.responses.create(model="plain", input=told("one", text="First."))
    second = client.responses.create(model="translated", input=told("two"), previous_response_id=first.id)

    asked = provider.last()["body"]["messages"]
    assert [message["role"] for message in asked] == ["user", "assistant", "user"]
    assert second.previous_response_id == first.id


def test_in_the_background_and_cancelled(client: openai.OpenAI, provider: ScriptedProvider) -> None:
    begun = client.responses.create(model="plain", input=told(**SLOW), background=True)
    provider.wait_requests(1)
    assert begun.status == "in_progress"

    assert client.responses.cancel(begun.id).status == "cancelled"

    assert provider.wait_closed()["end"] == "client_closed"
    assert client.responses.retrieve(begun.id).status == "cancelled"


def test_in_the_background_and_polled(client: openai.OpenAI) -> None:
    begun = client.responses.create(model="plain", input=told("x", text="Done."), background=True)

    made = eventually(lambda: (one := client.responses.retrieve(begun.id)).status == "completed" and one)

    assert made
    assert made.output_text == "Done."


def test_input_items_and_deletion(client: openai.OpenAI) -> None:
    given: Any = [{"role": "user", "content": text} for text in ("one", "two", "three")]
    made = client.responses.create(model="echo", input=given)

    items = list(client.responses.input_items.list(made.id, order="asc", limit=2))  # it turns the pages by itself
    assert [item.content[0].text for item in items] == ["one", "two", "three"]  # type: ignore[union-attr]  # messages

    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_what_is_not_stored_is_not_there(client: openai.OpenAI) -> None:
    made = client.responses.create(model="translated", input=told("x", text="Gone."), store=False)

    assert made.output_text == "Gone."
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_errors_are_the_client_s_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.responses.create(model="nobody", input="x")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as unsupported:
        client.responses.create(model="plain", input="x", tools=[{"type": "web_search"}])
    assert (unsupported.value.param, unsupported.value.code) == ("tools[0].type", "unsupported_value")
    with pytest.raises(openai.BadRequestError) as gone:
        client.responses.create(model="plain", input="x", previous_response_id="resp_none")
    assert gone.value.code == "previous_response_not_found"
    with pytest.raises(openai.BadRequestError) as untold:
        client.responses.create(model="app", input="x", tools=TOOLS)
    assert untold.value.param == "tools"
