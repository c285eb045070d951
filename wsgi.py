"""The WSGI application for gunicorn, with the background work of a serving process."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _as_if_not_installed(*packages: str) -> Iterator[None]:
    """Hide packages from libraries that take them along wherever they find them."""
    sys.modules.update(dict.fromkeys(packages))  # type: ignore[arg-type]  # None is what hides a module
    yield
    for package in packages:
        del sys.modules[package]


# PyJWT would take cryptography along for signatures that are not ours, structlog rich for colours: 10 MB, and a tenth
# of a start. What does need cryptography (the vault, a driver) imports it later, and gets it.
with _as_if_not_installed("cryptography", "rich"):
    from adapters.registry import ConfigError
    from app import create_app
    from config import ConfigurationError
    from domain.errors import AppError

_BOOT_ERROR = 3  # gunicorn's code for "this worker cannot start": it stops instead of trying for ever

try:
    app = create_app()
except (ConfigurationError, ConfigError, AppError, OSError) as error:
    sys.stderr.write(f"\nUniChat cannot start. {error}\n\n")
    sys.exit(_BOOT_ERROR)
app.extensions["unichat"].refresher.start()
app.extensions["unichat"].keeper.start()
app.extensions["unichat"].books.bookkeeper.start()
app.extensions["metrics"].start()
