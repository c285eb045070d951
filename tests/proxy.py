"""The proxy of deploy/nginx.conf, in front of local nodes."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.servers import ROOT, free_port, listens, program


@contextlib.contextmanager
def nginx(folder: Path, *nodes: int) -> Iterator[int]:
    """The port of an nginx that passes requests on to the nodes at these ports."""
    port = free_port()
    # Where the service's name has several addresses, nginx asks the next one likewise, and forgets who failed.
    peers = "".join(f"server 127.0.0.1:{node} max_fails=0; " for node in nodes)
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    for ours, here in (
        ("listen 8080", f"listen 127.0.0.1:{port}"),
        ("app:3000", "nodes"),
        ("/tmp/", f"{folder}/"),
        ("    server {", f"    upstream nodes {{ {peers}}}\n\n    server {{"),
    ):
        assert ours in text
        text = text.replace(ours, here)
    file = folder / "nginx.conf"
    file.write_text(text)
    command = [program("nginx"), "-p", str(folder), "-c", str(file), "-g", "daemon off;"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            while not listens(port):
                assert process.poll() is None
                time.sleep(0.01)
            yield port
        finally:
            process.terminate()
