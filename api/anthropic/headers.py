"""Response headers as clients of Anthropic's protocol read them: the request's name, and how a key's limits stand."""

from datetime import datetime, timedelta

from domain.api_keys import KeyStanding


def message_headers(request_id: str, standing: KeyStanding | None, now: datetime) -> dict[str, str]:
    """The headers of one response; nothing for what is not limited. ``now`` is in UTC."""
    headers = {"request-id": request_id}
    told = {"requests": standing.requests, "tokens": standing.tokens} if standing else {}
    for measure, allowance in told.items():
        if allowance is not None:
            start = f"anthropic-ratelimit-{measure}"
            headers[f"{start}-limit"] = str(allowance.limit)
            headers[f"{start}-remaining"] = str(allowance.remaining)
            headers[f"{start}-reset"] = (now + timedelta(seconds=allowance.reset_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return headers
