"""API keys: one's own, and for administrators everybody's."""

from flask import Response
from flask_openapi import Tag
from pydantic import Field

from api.blueprint import Blueprint
from api.budget_schemas import BudgetsIn, KeyBudgetsOut
from api.context import principal, services
from api.declarations import partly_admin, returns
from api.key_schemas import KeyChanges, KeyIn, KeyOut, NewKeyOut
from api.message_schemas import Identifier
from api.schemas import ApiModel, Nothing, PageOut, PageQuery, ok

bp = Blueprint("keys", __name__, url_prefix="/api/v1/keys", abp_tags=[Tag(name="keys")])


class KeysQuery(PageQuery):
    """Whose keys."""

    user_id: Identifier | None = Field(None, description="Administrators: another user's.")
    all: bool = Field(False, description="Administrators: everybody's.")


class KeyPath(ApiModel):
    """Which key."""

    key_id: Identifier


@bp.get("", **returns(PageOut[KeyOut]))
@partly_admin
def page_of_keys(query: KeysQuery) -> Response:
    """Your API keys, newest first; for administrators also others'. Revoked ones are not shown."""
    page = services().api_keys.page(
        principal(), query.user_id, everybody=query.all, limit=query.limit, cursor=query.cursor
    )
    return ok(PageOut[KeyOut].of(page))


@bp.post("", **returns(NewKeyOut, 201))
@partly_admin
def create(body: KeyIn) -> Response:
    """Make an API key. The answer holds the key itself, this once.

    403 `exceeds_own_key` where a key asks for one that may do more.
    """
    return ok(NewKeyOut.of(services().api_keys.create(principal(), body.fields(), body.user_id)), 201)


@bp.get("/<key_id>", **returns(KeyOut))
def get(path: KeyPath) -> Response:
    """One API key."""
    return ok(KeyOut.model_validate(services().api_keys.get(principal(), path.key_id)))


@bp.patch("/<key_id>", **returns(KeyOut))
def change(path: KeyPath, body: KeyChanges) -> Response:
    """Change an API key, in effect everywhere within 5 s. 403 `exceeds_own_key` as with a new one."""
    return ok(KeyOut.model_validate(services().api_keys.update(principal(), path.key_id, body.fields())))


@bp.delete("/<key_id>", **returns(Nothing))
def revoke(path: KeyPath) -> Response:
    """Revoke an API key for ever, in effect everywhere within 5 s."""
    services().api_keys.revoke(principal(), path.key_id)
    return ok(Nothing())


@bp.get("/<key_id>/budgets", **returns(KeyBudgetsOut))
def budgets(path: KeyPath) -> Response:
    """How the budgets of an API key stand. Its owner's hold beside them."""
    return ok(KeyBudgetsOut.of(services().books.budgets.of_key(principal(), path.key_id)))


@bp.put("/<key_id>/budgets", **returns(KeyBudgetsOut))
def set_budgets(path: KeyPath, body: BudgetsIn) -> Response:
    """Set all limits of an API key anew, in effect everywhere within 5 s. Counting begins with the first one.

    403 `exceeds_own_key` where a key with a budget asks.
    """
    return ok(KeyBudgetsOut.of(services().books.budgets.put_of_key(principal(), path.key_id, body.limits())))


@bp.delete("/<key_id>/budgets", **returns(Nothing))
def clear_budgets(path: KeyPath) -> Response:
    """Take all limits of an API key away. 404 `budget_not_found` for one that never had any."""
    services().books.budgets.clear_of_key(principal(), path.key_id)
    return ok(Nothing())
