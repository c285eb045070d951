"""How an answer begins that is asked for in a stateless protocol: stored or not, as the client wants it."""

from typing import Any

import msgspec
from flask import g, request

from api.context import principal, services
from api.idempotency import claim_of_body
from api.route_headers import SESSION, note_completion, note_turn
from domain.chat import ChatRequest
from domain.errors import InvalidInput
from services.stored_completions import AnyCompletion

_LONGEST = 200


def begin(model: str, asked: ChatRequest) -> AnyCompletion:
    """Begin the answer of this request.

    With ``X-Session-Id`` (or ``metadata.session_id``) it becomes a turn of that session; with an ``Idempotency-Key`` it
    is kept for whoever asks again; else nothing of it is stored. Raises what these services raise.
    """
    session, claim = _session(asked), claim_of_body(request.get_data())
    if session is not None:
        kept = services().stored_completions.in_session(principal(), session, model, asked, claim)
        g.session_id = kept.begun.session_id
    elif claim is not None:
        kept = services().stored_completions.once(principal(), model, asked, claim)
    else:
        return note_completion(services().completions.begin(principal(), model, asked))
    note_turn(kept.begun)
    return kept


def _session(asked: ChatRequest) -> str | None:
    """What the client calls its session; None where it names none."""
    named: Any = request.headers.get(SESSION)
    if named is None and asked.native is not None and "metadata" in asked.native.fields:
        metadata = msgspec.json.decode(asked.native.fields["metadata"])
        named = metadata.get("session_id") if isinstance(metadata, dict) else None
    if named is None:
        return None
    if not isinstance(named, str) or not 0 < len(named) <= _LONGEST or not (named.isascii() and named.isprintable()):
        message = f"The name of a session has 1 to {_LONGEST} printable ASCII characters."
        raise InvalidInput(message, "invalid_session_id", (SESSION,))
    return named
