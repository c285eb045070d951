"""`python -m tests.scripted_provider --port 9000`: start the provider and serve until a signal."""

from __future__ import annotations

import argparse
import gc
import resource
import signal
import sys

import gevent
import gevent.socket
from gevent.event import Event

from .script import parse_script
from .server import ScriptedServer

MODELS = ["gpt-4o", "gpt-4o-mini", "deepseek-chat", "deepseek-reasoner", "qwen-plus", "qwen-max"]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.scripted_provider", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000, help="0 takes a free port; the first line printed names it")
    parser.add_argument("--script", default="{}", help="the default script, a JSON object")
    parser.add_argument("--models", default=",".join(MODELS), help="names for GET /models, comma separated")
    parser.add_argument("--follow-stdin", action="store_true", help="end when standard input closes")
    parser.add_argument("--tls-cert", help="certificate file (PEM); with it the provider speaks TLS")
    parser.add_argument("--tls-key", help="the certificate's key file (PEM)")
    return parser.parse_args()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    args = arguments()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    scripted = ScriptedServer(parse_script(args.script), args.models.split(","))
    server = scripted.listen(args.host, args.port, args.tls_cert, args.tls_key)
    gc.freeze()
    over = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, over.set)
    if args.follow_stdin:
        # A test process that is killed cannot stop its provider; its end of the pipe closes all the same.
        gevent.spawn(gevent.socket.wait_read, 0).link(lambda _: over.set())
    scheme = "https" if args.tls_cert else "http"
    sys.stdout.write(f"listening on {scheme}://{args.host}:{server.server_port}\n")
    sys.stdout.flush()
    over.wait()


if __name__ == "__main__":
    main()
