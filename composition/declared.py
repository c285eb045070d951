"""What AI_PROVIDERS, its file and the other settings about providers declare."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self

from adapters.base_adapter import Providers
from adapters.registry import load_providers
from config import Settings, ai_prices, ai_prompts, ai_providers, ai_routes, providers_of_file
from domain.money import PriceList
from domain.routes import Route
from services.model_service import Source


class Declared(NamedTuple):
    """All of it. It does not change while the process lives."""

    providers: Providers
    routes: Mapping[str, Route]
    prices: PriceList
    prompts: Mapping[str, str]
    sources: Mapping[str, Source]

    @classmethod
    def by(
        cls,
        settings: Settings,
        entries: Mapping[str, Mapping[str, Any]] | None,
        routes: Mapping[str, Route] | None,
    ) -> Self:
        """What the settings say; ``entries`` of providers and ``routes`` take the place of theirs where given."""
        entries = ai_providers(settings) if entries is None else entries
        return cls(
            providers=load_providers(entries),
            routes=ai_routes(settings, entries) if routes is None else routes,
            prices=ai_prices(settings, entries),
            prompts=ai_prompts(settings),
            sources=dict.fromkeys(providers_of_file(settings), "file"),
        )

    def targets(self) -> Iterator[tuple[str, str]]:
        """Their (provider, model) pairs: what metrics call by its name."""
        for adapter in self.providers.values():
            if adapter.enabled:
                yield from ((adapter.name, model.name) for model in adapter.models)
        for route in self.routes.values():
            yield from ((target.provider, target.model) for target in route.targets)
