"""Generations: created once, finished once."""

from sqlalchemy.orm import Session


class GenerationRepository:
    """Queries on generations."""

    def __init__(self, session: Session) -> None:
        self._session = session
