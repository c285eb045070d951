"""Responses: answers that are kept, followed from any event, stopped, and gone on from."""

from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Literal

from flask import Response, request
from pydantic import Field

from api.context import principal, services
from api.declarations import limited, speaks
from api.idempotency import claim_of_body
from api.openai.protocol import blueprint, documented, json_answer
from api.openai.responses_items import Item, response_of_item
from api.openai.responses_json import encode, output_of, response_json
from api.openai.responses_request import AskedResponse, asked_response
from api.openai.responses_stream import Ending, ResponseWriter
from api.route_headers import note_completion, note_turn
from api.schemas import QueryModel
from api.sse import PING, frames_as_they_come
from domain.clock import now
from domain.errors import AppError, InvalidInput, NotFound
from domain.messages import Message
from services.completion_events import CompletionLog
from services.idempotency import Claim
from services.response_service import StoredResponse

bp = blueprint("responses")


class ResponsePath(QueryModel):
    """A response."""

    response_id: str = Field(max_length=100)


class ResponseQuery(QueryModel):
    """Whether to follow it, and after which event."""

    stream: bool = Field(False, description="Follow the response as server-sent events.")
    starting_after: int | None = Field(None, ge=0, description="With `stream`: the `sequence_number` that came last.")


class InputItemsQuery(QueryModel):
    """Which of its items."""

    limit: int = Field(20, ge=1, le=100)
    order: Literal["asc", "desc"] = "desc"
    after: str | None = Field(None, max_length=100, description="The id of the last item of the page before.")


class _Earlier:
    """What the caller's earlier responses hold."""

    def chain(self, response_id: str | None) -> Sequence[StoredResponse]:
        return services().responses.chain(principal(), response_id)

    def item(self, item_id: str) -> Item | None:
        with suppress(NotFound):
            found = services().responses.get(principal(), response_of_item(item_id))
            items: list[Item] = [*found.request["input"], *output_of(found.id, found.message)]
            return next((item for item in items if item["id"] == item_id), None)
        return None


@bp.post("/responses")
@speaks(documented("responses/create", streams=True))
@limited("gateway")
def create_response() -> Response:
    """Make a response. It is kept, unless `store` is false, and made to its end also where the client leaves."""
    body = request.get_data()
    asked = asked_response(principal(), body, _Earlier())
    return _kept(asked, claim_of_body(body)) if asked.store else _passing(asked)


@bp.get("/responses/<response_id>")
@speaks(documented("responses/get", streams=True))
def get_response(path: ResponsePath, query: ResponseQuery) -> Response:
    """A response as it stands; with `stream`, its events: all of them, or those after `starting_after`."""
    found = services().responses.get(principal(), path.response_id)
    if query.stream:
        after = -1 if query.starting_after is None else query.starting_after
        writer = ResponseWriter(found, _ending(found), after)
        return frames_as_they_come(_at_once(writer.frames(services().responses.follow(principal(), found))))
    if query.starting_after is not None:
        raise InvalidInput("'starting_after' is for streams.", "invalid_value", ("starting_after",))
    return _shown(found)


@bp.delete("/responses/<response_id>")
@speaks(documented("responses/delete"))
def delete_response(path: ResponsePath) -> Response:
    """Delete a response. What goes on from it cannot be gone on from any more."""
    services().responses.delete(principal(), path.response_id)
    return json_answer(encode({"id": path.response_id, "object": "response", "deleted": True}))


@bp.post("/responses/<response_id>/cancel")
@speaks(documented("responses/cancel"))
def cancel_response(path: ResponsePath) -> Response:
    """Stop a response, in the background or not. It is `cancelled` once the provider is; one that has ended stays."""
    return _shown(services().responses.cancel(principal(), path.response_id))


@bp.get("/responses/<response_id>/input_items")
@speaks(documented("responses/input-items"))
def list_input_items(path: ResponsePath, query: InputItemsQuery) -> Response:
    """What a response was asked; not what those were that it goes on from."""
    items = list(services().responses.get(principal(), path.response_id).request["input"])
    if query.order == "desc":
        items.reverse()
    if query.after:
        places = [number for number, item in enumerate(items) if item["id"] == query.after]
        if not places:
            raise InvalidInput(f"There is no item {query.after}.", "item_not_found", ("after",))
        items = items[places[0] + 1 :]
    page = items[: query.limit]
    ends = {"first_id": page[0]["id"] if page else "", "last_id": page[-1]["id"] if page else ""}
    return json_answer(encode({"object": "list", "data": page, "has_more": len(items) > len(page), **ends}))


def _at_once(frames: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
    """The same, with a comment in front: the headers need not wait for an event that is yet to come."""
    yield PING
    yield from frames


def _shown(response: StoredResponse) -> Response:
    return json_answer(encode(response_json(response)))


def _kept(asked: AskedResponse, claim: Claim | None) -> Response:
    service = services().responses
    begun, response = service.create(principal(), asked.wish, claim)
    note_turn(begun)
    if asked.stream:
        writer = ResponseWriter(response, _ending(response))
        return frames_as_they_come(writer.frames(service.events(principal(), begun)))
    return _shown(response if asked.wish.background else service.answer(principal(), begun))


def _ending(response: StoredResponse) -> Ending:
    service, caller = services().responses, principal()

    def ending(message: Message, error: str | None) -> StoredResponse:
        with suppress(AppError):
            return service.get(caller, response.id)
        return replace(response, message=message, error_message=error)

    return ending


def _passing(asked: AskedResponse) -> Response:
    """One that nothing is kept of."""
    wish = asked.wish
    completion = note_completion(services().completions.begin(principal(), wish.model, wish.asked))
    log = CompletionLog(completion)
    begun = StoredResponse(
        id=wish.id,
        request=wish.request,
        background=False,
        previous_response_id=wish.previous_response_id,
        created_at=now(),
        generation_id=completion.id,
        message=log.message,
    )

    def ending(message: Message, error: str | None) -> StoredResponse:
        return replace(begun, message=message, error_message=error, finished_at=now())

    if asked.stream:
        answer = frames_as_they_come(ResponseWriter(begun, ending).frames(log.items()))
        answer.call_on_close(completion.close)
        return answer
    for _ in log.items():
        pass  # it is in the log's message then
    if completion.error is not None:
        raise completion.error
    return _shown(ending(log.message, None))
