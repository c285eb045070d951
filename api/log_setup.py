"""Logs: one structlog pipeline for our lines and those of every library; JSON, or readable on a terminal."""

import fcntl
import logging
import logging.handlers
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Literal

import structlog

from domain.key_format import without_keys

_ROTATE_BYTES = 20 * 1024 * 1024
_ROTATE_KEEP = 5


def _without_keys(_logger: Any, _method: str, told: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """API keys that somebody put where they do not belong, as into a path, are not for the log."""
    for name, value in told.items():
        if isinstance(value, str):
            told[name] = without_keys(value)
    return told


_SHARED = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    _without_keys,
)


class RotatingFile(logging.handlers.RotatingFileHandler):
    """A rotating log file that several workers may share: one rotates, the others follow."""

    def __init__(self, path: str) -> None:
        super().__init__(path, maxBytes=_ROTATE_BYTES, backupCount=_ROTATE_KEEP, encoding="utf-8", delay=False)

    def doRollover(self) -> None:  # noqa: N802  # the name is the standard library's
        """Rotate, unless another worker has done it meanwhile; then only open the new file."""
        with open(f"{self.baseFilename}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.stream is None or os.path.samestat(os.fstat(self.stream.fileno()), Path(self.baseFilename).stat()):
                super().doRollover()
            else:
                self.stream.close()
                self.stream = self._open()


def configure_logging(*, level: str, form: Literal["auto", "json", "text"], file: str) -> None:
    """Send everything to standard error, and to ``file`` with rotation if it is set. May be called again."""
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    handlers[0].setFormatter(_formatter(text=text))
    if file:
        handlers.append(RotatingFile(file))
        handlers[1].setFormatter(_formatter(text=False))
    logging.basicConfig(level=level, handlers=handlers, force=True)
    for noisy in ("urllib3", "flask_limiter", "limits", "alembic"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _formatter(*, text: bool) -> logging.Formatter:
    renderer = structlog.dev.ConsoleRenderer() if text else structlog.processors.JSONRenderer()
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
