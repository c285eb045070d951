"""Qwen at Alibaba's DashScope: the native protocol, or OpenAI's when the base URL is the compatible endpoint."""

from collections.abc import Iterator, Sequence
from typing import Any

from adapters.base_adapter import UpstreamCall
from adapters.model_catalog import family_of
from adapters.model_lists import paged_models
from adapters.openai_adapter import OpenAIAdapter, OpenAIConfig
from adapters.qwen_embeddings import embedded
from adapters.qwen_wire import CODES, TAKES, QwenAnswer, native_body
from domain.chat import ChatRequest
from domain.deltas import Delta
from domain.errors import UnsupportedInput
from domain.messages import FileReference, Image
from domain.operations import OperationAnswer, OperationRequest

_AIGC = "/services/aigc"
_STREAM = {"x-dashscope-sse": "enable"}


class QwenConfig(OpenAIConfig):
    """``enable_thinking``: whether models that can do both think first; unset leaves it to the model's default."""

    enable_thinking: bool | None = None


class QwenAdapter(OpenAIAdapter):
    """DashScope. ``extra_body`` becomes ``parameters`` of the native protocol."""

    Config = QwenConfig
    config: QwenConfig
    default_base_url = "https://dashscope.aliyuncs.com/api/v1"
    default_model = "qwen-plus"
    codes = CODES

    def __init__(self, name: str, config: QwenConfig) -> None:
        super().__init__(name, config)
        if not self._compatible:
            self.offers = frozenset(("embeddings",))

    @property
    def _compatible(self) -> bool:
        return "compatible-mode" in self.base_url

    def speaks(self, request: ChatRequest) -> bool:
        """Whether the base URL speaks the protocol in which the request came."""
        return self._compatible and super().speaks(request)

    @property
    def takes(self) -> frozenset[str]:
        """What the base URL's protocol can say."""
        return super().takes if self._compatible else TAKES

    def check(self, request: ChatRequest) -> None:
        """Raises UnsupportedInput for what DashScope's own protocol cannot say: a schema, a call of any tool, files."""
        super().check(request)
        if self._compatible:
            return
        options, missing = request.options, []
        if options.response_format is not None and options.response_format.kind == "json_schema":
            missing.append("response_format")
        if options.tool_choice is not None and options.tool_choice.mode == "required":
            missing.append("tool_choice")
        if request.whole and any(isinstance(part, FileReference) for one in request.messages for part in one.parts):
            missing.append("messages")
        if missing:
            message = f"The provider {self.name} cannot be asked for this value of {', '.join(missing)}."
            raise UnsupportedInput(message, "unsupported_parameter", tuple(missing))

    @property
    def completes(self) -> bool:
        """Whether the base URL speaks OpenAI's protocol."""
        return self._compatible

    def _stream(self, request: ChatRequest, call: UpstreamCall) -> Iterator[Delta]:
        return super()._stream(request, call) if self._compatible else self._native_stream(request, call)

    def _native_stream(self, request: ChatRequest, call: UpstreamCall) -> Iterator[Delta]:
        model = self.model(request.model or self.models[0].name)
        pictures = any(isinstance(part, Image) for message in request.messages for part in message.parts)
        # A model that sees has an endpoint of its own, also for text alone.
        multimodal = model.capabilities.vision or pictures
        quirks = family_of(model.name).quirks
        body = native_body(request, model.name, quirks, multimodal, self._extra_fields())
        path = f"{_AIGC}/{'multimodal' if multimodal else 'text'}-generation/generation"
        with self._pieces(path, body, call, _STREAM) as pieces:
            yield from QwenAnswer(self.failures, call.expect_end).deltas(pieces)

    def _perform(self, request: OperationRequest, call: UpstreamCall) -> OperationAnswer:
        if self._compatible:
            return super()._perform(request, call)
        return embedded(self.transport, request, request.model or self.models[0].name, call, self.failures)

    def _extra_fields(self) -> dict[str, Any]:
        thinking = self.config.enable_thinking
        return ({} if thinking is None else {"enable_thinking": thinking}) | self.config.extra_body

    def discover_models(self) -> Sequence[str]:
        """The names in DashScope's model list now, asked by the official client, or by ours where it is guarded.

        Raises a :class:`ProviderError`.
        """
        if self._compatible:
            return super().discover_models()
        if self.config.guard is not None:
            return paged_models(self.transport, self.failures)
        from adapters.model_discovery import dashscope_models  # noqa: PLC0415 - its SDK takes a second and 30 MB

        return dashscope_models(self.base_url, self._key, self.failures)
