"""What every other part is made on."""

import os
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from gevent import get_hub, monkey

from composition.declared import Declared
from config import Settings
from domain.observer import Observer
from repositories.database import Database
from repositories.sharing import Sharing, sharing
from repositories.unit_of_work import OpenUnitOfWork, unit_of_work_on
from services.tokenizer import Tokenizer
from telemetry.metrics import Metrics

T = TypeVar("T")


@dataclass(frozen=True)
class Ground:
    """One of each."""

    settings: Settings
    declared: Declared
    database: Database
    shared: Sharing
    metrics: Metrics

    @property
    def observer(self) -> Observer:
        """Who hears what the parts do."""
        return self.metrics.observer

    @cached_property
    def unit_of_work(self) -> OpenUnitOfWork:
        """Opens transactions on the database."""
        return unit_of_work_on(self.database)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """One for all: its tables are large."""
        return Tokenizer(self.settings.TOKENIZER_MODE)

    @property
    def helpers(self) -> Mapping[str, Callable[[], None]]:
        """Checks of what the application is worse off without, yet goes on."""
        return {"storage": self.database.check_storage, **self.shared.checks}


def share(settings: Settings) -> Sharing:
    """What workers have in common; the name of this one is new with every start."""
    worker = f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(4)}"
    return sharing(settings.REDIS_URL, worker)


def offload(function: Callable[..., T], *args: object) -> T:
    """Run what computes for long in a native thread, where waiting for it lets other greenlets go on."""
    if monkey.is_module_patched("threading"):
        return get_hub().threadpool.apply(function, args)
    return function(*args)
