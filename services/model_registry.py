"""All that has to do with models that are registered at run time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from adapters.base_adapter import Providers
from domain.master_keys import MasterKeyError
from repositories.unit_of_work import OpenUnitOfWork
from services.key_rotation import unknown_master_keys
from services.model_choice import ModelChooser
from services.model_service import ModelService, Source
from services.price_book import PriceBook
from services.provider_directory import STAMP, MakeAdapter, ProviderDirectory
from services.refresher import Refresher
from services.vault import ReadKeys, Vault


@dataclass(frozen=True, slots=True)
class ModelRegistry:
    """One of each."""

    unit_of_work: OpenUnitOfWork
    vault: Vault
    directory: ProviderDirectory
    refresher: Refresher
    check_url: Callable[[str], None]

    @classmethod
    def open(
        cls,
        unit_of_work: OpenUnitOfWork,
        declared: Providers,
        refresher: Refresher,
        read_keys: ReadKeys,
        make: MakeAdapter,
        check_url: Callable[[str], None],
        kept_s: float,
    ) -> Self:
        """The registry over one database, kept fresh by ``refresher``; for ``kept_s`` see ProviderDirectory.

        Raises MasterKeyError when the stored keys need a master key that ``read_keys`` does not give.
        """
        vault = Vault(read_keys)
        if unknown := unknown_master_keys(unit_of_work, vault):
            raise MasterKeyError(
                f"the database has provider keys that were encrypted with the master key {', '.join(unknown)}, which "
                "is not configured: give it as MASTER_KEY, or in MASTER_KEYS_OLD"
            )
        directory = ProviderDirectory(declared, vault, make, kept_s)
        refresher.watch(STAMP, directory.reload)
        return cls(unit_of_work, vault, directory, refresher, check_url)

    def service(
        self,
        chooser: ModelChooser,
        prices: PriceBook,
        sources: Mapping[str, Source],
        *,
        personal: bool,
    ) -> ModelService:
        """What people do with it."""
        return ModelService(
            self.unit_of_work,
            self.directory,
            self.vault,
            self.refresher,
            chooser,
            prices,
            self.check_url,
            sources,
            personal=personal,
        )
