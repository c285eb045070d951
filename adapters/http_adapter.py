"""What adapters over HTTP share: the address, the key, the models, and events from a stream."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from typing import ClassVar

from adapters.base_adapter import AdapterConfig, BaseAdapter, UpstreamCall
from adapters.failures import COMMON_CODES, Codes, FailureMap
from adapters.model_catalog import declared_models, describe
from adapters.sse import ServerEvent, parse_events
from adapters.transport import Transport
from domain.chat import ModelInfo


class HttpAdapter(BaseAdapter):
    """A provider behind one base URL that takes its key as a bearer token.

    A subclass names its public address, its default model and its own error codes, and translates.
    """

    default_base_url: ClassVar[str]
    default_model: ClassVar[str]
    codes: ClassVar[Codes] = COMMON_CODES
    guardable = True

    def __init__(self, name: str, config: AdapterConfig) -> None:
        super().__init__(name, config)
        self.base_url = config.base_url or self.default_base_url
        self._key = config.api_key.get_secret_value()
        self.failures = FailureMap([self._key, *config.headers.values()], self.codes)
        self.transport = Transport(self.base_url, self._headers(), failures=self.failures, guard=config.guard)

    @property
    def enabled(self) -> bool:
        """Whether there is a key, or an address of the operator's own, which may need none."""
        return bool(self._key or self.config.base_url)

    @cached_property
    def models(self) -> Sequence[ModelInfo]:
        """The declared models, or the family's usual one."""
        return declared_models(self.config, self.default_model)

    def model(self, name: str) -> ModelInfo:
        """The declared model, or what its name tells."""
        return self._declared.get(name) or describe(name)

    @cached_property
    def _declared(self) -> Mapping[str, ModelInfo]:
        return {model.name: model for model in self.models}

    def close(self) -> None:
        """Close the connections that wait for a next call."""
        self.transport.close()

    def _headers(self) -> Mapping[str, str]:
        key = {"authorization": f"Bearer {self._key}"} if self._key else {}
        return {**key, **{name.lower(): value for name, value in self.config.headers.items()}}

    @contextmanager
    def _events(
        self, path: str, body: bytes, call: UpstreamCall, headers: Mapping[str, str] | None = None
    ) -> Iterator[Iterator[ServerEvent]]:
        """The events that answer a POST. Raises as :meth:`Transport.post_stream` does."""
        with self._pieces(path, body, call, headers) as pieces:
            yield chain.from_iterable(pieces)

    @contextmanager
    def _pieces(
        self, path: str, body: bytes, call: UpstreamCall, headers: Mapping[str, str] | None = None
    ) -> Iterator[Iterator[Sequence[ServerEvent]]]:
        """The same, those together that came at once."""
        with self.transport.post_stream(path, body, call, headers) as pieces:
            yield parse_events(pieces)
