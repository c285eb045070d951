"""The models that were registered at run time, as they stand at one moment."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from adapters.base_adapter import BaseAdapter
from domain.chat import ModelInfo
from domain.errors import Unavailable
from domain.principal import Principal, Role


@dataclass(frozen=True, slots=True)
class Registered:
    """A model that may be asked for. ``adapter`` is None where it cannot be made: its key does not open, for example.

    Without ``owner_id`` it is the installation's; ``roles`` are those who may use it then, None for everybody.
    """

    id: str
    owner_id: str | None
    name: str
    aliases: tuple[str, ...]
    upstream_model: str
    roles: frozenset[Role] | None
    created_at: datetime
    adapter: BaseAdapter | None

    @property
    def names(self) -> tuple[str, ...]:
        """All its names, the public one first."""
        return (self.name, *self.aliases)

    @property
    def info(self) -> ModelInfo:
        """What is known of it. Raises Unavailable ``model_unusable`` where its adapter cannot be made."""
        if self.adapter is None:
            message = f"The model {self.name} cannot be used: its stored key or its settings cannot be read."
            raise Unavailable(message, "model_unusable", retry_after=60)
        return self.adapter.model(self.upstream_model)

    def is_for(self, principal: Principal) -> bool:
        """Whether the caller may use it: the owner alone, or those with one of the roles."""
        if self.owner_id is not None:
            return self.owner_id == principal.user_id
        return self.roles is None or principal.role is Role.ADMIN or principal.role in self.roles


class RegisteredModels:
    """All of them, found by name or id without a search. Nothing in here ever changes."""

    def __init__(self, models: Iterable[Registered] = ()) -> None:
        self._by_id = {model.id: model for model in models}
        self._by_name: dict[tuple[str | None, str], Registered] = {}
        for position in (0, 1):  # public names before aliases, older ones before newer ones
            for model in self._by_id.values():
                for name in model.aliases if position else (model.name,):
                    self._by_name.setdefault((model.owner_id, name), model)

    def __iter__(self) -> Iterator[Registered]:
        return iter(self._by_id.values())

    def get(self, model_id: str) -> Registered | None:
        """The one with this id, whosever it is."""
        return self._by_id.get(model_id)

    def personal(self, principal: Principal, name: str) -> Registered | None:
        """The caller's own of this name."""
        return self._by_name.get((principal.user_id, name))

    def system(self, principal: Principal, name: str) -> Registered | None:
        """The installation's of this name, if the caller may use it."""
        found = self._by_name.get((None, name))
        return found if found is not None and found.is_for(principal) else None
