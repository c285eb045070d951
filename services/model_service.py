"""Models: which there are for a caller, and those that people register."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

import structlog

from adapters.base_adapter import BaseAdapter
from domain.chat import ModelInfo
from domain.clock import now
from domain.errors import AppError, Conflict, InvalidInput, NotFound, PermissionDenied
from domain.money import Price, PriceList
from domain.principal import Principal, Role
from models import PriceEntity, RegisteredModelEntity
from repositories.registered_model_repository import SYSTEM
from repositories.unit_of_work import OpenUnitOfWork, UnitOfWork
from services.model_choice import ModelChooser
from services.model_rows import ModelFields, copy_of, fill, new_row
from services.model_trial import Trial, try_model
from services.price_book import PriceBook, price_from
from services.provider_directory import EVERYBODY, STAMP, ProviderDirectory
from services.refresher import Refresher
from services.vault import Vault

log = structlog.get_logger()

_MOST = 100  # of one user
Source = Literal["environment", "file", "route", "admin", "personal"]


@dataclass(frozen=True, slots=True)
class Registration:
    """What only those see who may change a model."""

    kind: str
    base_url: str
    key_set: bool
    key_hint: str
    visible_to: str
    enabled: bool
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model that the caller may use or change. ``provider`` is what its messages and ledger rows name.

    ``info`` is None for one that cannot be used as it is: ``fault`` is the code that says why.
    """

    name: str
    source: Source
    info: ModelInfo | None
    id: str | None = None
    provider: str | None = None
    aliases: Sequence[str] = ()
    price: Price | None = None
    fault: str | None = None
    created_at: datetime | None = None
    registration: Registration | None = None


