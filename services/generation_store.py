"""What is written about a generation once it runs: checkpoints, leases and its end."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from typing import Any

import structlog

from domain.clock import now
from domain.errors import Unavailable
from domain.generation import EndReason
from domain.messages import Message, MessageRole, Part, text_of
from domain.observer import NOBODY, Observer
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork
from services.answer import Answer, columns_of
from services.charges import Charge
from services.generation_ends import Outcome, end_of
from services.ledger import Ledger
from services.message_view import message_view
from services.turn import Turn

log = structlog.get_logger()

LEASE = timedelta(seconds=10)  # with the keeper's beat: readers learn within 15 s that a worker has died
_SAVE_FOR_S = 120.0  # a database that comes back within this loses no answer
_SAVE_EVERY_S = (0.1, 0.2, 0.5, 1, 2)


class GenerationStore:
    """The record of generations, for the worker ``owner``."""

    def __init__(self, unit_of_work: OpenUnitOfWork, ledger: Ledger, owner: str, observer: Observer = NOBODY) -> None:
        self._unit_of_work = unit_of_work
        self.ledger = ledger
        self.owner = owner
        self._observer = observer

    def finish(
        self, turn: Turn, answer: Answer, outcome: Outcome, charges: Sequence[Charge], *, last_seq: int
    ) -> Message | None:
        """Save the end in one transaction and return the message as it stands then; None if it is gone.

        ``charges`` are what it used: they are settled also where the session was deleted meanwhile. If somebody else
        has ended the generation before, it stands as they have left it. Waits for a database that is away; raises
        Unavailable when that takes too long.
        """
        deadline = time.monotonic() + _SAVE_FOR_S
        for pause in chain(_SAVE_EVERY_S, repeat(_SAVE_EVERY_S[-1])):
            try:
                return self._finish(turn, answer, outcome, charges, last_seq)
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(pause)
        raise AssertionError  # the loop has no end

    def _finish(
        self, turn: Turn, answer: Answer, outcome: Outcome, charges: Sequence[Charge], last_seq: int
    ) -> Message | None:
        end = {**_end_columns(outcome), "provider": turn.provider, "model": turn.request.model}
        parts = answer.parts(complete=outcome.whole)
        with self._unit_of_work(brief=True) as uow:
            self._touch_session(uow, turn, answer)  # first: whoever locks more than one row begins with the session's
            won = uow.turns.end(
                turn.generation_id,
                epoch=turn.epoch,
                values={
                    **end,
                    "error_message": outcome.error.message.replace("\0", "")[:1000] if outcome.error else None,
                    "context_limit": turn.context_limit,
                    "first_token_at": _moment(answer.first_delta_at),
                    "finished_at": now(),
                    "last_seq": last_seq,
                },
            )
            if won and uow.turns.write(turn.message_id, turn.user_id, {**end, **columns_of(parts)}):
                message: Message | None = _message(turn, parts, outcome, _siblings(uow, turn))
            else:
                message = _saved(uow, turn)
            # Last: turns of one user meet at what this changes.
            settled = self.ledger.settle(uow, turn.hold, charges, outcome.end_reason, end["error_code"])
            if won or settled:
                uow.commit()
        if won:
            self._observer.generation_ended(end_of(turn, answer, outcome))
        return message

    def _touch_session(self, uow: UnitOfWork, turn: Turn, answer: Answer) -> None:
        # Another provider has not seen this turn: what it remembers of the session is out of date from now on.
        state = answer.upstream_state or turn.request.upstream_state or None
        uow.turns.remember(
            turn.session_id,
            turn.user_id,
            position=turn.position,
            upstream_state=state,
            upstream_provider=turn.provider if state else None,
            updated_at=now(),
        )

    def checkpoint(self, rows: Sequence[tuple[Turn, Answer]]) -> None:
        """Save the partial text of running generations, all in one statement."""
        if not rows:
            return
        columns = [(turn, columns_of(answer.parts(complete=False))) for turn, answer in rows]
        with self._unit_of_work() as uow:
            uow.messages.write_texts(
                [{"id_": turn.message_id, "parts_": c["parts"], "text_": c["text"]} for turn, c in columns]
            )
            uow.commit()

    def renew(self, generation_ids: Sequence[str]) -> None:
        """Renew the leases of those that run here; what this worker has lost sight of is reaped though it lives."""
        with self._unit_of_work() as uow:
            uow.generations.renew(generation_ids, self.owner, LEASE)
            uow.commit()

    def unwanted(self, generation_ids: Sequence[str]) -> dict[str, EndReason]:
        """Those that should end, and why: stopped from elsewhere, or no longer ours (reaped, or deleted)."""
        with self._unit_of_work(writes=False) as uow:
            stops = uow.generations.stop_requests(generation_ids)
        lost = {generation_id: EndReason.NODE_LOST for generation_id in generation_ids if generation_id not in stops}
        return lost | {generation_id: EndReason.USER_STOP for generation_id, asked in stops.items() if asked}


def _siblings(uow: UnitOfWork, turn: Turn) -> Sequence[str] | None:
    """The ids of the answer's alternatives, itself included; None for the only one."""
    if not turn.is_alternative:
        return None
    return uow.messages.siblings(turn.session_id, turn.user_id, {turn.parent_id}).get(turn.parent_id)


def _message(turn: Turn, parts: list[Part], outcome: Outcome, siblings: Sequence[str] | None) -> Message:
    """The answer as it was just written."""
    return Message(
        id=turn.message_id,
        session_id=turn.session_id,
        parent_id=turn.parent_id,
        role=MessageRole.ASSISTANT,
        content=text_of(parts),
        parts=parts,
        status=outcome.status,
        end_reason=outcome.end_reason,
        error_code=outcome.error.error_code if outcome.error else None,
        provider=turn.provider,
        model=turn.request.model,
        usage=outcome.usage,
        generation_id=turn.generation_id,
        created_at=turn.created_at,
        siblings=list(siblings or [turn.message_id]),
    )


def _saved(uow: UnitOfWork, turn: Turn) -> Message | None:
    """The answer as somebody else has left it; None if it is gone."""
    row = uow.messages.get(turn.message_id, turn.user_id)
    return None if row is None else message_view(row, _siblings(uow, turn))


def _end_columns(outcome: Outcome) -> dict[str, Any]:
    usage = outcome.usage
    return {
        "status": outcome.status,
        "end_reason": outcome.end_reason,
        "error_code": outcome.error.error_code if outcome.error else None,
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "completion_tokens": usage.completion_tokens if usage else None,
        "cached_tokens": usage.cached_tokens if usage else None,
        "reasoning_tokens": usage.reasoning_tokens if usage else None,
        "usage_source": usage.source if usage else None,
    }


def _moment(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
