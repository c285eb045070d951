"""Users, and the installation's one-time setup."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from domain.principal import Role
from models import InstallationEntity, UserEntity
from domain.paging import Page
from repositories.paging import decode_cursor, page_of


class UserRepository:
    """Queries on users."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, user_id: str) -> UserEntity | None:
        """The user, if there is one."""
        return self._session.get(UserEntity, user_id)
