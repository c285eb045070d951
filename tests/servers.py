"""Private database servers for the tests: Debian's own programs on free loopback ports, in a folder that goes away.

Each test gets a fresh database: a copy of one that was migrated once, which takes milliseconds.
"""

import contextlib
import itertools
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pymysql
import pytest
import sqlalchemy as sa

from repositories.schema import ensure_schema

ROOT = Path(__file__).resolve().parent.parent
MIGRATIONS = ROOT / "migrations"
REQUIRED = os.environ.get("UNICHAT_TEST_REQUIRE_SERVERS") == "1"
_START_S = 60
_TEMPLATE = "unichat_template"
_FILLED_BY_MIGRATIONS = ("alembic_version", "stamps", "usage_mark")


def free_port() -> int:
    """A loopback port that nobody listens on now.

    Below the range from which systems give ports to connections: one of those must not take it before its server does.
    """
    while True:
        port = random.randint(10_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def listens(port: int) -> bool:
    """Whether somebody takes connections at a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def program(name: str, *folders: str) -> str:
    """The path of an installed program. Skips the test loudly if it is missing; fails where servers are required."""
    found = shutil.which(name, path=os.pathsep.join([*folders, os.environ.get("PATH", ""), "/usr/sbin"]))
    if found is None:
        message = f"NOT TESTED: {name} is not installed (set UNICHAT_TEST_REQUIRE_SERVERS=1 to make this a failure)"
        pytest.fail(message) if REQUIRED else pytest.skip(message)
    return found


class Server(ABC):
    """A server process in a folder of its own."""

    user: ClassVar[str]  # some servers refuse to run as root; then they run as the user of their Debian package

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="unichat-test-"))
        self._as_user = self.user if os.getuid() == 0 else None
        if self._as_user:
            entry = pwd.getpwnam(self._as_user)
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        self._log = (self.folder / "server.log").open("wb")
        try:
            self._command_line = self._prepare()
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Serve: again, on the same port, what :meth:`stop` has left."""
        self.process = self._popen(self._command_line)
        self._wait()

    def stop(self) -> None:
        """Go away in good order, until :meth:`start`."""
        self.process.terminate()
        self.process.wait()

    def freeze(self) -> None:
        """Answer nothing any more, though the system still accepts connections."""
        _signal(self.process.pid, signal.SIGSTOP)
        while not _is_stopped(self.process.pid):
            time.sleep(0.01)

    def thaw(self) -> None:
        """Go on after :meth:`freeze`."""
        _signal(self.process.pid, signal.SIGCONT)

    @abstractmethod
    def _prepare(self) -> list[str]:
        """Make the data folder; the command that serves it."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server can be used now."""

    def _popen(self, command: list[str]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(command, cwd=self.folder, stdout=self._log, stderr=self._log, user=self._as_user)

    def _run(self, command: list[str]) -> None:
        if self._popen(command).wait() != 0:
            raise RuntimeError(f"{command[0]} failed:\n{self.log()}")

    def _wait(self) -> None:
        give_up = time.monotonic() + _START_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{self.process.args!r} did not start:\n{self.log()}")
            time.sleep(0.05)

    def log(self) -> str:
        """What the server has said so far."""
        return (self.folder / "server.log").read_text(errors="replace")

    def close(self) -> None:
        """Kill the server and remove its folder: nothing in it is worth a clean end."""
        process = getattr(self, "process", None)
        if process is not None:
            process.kill()
            process.wait()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _signal(pid: int, number: int) -> None:
    """Send a signal to a process and to all that it has started."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        os.kill(pid, number)
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            _signal(int(child), number)


def _is_stopped(pid: int) -> bool:
    """Whether SIGSTOP has reached every thread of a process: the system takes its time for that."""
    states = [file.read_text().rpartition(")")[2].split()[0] for file in Path(f"/proc/{pid}/task").glob("*/stat")]
    return set(states) <= {"T", "Z"}


class DatabaseServer(Server):
    """A server that hands out databases."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        super().__init__()
        self._has_template = False

    @abstractmethod
    def url(self, database: str) -> str:
        """The DATABASE_URL of one of its databases."""

    @abstractmethod
    def _copy(self, template: str, database: str) -> None:
        """Make ``database`` with the schema of ``template``."""

    def _answers(self) -> bool:
        try:
            self._execute("SELECT 1")
        except sa.exc.OperationalError:
            return False
        return True

    def _execute(self, *statements: str, database: str = "") -> None:
        engine = sa.create_engine(self.url(database), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def empty_database(self) -> str:
        """The URL of a new database without tables."""
        name = f"unichat_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def migrated_database(self) -> str:
        """The URL of a new database with today's schema and no rows but those that migrations make."""
        if not self._has_template:
            self._execute(f"CREATE DATABASE {_TEMPLATE}")
            ensure_schema(self.url(_TEMPLATE), MIGRATIONS, migrate=True)
            self._has_template = True
        name = f"unichat_{next(self._numbers)}"
        self._copy(_TEMPLATE, name)
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database that a test is done with."""
        self._execute(f"DROP DATABASE IF EXISTS {sa.make_url(url).database}")


class MariaDb(DatabaseServer):
    """A MariaDB; it stands for MySQL too."""

    user = "mysql"

    def url(self, database: str) -> str:
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/{database}?charset=utf8mb4"

    def _prepare(self) -> list[str]:
        data = self.folder / "data"
        self._run(
            [
                program("mariadb-install-db"),
                "--no-defaults",
                f"--datadir={data}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ]
        )
        return [
            program("mariadbd"),
            "--no-defaults",
            f"--datadir={data}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--socket={self.folder / 'socket'}",
            "--innodb-buffer-pool-size=64M",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-doublewrite=0",
            "--debug-no-sync",
            "--max-connections=500",
        ]

    def sent(self) -> dict[str, int]:
        """How many statements, commits and roll-backs it was sent since it was started."""
        with (
            contextlib.closing(pymysql.connect(host="127.0.0.1", port=self.port, user="root")) as link,
            link.cursor() as cursor,
        ):
            cursor.execute("SHOW GLOBAL STATUS LIKE 'Com\\_%'")  # which is none of them
            counts = {name.removeprefix("Com_"): int(value) for name, value in cursor.fetchall()}
        kinds = ("select", "insert", "insert_select", "update", "delete", "replace", "stmt_execute")
        return {
            "statements": sum(counts[kind] for kind in kinds),
            "commits": counts["commit"],
            "rollbacks": counts["rollback"],
        }

    def _copy(self, template: str, database: str) -> None:
        self._execute(
            f"CREATE DATABASE {database}",
            f"USE {database}",
            "SET foreign_key_checks = 0",
            *self._definitions(template),
            *(f"INSERT INTO {one} SELECT * FROM {template}.{one}" for one in _FILLED_BY_MIGRATIONS),
        )

    def _definitions(self, template: str) -> list[str]:
        engine = sa.create_engine(self.url(template), poolclass=sa.NullPool)
        with engine.connect() as connection:
            tables = connection.exec_driver_sql("SHOW TABLES").scalars().all()
            return [connection.exec_driver_sql(f"SHOW CREATE TABLE {table}").one()[1] for table in tables]


class PostgreSql(DatabaseServer):
    """A PostgreSQL."""

    user = "postgres"

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database or 'postgres'}"

    def _prepare(self) -> list[str]:
        programs = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
        data = self.folder / "data"
        self._run([program("initdb", *programs), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"])
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "max_connections": 300,
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
        }
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        return [program("postgres", *programs), "-D", str(data), *options]

    def stop(self) -> None:
        """Go away in good order, without waiting for those who are connected."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait()

    def _copy(self, template: str, database: str) -> None:
        self._execute(f"CREATE DATABASE {database} TEMPLATE {template} STRATEGY file_copy")

    def drop(self, url: str) -> None:
        self._execute(f"DROP DATABASE IF EXISTS {sa.make_url(url).database} WITH (FORCE)")


class Redis(Server):
    """A Redis without persistence."""

    user = "redis"

    @property
    def url(self) -> str:
        """Its REDIS_URL; :meth:`flush` between tests."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _prepare(self) -> list[str]:
        return [program("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", "."]

    def _answers(self) -> bool:
        return self._command("PING") == b"+PONG"

    def stop(self) -> None:
        """Go away; what it held is lost."""
        self.process.kill()
        self.process.wait()

    def start_again(self) -> None:
        """Come back, empty, at the same address."""
        self.process = self._popen(self._prepare())
        self._wait()

    def flush(self) -> None:
        """Forget everything."""
        assert self._command("FLUSHALL") == b"+OK"

    def calls(self, command: str) -> int:
        """How often it was asked this since it was started."""
        found = re.search(rb"cmdstat_%s:calls=(\d+)" % command.encode(), self._command("INFO commandstats"))
        return int(found[1]) if found else 0

    def commands(self) -> int:
        """How many commands it has obeyed since it was started, those of scripts included, its meters' apart."""
        found = re.findall(rb"cmdstat_([^:]+):calls=(\d+)", self._command("INFO commandstats"))
        return sum(int(calls) for name, calls in found if name != b"info")

    def _command(self, command: str) -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(command.encode() + b"\r\n")
                return connection.recv(65536).strip()
        except OSError:
            return b""


DATABASE_SERVERS: dict[str, Callable[[], DatabaseServer]] = {"mariadb": MariaDb, "postgresql": PostgreSql}
DATABASES = ["sqlite", *DATABASE_SERVERS]


class Servers:
    """The servers of one test session, each started when it is first asked for."""

    def __init__(self) -> None:
        self._running: dict[str, DatabaseServer] = {}
        self._redis: Redis | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="unichat-test-"))

    def database(self, kind: str) -> DatabaseServer:
        """The MariaDB or PostgreSQL."""
        if kind not in self._running:
            self._running[kind] = DATABASE_SERVERS[kind]()
        return self._running[kind]

    def redis(self) -> Redis:
        """The Redis."""
        if self._redis is None:
            self._redis = Redis()
        return self._redis

    def migrated_sqlite(self, file: Path) -> None:
        """Make ``file`` a SQLite database with today's schema and no rows."""
        template = self._folder / "template.db"
        if not template.exists():
            ensure_schema(f"sqlite:///{template}", MIGRATIONS, migrate=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(template, file)

    def close(self) -> None:
        """Stop all of them."""
        for server in (*self._running.values(), self._redis):
            if server is not None:
                server.close()
        shutil.rmtree(self._folder, ignore_errors=True)
