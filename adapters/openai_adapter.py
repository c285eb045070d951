"""OpenAI and every server that speaks its chat completions: DeepSeek, Moonshot, Zhipu, Ollama, vLLM and many more."""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import Field

from adapters.base_adapter import AdapterConfig, UpstreamCall
from adapters.http_adapter import HttpAdapter
from adapters.model_catalog import family_of
from adapters.model_lists import listed_models
from adapters.openai_native import native_body
from adapters.openai_operations import PATHS, performed
from adapters.openai_request import TAKES, request_body
from adapters.openai_wire import Answer
from adapters.sse import ServerEvent
from domain.chat import ChatRequest
from domain.deltas import Delta, Finish
from domain.errors import StreamUnsupported
from domain.operations import OperationAnswer, OperationRequest


class OpenAIConfig(AdapterConfig):
    """What a compatible provider may need beyond the common configuration.

    ``extra_body``: more fields for every request; they win over ours, and ``null`` drops one of ours.
    ``send_user``: tell the provider the opaque name of our user, as some want against abuse.
    ``text_completions``: its models take bare prompts (``POST /completions``) too, as those of many local servers do.
    """

    extra_body: dict[str, Any] = Field(default_factory=dict)
    send_user: bool = False
    text_completions: bool = False


class OpenAIAdapter(HttpAdapter):
    """Chat completions, streamed. The key may be empty when a base URL is given: local servers need none."""

    Config = OpenAIConfig
    config: OpenAIConfig
    dialect = "chat_completions"
    default_base_url = "https://api.openai.com/v1"
    default_model = "gpt-4o-mini"
    offers = frozenset(PATHS)

    @property
    def takes(self) -> frozenset[str]:
        """All but ``top_k``, which only some compatible servers know."""
        return TAKES

    @property
    def completes(self) -> bool:
        """True: the protocol has answers in one piece too."""
        return True

    def speaks(self, request: ChatRequest) -> bool:
        """Whether the request came in the provider's own protocol: of chats, or of bare prompts if it takes them."""
        bare = request.native is not None and request.native.dialect == "text_completions"
        return self.config.text_completions if bare else super().speaks(request)

    def _stream(self, request: ChatRequest, call: UpstreamCall) -> Iterator[Delta]:
        wire = self._tells_wire(request, streamed=True)
        try:
            with self._pieces(self._path(request), self._body(request), call) as pieces:
                yield from Answer(self.failures, call.expect_end, wire=wire).deltas(pieces)
        except StreamUnsupported as error:
            if not error.body:
                raise
            # What a server that does not know `stream` has said is paid for.
            yield from self._whole(error.body, call, wire=False)

    def _complete(self, request: ChatRequest, call: UpstreamCall) -> Iterator[Delta]:
        body = self._body(request, streamed=False)
        answer = self.transport.request_json("POST", self._path(request), call, body)
        yield from self._whole(answer, call, wire=self._tells_wire(request, streamed=False))

    def _whole(self, body: bytes, call: UpstreamCall, *, wire: bool) -> Iterator[Delta]:
        deltas = list(Answer(self.failures, call.expect_end, wire=wire).deltas([[ServerEvent("message", body)]]))
        if not deltas or not isinstance(deltas[-1], Finish):
            raise self.failures.garbage("neither a stream nor a chat completion")
        yield from deltas

    def _path(self, request: ChatRequest) -> str:
        bare = request.native is not None and self.speaks(request) and request.native.dialect != self.dialect
        return "/completions" if bare else "/chat/completions"

    def _perform(self, request: OperationRequest, call: UpstreamCall) -> OperationAnswer:
        return performed(self.transport, request, request.model or self.models[0].name, call, self.failures)

    def _tells_wire(self, request: ChatRequest, *, streamed: bool) -> bool:
        """Whether the client can be given the answer as it comes."""
        return request.native is not None and self.speaks(request) and request.native.stream is streamed

    def _body(self, request: ChatRequest, *, streamed: bool = True) -> bytes:
        model = self.model(request.model or self.models[0].name)
        quirks, extra = family_of(model.name).quirks, self._extra_fields()
        if request.native is not None and self.speaks(request):
            return native_body(request.native, model, quirks, self._of_user(request) | extra, streamed=streamed)
        if not streamed:
            extra |= {"stream": None, "stream_options": None}
        elif model.capabilities.stream_usage:
            extra.setdefault("stream_options", {"include_usage": True})
        return request_body(request, model, quirks, self._of_user(request) | extra)

    def _of_user(self, request: ChatRequest) -> dict[str, Any]:
        """Who asks, unless the client says so itself."""
        named = request.native is not None and "user" in request.native.fields
        return {"user": request.end_user} if self.config.send_user and request.end_user and not named else {}

    def _extra_fields(self) -> dict[str, Any]:
        return dict(self.config.extra_body)

    def discover_models(self) -> Sequence[str]:
        """The names in the provider's model list now, asked by the official client, or by ours where it is guarded.

        Raises a :class:`ProviderError`.
        """
        if self.config.guard is not None:
            return listed_models(self.transport, self.failures)
        from adapters.model_discovery import openai_models  # noqa: PLC0415 - its SDK takes a second and 50 MB

        return openai_models(self.base_url, self._key, self._headers(), self.failures)
