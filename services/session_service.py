"""Sessions: made, listed, found, changed, deleted; their messages, and which alternative is chosen."""

import re
from dataclasses import dataclass
from typing import Any

from domain.clock import now
from domain.errors import Conflict, NotFound
from domain.generation import EndReason
from domain.identifiers import new_id
from domain.messages import Message
from domain.paging import Page
from domain.principal import Principal
from domain.sessions import SessionKind
from models import MessageEntity, SessionEntity
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork
from services.generation_runner import GenerationRunner
from services.message_view import message_view
from services.model_choice import ModelChooser, Resolved

_TITLE_CHARS = 60
UNTITLED = "New chat"


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How a session's turns are answered; None leaves it to the default."""

    system_prompt: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None


def title_from_words(text: str) -> str:
    """The first words of a text, as a title until there is a better one; empty for no words."""
    words = re.sub(r"\s+", " ", text).strip()
    if len(words) <= _TITLE_CHARS:
        return words
    cut = words[:_TITLE_CHARS]
    return (cut[: cut.rfind(" ")] if " " in cut[_TITLE_CHARS // 2 :] else cut).rstrip() + "…"


def new_session(
    principal: Principal,
    settings: SessionSettings,
    provider: str | None,
    model: str | None,
    title: str,
    kind: SessionKind = SessionKind.CHAT,
) -> SessionEntity:
    """A session that is not stored yet."""
    moment = now()
    return SessionEntity(
        id=new_id("sess"),
        user_id=principal.user_id,
        kind=kind,
        title=title or UNTITLED,
        title_source="words" if title else "none",
        provider=provider,
        model=model,
        system_prompt=settings.system_prompt or "",
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        pinned=False,
        archived=False,
        context_start=0,
        created_at=moment,
        updated_at=moment,
    )


def remove_session(
    unit_of_work: OpenUnitOfWork, runner: GenerationRunner, principal: Principal, session_id: str, kind: SessionKind
) -> None:
    """Delete a session of that kind with all that hangs on it; an answer that is running in it is stopped."""
    with unit_of_work() as uow:
        # Begins with a change of the session's row: it is the lock under which its turns queue.
        uow.sessions.update(session_id, principal.user_id, updated_at=now())
        running = uow.generations.running_in(session_id, principal.user_id)
        if not uow.sessions.delete(session_id, principal.user_id, kind=kind):
            raise NotFound("There is no such session.", "session_not_found")
        uow.commit()
    live = runner.get(running.id) if running else None
    if live is not None:
        live.stop(EndReason.USER_STOP)


class SessionService:
    """What a user does with their own sessions. Another user's session is as good as none: NotFound."""

    def __init__(self, unit_of_work: OpenUnitOfWork, runner: GenerationRunner, chooser: ModelChooser) -> None:
        self._unit_of_work = unit_of_work
        self._runner = runner
        self._chooser = chooser

    def create(
        self, principal: Principal, *, title: str, provider: str | None, model: str | None, settings: SessionSettings
    ) -> SessionEntity:
        """Make an empty session; a title given here is the user's own and stays."""
        wanted = self._chooser.resolve(principal, provider, model)
        session = new_session(principal, settings, wanted.provider, wanted.model, "")
        if title:
            session.title, session.title_source = title, "user"
        with self._unit_of_work() as uow:
            uow.sessions.add(session)
            uow.commit()
        return session

    def get(self, principal: Principal, session_id: str) -> SessionEntity:
        """One session."""
        with self._unit_of_work(writes=False) as uow:
            return _own(uow, principal, session_id)

    def page(
        self, principal: Principal, *, limit: int, cursor: str | None, archived: bool, text: str
    ) -> Page[SessionEntity]:
        """Some sessions: pinned ones first, then the latest used. ``text`` finds titles and messages."""
        with self._unit_of_work(writes=False) as uow:
            return uow.sessions.page(principal.user_id, limit=limit, cursor=cursor, archived=archived, text=text)

    def update(self, principal: Principal, session_id: str, changes: dict[str, Any]) -> SessionEntity:
        """Change the columns that ``changes`` names; None as provider or model stands for the default one."""
        values = dict(changes)
        if "title" in values:
            values["title_source"] = "user"
        with self._unit_of_work() as uow:
            session = _own(uow, principal, session_id)
            if "provider" in values or "model" in values:
                wanted = self._wanted(principal, session, values)
                values |= {"provider": wanted.provider, "model": wanted.model}
            if values:
                uow.sessions.update(session_id, principal.user_id, **values)
            session = _own(uow, principal, session_id)
            uow.commit()
        return session

    def _wanted(self, principal: Principal, session: SessionEntity, changes: dict[str, Any]) -> Resolved:
        provider, model = changes.get("provider"), changes.get("model")
        if "provider" in changes:
            same = provider == session.provider and "model" not in changes
            return self._chooser.resolve(principal, provider, session.model if same else model)
        return self._chooser.resolve(principal, None if model else session.provider, model, usual=session.provider)

    def delete(self, principal: Principal, session_id: str) -> None:
        """Delete a session with all its messages; an answer that is running in it is stopped."""
        remove_session(self._unit_of_work, self._runner, principal, session_id, SessionKind.CHAT)

    def clear_context(self, principal: Principal, session_id: str) -> None:
        """Let the prompt start afresh after the last message. The history stays."""
        with self._unit_of_work() as uow:
            uow.sessions.update(session_id, principal.user_id, updated_at=now())  # first: it is the lock
            _own(uow, principal, session_id)
            last = uow.messages.last(session_id, principal.user_id)
            start = 0 if last is None else (last.position or 0) + 1
            uow.sessions.update(
                session_id, principal.user_id, context_start=start, upstream_state=None, upstream_provider=None
            )
            uow.commit()

    def messages(self, principal: Principal, session_id: str, *, limit: int, cursor: str | None) -> Page[Message]:
        """Some messages of the chosen branch, oldest first, each with the ids of its alternatives."""
        with self._unit_of_work(writes=False) as uow:
            _own(uow, principal, session_id)
            page = uow.messages.page(session_id, principal.user_id, limit=limit, cursor=cursor)
            parents = {row.parent_id for row in page.items}
            siblings = uow.messages.siblings(session_id, principal.user_id, parents) if parents else {}
        return page.map(lambda row: message_view(row, siblings.get(row.parent_id)))

    def message(self, principal: Principal, message_id: str) -> Message:
        """One message, chosen or not."""
        with self._unit_of_work(writes=False) as uow:
            row = _message(uow, principal, message_id)
            if uow.sessions.get(row.session_id, principal.user_id) is None:  # it is hidden
                raise NotFound("There is no such message.", "message_not_found")
            siblings = uow.messages.siblings(row.session_id, principal.user_id, {row.parent_id})
        return message_view(row, siblings.get(row.parent_id))

    def choose(self, principal: Principal, message_id: str) -> SessionEntity:
        """Put an alternative, and what followed it last, on the session's branch in place of the one that is there."""
        with self._unit_of_work() as uow:
            row = _message(uow, principal, message_id)
            # The session's row is the lock under which turns of one session queue; what was read before may be old.
            uow.sessions.update(row.session_id, principal.user_id, updated_at=now())
            row = _message(uow, principal, message_id)
            if uow.generations.running_in(row.session_id, principal.user_id) is not None:
                raise Conflict("The session's last answer is still running; stop it or wait for it.", "session_busy")
            if row.position is None:
                self._place_branch(uow, principal, row)
                # What the provider remembers belongs to the other branch.
                uow.sessions.update(row.session_id, principal.user_id, upstream_state=None, upstream_provider=None)
            session = _own(uow, principal, row.session_id)
            uow.commit()
        return session

    def _place_branch(self, uow: UnitOfWork, principal: Principal, row: MessageEntity) -> None:
        parent = uow.messages.get(row.parent_id, principal.user_id) if row.parent_id else None
        if parent is not None and parent.position is None:
            raise Conflict("Choose the message before it first.", "not_on_branch")
        position = 0 if parent is None else (parent.position or 0) + 1
        uow.messages.leave_branch(row.session_id, principal.user_id, position)
        newest = uow.messages.newest_children(row.session_id, principal.user_id)
        path = [row.id]
        while child := newest.get(path[-1]):
            path.append(child)
        uow.messages.place(path, principal.user_id, position)


def _message(uow: UnitOfWork, principal: Principal, message_id: str) -> MessageEntity:
    row = uow.messages.get(message_id, principal.user_id)
    if row is None:
        raise NotFound("There is no such message.", "message_not_found")
    return row


def _own(uow: UnitOfWork, principal: Principal, session_id: str) -> SessionEntity:
    session = uow.sessions.get(session_id, principal.user_id)
    if session is None:
        raise NotFound("There is no such session.", "session_not_found")
    return session
