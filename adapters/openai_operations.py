"""Embeddings, pictures and moderation over OpenAI's protocol: the client's request goes out, the answer comes back."""

from collections.abc import Mapping

import msgspec

from adapters.base_adapter import UpstreamCall
from adapters.failures import FailureMap, decode_or_fail
from adapters.transport import MAX_ANSWER_BYTES, Transport
from domain.operations import Operation, OperationAnswer, OperationRequest
from domain.usage import Usage

PATHS: Mapping[Operation, str] = {
    "embeddings": "/embeddings",
    "images": "/images/generations",
    "moderations": "/moderations",
}
_NULL = msgspec.Raw(b"null")


class _Counts(msgspec.Struct):
    prompt_tokens: int | None = None
    input_tokens: int | None = None  # what pictures call it
    output_tokens: int | None = None


class _Answer(msgspec.Struct):
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_counts = msgspec.json.Decoder(_Counts).decode


def performed(
    transport: Transport, request: OperationRequest, model: str, call: UpstreamCall, failures: FailureMap
) -> OperationAnswer:
    """What the server gives for ``request`` to ``model``. Raises a :class:`ProviderError`."""
    path = PATHS[request.operation]
    body = transport.request_json("POST", path, call, named_body(request, model), limit=MAX_ANSWER_BYTES)
    answer: _Answer = decode_or_fail(_decode_answer, body, failures)
    if answer.error != _NULL:
        raise failures.from_event(body)
    return OperationAnswer(body, _usage(answer.usage))


def named_body(request: OperationRequest, model: str) -> bytes:
    """The client's body with the provider's name of the model in it."""
    given = request.fields.get("model")
    if request.body and given is not None and msgspec.json.decode(given) == model:
        return request.body
    return msgspec.json.encode({**request.fields, "model": model})


def _usage(raw: msgspec.Raw) -> Usage | None:
    try:
        counts: _Counts = _decode_counts(raw)
    except msgspec.MsgspecError:
        return None
    prompt = counts.input_tokens if counts.prompt_tokens is None else counts.prompt_tokens
    return None if prompt is None else Usage(prompt, counts.output_tokens or 0)
