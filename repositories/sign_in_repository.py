"""Sign-ins (families of refresh tokens) and stream tickets."""

from sqlalchemy.orm import Session


class SignInRepository:
    """Queries on sign-ins and stream tickets."""

    def __init__(self, session: Session) -> None:
        self._session = session
