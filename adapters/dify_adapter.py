"""Dify's chat apps: chatbots, agents and chatflows.

Dify keeps the history itself, in a conversation per user. Its id travels as ``upstream_state``. Where there is none
although there is a history (a branch, an edited message, another provider before, or a conversation that Dify forgot)
a new one begins, and the history goes into its first question: Dify cannot rewind a conversation.

The app brings its own instructions and model, so system prompt, temperature and limits are not sent, and model names
are labels only.
"""

import threading
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import msgspec
from urllib3.filepost import encode_multipart_formdata

from adapters.base_adapter import Deadlines, UpstreamCall
from adapters.dify_wire import CODES, ConversationGoneError, DifyAnswer
from adapters.failures import decode_or_fail
from adapters.http_adapter import HttpAdapter
from adapters.openai_request import plain_text
from domain.chat import Capabilities, ChatRequest, ModelInfo, PromptMessage
from domain.deltas import Delta, Finish, TextDelta
from domain.errors import ProviderError, UnsupportedInput
from domain.messages import FileReference, Image, MessageRole, ToolCall, ToolResult

_STOP_DEADLINES = Deadlines(connect=1, first_token=2, idle=2, total=2)
_NO_TEXT = "(see the picture)"
_SPEAKERS = {MessageRole.USER: "User", MessageRole.ASSISTANT: "Assistant", MessageRole.SYSTEM: "Instructions"}


class _Named(msgspec.Struct):
    name: str


class _Uploaded(msgspec.Struct):
    id: str


_decode_named = msgspec.json.Decoder(_Named).decode
_decode_uploaded = msgspec.json.Decoder(_Uploaded).decode


class DifyAdapter(HttpAdapter):
    """One app at Dify, which its key names."""

    default_base_url = "https://api.dify.ai/v1"
    default_model = "dify"
    codes = CODES

    @property
    def enabled(self) -> bool:
        """Whether there is a key: without one no app is meant."""
        return bool(self._key)

    @property
    def models(self) -> Sequence[ModelInfo]:
        """The declared labels, or ``dify``."""
        return [self._labelled(model) for model in super().models]

    def model(self, name: str) -> ModelInfo:
        """Every name is the app."""
        return self._labelled(super().model(name))

    def _labelled(self, model: ModelInfo) -> ModelInfo:
        # What the app can do is decided at Dify: it takes pictures and ignores them if it must.
        able = Capabilities(vision=True, reasoning=True, system_prompt=False, general=False)
        return ModelInfo(model.name, model.context_window, model.max_output, able)

    def check(self, request: ChatRequest) -> None:
        """Raises UnsupportedInput for what no app can be told: calls of tools and their results, and files."""
        super().check(request)
        unsaid = ToolCall | ToolResult | FileReference
        if request.whole and any(isinstance(part, unsaid) for one in request.messages for part in one.parts):
            message = f"The provider {self.name} takes text and pictures only."
            raise UnsupportedInput(message, "unsupported_parameter", ("messages",))

    def _stream(self, request: ChatRequest, call: UpstreamCall) -> Iterator[Delta]:
        body = self._body(request, call)
        if request.upstream_state:
            with suppress(ConversationGoneError):  # comes before anything was said
                yield from self._answer({**body, "conversation_id": request.upstream_state}, call)
                return
        yield from self._answer({**body, "query": _with_history(request)}, call)

    def _answer(self, body: dict[str, Any], call: UpstreamCall) -> Iterator[Delta]:
        answer = DifyAnswer(self.failures, self.base_url)
        try:
            with self._events("/chat-messages", msgspec.json.encode(body), call) as events:
                yield from answer.deltas(events)
        finally:
            # Dify goes on generating, and billing, when its reader leaves.
            if answer.task_id and not answer.over:
                arguments = (answer.task_id, body["user"])
                threading.Thread(target=self._stop, args=arguments, daemon=True).start()

    def _body(self, request: ChatRequest, call: UpstreamCall) -> dict[str, Any]:
        last = request.messages[-1]
        # What Dify was shown before it still has, but for a client's own prompt: of that it knows nothing.
        shown = request.messages if request.whole else [last]
        pictures = [part for message in shown for part in message.parts if isinstance(part, Image)]
        return {
            "inputs": {},
            "query": _said(last) or _NO_TEXT,
            "response_mode": "streaming",
            "user": _user(request),
            "files": [self._file(picture, _user(request), call) for picture in pictures],
            "auto_generate_name": False,  # a title is asked for when one is wanted
        }

    def _file(self, picture: Image, user: str, call: UpstreamCall) -> dict[str, str]:
        if not picture.url.startswith("data:"):
            return {"type": "image", "transfer_method": "remote_url", "url": picture.url}
        kind, content = _unpacked(picture.url)
        fields: Mapping[str, str | tuple[str, bytes, str]] = {
            "user": user,
            "file": (f"picture.{kind.rpartition('/')[2]}", content, kind),
        }
        body, content_type = encode_multipart_formdata(fields)
        answer = self.transport.request_json("POST", "/files/upload", call, body, {"content-type": content_type})
        uploaded: _Uploaded = decode_or_fail(_decode_uploaded, answer, self.failures)
        return {"type": "image", "transfer_method": "local_file", "upload_file_id": uploaded.id}

    def _stop(self, task: str, user: str) -> None:
        path, body = f"/chat-messages/{quote(task, safe='')}/stop", msgspec.json.encode({"user": user})
        with suppress(ProviderError):  # it was worth a try, and the reader has left already
            self.transport.request_json("POST", path, UpstreamCall(_STOP_DEADLINES), body)

    def title(self, request: ChatRequest, call: UpstreamCall) -> Iterator[Delta]:
        """The name that Dify itself gives the conversation in ``upstream_state``.

        Raises a :class:`ProviderError`, and UnsupportedInput when there is no conversation yet.
        """
        if not request.upstream_state:
            raise UnsupportedInput("The provider can only name a conversation that it has.")
        path = f"/conversations/{quote(request.upstream_state, safe='')}/name"
        body = msgspec.json.encode({"auto_generate": True, "user": _user(request)})
        named: _Named = decode_or_fail(
            _decode_named, self.transport.request_json("POST", path, call, body), self.failures
        )
        yield from (TextDelta(named.name), Finish("stop"))


def _user(request: ChatRequest) -> str:
    return request.end_user or "unichat"


def _said(message: PromptMessage) -> str:
    return "".join(plain_text(part) for part in message.parts if not isinstance(part, Image)).strip()


def _with_history(request: ChatRequest) -> str:
    """The last message, after everything that was said before it.

    An app has a system prompt of its own: that of our sessions stays out, that which a client sends by itself does not.
    """
    *history, last = request.messages
    lines = [f"{_SPEAKERS[MessageRole.SYSTEM]}: {request.system}"] if request.whole and request.system else []
    lines += [f"{_SPEAKERS[message.role]}: {said}" for message in history if (said := _said(message))]
    question = _said(last) or _NO_TEXT
    if not lines:
        return question
    return "\n\n".join(["This was said so far:", *lines, "Now answer this message:", question])


def _unpacked(url: str) -> tuple[str, bytes]:
    """Media type and content of a base64 ``data:`` URL. Raises UnsupportedInput for anything else."""
    head, _, encoded = url.removeprefix("data:").partition(",")
    kind, _, encoding = head.partition(";")
    if encoding != "base64" or not kind.startswith("image/"):
        raise UnsupportedInput("Only pictures as base64 data URLs can be sent to this provider.")
    try:
        return kind, b64decode(encoded, validate=True)
    except Base64Error as error:
        raise UnsupportedInput("The picture's base64 is damaged.") from error
