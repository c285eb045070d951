"""One transaction and the repositories that share it."""

import contextlib
from collections.abc import Callable, Iterator
from functools import cached_property
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
from repositories.transaction import Transaction
from repositories.turn_repository import TurnRepository
from repositories.usage_repository import UsageRepository
from repositories.usage_sum_repository import UsageSumRepository
from repositories.user_repository import UserRepository


class UnitOfWork:
    """The repositories over one transaction, each made when it is asked for. What is not committed never was."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._afterwards: list[Callable[[], None]] = []

    @property
    def _session(self) -> Session:
        return self._transaction.session

    users = cached_property(lambda self: UserRepository(self._session))
    sign_ins = cached_property(lambda self: SignInRepository(self._session))
    api_keys = cached_property(lambda self: ApiKeyRepository(self._session))
    sessions = cached_property(lambda self: SessionRepository(self._session))
    messages = cached_property(lambda self: MessageRepository(self._session))
    turns = cached_property(lambda self: TurnRepository(self._transaction))
    generations = cached_property(lambda self: GenerationRepository(self._session))
    responses = cached_property(lambda self: ResponseRepository(self._session))
    claims = cached_property(lambda self: ClaimRepository(self._session))
    ledger = cached_property(lambda self: LedgerRepository(self._transaction))
    prices = cached_property(lambda self: PriceRepository(self._session))
    budgets = cached_property(
        lambda self: BudgetRepository(self._transaction, BudgetEntity, BudgetEntity.user_id, USERS)
    )
    key_budgets = cached_property(
        lambda self: BudgetRepository(self._transaction, KeyBudgetEntity, KeyBudgetEntity.key_id, KEYS)
    )
    usage = cached_property(lambda self: UsageRepository(self._session))
    usage_sums = cached_property(lambda self: UsageSumRepository(self._session))
    stamps = cached_property(lambda self: StampRepository(self._session))
    routes = cached_property(lambda self: RouteRepository(self._session))
    server_prompts = cached_property(lambda self: ServerPromptRepository(self._session))
    models = cached_property(lambda self: RegisteredModelRepository(self._session))

    def commit(self) -> None:
        """Make everything so far permanent."""
        self._transaction.commit()
        afterwards, self._afterwards = self._afterwards, []
        for tell in afterwards:
            tell()

    def after_commit(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` once what is done here is permanent, and never if it does not become so."""
        self._afterwards.append(tell)


class OpenUnitOfWork(Protocol):
    """``with unit_of_work() as uow: ...; uow.commit()``; ``writes=False`` where nothing is changed.

    ``brief``: every statement finds a few rows by an index, however much is stored.
    """

    def __call__(self, *, writes: bool = True, brief: bool = False) -> contextlib.AbstractContextManager[UnitOfWork]:
        """Open one transaction."""


def unit_of_work_on(database: Database) -> OpenUnitOfWork:
    """The way to open units of work on ``database``."""

    @contextlib.contextmanager
    def unit_of_work(*, writes: bool = True, brief: bool = False) -> Iterator[UnitOfWork]:
        with database.transaction(writes=writes, brief=brief) as connection:
            transaction = Transaction(connection)
            try:
                yield UnitOfWork(transaction)
            finally:
                transaction.close()

    return unit_of_work
