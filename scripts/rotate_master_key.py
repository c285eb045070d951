"""Change the master key while nodes serve: ``python -m scripts.rotate_master_key [--env=production] [--forget-old]``.

Every provider key is sealed anew with the current master key, in batches. It may be broken off at any moment: the same
command goes on. Where the master key is the generated one in the data folder, a new one is made first, and the older
ones stay in the file until ``--forget-old``. Where MASTER_KEY gives it, put the new one there first: docs/models.md.

Exit code 0: all keys are sealed with the current master key; 1: some are not, and the message says why.
"""

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import sqlalchemy as sa  # noqa: E402  # after the path

from config import ConfigurationError, Settings, master_key_file, master_keys  # noqa: E402
from domain.errors import AppError  # noqa: E402
from domain.master_keys import MasterKey, MasterKeyError, new_master_key, written  # noqa: E402
from repositories.database import Database, engine_options  # noqa: E402
from repositories.unit_of_work import unit_of_work_on  # noqa: E402
from scripts.migrate import parser, settings_of  # noqa: E402
from services.key_rotation import KeyRotation  # noqa: E402
from services.vault import Vault  # noqa: E402


def rotate(settings: Settings, *, forget_old: bool = False, batch: int = 100) -> bool:
    """Rotate, and print how far it is; whether all keys are sealed with the current master key now.

    Raises MasterKeyError, OSError, and Unavailable when the database is away.
    """
    generated = master_key_file(settings)
    engine = sa.create_engine(settings.database_url, **engine_options(settings.database_url, 2))
    try:
        vault = Vault(lambda: master_keys(settings))
        rotation = KeyRotation(unit_of_work_on(Database(engine)), vault, batch)
        with _alone(generated):
            if generated and not forget_old:
                _new_key(settings, generated, unfinished=rotation.left())
            readable = _seal_all(rotation, vault.current().id)
            if generated and forget_old and readable:
                _write(generated, master_keys(settings)[:1])
                print("The older master keys are forgotten.")
    finally:
        engine.dispose()
    return readable


def _seal_all(rotation: KeyRotation, current: str) -> bool:
    unreadable = 0
    for progress in rotation.steps():
        unreadable = progress.unreadable
        print(f"{progress.done} sealed anew with the master key {current}, {progress.left} left.", flush=True)
    if unreadable:
        print(f"{unreadable} cannot be read: their master key is missing in MASTER_KEYS_OLD, or they are damaged.")
    return not unreadable


def _new_key(settings: Settings, file: Path, unfinished: int) -> None:
    keys = master_keys(settings)
    if unfinished:
        print(f"A rotation to the master key {keys[0].id} was begun before, and goes on.")
        return
    keys = (MasterKey.of(new_master_key()), *keys)
    _write(file, keys)
    print(f"The new master key is {keys[0].id}, in {file}; back it up.")


def _write(file: Path, keys: tuple[MasterKey, ...]) -> None:
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(written(keys))
        stream.flush()
        os.fsync(stream.fileno())  # before anything is sealed with it
    draft.replace(file)


@contextlib.contextmanager
def _alone(file: Path | None) -> Iterator[None]:
    """Only one rotation at a time where it changes the file of keys."""
    if file is None:
        yield
        return
    with open(file.with_name(f".{file.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Run the command."""
    arguments = parser(__doc__)
    arguments.add_argument("--forget-old", action="store_true", help="drop the older keys from the data folder's file")
    given = arguments.parse_args()
    try:
        return 0 if rotate(settings_of(given), forget_old=given.forget_old) else 1
    except (ConfigurationError, MasterKeyError, AppError, OSError, sa.exc.SQLAlchemyError) as error:
        print(getattr(error, "orig", None) or error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
