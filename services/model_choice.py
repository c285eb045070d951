"""Which models may answer a turn."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from adapters.base_adapter import BaseAdapter, Providers
from domain.chat import ModelInfo
from domain.errors import InvalidInput, Unavailable
from domain.routes import DEFAULT_ROUTE, Route, target_name


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model at a provider."""

    provider: str
    model: ModelInfo

    @property
    def target(self) -> str:
        """``provider/model``."""
        return target_name(self.provider, self.model.name)


@dataclass(frozen=True, slots=True)
class Passed:
    """A target that was not asked, and why, in a word."""

    target: str
    reason: str

    @property
    def note(self) -> str:
        """``provider/model=reason``."""
        return f"{self.target}={self.reason}"


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a name stands for: the models that may answer, in the order of this turn; never empty.

    ``provider`` and ``model`` are what a session keeps to get the same again: a public model has no provider.
    """

    provider: str | None
    model: str
    choices: tuple[ModelChoice, ...]
    passed: tuple[Passed, ...] = ()


class ModelChooser:
    """Chooses among the routes and the enabled providers; without a route called ``default``, the first provider is it.

    ``draw`` gives numbers from 0 to below 1, for targets that share a route's turns.
    """

    def __init__(
        self,
        providers: Providers,
        routes: Mapping[str, Route] | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._providers = {name: adapter for name, adapter in providers.items() if adapter.enabled}
        self._routes = routes or {}
        self._draw = draw

    def resolve(self, provider: str | None, model: str | None, usual: str | None = None) -> Resolved:
        """The models that may answer for a provider and a model; what is not named is found or defaulted.

        A model without a provider is a route of that name, else it is taken from the first provider that declares it,
        else from the default provider; ``usual`` is the provider that comes before all others then. Raises InvalidInput
        for an unknown provider, Unavailable if there is none.
        """
        route = self._routes.get(model or DEFAULT_ROUTE) if provider is None else None
        if route is not None:
            return self._by_route(route)
        adapter = self._adapter(provider, model, usual)
        choice = ModelChoice(adapter.name, adapter.model(model) if model else adapter.models[0])
        return Resolved(choice.provider, choice.model.name, (choice,))

    def _by_route(self, route: Route) -> Resolved:
        choices, passed = [], []
        for target in route.for_a_turn(self._draw):
            adapter = self._providers.get(target.provider)
            if adapter is None:
                passed.append(Passed(target.name, "not_configured"))
            else:
                choices.append(ModelChoice(target.provider, adapter.model(target.model)))
        if not choices:
            raise Unavailable(f"No provider of {route.name} is configured.", "no_provider", retry_after=60)
        return Resolved(None, route.name, tuple(choices), tuple(passed))

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
