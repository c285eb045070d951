"""What a generation needs to know about its turn."""

from dataclasses import dataclass, replace
from datetime import datetime

from domain.chat import ChatRequest
from services.key_limiter import Held
from services.ledger import Hold
from services.turn_plan import Plan
from services.upstream_handle import Attempt


@dataclass(frozen=True, slots=True)
class Turn:
    """One stored turn that is to be answered.

    ``provider``, ``request`` and ``context_limit`` are those of the model that answers: the first one of the plan,
    until another one has.
    """

    generation_id: str
    message_id: str
    session_id: str
    user_id: str
    epoch: int
    provider: str
    request: ChatRequest
    context_limit: int
    created_at: datetime  # of the answer, too
    parent_id: str | None  # of the answer
    position: int  # of the answer in its session
    wants_title: bool
    is_alternative: bool
    plan: Plan
    hold: Hold
    held: Held  # of the limits of the key that asked

    def answered_by(self, attempt: Attempt) -> "Turn":
        """The same, answered by the model of that attempt."""
        choice = attempt.choice
        return replace(
            self, provider=choice.provider, request=attempt.request, context_limit=choice.model.context_window
        )
