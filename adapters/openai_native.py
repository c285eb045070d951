"""A client's own chat completions request on its way to a server that speaks the same protocol.

What need not be rewritten keeps its bytes, and what we know nothing of goes through. Rewritten are: the model's name;
the limit of the answer, where the model's family wants it under the other name; what we must have of a stream (it is
asked to count, whether or not the client did); and what the operator's configuration says.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from adapters.model_catalog import Quirks
from domain.chat import ModelInfo, NativeRequest

_LIMITS = ("max_tokens", "max_completion_tokens")
Fields = Mapping[str, msgspec.Raw]


def native_body(
    native: NativeRequest, model: ModelInfo, quirks: Quirks, extra: Mapping[str, Any], *, streamed: bool
) -> bytes:
    """The JSON to send. ``extra`` fields win over the client's; one that is ``None`` is left out."""
    bare = native.dialect == "text_completions"  # has no other name for the limit
    fields = dict(native.fields) if bare else _own_limit(native.fields, quirks)
    needed = {"model": model.name, **_of_stream(fields, model, streamed=streamed), **extra}
    for name, value in needed.items():
        if value is None:
            fields.pop(name, None)
        elif name not in fields or msgspec.json.decode(fields[name]) != value:
            fields[name] = msgspec.Raw(msgspec.json.encode(value))
    if native.body and fields == native.fields:
        return native.body
    return msgspec.json.encode(fields)


def _own_limit(fields: Fields, quirks: Quirks) -> dict[str, msgspec.Raw]:
    """The fields with the answer's limit under the name that the family wants, in its old place."""
    wanted = quirks.output_limit_field
    other = next(name for name in _LIMITS if name != wanted)
    if quirks.either_limit_field or other not in fields:
        return dict(fields)
    if wanted in fields:
        return {name: value for name, value in fields.items() if name != other}
    return {wanted if name == other else name: value for name, value in fields.items()}


def _of_stream(fields: Fields, model: ModelInfo, *, streamed: bool) -> dict[str, Any]:
    if not streamed:
        # Some servers refuse options of a stream that is none.
        return {"stream_options": None} | ({"stream": None} if fields.get("stream") != msgspec.Raw(b"false") else {})
    if not model.capabilities.stream_usage:
        return {"stream": True, "stream_options": None}
    given = msgspec.json.decode(fields.get("stream_options", b"null"))
    if not isinstance(given, dict | None):
        return {"stream": True}  # the provider tells the client what is wrong with it
    return {"stream": True, "stream_options": {**(given or {}), "include_usage": True}}
