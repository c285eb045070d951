"""What is asked of a model: the neutral request that every adapter translates to its wire."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self

import msgspec

from domain.messages import MessageRole, Part, text_of

# Of OpenAI; of Anthropic; and OpenAI's older one, which takes a bare prompt in place of messages.
Dialect = Literal["chat_completions", "messages", "text_completions"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do, as data: nobody asks for a provider by name."""

    vision: bool = False
    tools: bool = False
    reasoning: bool = False
    stream_usage: bool = True  # sends token usage at the end of a stream when asked
    system_prompt: bool = True  # takes a system prompt of ours
    general: bool = True  # follows any instruction: titles can be asked of it; false for apps and the echo


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model at a provider. ``context_window`` and ``max_output`` are in tokens."""

    name: str
    context_window: int
    max_output: int
    capabilities: Capabilities = field(default_factory=Capabilities)


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message of a prompt."""

    role: MessageRole
    parts: Sequence[Part]

    @property
    def text(self) -> str:
        """Its readable text."""
        return text_of(self.parts)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may ask for. ``parameters`` is its JSON Schema."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class ServerTools:
    """Tools of ours, which run for that user."""

    tools: tuple[Tool, ...]
    user_id: str

    @property
    def names(self) -> frozenset[str]:
        """What they are called by."""
        return frozenset(tool.name for tool in self.tools)


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model has to ask for a tool; ``named``: for the one with that ``name``."""

    mode: Literal["auto", "none", "required", "named"]
    name: str = ""


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """The form of the answer: any text, any JSON object, or JSON that fits ``schema`` (a JSON Schema)."""

    kind: Literal["text", "json_object", "json_schema"]
    name: str = ""
    schema: Mapping[str, Any] | None = None
    description: str = ""
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What a client may ask for beyond a plain turn, in words that fit every provider. Nothing is given by default.

    ``reasoning_effort`` is a word (``low``, ``high``, ...), ``reasoning_budget`` the most tokens to think in.
    An adapter sends what its protocol knows and refuses the rest: nothing is dropped in silence.
    """

    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    reasoning_budget: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None

    @property
    def given(self) -> frozenset[str]:
        """The names of those that are given."""
        return frozenset(one.name for one in fields(self) if getattr(self, one.name) not in (None, ()))


NO_OPTIONS = Options()


@dataclass(frozen=True, slots=True)
class NativeRequest:
    """The client's own request, for providers that speak the client's protocol: they get it as it is.

    ``fields`` are the top-level fields of its body, each with its bytes unchanged; the adapter puts in the model, and
    what it must have of its own. Without ``stream`` the client wants its answer in one piece. ``only`` is what no other
    protocol can say of it: the name of each field (``messages[2].audio``), and the code of the refusal. ``body`` is the
    whole of it as it came, where that is known: it is sent when nothing had to be put in. ``headers`` are those of the
    client's that are part of the protocol (its version, say), in lower case.
    """

    dialect: Dialect
    fields: Mapping[str, msgspec.Raw]
    stream: bool = True
    only: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One turn to be answered by one model.

    ``end_user`` is a stable, opaque name of our user for providers that keep state or watch for abuse.
    ``upstream_state`` is what the adapter itself reported last for this session (Dify keeps a conversation id there).
    ``native`` is the same turn in the client's own words, if it came in some provider's protocol. ``whole``: nobody
    may leave anything out of ``messages`` to make it fit; what does not fit is for the provider to refuse.
    ``server_tools`` are tools of ours that the model may ask for, beside those of the client in ``options``.
    ``choices``: how many answers are asked for, each as long as ``max_tokens``; more than one in native requests only.
    """

    model: str
    messages: Sequence[PromptMessage]
    system: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    end_user: str = ""
    upstream_state: str = ""
    options: Options = NO_OPTIONS
    native: NativeRequest | None = None
    whole: bool = False
    server_tools: ServerTools | None = None
    choices: int = 1

    def with_messages(self, messages: Sequence[PromptMessage]) -> Self:
        """The same request over other messages."""
        return replace(self, messages=messages)
