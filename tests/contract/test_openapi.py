"""Every route against the OpenAPI document: requests made from it, and answers checked against it.

UNICHAT_OPENAPI_EXAMPLES sets how many requests each route gets at most from each caller.
"""

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from flask_openapi import OpenAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app import create_app
from config import load_settings
from tests.actors import PASSWORD, Actor, add_user, set_up, sign_in
from tests.conftest import ECHO
from tests.servers import Servers

SETTINGS = settings(
    max_examples=int(os.environ.get("UNICHAT_OPENAPI_EXAMPLES", "8")),
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # without shrinking: a fault is shown as it was found
)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_ROUTE = {"targets": [{"provider": "echo", "model": "echo"}]}
# It never ends for a session that exists, so it gets invented ones only; tests/integration/test_context.py reads it.
ENDLESS = "GET /api/v1/chat/{session_id}/stream"
# What cannot succeed by chance: they need a secret, or a state of things.
NEVER_SUCCEED = {
    ENDLESS,
    "GET /api/v1/docs/{name}",
    "GET /metrics",
    "POST /api/v1/auth/login",
    "POST /api/v1/auth/refresh",
    "POST /api/v1/auth/register",
    "POST /api/v1/setup",
    "PUT /api/v1/auth/password",
}


class World:
    """An application, its callers, and things of theirs: who invents ids sees little but 404."""

    def __init__(self, app: OpenAPI) -> None:
        self.app = app
        admin = set_up(app)
        self.callers = {"admin": admin, "user": add_user(admin, app, "grace")}
        self._made = 0
        self._models: dict[str, str] = {}
        self.ids = {name: self._ids(name) for name in self.callers}

    def prepare(self, case: schemathesis.Case, caller: str) -> None:
        """Sign the request, and have it ask for things that exist."""
        actor, label = self.callers[caller], case.operation.label
        if label == "POST /api/v1/auth/logout":
            actor = sign_in(self.app, actor.user["username"])
        case.headers["Authorization"] = f"Bearer {actor.tokens['access_token']}"
        if label == ENDLESS:
            return
        known = self._ids(caller) if case.method == "DELETE" else self.ids[caller]
        if label == "DELETE /api/v1/prices":
            known |= self._price()
        if "{public_model}" in label:
            known |= self._public_model()
        for place in (case.path_parameters, case.query, case.body):
            if isinstance(place, dict):
                place.update({name: value for name, value in known.items() if name in place})
        if isinstance(case.body, dict):
            case.body.update(self._needed(label, caller))

    def _needed(self, label: str, caller: str) -> dict[str, Any]:
        """What a body must say to succeed, where the schema cannot tell."""
        if label.startswith("POST /api/v1/users"):
            self._made += 1
            return {"username": f"made-{self._made}", "password": PASSWORD, "email": None}
        if "/api/v1/keys" in label and not label.endswith("/budgets"):
            oneself = {"user_id": None} if label.startswith("POST") else {}
            return {"expires_at": None, "addresses": ["10.0.0.0/8"]} | oneself
        if label == "PUT /api/v1/prices":
            return {"input": "0.5", "output": 1, "cached_input": None, "reasoning": None, "image": None}
        if label == "PUT /api/v1/routes/{public_model}":
            return _ROUTE
        if label.startswith("POST /api/v1/chat"):
            named = {"session_id": self.ids[caller]["session_id"]} if "regenerate" in label else {}
            picture = {"type": "image", "url": "https://example.org/a.png"}
            return {"provider": "echo", "stream": False, "message": "hello", "attachments": [picture]} | named
        return self._model() if "/api/v1/models" in label else {}

    def _model(self) -> dict[str, Any]:
        """A model that needs nobody, with a name of its own."""
        self._made += 1
        nothing = dict.fromkeys(("api_key", "aliases", "visibility", "price", "capabilities", "upstream_model"))
        return {"name": f"made-{self._made}", "kind": "echo", "base_url": ""} | nothing

    def _model_id(self, caller: str) -> str:
        """A model of the caller. All but the first make room for it: a user may have a hundred."""
        user, first = self.callers[caller], self._models.get(caller)
        for model in Actor.ok(user.get("/api/v1/models"))["items"]:
            if model["source"] == "personal" and model["id"] != first:
                user.delete(f"/api/v1/models/{model['id']}")
        made = str(Actor.ok(user.post("/api/v1/models", self._model()), 201)["id"])
        self._models.setdefault(caller, made)
        return made

    def _price(self) -> dict[str, str]:
        """A model that has a price."""
        model = {"provider": "echo", "model": "echo"}
        Actor.ok(self.callers["admin"].put("/api/v1/prices", model | {"input": 1, "output": 1}))
        return model

    def _public_model(self) -> dict[str, str]:
        """A public model that has a route and a prompt."""
        Actor.ok(self.callers["admin"].put("/api/v1/routes/smart", _ROUTE))
        Actor.ok(self.callers["admin"].put("/api/v1/prompts/smart", {"text": "Be kind."}))
        return {"public_model": "smart"}

    def _ids(self, caller: str) -> dict[str, str]:
        self._made += 1
        turn = Actor.ok(self.callers[caller].post("/api/v1/chat", {"message": "hello"}))
        body = {"username": f"made-{self._made}", "password": PASSWORD}
        made = Actor.ok(self.callers["admin"].post("/api/v1/users", body), 201)["id"]
        Actor.ok(self.callers["admin"].put(f"/api/v1/users/{made}/budgets", {"day": {"requests": 1}}))
        key = Actor.ok(self.callers[caller].post("/api/v1/keys", {"name": "mine"}), 201)
        Actor.ok(self.callers[caller].put(f"/api/v1/keys/{key['id']}/budgets", {"day": {"requests": 1}}))
        return {
            "key_id": key["id"],
            "session_id": turn["session_id"],
            "conversation_id": turn["session_id"],
            "generation_id": turn["generation_id"],
            "message_id": turn["message"]["parent_id"],
            "model_id": self._model_id(caller),
            "user_id": made,
        }


