"""A request of OpenAI's older protocol for bare prompts: ``POST /v1/completions``."""

from typing import Annotated

import msgspec
from msgspec import Meta

from api.openai.chat_fields import Penalty, StreamOptionsIn
from api.openai.chat_request import AskedChat, check_stream_options
from api.openai.decoding import decode, fields_of
from domain.chat import ChatRequest, NativeRequest, Options, PromptMessage
from domain.messages import MessageRole, Text
from domain.principal import Principal

_TRANSLATED = frozenset(
    {
        "model",
        "prompt",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "max_tokens",
        "stop",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "user",
    }
)
_USUAL = {"n": (1,), "best_of": (1,), "echo": (False,), "logit_bias": ({},), "suffix": ("",)}


class TextIn(msgspec.Struct):
    """The request. ``prompt`` is text, or (for providers that speak the protocol) texts or tokens."""

    model: str
    prompt: str | list[str | int | list[int]] | None = None
    stream: bool | None = None
    stream_options: StreamOptionsIn | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    best_of: Annotated[int, Meta(ge=0, le=20)] | None = None
    echo: bool | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    suffix: str | None = None
    user: str | None = None


_decoder = msgspec.json.Decoder(TextIn)
_DOCUMENTED = frozenset(TextIn.__struct_fields__)


def asked_text(principal: Principal, body: bytes) -> AskedChat:
    """The request in a body. Raises InvalidInput, which names the field that is wrong, or MalformedJson."""
    fields = fields_of(body)
    text, unknown = decode(body, _decoder)
    stream = bool(text.stream)
    include_usage = check_stream_options(text.stream_options, stream=stream)
    only = dict.fromkeys(unknown, "unknown_parameter")
    for name, raw in fields.items():
        value = None if name in _TRANSLATED else msgspec.json.decode(raw)
        if value is not None and value not in _USUAL.get(name, ()):
            only[name] = "unsupported_parameter" if name in _DOCUMENTED else "unknown_parameter"
    prompt = _prompt(text, only)
    request = ChatRequest(
        model="",
        messages=[PromptMessage(MessageRole.USER, [Text(prompt)])],
        temperature=text.temperature,
        max_tokens=text.max_tokens or None,
        end_user=principal.user_id,
        options=Options(
            stop=(text.stop,) if isinstance(text.stop, str) else tuple(text.stop or ()),
            seed=text.seed,
            top_p=None if text.top_p == 1 else text.top_p,
            frequency_penalty=text.frequency_penalty or None,
            presence_penalty=text.presence_penalty or None,
        ),
        native=NativeRequest("text_completions", fields, stream, only, body),
        whole=True,
        choices=(text.n or 1) * (len(text.prompt) if isinstance(text.prompt, list) else 1),
    )
    return AskedChat(text.model, request, stream, include_usage)


def _prompt(text: TextIn, only: dict[str, str]) -> str:
    """What is counted and, for others than the protocol's own, asked: one text."""
    prompt = text.prompt
    if prompt is None or isinstance(prompt, str):
        return prompt or ""
    if len(prompt) != 1 or not isinstance(prompt[0], str):
        only["prompt"] = "unsupported_value"
    return "\n".join(part for part in prompt if isinstance(part, str))
