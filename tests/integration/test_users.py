"""Administration of users."""

from typing import Any

import pytest
from flask_openapi import OpenAPI

from tests.actors import PASSWORD, Actor, add_user, refused, sign_in
from tests.races import at_once

USERS = "/api/v1/users"
FIELDS = {"id", "username", "email", "role", "is_active", "created_at", "updated_at"}


def _works(actor: Actor) -> bool:
    return actor.get("/api/v1/auth/me").status_code == 200


def _refreshes(actor: Actor) -> bool:
    body = {"refresh_token": actor.tokens["refresh_token"]}
    return actor.client.post("/api/v1/auth/refresh", json=body).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", USERS), ("POST", USERS), ("GET", f"{USERS}/x"), ("PATCH", f"{USERS}/x"), ("DELETE", f"{USERS}/x")],
)
def test_users_are_for_administrators_only(user: Actor, method: str, path: str) -> None:
    body = {"username": "eve", "password": PASSWORD, "role": "ADMIN"}
    options: dict[str, Any] = {} if method in ("GET", "DELETE") else {"json": body}

    refused(user.request(method, path, **options), 403, "permission_denied")
    refused(user.client.open(path, method=method, **options), 401, "not_authenticated")


def test_a_made_user_can_sign_in(app: OpenAPI, admin: Actor) -> None:
    body = {"username": "Grace", "password": PASSWORD, "email": "grace@example.org"}

    made = admin.ok(admin.post(USERS, body), 201)

    assert set(made) == FIELDS
    assert (made["username"], made["role"], made["is_active"]) == ("Grace", "USER", True)
    assert sign_in(app, "grace").id == made["id"]


def test_fields_that_are_not_offered_cannot_be_set(admin: Actor) -> None:
    body = {"username": "grace", "password": PASSWORD, "id": "usr_mine", "is_active": False, "password_hash": "x"}
    made = admin.ok(admin.post(USERS, body), 201)
    extra = {"id": "usr_mine", "username": "eve", "login_name": "eve", "password_hash": "x", "created_at": "1970-01-01"}

    changed = admin.ok(admin.patch(f"{USERS}/{made['id']}", extra))

    assert made["is_active"]
    assert changed | {"updated_at": ""} == made | {"updated_at": ""}


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"username": "ADA"}, 409, "username_taken"),
        ({"email": "Ada@example.org"}, 409, "email_taken"),
        ({"password": "password1"}, 422, "weak_password"),
        ({"role": "ROOT"}, 422, "invalid_request"),
        ({"role": None}, 422, "invalid_request"),
    ],
)
def test_a_user_that_cannot_be_is_not_made(admin: Actor, fields: dict[str, Any], status: int, code: str) -> None:
    admin.ok(admin.patch(f"{USERS}/{admin.id}", {"email": "ada@example.org"}))

    refused(admin.post(USERS, {"username": "grace", "password": PASSWORD} | fields), status, code)

    assert len(admin.ok(admin.get(USERS))["items"]) == 1


@pytest.mark.usefixtures("every_database")
def test_the_list_comes_in_pages_that_neither_skip_nor_repeat(app: OpenAPI, admin: Actor) -> None:
    names = ["ada", *(f"user{number}" for number in range(6))]
    for name in names[1:]:
        admin.ok(admin.post(USERS, {"username": name, "password": PASSWORD}), 201)
    seen, cursor = [], ""
    while cursor is not None:
        page = admin.ok(admin.get(USERS, query_string={"limit": 3} | ({"cursor": cursor} if cursor else {})))
        seen += [user["username"] for user in page["items"]]
        assert all(set(user) == FIELDS for user in page["items"])
        cursor = page["next_cursor"]

    assert seen == names


@pytest.mark.usefixtures("every_database")
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("GRA", ["grace"]),
        ("example.org", ["grace", "linus"]),
        ("100%", ["100%_me"]),
        ("%", ["100%_me"]),
        ("_", ["100%_me"]),
        ("nobody", []),
        ("", ["ada", "grace", "linus", "100%_me"]),
    ],
)
def test_users_are_found_by_a_part_of_their_name_or_address(admin: Actor, text: str, found: list[str]) -> None:
    for name, email in (("grace", "hopper@example.org"), ("linus", "linus@example.org"), ("100%_me", None)):
        admin.ok(admin.post(USERS, {"username": name, "password": PASSWORD, "email": email}), 201)

    assert [user["username"] for user in admin.ok(admin.get(USERS, query_string={"q": text}))["items"]] == found


@pytest.mark.parametrize("cursor", ["x", "bm8", "W10", "WzFd", "💥"])
def test_a_made_up_cursor_is_refused(admin: Actor, cursor: str) -> None:
    refused(admin.get(USERS, query_string={"cursor": cursor}), 422, "invalid_cursor")


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_who_is_not_there_is_not_found(admin: Actor, method: str) -> None:
    options = {"json": {"is_active": False}} if method == "PATCH" else {}

    refused(admin.request(method, f"{USERS}/usr_nobody", **options), 404, "user_not_found")


