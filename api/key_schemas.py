"""API keys on the wire, in and out."""

from datetime import datetime
from typing import Annotated, Self, cast

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints

from api.message_schemas import Name
from api.schemas import ApiModel
from domain.api_keys import USUAL_SCOPES, Scope
from services.api_key_service import KeyFields, MadeKey

KeyName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Scopes = Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))]
ModelNames = Annotated[list[Name], Field(min_length=1, max_length=200)]
Addresses = Annotated[list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=100)]
ToolNames = Annotated[list[Name], Field(max_length=100)]
Rate = Annotated[int, Field(ge=1, le=1_000_000_000)]
_NEVER_NULL = ("name", "scopes", "disabled")


class _KeyLimitsIn(ApiModel):
    """What limits a key; null does not limit."""

    model_config = ConfigDict(extra="forbid")  # a misspelt limit must not be none

    expires_at: AwareDatetime | None = Field(None, description="With its time zone.")
    models: ModelNames | None = Field(None, description="Public names of the only models that it may use.")
    addresses: Addresses | None = Field(None, description="Addresses and networks (CIDR) that it may be used from.")
    tools: ToolNames | None = Field(None, description="Tools of the server that models may use for it; null: none.")
    requests_per_minute: Rate | None = None
    tokens_per_minute: Rate | None = None
    parallel_requests: Rate | None = None

    def fields(self) -> KeyFields:
        """What was sent, for the services."""
        sent = {name: getattr(self, name) for name in self.model_fields_set - {"user_id"}}
        kept = {name: value for name, value in sent.items() if value is not None or name not in _NEVER_NULL}
        return cast("KeyFields", kept)


class KeyIn(_KeyLimitsIn):
    """A new key. Administrators may make it for another user."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "My script", "requests_per_minute": 60}]})

    name: KeyName
    scopes: Scopes = Field(default_factory=lambda: sorted(USUAL_SCOPES))
    user_id: str | None = Field(None, max_length=64, pattern=r"^[A-Za-z0-9._~-]+$", description="Whose key it is.")


class KeyChanges(_KeyLimitsIn):
    """What to change; what is left out stays, and null takes a limit away."""

    name: KeyName | None = None
    scopes: Scopes | None = None
    disabled: bool | None = None


class KeyOut(ApiModel):
    """An API key, without itself: `prefix` is how it begins. `last_used_at` is right to within a minute."""

    id: str
    user_id: str
    name: str
    prefix: str
    scopes: list[Scope]
    models: list[str] | None
    addresses: list[str] | None
    tools: list[str] | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    parallel_requests: int | None
    disabled: bool
    expires_at: datetime | None
    last_used_at: datetime | None
    created_by: str
    created_at: datetime
    updated_at: datetime


class NewKeyOut(KeyOut):
    """A new key; nobody can tell `key` again."""

    key: str

    @classmethod
    def of(cls, made: MadeKey) -> Self:
        """It as it goes out."""
        return cls(**KeyOut.model_validate(made.record).model_dump(), key=made.key)
