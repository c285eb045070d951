"""Messages on the wire, in and out."""

import base64
import binascii
import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self

import msgspec
from pydantic import AliasChoices, ConfigDict, Field, field_validator, model_validator

from api.schemas import ApiModel
from domain.messages import FileReference, Image, Message, Part, Text
from services.chat_service import Asked
from services.session_service import SessionSettings

_DATA_URL = re.compile(r"data:(image/(?:png|jpeg|gif|webp));base64,", re.IGNORECASE)
_MAX_ADDRESS = 2000
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF")

Temperature = Annotated[float, Field(ge=0, le=2)]
MaxTokens = Annotated[int, Field(ge=1, le=1_000_000)]
SystemPrompt = Annotated[str, Field(max_length=100_000)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
# As part of an address: segments that no client takes out on the way.
_SEGMENT = "[A-Za-z0-9][A-Za-z0-9._:@+~-]*"
PublicModelName = Annotated[
    str, Field(min_length=1, max_length=200, pattern=f"^{_SEGMENT}(/{_SEGMENT})*$", description="A public model.")
]
# Ids are ASCII in every database; MySQL compares them with nothing else.
Identifier = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._~-]+$")]


class AttachmentIn(ApiModel):
    """A picture or a file that goes with a message: by address, or a picture as a `data:` URL."""

    type: Literal["image", "file"] = "image"
    url: str = Field(min_length=8, max_length=30_000_000)
    name: str = Field("", max_length=255)

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        if url.startswith("data:"):
            _check_picture(url)
        elif not re.fullmatch(r"https?://[^\s/?#@]+([/?#]\S*)?", url) or len(url) > _MAX_ADDRESS:
            raise ValueError("must be an http(s) address or a data:image/...;base64 URL")
        return url

    def part(self) -> Part:
        """It as a part of a message."""
        return Image(url=self.url, alt=self.name) if self.type == "image" else FileReference(self.url, self.name)


def _check_picture(url: str) -> None:
    match = _DATA_URL.match(url)
    if match is None:
        raise ValueError("only PNG, JPEG, GIF and WebP pictures can be sent as data URLs")
    try:
        content = base64.b64decode(url[match.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the base64 of the data URL is broken") from None
    if not content.startswith(_MAGIC):
        raise ValueError("the data URL does not hold such a picture")


class ConfigIn(ApiModel):
    """How to answer, where it differs from the session's settings."""

    system_prompt: SystemPrompt | None = Field(None, validation_alias=AliasChoices("system_prompt", "systemPrompt"))
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = Field(None, validation_alias=AliasChoices("max_tokens", "maxTokens"))

    def settings(self) -> SessionSettings:
        """It for the services."""
        return SessionSettings(self.system_prompt, self.temperature, self.max_tokens)


class AskIn(ApiModel):
    """Who is to answer, and how."""

    provider: Name | None = Field(None, validation_alias=AliasChoices("provider", "ai_provider", "aiProvider"))
    model: Name | None = None
    config: ConfigIn = Field(default_factory=ConfigIn)

    def asked(self) -> Asked:
        """It for the services."""
        return Asked(self.provider, self.model, self.config.settings())


class UserMessageIn(AskIn):
    """A user's message and how to answer it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"message": "Hello!"}]})

    message: str = Field("", description="The text.")
    attachments: list[AttachmentIn] = Field(default_factory=list, max_length=64)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.message.strip() and not self.attachments:
            raise ValueError("message: must not be empty")
        return self

    def parts(self) -> list[Part]:
        """The message's parts: pictures first, as the models are trained."""
        parts = [attachment.part() for attachment in self.attachments]
        return [*parts, Text(text=self.message)] if self.message else parts


class UsageOut(ApiModel):
    """Tokens; `source` is provider, estimated or partial."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    source: str


class MessageOut(ApiModel):
    """A stored message. `content` is its text; `siblings` are the ids of its alternatives, itself included."""

    id: str
    session_id: str
    parent_id: str | None
    role: Literal["user", "assistant"]
    content: str
    parts: list[dict[str, Any]]
    status: Literal["running", "completed", "stopped", "failed", "interrupted"]
    end_reason: str | None
    error_code: str | None
    provider: str | None
    model: str | None
    usage: UsageOut | None
    generation_id: str | None
    created_at: datetime
    siblings: list[str]

    @field_validator("parts", mode="before")
    @classmethod
    def _builtins(cls, parts: object) -> object:
        return msgspec.to_builtins(parts)

    @classmethod
    def of(cls, message: Message) -> Self:
        """The message as it goes out."""
        return cls.model_validate(message)
