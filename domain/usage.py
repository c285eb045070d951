"""Token counts and where they come from."""

from enum import StrEnum

import msgspec

_MOST = 1_000_000_000


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

    @property
    def is_credible(self) -> bool:
        """Whether anybody could have counted so: no number is below nothing, or beyond what a database holds."""
        counts = (self.prompt_tokens, self.completion_tokens, self.cached_tokens, self.reasoning_tokens)
        return all(0 <= count <= _MOST for count in counts)

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "total_tokens", self.prompt_tokens + self.completion_tokens)
