"""The node's own configuration, with meters in the worker."""

from importlib import import_module
from pathlib import Path

_own = Path(__file__).resolve().parents[2] / "gunicorn.conf.py"
exec(compile(_own.read_text(), str(_own), "exec"))  # the patch comes first there

from repositories.redis_breaker_store import RedisBreakerStore  # noqa: E402  # after the patch
from tests.hot_path.meters import Meters  # noqa: E402  # likewise

# What a worker does by itself every so often is no request's, nor what it asks anew because it has become old.
_POLL_S = 5.0
_HOUR_S = 3600.0
_EVERY = {
    "repositories.log_tail": "_BLOCK_S",
    "services.generation_keeper": "_BEAT_S",
    "services.key_checker": "_FRESH_S",
    "services.price_book": "_FRESH_S",
    "services.refresher": "_EVERY_S",
    "telemetry.metrics": "_EVERY_S",
}
_meters = Meters()
_post_fork, _post_worker_init = post_fork, post_worker_init  # noqa: F821  # they are the node's


def post_fork(server, worker):
    """In the new worker, before it imports the application."""
    _post_fork(server, worker)
    _meters.watch_sqlite()
    for module, name in _EVERY.items():
        assert hasattr(import_module(module), name), f"{module}.{name} is called otherwise now"
        setattr(import_module(module), name, _HOUR_S)
    RedisBreakerStore.__init__.__defaults__ = (_HOUR_S,)  # its fresh_s


def post_worker_init(worker):
    """In the worker, once the application is made."""
    _post_worker_init(worker)
    _meters.start()
