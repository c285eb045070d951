"""Models that people register: whose they are, who may use them, and what is never told of them."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask_openapi import OpenAPI

from models import RegisteredModelEntity, StampEntity, db
from tests.actors import Actor, add_user, ok, refused, set_up
from tests.books import entries
from tests.chats import chat, entry, eventually, services, told
from tests.conftest import AppFactory
from tests.scripted_provider.client import ScriptedProvider

MODELS = "/api/v1/models"
CANARY = "sk-canary-0123456789abcdefghij"
SETTINGS = {
    "AUTO_TITLE": False,
    "RATE_LIMIT": "100000 per minute",
    "RATE_LIMIT_CHAT": "100000 per minute",
    "PROVIDER_PRIVATE_HOSTS": "127.0.0.1/32",
}


def private_host(provider: ScriptedProvider) -> str:
    return provider.base_url.removeprefix("http://")


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    return make_app({"openai": entry(provider)}, **SETTINGS | {"PROVIDER_PRIVATE_HOSTS": private_host(provider)})


@pytest.fixture
def other_node(make_app: AppFactory, provider: ScriptedProvider, app: OpenAPI) -> OpenAPI:
    """Another node on the same database."""
    return make_app({"openai": entry(provider)}, **SETTINGS | {"PROVIDER_PRIVATE_HOSTS": private_host(provider)})


@pytest.fixture
def body(provider: ScriptedProvider) -> dict[str, Any]:
    return {
        "name": "mine",
        "kind": "openai",
        "base_url": provider.openai_url,
        "api_key": CANARY,
        "upstream_model": "large-1",
    }


def listed(actor: Actor) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in ok(actor.get(MODELS))["items"]}


def rows(app: OpenAPI) -> list[RegisteredModelEntity]:
    with app.app_context():
        return list(db.session.scalars(sa.select(RegisteredModelEntity)))


# Registered, changed, forgotten


@pytest.mark.usefixtures("every_database")
def test_a_model_of_ones_own_answers(
    app: OpenAPI, user: Actor, provider: ScriptedProvider, body: dict[str, Any]
) -> None:
    made = ok(user.post(MODELS, body | {"aliases": ["my-alias"], "context_window": 5000}), 201)

    assert (made["name"], made["source"], made["provider"]) == ("mine", "personal", made["id"])
    assert (made["context_window"], made["upstream_model"]) == (5000, "large-1")
    assert made["registration"]["key_set"] is True
    for name in ("mine", "my-alias"):
        answer = chat(user, told(words=5), model=name)
        assert (answer["message"]["provider"], answer["message"]["model"]) == (made["id"], "large-1")
        assert (provider.last()["model"], provider.last()["key"]) == ("large-1", CANARY[-4:])
    assert [row.public_model for row in entries(app)] == ["mine", "mine"]
    again = chat(user, told(words=5), answer["session_id"])
    assert again["message"]["provider"] == made["id"]


@pytest.mark.usefixtures("every_database")
def test_a_model_is_changed_in_what_is_named(
    app: OpenAPI, user: Actor, provider: ScriptedProvider, body: dict[str, Any]
) -> None:
    made = ok(user.post(MODELS, body), 201)
    path = f"{MODELS}/{made['id']}"

    changed = ok(user.put(path, {"name": "other", "aliases": ["a", "b"], "capabilities": {"vision": True}}))

    assert (changed["name"], changed["aliases"], changed["upstream_model"]) == ("other", ["a", "b"], "large-1")
    assert changed["capabilities"]["vision"] is True
    assert ok(user.get(path)) == changed
    assert listed(user)["other"] == changed
    chat(user, told(words=5), model="b")
    assert provider.last()["key"] == CANARY[-4:]
    ok(user.put(path, {"api_key": "sk-another-key-0123456789-wxyz"}))
    chat(user, told(words=5), model="other")
    assert provider.last()["key"] == "wxyz"
    assert ok(user.put(path, {"api_key": None}))["registration"]["key_set"] is False
    assert rows(app)[0].api_key is None


def test_a_model_that_is_gone_is_unknown(app: OpenAPI, user: Actor, body: dict[str, Any]) -> None:
    made = ok(user.post(MODELS, body), 201)
    session = chat(user, told(words=5), model="mine")["session_id"]

    ok(user.delete(f"{MODELS}/{made['id']}"))

    refused(user.get(f"{MODELS}/{made['id']}"), 404, "model_not_found")
    assert chat(user, told(words=5), session)["message"]["provider"] == "openai"
    refused(user.post("/api/v1/chat", {"message": "hi", "provider": made["id"]}), 422, "unknown_provider")


def test_a_model_that_is_off_is_not_asked(app: OpenAPI, user: Actor, body: dict[str, Any]) -> None:
    made = ok(user.post(MODELS, body | {"enabled": False}), 201)

    assert listed(user)["mine"]["registration"]["enabled"] is False
    assert chat(user, told(words=5), model="mine")["message"]["provider"] == "openai"
    ok(user.put(f"{MODELS}/{made['id']}", {"enabled": True}))
    assert chat(user, told(words=5), model="mine")["message"]["provider"] == made["id"]


def test_a_turn_that_runs_outlives_its_model(app: OpenAPI, user: Actor, body: dict[str, Any]) -> None:
    made = ok(user.post(MODELS, body), 201)
    stream = user.post("/api/v1/chat/stream", {"message": told(words=20, pace_ms=20), "model": "mine"})
    frames = stream.iter_encoded()
    next(frames)

    ok(user.delete(f"{MODELS}/{made['id']}"))

    assert b'"status":"completed"' in b"".join(frames)


@pytest.mark.usefixtures("every_database")
def test_a_price_comes_with_the_model_and_goes_with_it(app: OpenAPI, user: Actor, body: dict[str, Any]) -> None:
    made = ok(user.post(MODELS, body | {"price": {"input": "2", "output": "10"}}), 201)
    assert made["price"] == {"input": "2", "output": "10", "cached_input": "2", "reasoning": "10", "image": "0"}
    used = {"prompt_tokens": 1000, "completion_tokens": 50}
    chat(user, told(words=5, usage=used), model="mine")

    moved = ok(user.put(f"{MODELS}/{made['id']}", {"upstream_model": "large-2"}))
    assert moved["price"] == made["price"]
    chat(user, told(words=5, usage=used), model="mine")
    assert ok(user.put(f"{MODELS}/{made['id']}", {"price": None}))["price"] is None
    chat(user, told(words=5, usage=used), model="mine")

    assert [row.cost for row in entries(app)] == [2_500_000, 2_500_000, 0]


# Whose they are


def test_another_users_model_is_unknown_by_every_name(
    app: OpenAPI, user: Actor, other_user: Actor, admin: Actor, body: dict[str, Any]
) -> None:
    made = ok(user.post(MODELS, body), 201)

    for other in (other_user, admin):
        assert "mine" not in listed(other)
        refused(other.get(f"{MODELS}/{made['id']}"), 404, "model_not_found")
        refused(other.post("/api/v1/chat", {"message": "hi", "provider": made["id"]}), 422, "unknown_provider")
        assert chat(other, told(words=5), model="mine")["message"]["provider"] == "openai"
    ok(other_user.post(MODELS, body), 201)  # the same name is free for everybody else


def test_ones_own_comes_first_and_the_installations_before_the_declared(
    app: OpenAPI, admin: Actor, user: Actor, other_user: Actor, body: dict[str, Any]
) -> None:
    shared = ok(admin.post(f"{MODELS}/system", body | {"name": "sees"}), 201)
    own = ok(user.post(MODELS, body | {"name": "sees"}), 201)

    assert chat(user, told(words=5), model="sees")["message"]["provider"] == own["id"]
    assert chat(other_user, told(words=5), model="sees")["message"]["provider"] == shared["id"]
    assert chat(user, told(words=5), model="sees", provider="openai")["message"]["provider"] == "openai"
    assert [item["source"] for item in ok(user.get(MODELS))["items"]] == [
        "personal",
        "admin",
        "environment",
        "environment",
    ]


def test_who_may_see_a_model_of_the_installation(
    app: OpenAPI, admin: Actor, user: Actor, provider: ScriptedProvider, body: dict[str, Any]
) -> None:
    made = ok(admin.post(f"{MODELS}/system", body | {"visibility": "admins"}), 201)
    path = f"{MODELS}/{made['id']}"

    assert made["registration"]["visibility"] == "admins"
    assert "mine" not in listed(user)
    refused(user.get(path), 404, "model_not_found")
    refused(user.put(path, {"name": "x"}), 404, "model_not_found")
    refused(user.post("/api/v1/chat", {"message": "hi", "provider": made["id"]}), 422, "unknown_provider")
    assert chat(admin, told(words=5), model="mine")["message"]["provider"] == made["id"]

    assert ok(admin.put(path, {"visibility": ["USER"]}))["registration"]["visibility"] == ["USER"]
    shown = listed(user)["mine"]
    assert (shown["registration"], shown["source"]) == (None, "admin")
    assert provider.openai_url not in str(shown)
    assert chat(user, told(words=5), model="mine")["message"]["provider"] == made["id"]
    refused(user.put(path, {"name": "x"}), 403, "permission_denied")
    refused(user.delete(path), 403, "permission_denied")
    refused(user.post(f"{path}/test"), 403, "permission_denied")
    ok(admin.put(path, {"visibility": None}))
    assert ok(admin.get(path))["registration"]["visibility"] == "everybody"


def test_only_administrators_register_for_all(app: OpenAPI, user: Actor, body: dict[str, Any]) -> None:
    refused(user.post(f"{MODELS}/system", body), 403, "permission_denied")


def test_users_may_be_kept_from_registering(make_app: AppFactory, provider: ScriptedProvider) -> None:
    app = make_app({"openai": entry(provider)}, PERSONAL_MODELS=False, **SETTINGS)
    admin = set_up(app)
    user = add_user(admin, app, "grace")

    refused(user.post(MODELS, {"name": "x", "kind": "echo"}), 403, "personal_models_off")
    ok(admin.post(MODELS, {"name": "x", "kind": "echo"}), 201)


def test_a_user_who_is_deleted_takes_their_models_along(app: OpenAPI, admin: Actor, user: Actor) -> None:
    ok(user.post(MODELS, {"name": "x", "kind": "echo"}), 201)

    ok(admin.delete(f"/api/v1/users/{user.id}"))
    services(app).refresher.refresh()

    assert rows(app) == []
    assert list(services(app).models._directory.registered) == []


# What is refused


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"kind": "adapters.openai_adapter.OpenAIAdapter"}, "invalid_request", "kind"),
        ({"kind": "nothing"}, "unknown_kind", "kind"),
        ({"kind": "http"}, "unknown_kind", "kind"),
        ({"base_url": "file:///etc/passwd"}, "invalid_request", "base_url"),
        ({"base_url": "http://user:pass@example.com"}, "invalid_request", "base_url"),
        ({"base_url": "http://169.254.169.254/v1"}, "address_not_allowed", "base_url"),
        ({"base_url": "http://127.0.0.1:1/v1"}, "address_not_allowed", "base_url"),
        ({"base_url": "http://localhost/v1"}, "address_not_allowed", "base_url"),
        ({"base_url": "", "api_key": None}, "key_needed", "api_key"),
        ({"kind": "dify", "api_key": None}, "key_needed", "api_key"),
        ({"api_key": "schlüssel"}, "invalid_request", "api_key"),
        ({"name": ""}, "invalid_request", "name"),
        ({"name": "x" * 201}, "invalid_request", "name"),
        ({"aliases": ["mine"]}, "invalid_request", "aliases"),
        ({"context_window": 0}, "invalid_request", "context_window"),
        ({"visibility": ["GUEST"]}, "invalid_request", None),
        ({"price": {"input": -1, "output": 1}}, "invalid_request", "price.input"),
    ],
    ids=str,
)
def test_what_cannot_be_registered(
    app: OpenAPI, user: Actor, body: dict[str, Any], change: dict[str, Any], code: str, field: str | None
) -> None:
    told_of = refused(user.post(MODELS, body | change), 422, code)

    assert field is None or field in told_of["fields"]
    assert rows(app) == []


def test_names_are_taken_once(app: OpenAPI, user: Actor) -> None:
    first = ok(user.post(MODELS, {"name": "one", "kind": "echo", "aliases": ["eins"]}), 201)

    for taken in ({"name": "one"}, {"name": "eins"}, {"name": "two", "aliases": ["one"]}):
        refused(user.post(MODELS, {"kind": "echo"} | taken), 409, "model_name_taken")
    second = ok(user.post(MODELS, {"name": "two", "kind": "echo"}), 201)
    refused(user.put(f"{MODELS}/{second['id']}", {"aliases": ["eins"]}), 409, "model_name_taken")
    ok(user.put(f"{MODELS}/{first['id']}", {"aliases": ["uno"]}))


def test_a_key_is_not_sent_elsewhere_without_being_known(
    app: OpenAPI, admin: Actor, provider: ScriptedProvider, body: dict[str, Any]
) -> None:
    made = ok(admin.post(f"{MODELS}/system", body), 201)
    path, elsewhere = f"{MODELS}/{made['id']}", {"base_url": f"{provider.base_url}/elsewhere"}

    refused(admin.put(path, elsewhere), 422, "key_needed")
    refused(admin.put(path, {"kind": "qwen"}), 422, "key_needed")
    ok(admin.put(path, elsewhere | {"api_key": "sk-of-elsewhere-0123456789"}))
    ok(admin.put(path, {"base_url": elsewhere["base_url"], "name": "same"}))


# Tried


def test_a_model_can_be_tried(app: OpenAPI, user: Actor, provider: ScriptedProvider, body: dict[str, Any]) -> None:
    made = ok(user.post(MODELS, body | {"enabled": False}), 201)

    report = ok(user.post(f"{MODELS}/{made['id']}/test"))

    assert (report["ok"], report["error_code"]) == (True, None)
    assert report["latency_ms"] >= report["first_token_ms"] > 0
    assert provider.last()["model"] == "large-1"
    assert entries(app) == []


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ({"status": 401}, "provider_denied"),
        ({"status": 500}, "provider_unavailable"),
        ({"status": 400, "message": f"no {CANARY} here"}, "provider_rejected"),
        ({"fault": "cut"}, "upstream_cut"),
        ({"fault": "html_200"}, "provider_garbage"),
    ],
    ids=str,
)
def test_a_trial_tells_what_is_wrong(
    app: OpenAPI, user: Actor, provider: ScriptedProvider, body: dict[str, Any], script: dict[str, Any], code: str
) -> None:
    made = ok(user.post(MODELS, body), 201)
    provider.script(script)

    report = ok(user.post(f"{MODELS}/{made['id']}/test"))

    assert (report["ok"], report["error_code"]) == (False, code)
    assert report["message"]
    assert CANARY not in str(report)
    assert entries(app) == []


# On every node


@pytest.mark.usefixtures("every_database")
def test_other_nodes_learn_of_changes(app: OpenAPI, other_node: OpenAPI, user: Actor, body: dict[str, Any]) -> None:
    there = Actor(other_node, user.tokens)
    made = ok(user.post(MODELS, body), 201)
    services(other_node).refresher.refresh()
    assert chat(there, told(words=5), model="mine")["message"]["provider"] == made["id"]

    ok(user.put(f"{MODELS}/{made['id']}", {"name": "renamed"}))
    services(other_node).refresher.refresh()
    assert chat(there, told(words=5), model="renamed")["message"]["provider"] == made["id"]
    assert chat(there, told(words=5), model="mine")["message"]["provider"] == "openai"

    ok(user.delete(f"{MODELS}/{made['id']}"))
    services(other_node).refresher.refresh()
    assert chat(there, told(words=5), model="renamed")["message"]["provider"] == "openai"


def test_nodes_look_by_themselves(app: OpenAPI, other_node: OpenAPI, user: Actor) -> None:
    services(other_node).refresher.start()
    made = ok(user.post(MODELS, {"name": "x", "kind": "echo"}), 201)

    eventually(lambda: services(other_node).models._directory.registered.get(made["id"]), seconds=5)


def test_what_has_not_changed_keeps_its_connections(app: OpenAPI, user: Actor, body: dict[str, Any]) -> None:
    kept, changed = (ok(user.post(MODELS, body | {"name": name}), 201)["id"] for name in "ab")
    directory = services(app).models._directory
    before = directory[kept], directory[changed]

    ok(user.put(f"{MODELS}/{changed}", {"max_output": 100}))

    assert directory[kept] is before[0]
    assert directory[changed] is not before[1]


# Keys


def test_keys_of_the_database_are_sealed(app: OpenAPI, user: Actor, body: dict[str, Any]) -> None:
    ok(user.post(MODELS, body), 201)

    with app.app_context():
        (row,) = db.session.execute(sa.text("SELECT * FROM models")).all()
    assert CANARY not in str(row)
    assert CANARY[-8:] not in str(row)


@pytest.mark.usefixtures("every_database")
def test_keys_that_were_swapped_are_refused(
    app: OpenAPI, make_app: AppFactory, user: Actor, admin: Actor, provider: ScriptedProvider, body: dict[str, Any]
) -> None:
    mine = ok(user.post(MODELS, body), 201)
    theirs = ok(admin.post(f"{MODELS}/system", body | {"name": "theirs", "api_key": "sk-theirs-0123456789abcdef"}), 201)
    with app.app_context():
        one, two = (db.session.get(RegisteredModelEntity, made["id"]) for made in (mine, theirs))
        assert one
        assert two
        one.api_key, two.api_key = two.api_key, one.api_key
        stamp = db.session.get(StampEntity, "models")
        assert stamp
        stamp.number += 1
        db.session.commit()
    services(app).refresher.refresh()

    for name in ("mine", "theirs"):
        refused(user.post("/api/v1/chat", {"message": "hi", "model": name}), 503, "model_unusable")
    assert listed(user)["mine"]["fault"] == "secret_unreadable"
    assert ok(user.post(f"{MODELS}/{mine['id']}/test"))["error_code"] == "secret_unreadable"
    assert provider.log() == []
    ok(user.put(f"{MODELS}/{mine['id']}", {"api_key": CANARY}))
    chat(user, told(words=5), model="mine")


def test_a_key_is_told_nowhere(
    make_app: AppFactory, provider: ScriptedProvider, body: dict[str, Any], tmp_path: Path
) -> None:
    settings = SETTINGS | {"PROVIDER_PRIVATE_HOSTS": private_host(provider), "LOGGING_LEVEL": "DEBUG"}
    user = set_up(make_app({"openai": entry(provider)}, LOG_FILE=str(tmp_path / "log"), **settings))
    said: list[str] = []

    def say(response: Any) -> Any:
        said.append(response.get_data(as_text=True))
        return response

    made = ok(say(user.post(MODELS, body)), 201)
    path = f"{MODELS}/{made['id']}"
    provider.script({"status": 400, "message": f"the key {CANARY} may not do this"})
    say(user.post("/api/v1/chat", {"message": "hi", "model": "mine"}))
    wrong: tuple[Any, ...] = (
        CANARY,
        [CANARY],
        {"x": CANARY},
        f"http://x/{CANARY}",
        f"a {CANARY} b",
        {"vision": CANARY},
    )
    for name in (*body, "aliases", "visibility", "capabilities", "price", "enabled", "max_output"):
        for value in wrong:
            if (name, type(value)) not in (("api_key", str), ("capabilities", dict)):
                assert say(user.put(path, {name: value})).status_code == 422, (name, value)
                assert say(user.post(MODELS, body | {name: value})).status_code == 422, (name, value)
    say(user.put(path, {"base_url": f"http://{CANARY}@example.com"}))
    for kind, status in (("status", 401), ("status", 500)):
        provider.script({kind: status, "message": CANARY})
        say(user.post(f"{path}/test"))
    for address in (path, MODELS, "/api/v1/providers", "/api/v1/usage", "/api/v1/sessions"):
        say(user.get(address))
    log = (tmp_path / "log").read_text()

    assert CANARY not in "".join(said)
    assert "model_registered" in log
    assert "[redacted]" in log
    assert CANARY not in log
    assert made["registration"]["key_hint"] == CANARY[-4:]
