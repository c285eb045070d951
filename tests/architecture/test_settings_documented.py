"""config.Settings, .env.example and docs/configuration.md say the same, in the same order."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import SecretStr

from adapters.registry import load_providers
from config import ConfigurationError, Settings, ai_providers, load_settings
from tests.servers import ROOT

EXAMPLE = (ROOT / ".env.example").read_text()
PAGE = (ROOT / "docs" / "configuration.md").read_text()


def written(value: object) -> str:
    """A default as one writes it in .env."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value).lower() if isinstance(value, bool) else str(value)


DEFAULTS = {name: written(field.default) for name, field in Settings.model_fields.items()}


def test_the_example_names_every_setting_with_its_default() -> None:
    lines = re.findall(r"^# ([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE)

    assert lines == list(DEFAULTS.items())


def test_the_page_names_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`(.*?)`)? \|", PAGE, re.MULTILINE)

    assert rows == list(DEFAULTS.items())


def test_both_explain_every_setting_in_the_same_words() -> None:
    in_example = {
        name: " ".join(line.removeprefix("# ") for line in text.splitlines())
        for text, name in re.findall(r"((?:^# [^=\n]+\n)+)^# ([A-Z_]+)=", EXAMPLE, re.MULTILINE)
    }
    in_page = dict(re.findall(r"^\| `([A-Z_]+)` \| .*? \| (.+) \|$", PAGE, re.MULTILINE))

    assert in_example == in_page
    assert all(text.endswith(".") for text in in_page.values())


def test_the_example_works_as_it_is(tmp_path: Path) -> None:
    every_line = re.sub(r"^# ([A-Z_]+=.+)$", r"\1", EXAMPLE, flags=re.MULTILINE)
    file = tmp_path / "all"
    file.write_text(every_line)

    assert load_settings(_env_file=file) == load_settings()


def test_the_providers_of_the_page_can_be_loaded(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "providers.toml"
    file.write_text(text)

    providers = load_providers(ai_providers(load_settings(AI_PROVIDERS_FILE=str(file))))

    assert list(providers) == [*tomllib.loads(text), "openai", "qwen", "anthropic", "dify", "echo"]
    assert providers["local"].model("house-model").context_window == 32768


@pytest.mark.parametrize("ending", ["toml", "json", "yaml", "yml"])
def test_providers_are_read_in_each_format(ending: str, tmp_path: Path) -> None:
    entry = {"adapter_class": "adapters.echo_adapter.EchoAdapter", "config": {"pace_ms": 1}}
    file = tmp_path / f"providers.{ending}"
    file.write_text(json.dumps({"mine": entry}))
    if ending == "toml":
        file.write_text('[mine]\nadapter_class = "adapters.echo_adapter.EchoAdapter"\nconfig = {pace_ms = 1}\n')

    assert ai_providers(load_settings(AI_PROVIDERS_FILE=str(file)))["mine"] == entry


@pytest.mark.parametrize("name", ["SECRET_KEY", "DATABASE_URL", "OPENAI_API_KEY", "PORT"])
def test_every_setting_can_come_from_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"PORT": "4000", "DATABASE_URL": "sqlite:///x.db"}.get(name, "x" * 40)
    file = tmp_path / "value"
    file.write_text(f"{value}\n")
    monkeypatch.setenv(f"{name}_FILE", str(file))

    assert written(getattr(load_settings(), name)) == value


def test_a_missing_secret_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY_FILE", "/nowhere/key")

    with pytest.raises(ConfigurationError, match=r"SECRET_KEY_FILE: .*/nowhere/key"):
        load_settings()


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost", "redis://localhost:port/0"])
def test_an_address_that_is_no_redis_is_refused_at_start(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", url)

    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        load_settings()
