"""Turns that are no chat: begun, kept, chained and removed, and nowhere among a user's chats."""

import pytest
from flask_openapi import OpenAPI

from domain.chat import ChatRequest, PromptMessage
from domain.errors import InvalidInput, NotFound
from domain.generation import GenerationStatus
from domain.messages import MessageRole, Text
from domain.principal import Principal, Role
from services.response_service import ResponseService, StoredResponse, Wish, new_response_id
from tests.actors import Actor, ok, refused
from tests.chats import services


@pytest.fixture
def app(any_database_app: OpenAPI) -> OpenAPI:
    return any_database_app


@pytest.fixture
def responses(app: OpenAPI) -> ResponseService:
    return services(app).responses


@pytest.fixture
def caller(user: Actor) -> Principal:
    return principal_of(user)


def principal_of(actor: Actor) -> Principal:
    return Principal(actor.id, actor.user["username"], Role.USER, "")


def respond(
    responses: ResponseService, caller: Principal, words: str = "hello", previous: str | None = None
) -> StoredResponse:
    """A response that is whole."""
    asked = ChatRequest("", [PromptMessage(MessageRole.USER, [Text(words)])])
    wish = Wish(new_response_id(), "echo", asked, {"input": words}, previous_response_id=previous)
    begun, _ = responses.create(caller, wish)
    return responses.answer(caller, begun)


def test_a_response_is_kept_with_its_request(responses: ResponseService, caller: Principal) -> None:
    made = respond(responses, caller)

    assert made.request == {"input": "hello"}
    assert made.message.status is GenerationStatus.COMPLETED
    assert "hello" in made.message.content
    assert responses.get(caller, made.id) == made


def test_nothing_of_it_is_among_the_chats(responses: ResponseService, caller: Principal, user: Actor) -> None:
    made = respond(responses, caller, "needle")
    session, message = made.message.session_id, made.message.id

    assert ok(user.get("/api/v1/sessions"))["items"] == []
    assert ok(user.get("/api/v1/sessions?q=needle"))["items"] == []
    for path in (f"/api/v1/sessions/{session}", f"/api/v1/sessions/{session}/messages"):
        refused(user.get(path), 404, "session_not_found")
    refused(user.delete(f"/api/v1/sessions/{session}"), 404, "session_not_found")
    refused(user.delete(f"/api/v1/sessions/{session}/context"), 404, "session_not_found")
    refused(user.get(f"/api/v1/chat/usage?session_id={session}"), 404, "session_not_found")
    refused(user.post("/api/v1/chat", {"message": "on", "session_id": session}), 404, "session_not_found")
    refused(user.post("/api/v1/chat/regenerate", {"message_id": message}), 404, "session_not_found")
    assert responses.get(caller, made.id) == made


def test_a_chain_is_told_from_its_beginning_and_may_fork(responses: ResponseService, caller: Principal) -> None:
    first = respond(responses, caller, "one")
    second = respond(responses, caller, "two", first.id)
    third, fork = respond(responses, caller, "three", second.id), respond(responses, caller, "other", first.id)

    assert [one.id for one in responses.chain(caller, third.id)] == [first.id, second.id, third.id]
    assert [one.id for one in responses.chain(caller, fork.id)] == [first.id, fork.id]
    assert responses.chain(caller, None) == ()


def test_a_chain_with_a_gap_is_refused(responses: ResponseService, caller: Principal) -> None:
    first = respond(responses, caller, "one")
    second = respond(responses, caller, "two", first.id)

    responses.delete(caller, first.id)

    with pytest.raises(InvalidInput, match="gone") as refusal:
        responses.chain(caller, second.id)
    assert refusal.value.error_code == "previous_response_not_found"
    with pytest.raises(NotFound):
        responses.get(caller, first.id)


def test_a_response_that_is_being_made_is_not_gone_on_from_and_can_be_cancelled(
    responses: ResponseService, caller: Principal
) -> None:
    asked = ChatRequest("", [PromptMessage(MessageRole.USER, [Text("/echo words=9 pace=60000 x")])])
    _, begun = responses.create(caller, Wish(new_response_id(), "echo", asked, {}))

    with pytest.raises(InvalidInput, match="still being made"):
        responses.chain(caller, begun.id)
    assert begun.message.status is GenerationStatus.RUNNING

    assert responses.cancel(caller, begun.id).message.status is GenerationStatus.STOPPED
    assert responses.cancel(caller, begun.id).message.status is GenerationStatus.STOPPED


def test_anothers_response_is_as_good_as_none(responses: ResponseService, caller: Principal, other_user: Actor) -> None:
    made, other = respond(responses, caller), principal_of(other_user)

    for ask in (responses.get, responses.delete, responses.cancel):
        with pytest.raises(NotFound):
            ask(other, made.id)
    with pytest.raises(InvalidInput):
        responses.chain(other, made.id)
    assert responses.get(caller, made.id) == made


def test_an_unknown_model_leaves_nothing_behind(responses: ResponseService, caller: Principal) -> None:
    wish = Wish(new_response_id(), "nobody-knows-it", ChatRequest("", []), {})

    with pytest.raises(NotFound) as refusal:
        responses.create(caller, wish)

    assert refusal.value.error_code == "model_not_found"
    with pytest.raises(NotFound):
        responses.get(caller, wish.id)
