"""Token counts and where they come from."""

from enum import StrEnum

import msgspec


class UsageSource(StrEnum):
    """How far a count can be trusted: an explicit zero from the provider is the provider's word."""

    PROVIDER = "provider"
    ESTIMATED = "estimated"
    PARTIAL = "partial"


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one generation. ``cached_tokens`` is a part of the prompt, ``reasoning_tokens`` of the completion."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    source: UsageSource = UsageSource.PROVIDER
    total_tokens: int = 0  # prompt and completion together; whatever was given, it is computed

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "total_tokens", self.prompt_tokens + self.completion_tokens)
