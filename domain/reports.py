"""Reports of what was used."""

from dataclasses import dataclass
from enum import StrEnum


class Grouping(StrEnum):
    """What a report tells apart; MODEL is a model at a provider, DAY one by UTC, KEY an API key or none."""

    DAY = "day"
    MODEL = "model"
    USER = "user"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Used:
    """What one group used; ``cost`` is in nano-USD.

    ``turns`` are those that the group had a part in, ``requests`` those to providers that were settled, ``unpriced``
    those of them whose model had no price.
    """

    turns: int
    requests: int
    unpriced: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost: int
    day: str | None = None
    provider: str | None = None
    model: str | None = None
    user_id: str | None = None
    key_id: str | None = None

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens
