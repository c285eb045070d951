"""The chat routes of the four protocols: check the request as the real service does, then make its wire."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

import msgspec

from .answer import compose, count_tokens, last_user_text, split_tokens
from .anthropic_wire import AnthropicWire, fault_of, prompt_tokens
from .dashscope_wire import DashScopeWire
from .dify_wire import DifyWire
from .errors import STATUS_OF, error_body
from .log import Entry
from .openai_choices import choices_of, in_form
from .openai_more import CompletionWire
from .openai_wire import OpenAIWire
from .script import Asked, Script, ScriptBook
from .wire import BodyWire, Wire

UNKNOWN_MODEL = "no-such-model"
BAD_KEY = "bad"


class RefusedError(Exception):
    """The request is answered with an error: its HTTP status, a neutral error name, and a text of its own."""

    def __init__(self, status: int, name: str = "", message: str = "") -> None:
        super().__init__(status, name, message)
        self.status, self.name, self.message = status, name, message


@dataclass(slots=True)
class Call:
    """One request on its way to its answer. `key` is None when the request has no Bearer key."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    entry: Entry
    book: ScriptBook
    key: str | None = None
    script: Script = field(default_factory=Script)

    def authenticate(self) -> None:
        """Any key is good, but for none at all and `bad`."""
        if not self.key:
            raise RefusedError(401, message="You didn't provide an API key.")
        if self.key == BAD_KEY:
            raise RefusedError(401, message="Incorrect API key provided: bad.")

    def choose(self, protocol: str, model: str, messages: list[Any], stream: bool) -> None:
        """Note what is asked, refuse an unknown model, take the script, and raise the error it may ask for."""
        self.entry.model, self.entry.messages, self.entry.stream = model, len(messages), stream
        self.authenticate()
        if model == UNKNOWN_MODEL:
            raise RefusedError(
                404, "model_not_found", f"The model `{model}` does not exist or you do not have access to it."
            )
        try:
            self.script = self.book.choose(Asked(self.path, protocol, model, last_user_text(messages)))
        except msgspec.DecodeError as error:
            raise RefusedError(400, "bad_script", f"The script in the message cannot be read: {error}") from None
        self.apply_script()

    def apply_script(self) -> None:
        """Log the chosen script, and raise its scripted error."""
        script = self.script
        self.entry.script, self.entry.fault = script.name, script.fault
        status = script.status or (0 if script.fault in IN_BAND else STATUS_OF.get(script.error, 0))
        if not status and script.error in ("context_length_exceeded", "content_filter") and script.fault == "none":
            status = 400
        if status >= 400:
            raise RefusedError(status, script.error, script.message)


IN_BAND = ("error_in_200", "workflow_failed")


def openai_chat(call: Call) -> Wire:
    """POST {prefix}/chat/completions."""
    body = call.body
    model, messages, stream = str(body.get("model") or ""), body.get("messages"), bool(body.get("stream"))
    call.choose("openai", model, messages if isinstance(messages, list) else [], stream)
    if not model:
        raise RefusedError(400, message="you must provide a model parameter")
    if not isinstance(messages, list) or not messages:
        raise RefusedError(400, message="Missing required parameter: 'messages'.")
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    script = in_form(call.script, body.get("response_format"))
    answer = compose(script, last_user_text(messages), count_tokens(messages), limit)
    include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    return OpenAIWire(answer, model, call.entry.id, stream, include_usage, choices_of(body))


def openai_completion(call: Call) -> Wire:
    """POST {prefix}/completions."""
    body = call.body
    model, prompt, stream = str(body.get("model") or ""), body.get("prompt"), bool(body.get("stream"))
    text = str(prompt[0] if isinstance(prompt, list) and prompt else prompt or "")
    messages = [{"role": "user", "content": text}]
    call.choose("openai", model, messages, stream)
    answer = compose(call.script, text, count_tokens(messages), body.get("max_tokens"))
    include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    return CompletionWire(answer, model, call.entry.id, stream, include_usage)


