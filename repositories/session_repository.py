"""Chat sessions of an owner."""

from sqlalchemy.orm import Session


class SessionRepository:
    """Queries on sessions; every one has the owner in its WHERE."""

    def __init__(self, session: Session) -> None:
        self._session = session
