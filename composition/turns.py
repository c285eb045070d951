"""Stored turns: who begins them, who makes their answers, who keeps these safe, and who reads them."""

from typing import NamedTuple

from composition.asking import Asking
from composition.ground import Ground
from composition.identity import Identity
from config import Settings
from services.books import Books
from services.chat_service import ChatService
from services.event_stream_service import EventStreamService
from services.generation_runner import GenerationRunner, StreamOptions
from services.generation_service import GenerationService
from services.generation_store import GenerationStore
from services.hidden_turns import HiddenTurns
from services.idempotency import Idempotency
from services.key_limiter import KeyLimiter
from services.message_limits import MessageLimits
from services.reaper import Reaper
from services.response_service import ResponseService
from services.session_feed import SessionFeed
from services.stored_completions import StoredCompletions
from services.title_service import TitleService
from services.turn_opener import TurnOpener


class Turns(NamedTuple):
    """One of each."""

    chat: ChatService
    completions: StoredCompletions
    event_streams: EventStreamService
    feed: SessionFeed
    generations: GenerationService
    idempotency: Idempotency
    reaper: Reaper
    responses: ResponseService
    runner: GenerationRunner
    store: GenerationStore


def turns(ground: Ground, people: Identity, models: Asking, books: Books, key_limiter: KeyLimiter) -> Turns:
    """Its parts."""
    settings, unit_of_work, shared = ground.settings, ground.unit_of_work, ground.shared
    chooser, planner, most = models.chooser, models.planner, settings.MAX_STREAMS_PER_USER
    event_streams = EventStreamService(
        unit_of_work, shared.event_log, people.auth.recheck, settings.SSE_HEARTBEAT_INTERVAL_MS / 1000
    )
    feed = SessionFeed(unit_of_work, event_streams, shared.signals, most)
    store = GenerationStore(unit_of_work, books.ledger, shared.worker, ground.observer)
    runner = _runner(ground, models, store, feed)
    opener = TurnOpener(unit_of_work, runner, books.ledger, key_limiter, shared.worker)
    idempotency = Idempotency(unit_of_work, event_streams)
    generations = GenerationService(unit_of_work, runner, shared.event_log)
    chat = ChatService(unit_of_work, chooser, planner, opener, most, _limits(settings), idempotency)
    hidden = HiddenTurns(unit_of_work, chooser, planner, opener, runner, most)
    return Turns(
        chat=chat,
        completions=StoredCompletions(chat, hidden, idempotency, chooser),
        event_streams=event_streams,
        feed=feed,
        generations=generations,
        idempotency=idempotency,
        reaper=Reaper(unit_of_work, shared.event_log, books.ledger, ground.observer),
        responses=ResponseService(unit_of_work, hidden, generations, event_streams, idempotency),
        runner=runner,
        store=store,
    )


def _runner(ground: Ground, models: Asking, store: GenerationStore, feed: SessionFeed) -> GenerationRunner:
    settings, upstream = ground.settings, models.upstream
    titles = TitleService(ground.unit_of_work, upstream.providers, store.ledger, on=settings.AUTO_TITLE)
    return GenerationRunner(
        upstream,
        ground.shared.event_log,
        store,
        StreamOptions(settings.USAGE_EMIT, settings.USAGE_PROVIDER_ONLY),
        titles.after_answer,
        feed.announce,
        ground.shared.signals,
        ground.observer,
    )


def _limits(settings: Settings) -> MessageLimits:
    return MessageLimits(settings.MAX_MESSAGE_CHARS, settings.MAX_IMAGES_PER_MESSAGE, settings.MAX_IMAGE_BYTES)
