"""Chat completions."""

from flask import Response, request

from api.completions import begin
from api.context import principal
from api.declarations import limited, speaks
from api.openai.chat_json import native_body, whole_json
from api.openai.chat_request import AskedChat, asked_chat
from api.openai.chat_stream import ChatWriter
from api.openai.protocol import blueprint, documented, json_answer
from api.sse import frames_as_they_come
from services.stored_completions import AnyCompletion

bp = blueprint("chat")


@bp.post("/chat/completions")
@speaks(documented("chat/create", streams=True))
@limited("gateway")
def create_chat_completion() -> Response:
    """Answer a chat. The answer comes whole, or as server-sent events with `stream: true`.

    Nothing of it is stored, unless `X-Session-Id` names a session, or an `Idempotency-Key` is to give it again.
    """
    asked = asked_chat(principal(), request.get_data())
    completion = begin(asked.model, asked.request)
    try:
        return _streamed(completion, asked) if asked.stream else _whole(completion)
    except BaseException:
        completion.close()
        raise


def _streamed(completion: AnyCompletion, asked: AskedChat) -> Response:
    """The stream, once the answer has begun: what fails before that is told by the status."""
    return frames_as_they_come(
        ChatWriter(completion, include_usage=asked.include_usage, answers=asked.request.choices).frames()
    )


def _whole(completion: AnyCompletion) -> Response:
    for _ in completion.deltas():
        pass  # the tally takes them in
    return json_answer(native_body(completion) or whole_json(completion))
