"""Routes that administrators set while nodes serve."""

import json
from pathlib import Path
from typing import Any

import pytest
from flask_openapi import OpenAPI

from tests.actors import Actor, add_user, ok, refused, set_up, sign_in
from tests.chats import chat, entry, services
from tests.conftest import AppFactory
from tests.scripted_provider.client import ScriptedProvider

SETTINGS = {"AUTO_TITLE": False, "RATE_LIMIT": "100000 per minute", "RATE_LIMIT_CHAT": "100000 per minute"}
A, B = {"provider": "a", "model": "sees"}, {"provider": "b", "model": "sees"}


def providers(provider: ScriptedProvider) -> dict[str, Any]:
    return {"a": entry(provider), "b": entry(provider)}


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    return make_app(providers(provider), **SETTINGS)


def shown(admin: Actor) -> dict[str, dict[str, Any]]:
    return {route["name"]: route for route in ok(admin.get("/api/v1/routes"))["items"]}


def answered_by(actor: Actor, model: str) -> str:
    return str(ok(actor.post("/api/v1/chat", {"message": "hi", "model": model}))["message"]["provider"])


@pytest.mark.usefixtures("every_database")
def test_a_route_is_set_changed_and_taken_away(app: OpenAPI, admin: Actor) -> None:
    put = ok(admin.put("/api/v1/routes/org/smart", {"targets": [B, A | {"weight": 3}]}))

    assert put == shown(admin)["org/smart"]
    assert (put["source"], put["locked"], put["overrides"]) == ("admin", False, False)
    assert [(one["provider"], one["order"], one["weight"], one["configured"]) for one in put["targets"]] == [
        ("b", 0, 1, True),
        ("a", 1, 3, True),
    ]
    assert put["targets"][0]["breaker"]["state"] == "closed"
    assert answered_by(admin, "org/smart") == "b"
    ok(admin.put("/api/v1/routes/org/smart", {"targets": [A]}))
    assert answered_by(admin, "org/smart") == "a"

    ok(admin.delete("/api/v1/routes/org/smart"))

    assert shown(admin) == {}
    refused(admin.delete("/api/v1/routes/org/smart"), 404, "route_not_found")


def test_names_are_told_apart_by_every_letter(app: OpenAPI, admin: Actor) -> None:
    ok(admin.put("/api/v1/routes/smart", {"targets": [A]}))
    ok(admin.put("/api/v1/routes/Smart", {"targets": [B]}))

    assert (answered_by(admin, "smart"), answered_by(admin, "Smart")) == ("a", "b")


def test_a_route_for_turns_that_name_nothing(app: OpenAPI, admin: Actor) -> None:
    assert chat(admin, "hi")["message"]["provider"] == "a"
    ok(admin.put("/api/v1/routes/default", {"targets": [B]}))

    assert ok(admin.post("/api/v1/chat", {"message": "hi"}))["message"]["provider"] == "b"


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        ([], "targets"),
        ([{"provider": "nobody", "model": "m"}], "no provider 'nobody'"),
        ([A, A], "2 times"),
        ([A | {"order": 1}, B], "order"),
        ([A | {"weight": 0}], "weight"),
        ([A | {"color": "red"}], "color"),
        ([{"provider": "a"}], "model"),
    ],
)
def test_wrong_routes_are_refused_with_the_reason(
    app: OpenAPI, admin: Actor, targets: list[dict[str, Any]], told: str
) -> None:
    body = refused(admin.put("/api/v1/routes/smart", {"targets": targets}), 422, "invalid_request")

    assert told in body["error"] + str(body["fields"])
    assert all(field.startswith("targets") for field in body["fields"])
    assert shown(admin) == {}


@pytest.mark.parametrize("name", ["é", "a b", "a?b", "..", "a/../b", "x" * 201])
def test_names_that_are_no_part_of_an_address(app: OpenAPI, admin: Actor, name: str) -> None:
    path = f"/api/v1/routes/{name.replace('?', '%3F').replace(' ', '%20')}"

    assert admin.put(path, {"targets": [A]}).status_code in (404, 405, 422)
    assert shown(admin) == {}


