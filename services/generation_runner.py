"""Runs generations: one producer each, which belongs to the worker and not to the request that began it."""

import _thread
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import structlog

from domain import events
from domain.errors import AppError, ProviderError, ProviderTimeout, Unavailable, UpstreamCut
from domain.generation import EndReason, GenerationStatus
from domain.messages import Message, text_of
from domain.observer import NOBODY, GenerationStory, Observer
from domain.usage import Usage, UsageSource
from repositories.event_log import EventLog
from repositories.signals import Signals
from services.answer import Answer
from services.charges import Charge, tokens_of, usage_of
from services.generation_ends import Outcome
from services.generation_store import GenerationStore
from services.turn import Turn
from services.upstream import Upstream
from services.upstream_handle import UpstreamHandle

log = structlog.get_logger()

STOP_WAIT_S = 3.0  # how long a stop waits for its end
_MAX_ANSWER_CHARS = 1024 * 1024  # several times the longest answer of any model; MySQL refuses rows over 16 MB


class AnswerTooLarge(ProviderError):
    """The answer passed what one message may hold."""

    code = "answer_too_large"


class Live:
    """One running generation of this worker."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.upstream = UpstreamHandle()
        self.answer = Answer()
        self.lock = threading.Lock()  # the producer and the flusher both move events to the log
        self.finished = threading.Event()
        self.stop_reason: EndReason | None = None
        self.error: ProviderError | None = None
        self.unsaved: AppError | None = None  # why the end could not be saved
        self.message: Message | None = None  # as it was saved
        self.trace_parent: str | None = None
        self.began_at = time.time()
        self.flushed_at = 0.0
        self.logged = 0  # events in the log
        self.checkpointed = 0

    def stop(self, reason: EndReason) -> None:
        """End it now: the upstream socket is closed, and no further delta counts."""
        self.stop_reason = self.stop_reason or reason
        self.upstream.stop()


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How streams behave: ``usage_emit`` sends usage events, ``usage_provider_only`` only the provider's own counts."""

    usage_emit: bool = True
    usage_provider_only: bool = False


