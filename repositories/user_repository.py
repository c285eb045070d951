"""Users, and the installation's one-time setup."""

from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.orm import Session

from domain.errors import Conflict
from domain.paging import Page
from domain.principal import Role
from models import InstallationEntity, UserEntity
from repositories.paging import decode_cursor, page_of

_INSTALLATION = 1


class UserRepository:
    """Queries on users. Names and addresses are looked up in the form of :func:`domain.user_names.login_key`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, user_id: str) -> UserEntity | None:
        """The user, if there is one."""
        return self._session.get(UserEntity, user_id)

    def lock(self, user_id: str) -> UserEntity | None:
        """The user as it is now; nobody else changes it until this transaction ends."""
        return self._session.get(UserEntity, user_id, with_for_update=True)

    def by_login(self, key: str) -> UserEntity | None:
        """The user with that name or address."""
        either = sa.or_(UserEntity.login_name == key, UserEntity.email == key)
        return self._session.scalars(sa.select(UserEntity).where(either).limit(1)).first()

    def add(self, user: UserEntity) -> None:
        """Store a new user. Raises :class:`Conflict` if the name or the address is taken."""
        self._session.add(user)
        self.flush()

    def flush(self) -> None:
        """Write what was changed. Raises :class:`Conflict` if the name or the address is taken."""
        try:
            self._session.flush()
        except exc.IntegrityError as error:
            if "login_name" in str(error.orig):  # every database names the constraint or the column
                raise Conflict("This username is taken.", "username_taken") from error
            raise Conflict("This e-mail address is taken.", "email_taken") from error

    def delete(self, user_id: str) -> bool:
        """Delete the user with all that is theirs; whether there was such a user."""
        query = sa.delete(UserEntity).where(UserEntity.id == user_id)
        result = self._session.execute(query, execution_options={"synchronize_session": False})
        return cast("sa.CursorResult[Any]", result).rowcount == 1

    def page(self, *, limit: int, cursor: str | None, text: str) -> Page[UserEntity]:
        """Oldest first; ``text`` is looked for in names and addresses."""
        query = sa.select(UserEntity)
        if text:
            columns = (UserEntity.login_name, UserEntity.email)
            query = query.where(sa.or_(*(column.contains(text, autoescape=True) for column in columns)))
        if cursor:
            query = query.where(UserEntity.id > decode_cursor(cursor, tuple[str])[0])
        rows = self._session.scalars(query.order_by(UserEntity.id).limit(limit + 1)).all()
        return page_of(rows, limit, lambda user: (user.id,))

    def count(self) -> int:
        """How many there are."""
        return self._session.scalar(sa.select(sa.func.count()).select_from(UserEntity)) or 0

    def other_admins(self, user_id: str) -> int:
        """How many active administrators there are beside this one; it stays so until this transaction ends.

        Whoever takes an administrator away asks this first, and all who ask queue at the installation's row.
        """
        self._session.get(InstallationEntity, _INSTALLATION, with_for_update=True)
        query = sa.select(sa.func.count()).select_from(UserEntity)
        others = query.where(UserEntity.role == Role.ADMIN.value, UserEntity.is_active, UserEntity.id != user_id)
        return self._session.scalar(others) or 0

    def is_installed(self) -> bool:
        """Whether the setup is done."""
        return self._session.get(InstallationEntity, _INSTALLATION) is not None

    def close_setup(self, at: datetime) -> None:
        """Close the setup for ever. Raises :class:`Conflict` for all but the first to do so."""
        self._session.add(InstallationEntity(id=_INSTALLATION, completed_at=at))
        try:
            self._session.flush()
        except exc.IntegrityError as error:
            raise Conflict("The setup has been completed.", "setup_closed") from error
