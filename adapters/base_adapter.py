"""What every adapter is: its configuration, its contract, and the call that can be aborted at any moment."""

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, field_validator

from domain.chat import ChatRequest, Dialect, ModelInfo
from domain.deltas import Delta, Finish, UsageReport
from domain.errors import ProviderError, ProviderTimeout, Stage, UnsupportedInput, UpstreamCut
from domain.operations import Operation, OperationAnswer, OperationRequest

_END_S = 2.0  # for what may follow the end of an answer: its count, and the protocol's end marker


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that one call may take: to connect, to the first delta, between deltas, and as a whole."""

    connect: float = 5
    first_token: float = 60
    idle: float = 60
    total: float = 300


class UpstreamCall:
    """One call to a provider: its deadlines, and the handle by which another greenlet ends it at once.

    The adapter's transport registers how the socket is shut (``on_abort``); :meth:`abort` may come before that,
    during it, twice, or after the end.
    """

    def __init__(self, deadlines: Deadlines) -> None:
        self.deadlines = deadlines
        self.aborted = False
        self._started = time.monotonic()
        self._last_delta: float | None = None
        self._idle = deadlines.idle
        self._shut: Callable[[], None] | None = None

    def on_abort(self, shut: Callable[[], None]) -> None:
        """Register how to end the I/O that is under way; called at once if the call is already aborted.

        Without a lock: each side writes before it reads what the other one writes. So ``shut`` may be called twice.
        """
        self._shut = shut
        if self.aborted:
            shut()

    def abort(self) -> None:
        """End the call: the upstream socket is shut, whatever the call waits for."""
        self.aborted = True
        if (shut := self._shut) is not None:
            shut()

    def mark_delta(self) -> None:
        """Something meaningful arrived: the first-token deadline is met and the idle deadline starts anew."""
        self._last_delta = time.monotonic()

    def expect_end(self) -> None:
        """The provider has said that the answer is whole: what may still come is waited for a moment only."""
        self._last_delta = time.monotonic()
        self._idle = min(self._idle, _END_S)

    def remaining(self) -> tuple[float, Stage]:
        """Seconds until the next deadline, and which one it is. Raises :class:`ProviderTimeout` once it has passed."""
        stage: Stage
        # Once per receive: plain branches, no dictionaries.
        if self._last_delta is None:
            stage, due = "first_token", self._started + self.deadlines.first_token
        else:
            stage, due = "idle", self._last_delta + self._idle
        total = self._started + self.deadlines.total
        if total < due:
            due, stage = total, "total"
        seconds = due - time.monotonic()
        if seconds <= 0:
            raise self.timeout(stage)
        return seconds, stage

    def timeout(self, stage: Stage) -> ProviderTimeout:
        """The error for a passed deadline."""
        return ProviderTimeout(f"The provider did not answer in time ({stage.replace('_', ' ')}).", stage)


class Guard(Protocol):
    """Says where a provider's connections may lead; see :class:`adapters.egress.Egress`."""

    def addresses(self, host: str, port: int, call: UpstreamCall, deadline: float) -> list[Any]:
        """What getaddrinfo gives for ``host``, if all of it may be called. Raises AddressNotAllowed."""


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class ModelConfig(BaseModel):
    """A model as AI_PROVIDERS declares it; what is left out comes from the catalogue of known models."""

    model_config = ConfigDict(extra="forbid")

    name: str
    context_window: int | None = Field(default=None, gt=0)
    max_output: int | None = Field(default=None, gt=0)
    vision: bool | None = None
    tools: bool | None = None
    reasoning: bool | None = None
    stream_usage: bool | None = None


class AdapterConfig(BaseModel):
    """The ``config`` of an AI_PROVIDERS entry. An adapter may extend it.

    ``guard`` is no part of what is declared: it is set for providers whose address is not the operator's word.
    """

    model_config = ConfigDict(extra="forbid")

    api_key: SecretStr = SecretStr("")
    base_url: str = ""
    models: list[str | ModelConfig] = Field(default_factory=list)
    default_model: str = ""
    headers: dict[str, str] = Field(default_factory=dict)
    _guard: Guard | None = PrivateAttr(default=None)

    @property
    def guard(self) -> Guard | None:
        """What watches over its connections, if anything does."""
        return self._guard

    def set_guard(self, guard: Guard) -> None:
        """Have ``guard`` watch; before the adapter is made of this."""
        self._guard = guard

    @field_validator("api_key")
    @classmethod
    def _fit_for_a_header(cls, value: SecretStr) -> SecretStr:
        key = value.get_secret_value().strip()  # files of secrets end in a line break
        if not (key.isascii() and key.isprintable()):
            raise ValueError("must be printable ASCII")
        return SecretStr(key)

    @field_validator("headers")
    @classmethod
    def _plain_headers(cls, value: dict[str, str]) -> dict[str, str]:
        for name, content in value.items():
            if not _HEADER_NAME.fullmatch(name) or not (content.isascii() and content.isprintable()):
                raise ValueError("names must be header names, contents printable ASCII")
        return value

    @field_validator("base_url")
    @classmethod
    def _plain_http_address(cls, value: str) -> str:
        url = urlsplit(value)
        plain = url.scheme in ("http", "https") and url.hostname and not (url.username or url.query or url.fragment)
        if value and not plain:
            raise ValueError("must be http(s)://host[:port][/path], without credentials, query or fragment")
        return value.rstrip("/")


