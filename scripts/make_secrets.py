"""Make the secrets of an installation, once: ``python -m scripts.make_secrets <folder>``.

A file that is there stays as it is, so this may run at every start; delete a file to have a new one made. The files
are readable by everybody who can reach the folder, because each container reads them as a user of its own: keep the
folder itself closed, or in a volume that only those containers mount.
"""

import contextlib
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

from domain.master_keys import new_master_key

_READABLE = 0o444
_REDIS_SETTINGS = ('save ""', "appendonly no", "maxmemory 256mb", "maxmemory-policy noeviction")


class Secrets:
    """The files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, name: str, make: Callable[[], str]) -> str:
        """The secret called ``name``, made on first use."""
        path = self._folder / name
        if not path.exists():
            draft = self._folder / f".{name}.{os.getpid()}"
            draft.write_text(make())
            draft.chmod(_READABLE)
            with contextlib.suppress(FileExistsError):  # another process was faster, and its file counts
                os.link(draft, path)
            draft.unlink()
        return path.read_text()


def make_all(folder: Path) -> list[str]:
    """Make what is missing in ``folder``; the names of all its files."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = Secrets(folder)
    files.keep("secret_key", _random)
    files.keep("master_key", new_master_key)
    files.keep("metrics_token", _random)
    files.keep("mysql_root_password", _random)
    mysql, redis = files.keep("mysql_password", _random), files.keep("redis_password", _random)
    files.keep("database_url", lambda: f"mysql://unichat:{mysql}@mysql:3306/unichat")
    files.keep("redis_url", lambda: f"redis://:{redis}@redis:6379/0")
    files.keep("redis.conf", lambda: "\n".join([f"requirepass {redis}", *_REDIS_SETTINGS, ""]))
    return sorted(path.name for path in folder.iterdir())


def _random() -> str:
    return secrets.token_urlsafe(36)  # letters, digits, - and _: fit for a URL as they are


def main() -> int:
    """Run the command."""
    if len(sys.argv) != 2:  # noqa: PLR2004  # the program and its argument
        print("usage: python -m scripts.make_secrets <folder>", file=sys.stderr)
        return 2
    print(f"{sys.argv[1]}: {', '.join(make_all(Path(sys.argv[1])))}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
