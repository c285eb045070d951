"""Titles: made by the model from the first exchange, in the background."""

import re
import threading

import structlog

from adapters.base_adapter import Deadlines, Providers, UpstreamCall
from domain.chat import ChatRequest, PromptMessage
from domain.errors import AppError
from domain.generation import EndReason
from domain.messages import Message, MessageRole, Text, text_of
from repositories.unit_of_work import OpenUnitOfWork
from services.answer import Answer
from services.ledger import Hold, Ledger
from services.turn import Turn

log = structlog.get_logger()

_TITLE_CHARS = 80
_EXCERPT_CHARS = 1000
_DEADLINES = Deadlines(connect=5, first_token=20, idle=20, total=30)
_THOUGHTS = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_LABEL = re.compile(r"^[\W_]*(?:title|标题|標題)[\W_]*[:：][\W_]*", re.IGNORECASE)
_DECORATION = " \t#*_`\"'“”‘’「」『』《》。."
_TASK = (
    "Give this exchange a title of at most six words, in its own language. "
    "Answer with the title alone, without quotation marks or a full stop.\n\nUser: {question}\n\nAssistant: {answer}"
)


class TitleService:
    """Names sessions. A session that cannot be named keeps the first words of its first message."""

    def __init__(self, unit_of_work: OpenUnitOfWork, providers: Providers, ledger: Ledger, *, on: bool) -> None:
        self._unit_of_work = unit_of_work
        self._providers = providers
        self._ledger = ledger
        self._on = on

    def after_answer(self, turn: Turn, message: Message) -> None:
        """Begin to name the session of a first exchange; returns at once."""
        capable = self._providers[turn.provider].model(turn.request.model).capabilities.general
        if self._on and turn.wants_title and capable:
            name = f"title-{turn.session_id}"
            threading.Thread(target=self._try, args=(turn, message), name=name, daemon=True).start()

    def _try(self, turn: Turn, message: Message) -> None:
        try:
            self._name(turn, _request(turn, message))
        except AppError as error:
            log.info("title_not_made", session_id=turn.session_id, code=error.error_code)
        except Exception:
            log.exception("title_failed", session_id=turn.session_id)

    def _name(self, turn: Turn, request: ChatRequest) -> None:
        hold = self._reserve(turn, request)
        answer, error = self._ask(turn.provider, request)
        charge = self._ledger.charge(turn.provider, request, answer, error.error_code if error else None)
        title = "" if error else tidy(text_of(answer.parts(complete=False)))
        with self._unit_of_work() as uow:
            if title:
                uow.sessions.set_title(turn.session_id, turn.user_id, title, "model", over=("none", "words"))
            end_reason = EndReason.UPSTREAM_ERROR if error else EndReason(answer.finish_reason or EndReason.STOP)
            self._ledger.settle(uow, hold, [charge], end_reason)
            uow.commit()
        if error:
            raise error

    def _reserve(self, turn: Turn, request: ChatRequest) -> Hold:
        model = self._providers[turn.provider].model(request.model)
        hold = self._ledger.prepare_title(turn.hold, turn.provider, model, request)
        with self._unit_of_work() as uow:
            self._ledger.reserve(uow, hold)
            uow.commit()
        return hold

    def _ask(self, provider: str, request: ChatRequest) -> tuple[Answer, AppError | None]:
        """What the model said, and the error that it may have ended with."""
        answer = Answer()
        try:
            for delta in self._providers[provider].title(request, UpstreamCall(_DEADLINES)):
                answer.add(delta)
        except AppError as error:
            return answer, error
        return answer, None


def _request(turn: Turn, message: Message) -> ChatRequest:
    question = turn.request.messages[-1].text[:_EXCERPT_CHARS]
    task = _TASK.format(question=question, answer=message.content[:_EXCERPT_CHARS])
    return ChatRequest(
        model=turn.request.model,
        messages=[PromptMessage(MessageRole.USER, [Text(task)])],
        max_tokens=1000,  # a reasoning model thinks before it names
        end_user=turn.user_id,
    )


def tidy(answer: str) -> str:
    """A model's answer as a title: its first line without thoughts, label and decoration."""
    lines = (_LABEL.sub("", line).strip(_DECORATION) for line in _THOUGHTS.sub("", answer).splitlines())
    title = next((line for line in lines if line), "")
    return title.replace("\0", "")[:_TITLE_CHARS].rstrip()
