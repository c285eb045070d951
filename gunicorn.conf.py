"""How gunicorn serves. The patch comes first: whatever is imported before it would block the event loop for ever."""

from gevent import monkey

monkey.patch_all()

import gc  # noqa: E402  # after the patch
import logging  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402
from tempfile import gettempdir  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
from gevent.pool import Pool  # noqa: E402
from gevent.server import StreamServer  # noqa: E402
from gunicorn.http import wsgi  # noqa: E402
from gunicorn.workers.ggevent import GeventWorker  # noqa: E402

from api.sending import Response  # noqa: E402
from config import ConfigurationError, load_settings  # noqa: E402
from telemetry import folder  # noqa: E402

try:
    _settings = load_settings()
except ConfigurationError as error:
    sys.exit(str(error))

_POLL_S = 0.1
_SAVE_RESERVE_S = 5  # the arbiter kills at graceful_timeout; what must be saved has to be saved before that
_HEAR_OUT_S = 0.5  # a request that nobody has refused yet is not refused for a restart
_CTRL_C = {signal.SIGINT, signal.SIGQUIT}
_LAST_REQUESTS_S = 2  # requests that still run when no generation does any more


wsgi.Response = Response  # there is no setting for it


class _Address:
    """All that serving a connection needs of its listener, which may be closed before the connection's turn comes."""

    def __init__(self, listener: Any) -> None:
        self._name = listener.getsockname()

    def getsockname(self) -> Any:
        """As a socket's."""
        return self._name


class DrainingWorker(GeventWorker):
    """A worker that lets its generations end, or saves what they have, before it goes.

    gunicorn's own waits for connections only: generations belong to no connection, and an idle keep-alive
    connection would hold it up for nothing. So this one counts requests, and asks the application to drain.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._requests = 0
        self._signals: set[int] = set()
        self._forced = False

    def run(self) -> None:
        """Serve until a signal, then drain. Signal handlers only set flags: this loop does the work."""
        servers = [self._serve(listener) for listener in self.sockets]
        while self.alive:
            self._beat()
        deadline = time.monotonic() + self.cfg.graceful_timeout - _SAVE_RESERVE_S
        for server in servers:
            _close(server)
        self._hear_out()
        self._drain(deadline)

    def _serve(self, listener: Any) -> StreamServer:
        listener.setblocking(1)
        server = StreamServer(
            listener, handle=partial(self.handle, _Address(listener)), spawn=Pool(self.worker_connections)
        )
        if self.cfg.workers > 1:
            server.max_accept = 1
        server.start()
        return server

    def _beat(self) -> None:
        self.notify()
        gevent.sleep(_POLL_S)

    def _hear_out(self) -> None:
        """Serve whoever was let in before the doors closed, for the moment that it takes to send a request."""
        from api.lifecycle import announce_drain  # noqa: PLC0415  # in the worker only: the arbiter stays small

        announce_drain(self.wsgi)
        give_up = time.monotonic() + _HEAR_OUT_S
        while not self._forced and time.monotonic() < give_up:
            self._beat()

    def _drain(self, deadline: float) -> None:
        from api.lifecycle import drain  # noqa: PLC0415  # in the worker only: the arbiter stays small

        draining = gevent.spawn(drain, self.wsgi, max(0.0, deadline - time.monotonic()))
        while not draining.ready() and not self._forced:
            self._beat()
        if self._forced:
            gevent.spawn(drain, self.wsgi, 0.0)  # interrupts what the first one waits for
        while not draining.ready():
            self._beat()
        give_up = time.monotonic() + _LAST_REQUESTS_S
        while self._requests and not self._forced and time.monotonic() < give_up:
            self._beat()

    def handle_request(self, *args: Any) -> Any:
        """Count the requests that run now."""
        self._requests += 1
        try:
            return super().handle_request(*args)
        finally:
            self._requests -= 1

    def handle_exit(self, sig: int, _frame: Any) -> None:
        """SIGTERM, SIGINT and SIGQUIT all drain; a second one hurries.

        Except SIGINT and SIGQUIT, once each and in whichever order: at Ctrl-C the terminal sends the one to everybody,
        and the arbiter the other to its workers.
        """
        hurries = bool(self._signals) and (sig in self._signals or {sig, *self._signals} != _CTRL_C)
        self._signals.add(sig)
        self.alive = False
        if hurries:
            self._forced = True

    handle_quit = handle_exit


def _close(server: StreamServer) -> None:
    """Let in who waits for a connection, then take no more: who is still in the queue when it closes is cut off."""
    server.stop_accepting()
    while connection := server.do_read():
        server.do_handle(*connection)
    server.close()


def when_ready(_server: Any) -> None:
    """In the arbiter, before it forks: what the collector leaves alone stays shared between all processes."""
    gc.collect()
    gc.freeze()


def post_fork(_server: Any, _worker: Any) -> None:
    """In the new worker, before it imports the application."""
    gc.disable()  # imports leave little to collect, and much to look at
    if _settings.DEBUG:
        sys.modules.pop("config", None)  # the arbiter's copy: a reload must read the file again


def post_worker_init(worker: Any) -> None:
    """In the worker, once the application is made."""
    from api.lifecycle import welcome  # noqa: PLC0415  # in the worker only: the arbiter stays small

    logger = logging.getLogger("gunicorn.error")  # from here on in the application's format
    logger.handlers.clear()
    logger.propagate = True
    gc.collect()
    gc.freeze()  # modules and routes never die: the collector need not look at them again while streams wait
    # An open stream is hundreds of objects that stay: at the usual 700 every few hundred new streams would have the
    # collector look at those of all others, for a tenth of a second.
    gc.set_threshold(10_000)
    gc.enable()
    if worker.age == 1:
        sys.stdout.write(welcome(worker.wsgi, _settings))
        sys.stdout.flush()


def child_exit(_server: Any, worker: Any) -> None:
    """In the arbiter, after a worker's end: what it has counted stays, what it was (streams, memory) is gone."""
    if folder.VARIABLE in os.environ:
        from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415  # the arbiter stays small

        mark_process_dead(worker.pid)


def on_exit(_server: Any) -> None:
    """In the arbiter, at the end."""
    folder.leave()


# Every stream is two sockets; many systems begin with 1024 descriptors, though they allow far more.
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
_wanted = 65_536 if _hard == resource.RLIM_INFINITY else min(_hard, 65_536)
resource.setrlimit(resource.RLIMIT_NOFILE, (max(_soft, _wanted), _hard))

wsgi_app = "wsgi:app"
bind = f"{_settings.HOST}:{_settings.PORT}"
workers = _settings.WORKERS
worker_class = DrainingWorker
worker_connections = 4000
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # a heartbeat on disk can stall
timeout = 60  # a worker whose event loop stands still for so long is replaced; streams may last longer
graceful_timeout = _settings.GRACEFUL_TIMEOUT_S
keepalive = 20
reload = _settings.DEBUG
reload_extra_files = [".env"] if Path(".env").exists() else []
control_socket_disable = True
http_parser = "auto"
limit_request_line = 8190
limit_request_field_size = 8190
forwarded_allow_ips = ""  # forwarded headers are the application's matter: TRUSTED_PROXIES
if workers > 1:
    folder.share(worker_tmp_dir or gettempdir())
else:
    os.environ.pop(folder.VARIABLE, None)
accesslog = None  # api.request_logging writes a better line
loglevel = "warning"
