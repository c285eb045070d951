"""A completion as the log of a generation would tell it: for readers who know logs, where none is kept."""

from collections.abc import Iterator
from itertools import count

import msgspec

from domain import events
from domain.clock import now
from domain.errors import AppError
from domain.generation import EndReason, GenerationStatus
from domain.messages import Message, MessageRole, text_of
from services.answer import Answer
from services.completion_service import Completion
from services.event_stream_service import Item
from services.generation_ends import Outcome


class CompletionLog:
    """The log of one completion. ``message`` is the answer as it stands: nothing, until all events were read."""

    def __init__(self, completion: Completion) -> None:
        self.completion = completion
        self.message = Message(
            id="",
            session_id="",
            parent_id=None,
            role=MessageRole.ASSISTANT,
            content="",
            parts=[],
            status=GenerationStatus.RUNNING,
            end_reason=None,
            error_code=None,
            provider=None,
            model=None,
            usage=None,
            generation_id=completion.id,
            created_at=now(),
        )

    def items(self) -> Iterator[Item]:
        """Its events, numbered from 1: made in the greenlet that reads them. A failure is told, and not raised."""
        numbers, answer = count(1), Answer()
        first = self.completion.plan.first
        start = events.Start("", self.completion.id, "", first.provider, first.model.name)
        yield next(numbers), events.encode(start)
        error: AppError | None = None
        try:
            for delta in self.completion.deltas():
                answer.add(delta)
                for event in answer.take_events():
                    yield next(numbers), event
        except AppError as failure:
            error = failure
            yield next(numbers), events.encode(events.Error(error.error_code, error.message, retryable=False))
        self._end(answer, error)
        yield next(numbers), events.encode(events.Complete(message=self.message))

    def _end(self, answer: Answer, error: AppError | None) -> None:
        completion = self.completion
        status = GenerationStatus.FAILED if error else GenerationStatus.COMPLETED
        outcome = Outcome(status, EndReason.UPSTREAM_ERROR if error else completion.end_reason, completion.usage)
        parts = answer.parts(complete=outcome.whole)
        self.message = msgspec.structs.replace(
            self.message,
            content=text_of(parts),
            parts=parts,
            status=status,
            end_reason=outcome.end_reason,
            error_code=error.error_code if error else None,
            usage=outcome.usage,
        )
