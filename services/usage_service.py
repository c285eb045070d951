"""Reports of what was used, for users about themselves and for administrators about everybody."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date

from domain.principal import Principal
from domain.reports import Grouping, Used
from repositories.unit_of_work import OpenUnitOfWork

_MOST_GROUPS = 1000


@dataclass(frozen=True, slots=True)
class UsageReport:
    """What was used, by groups and in ``total``; ``truncated`` tells that there are more groups than a report has."""

    items: Sequence[Used]
    total: Used
    truncated: bool


class UsageService:
    """Adds up what was used."""

    def __init__(self, unit_of_work: OpenUnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    def report(
        self,
        principal: Principal,
        first: date,
        last: date,
        by: Collection[Grouping],
        user_id: str | None,
        key_id: str | None = None,
    ) -> UsageReport:
        """What a user's turns of those days (UTC) used; everybody's without ``user_id``; with one API key only.

        Raises PermissionDenied for what others used, unless an administrator asks.
        """
        if user_id != principal.user_id:
            principal.require_admin()
        with self._unit_of_work(writes=False) as uow:
            items = uow.usage.report(first, last, by, user_id=user_id, key_id=key_id, limit=_MOST_GROUPS + 1)
            (total,) = uow.usage.report(first, last, (), user_id=user_id, key_id=key_id, limit=1)
        return UsageReport(items[:_MOST_GROUPS], total, len(items) > _MOST_GROUPS)
