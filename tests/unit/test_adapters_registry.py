"""AI_PROVIDERS: what is loaded, and what is refused at start."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adapters.echo_adapter import EchoAdapter
from adapters.model_catalog import FAMILIES, UNKNOWN, describe, family_of
from adapters.openai_adapter import OpenAIAdapter
from adapters.registry import ConfigError, enabled_providers, load_providers

OPENAI = "adapters.openai_adapter.OpenAIAdapter"
ROOT = Path(__file__).parents[2]
ECHO = "adapters.echo_adapter.EchoAdapter"


def load(**entries: Any) -> Any:
    return load_providers(entries)


def test_providers_keep_their_order_and_the_ones_without_a_key_are_listed() -> None:
    providers = load(
        second={"adapter_class": OPENAI, "config": {}},
        first={"adapter_class": ECHO},
        local={"adapter_class": OPENAI, "config": {"base_url": "http://localhost:11434/v1"}},
    )

    assert list(providers) == ["second", "first", "local"]
    assert list(enabled_providers(providers)) == ["first", "local"]
    assert isinstance(providers["first"], EchoAdapter)
    assert isinstance(providers["local"], OpenAIAdapter)


def test_every_fault_is_named_at_once_and_no_value_is_quoted() -> None:
    with pytest.raises(ConfigError) as caught:
        load(
            missing={"config": {}},
            typo={"adapter_class": "adapters.openai_adapter.OpenAiAdapter"},
            unknown={"adapter_class": "no_such_name"},
            wrong={"adapter_class": "json.JSONDecoder"},
            keys={"adapter_class": OPENAI, "conf": {}, "config": {"api_key": {"sk-secret": 1}, "modells": []}},
            address={"adapter_class": OPENAI, "config": {"base_url": "ftp://user:sk-secret@x"}},
            text="sk-secret",
        )

    assert {fault.partition(":")[0] for fault in caught.value.faults} == {
        "missing",
        "typo",
        "unknown",
        "wrong",
        "keys",
        "address",
        "text",
    }
    assert [fault for fault in caught.value.faults if fault.startswith("keys")] != []
    assert len([fault for fault in caught.value.faults if fault.startswith("keys")]) == 3
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["localhost:8000", "file:///etc/passwd", "http://", "https://a@b.com", "https://x.com/v1?key=1"]
)
def test_a_base_url_is_a_plain_web_address(address: str) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        load(x={"adapter_class": OPENAI, "config": {"base_url": address}})


@pytest.mark.parametrize("config", [{"api_key": "sk-\u4f60"}, {"api_key": "a\nb: c"}, {"headers": {"a": "b\r\nc: d"}}])
def test_what_does_not_fit_into_a_header_is_refused_at_start(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"config\.(api_key|headers)"):
        load(x={"adapter_class": OPENAI, "config": config})


def test_the_line_break_of_a_key_file_is_no_part_of_the_key() -> None:
    adapter = load(x={"adapter_class": OPENAI, "config": {"api_key": "sk-1\n"}})["x"]

    assert adapter.config.api_key.get_secret_value() == "sk-1"


def test_loading_all_adapters_imports_no_sdk() -> None:
    program = (
        "import sys; from adapters import openai_adapter, qwen_adapter, dify_adapter, echo_adapter, registry;"
        "print([name for name in ('openai', 'dashscope', 'httpx', 'httpx2', 'requests') if name in sys.modules])"
    )

    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)

    assert found.stdout.strip() == "[]"


def test_declared_models_come_first_and_win_over_the_catalogue() -> None:
    config = {
        "api_key": "k",
        "default_model": "gpt-4o",
        "models": ["gpt-4", {"name": "gpt-4o", "context_window": 1000, "stream_usage": False}],
    }
    adapter = load(x={"adapter_class": OPENAI, "config": config})["x"]

    assert [model.name for model in adapter.models] == ["gpt-4o", "gpt-4"]
    assert adapter.model("gpt-4o").context_window == 1000
    assert adapter.model("gpt-4o").max_output == 16_384
    assert adapter.model("gpt-4o").capabilities.vision
    assert not adapter.model("gpt-4o").capabilities.stream_usage
    assert adapter.model("gpt-4.1").context_window == 1_047_576


def test_a_default_model_that_is_not_declared_is_a_model_too() -> None:
    adapter = load(x={"adapter_class": OPENAI, "config": {"api_key": "k", "default_model": "mine", "models": ["a"]}})[
        "x"
    ]

    assert [model.name for model in adapter.models] == ["mine", "a"]


def test_without_declared_models_there_is_the_usual_one() -> None:
    assert [model.name for model in load(x={"adapter_class": OPENAI, "config": {"api_key": "k"}})["x"].models] == [
        "gpt-4o-mini"
    ]


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("gpt-4o-mini-2024-07-18", "gpt-4o"),
        ("gpt-4-0613", "gpt-4"),
        ("ft:gpt-4o:acme::x1", "gpt-4o"),
        ("openai/gpt-5-mini", "gpt-5"),
        ("gpt-5-chat-latest", "gpt-5-chat"),
        ("deepseek-ai/DeepSeek-R1", "deepseek-r1"),
        ("Qwen/Qwen3-VL-8B", "qwen3-vl"),
        ("qwen-plus-latest", "qwen-plus"),
        ("o3-mini", "o3-mini"),
        ("nobody-knows", ""),
    ],
)
def test_the_longest_prefix_of_the_bare_name_wins(name: str, prefix: str) -> None:
    assert family_of(name).prefix == prefix


def test_the_catalogue_is_sound() -> None:
    prefixes = [family.prefix for family in FAMILIES]

    assert len(prefixes) == len(set(prefixes))
    assert all(family.prefix == family.prefix.lower() for family in FAMILIES)
    assert all(0 < family.max_output <= family.context_window for family in FAMILIES)
    assert describe("unheard-of").context_window == UNKNOWN.context_window
