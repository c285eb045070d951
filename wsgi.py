"""The WSGI application for gunicorn, with the background work of a serving process."""

import sys

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
app.extensions["metrics"].start()
