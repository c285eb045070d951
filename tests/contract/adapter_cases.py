"""Every adapter against the scripted provider: what it takes to make one and to ask it something."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import adapters
from adapters.base_adapter import BaseAdapter, Deadlines, UpstreamCall
from adapters.registry import load_providers
from domain.chat import ChatRequest, PromptMessage
from domain.deltas import Delta, Piece, TextDelta, WireEvent, one_by_one
from domain.messages import MessageRole, Part, Text
from tests.scripted_provider.client import ScriptedProvider

KEY = "sk-test-key-1234567890"
QUICK = Deadlines(connect=1, first_token=0.4, idle=0.4, total=2)


@dataclass(frozen=True)
class Case:
    """An adapter, and the scripted provider's base URL for it."""

    name: str
    adapter_class: str
    url: str  # an attribute of ScriptedProvider


CASES = [
    Case("openai", "adapters.openai_adapter.OpenAIAdapter", "openai_url"),
    Case("qwen", "adapters.qwen_adapter.QwenAdapter", "dashscope_url"),
    Case("qwen-compatible", "adapters.qwen_adapter.QwenAdapter", "compatible_url"),
    Case("anthropic", "adapters.anthropic_adapter.AnthropicAdapter", "anthropic_url"),
    Case("dify", "adapters.dify_adapter.DifyAdapter", "dify_url"),
]


def adapter_classes() -> list[type[BaseAdapter]]:
    """Every complete adapter class that the package has."""
    found = set()
    for module in pkgutil.iter_modules(adapters.__path__, "adapters."):
        if module.name.endswith("_adapter"):
            members = inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
            found |= {cls for _, cls in members if issubclass(cls, BaseAdapter) and not inspect.isabstract(cls)}
    return sorted(found, key=lambda cls: cls.__name__)


def make(case: Case, url: str, **config: Any) -> BaseAdapter:
    """The adapter of a case at a base URL."""
    entry = {"adapter_class": case.adapter_class, "config": {"api_key": KEY, "base_url": url, **config}}
    return load_providers({case.name: entry})[case.name]


def ask(*parts: Part | str, model: str = "some-model", **fields: Any) -> ChatRequest:
    """A request with one user message."""
    given = [Text(part) if isinstance(part, str) else part for part in parts or ("hello there",)]
    return ChatRequest(model, [PromptMessage(MessageRole.USER, given)], end_user="usr_1", **fields)


def answer(adapter: BaseAdapter, request: ChatRequest | None = None, deadlines: Deadlines = QUICK) -> list[Delta]:
    """All deltas of one answer, one by one."""
    return list(one_by_one(adapter.stream(request or ask(), UpstreamCall(deadlines))))


def wire_of(deltas: list[Delta]) -> list[WireEvent]:
    """The provider's own events in these deltas."""
    return [event for delta in deltas if isinstance(delta, Piece) for event in delta.events]


def text(deltas: list[Delta]) -> str:
    """The answer's text."""
    return "".join(delta.text for delta in one_by_one(deltas) if isinstance(delta, TextDelta))


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    """Each case in turn."""
    found: Case = request.param
    return found


@pytest.fixture(scope="module")
def running() -> Iterator[ScriptedProvider]:
    """One scripted provider for all tests of a module."""
    with ScriptedProvider.start() as provider:
        yield provider


@pytest.fixture
def provider(running: ScriptedProvider) -> ScriptedProvider:
    """The scripted provider, with nothing scripted and nothing logged."""
    running.reset()
    return running


@pytest.fixture
def adapter(case: Case, provider: ScriptedProvider) -> BaseAdapter:
    """The adapter of the case."""
    return make(case, getattr(provider, case.url))
