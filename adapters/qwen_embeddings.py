"""Embeddings by DashScope's own protocol."""

import msgspec

from adapters.base_adapter import UpstreamCall
from adapters.embeddings import AskedEmbeddings, asked_embeddings, told_embeddings
from adapters.failures import FailureMap, decode_or_fail
from adapters.transport import MAX_ANSWER_BYTES, Transport
from domain.operations import OperationAnswer, OperationRequest

_PATH = "/services/embeddings/text-embedding/text-embedding"


class _Vector(msgspec.Struct):
    embedding: list[float]
    text_index: int = 0


class _Output(msgspec.Struct):
    embeddings: list[_Vector]


class _Counts(msgspec.Struct):
    total_tokens: int = 0


class _Result(msgspec.Struct):
    output: _Output
    usage: _Counts = msgspec.field(default_factory=_Counts)


_decode = msgspec.json.Decoder(_Result).decode


def embedded(
    transport: Transport, request: OperationRequest, model: str, call: UpstreamCall, failures: FailureMap
) -> OperationAnswer:
    """The embeddings that ``request`` asks of ``model``. Raises UnsupportedInput, or a :class:`ProviderError`."""
    asked = asked_embeddings(request)
    answer = transport.request_json("POST", _PATH, call, _body(asked, model), limit=MAX_ANSWER_BYTES)
    result: _Result = decode_or_fail(_decode, answer, failures)
    found = sorted(result.output.embeddings, key=lambda one: one.text_index)
    return told_embeddings(request.model, asked, [one.embedding for one in found], result.usage.total_tokens)


def _body(asked: AskedEmbeddings, model: str) -> bytes:
    parameters = {} if asked.dimensions is None else {"dimension": asked.dimensions}
    return msgspec.json.encode({"model": model, "input": {"texts": asked.texts}, "parameters": parameters})
