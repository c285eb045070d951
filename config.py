"""Settings, typed, from the environment and ``.env``; every fault is reported at once, at start.

Every name here stands in ``.env.example`` and ``docs/configuration.md`` too; a test compares the three.
``<NAME>_FILE`` gives the path of a file that holds the value of ``<NAME>`` (container secrets).
"""

import json
import os
import secrets
import tomllib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.egress import AllowedHost, read_allowed
from domain.master_keys import MasterKey, MasterKeyError, new_master_key, read_master_keys
from domain.money import PriceList
from domain.prices import PriceError, read_prices
from domain.rates import read_rates
from domain.routes import Route, RouteError, read_routes
from domain.server_prompts import PromptError, read_prompts

Size = int  # bytes
Milliseconds = int

_SECRET_KEY_CHARS = 32  # tokens are signed with it, by HMAC-SHA-256


class ConfigurationError(Exception):
    """The configuration cannot be used; the message lists every fault."""


class Settings(BaseSettings):
    """The whole configuration of one process."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, case_sensitive=True, populate_by_name=True
    )

    # Process
    FLASK_ENV: Literal["production", "development", "testing"] = "production"
    DEBUG: bool = False
    HOST: str = "0.0.0.0"  # noqa: S104  # a container must be reachable; HOST=127.0.0.1 keeps it private
    PORT: int = Field(3000, ge=0, le=65535)
    WORKERS: int = Field(1, ge=1, le=64)
    GRACEFUL_TIMEOUT_S: int = Field(30, ge=10, le=3600)
    DATA_DIR: Path = Path("data")
    SECRET_KEY: SecretStr = SecretStr("")
    MASTER_KEY: SecretStr = SecretStr("")
    MASTER_KEYS_OLD: SecretStr = SecretStr("")

    # Stores
    DATABASE_URL: str = ""
    DATABASE_POOL_SIZE: int = Field(20, ge=1, le=1000)
    AUTO_MIGRATE: bool = True
    REDIS_URL: str = ""

    # Identity
    REGISTRATION: Literal["open", "closed", "single"] = "closed"
    ADMIN_USERNAME: str = ""
    ADMIN_PASSWORD: SecretStr = SecretStr("")
    ACCESS_TOKEN_TTL_S: int = Field(900, ge=30, le=86_400)
    REFRESH_TOKEN_TTL_S: int = Field(30 * 86_400, ge=60)

    # Providers
    MODEL_NAME: str = ""
    OPENAI_API_KEY: SecretStr = SecretStr("")
    OPENAI_BASE_URL: str = ""
    QWEN_API_KEY: SecretStr = SecretStr("")
    QWEN_BASE_URL: str = ""
    ANTHROPIC_API_KEY: SecretStr = SecretStr("")
    ANTHROPIC_BASE_URL: str = ""
    DIFY_API_KEY: SecretStr = SecretStr("")
    DIFY_BASE_URL: str = ""
    AI_PROVIDERS_FILE: str = ""
    PROVIDER_PRIVATE_HOSTS: str = ""
    PERSONAL_MODELS: bool = True

    # Chat
    SSE_HEARTBEAT_INTERVAL_MS: Milliseconds = Field(15_000, ge=100, le=300_000)
    PROVIDER_CONNECT_MS: Milliseconds = Field(5_000, ge=100)
    PROVIDER_FIRST_TOKEN_MS: Milliseconds = Field(60_000, ge=100)
    PROVIDER_MAX_IDLE_MS: Milliseconds = Field(60_000, ge=100)
    PROVIDER_TIMEOUT_MS: Milliseconds = Field(300_000, ge=100)
    USAGE_EMIT: bool = True
    USAGE_PROVIDER_ONLY: bool = False
    TOKENIZER_MODE: Literal["precise", "heuristic"] = "precise"
    AUTO_TITLE: bool = True
    MAX_MESSAGE_CHARS: int = Field(200_000, ge=1)
    TOOLS: str = ""
    MAX_IMAGES_PER_MESSAGE: int = Field(8, ge=0)
    MAX_IMAGE_BYTES: Size = Field(5 * 1024 * 1024, ge=1)
    MAX_BODY_BYTES: Size = Field(32 * 1024 * 1024, ge=1024)
    MAX_STREAMS_PER_USER: int = Field(20, ge=1)

    # Gateway
    ENABLE_CORS: bool = True
    CORS_ORIGIN: str = ""
    TRUSTED_PROXIES: int = Field(0, ge=0, le=10)
    RATE_LIMIT: str = "600 per minute"
    RATE_LIMIT_CHAT: str = "60 per minute"
    RATE_LIMIT_GATEWAY: str = "6000 per minute"
    RATE_LIMIT_AUTH: str = "60 per minute"

    # Logs, metrics, traces
    LOGGING_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    LOG_FORMAT: Literal["auto", "json", "text"] = "auto"
    LOG_FILE: str = ""
    METRICS_TOKEN: SecretStr = SecretStr("")
    OTEL_EXPORTER_OTLP_ENDPOINT: str = ""

    @field_validator("LOGGING_LEVEL", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("DATABASE_URL")
    @classmethod
    def _complete_driver(cls, url: str) -> str:
        for plain, driver in (
            ("mysql", "mysql+pymysql"),
            ("mariadb", "mysql+pymysql"),
            ("postgresql", "postgresql+psycopg"),
            ("postgres", "postgresql+psycopg"),
        ):
            if url.startswith(f"{plain}://"):
                url = f"{driver}://{url.removeprefix(f'{plain}://')}"
        if url.startswith("mysql+pymysql://") and "charset=" not in url:
            url += ("&" if "?" in url else "?") + "charset=utf8mb4"
        return url

    @field_validator("REDIS_URL")
    @classmethod
    def _is_redis(cls, url: str) -> str:
        if url and not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("it must begin with redis://, rediss:// or unix://")
        urlsplit(url).port  # noqa: B018  # raises ValueError for one that is none
        return url

    @field_validator("PROVIDER_PRIVATE_HOSTS")
    @classmethod
    def _hosts(cls, hosts: str) -> str:
        read_allowed(hosts)  # raises ValueError
        return hosts

    @field_validator("RATE_LIMIT", "RATE_LIMIT_CHAT", "RATE_LIMIT_GATEWAY", "RATE_LIMIT_AUTH")
    @classmethod
    def _are_rates(cls, text: str) -> str:
        read_rates(text)  # raises ValueError
        return text

    @field_validator("MASTER_KEY", "MASTER_KEYS_OLD")
    @classmethod
    def _are_master_keys(cls, value: SecretStr) -> SecretStr:
        read_master_keys(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        faults = []
        if bool(self.ADMIN_USERNAME) != bool(self.ADMIN_PASSWORD.get_secret_value()):
            faults.append("ADMIN_USERNAME and ADMIN_PASSWORD must be set together")
        if 0 < len(self.SECRET_KEY.get_secret_value()) < _SECRET_KEY_CHARS:
            faults.append(f"SECRET_KEY must have at least {_SECRET_KEY_CHARS} characters")
        if self.WORKERS > 1 and self.database_url.startswith("sqlite"):
            faults.append("WORKERS > 1 needs DATABASE_URL to be MySQL, MariaDB or PostgreSQL: SQLite serves one worker")
        if self.ENABLE_CORS and any(not o.startswith(("http://", "https://")) for o in self.cors_origins):
            faults.append("CORS_ORIGIN must be a comma-separated list of http(s) origins, or empty for any")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL in force: DATABASE_URL, else SQLite in the data folder."""
        return self.DATABASE_URL or f"sqlite:///{self.DATA_DIR.resolve() / 'unichat.db'}"

    @property
    def private_hosts(self) -> tuple[AllowedHost, ...]:
        """What registered providers may use besides the public Internet."""
        return read_allowed(self.PROVIDER_PRIVATE_HOSTS)

    @property
    def tools(self) -> list[str]:
        """The names of the server's tools that are switched on."""
        return [name for part in self.TOOLS.split(",") if (name := part.strip())]

    @property
    def cors_origins(self) -> list[str]:
        """The allowed origins; empty means any, without credentials."""
        return [origin.strip().rstrip("/") for origin in self.CORS_ORIGIN.split(",") if origin.strip()]

    @property
    def secret_key(self) -> str:
        """SECRET_KEY, else the one that was generated once and is kept in the data folder with mode 0600."""
        return self.SECRET_KEY.get_secret_value() or kept_secret(self.DATA_DIR / "secret_key")

    @property
    def metrics_token(self) -> str:
        """METRICS_TOKEN, else the one that was generated once and is kept in the data folder with mode 0600."""
        return self.METRICS_TOKEN.get_secret_value() or kept_secret(self.DATA_DIR / "metrics_token")


