"""What the offline provider does beside answering: embeddings that know which words texts share, and plain pictures.

Both are the same for the same request, and need neither a model nor a network.
"""

import hashlib
import math
import re
import struct
import zlib
from base64 import b64encode

import msgspec

from adapters.embeddings import asked_embeddings, told_embeddings
from domain.errors import UnsupportedInput
from domain.operations import OperationAnswer, OperationRequest
from domain.usage import Usage

_DIMENSIONS = 256
_MAX_DIMENSIONS = 4096
_MAX_PICTURES = 10
_PIXELS = 64
_WORD = re.compile(r"\w+")


class _Pictures(msgspec.Struct):
    prompt: str
    n: int | None = None
    response_format: str | None = None


def embeddings(request: OperationRequest) -> OperationAnswer:
    """Hashed bags of words of length 1: texts that share words are near. Raises UnsupportedInput."""
    asked = asked_embeddings(request)
    size = asked.dimensions or _DIMENSIONS
    if not 0 < size <= _MAX_DIMENSIONS:
        raise UnsupportedInput(f"There may be up to {_MAX_DIMENSIONS} dimensions.", fields=("dimensions",))
    tokens = sum(len(_WORD.findall(text)) for text in asked.texts)
    return told_embeddings(request.model, asked, [_vector(text, size) for text in asked.texts], tokens)


def pictures(request: OperationRequest) -> OperationAnswer:
    """Pictures of one colour, which the prompt decides. Raises UnsupportedInput."""
    try:
        given = {name: msgspec.json.decode(value) for name, value in request.fields.items()}
        asked = msgspec.convert(given, _Pictures)
    except msgspec.ValidationError as error:
        raise UnsupportedInput(f"A picture takes a prompt: {error}.", fields=("prompt",)) from error
    count = asked.n or 1
    if not 0 < count <= _MAX_PICTURES:
        raise UnsupportedInput(f"There may be up to {_MAX_PICTURES} pictures at once.", fields=("n",))
    encoded = [b64encode(_picture(f"{asked.prompt}\n{number}")).decode() for number in range(count)]
    linked = asked.response_format == "url"
    data = [{"url": f"data:image/png;base64,{one}"} if linked else {"b64_json": one} for one in encoded]
    return OperationAnswer(
        msgspec.json.encode({"created": 0, "data": data}), Usage(len(_WORD.findall(asked.prompt)), 0)
    )


def _vector(text: str, size: int) -> list[float]:
    vector = [0.0] * size
    for word in _WORD.findall(text.lower()):
        digest = hashlib.sha256(word.encode()).digest()
        vector[int.from_bytes(digest[:4], "big") % size] += 1.0 if digest[4] & 1 else -1.0
    length = math.hypot(*vector)
    return [value / length for value in vector] if length else [1.0] + [0.0] * (size - 1)


def _picture(seed: str) -> bytes:
    """A PNG of one colour."""
    row = b"\0" + hashlib.sha256(seed.encode()).digest()[:3] * _PIXELS
    header = struct.pack(">IIBBBBB", _PIXELS, _PIXELS, 8, 2, 0, 0, 0)
    parts = [_png_part(b"IHDR", header), _png_part(b"IDAT", zlib.compress(row * _PIXELS)), _png_part(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _png_part(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
