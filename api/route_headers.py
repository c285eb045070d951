"""Response headers of a turn: why its target was chosen, how much time was ours, and whether it was there before."""

import time

from flask import Flask, Response, g

from api.idempotency import REPLAYED
from services.generation_runner import Live
from services.idempotency import Begun

ROUTE = "X-UniChat-Route"
OVERHEAD = "X-UniChat-Overhead-Ms"
_MOST_CHARS = 1000


def note_turn(begun: Begun) -> Begun:
    """Say in the response of this request how its turn came to be."""
    g.begun = begun
    return begun


def init_route_headers(app: Flask) -> None:
    """Send the headers, with errors too."""

    @app.after_request
    def _tell(response: Response) -> Response:
        begun: Begun | None = g.get("begun")
        if begun is not None and begun.live is None:
            response.headers[REPLAYED] = "true"
        elif begun is not None and begun.live is not None:
            _tell_route(response, begun.live)
        return response


def _tell_route(response: Response, live: Live) -> None:
    """The route, and the overhead.

    With a whole answer they tell of all attempts, and the overhead is the time that was not spent at providers. With a
    stream they are sent before the end: the route is as chosen at the start, the overhead that until the stream began.
    """
    whole = live.finished.is_set() and not response.is_streamed
    elapsed_ms = (time.perf_counter() - g.started) * 1000
    ours_ms = elapsed_ms - (live.upstream.upstream_ms if whole else 0)
    response.headers[ROUTE] = _printable((live.upstream.route if whole else "") or live.turn.plan.route)
    response.headers[OVERHEAD] = f"{max(0.0, ours_ms):.1f}"


def _printable(text: str) -> str:
    """Names of models come from outside: nothing but ASCII goes into a header."""
    return "".join(char if " " <= char <= "~" else "?" for char in text)[:_MOST_CHARS]
