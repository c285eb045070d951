"""Database entities, one file per aggregate. They hold columns and no logic.

Importing this package registers every entity with the metadata (migrations need all of them).
"""

from models.api_key import ApiKeyEntity
from models.budget import BudgetColumns, BudgetEntity, KeyBudgetEntity
from models.claim import ClaimEntity
from models.database import db
from models.generation import GenerationEntity
from models.ledger import LedgerEntity
from models.message import MessageEntity
from models.price import PriceEntity
from models.registered_model import RegisteredModelEntity
from models.response import ResponseEntity
from models.route import RouteEntity
from models.server_prompt import ServerPromptEntity
from models.session import SessionEntity
from models.stamp import StampEntity
from models.usage_sum import UsageMarkEntity, UsageSumEntity
from models.user import InstallationEntity, SignInEntity, StreamTicketEntity, UserEntity

__all__ = [
    "ApiKeyEntity",
    "BudgetColumns",
    "BudgetEntity",
    "ClaimEntity",
    "GenerationEntity",
    "InstallationEntity",
    "KeyBudgetEntity",
    "LedgerEntity",
    "MessageEntity",
    "PriceEntity",
    "RegisteredModelEntity",
    "ResponseEntity",
    "RouteEntity",
    "ServerPromptEntity",
    "SessionEntity",
    "SignInEntity",
    "StampEntity",
    "StreamTicketEntity",
    "UsageMarkEntity",
    "UsageSumEntity",
    "UserEntity",
    "db",
]
