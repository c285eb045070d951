"""One transaction and the repositories that share it."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

from sqlalchemy.orm import Session

from models import BudgetEntity, KeyBudgetEntity
from repositories.api_key_repository import ApiKeyRepository
from repositories.budget_repository import BudgetRepository
from repositories.budget_statements import KEYS, USERS
from repositories.claim_repository import ClaimRepository
from repositories.database import Database
from repositories.generation_repository import GenerationRepository
from repositories.ledger_repository import LedgerRepository
from repositories.message_repository import MessageRepository
from repositories.price_repository import PriceRepository
from repositories.registered_model_repository import RegisteredModelRepository
from repositories.response_repository import ResponseRepository
from repositories.route_repository import RouteRepository
from repositories.server_prompt_repository import ServerPromptRepository
from repositories.session_repository import SessionRepository
from repositories.sign_in_repository import SignInRepository
from repositories.stamp_repository import StampRepository
from repositories.usage_repository import UsageRepository
from repositories.user_repository import UserRepository


class UnitOfWork:
    """The repositories over one transaction. What is not committed never was."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._afterwards: list[Callable[[], None]] = []
        self.users = UserRepository(session)
        self.sign_ins = SignInRepository(session)
        self.api_keys = ApiKeyRepository(session)
        self.sessions = SessionRepository(session)
        self.messages = MessageRepository(session)
        self.generations = GenerationRepository(session)
        self.responses = ResponseRepository(session)
        self.claims = ClaimRepository(session)
        self.ledger = LedgerRepository(session)
        self.prices = PriceRepository(session)
        self.budgets = BudgetRepository(session, BudgetEntity, BudgetEntity.user_id, USERS)
        self.key_budgets = BudgetRepository(session, KeyBudgetEntity, KeyBudgetEntity.key_id, KEYS)
        self.usage = UsageRepository(session)
        self.stamps = StampRepository(session)
        self.routes = RouteRepository(session)
        self.server_prompts = ServerPromptRepository(session)
        self.models = RegisteredModelRepository(session)
        self.stamps = StampRepository(session)

    def commit(self) -> None:
        """Make everything so far permanent."""
        self._session.commit()
        afterwards, self._afterwards = self._afterwards, []
        for tell in afterwards:
            tell()

    def after_commit(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` once what is done here is permanent, and never if it does not become so."""
        self._afterwards.append(tell)


class OpenUnitOfWork(Protocol):
    """``with unit_of_work() as uow: ...; uow.commit()``; ``writes=False`` where nothing is changed."""

    def __call__(self, *, writes: bool = True) -> contextlib.AbstractContextManager[UnitOfWork]:
        """Open one transaction."""


def unit_of_work_on(database: Database) -> OpenUnitOfWork:
    """The way to open units of work on ``database``."""

    @contextlib.contextmanager
    def unit_of_work(*, writes: bool = True) -> Iterator[UnitOfWork]:
        with database.transaction(writes=writes) as session:
            yield UnitOfWork(session)

    return unit_of_work