@pytest.mark.usefixtures("every_database")
def test_a_disabled_user_is_out_at_once_and_back_when_enabled(app: OpenAPI, admin: Actor, user: Actor) -> None:
    changed = admin.ok(admin.patch(f"{USERS}/{user.id}", {"is_active": False}))

    assert changed["is_active"] is False
    assert not _works(user)
    assert not _refreshes(user)
    admin.ok(admin.patch(f"{USERS}/{user.id}", {"is_active": True}))
    assert not _works(user)  # what was ended stays ended
    assert _works(sign_in(app, "grace"))


@pytest.mark.usefixtures("every_database")
def test_a_deleted_user_is_out_at_once(app: OpenAPI, admin: Actor, user: Actor) -> None:
    admin.ok(admin.delete(f"{USERS}/{user.id}"))

    assert not _works(user)
    assert not _refreshes(user)
    refused(admin.get(f"{USERS}/{user.id}"), 404, "user_not_found")
    assert add_user(admin, app, "grace").id != user.id


def test_a_reset_password_ends_every_sign_in(app: OpenAPI, admin: Actor, user: Actor) -> None:
    phone = sign_in(app, "grace")

    admin.ok(admin.patch(f"{USERS}/{user.id}", {"password": "another fine day"}))

    assert not any(map(_works, (user, phone)))
    assert _works(sign_in(app, "grace", "another fine day"))


def test_a_new_role_counts_at_once(admin: Actor, user: Actor) -> None:
    admin.ok(admin.patch(f"{USERS}/{user.id}", {"role": "ADMIN"}))
    assert user.get(USERS).status_code == 200

    user.ok(user.patch(f"{USERS}/{admin.id}", {"role": "USER"}))
    refused(admin.get(USERS), 403, "permission_denied")
    assert _works(admin)


@pytest.mark.usefixtures("every_database")
def test_an_address_is_set_kept_and_taken_away(app: OpenAPI, admin: Actor, user: Actor) -> None:
    path = f"{USERS}/{user.id}"

    assert admin.ok(admin.patch(path, {"email": "Grace@Example.org"}))["email"] == "grace@example.org"
    assert admin.ok(admin.patch(path, {"role": None}))["email"] == "grace@example.org"
    assert admin.ok(admin.patch(path, {"email": None}))["email"] is None
    refused(admin.patch(path, {"email": "nowhere"}), 422, "invalid_email")
    admin.ok(admin.patch(f"{USERS}/{admin.id}", {"email": "ada@example.org"}))
    refused(admin.patch(path, {"email": "ADA@example.org"}), 409, "email_taken")


def test_who_is_named_by_an_address_keeps_it(admin: Actor) -> None:
    made = admin.ok(admin.post(USERS, {"username": "grace@example.org", "password": PASSWORD}), 201)

    assert made["email"] == "grace@example.org"
    refused(admin.patch(f"{USERS}/{made['id']}", {"email": None}), 422, "invalid_email")


@pytest.mark.parametrize("change", [{"role": "USER"}, {"is_active": False}, {}])
def test_the_last_active_administrator_stays(app: OpenAPI, admin: Actor, user: Actor, change: dict[str, Any]) -> None:
    disabled = add_user(admin, app, "marie", role="ADMIN")
    admin.ok(admin.patch(f"{USERS}/{disabled.id}", {"is_active": False}))
    path = f"{USERS}/{admin.id}"

    refused(admin.patch(path, change) if change else admin.delete(path), 409, "last_admin")

    assert admin.get(USERS).status_code == 200


def test_an_administrator_may_go_while_another_stays(app: OpenAPI, admin: Actor) -> None:
    other = add_user(admin, app, "marie", role="ADMIN")

    admin.ok(admin.delete(f"{USERS}/{admin.id}"))

    assert not _works(admin)
    refused(other.delete(f"{USERS}/{other.id}"), 409, "last_admin")


@pytest.mark.usefixtures("every_database")
@pytest.mark.parametrize("change", [{"role": "USER"}, {"is_active": False}, {}])
def test_two_administrators_who_remove_each_other_leave_one(app: OpenAPI, admin: Actor, change: dict[str, Any]) -> None:
    other = add_user(admin, app, "marie", role="ADMIN")

    def removes(actor: Actor, target: Actor) -> int:
        path = f"{USERS}/{target.id}"
        return (actor.patch(path, change) if change else actor.delete(path)).status_code

    statuses = at_once(lambda: removes(admin, other), lambda: removes(other, admin))

    assert statuses.count(200) == 1
    assert [actor.get(USERS).status_code for actor in (admin, other)].count(200) == 1
