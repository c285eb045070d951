"""``Idempotency-Key``: a client's own name for a request, under which it may send it again without harm."""

import json
import re

import msgspec
from flask import request
from pydantic import Field

from api.context import principal
from api.schemas import ApiModel, HeaderModel
from domain.errors import InvalidInput
from services.idempotency import Claim

REPLAYED = "Idempotent-Replayed"
_KEY = r"^[ -~]+$"
_LONGEST = 255


class IdempotencyIn(HeaderModel):
    """The key, if the request has one."""

    idempotency_key: str | None = Field(
        None,
        alias="Idempotency-Key",
        min_length=1,
        max_length=_LONGEST,
        pattern=_KEY,
        description=(
            "For 24 hours, the same request under the same key gives the answer of the first one, running or finished. "
            f"Then the response has `{REPLAYED}: true`."
        ),
    )

    def claim(self, body: ApiModel) -> Claim | None:
        """The claim of this request; None without a key."""
        if self.idempotency_key is None:
            return None
        # What is not said and what is said to be as usual are the same, also after a field is added in an upgrade.
        asked = [request.view_args or {}, body.model_dump(mode="json", exclude_defaults=True)]
        return _claim(self.idempotency_key, json.dumps(asked, sort_keys=True, separators=(",", ":")))


def claim_of_body(body: bytes) -> Claim | None:
    """The claim of a request whose body is the client's own JSON, in whichever order of its fields.

    None without a key. Raises InvalidInput for a key that is none, and for another body than JSON.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not re.fullmatch(_KEY, key) or len(key) > _LONGEST:
        message = f"An Idempotency-Key has 1 to {_LONGEST} printable ASCII characters."
        raise InvalidInput(message, "invalid_idempotency_key", ("Idempotency-Key",))
    asked = [request.headers.get("X-Session-Id"), msgspec.json.decode(body)]
    return _claim(key, msgspec.json.encode(asked, order="deterministic").decode())


def _claim(key: str, canonical: str) -> Claim:
    rule = request.url_rule.rule if request.url_rule else request.path
    return Claim.of(principal(), f"{request.method} {rule}", key, canonical)
