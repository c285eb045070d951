"""Embeddings in OpenAI's words, for providers that do not speak its protocol."""

import struct
from base64 import b64encode
from collections.abc import Sequence
from typing import Literal

import msgspec

from domain.errors import UnsupportedInput
from domain.operations import OperationAnswer, OperationRequest
from domain.usage import Usage

_KNOWN = {"model", "input", "dimensions", "encoding_format", "user"}
Vector = Sequence[float]


class AskedEmbeddings(msgspec.Struct):
    """What a client asks for: the vectors of some texts, as numbers or packed in base64."""

    input: str | list[str]
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None

    @property
    def texts(self) -> list[str]:
        """One or more."""
        return [self.input] if isinstance(self.input, str) else self.input


def asked_embeddings(request: OperationRequest) -> AskedEmbeddings:
    """What the request asks for. Raises UnsupportedInput for what only OpenAI's own protocol can say, as token ids."""
    if unknown := sorted(request.fields.keys() - _KNOWN):
        raise UnsupportedInput(f"It cannot be asked for {', '.join(unknown)}.", "unsupported_parameter", tuple(unknown))
    try:
        given = {name: msgspec.json.decode(value) for name, value in request.fields.items()}
        return msgspec.convert(given, AskedEmbeddings)
    except msgspec.ValidationError as error:
        raise UnsupportedInput(f"Only texts can be embedded: {error}.", fields=("input",)) from error


def told_embeddings(model: str, asked: AskedEmbeddings, vectors: Sequence[Vector], tokens: int) -> OperationAnswer:
    """The vectors in the form that was asked for; ``tokens`` is what the texts count."""
    told = [_packed(vector) for vector in vectors] if asked.encoding_format == "base64" else vectors
    body = {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(told)],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return OperationAnswer(msgspec.json.encode(body), Usage(tokens, 0))


def _packed(vector: Vector) -> str:
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
