"""One API key at two nodes, on one database and one Redis: a limit holds for both together."""

from collections import Counter
from typing import Any

import pytest
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from tests.actors import Actor, set_up
from tests.chats import entry, eventually
from tests.conftest import AppFactory
from tests.races import at_once
from tests.scripted_provider.client import ScriptedProvider
from tests.servers import Redis

SETTINGS = {"AUTO_TITLE": False, "RATE_LIMIT": "10000 per minute", "RATE_LIMIT_CHAT": "10000 per minute"}
HELD = 20  # tokens of one call: the prompt is counted as 5, and the answer may have 15
USED = {"prompt_tokens": 5, "completion_tokens": 15}
Nodes = tuple[OpenAPI, OpenAPI]


@pytest.fixture
def nodes(make_app: AppFactory, provider: ScriptedProvider, redis: Redis) -> Nodes:
    first, second = (make_app({"openai": entry(provider)}, REDIS_URL=redis.url, **SETTINGS) for _ in range(2))
    return first, second


@pytest.fixture
def owner(nodes: Nodes) -> Actor:
    return set_up(nodes[0])


class Program:
    """A program whose calls go to one node and the other in turns."""

    def __init__(self, nodes: Nodes, owner: Actor, **limits: int) -> None:
        made = Actor.ok(owner.post("/api/v1/keys", {"name": "a program"} | limits), 201)
        self._headers = {"Authorization": f"Bearer {made['key']}"}
        self._nodes = nodes

    def call(self, number: int = 0, **config: Any) -> TestResponse:
        body = {"message": "hi", "config": {"max_tokens": 15} | config}
        client = self._nodes[number % 2].test_client()
        return client.post("/api/v1/chat", headers=self._headers, json=body)

    def calls(self, count: int) -> Counter[str]:
        """How often each code came back from so many calls at once."""
        answers = at_once(*[lambda number=number: self.call(number) for number in range(count)])
        return Counter(answer.get_json().get("code", "ok") for answer in answers)


def test_calls_together_never_pass_the_tokens_per_minute_and_use_them_up(
    nodes: Nodes, owner: Actor, provider: ScriptedProvider
) -> None:
    program = Program(nodes, owner, tokens_per_minute=5 * HELD)
    provider.script(*[{"words": 15, "pace_ms": 5, "usage": USED}] * 5)

    assert program.calls(16) == {"ok": 5, "key_tokens_limited": 11}

    assert sum(call["usage_reported"]["total_tokens"] for call in provider.log()) == 100
    refused = program.call()
    assert (refused.status_code, refused.headers["x-ratelimit-remaining-tokens"]) == (429, "0")
    assert 0 < int(refused.headers["Retry-After"]) <= 61


def test_what_the_answers_leave_is_used_by_later_calls(nodes: Nodes, owner: Actor, provider: ScriptedProvider) -> None:
    program = Program(nodes, owner, tokens_per_minute=5 * HELD)
    provider.script(*[{"words": 3, "usage": {"prompt_tokens": 5, "completion_tokens": 3}}] * 20)

    answers = [program.call(number) for number in range(20)]

    let_in = [answer for answer in answers if answer.status_code == 200]
    assert len(let_in) == 11  # 88 tokens; one more could have had 20
    assert [answer.headers["x-ratelimit-remaining-tokens"] for answer in let_in[:2]] == ["92", "84"]


def test_the_parallel_limit_counts_what_runs_at_both(nodes: Nodes, owner: Actor, provider: ScriptedProvider) -> None:
    program = Program(nodes, owner, parallel_requests=3)
    provider.script(*[{"words": 3, "first_token_ms": 1500}] * 3)

    assert program.calls(12) == {"ok": 3, "key_parallel_limited": 9}

    assert len(provider.log()) == 3
    assert eventually(lambda: program.call(1).status_code == 200)


def test_what_is_refused_costs_no_request(nodes: Nodes, owner: Actor, provider: ScriptedProvider) -> None:
    program = Program(nodes, owner, requests_per_minute=6, tokens_per_minute=60)
    for number in range(10):
        assert program.call(number, max_tokens=400).get_json()["code"] == "key_request_too_large"
    provider.script(*[{"words": 3, "usage": {"prompt_tokens": 0, "completion_tokens": 0}}] * 6)

    codes = [program.call(number, max_tokens=50).get_json().get("code", "ok") for number in range(7)]

    assert codes == ["ok"] * 6 + ["key_requests_limited"]
    last = program.call()
    assert last.headers["x-ratelimit-remaining-requests"] == "0"
    assert last.headers["x-ratelimit-remaining-tokens"] == "60"


# The same over /v1


class Client(Program):
    """A program that speaks OpenAI's protocol."""

    def call(self, number: int = 0, **config: Any) -> TestResponse:
        body = {"model": "sees", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 15} | config
        client = self._nodes[number % 2].test_client()
        answer = client.post("/v1/chat/completions", headers=self._headers, json=body)
        answer.get_data()
        return answer


@pytest.mark.parametrize("stream", [False, True])
def test_clients_of_openais_protocol_are_held_to_the_same_limits(
    nodes: Nodes, owner: Actor, provider: ScriptedProvider, stream: bool
) -> None:
    client = Client(nodes, owner, tokens_per_minute=5 * HELD, requests_per_minute=9)
    provider.script(*[{"words": 15, "pace_ms": 5, "usage": USED}] * 5)

    answers = at_once(*[lambda number=number: client.call(number, stream=stream) for number in range(16)])

    assert Counter(answer.status_code for answer in answers) == {200: 5, 429: 11}
    assert len(provider.log()) == 5
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.get_json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.headers["x-ratelimit-remaining-tokens"] == "0"
    assert 0 < int(refused.headers["Retry-After"]) <= 61
    told = {name.lower(): value for name, value in client.call(max_tokens=1).headers if name.startswith("x-rate")}
    assert told["x-ratelimit-limit-requests"] == "9"
    assert told["x-ratelimit-remaining-requests"] == "4"
    assert told["x-ratelimit-limit-tokens"] == "100"
    assert told["x-ratelimit-reset-tokens"].endswith("s")


def test_a_client_that_leaves_gives_back_what_it_did_not_use(
    nodes: Nodes, owner: Actor, provider: ScriptedProvider
) -> None:
    client = Client(nodes, owner, tokens_per_minute=500, parallel_requests=1)
    provider.script({"words": 400, "pace_ms": 10}, {"words": 3, "usage": {"prompt_tokens": 5, "completion_tokens": 3}})
    body = {"model": "sees", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 450, "stream": True}
    begun = nodes[0].test_client().post("/v1/chat/completions", headers=client._headers, json=body)
    assert client.call(1).status_code == 429
    next(begun.iter_encoded())
    begun.close()

    after = client.call(1)

    assert after.status_code == 200
    assert int(after.headers["x-ratelimit-remaining-tokens"]) > 400