@pytest.fixture(scope="module")
def world(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("openapi")
    servers.migrated_sqlite(folder / "unichat.db")
    limits = dict.fromkeys(
        ("RATE_LIMIT", "RATE_LIMIT_CHAT", "RATE_LIMIT_GATEWAY", "RATE_LIMIT_AUTH"), "1000000000 per minute"
    )
    app = create_app(load_settings(DATA_DIR=folder, FLASK_ENV="testing", LOGGING_LEVEL="ERROR", **limits), ECHO)
    yield World(app)
    app.extensions["unichat"].runner.drain(0)


@pytest.fixture(scope="module")
def schema(world: World) -> Any:
    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", world.app)


def run(schema: Any, world: World, caller: str, mode: GenerationMode) -> tuple[Counter[tuple[str, int]], list[str]]:
    """(operation, status) of all answers, and what was wrong with them."""
    seen: Counter[tuple[str, int]] = Counter()
    faults = []

    def check(case: schemathesis.Case) -> None:
        asked = sum(count for (label, _), count in seen.items() if label == case.operation.label)
        if asked % 4:  # the first of each operation, and some more, ask for what does not exist
            world.prepare(case, caller)
        response = case.call()
        seen[case.operation.label, response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    operations = (found.ok() for found in schema.get_all_operations())
    for operation in (one for one in operations if not one.path.startswith("/v1/")):  # documented by others
        try:
            SETTINGS(given(operation.as_strategy(generation_mode=mode))(check))()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE  # what takes nothing cannot be given anything wrong
        except Exception as error:  # noqa: BLE001  # schemathesis raises groups of its own: all of them are told
            faults.append(f"{operation.label}: {type(error).__name__}: {error}")
    return seen, faults


@pytest.mark.parametrize("caller", ["user", "admin"])
def test_answers_to_good_requests_are_as_documented(schema: Any, world: World, caller: str) -> None:
    seen, faults = run(schema, world, caller, GenerationMode.POSITIVE)

    assert faults == [], "\n".join(faults)
    succeeded = {label for label, status in seen if status < 400}
    refused = {
        "user": ("/api/v1/models/system", "/api/v1/prices", "/api/v1/prompts", "/api/v1/routes", "/api/v1/users"),
        "admin": (),
    }[caller]
    expected = {label for label, _ in seen if not any(path in label for path in refused)} - NEVER_SUCCEED
    assert expected - succeeded == set(), "no success of these was seen"


@pytest.mark.parametrize("caller", ["user", "admin"])
def test_answers_to_bad_requests_are_as_documented(schema: Any, world: World, caller: str) -> None:
    seen, faults = run(schema, world, caller, GenerationMode.NEGATIVE)

    assert faults == [], "\n".join(faults)
    assert {400, 401, 404, 422} <= {status for _, status in seen}
