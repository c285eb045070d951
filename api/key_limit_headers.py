"""Response headers that tell an API key's owner how its limits per minute stand, as clients of OpenAI read them."""

from flask import Flask, Response, g

from api.context import optional_principal, services
from domain.api_keys import KeyStanding

_SECOND_MS, _MINUTE, _HOUR = 1000, 60, 3600


def note_standing(standing: KeyStanding | None) -> None:
    """Tell this standing in the response of this request; else it is what this worker has heard last of the key."""
    g.key_standing = standing


def standing_of_caller() -> KeyStanding | None:
    """How the limits of the caller's key stand, as far as this response knows; None without a key."""
    caller = optional_principal()
    if caller is None or caller.key is None:
        return None
    noted: KeyStanding | None = g.get("key_standing")
    return noted or services().key_limiter.standing(caller.key)


def headers_of(standing: KeyStanding) -> dict[str, str]:
    """The headers for a standing; nothing for what is not limited."""
    told: dict[str, str] = {}
    for measure, one in (("requests", standing.requests), ("tokens", standing.tokens)):
        if one is not None:
            told[f"x-ratelimit-limit-{measure}"] = str(one.limit)
            told[f"x-ratelimit-remaining-{measure}"] = str(one.remaining)
            told[f"x-ratelimit-reset-{measure}"] = duration(one.reset_s)
    return told


def duration(seconds: float) -> str:
    """A stretch of time in OpenAI's form: ``250ms``, ``1s``, ``59.75s``, ``6m0s``, ``1h0m1s``."""
    milliseconds = max(0, round(seconds * _SECOND_MS))
    if milliseconds < _SECOND_MS:
        return f"{milliseconds}ms"
    whole, rest = divmod(milliseconds, _SECOND_MS)
    told = f"{whole % _MINUTE}.{rest:03}".rstrip("0").rstrip(".") if rest else str(whole % _MINUTE)
    if whole < _MINUTE:
        return f"{told}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m{told}s"
    return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE}m{told}s"


def init_key_limit_headers(app: Flask) -> None:
    """Send the headers to callers with a key that has limits, with errors too."""

    @app.after_request
    def _tell(response: Response) -> Response:
        if (standing := standing_of_caller()) is not None:
            response.headers.extend(headers_of(standing))
        return response
