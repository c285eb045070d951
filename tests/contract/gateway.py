"""A node with providers of every kind behind /v1, and the official clients for it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai

from tests.node import Node, running_node
from tests.scripted_provider.client import ScriptedProvider

KEY = "a-key-for-tests"
LIMITS = {"max_output": 500, "context_window": 100_000}


@dataclass
class Gateway:
    """The node, an API key for it, and what stands behind it."""

    node: Node
    key: str
    token: str
    provider: ScriptedProvider

    @property
    def base_url(self) -> str:
        return f"{self.node.url}/v1"

    def client(self, **options: Any) -> openai.OpenAI:
        """The official client, unmodified."""
        return openai.OpenAI(base_url=self.base_url, api_key=self.key, **{"max_retries": 0, "timeout": 30.0} | options)


def providers(provider: ScriptedProvider) -> dict[str, Any]:
    """One of each protocol; ``renamed`` and ``alias`` are public names for models that are called otherwise."""

    def entry(kind: str, name: str, url: str, model: str) -> dict[str, Any]:
        models = [{"name": model, **LIMITS, "tools": True, "vision": True}]
        config = {"api_key": KEY, "base_url": url, "models": models}
        return {"adapter_class": f"adapters.{kind}_adapter.{name}Adapter", "config": config}

    made: dict[str, Any] = {
        "native": entry("openai", "OpenAI", provider.openai_url, "plain"),
        "bare": entry("openai", "OpenAI", provider.openai_url, "bare-prompts"),
        "frail": entry("openai", "OpenAI", provider.openai_url, "frail"),
        "other": entry("anthropic", "Anthropic", provider.anthropic_url, "translated"),
        "scope": entry("qwen", "Qwen", provider.dashscope_url, "scoped"),
        "app": entry("dify", "Dify", provider.dify_url, "app"),
        "routes": {
            "alias": ["native/plain"],
            # Each with a target of its own to fail: what fails repeatedly is left alone for a while.
            "early": ["frail/one", "other/translated"],
            "twice": ["frail/two", "native/second"],
            "mixed": ["frail/three", "other/translated"],
            "diverging": ["frail/four", "native/second"],
            "vectors": ["app/app", "frail/vectors", "native/vectors"],
        },
    }
    made["bare"]["config"]["text_completions"] = True
    return made


@contextmanager
def gateway(folder: Path, provider: ScriptedProvider, **settings: object) -> Iterator[Gateway]:
    """A node with these providers, set up."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "providers.json"
    file.write_text(json.dumps(providers(provider)))
    with running_node(folder, AI_PROVIDERS_FILE=file, AUTO_TITLE="false", **settings) as node:
        token = node.set_up()
        key = node.call("POST", "/api/v1/keys", {"name": "tests", "scopes": ["gateway"]}, token)["key"]
        yield Gateway(node, key, token, provider)