def kept_secret(path: Path, make: Callable[[], str] = lambda: secrets.token_urlsafe(48)) -> str:
    """The secret in ``path``, made on first use. Two processes that race for it end with the same one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(make())
        try:
            os.link(draft, path)  # unlike rename, it fails when the other process was first
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()


def load_settings(**overrides: Any) -> Settings:
    """Settings from ``overrides``, the environment and ``.env``. Raises :class:`ConfigurationError`."""
    try:
        return Settings(**(_from_files() | overrides))
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors()]
        raise ConfigurationError("The configuration cannot be used:\n" + "\n".join(lines)) from None


def _from_files() -> dict[str, str]:
    values = {}
    for name in Settings.model_fields:
        if path := _file_of(name):
            try:
                values[name] = path.read_text().strip()
            except OSError as error:
                raise ConfigurationError(f"{name}_FILE: {error}") from None
    return values


def _file_of(name: str) -> Path | None:
    path = os.environ.get(f"{name}_FILE")
    return Path(path) if path and not os.environ.get(name) else None


def master_key_file(settings: Settings) -> Path | None:
    """The file in the data folder that holds the generated master keys; None where MASTER_KEY gives them."""
    return None if settings.MASTER_KEY.get_secret_value() else settings.DATA_DIR / "master_key"


def master_keys(settings: Settings) -> tuple[MasterKey, ...]:
    """The master keys, the current one first; what comes from files is read anew each time.

    Without MASTER_KEY, the one that was generated once and is kept in the data folder with mode 0600. Raises
    :class:`MasterKeyError` and OSError.
    """
    current, older = (_now(settings, name) for name in ("MASTER_KEY", "MASTER_KEYS_OLD"))
    generated = master_key_file(settings)
    keys = read_master_keys(kept_secret(generated, new_master_key) if generated else current, older)
    if not keys:
        raise MasterKeyError("there is no master key")
    return keys


def _now(settings: Settings, name: str) -> str:
    value: SecretStr = getattr(settings, name)
    path = _file_of(name)
    return path.read_text() if path and value.get_secret_value() else value.get_secret_value()


def ai_providers(settings: Settings) -> dict[str, dict[str, Any]]:
    """AI_PROVIDERS: name -> ``{"adapter_class": dotted path, "config": {...}}``, the preferred provider first.

    The entries below, then those of AI_PROVIDERS_FILE, which add to them or replace them by name.
    """
    providers: dict[str, dict[str, Any]] = {
        "openai": {
            "adapter_class": "adapters.openai_adapter.OpenAIAdapter",
            "config": {
                "api_key": settings.OPENAI_API_KEY.get_secret_value(),
                "base_url": settings.OPENAI_BASE_URL,
                "default_model": settings.MODEL_NAME,
            },
        },
        "qwen": {
            "adapter_class": "adapters.qwen_adapter.QwenAdapter",
            "config": {
                "api_key": settings.QWEN_API_KEY.get_secret_value(),
                "base_url": settings.QWEN_BASE_URL,
                "default_model": settings.MODEL_NAME if settings.MODEL_NAME.startswith("qw") else "",
            },
        },
        "anthropic": {
            "adapter_class": "adapters.anthropic_adapter.AnthropicAdapter",
            "config": {
                "api_key": settings.ANTHROPIC_API_KEY.get_secret_value(),
                "base_url": settings.ANTHROPIC_BASE_URL,
                "default_model": settings.MODEL_NAME if settings.MODEL_NAME.startswith("claude") else "",
            },
        },
        "dify": {
            "adapter_class": "adapters.dify_adapter.DifyAdapter",
            "config": {"api_key": settings.DIFY_API_KEY.get_secret_value(), "base_url": settings.DIFY_BASE_URL},
        },
        "echo": {"adapter_class": "adapters.echo_adapter.EchoAdapter", "config": {}},
    }
    declared = _declared_providers(settings.AI_PROVIDERS_FILE) if settings.AI_PROVIDERS_FILE else {}
    return {**declared, **{name: entry for name, entry in providers.items() if name not in declared}}


def ai_routes(settings: Settings, providers: Collection[str]) -> dict[str, Route]:
    """The routes of AI_PROVIDERS_FILE, whose targets are at ``providers``. Raises :class:`ConfigurationError`."""
    declared = _content(settings.AI_PROVIDERS_FILE).get("routes") if settings.AI_PROVIDERS_FILE else None
    try:
        return read_routes(declared or {}, providers)
    except RouteError as error:
        raise _wrong_file(settings, error.faults) from None


def ai_prices(settings: Settings, providers: Collection[str]) -> PriceList:
    """The prices of AI_PROVIDERS_FILE, for models at ``providers``. Raises :class:`ConfigurationError`."""
    declared = _content(settings.AI_PROVIDERS_FILE).get("prices") if settings.AI_PROVIDERS_FILE else None
    try:
        return read_prices(declared or {}, providers)
    except PriceError as error:
        raise _wrong_file(settings, error.faults) from None


def ai_prompts(settings: Settings) -> dict[str, str]:
    """The server prompts of AI_PROVIDERS_FILE, by public model. Raises :class:`ConfigurationError`."""
    declared = _content(settings.AI_PROVIDERS_FILE).get("prompts") if settings.AI_PROVIDERS_FILE else None
    try:
        return read_prompts(declared or {})
    except PromptError as error:
        raise _wrong_file(settings, error.faults) from None


def _wrong_file(settings: Settings, faults: Sequence[str]) -> ConfigurationError:
    lines = "".join(f"\n  {fault}" for fault in faults)
    return ConfigurationError(f"AI_PROVIDERS_FILE {settings.AI_PROVIDERS_FILE}:{lines}")


def providers_of_file(settings: Settings) -> set[str]:
    """The names of the providers that AI_PROVIDERS_FILE declares. Raises :class:`ConfigurationError`."""
    return set(_declared_providers(settings.AI_PROVIDERS_FILE)) if settings.AI_PROVIDERS_FILE else set()


def _declared_providers(path: str) -> dict[str, dict[str, Any]]:
    content = _content(path)
    # Without a section of their own, providers are all that is none of the others.
    flat = {name: entry for name, entry in content.items() if name not in ("routes", "prices", "prompts")}
    entries = content.get("providers", flat) or {}
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise ConfigurationError(f"AI_PROVIDERS_FILE {path}: expected a table of provider name -> entry")
    return entries


def _content(path: str) -> dict[str, Any]:
    try:
        text = Path(path).read_text()
        match Path(path).suffix:
            case ".toml":
                content: object = tomllib.loads(text)
            case ".json":
                content = json.loads(text)
            case _:
                content = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigurationError(f"AI_PROVIDERS_FILE cannot be read: {error}") from None
    if not isinstance(content, dict | None):
        raise ConfigurationError(f"AI_PROVIDERS_FILE {path}: expected a table")
    return content or {}
