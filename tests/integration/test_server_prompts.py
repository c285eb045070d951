"""The operator's system prompts: who gets them, who sees them, and who may change them."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask_openapi import OpenAPI

from domain.chat import ChatRequest, NativeRequest, PromptMessage
from domain.messages import MessageRole, Text
from domain.principal import Principal, Role
from tests.actors import Actor, add_user, ok, refused, set_up, sign_in
from tests.chats import chat, entry, eventually, prompt, services, told
from tests.conftest import AppFactory
from tests.scripted_provider.client import ScriptedProvider

SETTINGS = {"AUTO_TITLE": False, "RATE_LIMIT": "100000 per minute", "RATE_LIMIT_CHAT": "100000 per minute"}
CANARY = "You are Canary-4711."


def providers(provider: ScriptedProvider) -> dict[str, Any]:
    claude = {"api_key": "k", "base_url": provider.anthropic_url, "models": ["claude"]}
    return {
        "a": entry(provider, ["first"]),
        "b": entry(provider, ["second"]),
        "c": {"adapter_class": "adapters.anthropic_adapter.AnthropicAdapter", "config": claude},
    }


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    return make_app(providers(provider), **SETTINGS)


def listed(admin: Actor) -> dict[str, dict[str, Any]]:
    return {one["public_model"]: one for one in ok(admin.get("/api/v1/prompts"))["items"]}


def systems(entry: dict[str, Any]) -> list[str]:
    return [content for role, content in prompt(entry) if role == "system"]


@pytest.mark.usefixtures("every_database")
def test_a_prompt_is_set_changed_and_taken_away(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    text = "Sei freundlich. 要友善 🙂" + "x" * 70_000
    put = ok(admin.put("/api/v1/prompts/org/first", {"text": text}))

    assert put == listed(admin)["org/first"] == ok(admin.get("/api/v1/prompts/org/first"))
    assert put == {"public_model": "org/first", "text": text, "source": "admin", "locked": False, "overrides": False}
    ok(admin.put("/api/v1/prompts/first", {"text": "One."}))
    chat(admin, "hi", model="first")
    assert systems(provider.last()) == ["One."]
    ok(admin.put("/api/v1/prompts/first", {"text": "Two."}))
    chat(admin, "hi", model="first")
    assert systems(provider.last()) == ["Two."]

    ok(admin.delete("/api/v1/prompts/first"))

    chat(admin, "hi", model="first")
    assert systems(provider.last()) == []
    refused(admin.get("/api/v1/prompts/first"), 404, "prompt_not_found")
    refused(admin.delete("/api/v1/prompts/first"), 404, "prompt_not_found")


def test_it_comes_before_the_sessions_own_and_is_stored_with_nothing(
    app: OpenAPI, admin: Actor, provider: ScriptedProvider
) -> None:
    ok(admin.put("/api/v1/prompts/first", {"text": CANARY}))
    grace = add_user(admin, app, "grace")

    answer = chat(grace, "hi", model="first", config={"system_prompt": "Answer in French."})
    again = chat(grace, "and now?", answer["session_id"])

    assert systems(provider.last()) == [f"{CANARY}\n\nAnswer in French."]
    seen = [
        answer,
        again,
        ok(grace.get(f"/api/v1/sessions/{answer['session_id']}")),
        ok(grace.get(f"/api/v1/sessions/{answer['session_id']}/messages")),
        ok(grace.get(f"/api/v1/generations/{again['generation_id']}")),
        ok(grace.get("/api/v1/providers")),
    ]
    assert "Canary" not in json.dumps(seen)


def test_every_target_of_a_route_gets_it(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    targets = [{"provider": "a", "model": "first"}, {"provider": "b", "model": "second"}]
    ok(admin.put("/api/v1/routes/smart", {"targets": targets}))
    ok(admin.put("/api/v1/prompts/smart", {"text": CANARY}))
    ok(admin.put("/api/v1/prompts/second", {"text": "of the target itself"}))
    provider.script({"match": {"model": "first"}, "times": -1, "status": 401})

    answer = chat(admin, "hi", model="smart")

    assert answer["message"]["provider"] == "b"
    assert [systems(one) for one in provider.log()] == [[CANARY], [CANARY]]


def test_a_client_of_openais_protocol(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    ok(admin.put("/api/v1/prompts/first", {"text": CANARY}))

    complete(app, admin, "first", "chat_completions", b'{"messages":[{"role":"user", "content":"hi"}],"seed":1}')

    sent = provider.last()["body"]
    assert sent["messages"] == [{"role": "system", "content": CANARY}, {"role": "user", "content": "hi"}]
    assert sent["seed"] == 1


def test_a_client_of_anthropics_protocol(app: OpenAPI, admin: Actor, provider: ScriptedProvider) -> None:
    ok(admin.put("/api/v1/prompts/claude", {"text": CANARY}))
    body = b'{"system":"mine","max_tokens":9,"messages":[{"role":"user", "content":"hi"}]}'

    complete(app, admin, "claude", "messages", body)

    assert provider.last()["body"]["system"] == [{"type": "text", "text": CANARY}, {"type": "text", "text": "mine"}]


def test_a_users_own_model_is_not_told_it_whatever_it_is_called(
    make_app: AppFactory, provider: ScriptedProvider
) -> None:
    allowed = provider.base_url.removeprefix("http://")
    app = make_app(providers(provider), **SETTINGS, PROVIDER_PRIVATE_HOSTS=allowed)
    admin = set_up(app)
    grace = add_user(admin, app, "grace")
    model = {"kind": "openai", "base_url": provider.openai_url, "api_key": "sk-of-grace", "upstream_model": "hers"}
    for name in ("first", "ours"):
        ok(admin.put(f"/api/v1/prompts/{name}", {"text": CANARY}))
    ok(grace.post("/api/v1/models", model | {"name": "first"}), 201)
    ok(admin.post("/api/v1/models/system", model | {"name": "ours", "aliases": ["also-ours"]}), 201)

    def prompt_of(model: str) -> tuple[str, list[str]]:
        chat(grace, "hi", model=model)
        return provider.last()["body"]["model"], systems(provider.last())

    assert prompt_of("first") == ("hers", [])
    assert prompt_of("ours") == ("hers", [CANARY])
    assert prompt_of("also-ours") == ("hers", [CANARY])


def complete(app: OpenAPI, caller: Actor, model: str, dialect: Any, body: bytes) -> None:
    native = NativeRequest(dialect, msgspec.json.decode(body, type=dict[str, msgspec.Raw]), body=body)
    asked = ChatRequest("", [PromptMessage(MessageRole.USER, [Text("hi")])], native=native, whole=True, max_tokens=9)
    principal = Principal(caller.id, "ada", Role.USER, "sign-in")
    assert list(services(app).completions.begin(principal, model, asked).deltas())


def test_a_prompt_takes_room_in_the_window(make_app: AppFactory, provider: ScriptedProvider) -> None:
    small = {"name": "first", "context_window": 300, "max_output": 50}
    admin = set_up(make_app({"a": entry(provider, [small])}, **SETTINGS))
    ok(admin.put("/api/v1/prompts/first", {"text": "word " * 1000}))

    refused(admin.post("/api/v1/chat", {"message": "hi", "model": "first"}), 422, "context_too_long")


def test_titles_are_made_without_it(make_app: AppFactory, provider: ScriptedProvider) -> None:
    app = make_app({"a": entry(provider, ["first"])}, **(SETTINGS | {"AUTO_TITLE": True}))
    admin = set_up(app)
    ok(admin.put("/api/v1/prompts/first", {"text": CANARY}))

    chat(admin, told(text="Fine."), model="first")

    _, title = eventually(lambda: log if len(log := provider.log()) == 2 else [])
    assert systems(title) == []


def test_what_the_file_declares_is_locked(make_app: AppFactory, provider: ScriptedProvider, tmp_path: Path) -> None:
    file = tmp_path / "ai.yaml"
    ada = set_up(make_app(providers(provider), **SETTINGS))
    ok(ada.put("/api/v1/prompts/first", {"text": "By hand."}))
    file.write_text("providers: {}\nprompts:\n  first: |\n    From the file.\n")

    ada = sign_in(make_app(providers(provider), **SETTINGS, AI_PROVIDERS_FILE=str(file)), "ada")

    assert listed(ada) == {
        "first": {
            "public_model": "first",
            "text": "From the file.\n",
            "source": "file",
            "locked": True,
            "overrides": True,
        }
    }
    refused(ada.put("/api/v1/prompts/first", {"text": "x"}), 409, "locked_by_configuration")
    refused(ada.delete("/api/v1/prompts/first"), 409, "locked_by_configuration")
    chat(ada, "hi", model="first")
    assert systems(provider.last()) == ["From the file.\n"]


def test_other_nodes_see_it_at_their_next_look(make_app: AppFactory, provider: ScriptedProvider) -> None:
    here, there = make_app(providers(provider), **SETTINGS), make_app(providers(provider), **SETTINGS)
    ada = set_up(here)
    ada_there = sign_in(there, "ada")
    ok(ada.put("/api/v1/prompts/first", {"text": CANARY}))

    services(there).refresher.refresh()

    chat(ada_there, "hi", model="first")
    assert systems(provider.last()) == [CANARY]


@pytest.mark.parametrize("text", ["", " \n\t", "x" * 100_001, None, 5, "nul\0"])
def test_what_is_no_prompt(app: OpenAPI, admin: Actor, text: Any) -> None:
    body = refused(admin.put("/api/v1/prompts/first", {"text": text}), 422, "invalid_request")

    assert body["fields"] == ["text"]
    assert listed(admin) == {}


def test_users_neither_see_nor_set_prompts(app: OpenAPI, admin: Actor) -> None:
    ok(admin.put("/api/v1/prompts/first", {"text": CANARY}))
    grace = add_user(admin, app, "grace")

    for response in (
        grace.get("/api/v1/prompts"),
        grace.get("/api/v1/prompts/first"),
        grace.put("/api/v1/prompts/first", {"text": "mine"}),
        grace.delete("/api/v1/prompts/first"),
    ):
        assert "Canary" not in str(refused(response, 403, "permission_denied"))
    assert listed(admin)["first"]["text"] == CANARY


def test_the_log_never_has_the_text(capsys: pytest.CaptureFixture[str], app: OpenAPI, admin: Actor) -> None:
    ok(admin.put("/api/v1/prompts/first", {"text": CANARY}))
    admin.post("/api/v1/chat", {"message": told(status=400), "model": "first"})
    ok(admin.delete("/api/v1/prompts/first"))

    log = capsys.readouterr().err
    assert "server_prompt_set" in log
    assert "upstream_attempt" in log
    assert "Canary" not in log


@pytest.mark.parametrize("model", ["first", "claude"])
def test_it_counts_where_tokens_are_counted_and_goes_before_bare_prompts(
    app: OpenAPI, admin: Actor, provider: ScriptedProvider, model: str
) -> None:
    asked = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    before = admin.post("/v1/messages/count_tokens", asked).get_json()["input_tokens"]
    ok(admin.put(f"/api/v1/prompts/{model}", {"text": "Be brief, be kind, be true."}))

    assert admin.post("/v1/messages/count_tokens", asked).get_json()["input_tokens"] > before

    assert admin.post("/v1/completions", {"model": model, "prompt": "hi"}).status_code == 200
    assert "Be brief" in json.dumps(provider.last()["body"])
