"""Requests: how long they take, which fail, and which streams are open."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from domain.observer import Observer, RequestEnd
from telemetry.buckets import SECONDS
from telemetry.targets import OTHER, Codes

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_UNMATCHED = "unmatched"
_ERROR = 400


class HttpMetrics(Observer):
    """Counts requests by the rule that matched them: a flood of made-up paths is one series."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "unichat_http_request_seconds",
            "Time to the last byte of a response, by route and class of status.",
            ["route", "method", "status"],
            buckets=SECONDS,
            registry=registry,
        )
        self._first_byte = Histogram(
            "unichat_http_first_byte_seconds",
            "Time to the first byte of an event stream.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self._errors = Counter(
            "unichat_http_errors", "Responses with an error, by its code.", ["status", "code"], registry=registry
        )
        self._streams = Gauge(
            "unichat_http_streams",
            "Event streams that are open now.",
            ["route"],
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._codes = Codes()
        self._usual: dict[tuple[str | None, str, int], Histogram] = {}  # found once: this is asked at every request

    def request_ended(self, end: RequestEnd) -> None:
        """Count it."""
        key = (end.route, end.method, end.status // 100)
        seconds = self._usual.get(key) or self._begin(*key)
        seconds.observe(end.seconds)
        if end.first_byte_s is not None:
            self._first_byte.labels(end.route or _UNMATCHED).observe(end.first_byte_s)
        if end.status >= _ERROR:
            self._errors.labels(end.status, self._codes.label(end.code)).inc()

    def stream_began(self, route: str) -> None:
        """One more."""
        self._streams.labels(route).inc()

    def stream_ended(self, route: str) -> None:
        """One less."""
        self._streams.labels(route).dec()

    def _begin(self, route: str | None, method: str, status_class: int) -> Histogram:
        known = method in _METHODS
        made = self._seconds.labels(route or _UNMATCHED, method if known else OTHER, f"{status_class}xx")
        if known:
            self._usual[route, method, status_class] = made
        return made
