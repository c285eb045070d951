"""Importing does nothing: no environment is needed, no network is touched, and no SDK is loaded before its use."""

import json
import subprocess
import sys
from pathlib import Path

from tests.code import FOLDERS, ROOT, source_files

EFFECTIVE = {"wsgi.py", "gunicorn.conf.py"}  # they are the act of serving
IN_ALEMBIC = {"migrations/env.py"}  # Alembic runs it inside of itself
USES_SDKS = {"adapters.model_discovery"}  # imported when an operator asks which models there are
SLOW_SDKS = {
    "openai",
    "dashscope",
    "redis",
    "alembic",
    "flask_migrate",
    "opentelemetry",
}  # a second or tens of megabytes each

NOT_SERVING = SLOW_SDKS | {  # what a node on SQLite with the usual settings has no use for
    "cryptography",
    "httpx",
    "mako",
    "psycopg",
    "pygments",
    "pymysql",
    "requests",
    "rich",
    "rs_bpe",
    "sqlalchemy.dialects.postgresql",
}
MOST_MODULES = 1300  # of such a node; raise it only for what every node needs

SERVING = """
from gevent import monkey

monkey.patch_all()
import json, sys, wsgi

print(json.dumps({"modules": sorted(sys.modules), "described": sorted(wsgi.app.paths)}))
"""

PROGRAM = """
import importlib, json, sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen"):
        raise RuntimeError(f"{event} {arguments[1:]} while importing")

sys.addaudithook(refuse)
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps(sorted(sys.modules)))
"""


def modules(*folders: str) -> list[str]:
    paths = [path for path in source_files(*folders) if str(path) not in EFFECTIVE | IN_ALEMBIC]
    return [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths if path.stem[0] != "0"]


def imported(names: list[str], folder: Path) -> set[str]:
    """Everything that is loaded once these are, in a process without an environment."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(names)],
        env={"PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_every_module_can_be_imported_with_no_environment_and_no_network(tmp_path: Path) -> None:
    names = modules(*FOLDERS)

    assert set(names) <= imported(names, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_only_the_module_that_uses_them_loads_the_sdks(tmp_path: Path) -> None:
    names = sorted({"app", *modules("domain", "models", "adapters", "services", "api")} - USES_SDKS)

    assert imported(names, tmp_path) & (SLOW_SDKS | USES_SDKS) == set()


def test_a_node_loads_what_it_uses_and_no_more(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(ROOT), "DATA_DIR": str(tmp_path), "LOGGING_LEVEL": "ERROR"}
    for _ in range(2):  # the first one migrates, and so needs Alembic
        done = subprocess.run(
            [sys.executable, "-c", SERVING], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
        )
    found = json.loads(done.stdout)

    assert NOT_SERVING & set(found["modules"]) == set()
    assert len(found["modules"]) < MOST_MODULES
    assert found["described"] == []  # the document is worked out for whoever asks for it
