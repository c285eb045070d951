"""Response headers of a turn: why its target was chosen, how much time was ours, and whether it was there before."""

import time
from typing import TypeVar

from flask import Flask, Response, g, request
from flask.globals import app_ctx

from api.idempotency import REPLAYED
from api.key_limit_headers import note_standing
from services.completion_service import Completion
from services.idempotency import Begun
from services.operation_service import Performance
from services.turn_plan import Plan
from services.upstream_handle import UpstreamHandle

SESSION = "X-Session-Id"
ROUTE = "X-UniChat-Route"
OVERHEAD = "X-UniChat-Overhead-Ms"
PROCESSING = "openai-processing-ms"  # the same for clients of that protocol: all the time until the answer began
_MOST_CHARS = 1000

Kept = TypeVar("Kept", Completion, Performance)


def note_turn(begun: Begun) -> Begun:
    """Say in the response of this request how its turn came to be."""
    g.begun = begun
    return begun


def note_completion(completion: Kept) -> Kept:
    """Likewise, for an answer that nothing is stored of; and how its key stood when it was let in."""
    g.completion = completion
    note_standing(completion.held.standing)
    return completion


def init_route_headers(app: Flask) -> None:
    """Send the headers, with errors too."""

    @app.after_request
    def _tell(response: Response) -> Response:
        here = app_ctx.g  # one look-up for all of it
        begun: Begun | None = here.get("begun")
        completion: Completion | Performance | None = here.get("completion")
        if completion is not None:
            _tell_route(response, completion.plan, completion.upstream, whole=True)
        elif begun is not None and begun.live is None:
            response.headers.add(REPLAYED, "true")
        elif begun is not None and begun.live is not None:
            live = begun.live
            _tell_route(response, live.turn.plan, live.upstream, whole=live.finished.is_set())
        if (session_id := here.get("session_id")) is not None:
            response.headers.add(SESSION, session_id)
        if f"{request.path}/".startswith("/v1/"):
            response.headers.add(PROCESSING, str(round(_elapsed_ms())))
        return response


def _elapsed_ms() -> float:
    return (time.perf_counter() - float(g.started)) * 1000


def _tell_route(response: Response, plan: Plan, upstream: UpstreamHandle, *, whole: bool) -> None:
    """The route, and the overhead.

    With a whole answer they tell of all attempts, and the overhead is the time that was not spent at providers. With a
    stream they are sent before the end: the route is as chosen at the start, the overhead that until the stream began.
    """
    whole = whole and not response.is_streamed
    ours_ms = _elapsed_ms() - (upstream.upstream_ms if whole else 0)
    response.headers.add(ROUTE, _printable((upstream.route if whole else "") or plan.route))
    response.headers.add(OVERHEAD, f"{max(0.0, ours_ms):.1f}")


def _printable(text: str) -> str:
    """Names of models come from outside: nothing but ASCII goes into a header."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(char if " " <= char <= "~" else "?" for char in text)
    return text[:_MOST_CHARS]
