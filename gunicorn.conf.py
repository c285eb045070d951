"""How gunicorn serves. The patch comes first: whatever is imported before it would block the event loop for ever."""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402  # after the patch
import sys  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

from gunicorn.workers.ggevent import GeventWorker  # noqa: E402

from config import ConfigurationError, load_settings  # noqa: E402

try:
    _settings = load_settings()
except ConfigurationError as error:
    sys.exit(str(error))

# The arbiter kills at graceful_timeout; what must be saved has to be saved before that.
_DRAIN_RESERVE_S = 5


class DrainingWorker(GeventWorker):
    """A worker that lets its generations end, or saves what they have, before it goes."""

    def run(self) -> None:
        super().run()

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)


wsgi_app = "wsgi:app"
bind = f"{_settings.HOST}:{_settings.PORT}"
workers = _settings.WORKERS
worker_class = DrainingWorker
worker_connections = 4000
timeout = 60
graceful_timeout = _settings.GRACEFUL_TIMEOUT_S
keepalive = 20
reload = _settings.DEBUG
control_socket_disable = True
forwarded_allow_ips = "127.0.0.1"
accesslog = None
loglevel = "warning"
