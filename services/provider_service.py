"""The configured providers, as users may see them."""

from collections.abc import Sequence
from dataclasses import dataclass

from adapters.base_adapter import Providers
from domain.chat import ModelInfo


@dataclass(frozen=True, slots=True)
class ProviderInfo:
    """A provider that can be called, and its models, the default one first."""

    name: str
    is_default: bool
    models: Sequence[ModelInfo]


class ProviderService:
    """Lists providers. Keys and addresses stay inside."""

    def __init__(self, providers: Providers) -> None:
        self._providers = [adapter for adapter in providers.values() if adapter.enabled]

    def all(self) -> list[ProviderInfo]:
        """Every enabled provider, the default one first."""
        return [
            ProviderInfo(adapter.name, position == 0, adapter.models)
            for position, adapter in enumerate(self._providers)
        ]
