"""How the operator's system prompt is put in front of a client's: its own request goes out byte by byte."""

import json
from typing import Any

import msgspec
import pytest

from domain.chat import Capabilities, ChatRequest, Dialect, ModelInfo, NativeRequest, PromptMessage
from domain.messages import MessageRole, Text
from domain.server_prompts import MAX_PROMPT_CHARS, PromptError, read_prompts, with_server_prompt
from services.model_choice import ModelChoice, Resolved
from services.prompt_book import PromptBook

PROMPT = 'Be "kind".\nAlways.'
TOLD = json.dumps(PROMPT)
PARTS = {
    "<own message>": '{"role":"system","content":' + TOLD + "}",
    "<own block>": '{"type":"text","text":' + TOLD + "}",
    "<odd>": '{ "role":"user",\t"content":"h\\u0069 \\/ there", "n":1.50e0 }',
    "<system>": '{"role": "system", "content": "mine"}',
    "<cached>": '{"type":"text", "text":"m\\u0069ne","cache_control":{"type":"ephemeral"}}',
}


def filled(text: str) -> str:
    for name, part in PARTS.items():
        text = text.replace(name, part)
    return text


def asked(system: str = "", native: NativeRequest | None = None) -> ChatRequest:
    return ChatRequest("", [PromptMessage(MessageRole.USER, [Text("hi")])], system=system, native=native)


def native(dialect: Dialect, body: str) -> NativeRequest:
    fields = msgspec.json.decode(body.encode(), type=dict[str, msgspec.Raw])
    return NativeRequest(dialect, fields, body=body.encode(), headers={"x": "y"})


def sent(dialect: Dialect, body: str) -> str:
    """The fields that go out, as they would be written."""
    given = native(dialect, body)
    merged = with_server_prompt(asked(native=given), PROMPT).native
    assert merged is not None
    assert merged.body == b"", "the body as it came must not be sent"
    assert (merged.dialect, merged.headers, merged.only) == (given.dialect, given.headers, given.only)
    assert given.body == body.encode()
    return msgspec.json.encode(merged.fields).decode()


@pytest.mark.parametrize(
    ("system", "merged"),
    [("", PROMPT), ("Answer in French.", f"{PROMPT}\n\nAnswer in French."), ("  spaced ", f"{PROMPT}\n\n  spaced ")],
)
def test_the_neutral_prompt(system: str, merged: str) -> None:
    request = asked(system)

    assert with_server_prompt(request, PROMPT).system == merged
    assert with_server_prompt(request, PROMPT).messages == request.messages


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"messages":[<odd>],"x":[1.0, 2]}', '{"messages":[<own message>,<odd>],"x":[1.0, 2]}'),
        (
            '{"model":"m","messages":[ <system> , <odd> ]}',
            '{"model":"m","messages":[<own message>,<system>,<odd>]}',
        ),
        ('{"messages":[]}', '{"messages":[<own message>]}'),
        ('{"messages":"what"}', '{"messages":[<own message>,"what"]}'),  # the provider says what is wrong with it
        ('{"model":"m"}', '{"model":"m","messages":[<own message>]}'),
    ],
)
def test_a_client_of_chat_completions(body: str, expected: str) -> None:
    assert sent("chat_completions", filled(body)) == filled(expected)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"messages":[<odd>]}', '{"messages":[<odd>],"system":[<own block>]}'),
        (
            '{"system":"m\\u0069ne","messages":[<odd>]}',
            '{"system":[<own block>,{"type":"text","text":"m\\u0069ne"}],"messages":[<odd>]}',
        ),
        ('{"system":[ <cached> ],"messages":[]}', '{"system":[<own block>,<cached>],"messages":[]}'),
        ('{"system":"","messages":[]}', '{"system":[<own block>],"messages":[]}'),
        ('{"system":[],"messages":[]}', '{"system":[<own block>],"messages":[]}'),
        ('{"system":null,"messages":[]}', '{"system":[<own block>],"messages":[]}'),
        ('{"system":7,"messages":[]}', '{"system":[<own block>,7],"messages":[]}'),
    ],
)
def test_a_client_of_messages(body: str, expected: str) -> None:
    assert sent("messages", filled(body)) == filled(expected)


def test_both_forms_of_one_request_get_it() -> None:
    request = with_server_prompt(asked("mine", native("messages", '{"system":"mine","messages":[]}')), PROMPT)

    assert request.system == f"{PROMPT}\n\nmine"
    assert request.native is not None
    assert [block["text"] for block in json.loads(bytes(request.native.fields["system"]))] == [PROMPT, "mine"]


def resolved(provider: str | None, model: str, **fields: Any) -> Resolved:
    info = ModelInfo(model, 1000, 100, Capabilities())
    return Resolved(provider, model, (ModelChoice(provider or "a", info),), **fields)


def test_whose_prompt_a_model_gets() -> None:
    book = PromptBook({"smart": "of smart", "gpt": "of gpt", "a/gpt": "of a/gpt"})

    def system(one: Resolved) -> str:
        return book.added_to(asked(), one).system

    assert system(resolved(None, "smart")) == "of smart"
    assert system(resolved("a", "gpt")) == "of a/gpt"
    assert system(resolved("b", "gpt")) == "of gpt"
    assert system(resolved("a", "other")) == ""
    assert system(resolved(None, "other")) == ""
    assert system(resolved(None, "smart", personal=True)) == "", "a user's own provider must not be told it"


def test_without_prompts_a_request_is_the_same_object() -> None:
    request = asked("mine", native("chat_completions", '{"messages":[]}'))

    assert PromptBook({}).added_to(request, resolved(None, "smart")) is request
    assert PromptBook({"x": "y"}).added_to(request, resolved(None, "smart")) is request


@pytest.mark.parametrize(
    ("declared", "faults"),
    [
        ([], 1),
        ({"smart": ""}, 1),
        ({"smart": " \n"}, 1),
        ({"smart": 5, "x" * 201: "text"}, 2),
        ({"smart": "x" * (MAX_PROMPT_CHARS + 1)}, 1),
    ],
)
def test_wrong_declarations(declared: object, faults: int) -> None:
    with pytest.raises(PromptError) as caught:
        read_prompts(declared)

    assert len(caught.value.faults) == faults


def test_a_declaration() -> None:
    assert read_prompts({"org/smart": " Be kind.\n", 4: "numbers are names too"}) == {
        "org/smart": " Be kind.\n",
        "4": "numbers are names too",
    }


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (b'"a"', b'"Be brief.\\n\\na"'),
        (b'["a"]', b'["Be brief.\\n\\na"]'),
        (b"[[1,2]]", b"[[1,2]]"),
        (b"", b'"Be brief.\\n\\n"'),
    ],
    ids=["text", "texts", "tokens", "nothing"],
)
def test_in_front_of_bare_prompts(given: bytes, sent: bytes) -> None:
    fields = {"prompt": msgspec.Raw(given)} if given else {}
    asked = ChatRequest("", [], native=NativeRequest("text_completions", fields))

    native = with_server_prompt(asked, "Be brief.").native

    assert native is not None
    assert bytes(native.fields["prompt"]) == sent
