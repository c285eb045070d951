"""A compatible provider takes an entry and no code, a new protocol takes one file: what the manual shows, works."""

import ast
import http.server
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters.base_adapter import BaseAdapter, UpstreamCall
from adapters.registry import load_providers
from domain import errors
from domain.deltas import Finish
from tests.actors import Actor, ok, set_up
from tests.conftest import AppFactory
from tests.contract.adapter_cases import QUICK, answer, ask, text
from tests.scripted_provider.client import ScriptedProvider

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-provider.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
QUIET = {"AUTO_TITLE": False}


def over_v1(user: Actor, model: str, **fields: Any) -> dict[str, Any]:
    """The answer to a client of OpenAI's protocol."""
    key = ok(user.post("/api/v1/keys", {"name": "k", "scopes": ["gateway"]}), 201)["key"]
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], **fields}
    response = user.post("/v1/chat/completions", body, headers={"Authorization": f"Bearer {key}"})
    assert response.status_code == 200, response.get_data(as_text=True)
    answer: dict[str, Any] = response.get_json()
    return answer


def shown(word: str) -> str:
    [found] = [example for example in EXAMPLES if word in example]
    return found


# An entry


def test_the_entry_of_a_compatible_provider_is_all_there_is_to_write(
    make_app: AppFactory, provider: ScriptedProvider
) -> None:
    entries: dict[str, Any] = ast.literal_eval(shown("AI_PROVIDERS").partition("=")[2].strip())
    for entry in entries.values():
        entry["config"]["base_url"] = provider.openai_url
    entries["deepseek"]["config"]["api_key"] = "sk-theirs-5678"
    entries["ollama"]["config"]["api_key"] = "none"
    user = set_up(make_app(entries, **QUIET))
    provider.script(text="from far away", times=-1)

    for name, model in (("deepseek", "deepseek-chat"), ("ollama", "qwen3:8b")):
        told = ok(user.post("/api/v1/chat", {"message": "hello", "provider": name, "model": model}))

        assert told["message"]["content"] == "from far away"
        assert provider.last()["model"] == model
    assert [entry["key"] for entry in provider.log()] == ["5678", "none"]

    answer = over_v1(user, "deepseek-chat", seed=7)
    assert answer["choices"][0]["message"]["content"] == "from far away"
    assert answer["system_fingerprint"] == "fp_scripted"  # its own answer, as it came
    assert provider.last()["body"]["seed"] == 7


# A file


@contextmanager
def acme(events: list[bytes], status: int = 200) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that speaks the protocol of the example, and what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            asked.append({"path": self.path, "key": self.headers["authorization"], **json.loads(body)})
            self.send_response(status)
            self.send_header("content-type", "text/event-stream" if status == 200 else "application/json")
            self.end_headers()
            for event in events:
                self.wfile.write(event)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
        server.shutdown()


SAID = [b'data: {"text": "one "}\n\n', b'data: {"te', b'xt": "two"}\n\n', b'data: {"over": true}\n\n']


@pytest.fixture
def adapter_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The file of the documentation, in a package outside of this repository."""
    package = tmp_path / "acme_for_unichat"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "acme_adapter.py").write_text(shown("class AcmeAdapter"))
    monkeypatch.syspath_prepend(tmp_path)
    yield "acme_for_unichat.acme_adapter.AcmeAdapter"
    for name in [name for name in sys.modules if name.startswith("acme_for_unichat")]:
        del sys.modules[name]


def made(adapter_class: str, url: str) -> BaseAdapter:
    entry = {"adapter_class": adapter_class, "config": {"api_key": "key-of-acme-1234", "base_url": url}}
    return load_providers({"acme": entry})["acme"]


def test_a_new_protocol_is_a_file_that_the_app_can_chat_with(make_app: AppFactory, adapter_class: str) -> None:
    with acme(SAID) as (url, asked):
        entry = {"adapter_class": adapter_class, "config": {"api_key": "key-of-acme-1234", "base_url": url}}
        user = set_up(make_app({"acme": entry}, **QUIET))

        told = ok(user.post("/api/v1/chat", {"message": "hello"}))
        answer = over_v1(user, "acme-1")

    assert answer["choices"][0]["message"]["content"] == "one two"
    assert told["message"]["content"] == "one two"
    assert (told["message"]["provider"], told["message"]["model"]) == ("acme", "acme-1")
    assert told["message"]["usage"]["source"] == "estimated"  # it does not count: we do
    assert (
        asked
        == [
            {"path": "/v1/generate", "key": "Bearer key-of-acme-1234", "model": "acme-1", "prompt": "hello"},
        ]
        * 2
    )


def test_the_contract_holds_for_it(adapter_class: str) -> None:
    with acme(SAID) as (url, _):
        deltas = answer(made(adapter_class, url))
    assert text(deltas) == "one two"
    assert deltas[-1] == Finish("stop")


@pytest.mark.parametrize(
    ("events", "status", "error"),
    [
        (SAID[:-1], 200, errors.UpstreamCut),
        ([b'data: {"text": \n\n'], 200, errors.ProviderGarbage),
        ([b'{"code": "no_credit", "message": "pay key-of-acme-1234"}'], 400, errors.ProviderDenied),
        ([b"{}"], 503, errors.ProviderUnavailable),
        ([b"{}"], 429, errors.ProviderRateLimited),
    ],
)
def test_its_failures_are_those_of_the_error_tree(
    adapter_class: str, events: list[bytes], status: int, error: type[errors.ProviderError]
) -> None:
    with acme(events, status) as (url, _), pytest.raises(error) as caught:
        answer(made(adapter_class, url))

    assert caught.value.provider == "acme"
    assert "key-of-acme" not in f"{caught.value} {getattr(caught.value, '__notes__', '')}"


def test_an_abort_and_a_refused_option_need_no_code_of_its_own(adapter_class: str) -> None:
    with acme(SAID) as (url, asked):
        adapter = made(adapter_class, url)
        call = UpstreamCall(QUICK)
        call.abort()
        with pytest.raises(errors.ProviderError):
            list(adapter.stream(ask(), call))
    assert asked == []
