"""Chatting in tests: turns over the API, what their streams say, and a provider that does as it is told."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import sqlalchemy as sa
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from domain.clock import now
from models import GenerationEntity, db
from services.registry import Services
from tests.actors import Actor, ok
from tests.scripted_provider.client import ScriptedProvider

T = TypeVar("T")
Event = dict[str, Any]
MODELS = (
    {"name": "sees", "context_window": 4000, "max_output": 500, "vision": True},
    {"name": "blind", "context_window": 4000, "max_output": 500, "vision": False},
)


def entry(provider: ScriptedProvider, models: Sequence[Any] = MODELS, **config: Any) -> dict[str, Any]:
    """Its entry in AI_PROVIDERS, as one that speaks OpenAI's protocol."""
    values = {"api_key": "a-key-for-tests", "base_url": provider.openai_url, "models": list(models)} | config
    return {"adapter_class": "adapters.openai_adapter.OpenAIAdapter", "config": values}


def services(app: OpenAPI) -> Services:
    found: Services = app.extensions["unichat"]
    return found


def told(message: str = "hello", **script: Any) -> str:
    """A message that tells the scripted provider how to answer it."""
    return f"{message} [[script {json.dumps(script)}]]"


def chat(user: Actor, message: str, session_id: str | None = None, **body: Any) -> dict[str, Any]:
    """The whole answer to a message."""
    return dict(ok(user.post("/api/v1/chat", {"message": message, "session_id": session_id, **body})))


@dataclass
class Begun:
    """A turn whose answer is on its way. Whoever does not read it is a client that has left."""

    response: TestResponse

    @property
    def session_id(self) -> str:
        return self.response.headers["X-Session-Id"]

    @property
    def generation_id(self) -> str:
        return self.response.headers["X-Generation-Id"]

    def frames(self) -> Iterator[bytes]:
        """What comes over the wire, piece by piece."""
        yield from self.response.iter_encoded()

    def events(self) -> list[Event]:
        """All events up to the end."""
        return events_of(self.response)

    def read_until(self, kind: str) -> Event:
        """Read on to the first event of that kind; the stream stays open."""
        for frame in self.frames():
            for _, event in parsed(frame.decode()):
                if event["type"] == kind:
                    return event
        raise AssertionError(f"the stream ended without {kind}")


def begin(user: Actor, message: str, session_id: str | None = None, **body: Any) -> Begun:
    """Send a message for a streamed answer."""
    response = user.post("/api/v1/chat/stream", {"message": message, "session_id": session_id, **body})
    assert response.status_code == 200, response.get_data(as_text=True)
    assert response.mimetype == "text/event-stream"
    return Begun(response)


def raw_frames(text: str) -> list[str]:
    """The events in a stream's text, as they came: neither comments nor the retry line."""
    return [frame for frame in text.split("\n\n") if frame.startswith("id: ")]


def parsed(text: str) -> list[tuple[int, Event]]:
    """(id, event) of all events in a stream's text."""
    lines = [frame.split("\n") for frame in raw_frames(text)]
    assert all(len(two) == 2 and two[1].startswith("data: ") for two in lines)
    return [(int(first.removeprefix("id: ")), json.loads(second.removeprefix("data: "))) for first, second in lines]


def events_of(response: TestResponse) -> list[Event]:
    """The events of a whole stream; their ids go from where they begin without a gap."""
    pairs = parsed(response.get_data(as_text=True))
    ids = [number for number, _ in pairs]
    assert ids == list(range(ids[0], ids[0] + len(ids))) if ids else True
    return [event for _, event in pairs]


def shown(events: Sequence[Event]) -> str:
    """The text that a client has at the end."""
    text = ""
    for event in events:
        if event["type"] == "content":
            text += event["content"]
        elif event["type"] == "replace":
            text = event["content"]
    return text


def messages(user: Actor, session_id: str) -> list[dict[str, Any]]:
    """The chosen branch."""
    return list(ok(user.get(f"/api/v1/sessions/{session_id}/messages?limit=100"))["items"])


def answer_in(user: Actor, session_id: str) -> dict[str, Any]:
    """The session's last message."""
    return messages(user, session_id)[-1]


def contents(user: Actor, session_id: str) -> list[str]:
    return [message["content"] for message in messages(user, session_id)]


def prompt(entry: dict[str, Any]) -> list[tuple[str, Any]]:
    """(role, content) of what the provider was sent, from an entry of its log."""
    return [(message["role"], message["content"]) for message in entry["body"]["messages"]]


def eventually(look: Callable[[], T], seconds: float = 10) -> T:
    """The first true thing that ``look`` returns."""
    give_up = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < give_up, f"not within {seconds} s: {found!r}"
        time.sleep(0.01)
    return found


def ended(user: Actor, generation_id: str) -> dict[str, Any]:
    """The generation, once it has ended."""

    def look() -> dict[str, Any] | None:
        generation: dict[str, Any] = ok(user.get(f"/api/v1/generations/{generation_id}"))
        return None if generation["status"] == "running" else generation

    return eventually(look) or {}


def let_lease_run_out(app: OpenAPI, generation_id: str) -> None:
    """As if its owner had not been heard of for a while."""
    with app.app_context():
        past = sa.update(GenerationEntity).where(GenerationEntity.id == generation_id)
        db.session.execute(past.values(lease_until=now() - timedelta(seconds=1)))
        db.session.commit()
