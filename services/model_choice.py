"""Which models may answer a turn."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from adapters.base_adapter import BaseAdapter, Providers
from domain.chat import Capabilities, ModelInfo
from domain.errors import InvalidInput, NotFound, PermissionDenied, Unavailable
from domain.principal import Principal
from domain.routes import DEFAULT_ROUTE, Route, target_name
from services.registered_models import Registered, RegisteredModels

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
    ``personal``: it is the caller's own, at a provider of theirs.
    """

    provider: str | None
    model: str
    choices: tuple[ModelChoice, ...]
    passed: tuple[Passed, ...] = ()
    personal: bool = False


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
    """Chooses among registered models, routes and the enabled providers.

    A name is looked for among the caller's own models, then the routes, then the installation's models, then those that
    providers declare. Without a route called ``default``, the first provider is it. ``providers`` shows the declared
    ones when it is iterated. ``draw`` gives numbers from 0 to below 1, for targets that share a route's turns. What a
    caller's API key does not allow is refused with PermissionDenied ``model_not_allowed``; another user's model is as
    good as none.
    """

    def __init__(
        self,
        providers: Providers,
        routes: Mapping[str, Route] | None = None,
        draw: Callable[[], float] = random.random,
        registered: Callable[[], RegisteredModels] = RegisteredModels,
    ) -> None:
        self._providers = providers
        self._registered = registered
        self._routes = {} if routes is None else routes  # one that is live may be empty now
        self._draw = draw

    def resolve(
        self, principal: Principal, provider: str | None, model: str | None, usual: str | None = None
    ) -> Resolved:
        """The models that may answer for a provider and a model; what is not named is found or defaulted.

        A model without a provider, which is neither registered nor a route, is taken from the first provider that
        declares it, else from the default provider; ``usual`` is the provider that comes before all others then. A
        registered model's id is its provider. Raises InvalidInput for an unknown provider, Unavailable if there is none
        or the model cannot be used now.
        """
        found = self._named(principal, model) if provider is None else self._by_id(principal, provider)
        return found or self._at(principal, self._adapter(provider, model, usual), model)

    def find(self, principal: Principal, model: str) -> Resolved:
        """What a public name stands for: a registered model, a route, a declared model, or any ``provider/model``.

        Raises NotFound ``model_not_found`` for all other names, Unavailable if the model cannot be used now.
        """
        if model and (found := self._named(principal, model)) is not None:
            return found
        for adapter in self._enabled():
            for known in adapter.models:
                if known.name == model:
                    return self._at(principal, adapter, model)
        provider, _, name = model.partition("/")
        if (found := self._by_id(principal, provider)) is not None:
            return found
        named = self._enabled_one(provider)
        if named is None or not name:
            raise NotFound(f"There is no model {model}.", "model_not_found")
        return self._at(principal, named, name)

    def public_models(self, principal: Principal) -> list[PublicModel]:
        """The models that the caller may use, each under one name; those of one route are described by its first.

        A model that several providers declare is the first one's; the others' are called ``provider/model``.
        """
        visible = [one for one in self._registered() if one.adapter is not None and one.is_for(principal)]
        own = [one for one in visible if one.owner_id is not None]
        system = [one for one in visible if one.owner_id is None]
        found: dict[str, PublicModel] = {}
        for one, names in (
            *((_of_registered(model, principal.username), model.names) for model in own),
            *((_public(name, _OURS, info), (name,)) for name, info in self.routes(principal)),
            *((_of_registered(model, _OURS), model.names) for model in system),
            *((model, (model.name, target_name(model.owned_by, model.name))) for model in self._declared()),
        ):
            if principal.allows_model(*names):
                found.setdefault(one.name, one)
        return list(found.values())

    def routes(self, principal: Principal) -> Iterator[tuple[str, ModelInfo]]:
        """Every route that has somebody to ask, with what is known of its first model."""
        for route in self._routes.values():
            targets = sorted(route.targets, key=lambda target: target.order)
            asked = [(self._target(principal, target.provider), target.model) for target in targets]
            infos = [adapter.model(model) for adapter, model in asked if adapter is not None]
            if infos:
                yield route.name, infos[0]

    def _declared(self) -> Iterator[PublicModel]:
        taken: set[str] = set(self._routes)
        for adapter in self._enabled():
            for info in adapter.models:
                name = target_name(adapter.name, info.name) if info.name in taken else info.name
                yield _public(name, adapter.name, info)
            taken.update(info.name for info in adapter.models)

    def _enabled(self) -> Iterator[BaseAdapter]:
        return (adapter for adapter in self._providers.values() if adapter.enabled)

    def _enabled_one(self, name: str) -> BaseAdapter | None:
        # Not by a look-up: that finds what belongs to somebody.
        return next((adapter for adapter in self._enabled() if adapter.name == name), None)

    def _named(self, principal: Principal, name: str | None) -> Resolved | None:
        registered = self._registered()
        if name and (own := registered.personal(principal, name)) is not None:
            return _by_registration(principal, own)
        if (route := self._routes.get(name or DEFAULT_ROUTE)) is not None:
            return self._by_route(principal, route)
        system = registered.system(principal, name) if name else None
        return None if system is None else _by_registration(principal, system)

    def _by_id(self, principal: Principal, model_id: str) -> Resolved | None:
        found = self._registered().get(model_id)
        return _by_registration(principal, found) if found is not None and found.is_for(principal) else None

    def _target(self, principal: Principal, provider: str) -> BaseAdapter | None:
        """The provider of a route's target: routes lend the installation's models to everybody, and nobody's own."""
        found = self._registered().get(provider)
        if found is not None:
            return found.adapter if found.owner_id in (None, principal.user_id) else None
        return self._enabled_one(provider)

    def _by_route(self, principal: Principal, route: Route) -> Resolved:
        _check(principal, route.name)
        choices, passed = [], []
        for target in route.for_a_turn(self._draw):
            adapter = self._target(principal, target.provider)
            if adapter is None:
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


def _by_registration(principal: Principal, model: Registered) -> Resolved:
    _check(principal, *model.names)
    return Resolved(None, model.name, (ModelChoice(model.id, model.info),), personal=model.owner_id is not None)


def _of_registered(model: Registered, owned_by: str) -> PublicModel:
    return _public(model.name, owned_by, model.info, int(model.created_at.timestamp()))


def _public(name: str, owned_by: str, info: ModelInfo, created: int = 0) -> PublicModel:
    return PublicModel(name, owned_by, info.context_window, info.max_output, info.capabilities, created)


def _check(principal: Principal, *names: str) -> None:
    """``names`` are those that one model has; a key that allows one of them allows it."""
    if not principal.allows_model(*names):
        raise PermissionDenied(f"This API key may not use the model {names[0]}.", "model_not_allowed")
