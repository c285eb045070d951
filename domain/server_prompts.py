"""The operator's system prompts, and how one is put in front of a client's. Pure.

The client's own prompt stays whole, behind the operator's. In a client's own request (see NativeRequest) the operator's
is a part by itself: everything that the client sent keeps its bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import msgspec

from domain.chat import ChatRequest, Dialect, NativeRequest

MAX_PROMPT_CHARS = 100_000
MAX_NAME = 200
_BETWEEN = "\n\n"
_EMPTY = (b"", b"null", b'""', b"[]")


class PromptError(ValueError):
    """Declared prompts are wrong; ``faults`` has one sentence for each thing that is."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


def read_prompts(declared: object) -> dict[str, str]:
    """Prompts from their declaration: public model -> text. Raises :class:`PromptError` with every fault."""
    if not isinstance(declared, Mapping):
        raise PromptError(["prompts: must be a table of public model -> text"])
    faults = []
    for name, text in declared.items():
        if not 0 < len(str(name)) <= MAX_NAME:
            faults.append(f"prompts: a public model has a name of 1 to {MAX_NAME} characters")
        if not isinstance(text, str) or not text.strip() or len(text) > MAX_PROMPT_CHARS:
            faults.append(f"prompts.{name}: must be a text of 1 to {MAX_PROMPT_CHARS} characters")
    if faults:
        raise PromptError(faults)
    return {str(name): text for name, text in declared.items()}


def with_server_prompt(request: ChatRequest, prompt: str) -> ChatRequest:
    """``request`` with ``prompt`` in front of the client's system prompt, in both of its forms."""
    system = f"{prompt}{_BETWEEN}{request.system}" if request.system else prompt
    native = None if request.native is None else _in_native(request.native, prompt)
    return replace(request, system=system, native=native)


def _in_native(native: NativeRequest, prompt: str) -> NativeRequest:
    fields = _PUT[native.dialect](native.fields, prompt)
    return replace(native, fields=fields, body=b"")  # the body is no longer what is to be sent


def _leading_message(fields: Mapping[str, msgspec.Raw], prompt: str) -> Mapping[str, msgspec.Raw]:
    """OpenAI's: a system message before all others."""
    own = msgspec.Raw(msgspec.json.encode({"role": "system", "content": prompt}))
    return {**fields, "messages": _in_front(own, fields.get("messages"))}


def _leading_block(fields: Mapping[str, msgspec.Raw], prompt: str) -> Mapping[str, msgspec.Raw]:
    """Anthropic's: a block of text before those of the client, whose plain text becomes the second one."""
    own, given = _text_block(prompt), fields.get("system")
    if given is not None and bytes(given).startswith(b'"') and bytes(given) not in _EMPTY:
        given = msgspec.Raw(b"[%b]" % bytes(_text_block(given)))
    return {**fields, "system": _in_front(own, given)}


def _leading_text(fields: Mapping[str, msgspec.Raw], prompt: str) -> Mapping[str, msgspec.Raw]:
    """OpenAI's older protocol: in front of each text. What comes as numbers of tokens cannot be added to."""
    given = msgspec.json.decode(fields.get("prompt", msgspec.Raw(b'""')))
    if isinstance(given, str):
        return {**fields, "prompt": msgspec.Raw(msgspec.json.encode(f"{prompt}{_BETWEEN}{given}"))}
    if isinstance(given, list) and all(isinstance(text, str) for text in given):
        return {**fields, "prompt": msgspec.Raw(msgspec.json.encode([f"{prompt}{_BETWEEN}{text}" for text in given]))}
    return fields


def _text_block(text: str | msgspec.Raw) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode({"type": "text", "text": text}))


def _in_front(own: msgspec.Raw, given: msgspec.Raw | None) -> msgspec.Raw:
    """A list that begins with ``own``. What is no list becomes its second part: the provider says what is wrong."""
    if given is None or bytes(given).strip() in _EMPTY:
        return msgspec.Raw(b"[%b]" % bytes(own))
    try:
        parts = msgspec.json.decode(given, type=list[msgspec.Raw])
    except msgspec.MsgspecError:
        parts = [given]
    return msgspec.Raw(msgspec.json.encode([own, *parts]))


_PUT: Mapping[Dialect, Callable[[Mapping[str, msgspec.Raw], str], Mapping[str, msgspec.Raw]]] = {
    "chat_completions": _leading_message,
    "messages": _leading_block,
    "text_completions": _leading_text,
}
