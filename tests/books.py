"""Looking into the ledger in tests."""

from typing import Any

import sqlalchemy as sa
from flask_openapi import OpenAPI

from models import LedgerEntity, db
from tests.scripted_provider.client import ScriptedProvider


def entries(app: OpenAPI, kind: str = "chat", **columns: Any) -> list[LedgerEntity]:
    """The rows of a kind, in the order of their turns and attempts."""
    query = sa.select(LedgerEntity).filter_by(kind=kind, **columns)
    with app.app_context():
        return list(db.session.scalars(query.order_by(LedgerEntity.created_at, LedgerEntity.attempt)))


def tokens(entry: LedgerEntity) -> tuple[int | None, int | None]:
    return entry.prompt_tokens, entry.completion_tokens


def billed(app: OpenAPI) -> int:
    """All tokens that were settled."""
    query = sa.select(sa.func.sum(LedgerEntity.prompt_tokens + LedgerEntity.completion_tokens))
    with app.app_context():
        return int(db.session.scalar(query.where(LedgerEntity.state == "settled")) or 0)


def reported(provider: ScriptedProvider) -> int:
    """All tokens that the provider says it has counted."""
    return sum((entry["usage_reported"] or {}).get("total_tokens", 0) for entry in provider.log())