class GenerationRunner:
    """All running generations of this worker."""

    def __init__(
        self,
        upstream: Upstream,
        event_log: EventLog,
        store: GenerationStore,
        options: StreamOptions,
        after_answer: Callable[[Turn, Message], None],
        announce: Callable[[Turn], None],
        signals: Signals,
        observer: Observer = NOBODY,
    ) -> None:
        self.upstream = upstream
        self._event_log = event_log
        self._store = store
        self._options = options
        self._after_answer = after_answer
        self._announce = announce
        self._observer = observer
        self._live: dict[str, Live] = {}
        self._wake = threading.Event()
        self._draining = False
        self._interrupting = False
        self._flusher: threading.Thread | None = None
        signals.listen("stop", lambda generation_id: self.end(generation_id, EndReason.USER_STOP))
        signals.listen("lost", lambda generation_id: self.end(generation_id, EndReason.NODE_LOST))

    def check_open(self) -> None:
        """Raises :class:`Unavailable` when this worker is going down and takes no new turn."""
        if self._draining:
            raise Unavailable("This node is restarting.", "shutting_down", retry_after=2)

    def submit(self, turn: Turn) -> Live:
        """Begin to answer a stored turn."""
        live = Live(turn)
        live.trace_parent = self._observer.trace_parent()
        self._event_log.open(turn.generation_id, turn.epoch, turn.session_id)
        start = events.Start(turn.message_id, turn.generation_id, turn.session_id, turn.provider, turn.request.model)
        live.logged = self._event_log.append(turn.generation_id, [events.encode(start)])
        self._start_flusher()
        self._live[turn.generation_id] = live
        if self._interrupting:
            live.stop(EndReason.SHUTDOWN)
        try:
            _thread.start_new_thread(self._produce, (live,))  # half of the price of a Thread, and one for each turn
        except RuntimeError:  # no thread to be had: its lease runs out, and it is reaped
            del self._live[turn.generation_id]
            self._close_log(live)
            raise
        self._announce(turn)
        return live

    def get(self, generation_id: str) -> Live | None:
        """The generation, if it runs here."""
        return self._live.get(generation_id)

    def all(self) -> list[Live]:
        """Every generation that runs here now."""
        return list(self._live.values())

    def count(self) -> int:
        """How many run here now."""
        return len(self._live)

    def end(self, generation_id: str, reason: EndReason) -> None:
        """End it now, if it runs here; its producer sees to the rest."""
        if live := self._live.get(generation_id):
            live.stop(reason)

    def stop(self, generation_id: str) -> GenerationStatus | None:
        """Stop it, and wait a little; how it was saved, or RUNNING if that is still under way.

        None if it does not run here.
        """
        live = self._live.get(generation_id)
        if live is None:
            return None
        live.stop(EndReason.USER_STOP)
        live.finished.wait(STOP_WAIT_S)
        return live.message.status if live.message else GenerationStatus.RUNNING

    def begin_drain(self) -> None:
        """Take no new turn from now on."""
        self._draining = True

    def drain(self, seconds: float) -> None:
        """Let what runs come to its end within ``seconds``; then interrupt the rest and save what it has."""
        self.begin_drain()
        self._wait_for_all(seconds)
        self._interrupting = True  # from here on also for a turn that was let in before the drain began
        for live in self.all():
            live.stop(EndReason.SHUTDOWN)
        self._wait_for_all(STOP_WAIT_S)

    def _wait_for_all(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (running := self.all()) and (left := deadline - time.monotonic()) > 0:
            running[0].finished.wait(left)

    # The producer

    def _produce(self, live: Live) -> None:
        structlog.contextvars.bind_contextvars(generation_id=live.turn.generation_id)
        try:
            self._consume(live)
        except ProviderError as error:
            live.error = error
        except Exception:
            log.exception("generation_crashed", generation_id=live.turn.generation_id)
            live.error = ProviderError("Something went wrong on our side.", "internal_error")
        if live.upstream.answering is not None:
            live.turn = live.turn.answered_by(live.upstream.answering)
        try:
            self._finish(live)
        except Exception as error:  # it stays "running" until its lease runs out, and is reaped then
            log.exception("generation_not_finished", generation_id=live.turn.generation_id)
            live.unsaved = error if isinstance(error, AppError) else AppError("The answer could not be saved.")
        finally:
            live.turn.held.settle(None)  # if it has not been
            self._close_log(live)
            self._live.pop(live.turn.generation_id, None)
            live.finished.set()
        if live.trace_parent is not None:
            self._observer.generation_told(_story_of(live, live.trace_parent))
        if live.message is not None and live.message.status is GenerationStatus.COMPLETED:
            self._after_answer(live.turn, live.message)

    def _consume(self, live: Live) -> None:
        answer, window = live.answer, self._window()
        with closing(self.upstream.answer(live.turn.plan, live.upstream)) as deltas:
            for delta in deltas:
                if live.stop_reason is not None:
                    return
                with live.lock:
                    answer.add(delta)
                if answer.size > _MAX_ANSWER_CHARS:
                    raise AnswerTooLarge("The answer is longer than a message may be.", provider=live.turn.provider)
                if time.monotonic() - live.flushed_at >= window:
                    self._flush(live)
                    window = self._window()
                else:
                    self._stir()

    def _window(self) -> float:
        """Seconds in which deltas are joined into one event: wider under load, where nobody can tell the difference."""
        return min(0.15, 0.02 + len(self._live) * 0.0002)

    def _flush(self, live: Live) -> None:
        with live.lock:
            news = live.answer.take_events()
            if news:
                live.logged = self._event_log.append(live.turn.generation_id, news)
            live.flushed_at = time.monotonic()

    # The flusher: what a producer holds back while it waits for the next delta

    def _start_flusher(self) -> None:
        if self._flusher is None:
            self._flusher = threading.Thread(target=self._flush_forever, name="flusher", daemon=True)
            self._flusher.start()

    def _stir(self) -> None:
        if not self._wake.is_set():
            self._wake.set()

    def _flush_forever(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(self._window())
            self._wake.clear()
            self._flush_all()

    def _flush_all(self) -> None:
        for live in self.all():
            try:
                if live.answer.waiting:
                    self._flush(live)
            except Exception:
                log.exception("events_not_flushed", generation_id=live.turn.generation_id)

    # The end

    def _finish(self, live: Live) -> None:
        charges = self._store.ledger.charges(live.upstream, live.answer)
        live.turn.held.settle(tokens_of(charges))
        outcome = self._outcome(live, charges)
        with live.lock:
            if outcome.whole:
                live.answer.close()
            last_seq = live.logged + live.answer.end(self._closing(live, outcome)) + 1
        self._stir()  # where saving takes its time, readers get this before, else with the last word
        live.message = self._store.finish(live.turn, live.answer, outcome, charges, last_seq=last_seq)
        log.info(
            "generation_finished",
            generation_id=live.turn.generation_id,
            provider=live.turn.provider,
            model=live.turn.request.model,
            status=outcome.status,
            end_reason=outcome.end_reason,
            error_code=outcome.error.error_code if outcome.error else None,
            **live.upstream.times,
        )

    def _close_log(self, live: Live) -> None:
        """The last word is what was saved: after somebody else has ended it (a reaper), that may be other text."""
        message, final = live.message, list[events.Event]()
        if message is None:
            final.append(events.LOST)
        else:
            if message.content != text_of(live.answer.parts(complete=False)):
                final.append(events.Replace(content=message.content))
            final.append(events.Complete(message=message))
        with live.lock:
            news = live.answer.take_events() + list(map(events.encode, final))
            self._event_log.append(live.turn.generation_id, news, last=True)

    def _usage(self, charges: Sequence[Charge]) -> Usage | None:
        """What is told of the answer; None where only the provider's count is to be told and it gave none."""
        usage = usage_of(charges)
        is_told = usage is not None and (usage.source is UsageSource.PROVIDER or not self._options.usage_provider_only)
        return usage if is_told else None

    def _outcome(self, live: Live, charges: Sequence[Charge]) -> Outcome:
        usage = self._usage(charges)
        if live.error is None and live.answer.finish_reason:  # a stop that comes after the end has nothing to stop
            return Outcome(GenerationStatus.COMPLETED, EndReason(live.answer.finish_reason), usage)
        if live.stop_reason is EndReason.USER_STOP:
            return Outcome(GenerationStatus.STOPPED, EndReason.USER_STOP, usage)
        if live.stop_reason is not None:
            return Outcome(GenerationStatus.INTERRUPTED, live.stop_reason, usage)
        error = live.error or UpstreamCut("The provider's answer ended before it was complete.")
        return Outcome(GenerationStatus.FAILED, end_reason_of(error), usage, error)

    def _closing(self, live: Live, outcome: Outcome) -> list[events.Event]:
        closing: list[events.Event] = []
        usage = outcome.usage
        if usage is not None and self._options.usage_emit:
            limit = live.turn.context_limit
            counts = events.UsageCounts(
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
                total_tokens=usage.total_tokens,
                context_limit=limit,
                context_remaining=max(0, limit - usage.total_tokens),
                source=usage.source,
            )
            closing.append(events.UsageEvent(usage=counts))
        error = outcome.error
        if error is not None:
            closing.append(events.Error(error.error_code, error.message, error.retryable))
        else:
            closing.append(events.Stop(reason=outcome.end_reason))
        return [*closing, events.End()]


def _story_of(live: Live, trace_parent: str) -> GenerationStory:
    turn, message = live.turn, live.message
    return GenerationStory(
        trace_parent=trace_parent,
        generation_id=turn.generation_id,
        session_id=turn.session_id,
        end_reason=(message.end_reason if message else None) or "unsaved",
        code=message.error_code if message else None,
        began_at=live.began_at,
        seconds=time.time() - live.began_at,
        attempts=live.upstream.ends,
    )


def end_reason_of(error: ProviderError) -> EndReason:
    """The end reason for an error of a provider."""
    match error:
        case ProviderTimeout(stage="first_token" | "connect"):
            return EndReason.TIMEOUT_FIRST_TOKEN
        case ProviderTimeout(stage="idle"):
            return EndReason.TIMEOUT_IDLE
        case ProviderTimeout(stage="total"):
            return EndReason.TIMEOUT_TOTAL
        case UpstreamCut():
            return EndReason.UPSTREAM_CUT
    return EndReason.UPSTREAM_ERROR
