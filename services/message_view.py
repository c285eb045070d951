"""A stored message as it is shown."""

from collections.abc import Sequence

from domain.generation import EndReason, GenerationStatus
from domain.messages import Message, MessageRole, parts_from
from domain.usage import Usage, UsageSource
from models import MessageEntity


def message_view(entity: MessageEntity, siblings: Sequence[str] | None = None) -> Message:
    """The value for a row; ``siblings`` are the ids of its alternatives, itself included (alone if not given)."""
    return Message(
        id=entity.id,
        session_id=entity.session_id,
        parent_id=entity.parent_id,
        role=MessageRole(entity.role),
        content=entity.text,
        parts=parts_from(entity.parts),
        status=GenerationStatus(entity.status),
        end_reason=EndReason(entity.end_reason) if entity.end_reason else None,
        error_code=entity.error_code,
        provider=entity.provider,
        model=entity.model,
        usage=_usage(entity),
        generation_id=entity.generation_id,
        created_at=entity.created_at,
        siblings=list(siblings or [entity.id]),
    )


def _usage(entity: MessageEntity) -> Usage | None:
    if entity.usage_source is None:
        return None
    return Usage(
        prompt_tokens=entity.prompt_tokens or 0,
        completion_tokens=entity.completion_tokens or 0,
        cached_tokens=entity.cached_tokens or 0,
        reasoning_tokens=entity.reasoning_tokens or 0,
        source=UsageSource(entity.usage_source),
    )
