"""What a worker has in memory of what administrators and users set, and keeps as the database has it."""

from functools import partial
from typing import NamedTuple

from adapters.egress import Egress
from adapters.kinds import adapter_of_kind
from composition.ground import Ground
from config import ConfigurationError, master_keys
from domain.master_keys import MasterKeyError
from services.model_registry import ModelRegistry
from services.prompt_book import PromptBook
from services.refresher import Refresher
from services.route_book import RouteBook


class Refreshed(NamedTuple):
    """One of each, and the one who refreshes them."""

    refresher: Refresher
    routes: RouteBook
    prompts: PromptBook
    models: ModelRegistry


def refreshed(ground: Ground) -> Refreshed:
    """Its parts. They are empty until the first :meth:`Refresher.refresh`."""
    refresher, declared = Refresher(ground.unit_of_work), ground.declared
    routes, prompts = RouteBook(declared.routes, ground.metrics.name_targets), PromptBook(declared.prompts)
    refresher.watch("routes", routes.reload)
    refresher.watch("server_prompts", prompts.reload)
    return Refreshed(refresher, routes, prompts, _models(ground, refresher))


def _models(ground: Ground, refresher: Refresher) -> ModelRegistry:
    settings = ground.settings
    egress, read_keys = Egress(settings.private_hosts), partial(master_keys, settings)
    make, kept_s = partial(adapter_of_kind, guard=egress), settings.PROVIDER_TIMEOUT_MS / 1000 + 60
    declared = ground.declared.providers
    try:
        read_keys()  # for the reason why it cannot
        return ModelRegistry.open(ground.unit_of_work, declared, refresher, read_keys, make, egress.check, kept_s)
    except (MasterKeyError, OSError) as error:
        raise ConfigurationError(f"MASTER_KEY: {error}.") from None
