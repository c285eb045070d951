"""Completions of bare prompts: the older protocol."""

from typing import Any

from flask import Response, request

from api.context import principal, services
from api.declarations import limited, speaks
from api.openai.chat_json import EventTemplate, encode, native_body, picture, usage_json
from api.openai.chat_stream import ChatWriter
from api.openai.protocol import blueprint, documented, json_answer
from api.openai.text_request import asked_text
from api.route_headers import note_completion
from api.sse import frames_as_they_come
from domain.deltas import ImageDelta, Replacement, Said, TextDelta
from domain.ledger import EntryKind
from services.completion_service import Completion

bp = blueprint("completions")


class TextTemplate(EventTemplate):
    """Events of that protocol: text alone. What the model thinks has no place in them."""

    kind = "text_completion"
    prefix = "cmpl-"
    _opening = b',"choices":[{"index":0,"text":'
    _nothing = b'""'

    def first(self) -> bytes:
        """Nothing."""
        return b""

    def said(self, delta: Said, *, first_of_call: bool) -> bytes:  # noqa: ARG002  # there are no calls
        """The event for more text."""
        match delta:
            case TextDelta(text=text) | Replacement(text=text):
                return self._event(encode(text))
            case ImageDelta(url=url, alt=alt):
                return self._event(encode(picture(url, alt)))
        return b""


@bp.post("/completions")
@speaks(documented("completions/create", streams=True))
@limited("gateway")
def create_completion() -> Response:
    """Complete a prompt. Providers that take no bare prompts answer it as a chat."""
    asked = asked_text(principal(), request.get_data())
    begin = services().completions.begin
    completion = note_completion(begin(principal(), asked.model, asked.request, EntryKind.COMPLETION))
    try:
        if asked.stream:
            options: dict[str, Any] = {"include_usage": asked.include_usage, "answers": asked.request.choices}
            return frames_as_they_come(ChatWriter(completion, **options, words=TextTemplate).frames())
        for _ in completion.deltas():
            pass  # the tally takes them in
        return json_answer(native_body(completion) or _whole(completion))
    except BaseException:
        completion.close()
        raise


def _whole(completion: Completion) -> bytes:
    tally = completion.tally
    text = tally.text + "".join(picture(image.url, image.alt) for image in tally.images)
    body: dict[str, Any] = {
        "id": TextTemplate.prefix + completion.id.removeprefix("gen_"),
        "object": TextTemplate.kind,
        "created": completion.created,
        "model": completion.public_model,
        "choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": tally.finish_reason or "stop"}],
    }
    if completion.usage is not None:
        body["usage"] = usage_json(completion.usage)
    return encode(body)
