"""Two users and every route that takes an id: what is another's is not found, and stays as it is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from api.openapi import document
from tests.actors import Actor, refused
from tests.routes import Route, routes

ID_SUFFIX = "_id"
# Routes that take an id but do not belong to one user. Who adds a line says why.
NOT_OWNED = {
    "GET /api/v1/docs/{name}": "files of the docs page",
    "DELETE /api/v1/users/{user_id}": "for administrators, about anybody",
    "GET /api/v1/users/{user_id}": "for administrators, about anybody",
    "PATCH /api/v1/users/{user_id}": "for administrators, about anybody",
    "DELETE /api/v1/users/{user_id}/budgets": "for administrators, about anybody",
    "GET /api/v1/users/{user_id}/budgets": "for administrators, about anybody",
    "PUT /api/v1/users/{user_id}/budgets": "for administrators, about anybody",
    "GET /api/v1/keys": "user_id is for administrators: test_api_keys.py",
    "POST /api/v1/keys": "user_id is for administrators: test_api_keys.py",
    "GET /api/v1/usage": "user_id is for administrators: test_usage.py",
    "GET /api/v1/chat/{session_id}/stream": "last_event_id is an event's: tested below",
}
BODIES: dict[str, dict[str, Any]] = {
    "PATCH /api/v1/keys/{key_id}": {"name": "hello"},
    "PUT /api/v1/keys/{key_id}/budgets": {"day": {"requests": 1}},
}
# Routes of one user's things that administrators manage too.
ALSO_ADMINISTERED = "/api/v1/keys/"


@dataclass(frozen=True)
class Victim:
    """Somebody with a session and an answer in it."""

    actor: Actor
    ids: dict[str, str]

    def everything(self) -> Any:
        """All that the victim can see of their own."""
        session_id = self.ids["session_id"]
        paths = (
            "/api/v1/sessions",
            f"/api/v1/sessions/{session_id}",
            f"/api/v1/sessions/{session_id}/messages",
            f"/api/v1/chat/usage?session_id={session_id}",
            f"/api/v1/generations/{self.ids['generation_id']}",
            "/api/v1/keys",
            f"/api/v1/keys/{self.ids['key_id']}/budgets",
            f"/api/v1/models/{self.ids['model_id']}",
        )
        return [Actor.ok(self.actor.get(path)) for path in paths]


@pytest.fixture
def victim(user: Actor) -> Victim:
    turn = Actor.ok(user.post("/api/v1/chat", {"message": "my secret"}))
    session_id = turn["session_id"]
    key_id = Actor.ok(user.post("/api/v1/keys", {"name": "my secret"}), 201)["id"]
    Actor.ok(user.put(f"/api/v1/keys/{key_id}/budgets", {"day": {"requests": 9}}))
    model = Actor.ok(user.post("/api/v1/models", {"name": "my secret model", "kind": "echo"}), 201)
    return Victim(
        user,
        {
            "key_id": key_id,
            "session_id": session_id,
            "conversation_id": session_id,
            "generation_id": turn["generation_id"],
            "message_id": turn["message"]["id"],
            "model_id": model["id"],
            "question_id": turn["message"]["parent_id"],
        },
    )


def id_fields(app: OpenAPI, route: Route) -> set[str]:
    """The ids that a route takes: in its path, its query and its body."""
    made = document(app)
    operation = made["paths"][route.path][route.method.lower()]
    names = {parameter["name"] for parameter in operation.get("parameters", [])}
    if "requestBody" in operation:
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        names |= set(made["components"]["schemas"][reference.rpartition("/")[2]]["properties"])
    return {name for name in names if name.endswith(ID_SUFFIX)}


def owned_routes(app: OpenAPI) -> list[tuple[Route, set[str]]]:
    found = [(route, id_fields(app, route)) for route in routes(app) if str(route) not in NOT_OWNED]
    return [(route, names) for route, names in found if names]


def attempts(victim: Victim, route: Route, names: set[str]) -> Iterator[tuple[str, dict[str, str], dict[str, Any]]]:
    """(path, query, body) of requests to a route, each naming one of the victim's things in one place."""
    in_path = {name for name in names if f"{{{name}}}" in route.path}
    assert names <= set(victim.ids), f"{route}: teach this test what {names - set(victim.ids)} is"
    path, ids = route.path_for(**victim.ids), dict(victim.ids)
    if str(route) == "POST /api/v1/chat/edit":
        ids["message_id"] = ids["question_id"]  # only what a user wrote can be edited
    for name in in_path or names:
        value = {} if in_path else {name: ids[name]}
        yield path, {} if route.takes_body else value, BODIES.get(str(route), {"message": "hello"}) | value


def call(actor: Actor, route: Route, path: str, query: dict[str, str], body: dict[str, Any]) -> TestResponse:
    return actor.request(route.method, path, query_string=query, json=body if route.takes_body else None)


def test_what_is_anothers_is_not_found_and_stays_as_it_is(app: OpenAPI, victim: Victim, other_user: Actor) -> None:
    before = victim.everything()
    tried = 0

    for route, names in owned_routes(app):
        for path, query, body in attempts(victim, route, names):
            answer = call(other_user, route, path, query, body)
            told = refused(answer, 404, str(answer.get_json()["code"]))
            assert told["code"].endswith("_not_found"), (str(route), told)
            assert "secret" not in answer.get_data(as_text=True)
            tried += 1

    assert victim.everything() == before
    assert Actor.ok(other_user.get("/api/v1/sessions"))["items"] == []
    assert Actor.ok(other_user.get("/api/v1/keys"))["items"] == []
    assert tried >= 20


