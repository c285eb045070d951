"""A new master key: everything that is sealed with an older one is sealed anew, while nodes serve."""

from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from domain.master_keys import key_id_of
from repositories.registered_model_repository import SealedKey
from repositories.unit_of_work import OpenUnitOfWork
from services.vault import SealBroken, Vault

log = structlog.get_logger()

_BATCH = 100


def place_of(model_id: str, holder: str) -> tuple[str, ...]:
    """Where a model's key belongs: its seal is good for this alone."""
    return ("models", "api_key", model_id, holder)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rotation is. ``unreadable`` keys were sealed with a master key that is not known, or are damaged."""

    done: int
    left: int
    unreadable: int


class KeyRotation:
    """Seals keys anew with the current master key.

    It can be broken off at any moment and begun again: each batch is a transaction, and what is sealed with the current
    key is not touched any more. Nodes go on meanwhile, for they find either key in their keyring. A key that somebody
    changes at the same moment is left as they put it.
    """

    def __init__(self, unit_of_work: OpenUnitOfWork, vault: Vault, batch: int = _BATCH) -> None:
        self._unit_of_work = unit_of_work
        self._vault = vault
        self._batch = batch

    def left(self) -> int:
        """How many keys are sealed with an older master key."""
        with self._unit_of_work(writes=False) as uow:
            return uow.models.count_sealed(other_than=self._vault.current().id)

    def steps(self) -> Iterator[Progress]:
        """Do it, batch by batch; the last progress has nothing left but what is unreadable."""
        current, after, done, unreadable = self._vault.current().id, "", 0, 0
        while True:
            with self._unit_of_work() as uow:
                keys = uow.models.sealed_keys(other_than=current, after=after, limit=self._batch)
                for key in keys:
                    sealed = self._sealed_anew(key)
                    unreadable += sealed is None
                    done += sealed is not None and uow.models.replace_key(key, sealed)
                uow.commit()
                left = uow.models.count_sealed(other_than=current)
            yield Progress(done, left, unreadable)
            if keys:
                after = keys[-1].id
            elif left <= unreadable:
                return
            else:
                after, unreadable = "", 0  # somebody has stored one that was sealed just before the key changed

    def _sealed_anew(self, key: SealedKey) -> str | None:
        place = place_of(key.id, key.holder)
        try:
            return self._vault.seal(self._vault.open(key.sealed, *place), *place)
        except SealBroken as error:
            log.warning("key_not_sealed_anew", model_id=key.id, key_id=key_id_of(key.sealed), reason=error.message)
            return None


def unknown_master_keys(unit_of_work: OpenUnitOfWork, vault: Vault) -> list[str]:
    """The ids of the master keys that stored keys need, and that are not known here."""
    with unit_of_work(writes=False) as uow:
        needed = uow.models.master_key_ids()
    return [key_id for key_id in needed if not vault.knows(key_id)]
