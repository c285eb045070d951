"""``POST /v1/messages``: answers for clients that speak Anthropic's protocol; and what a prompt counts."""

from flask import Response, current_app, request

from api.anthropic.answer import whole_answer
from api.anthropic.headers import message_headers
from api.anthropic.request import HEADERS, read
from api.anthropic.stream import MessageStream
from api.blueprint import Blueprint
from api.completions import begin
from api.context import principal, request_id, services
from api.declarations import limited
from api.key_limit_headers import standing_of_caller
from api.sse import frames_as_they_come
from domain.chat import ChatRequest
from domain.clock import now
from services.stored_completions import AnyCompletion

# Its document is the protocol's own.
bp = Blueprint("messages", __name__, url_prefix="/v1/messages", doc_ui=False)


@bp.post("")
@limited("gateway")
def create_message() -> Response:
    """Answer a prompt, in one piece or (with `stream: true`) as events."""
    asked = _asked()
    completion = begin(asked.model, asked)
    if asked.native is not None and asked.native.stream:
        return frames_as_they_come(MessageStream(completion, request_id()).frames())
    return _json(_whole(completion))


@bp.post("/count_tokens")
def count_tokens() -> Response:
    """The number of tokens in a prompt."""
    counted = services().token_counts.count(principal(), _asked(counted_only=True))
    return _json(b'{"input_tokens":%d}' % counted)


@bp.after_request
def _named(response: Response) -> Response:
    response.headers.update(message_headers(request_id(), standing_of_caller(), now()))
    return response


def _asked(*, counted_only: bool = False) -> ChatRequest:
    headers = {name: request.headers.get(name) for name in HEADERS}
    return read(request.get_data(), headers, end_user=principal().user_id, counted_only=counted_only)


def _whole(completion: AnyCompletion) -> bytes:
    try:
        for _ in completion.deltas():
            pass  # the completion keeps what it comes to
    finally:
        completion.close()
    return whole_answer(completion)


def _json(body: bytes) -> Response:
    return current_app.response_class(body, mimetype="application/json")
