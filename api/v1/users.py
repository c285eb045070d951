"""Users, for administrators."""

from typing import cast

from flask import Response
from flask_openapi import Tag
from pydantic import Field, SecretStr

from api.blueprint import Blueprint
from api.budget_schemas import BudgetsIn, BudgetsOut
from api.context import principal, services
from api.declarations import admin_only, returns
from api.message_schemas import Identifier
from api.schemas import ApiModel, Nothing, PageOut, PageQuery, ok
from api.tokens import UserOut
from domain.principal import Role
from services.user_service import UserChanges

bp = Blueprint("users", __name__, url_prefix="/api/v1/users", abp_tags=[Tag(name="users")])


class UsersQuery(PageQuery):
    """Which users."""

    q: str = Field("", max_length=200, description="Part of the name or the e-mail address.")


class UserPath(ApiModel):
    """One user."""

    user_id: Identifier


class NewUserIn(ApiModel):
    """A new user."""

    username: str = Field(max_length=200)
    password: SecretStr = Field(max_length=1000)
    email: str | None = Field(None, max_length=300)
    role: Role = Role.USER


class UserChangesIn(ApiModel):
    """What to change; what is left out, or null, stays. A null `email` takes it away."""

    role: Role | None = None
    is_active: bool | None = None
    email: str | None = Field(None, max_length=300)
    password: SecretStr | None = Field(None, max_length=1000)

    def changes(self) -> UserChanges:
        """Only what was sent."""
        sent = {name: getattr(self, name) for name in self.model_fields_set}
        if self.password is not None:
            sent["password"] = self.password.get_secret_value()
        wanted = {name: value for name, value in sent.items() if value is not None or name == "email"}
        return cast("UserChanges", wanted)


@bp.get("", **returns(PageOut[UserOut]))
@admin_only
def page_of_users(query: UsersQuery) -> Response:
    """Users, oldest first."""
    page = services().users.page(principal(), limit=query.limit, cursor=query.cursor, text=query.q)
    return ok(PageOut[UserOut].of(page))


@bp.post("", **returns(UserOut, 201))
@admin_only
def create(body: NewUserIn) -> Response:
    """Make a user. 409 `username_taken` or `email_taken`."""
    user = services().users.create(
        principal(),
        username=body.username,
        password=body.password.get_secret_value(),
        email=body.email,
        role=body.role,
    )
    return ok(UserOut.model_validate(user), 201)


@bp.get("/<user_id>", **returns(UserOut))
@admin_only
def get(path: UserPath) -> Response:
    """One user."""
    return ok(UserOut.model_validate(services().users.get(principal(), path.user_id)))


@bp.patch("/<user_id>", **returns(UserOut))
@admin_only
def change(path: UserPath, body: UserChangesIn) -> Response:
    """Change a user; a new password or `is_active: false` signs them out everywhere. 409 `last_admin`."""
    return ok(UserOut.model_validate(services().users.update(principal(), path.user_id, body.changes())))


@bp.delete("/<user_id>", **returns(Nothing))
@admin_only
def delete(path: UserPath) -> Response:
    """Delete a user with everything of theirs. 409 `last_admin`."""
    services().users.delete(principal(), path.user_id)
    return ok(Nothing())


@bp.get("/<user_id>/budgets", **returns(BudgetsOut))
@admin_only
def budgets(path: UserPath) -> Response:
    """How a user's budgets stand."""
    return ok(BudgetsOut.of(services().books.budgets.get(principal(), path.user_id)))


@bp.put("/<user_id>/budgets", **returns(BudgetsOut))
@admin_only
def set_budgets(path: UserPath, body: BudgetsIn) -> Response:
    """Set all of a user's limits anew. Counting begins with the first limit that a user gets."""
    return ok(BudgetsOut.of(services().books.budgets.put(principal(), path.user_id, body.limits())))


@bp.delete("/<user_id>/budgets", **returns(Nothing))
@admin_only
def clear_budgets(path: UserPath) -> Response:
    """Take all of a user's limits away. 404 `budget_not_found` for one who never had any."""
    services().books.budgets.clear(principal(), path.user_id)
    return ok(Nothing())