def test_another_users_thing_looks_like_one_that_does_not_exist(
    app: OpenAPI, victim: Victim, other_user: Actor
) -> None:
    invented = Victim(victim.actor, {name: f"{value[:-8]}zzzzzzzz" for name, value in victim.ids.items()})

    for route, names in owned_routes(app):
        theirs = [call(other_user, route, *one) for one in attempts(victim, route, names)]
        nobodys = [call(other_user, route, *one) for one in attempts(invented, route, names)]
        assert [_told(answer) for answer in theirs] == [_told(answer) for answer in nobodys], str(route)


def test_administrators_do_not_read_what_users_write(app: OpenAPI, victim: Victim, admin: Actor) -> None:
    for route, names in owned_routes(app):
        if route.path.startswith(ALSO_ADMINISTERED):
            continue
        for attempt in attempts(victim, route, names):
            assert call(admin, route, *attempt).status_code == 404, str(route)


def test_the_owner_is_let_in_everywhere(app: OpenAPI, victim: Victim) -> None:
    # Otherwise the tests above would pass for routes that refuse everybody.
    def last(one: tuple[Route, set[str]]) -> int:
        """What is deleted comes after all else, and a thing after its parts."""
        return 1000 - len(one[0].path) if one[0].method == "DELETE" else 0

    for route, names in sorted(owned_routes(app), key=last):
        if str(route) == "DELETE /api/v1/sessions/{session_id}":
            continue
        for attempt in attempts(victim, route, names):
            answer = call(victim.actor, route, *attempt)
            answer.get_data()  # a stream goes on until it is read
            # A conflict is an answer about a thing that was found.
            assert answer.status_code in (200, 201, 202, 409), (str(route), answer.get_data(as_text=True))
    assert victim.actor.delete(f"/api/v1/sessions/{victim.ids['session_id']}").status_code == 200


def test_the_events_of_another_session_are_not_read_through_ones_own(
    app: OpenAPI, victim: Victim, other_user: Actor
) -> None:
    own = Actor.ok(other_user.post("/api/v1/sessions", {}), 201)["id"]
    place = f"{victim.ids['generation_id']}:0"

    for options in ({"query_string": {"last_event_id": place}}, {"headers": {"Last-Event-ID": place}}):
        refused(other_user.get(f"/api/v1/chat/{own}/stream", **options), 404, "generation_not_found")
    stream = f"/api/v1/chat/{victim.ids['session_id']}/stream"
    refused(other_user.get(stream), 404, "session_not_found")


def test_a_running_answer_is_stopped_by_its_owner_only(victim: Victim, other_user: Actor) -> None:
    turn = {"session_id": victim.ids["session_id"], "message": "/echo words=9 pace=60000 x"}
    path = f"/api/v1/chat/{turn['session_id']}/stream"
    begun = Actor.ok(victim.actor.post(path, turn, headers={"Accept": "application/json"}), 202)
    ids = {name: begun[name] for name in ("session_id", "generation_id", "message_id")}

    for name, value in ids.items():
        assert other_user.post("/api/v1/chat/stop", {name: value}).status_code == 404
    assert other_user.post(f"/api/v1/generations/{ids['generation_id']}/stop").status_code == 404
    assert other_user.delete(f"/api/v1/sessions/{ids['session_id']}").status_code == 404
    assert Actor.ok(victim.actor.get(f"/api/v1/generations/{ids['generation_id']}"))["status"] == "running"

    assert Actor.ok(victim.actor.post("/api/v1/chat/stop", ids))["state"] == "stopped"


def test_lists_show_only_ones_own(app: OpenAPI, victim: Victim, other_user: Actor) -> None:
    mine = Actor.ok(other_user.post("/api/v1/sessions", {"title": "mine"}), 201)["id"]

    for path in ("/api/v1/sessions", "/api/v1/sessions?q=secret", "/api/v1/context/conversations"):
        ids = {item.get("id") or item["conversation_id"] for item in Actor.ok(other_user.get(path))["items"]}
        assert ids <= {mine}, path


def test_fields_that_nobody_may_set_are_ignored(app: OpenAPI, victim: Victim, other_user: Actor) -> None:
    session = Actor.ok(
        other_user.post("/api/v1/sessions", {"title": "x", "id": "sess_mine", "user_id": victim.actor.id}), 201
    )
    Actor.ok(other_user.put(f"/api/v1/sessions/{session['id']}", {"title": "y", "user_id": victim.actor.id}))

    assert session["id"] != "sess_mine"
    assert Actor.ok(other_user.get(f"/api/v1/sessions/{session['id']}"))["title"] == "y"
    assert len(Actor.ok(victim.actor.get("/api/v1/sessions"))["items"]) == 1


def test_users_cannot_make_themselves_administrators(app: OpenAPI, user: Actor) -> None:
    admin_routes = [route for route in routes(app) if getattr(route.view, "is_admin_only", False)]

    for route in admin_routes:
        body = {"username": "eve", "password": "a good long one", "role": "ADMIN"} if route.takes_body else None
        refused(user.request(route.method, route.path_for(user.id), json=body), 403, "permission_denied")
    assert Actor.ok(user.get("/api/v1/auth/me"))["role"] == "USER"
    assert admin_routes


def _told(answer: TestResponse) -> tuple[int, Callable[..., Any] | dict[str, Any]]:
    body = answer.get_json()
    return answer.status_code, {name: value for name, value in body.items() if name != "request_id"}
