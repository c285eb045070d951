"""Sessions: made, listed page by page, found, changed, cleared, deleted; and nobody else's."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask_openapi import OpenAPI

from models import SessionEntity, db
from tests.actors import Actor, add_user, ok, refused
from tests.chats import chat, contents, entry, eventually, messages, prompt, services
from tests.conftest import ECHO, AppFactory
from tests.scripted_provider.client import ScriptedProvider

SETTINGS = {"AUTO_TITLE": False, "RATE_LIMIT": "10000 per minute", "RATE_LIMIT_CHAT": "10000 per minute"}


@pytest.fixture
def app(make_app: AppFactory, provider: ScriptedProvider) -> OpenAPI:
    second = {"adapter_class": "adapters.openai_adapter.OpenAIAdapter"}
    second["config"] = {"base_url": provider.openai_url, "models": ["m1", "m2"]}  # type: ignore[assignment]
    return make_app({"openai": entry(provider), "second": second, **ECHO}, **SETTINGS)


def _new(user: Actor, **fields: Any) -> dict[str, Any]:
    return dict(ok(user.post("/api/v1/sessions", fields), 201))


def _get(user: Actor, session_id: str) -> dict[str, Any]:
    return dict(ok(user.get(f"/api/v1/sessions/{session_id}")))


def _put(user: Actor, session_id: str, **changes: Any) -> dict[str, Any]:
    return dict(ok(user.put(f"/api/v1/sessions/{session_id}", changes)))


def _pages(user: Actor, path: str, **query: Any) -> Iterator[list[dict[str, Any]]]:
    cursor = None
    while True:
        page = ok(user.get(path, query_string={**query, **({"cursor": cursor} if cursor else {})}))
        yield page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return


def _all(user: Actor, path: str = "/api/v1/sessions", **query: Any) -> list[str]:
    return [item["id"] for page in _pages(user, path, **query) for item in page]


def _found(user: Actor, text: str) -> set[str]:
    return set(_all(user, q=text))


@contextlib.contextmanager
def _statements(app: OpenAPI) -> Iterator[list[str]]:
    """The SQL statements that are executed meanwhile."""
    executed: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        executed.append(statement)

    with app.app_context():
        engine = db.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield executed
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


# Made and looked at


def test_a_new_session_has_the_default_model_and_waits_for_its_title(admin: Actor) -> None:
    session = _new(admin)

    assert session["id"].startswith("sess_")
    assert (session["title"], session["provider"], session["model"]) == ("New chat", "openai", "sees")
    assert (session["system_prompt"], session["temperature"], session["max_tokens"]) == ("", None, None)
    assert (session["pinned"], session["archived"]) == (False, False)
    assert _get(admin, session["id"]) == session


@pytest.mark.usefixtures("every_database")
def test_a_session_keeps_what_it_was_made_with(admin: Actor) -> None:
    settings = {
        "provider": "second",
        "model": "m2",
        "system_prompt": "只用中文回答 🙂",
        "temperature": 0.3,
        "max_tokens": 77,
    }

    session = _new(admin, title="  Über die Liebe 爱  ", **settings)

    assert {name: session[name] for name in settings} == settings
    assert session["title"] == "Über die Liebe 爱"
    assert _get(admin, session["id"]) == session


def test_the_older_names_of_the_fields_are_understood(admin: Actor) -> None:
    session = _new(admin, ai_provider="second", systemPrompt="Be brief.", maxTokens=5)

    assert (session["provider"], session["system_prompt"], session["max_tokens"]) == ("second", "Be brief.", 5)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"provider": "nobody"}, "unknown_provider"),
        ({"temperature": 3}, "invalid_request"),
        ({"max_tokens": 0}, "invalid_request"),
        ({"title": "x" * 201}, "invalid_request"),
        ({"title": "NUL \0"}, "invalid_request"),
        ({"model": ""}, "invalid_request"),
    ],
)
def test_a_session_that_makes_no_sense_is_refused(admin: Actor, fields: dict[str, Any], code: str) -> None:
    refused(admin.post("/api/v1/sessions", fields), 422, code)

    assert _all(admin) == []


# Listed


@pytest.mark.usefixtures("every_database")
def test_the_latest_used_comes_first_and_pinned_ones_before_all(admin: Actor) -> None:
    first, second, third = [_new(admin)["id"] for _ in range(3)]
    assert _all(admin) == [third, second, first]

    chat(admin, "hello", first)
    assert _all(admin) == [first, third, second]

    _put(admin, second, pinned=True)
    assert _all(admin) == [second, first, third]


@pytest.mark.usefixtures("every_database")
def test_pages_hold_every_session_once_whatever_their_size(admin: Actor, app: OpenAPI) -> None:
    made = [_new(admin)["id"] for _ in range(9)]
    _put(admin, made[0], pinned=True)
    _put(admin, made[4], pinned=True)
    with app.app_context():  # all of them used at the same moment, but one
        moment = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
        db.session.execute(sa.update(SessionEntity).values(updated_at=moment))
        later = sa.update(SessionEntity).where(SessionEntity.id == made[2])
        db.session.execute(later.values(updated_at=moment + timedelta(microseconds=1)))
        db.session.commit()

    others = sorted(set(made) - {made[0], made[2], made[4]}, reverse=True)
    for limit in (1, 2, 3, 7, 9, 50):
        pages = list(_pages(admin, "/api/v1/sessions", limit=limit))

        assert [item["id"] for page in pages for item in page] == [made[4], made[0], made[2], *others]
        assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)


@pytest.mark.usefixtures("every_database")
def test_nothing_is_lost_or_doubled_while_sessions_are_used_between_pages(admin: Actor) -> None:
    made = [_new(admin)["id"] for _ in range(12)]
    used = iter([made[11], made[10], made[8], made[6]])  # some were seen, some not yet
    listed: list[str] = []

    for page in _pages(admin, "/api/v1/sessions", limit=3):
        listed += [item["id"] for item in page]
        if used_now := next(used, None):
            chat(admin, "hello", used_now)
            _new(admin)

    assert len(listed) == len(set(listed))
    assert set(made) - {made[6], made[8]} <= set(listed)  # those two went to the front unseen: the next look has them
    assert {made[6], made[8]} <= set(_all(admin, limit=5))


@pytest.mark.usefixtures("every_database")
def test_archived_sessions_are_listed_apart(admin: Actor) -> None:
    kept, put_away = _new(admin)["id"], _new(admin)["id"]

    _put(admin, put_away, archived=True)

    assert (_all(admin), _all(admin, archived="true")) == ([kept], [put_away])
    _put(admin, put_away, archived=False)
    assert _all(admin) == [put_away, kept]


@pytest.mark.parametrize("cursor", ["x", "AAAA", "W10", "bnVsbA", "WzEsMl0", "é", "W3RydWUsIm5vdyIsIngiXQ"])
def test_a_cursor_that_is_none_of_ours_is_refused(admin: Actor, cursor: str) -> None:
    session_id = _new(admin)["id"]

    for path in ("/api/v1/sessions", f"/api/v1/sessions/{session_id}/messages"):
        refused(admin.get(path, query_string={"cursor": cursor}), 422, "invalid_cursor")


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "1.5"])
def test_a_page_has_a_size_within_bounds(admin: Actor, limit: str) -> None:
    refused(admin.get("/api/v1/sessions", query_string={"limit": limit}), 422, "invalid_request")


# Found


@pytest.mark.usefixtures("every_database")
def test_sessions_are_found_by_their_titles_and_messages(admin: Actor) -> None:
    titled = _new(admin, title="A Trip to Lisbon")["id"]
    said = chat(admin, "What grows in the Sahara?", config={})["session_id"]
    chinese = chat(admin, "请问明天北京的天气怎么样？")["session_id"]
    answered = chat(admin, '[[script {"text": "It is the axolotl."}]]')["session_id"]

    assert _found(admin, "Lisbon") == {titled}
    assert _found(admin, "lisbon") == _found(admin, "LISBON") == {titled}
    assert _found(admin, "sahara") == {said}
    assert _found(admin, "天气") == {chinese}
    assert _found(admin, "axolotl.") == {answered}
    assert _found(admin, "  trip TO  ".strip()) == {titled}
    assert _found(admin, "nowhere to be found") == set()
    assert _found(admin, "") == {titled, said, chinese, answered}


@pytest.mark.usefixtures("every_database")
def test_no_sign_means_more_than_itself_in_a_search(admin: Actor) -> None:
    _new(admin, title="plain words")
    for sign in ["%", "_", "\\", "'", '"', "/", "?", ":x", "--", "[a]", "*", "🙂"]:
        marked = _new(admin, title=f"before{sign}after")["id"]
        said = chat(admin, f"say {sign} twice")["session_id"]

        assert _found(admin, sign) == {marked, said}, sign
        assert _found(admin, f"before{sign}after") == {marked}, sign


@pytest.mark.usefixtures("every_database")
def test_a_search_is_paged_too(admin: Actor) -> None:
    made = [_new(admin, title=f"needle {n}" if n % 2 else f"straw {n}")["id"] for n in range(10)]

    assert _all(admin, q="needle", limit=2) == made[9::-2]


@pytest.mark.usefixtures("every_database")
def test_a_search_finds_only_ones_own(admin: Actor, app: OpenAPI) -> None:
    other = add_user(admin, app, "linus")
    chat(admin, "the secret word is xylophone")

    assert _found(other, "xylophone") == set()


# Changed


def test_only_what_is_sent_is_changed(admin: Actor) -> None:
    session = _new(admin, system_prompt="Be kind.", temperature=0.5, max_tokens=100)

    changed = _put(admin, session["id"], temperature=0.7, title="Mine")

    assert changed == session | {"temperature": 0.7, "title": "Mine"}
    assert _put(admin, session["id"]) == changed


def test_null_returns_a_setting_to_its_default(admin: Actor) -> None:
    session = _new(admin, system_prompt="Be kind.", temperature=0.5, max_tokens=100, title="Mine")

    changed = _put(admin, session["id"], system_prompt=None, temperature=None, max_tokens=None, title=None, pinned=None)

    assert (changed["system_prompt"], changed["temperature"], changed["max_tokens"]) == ("", None, None)
    assert (changed["title"], changed["pinned"]) == ("Mine", False)


@pytest.mark.parametrize(
    ("changes", "named", "model"),
    [
        ({"model": "m2"}, "second", "m2"),
        ({"model": "blind"}, "openai", "blind"),  # only the first provider declares it
        ({"model": "unheard-of"}, "second", "unheard-of"),  # the provider knows what it has
        ({"model": None}, "second", "m1"),
        ({"provider": "second"}, "second", "m2"),
        ({"provider": "openai"}, "openai", "sees"),
        ({"provider": "openai", "model": "blind"}, "openai", "blind"),
        ({"provider": "echo"}, "echo", "echo"),
        ({"provider": None}, "openai", "sees"),
        ({"provider": None, "model": None}, "openai", "sees"),
        ({"ai_provider": "openai"}, "openai", "sees"),
    ],
)
def test_provider_and_model_change_together(admin: Actor, changes: dict[str, Any], named: str, model: str) -> None:
    session = _new(admin, provider="second", model="m2")

    changed = _put(admin, session["id"], **changes)

    assert (changed["provider"], changed["model"]) == (named, model)


def test_a_change_that_makes_no_sense_changes_nothing(admin: Actor) -> None:
    session = _new(admin)
    path = f"/api/v1/sessions/{session['id']}"

    refused(admin.put(path, {"provider": "nobody", "title": "New"}), 422, "unknown_provider")
    refused(admin.put(path, {"temperature": -1, "title": "New"}), 422, "invalid_request")
    refused(admin.put(path, {"title": ""}), 422, "invalid_request")

    assert _get(admin, session["id"]) == session


def test_a_rename_or_pin_is_no_use_of_a_session(admin: Actor) -> None:
    first, second = _new(admin)["id"], _new(admin)["id"]

    _put(admin, first, title="Renamed")

    assert _all(admin) == [second, first]


# Its messages


@pytest.mark.usefixtures("every_database")
def test_messages_are_paged_oldest_first(admin: Actor) -> None:
    session_id = _new(admin)["id"]
    for n in range(4):
        chat(admin, f"question {n}", session_id)
    path = f"/api/v1/sessions/{session_id}/messages"

    for limit in (1, 3, 8, 20):
        pages = list(_pages(admin, path, limit=limit))
        assert [m["content"] for page in pages for m in page if m["role"] == "user"] == [
            f"question {n}" for n in range(4)
        ]
        assert sum(map(len, pages)) == 8


def test_a_message_tells_all_about_itself(admin: Actor) -> None:
    session_id = chat(admin, "hello")["session_id"]

    question, answer = messages(admin, session_id)

    assert (question["role"], question["content"], question["status"]) == ("user", "hello", "completed")
    assert question["parts"] == [{"type": "text", "text": "hello"}]
    assert (question["provider"], question["model"], question["usage"], question["generation_id"]) == (None,) * 4
    assert question["parent_id"] is None
    assert question["siblings"] == [question["id"]]
    assert (answer["role"], answer["parent_id"], answer["status"]) == ("assistant", question["id"], "completed")
    assert (answer["provider"], answer["model"], answer["end_reason"]) == ("openai", "sees", "stop")
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]
    assert answer["generation_id"].startswith("gen_")


def test_lists_ask_the_database_no_more_for_more_rows(admin: Actor, app: OpenAPI) -> None:
    session_id = chat(admin, "one")["session_id"]
    asked = []
    for path in (f"/api/v1/sessions/{session_id}/messages?limit=100", "/api/v1/sessions?limit=100&q=o"):
        with _statements(app) as few:
            ok(admin.get(path))
        for _ in range(5):
            chat(admin, "more", session_id)
            chat(admin, "or another")
        with _statements(app) as many:
            ok(admin.get(path))
        asked.append((len(few), len(many)))

    assert all(few == many for few, many in asked), asked


def test_going_back_to_a_long_branch_asks_the_database_no_more_than_to_a_short_one(admin: Actor, app: OpenAPI) -> None:
    asked = []
    for turns in (1, 8):
        session_id = _new(admin)["id"]
        for n in range(turns):
            chat(admin, f"turn {n}", session_id)
        before = messages(admin, session_id)
        ok(admin.post("/api/v1/chat/edit", {"message_id": before[0]["id"], "message": "otherwise"}))
        with _statements(app) as statements:
            ok(admin.post("/api/v1/chat/choose", {"message_id": before[0]["id"]}))
        assert messages(admin, session_id)[1:] == before[1:]
        asked.append(len(statements))

    assert asked[0] == asked[1]


# Cleared


@pytest.mark.usefixtures("every_database")
def test_a_cleared_context_is_history_but_no_longer_prompt(admin: Actor, provider: ScriptedProvider) -> None:
    session_id = _new(admin, system_prompt="Be kind.")["id"]
    chat(admin, "one", session_id)
    chat(admin, "two", session_id)

    ok(admin.delete(f"/api/v1/sessions/{session_id}/context"))
    chat(admin, "three", session_id)

    assert prompt(provider.last()) == [("system", "Be kind."), ("user", "three")]
    assert contents(admin, session_id)[::2] == ["one", "two", "three"]


def test_an_empty_context_can_be_cleared_and_twice(admin: Actor, provider: ScriptedProvider) -> None:
    session_id = _new(admin)["id"]

    for _ in range(2):
        ok(admin.delete(f"/api/v1/sessions/{session_id}/context"))
    chat(admin, "one", session_id)
    for _ in range(2):
        ok(admin.delete(f"/api/v1/sessions/{session_id}/context"))
    chat(admin, "two", session_id)
    chat(admin, "three", session_id)

    assert [content for role, content in prompt(provider.last()) if role == "user"] == ["two", "three"]


# Deleted


@pytest.mark.usefixtures("every_database")
def test_a_deleted_session_is_gone_with_all_that_was_in_it(admin: Actor) -> None:
    whole = chat(admin, "hello")
    kept = chat(admin, "another")["session_id"]
    session_id = whole["session_id"]

    ok(admin.delete(f"/api/v1/sessions/{session_id}"))

    path = f"/api/v1/sessions/{session_id}"
    for response in (admin.get(path), admin.get(f"{path}/messages"), admin.delete(path), admin.put(path, {})):
        refused(response, 404, "session_not_found")
    refused(admin.get(f"/api/v1/generations/{whole['generation_id']}"), 404, "generation_not_found")
    body = {"message_id": whole["message"]["id"]}
    refused(admin.post("/api/v1/chat/regenerate", body), 404, "message_not_found")
    refused(admin.post("/api/v1/chat", {"message": "hi", "session_id": session_id}), 404, "session_not_found")
    assert _all(admin) == [kept]


# Another's


def test_another_users_session_is_as_good_as_none(admin: Actor, app: OpenAPI) -> None:
    other = add_user(admin, app, "linus")
    whole = chat(admin, "hello")
    before = _get(admin, whole["session_id"])
    path = f"/api/v1/sessions/{whole['session_id']}"
    question, answer = messages(admin, whole["session_id"])

    in_session = {"session_id": whole["session_id"]}
    for response in (
        other.get(path),
        other.put(path, {"title": "Mine now"}),
        other.delete(path),
        other.get(f"{path}/messages"),
        other.delete(f"{path}/context"),
        other.get("/api/v1/chat/usage", query_string=in_session),
        other.post("/api/v1/chat", {"message": "hi"} | in_session),
        other.post("/api/v1/chat/stream", {"message": "hi"} | in_session),
        other.post("/api/v1/chat/regenerate", in_session),
        other.post("/api/v1/chat/stop", in_session),
    ):
        refused(response, 404, "session_not_found")
    for response in (
        other.post("/api/v1/chat/regenerate", {"message_id": answer["id"]}),
        other.post("/api/v1/chat/choose", {"message_id": answer["id"]}),
        other.post("/api/v1/chat/edit", {"message_id": question["id"], "message": "hi"}),
    ):
        refused(response, 404, "message_not_found")

    assert _all(other) == []
    assert _get(admin, whole["session_id"]) == before
    assert messages(admin, whole["session_id"]) == [question, answer]


# Titles


def test_a_session_is_named_after_its_first_words(admin: Actor) -> None:
    session_id = _new(admin)["id"]
    assert _get(admin, session_id)["title"] == "New chat"

    chat(admin, "  What is\n\nthe tallest mountain?", session_id)
    assert _get(admin, session_id)["title"] == "What is the tallest mountain?"

    chat(admin, "And the deepest sea?", session_id)
    assert _get(admin, session_id)["title"] == "What is the tallest mountain?"


def test_the_model_names_a_session_in_the_background(make_app: AppFactory, provider: ScriptedProvider) -> None:
    from tests.actors import set_up

    user = set_up(make_app({"openai": entry(provider)}, **SETTINGS | {"AUTO_TITLE": True}))
    provider.script(
        {"text": "Everest."}, {"text": '**Title:** "The Highest Mountain"'}, {"text": "The Mariana Trench."}
    )

    session_id = chat(user, "What is the tallest mountain?")["session_id"]

    eventually(lambda: _get(user, session_id)["title"] == "The Highest Mountain")
    asked = provider.log()[1]["body"]["messages"][-1]["content"]
    assert "What is the tallest mountain?" in asked
    assert "Everest." in asked
    chat(user, "And the deepest sea?", session_id)
    assert len(provider.log()) == 3  # it is not named again


def test_a_name_that_the_user_gave_stays(make_app: AppFactory, provider: ScriptedProvider) -> None:
    from tests.actors import set_up

    app = make_app({"openai": entry(provider)}, **SETTINGS | {"AUTO_TITLE": True})
    user = set_up(app)
    provider.script({"text": "Everest."}, {"text": "A Title", "first_token_ms": 300}, {"text": "ok"})
    named = _new(user, title="Mine")["id"]
    renamed = chat(user, "What is the tallest mountain?")["session_id"]
    provider.wait_requests(2)
    _put(user, renamed, title="Mine too")
    chat(user, "hello", named)

    assert provider.wait_closed(provider.log()[1]["id"])["text_sent"] == "A Title"
    assert _get(user, renamed)["title"] == "Mine too"
    assert _get(user, named)["title"] == "Mine"
    assert len(provider.log()) == 3


@pytest.mark.parametrize("script", [{"status": 500}, {"fault": "empty_answer"}, {"text": "  \n\n "}, {"fault": "cut"}])
def test_a_session_that_the_model_cannot_name_keeps_its_words(
    make_app: AppFactory, provider: ScriptedProvider, script: dict[str, Any]
) -> None:
    from tests.actors import set_up

    app = make_app({"openai": entry(provider)}, **SETTINGS | {"AUTO_TITLE": True})
    user = set_up(app)
    provider.script({"text": "Everest."}, script)

    session_id = chat(user, "What is the tallest mountain?")["session_id"]
    provider.wait_requests(2)
    provider.wait_closed(provider.log()[1]["id"])

    assert _get(user, session_id)["title"] == "What is the tallest mountain?"
    assert services(app).runner.all() == []


def test_a_first_exchange_that_succeeds_at_the_second_try_is_named_too(
    make_app: AppFactory, provider: ScriptedProvider
) -> None:
    from tests.actors import set_up

    user = set_up(make_app({"openai": entry(provider)}, **SETTINGS | {"AUTO_TITLE": True}))
    provider.script({"status": 500, "times": 2}, {"text": "Everest."}, {"text": "The Highest Mountain"})
    session_id = _new(user)["id"]
    assert user.post("/api/v1/chat", {"message": "What?", "session_id": session_id}).status_code == 503

    ok(user.post("/api/v1/chat/regenerate", {"session_id": session_id}))

    eventually(lambda: _get(user, session_id)["title"] == "The Highest Mountain")


def test_the_offline_provider_is_not_asked_for_titles(admin: Actor) -> None:
    session_id = chat(admin, "hello there", provider="echo")["session_id"]

    assert _get(admin, session_id)["title"] == "hello there"
