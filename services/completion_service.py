"""Answers for whom nothing is stored: a client brings its whole prompt along, and takes the answer away.

Only the books know of it. An answer is made in the greenlet of its request: who reads slowly slows the provider down.
"""

import time
from collections.abc import Callable, Generator
from contextlib import closing

import structlog

from domain.chat import ChatRequest
from domain.deltas import Delta
from domain.errors import AppError, NotAuthenticated, NotFound, ProviderError, UpstreamCut
from domain.generation import EndReason
from domain.ledger import EntryKind
from domain.principal import Principal
from domain.usage import Usage
from services.charges import usage_of
from services.completion_tally import CompletionTally
from services.front_desk import FrontDesk, booking_for, shutting_down
from services.generation_runner import AnswerTooLarge, end_reason_of
from services.key_limiter import Held, KeyLimiter
from services.ledger import Hold, Ledger
from services.model_choice import ModelChooser, PublicModel
from services.reader_check import RECHECK_S, ReaderCheck
from services.settlements import Due
from services.turn_plan import Plan, TurnPlanner
from services.upstream import Upstream
from services.upstream_handle import UpstreamHandle

log = structlog.get_logger()

_MAX_ANSWER_CHARS = 8 * 1024 * 1024  # many times the longest answer of any model, pictures apart


class Completion:
    """One answer on its way. ``created`` is in Unix seconds; ``public_model`` is the name that the client used.

    ``usage`` is known when :meth:`deltas` has come to its end, if it ever is. ``tally`` is what the answer has come to.
    """

    def __init__(
        self,
        upstream: Upstream,
        public_model: str,
        plan: Plan,
        hold: Hold,
        held: Held,
        ended: Callable[["Completion"], None],
        check: ReaderCheck | None = None,
    ) -> None:
        self.id = hold.entry.generation_id
        self.created = int(time.time())
        self.public_model = public_model
        self.plan = plan
        self.hold = hold
        self.held = held
        self.upstream = UpstreamHandle()
        self.tally = CompletionTally()
        self.usage: Usage | None = None
        self.error: AppError | None = None
        self._ended = ended
        self._check = check
        self._stop_reason: EndReason | None = None
        self._deltas = self._produce(upstream)

    def deltas(self) -> Generator[Delta, None, None]:
        """The answer, once, in the caller's greenlet. At its end, whatever that is, it is settled.

        Raises the :class:`ProviderError` that says best why there is no (whole) answer, Unavailable
        ``shutting_down`` where this worker has to go, NotAuthenticated once the caller's API key has ended. Who closes
        it before its end is a client that left: the provider is stopped, and what it wrote is billed.
        """
        return self._deltas

    def close(self) -> None:
        """Nobody reads on. To be called at the end of every request, also when :meth:`deltas` was never begun."""
        self._deltas.close()
        self.settle(EndReason.USER_STOP)

    def cut(self) -> None:
        """End it from another greenlet, since this worker has to go."""
        self._stop_reason = self._stop_reason or EndReason.SHUTDOWN
        self.upstream.stop()

    @property
    def prompt_tokens(self) -> int:
        """Our own count of the prompt."""
        return self.hold.entry.prompt_tokens or 0

    @property
    def end_reason(self) -> EndReason:
        """Why it ended."""
        if self.tally.finish_reason and self.error is None:
            return EndReason(self.tally.finish_reason)
        if self._stop_reason is not None:
            return self._stop_reason
        return end_reason_of(self.error if isinstance(self.error, ProviderError) else UpstreamCut(""))

    def settle(self, reason: EndReason) -> None:
        """Write what it came to, unless that is done; ``reason`` is why it ended, if nothing else has ended it."""
        if self.error is None:
            self._stop_reason = self._stop_reason or reason
        self._ended(self)

    def _produce(self, upstream: Upstream) -> Generator[Delta, None, None]:
        try:
            with closing(upstream.answer(self.plan, self.upstream)) as deltas:
                yield from self._counted(deltas)
            if not self.tally.finish_reason:
                raise shutting_down()
        except AppError as error:
            self.error = error
            raise
        except Exception:
            log.exception("completion_crashed", generation_id=self.id)
            self.error = ProviderError("Something went wrong on our side.", "internal_error")
            raise self.error from None
        finally:
            self._ended(self)

    def _counted(self, deltas: Generator[Delta, None, None]) -> Generator[Delta, None, None]:
        tally, check = self.tally, self._check
        add = tally.add
        try:
            for delta in deltas:
                add(delta)
                if tally.size > _MAX_ANSWER_CHARS:
                    raise AnswerTooLarge("The answer is too long.", provider=self.plan.first.provider)
                if check is not None:
                    check()
                yield delta
        except (GeneratorExit, NotAuthenticated):
            self._stop_reason = self._stop_reason or EndReason.USER_STOP
            self.upstream.stop()
            raise


class CompletionService:
    """Begins completions, and sees to it that each is settled."""

    def __init__(
        self,
        chooser: ModelChooser,
        planner: TurnPlanner,
        upstream: Upstream,
        ledger: Ledger,
        key_limiter: KeyLimiter,
        desk: FrontDesk,
        recheck: Callable[[Principal], None],
    ) -> None:
        self._chooser = chooser
        self._planner = planner
        self._upstream = upstream
        self._ledger = ledger
        self._key_limiter = key_limiter
        self._desk = desk
        self._recheck = recheck

    def begin(
        self, principal: Principal, model: str, asked: ChatRequest, kind: EntryKind = EntryKind.CHAT
    ) -> Completion:
        """An answer to ``asked`` by the model of that public name; nothing is sent before its deltas are asked for.

        Raises NotFound ``model_not_found``, PermissionDenied, UnsupportedInput, ContextTooLong, BudgetExceeded,
        LimitExceeded, ProviderUnavailable (every provider that could answer is left alone for a moment), Unavailable.
        """
        self._desk.check_open()
        plan = self._planner.plan(self._chooser.find(principal, model), asked, None, principal)
        booking = booking_for(principal, plan.public_model, kind)
        hold = self._ledger.prepare(booking, plan.first.provider, plan.first.model, plan.request)
        prompt, first = hold.entry.prompt_tokens or 0, plan.first.model
        held = self._key_limiter.hold_chat(principal.key, prompt, plan.request, first)
        self._desk.reserve(held, hold)
        check = ReaderCheck(self._recheck, principal, RECHECK_S) if principal.key is not None else None
        completion = Completion(self._upstream, model, plan, hold, held, self._end, check)
        self._desk.enter(completion)
        return completion

    def models(self, principal: Principal) -> list[PublicModel]:
        """What the caller may ask for."""
        return self._chooser.public_models(principal)

    def model(self, principal: Principal, name: str) -> PublicModel:
        """One of them. Raises NotFound ``model_not_found`` for any other name."""
        found = next((one for one in self._chooser.public_models(principal) if one.name == name), None)
        if found is None:
            raise NotFound(
                f"There is no model {name}.",
                "model_not_found",
            )
        return found

    def _end(self, completion: Completion) -> None:
        if not self._desk.leave(completion):
            return
        charges = self._ledger.charges(completion.upstream, completion.tally)
        completion.usage = usage_of(charges)
        error_code = completion.error.error_code if completion.error else None
        self._desk.settle(Due(completion.hold, charges, completion.end_reason, error_code), completion.held)
