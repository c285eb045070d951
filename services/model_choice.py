"""Which models may answer a turn."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from adapters.base_adapter import BaseAdapter, Providers
from domain.chat import Capabilities, ModelInfo
from domain.errors import InvalidInput, NotFound, PermissionDenied, Unavailable
from domain.principal import Principal
from domain.routes import DEFAULT_ROUTE, Route, target_name

_OURS = "unichat"  # who owns a public model that stands for several of others


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


@dataclass(frozen=True, slots=True)
class PublicModel:
    """A model as clients may ask for it. ``created`` is in Unix seconds, 0 where nobody knows; figures in tokens."""

    name: str
    owned_by: str
    context_window: int
    max_output: int
    capabilities: Capabilities
    created: int = 0


class ModelChooser:
    """Chooses among the routes and the enabled providers; without a route called ``default``, the first provider is it.

    ``draw`` gives numbers from 0 to below 1, for targets that share a route's turns. What a caller's API key does not
    allow is refused with PermissionDenied ``model_not_allowed``.
    """

    def __init__(
        self,
        providers: Providers,
        routes: Mapping[str, Route] | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._providers = providers
        self._routes = {} if routes is None else routes  # one that is live may be empty now
        self._draw = draw

    def resolve(
        self, principal: Principal, provider: str | None, model: str | None, usual: str | None = None
    ) -> Resolved:
        """The models that may answer for a provider and a model; what is not named is found or defaulted.

        A model without a provider is a route of that name, else it is taken from the first provider that declares it,
        else from the default provider; ``usual`` is the provider that comes before all others then. Raises InvalidInput
        for an unknown provider, Unavailable if there is none.
        """
        route = self._routes.get(model or DEFAULT_ROUTE) if provider is None else None
        if route is not None:
            return self._by_route(principal, route)
        return self._at(principal, self._adapter(provider, model, usual), model)

    def find(self, principal: Principal, model: str) -> Resolved:
        """What a public name stands for: a route, a declared model, or any ``provider/model``.

        Raises NotFound ``model_not_found`` for all other names.
        """
        route = self._routes.get(model)
        if route is not None:
            return self._by_route(principal, route)
        declaring = next((one for one in self._enabled() if any(known.name == model for known in one.models)), None)
        if declaring is not None:
            return self._at(principal, declaring, model)
        provider, _, name = model.partition("/")
        adapter = self._providers.get(provider)
        if adapter is None or not adapter.enabled or not name:
            raise NotFound(f"There is no model {model}.", "model_not_found")
        return self._at(principal, adapter, name)

    def public_models(self, principal: Principal) -> list[PublicModel]:
        """The models that the caller may use, each under one name; those of one route are described by its first.

        A model that several providers declare is the first one's; the others' are called ``provider/model``.
        """
        found: dict[str, PublicModel] = {}
        for one in self._all():
            found.setdefault(one.name, one)
        return [one for one in found.values() if _is_allowed(principal, one.name, target_name(one.owned_by, one.name))]

    def _all(self) -> Iterator[PublicModel]:
        for route in self._routes.values():
            targets = sorted(route.targets, key=lambda target: target.order)
            asked = [(self._providers.get(target.provider), target.model) for target in targets]
            infos = [adapter.model(model) for adapter, model in asked if adapter is not None and adapter.enabled]
            if infos:
                yield _public(route.name, _OURS, infos[0])
        taken: set[str] = set(self._routes)
        for adapter in self._enabled():
            for info in adapter.models:
                name = target_name(adapter.name, info.name) if info.name in taken else info.name
                yield _public(name, adapter.name, info)
            taken.update(info.name for info in adapter.models)

    def _enabled(self) -> Iterator[BaseAdapter]:
        return (adapter for adapter in self._providers.values() if adapter.enabled)

    def _by_route(self, principal: Principal, route: Route) -> Resolved:
        _check(principal, route.name)
        choices, passed = [], []
        for target in route.for_a_turn(self._draw):
            adapter = self._providers.get(target.provider)
            if adapter is None or not adapter.enabled:
                passed.append(Passed(target.name, "not_configured"))
            else:
                choices.append(ModelChoice(target.provider, adapter.model(target.model)))
        if not choices:
            raise Unavailable(f"No provider of {route.name} is configured.", "no_provider", retry_after=60)
        return Resolved(None, route.name, tuple(choices), tuple(passed))

    def _at(self, principal: Principal, adapter: BaseAdapter, model: str | None) -> Resolved:
        choice = ModelChoice(adapter.name, adapter.model(model) if model else adapter.models[0])
        _check(principal, choice.model.name, choice.target)
        return Resolved(choice.provider, choice.model.name, (choice,))

    def _adapter(self, provider: str | None, model: str | None, usual: str | None) -> BaseAdapter:
        enabled = {adapter.name: adapter for adapter in self._enabled()}
        if not enabled:
            raise Unavailable("No AI provider is configured.", "no_provider", retry_after=60)
        if provider is None:
            ordered = sorted(enabled.values(), key=lambda adapter: adapter.name != usual)
            declaring = (a for a in ordered if any(known.name == model for known in a.models))
            return next(declaring, ordered[0])
        if provider not in enabled:
            message = f"There is no provider of that name; there are: {', '.join(enabled)}."
            raise InvalidInput(message, "unknown_provider", ("provider",))
        return enabled[provider]


def _public(name: str, owned_by: str, info: ModelInfo) -> PublicModel:
    return PublicModel(name, owned_by, info.context_window, info.max_output, info.capabilities)


def _is_allowed(principal: Principal, *names: str) -> bool:
    return principal.key is None or any(principal.key.allows_model(name) for name in names)


def _check(principal: Principal, *names: str) -> None:
    """``names`` are those that one model has; a key that allows one of them allows it."""
    if not _is_allowed(principal, *names):
        raise PermissionDenied(f"This API key may not use the model {names[0]}.", "model_not_allowed")
