"""Turns of a chat: a message comes in, a generation answers it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import dropwhile

from domain.chat import NO_OPTIONS, ChatRequest, Options, PromptMessage
from domain.errors import Conflict, InvalidInput, NotFound
from domain.generation import GenerationStatus
from domain.messages import Message, MessageRole, Part, text_of
from domain.principal import Principal
from models import MessageEntity
from repositories.turn_repository import TurnSession
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork
from services.event_stream_service import News
from services.generation_runner import Live
from services.idempotency import Begun, Claim, Idempotency
from services.message_limits import MessageLimits
from services.model_choice import ModelChooser, Resolved
from services.prompt_history import history_of
from services.session_service import SessionSettings, new_session, title_from_words
from services.turn_opener import Opening, TurnOpener, check_streams
from services.turn_plan import TurnPlanner
from services.turn_rows import Place


@dataclass(frozen=True, slots=True)
class Asked:
    """How a turn is to be answered, where it differs from its session's settings."""

    provider: str | None = None
    model: str | None = None
    settings: SessionSettings = field(default_factory=SessionSettings)
    options: Options = NO_OPTIONS


@dataclass(frozen=True, slots=True)
class _Scene:
    """Where a turn goes, which models it asks for, and what was said before."""

    place: Place
    wanted: Resolved
    history: Sequence[PromptMessage] = ()


