"""Database entities, one file per aggregate. They hold columns and no logic.

Importing this package registers every entity with the metadata (migrations need all of them).
"""

from models.claim import ClaimEntity
from models.database import db
from models.generation import GenerationEntity
from models.message import MessageEntity
from models.session import SessionEntity
from models.user import InstallationEntity, SignInEntity, StreamTicketEntity, UserEntity

__all__ = [
    "ClaimEntity",
    "GenerationEntity",
    "InstallationEntity",
    "MessageEntity",
    "SessionEntity",
    "SignInEntity",
    "StreamTicketEntity",
    "UserEntity",
    "db",
]