class ModelService:
    """Shows, registers and tries models.

    ``check_url`` says whether a base URL may be called (UnsupportedInput if not), and may take seconds. ``sources``
    tells where declared providers come from, by their names. Without ``personal``, only administrators register models.
    """

    def __init__(
        self,
        unit_of_work: OpenUnitOfWork,
        directory: ProviderDirectory,
        vault: Vault,
        refresher: Refresher,
        chooser: ModelChooser,
        prices: PriceBook,
        check_url: Callable[[str], None],
        sources: Mapping[str, Source],
        *,
        personal: bool,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._directory = directory
        self._vault = vault
        self._refresher = refresher
        self._chooser = chooser
        self._prices = prices
        self._check_url = check_url
        self._sources = sources
        self._personal = personal

    def all(self, principal: Principal) -> list[ModelView]:
        """The caller's own, routes, the installation's, the declared; who may change one sees it when it is off."""
        prices = self._prices.current()
        with self._unit_of_work(writes=False) as uow:
            rows = uow.models.of(principal.user_id, SYSTEM)
        shown = [self._view(principal, row, prices) for row in rows if _is_visible(principal, row)]
        found = [
            *(view for view in shown if view.source == "personal"),
            *(ModelView(name, "route", info) for name, info in self._chooser.routes(principal)),
            *(view for view in shown if view.source == "admin"),
            *self._declared(prices),
        ]
        return [view for view in found if principal.allows_model(view.name, *view.aliases, _target(view))]

    def get(self, principal: Principal, model_id: str) -> ModelView:
        """One that was registered. Raises NotFound ``model_not_found``."""
        prices = self._prices.current()
        with self._unit_of_work(writes=False) as uow:
            row = _found(principal, uow.models.get(model_id, principal.user_id, SYSTEM))
        return self._view(principal, row, prices)

    def create(self, principal: Principal, fields: ModelFields, *, system: bool) -> ModelView:
        """Register a model of the caller's own, or (administrators) of the installation.

        Raises InvalidInput, UnsupportedInput ``address_not_allowed``, Conflict ``model_name_taken``,
        ``too_many_models``, PermissionDenied.
        """
        if system:
            principal.require_admin()
        elif not (self._personal or principal.is_admin):
            raise PermissionDenied("Only administrators may register models here.", "personal_models_off")
        row = new_row(SYSTEM if system else principal.user_id, fields, self._vault)
        self._check(row, row.base_url)
        with self._unit_of_work() as uow:
            _check_names(uow, row)
            uow.models.add(row)
            self._put_price(uow, principal, row, fields.get("price"))
            uow.stamps.move(STAMP)
            uow.commit()
        return self._changed(principal, row, "model_registered")

    def update(self, principal: Principal, model_id: str, fields: ModelFields) -> ModelView:
        """Change what is given. Raises as :meth:`create` does, NotFound, Conflict ``model_changed``."""
        before = copy_of(self._own(principal, model_id))
        row = copy_of(before)
        fill(row, fields, self._vault)
        self._check(row, row.base_url if row.base_url != before.base_url else "")
        with self._unit_of_work() as uow:
            stored = _managed(principal, uow.models.get(model_id, principal.user_id, SYSTEM, lock=True))
            if stored.updated_at != before.updated_at:
                raise Conflict(
                    "Somebody else has just changed this model. Look at it, then try again.", "model_changed"
                )
            _check_names(uow, row)
            if "api_key" not in fields:
                row.api_key = stored.api_key  # it may have been sealed anew since
            price = fields["price"] if "price" in fields else _price_of(uow, before)
            uow.prices.delete(before.id, before.upstream_model)
            uow.models.put(row)
            self._put_price(uow, principal, row, price)
            uow.stamps.move(STAMP)
            uow.commit()
        return self._changed(principal, row, "model_changed")

    def delete(self, principal: Principal, model_id: str) -> None:
        """Forget a model, with its key and price. Turns that it is answering come to their end."""
        with self._unit_of_work() as uow:
            row = _managed(principal, uow.models.get(model_id, principal.user_id, SYSTEM, lock=True))
            uow.prices.delete(row.id, row.upstream_model)
            uow.models.delete(row)
            uow.stamps.move(STAMP)
            uow.commit()
        self._follow(principal, row, "model_deleted")

    def test(self, principal: Principal, model_id: str) -> Trial:
        """Make one real call to a model as it is stored, enabled or not. What goes wrong with it is in the answer."""
        row = self._own(principal, model_id)
        try:
            adapter = self._directory.adapter_of(row)
        except AppError as error:
            return Trial(False, 0, None, error.error_code, error.message)
        try:
            return try_model(adapter, row.upstream_model)
        finally:
            adapter.close()

    def _own(self, principal: Principal, model_id: str) -> RegisteredModelEntity:
        with self._unit_of_work(writes=False) as uow:
            return _managed(principal, uow.models.get(model_id, principal.user_id, SYSTEM))

    def _check(self, row: RegisteredModelEntity, new_url: str) -> None:
        """Whether an adapter can be made of it, and may call ``new_url``. Raises :class:`InvalidInput`."""
        adapter = self._directory.adapter_of(row)
        if not adapter.enabled:
            raise InvalidInput("This kind of provider needs a key.", "key_needed", ("api_key",))
        if new_url:
            self._check_url(new_url)

    def _put_price(
        self, uow: UnitOfWork, principal: Principal, row: RegisteredModelEntity, price: Price | None
    ) -> None:
        if price is not None:
            by, at = principal.user_id, now()
            uow.prices.put(
                PriceEntity(provider=row.id, model=row.upstream_model, **asdict(price), updated_by=by, updated_at=at)
            )

    def _changed(self, principal: Principal, row: RegisteredModelEntity, event: str) -> ModelView:
        self._follow(principal, row, event)
        return self._view(principal, row, self._prices.current())

    def _follow(self, principal: Principal, row: RegisteredModelEntity, event: str) -> None:
        self._prices.forget()
        self._refresher.refresh()
        log.info(event, model_id=row.id, holder=row.holder, by=principal.user_id)

    def _view(self, principal: Principal, row: RegisteredModelEntity, prices: PriceList) -> ModelView:
        adapter, fault = self._adapter(row)
        registration = Registration(
            row.kind, row.base_url, row.api_key is not None, row.key_hint, row.visible_to, row.enabled, row.updated_at
        )
        return ModelView(
            name=row.public_name,
            source="admin" if row.owner_id is None else "personal",
            info=adapter.model(row.upstream_model) if adapter else None,
            id=row.id,
            provider=row.id,
            aliases=row.aliases,
            price=prices.get((row.id, row.upstream_model)),
            fault=fault,
            created_at=row.created_at,
            registration=registration if _may_change(principal, row) else None,
        )

    def _adapter(self, row: RegisteredModelEntity) -> tuple[BaseAdapter | None, str | None]:
        try:
            return self._directory.adapter_of(row), None
        except AppError as error:
            return None, error.error_code

    def _declared(self, prices: PriceList) -> Iterable[ModelView]:
        for adapter in self._directory.values():
            for info in adapter.models if adapter.enabled else ():
                price = prices.get((adapter.name, info.name))
                source = self._sources.get(adapter.name, "environment")
                yield ModelView(info.name, source, info, provider=adapter.name, price=price)


def _target(view: ModelView) -> str:
    return f"{view.provider}/{view.name}"


def _may_change(principal: Principal, row: RegisteredModelEntity) -> bool:
    return principal.is_admin if row.owner_id is None else row.owner_id == principal.user_id


def _is_visible(principal: Principal, row: RegisteredModelEntity) -> bool:
    shown_to = row.visible_to == EVERYBODY or principal.role in {Role(name) for name in row.visible_to.split(",")}
    return _may_change(principal, row) or (row.owner_id is None and row.enabled and shown_to)


def _found(principal: Principal, row: RegisteredModelEntity | None) -> RegisteredModelEntity:
    if row is None or not _is_visible(principal, row):
        raise NotFound("There is no such model.", "model_not_found")
    return row


def _managed(principal: Principal, row: RegisteredModelEntity | None) -> RegisteredModelEntity:
    found = _found(principal, row)
    if not _may_change(principal, found):
        raise PermissionDenied("Only administrators may change the models of the installation.")
    return found


def _check_names(uow: UnitOfWork, row: RegisteredModelEntity) -> None:
    others = [other for other in uow.models.of(row.holder) if other.id != row.id]
    taken = {name for other in others for name in (other.public_name, *other.aliases)}
    if taken & {row.public_name, *row.aliases}:
        raise Conflict("Another model has this name, or one of these aliases.", "model_name_taken")
    if row.owner_id is not None and len(others) >= _MOST:
        raise Conflict(f"A user may have {_MOST} models at most.", "too_many_models")


def _price_of(uow: UnitOfWork, row: RegisteredModelEntity) -> Price | None:
    stored = uow.prices.get(row.id, row.upstream_model)
    return None if stored is None else price_from(stored)
