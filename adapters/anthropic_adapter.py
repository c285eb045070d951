"""Anthropic, and every server that speaks its Messages protocol."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field

from adapters.anthropic_request import native_body, request_body
from adapters.anthropic_wire import CODES, MessageAnswer, counted_tokens
from adapters.base_adapter import AdapterConfig, UpstreamCall
from adapters.http_adapter import HttpAdapter
from adapters.model_catalog import family_of
from adapters.model_lists import listed_models
from domain.chat import ChatRequest
from domain.deltas import Delta
from domain.errors import StreamUnsupported, UnsupportedInput

# The older version of the protocol: compatible servers know it, and it still has settings of sampling.
_VERSION = "2023-06-01"


class AnthropicConfig(AdapterConfig):
    """``extra_body``: more fields for requests in our words; they win, and ``null`` drops one of ours.

    ``send_user``: tell the provider the opaque name of our user, as it wants against abuse.
    """

    extra_body: dict[str, Any] = Field(default_factory=dict)
    send_user: bool = False


class AnthropicAdapter(HttpAdapter):
    """Messages, streamed. A client that speaks the protocol itself is passed on byte for byte, both ways."""

    Config = AnthropicConfig
    config: AnthropicConfig
    default_base_url = "https://api.anthropic.com"
    default_model = "claude-sonnet-5-5"
    codes = CODES
    dialect = "messages"
    takes = frozenset(
        {
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "response_format",
            "reasoning_effort",
            "reasoning_budget",
            "stop",
            "top_p",
            "top_k",
        }
    )

    @property
    def completes(self) -> bool:
        """True: the protocol has answers in one piece too."""
        return True

    def check(self, request: ChatRequest) -> None:
        """Raises UnsupportedInput for what the protocol cannot say: JSON without a schema, for one."""
        super().check(request)
        wanted = request.options.response_format
        if not self.speaks(request) and wanted is not None and wanted.kind == "json_object":
            message = f"The provider {self.name} gives JSON by a schema only (json_schema)."
            raise UnsupportedInput(message, "unsupported_parameter", ("response_format",))

    def _stream(self, request: ChatRequest, call: UpstreamCall) -> Iterator[Delta]:
        headers = self._own_headers(request)
        answer = self._answer(request, call, streamed=True)
        try:
            with self._pieces(self._path("messages"), self._body(request, streamed=True), call, headers) as pieces:
                yield from answer.deltas(pieces)
        except StreamUnsupported as error:
            if not error.body:
                raise
            # What a server that does not know `stream` has said is paid for.
            yield from MessageAnswer(self.failures, call.expect_end, wire=False).whole(error.body)

    def _complete(self, request: ChatRequest, call: UpstreamCall) -> Iterator[Delta]:
        body, headers = self._body(request, streamed=False), self._own_headers(request)
        answer = self.transport.request_json("POST", self._path("messages"), call, body, headers)
        # Whole, or an error: no part of it is told before all of it was read.
        yield from list(self._answer(request, call, streamed=False).whole(answer))

    def count_tokens(self, request: ChatRequest, call: UpstreamCall) -> int | None:
        """The provider's own count of a request in its own words; None for others. Raises a ProviderError."""
        if request.native is None or not self.speaks(request):
            return None
        body = native_body(request.native, self._model_name(request), streamed=None)
        path, headers = self._path("messages/count_tokens"), self._own_headers(request)
        return counted_tokens(self.transport.request_json("POST", path, call, body, headers), self.failures)

    def discover_models(self) -> Sequence[str]:
        """The names in the provider's model list now. Raises a :class:`ProviderError`."""
        return listed_models(self.transport, self.failures, f"{self._path('models')}?limit=1000")

    def _answer(self, request: ChatRequest, call: UpstreamCall, *, streamed: bool) -> MessageAnswer:
        native = request.native if self.speaks(request) else None
        return MessageAnswer(self.failures, call.expect_end, wire=native is not None and native.stream is streamed)

    def _body(self, request: ChatRequest, *, streamed: bool) -> bytes:
        if request.native is not None and self.speaks(request):
            return native_body(request.native, self._model_name(request), streamed=streamed)
        model = self.model(self._model_name(request))
        extra: dict[str, Any] = {"stream": True} if streamed else {}
        if self.config.send_user and request.end_user:
            extra["metadata"] = {"user_id": request.end_user}
        return request_body(request, model, family_of(model.name).quirks, {**extra, **self.config.extra_body})

    def _model_name(self, request: ChatRequest) -> str:
        return request.model or self.models[0].name

    def _path(self, name: str) -> str:
        """Other clients want the address without the version, and people give it with it."""
        return f"/{name}" if self.base_url.endswith("/v1") else f"/v1/{name}"

    def _own_headers(self, request: ChatRequest) -> Mapping[str, str]:
        return request.native.headers if request.native is not None and self.speaks(request) else {}

    def _headers(self) -> Mapping[str, str]:
        key = {"x-api-key": self._key} if self._key else {}
        return {
            "anthropic-version": _VERSION,
            **key,
            **{name.lower(): text for name, text in self.config.headers.items()},
        }
