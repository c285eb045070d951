"""Spans for OpenTelemetry: requests, the generations that they begin, and the requests to providers for those.

An extra: it is imported only where OTEL_EXPORTER_OTLP_ENDPOINT is set. Spans hold neither prompts nor answers, and
providers are sent nothing of them.
"""

from collections.abc import Mapping
from contextvars import ContextVar

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from domain.observer import AttemptEnd, GenerationStory, Observer, RequestEnd

_HEADER = "traceparent"
_SERVER_ERROR = 500


class Tracing(Observer):
    """Makes the spans and hands them to ``processor``. The SDK's own variables (OTEL_...) apply too."""

    def __init__(self, processor: SpanProcessor, version: str) -> None:
        resource = Resource({"service.name": "unichat", "service.version": version})
        self._provider = TracerProvider(resource=resource.merge(OTELResourceDetector().detect()))
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("unichat", version)
        self._form = TraceContextTextMapPropagator()
        self._request: ContextVar[Span | None] = ContextVar("request", default=None)

    def request_began(self, trace_parent: str | None) -> None:
        """Begin its span, in the trace of whoever calls."""
        self._request.set(self._tracer.start_span("request", self._context(trace_parent), SpanKind.SERVER))

    def request_ended(self, end: RequestEnd) -> None:
        """End its span."""
        span = self._request.get()
        if span is None:
            return
        self._request.set(None)
        span.update_name(f"{end.method} {end.route}" if end.route else end.method)
        _describe(
            span,
            {
                "http.request.method": end.method,
                "http.response.status_code": end.status,
                "http.route": end.route,
                "error.type": end.code,
                "unichat.request.id": end.request_id,
            },
        )
        if end.status >= _SERVER_ERROR:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def trace_parent(self) -> str | None:
        """The present request, for a generation that it begins."""
        span, carrier = self._request.get(), dict[str, str]()
        if span is not None:
            self._form.inject(carrier, set_span_in_context(span, Context()))
        return carrier.get(_HEADER)

    def generation_told(self, story: GenerationStory) -> None:
        """Its span and those of its attempts, made now with the times that they had."""
        span = self._tracer.start_span(
            "generation", self._context(story.trace_parent), start_time=_nanoseconds(story.began_at)
        )
        _describe(
            span,
            {
                "gen_ai.conversation.id": story.session_id,
                "unichat.generation.id": story.generation_id,
                "unichat.generation.end_reason": story.end_reason,
                "error.type": story.code,
            },
        )
        if story.code:
            span.set_status(Status(StatusCode.ERROR))
        for attempt in story.attempts:
            self._tell(attempt, set_span_in_context(span, Context()))
        span.end(_nanoseconds(story.began_at + story.seconds))

    def _tell(self, attempt: AttemptEnd, context: Context) -> None:
        span = self._tracer.start_span(
            f"chat {attempt.model}", context, SpanKind.CLIENT, start_time=_nanoseconds(attempt.began_at)
        )
        usage = attempt.usage
        _describe(
            span,
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": attempt.provider,
                "gen_ai.request.model": attempt.model,
                "gen_ai.usage.input_tokens": usage.prompt_tokens if usage else None,
                "gen_ai.usage.output_tokens": usage.completion_tokens if usage else None,
                "unichat.attempt.outcome": attempt.outcome,
                "unichat.attempt.repeats": attempt.repeats,
                "unichat.attempt.first_token_s": attempt.first_token_s,
                "error.type": attempt.code,
            },
        )
        if attempt.code:
            span.set_status(Status(StatusCode.ERROR))
        span.end(_nanoseconds(attempt.began_at + attempt.seconds))

    def _context(self, trace_parent: str | None) -> Context:
        return self._form.extract({_HEADER: trace_parent} if trace_parent else {}, Context())


def tracing_to(endpoint: str, version: str) -> Tracing:
    """Traces for the collector at ``endpoint``, sent in batches by a thread in the background."""
    return Tracing(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")), version)


def _describe(span: Span, attributes: Mapping[str, AttributeValue | None]) -> None:
    span.set_attributes({name: value for name, value in attributes.items() if value is not None})


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
