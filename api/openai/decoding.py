"""JSON bodies of clients, decoded once into their types; what is wrong in them is named as OpenAI's clients expect."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from api.hardening import MalformedJson
from domain.errors import InvalidInput

T = TypeVar("T")

Fields = Mapping[str, msgspec.Raw]

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_FAULT = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<place>.*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_MOST_KINDS = 20  # of unknown fields that are looked for


def fields_of(body: bytes) -> Fields:
    """The top-level fields, each with its bytes. Raises :class:`MalformedJson`."""
    try:
        return _fields(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedJson("The body is not a JSON object.") from None


def decode(body: bytes, kind: msgspec.json.Decoder[T]) -> tuple[T, list[str]]:
    """The body as its type, and the places of fields inside it that the type does not know: ``messages[0].extra``.

    Raises InvalidInput, which names the field, or MalformedJson.
    """
    try:
        return kind.decode(body), []
    except msgspec.ValidationError as error:
        if not _UNKNOWN.match(str(error)):
            raise _invalid(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedJson("The body is not a JSON object.") from None
    return _without_unknown(msgspec.json.decode(body), kind.type)


def _without_unknown(value: Any, kind: Any) -> tuple[Any, list[str]]:
    """Each kind of unknown field is taken out wherever it stands, until nothing but what is known is left."""
    unknown: list[str] = []
    for _ in range(_MOST_KINDS):
        try:
            return msgspec.convert(value, kind), unknown
        except msgspec.ValidationError as error:
            what, place = _parts(error)
            if not (found := _UNKNOWN.match(what)):
                raise _invalid(error) from None
            unknown.append(f"{place}.{found[1]}")
            _take_out(value, [name or None for name, _ in _STEP.findall(place)], found[1])
    raise InvalidInput("The request has too many unknown fields.", "unknown_parameter", tuple(unknown))


def _take_out(value: Any, path: list[str | None], name: str) -> None:
    """Remove ``name`` from all objects at ``path``; None in it is every element."""
    if not path:
        if isinstance(value, dict):
            value.pop(name, None)
        return
    step, rest = path[0], path[1:]
    if step is not None:
        children = [value[step]] if isinstance(value, dict) and step in value else []
    else:
        children = list(value.values() if isinstance(value, dict) else value) if isinstance(value, dict | list) else []
    for child in children:
        _take_out(child, rest, name)


def _parts(error: msgspec.ValidationError) -> tuple[str, str]:
    found = _FAULT.fullmatch(str(error))
    return (found["what"], found["place"] or "") if found else (str(error), "")


def _invalid(error: msgspec.ValidationError) -> InvalidInput:
    what, place = _parts(error)
    if missing := _MISSING.match(what):
        name = f"{place}.{missing[1]}" if place else missing[1]
        return InvalidInput(f"Missing required parameter: '{name}'.", "missing_required_parameter", (name,))
    code = "invalid_type" if what.startswith("Expected `") and ", got `" in what else "invalid_value"
    told = what[0].lower() + what[1:]
    return InvalidInput(f"Invalid value for '{place}': {told}.", code, (place,) if place else ())