def dashscope_chat(call: Call) -> Wire:
    """POST /api/v1/services/aigc/{text,multimodal}-generation/generation."""
    given, parameters = call.body.get("input") or {}, call.body.get("parameters") or {}
    messages = given.get("messages") or []
    if not messages and given.get("prompt"):
        messages = [{"role": "user", "content": given["prompt"]}]
    stream = call.headers.get("x-dashscope-sse", "").lower() == "enable"
    call.choose("dashscope", str(call.body.get("model") or ""), messages, stream)
    if not messages:
        raise RefusedError(400, message='Either "prompt" or "messages" must exist and cannot both be none')
    answer = compose(call.script, last_user_text(messages), count_tokens(messages), parameters.get("max_tokens"))
    return DashScopeWire(
        answer,
        request_id=call.entry.id,
        stream=stream,
        incremental=bool(parameters.get("incremental_output")),
        as_message=parameters.get("result_format") == "message",
        multimodal="/multimodal-generation/" in call.path,
    )


def anthropic_chat(call: Call) -> Wire:
    """POST {prefix}/v1/messages."""
    body = call.body
    messages = body.get("messages") if isinstance(body.get("messages"), list) else []
    call.choose("anthropic", str(body.get("model") or ""), messages or [], bool(body.get("stream")))
    if fault := fault_of(body, call.headers.get("anthropic-version", "")):
        raise RefusedError(400, message=fault)
    if not isinstance(body.get("max_tokens"), int):
        raise RefusedError(400, message="max_tokens: Field required")
    prompt, cached = prompt_tokens(body)
    answer = compose(call.script, last_user_text(messages or []), prompt, body["max_tokens"])
    return AnthropicWire(answer, str(body["model"]), call.entry.id, stream=bool(body.get("stream")), cached=cached)


def anthropic_count(call: Call) -> Wire:
    """POST {prefix}/v1/messages/count_tokens, after its script."""
    if fault := fault_of(call.body, call.headers.get("anthropic-version", "")):
        raise RefusedError(400, message=fault)
    return BodyWire(msgspec.json.encode({"input_tokens": prompt_tokens(call.body)[0]}))


class DifyApp:
    """What a Dify app remembers: whose conversations there are, and the names and files given to them."""

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}

    def chat(self, call: Call) -> DifyWire:
        """POST /v1/chat-messages."""
        body = call.body
        query, user = body.get("query"), body.get("user")
        stream = body.get("response_mode") == "streaming"
        call.choose("dify", "", [{"role": "user", "content": query}], stream)
        if not user:
            raise RefusedError(400, message="Arg user must be provided.")
        if not isinstance(query, str) or not isinstance(body.get("inputs"), dict):
            raise RefusedError(400, message="query and inputs are required")
        if not stream and call.script.app in ("agent", "new_agent"):
            raise RefusedError(400, message="Agent Chat App does not support blocking mode")
        conversation = self._conversation(str(body.get("conversation_id") or ""), str(user))
        answer = compose(call.script, query, len(split_tokens(query)), None)
        return DifyWire(answer, conversation, stream)

    def rename(self, call: Call, conversation: str) -> Wire:
        """POST /v1/conversations/{id}/name."""
        self._conversation(conversation, str(call.body.get("user") or ""))
        name = "A short talk" if call.body.get("auto_generate") else str(call.body.get("name") or "")
        if not name:
            raise RefusedError(400, message="name is required when auto_generate is false")
        at = int(call.entry.started)
        record = {"id": conversation, "name": name, "inputs": {}, "status": "normal", "introduction": ""}
        return BodyWire(msgspec.json.encode(record | {"created_at": at, "updated_at": at}))

    def _conversation(self, conversation: str, user: str) -> str:
        if not conversation:
            conversation = str(uuid.uuid4())
            self.owners[conversation] = user
        if self.owners.get(conversation) != user:
            raise RefusedError(404, "conversation_not_exists")
        return conversation


def refusal(protocol: str, refused: RefusedError, request_id: str) -> BodyWire:
    """The error in the protocol's shape."""
    status = refused.status
    if protocol == "anthropic" and refused.name == "insufficient_quota":
        status = 400  # no 429 there
    return BodyWire(error_body(protocol, status, refused.name, refused.message, request_id), status)
