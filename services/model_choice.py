"""Which provider and model answer a turn."""

from dataclasses import dataclass

from adapters.base_adapter import BaseAdapter, Providers
from domain.chat import ModelInfo
from domain.errors import InvalidInput, Unavailable


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model at a provider."""

    provider: str
    model: ModelInfo


class ModelChooser:
    """Chooses among the enabled providers; the first one is the default."""

    def __init__(self, providers: Providers) -> None:
        self._providers = {name: adapter for name, adapter in providers.items() if adapter.enabled}

    def choose(self, provider: str | None, model: str | None, usual: str | None = None) -> ModelChoice:
        """The named model at the named provider; what is not named is found or defaulted.

        A model without a provider is taken from the first provider that declares it, else from the default provider;
        ``usual`` is the provider that comes before all others then.
        """
        adapter = self._adapter(provider, model, usual)
        return ModelChoice(adapter.name, adapter.model(model) if model else adapter.models[0])

    def _adapter(self, provider: str | None, model: str | None, usual: str | None) -> BaseAdapter:
        if not self._providers:
            raise Unavailable("No AI provider is configured.", "no_provider", retry_after=60)
        if provider is None:
            ordered = sorted(self._providers.values(), key=lambda adapter: adapter.name != usual)
            declaring = (a for a in ordered if any(known.name == model for known in a.models))
            return next(declaring, ordered[0])
        if provider not in self._providers:
            known = ", ".join(self._providers)
            message = f"There is no provider of that name; there are: {known}."
            raise InvalidInput(message, "unknown_provider", ("provider",))
        return self._providers[provider]
