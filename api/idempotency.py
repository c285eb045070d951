"""``Idempotency-Key``: a client's own name for a request, under which it may send it again without harm."""

import json

from flask import request
from pydantic import Field

from api.context import principal
from api.schemas import ApiModel, HeaderModel
from services.idempotency import Claim

REPLAYED = "Idempotent-Replayed"


class IdempotencyIn(HeaderModel):
    """The key, if the request has one."""

    idempotency_key: str | None = Field(
        None,
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[ -~]+$",
        description=(
            "For 24 hours, the same request under the same key gives the answer of the first one, running or finished. "
            f"Then the response has `{REPLAYED}: true`."
        ),
    )

    def claim(self, body: ApiModel) -> Claim | None:
        """The claim of this request; None without a key."""
        if self.idempotency_key is None:
            return None
        rule = request.url_rule.rule if request.url_rule else request.path
        # What is not said and what is said to be as usual are the same, also after a field is added in an upgrade.
        asked = [request.view_args or {}, body.model_dump(mode="json", exclude_defaults=True)]
        canonical = json.dumps(asked, sort_keys=True, separators=(",", ":"))
        return Claim.of(principal(), f"{request.method} {rule}", self.idempotency_key, canonical)
