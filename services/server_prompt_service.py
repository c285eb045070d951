"""The operator's system prompts, as administrators see and set them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from domain.clock import now
from domain.errors import Conflict, NotFound
from domain.principal import Principal
from models import ServerPromptEntity
from repositories.unit_of_work import OpenUnitOfWork
from services.prompt_book import PromptBook
from services.refresher import Refresher

log = structlog.get_logger()

PromptSource = Literal["file", "admin"]


@dataclass(frozen=True, slots=True)
class PromptView:
    """A model's prompt. ``locked``: it stands in AI_PROVIDERS_FILE; ``overrides``: one set by hand is not in force."""

    public_model: str
    text: str
    source: PromptSource
    locked: bool
    overrides: bool


class ServerPromptService:
    """Shows and sets prompts. What AI_PROVIDERS_FILE declares stands. The log never has their text."""

    def __init__(self, unit_of_work: OpenUnitOfWork, prompts: PromptBook, refresher: Refresher) -> None:
        self._unit_of_work = unit_of_work
        self._prompts = prompts
        self._refresher = refresher

    def all(self, principal: Principal) -> Sequence[PromptView]:
        """Every prompt in force, by public model."""
        principal.require_admin()
        return [self._view(name, text) for name, text in sorted(self._prompts.items())]

    def get(self, principal: Principal, public_model: str) -> PromptView:
        """One of them. Raises NotFound ``prompt_not_found``."""
        principal.require_admin()
        text = self._prompts.get(public_model)
        if text is None:
            raise _not_found()
        return self._view(public_model, text)

    def put(self, principal: Principal, public_model: str, text: str) -> PromptView:
        """Set a model's prompt, for turns that begin from now on. Raises Conflict ``locked_by_configuration``."""
        self._check(principal, public_model)
        row = ServerPromptEntity(public_model=public_model, text=text, updated_by=principal.user_id, updated_at=now())
        with self._unit_of_work() as uow:
            uow.stamps.move("server_prompts")
            uow.server_prompts.put(row)
            uow.commit()
        self._refresher.refresh()
        log.info("server_prompt_set", public_model=public_model, by=principal.user_id)
        return self._view(public_model, text)

    def delete(self, principal: Principal, public_model: str) -> None:
        """Take a prompt away. Raises NotFound ``prompt_not_found``, Conflict ``locked_by_configuration``."""
        self._check(principal, public_model)
        with self._unit_of_work() as uow:
            uow.stamps.move("server_prompts")
            if not uow.server_prompts.delete(public_model):
                raise _not_found()
            uow.commit()
        self._refresher.refresh()
        log.info("server_prompt_deleted", public_model=public_model, by=principal.user_id)

    def _check(self, principal: Principal, public_model: str) -> None:
        principal.require_admin()
        if public_model in self._prompts.declared:
            raise Conflict("This prompt is set by AI_PROVIDERS_FILE; change it there.", "locked_by_configuration")

    def _view(self, name: str, text: str) -> PromptView:
        locked = name in self._prompts.declared
        return PromptView(name, text, "file" if locked else "admin", locked, self._prompts.overrides(name))


def _not_found() -> NotFound:
    return NotFound("There is no such prompt.", "prompt_not_found")
