"""How generations end, and how that is told to those who count them."""

from dataclasses import dataclass
from datetime import datetime

from domain.clock import now
from domain.errors import ProviderError
from domain.generation import EndReason, GenerationStatus
from domain.observer import GenerationEnd
from domain.usage import Usage
from models import GenerationEntity
from services.answer import Answer
from services.turn import Turn


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a generation ended."""

    status: GenerationStatus
    end_reason: EndReason
    usage: Usage | None
    error: ProviderError | None = None

    @property
    def whole(self) -> bool:
        """Whether the model said all that it wanted to: half a tool call must never be made."""
        return self.end_reason in (EndReason.STOP, EndReason.TOOL_CALLS)


def end_of(turn: Turn, answer: Answer, outcome: Outcome) -> GenerationEnd:
    """The end of a generation that ran here."""
    began_at, first_delta_at = turn.created_at.timestamp(), answer.first_delta_at
    return GenerationEnd(
        provider=turn.provider,
        model=turn.request.model,
        status=outcome.status,
        end_reason=outcome.end_reason,
        code=outcome.error.error_code if outcome.error else None,
        seconds=_since(turn.created_at),
        first_token_s=None if first_delta_at is None else first_delta_at - began_at,
    )


def reaped(entity: GenerationEntity) -> GenerationEnd:
    """The end of a generation whose worker died."""
    return GenerationEnd(
        provider=entity.provider,
        model=entity.model,
        status=GenerationStatus.INTERRUPTED,
        end_reason=EndReason.NODE_LOST,
        code=None,
        seconds=_since(entity.created_at),
        first_token_s=None,
    )


def _since(moment: datetime) -> float:
    return max(0.0, (now() - moment).total_seconds())