def test_what_the_file_declares_is_locked(make_app: AppFactory, provider: ScriptedProvider, tmp_path: Path) -> None:
    file = tmp_path / "ai.json"
    admin = set_up(make_app(providers(provider), **SETTINGS, AI_PROVIDERS_FILE=_declaring(file, {})))
    ok(admin.put("/api/v1/routes/smart", {"targets": [B]}))
    ok(admin.put("/api/v1/routes/other", {"targets": [B]}))

    app = make_app(providers(provider), **SETTINGS, AI_PROVIDERS_FILE=_declaring(file, {"smart": ["a/sees"]}))
    ada = sign_in(app, "ada")

    assert {name: (one["source"], one["locked"], one["overrides"]) for name, one in shown(ada).items()} == {
        "smart": ("file", True, True),  # the one that was set is shown to be out of force, not lost in silence
        "other": ("admin", False, False),
    }
    assert (answered_by(ada, "smart"), answered_by(ada, "other")) == ("a", "b")
    refused(ada.put("/api/v1/routes/smart", {"targets": [B]}), 409, "locked_by_configuration")
    refused(ada.delete("/api/v1/routes/smart"), 409, "locked_by_configuration")


def _declaring(file: Path, routes: dict[str, list[str]]) -> str:
    file.write_text(json.dumps({"providers": {}, "routes": routes}))
    return str(file)


@pytest.mark.usefixtures("every_database")
def test_other_nodes_see_it_at_their_next_look(make_app: AppFactory, provider: ScriptedProvider) -> None:
    here, there = make_app(providers(provider), **SETTINGS), make_app(providers(provider), **SETTINGS)
    ada = set_up(here)
    ada_there = sign_in(there, "ada")
    ok(ada.put("/api/v1/routes/smart", {"targets": [B]}))
    assert shown(ada_there) == {}

    services(there).refresher.refresh()

    assert answered_by(ada_there, "smart") == "b"
    ok(ada_there.delete("/api/v1/routes/smart"))
    services(here).refresher.refresh()
    assert shown(ada) == {}


def test_a_node_begins_with_what_was_set(make_app: AppFactory, provider: ScriptedProvider) -> None:
    unheard = B | {"model": "unheard-of"}
    ok(set_up(make_app(providers(provider), **SETTINGS)).put("/api/v1/routes/smart", {"targets": [unheard]}))

    app = make_app(providers(provider), **SETTINGS)

    assert answered_by(sign_in(app, "ada"), "smart") == "b"
    assert 'model="unheard-of",provider="b"' in services(app).metrics_text().decode(), "it may be called by its name"


def test_a_target_whose_provider_is_gone_is_shown_and_passed_over(
    make_app: AppFactory, provider: ScriptedProvider
) -> None:
    both = providers(provider)
    ok(set_up(make_app(both, **SETTINGS)).put("/api/v1/routes/smart", {"targets": [B, A]}))

    ada = sign_in(make_app({"a": both["a"]}, **SETTINGS), "ada")

    assert [one["configured"] for one in shown(ada)["smart"]["targets"]] == [False, True]
    assert answered_by(ada, "smart") == "a"


def test_users_neither_see_nor_set_routes(app: OpenAPI, admin: Actor) -> None:
    grace = add_user(admin, app, "grace")

    refused(grace.get("/api/v1/routes"), 403, "permission_denied")
    refused(grace.put("/api/v1/routes/smart", {"targets": [A]}), 403, "permission_denied")
    refused(grace.delete("/api/v1/routes/smart"), 403, "permission_denied")
    assert shown(admin) == {}


def test_turns_ask_the_database_nothing_about_routes(app: OpenAPI, admin: Actor) -> None:
    ok(admin.put("/api/v1/routes/smart", {"targets": [B]}))
    asked: list[str] = []
    refresher = services(app).refresher
    for watched in refresher._watched:
        watched.reload = lambda _uow, stamp=watched.stamp: asked.append(stamp)

    assert answered_by(admin, "smart") == "b"
    refresher.refresh()

    assert asked == [], "nothing was changed since"