class ChatService:
    """Begins turns, and waits for their answers."""

    def __init__(
        self,
        unit_of_work: OpenUnitOfWork,
        chooser: ModelChooser,
        planner: TurnPlanner,
        opener: TurnOpener,
        max_streams_per_user: int,
        limits: MessageLimits,
        idempotency: Idempotency,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._chooser = chooser
        self._planner = planner
        self._opener = opener
        self._max_streams_per_user = max_streams_per_user
        self._limits = limits
        self._idempotency = idempotency

    def send(
        self,
        principal: Principal,
        session_id: str | None,
        parts: Sequence[Part],
        asked: Asked,
        claim: Claim | None = None,
        *,
        make: bool = False,
    ) -> Begun:
        """Store a user message, and begin to answer it. Without a session, one is made with the asked settings.

        With ``make``, one that does not exist is made under this very id.

        With a ``claim``, here and below, all of that happens once: whoever makes it again gets the same turn.

        Raises NotFound, TooLarge, UnsupportedInput (pictures for a model that cannot see), ContextTooLong,
        ProviderUnavailable (every provider that could answer is left alone for a moment), LimitExceeded, Unavailable,
        Conflict ``session_busy`` while the session's last answer is still running.
        """
        self._limits.check(parts)

        def begin() -> Live:
            scene = self._end_of(principal, session_id, asked, parts, make=make)
            return self._begin(principal, scene, asked, list(parts), claim)

        return self._idempotency.once(principal, claim, begin)

    def edit(
        self,
        principal: Principal,
        message_id: str,
        parts: Sequence[Part],
        asked: Asked,
        claim: Claim | None = None,
    ) -> Begun:
        """Send a user message again in other words: the old one and what followed it stay as an alternative."""
        self._limits.check(parts)

        def begin() -> Live:
            with self._unit_of_work(writes=False) as uow:
                old = _own_message(uow, principal, message_id, MessageRole.USER)
                place = Place(_session_of(uow, principal, old), old.parent_id, _position(old), rewinds=True)
                scene = self._scene(uow, principal, place, asked)
            return self._begin(principal, scene, asked, list(parts), claim)

        return self._idempotency.once(principal, claim, begin)

    def regenerate(
        self,
        principal: Principal,
        message_id: str | None,
        session_id: str | None,
        asked: Asked,
        claim: Claim | None = None,
    ) -> Begun:
        """Answer again: the earlier answer stays as an alternative that can be chosen again.

        ``message_id`` is the answer (or the question) to repeat; with ``session_id`` alone, it is the session's last.
        """

        def begin() -> Live:
            with self._unit_of_work(writes=False) as uow:
                place = _place_after_question(uow, principal, message_id, session_id)
                scene = self._scene(uow, principal, place, asked)
            return self._begin(principal, scene, asked, None, claim)

        return self._idempotency.once(principal, claim, begin)

    def events(self, principal: Principal, begun: Begun) -> Iterator[News]:
        """The events of the answer, from the first one on."""
        return self._idempotency.events(principal, begun)

    def answer(self, principal: Principal, begun: Begun) -> Message:
        """Wait for the answer. Raises the provider's error when it failed; what came before is kept in the session."""
        live = begun.live
        if live is None:
            return self._idempotency.answer(principal, begun)
        live.finished.wait()
        message = live.message
        if live.error is not None and message is not None and message.status is GenerationStatus.FAILED:
            raise live.error
        if message is None:
            raise live.unsaved or Conflict("The session was deleted before its answer was there.", "session_deleted")
        return message

    # One turn, step by step

    def _end_of(
        self, principal: Principal, session_id: str | None, asked: Asked, parts: Sequence[Part], *, make: bool
    ) -> _Scene:
        if session_id is not None:
            with self._unit_of_work(writes=False, brief=True) as uow:
                session = uow.turns.session(session_id, principal.user_id)
                if session is not None:
                    position = 0 if session.last_position is None else session.last_position + 1
                    return self._scene(uow, principal, Place(session, session.last_id, position), asked)
            if not make:
                raise NotFound("There is no such session.", "session_not_found")
        wanted = self._chooser.resolve(principal, asked.provider, asked.model)
        title = title_from_words(text_of(parts))
        new = new_session(principal, asked.settings, wanted.provider, wanted.model, title)
        new.id = session_id or new.id
        return _Scene(Place.in_new(new), wanted)

    def _scene(self, uow: UnitOfWork, principal: Principal, place: Place, asked: Asked) -> _Scene:
        session = place.session
        wanted = self._chooser.resolve(principal, *_asked_model(asked, session), usual=session.provider)
        full = partial(self._planner.is_full, wanted)
        return _Scene(place, wanted, history_of(uow, principal.user_id, place, full))

    def _begin(
        self, principal: Principal, scene: _Scene, asked: Asked, parts: list[Part] | None, claim: Claim | None
    ) -> Live:
        """Store the turn (``parts`` is the user's message, None to answer the existing one) and start to answer it."""
        self._opener.check()
        place, session = scene.place, scene.place.session
        request = _request(principal, place, asked, _told(scene.history, parts))
        plan = self._planner.plan(scene.wanted, request, session.upstream_provider, principal)
        unnamed = session.title_source in ("none", "words")
        opening = Opening(principal, place, plan, parts, names_session=unnamed, claim=claim)
        return self._opener.open(
            opening, lambda uow, generation: self._store(uow, principal, place, parts, generation.created_at)
        )

    def _store(
        self, uow: UnitOfWork, principal: Principal, place: Place, parts: list[Part] | None, moment: datetime
    ) -> None:
        """Make the turn's place in its session ready."""
        session, user_id, most = place.session, principal.user_id, self._max_streams_per_user
        if place.new is not None:
            check_streams(uow.turns.running(user_id), most)
            uow.turns.add_session(place.new)
            return
        _take_place(uow, user_id, place, moment, most)
        title = title_from_words(text_of(parts or []))
        if title and session.title_source == "none":
            uow.sessions.set_title(session.id, user_id, title, "words", over=("none",))


def _take_place(uow: UnitOfWork, user_id: str, place: Place, moment: datetime, most: int) -> None:
    """Make sure of a place that was looked up before, and clear it where a turn rewinds.

    The session's row is changed first: it is the lock under which whatever changes the branch queues.
    """
    session_id, rewinds = place.session.id, place.rewinds
    start = place.context_start if rewinds else None
    if not uow.turns.take(session_id, user_id, at=moment, context_start=start):
        raise NotFound("There is no such session.", "session_not_found")
    standing = uow.turns.standing(session_id, user_id, before=place.position if rewinds else None)
    check_streams(standing.running, most)
    if standing.is_busy:
        raise Conflict("The session's last answer is still running; stop it or wait for it.", "session_busy")
    if standing.last_id != place.parent_id:
        raise Conflict("The session has gone on meanwhile. Look at it, then send again.", "session_changed")
    if rewinds:
        uow.messages.leave_branch(session_id, user_id, place.position)


def _told(history: Sequence[PromptMessage], parts: list[Part] | None) -> list[PromptMessage]:
    """The prompt: it begins with a message of the user's, and has none without content."""
    messages = [*history, PromptMessage(MessageRole.USER, parts)] if parts is not None else history
    said = (message for message in messages if message.parts)
    return list(dropwhile(lambda message: message.role is not MessageRole.USER, said))


def _asked_model(asked: Asked, session: TurnSession) -> tuple[str | None, str | None]:
    """What the turn asks for wins; the session's model counts only at the session's provider."""
    if asked.model:
        return asked.provider, asked.model
    if asked.provider in (None, session.provider):
        return session.provider, session.model
    return asked.provider, None


def _request(principal: Principal, place: Place, asked: Asked, history: Sequence[PromptMessage]) -> ChatRequest:
    """The turn for no model in particular, with the whole history."""
    session, settings = place.session, asked.settings
    temperature, max_tokens = settings.temperature, settings.max_tokens
    return ChatRequest(
        model="",
        messages=history,
        system=session.system_prompt if settings.system_prompt is None else settings.system_prompt,
        temperature=session.temperature if temperature is None else temperature,
        max_tokens=session.max_tokens if max_tokens is None else max_tokens,
        end_user=principal.user_id,
        upstream_state="" if place.rewinds else session.upstream_state or "",
        options=asked.options,
    )


def _own_message(uow: UnitOfWork, principal: Principal, message_id: str, role: MessageRole) -> MessageEntity:
    message = uow.messages.get(message_id, principal.user_id)
    if message is None:
        raise NotFound("There is no such message.", "message_not_found")
    if message.role != role:
        raise InvalidInput(f"This is not a message of the {role}.", "wrong_role", ("message_id",))
    return message


def _session_of(uow: UnitOfWork, principal: Principal, message: MessageEntity) -> TurnSession:
    session = uow.turns.session(message.session_id, principal.user_id)
    if session is None:
        raise NotFound("There is no such session.", "session_not_found")
    return session


def _position(message: MessageEntity) -> int:
    if message.position is None:
        raise Conflict("Choose this alternative first.", "not_on_branch")
    return message.position


def _place_after_question(
    uow: UnitOfWork, principal: Principal, message_id: str | None, session_id: str | None
) -> Place:
    """Where another answer goes: beside the one that is named, or the session's last."""
    message = uow.messages.get(message_id or _last_message_id(uow, principal, session_id), principal.user_id)
    if message is not None and message.role == MessageRole.ASSISTANT and message.parent_id:
        message = uow.messages.get(message.parent_id, principal.user_id)
    if message is None:
        raise NotFound("There is no such message.", "message_not_found")
    session, position = _session_of(uow, principal, message), _position(message) + 1
    return Place(session, message.id, position, rewinds=True, answers_parent=True)


def _last_message_id(uow: UnitOfWork, principal: Principal, session_id: str | None) -> str:
    if session_id is None or uow.sessions.get(session_id, principal.user_id) is None:
        raise NotFound("There is no such session.", "session_not_found")
    last = uow.messages.last(session_id, principal.user_id)
    if last is None:
        raise Conflict("There is nothing to answer in this session yet.", "session_empty")
    return last.id