class BaseAdapter(ABC):
    """One configured provider.

    Subclasses translate and nothing else: they hold no state of a request and never touch the event log.
    A non-streaming answer is a fold over the same stream.
    """

    Config: ClassVar[type[AdapterConfig]] = AdapterConfig
    dialect: ClassVar[Dialect | None] = None  # the client protocol that the provider speaks too, if it does
    offers: frozenset[Operation] = frozenset()  # what it does beside answering
    guardable: ClassVar[bool] = False  # whether every connection of a guarded one goes through its config's guard

    def __init__(self, name: str, config: AdapterConfig) -> None:
        self.name = name
        self.config = config

    @property
    def takes(self) -> frozenset[str]:
        """Which of the :class:`Options` its protocol can say."""
        return frozenset()

    def speaks(self, request: ChatRequest) -> bool:
        """Whether the request came in the provider's own protocol, and goes out as it is."""
        return request.native is not None and request.native.dialect == self.dialect

    def check(self, request: ChatRequest) -> None:
        """Raises :class:`UnsupportedInput` for what the request asks and the provider's protocol cannot say."""
        if self.speaks(request):
            return
        only = request.native.only if request.native else {}
        missing = (*only, *sorted(request.options.given - self.takes))
        if missing:
            message = f"The provider {self.name} cannot be asked for {', '.join(missing)}."
            raise UnsupportedInput(message, only.get(missing[0], "unsupported_parameter"), missing)

    def close(self) -> None:  # noqa: B027  # most have nothing to let go of
        """Let go of connections that nobody uses; the adapter is not wanted any more."""

    @property
    def completes(self) -> bool:
        """Whether :meth:`complete` works."""
        return False

    @property
    @abstractmethod
    def enabled(self) -> bool:
        """Whether the configuration suffices to call it."""

    @property
    @abstractmethod
    def models(self) -> Sequence[ModelInfo]:
        """The declared models, the default one first; never empty when enabled."""

    @abstractmethod
    def model(self, name: str) -> ModelInfo:
        """What is known of a model, declared or not: the provider has the last word on which exist."""

    def stream(self, request: ChatRequest, call: UpstreamCall) -> Generator[Delta, None, None]:
        """The answer to ``request``, delta by delta; the last one is a :class:`Finish`.

        Raises a :class:`ProviderError` for every failure, UpstreamCut when the protocol's end marker is missing.
        After ``call.abort()`` it ends, by an error or by returning early; the caller knows why.
        """
        return self._checked(self._stream(request, call), call)

    def complete(self, request: ChatRequest, call: UpstreamCall) -> Generator[Delta, None, None]:
        """The same from an answer in one piece, for servers that cannot stream; only where ``completes``."""
        return self._checked(self._complete(request, call), call)

    def _checked(self, deltas: Iterator[Delta], call: UpstreamCall) -> Generator[Delta, None, None]:
        finished = False
        try:
            for delta in deltas:
                call.mark_delta()
                if isinstance(delta, UsageReport) and not delta.usage.is_credible:
                    continue  # as if it had not counted at all
                finished = finished or isinstance(delta, Finish)
                yield delta
        except ProviderError as error:
            error.provider = error.provider or self.name
            raise
        if not finished:
            raise UpstreamCut("The provider's answer ended before it was complete.", provider=self.name)

    @abstractmethod
    def _stream(self, request: ChatRequest, call: UpstreamCall) -> Iterator[Delta]:
        """The provider's part of :meth:`stream`. It must not build SDK or pydantic objects per event."""

    def _complete(self, request: ChatRequest, call: UpstreamCall) -> Iterator[Delta]:
        """The provider's part of :meth:`complete`."""
        raise NotImplementedError

    def perform(self, request: OperationRequest, call: UpstreamCall) -> OperationAnswer:
        """Do something that the adapter ``offers``. It comes in one piece: the deadlines have to allow for that.

        Raises a :class:`ProviderError`, and UnsupportedInput where it is not offered, or cannot be as it is wanted.
        """
        if request.operation not in self.offers:
            raise UnsupportedInput(f"The provider {self.name} has no {request.operation}.", "unsupported_operation")
        try:
            done = self._perform(request, call)
        except ProviderError as error:
            error.provider = error.provider or self.name
            raise
        credible = done.usage is None or done.usage.is_credible
        return done if credible else OperationAnswer(done.body)

    def _perform(self, request: OperationRequest, call: UpstreamCall) -> OperationAnswer:
        """The provider's part of :meth:`perform`."""
        raise NotImplementedError

    def discover_models(self) -> Sequence[str]:
        """The names of the models that the provider offers now; the declared ones where it cannot be asked.

        Raises a :class:`ProviderError`. It may take seconds: never call it while somebody waits for an answer.
        """
        return [model.name for model in self.models]

    def count_tokens(self, request: ChatRequest, call: UpstreamCall) -> int | None:  # noqa: ARG002  # for those that ask
        """The provider's own count of the prompt; None where it cannot be asked. Raises a :class:`ProviderError`."""
        return None

    def title(self, request: ChatRequest, call: UpstreamCall) -> Iterator[Delta]:
        """The answer to ``request``, which asks the model to name an exchange. Raises as :meth:`stream` does."""
        return self.stream(request, call)


Providers = Mapping[str, BaseAdapter]
ProviderEntries = Mapping[str, Mapping[str, Any]]
