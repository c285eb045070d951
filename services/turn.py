"""What a generation needs to know about its turn."""

from dataclasses import dataclass
from datetime import datetime

from domain.chat import ChatRequest


@dataclass(frozen=True, slots=True)
class Turn:
    """One stored turn that is to be answered."""

    generation_id: str
    message_id: str
    session_id: str
    user_id: str
    epoch: int
    provider: str
    request: ChatRequest
    context_limit: int
    created_at: datetime
    position: int  # of the answer in its session
    wants_title: bool
    is_alternative: bool
