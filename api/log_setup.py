"""Logs: our lines straight from structlog, those of every library in the same form; JSON, or readable on a terminal.

API keys that somebody put where they do not belong, as into a path, are cut out of every line.
"""

import contextlib
import fcntl
import json
import logging
import logging.handlers
import os
import sys
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from domain.key_format import without_keys

_ROTATE_BYTES = 20 * 1024 * 1024
_ROTATE_KEEP = 5
_OURS = "unichat"  # the name of records that are finished lines
_LEVELS = {name.lower(): number for name, number in logging.getLevelNamesMapping().items()}
_encode = msgspec.json.Encoder(enc_hook=repr).encode


def _to_json(_logger: Any, _method: str, told: EventDict) -> str:
    try:
        return msgspec.json.format(_encode(told), indent=0).decode()
    except (TypeError, ValueError, OverflowError):  # half a surrogate pair, as in a file's name
        return json.dumps(told, default=repr)


_SHARED = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
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


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Puts what libraries say in our form."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; ours are finished already."""
        return record.msg if record.name == _OURS else without_keys(super().format(record))


class _Out:
    """Where our lines go. The standard library's logging would take longer for one than everything else together."""

    def __init__(self) -> None:
        self.level = logging.INFO
        self.render: Processor = _to_json
        self.file: RotatingFile | None = None

    def write(self, told: EventDict) -> None:
        """Write one. A log that cannot be written costs nobody their answer."""
        if self.file is not None:
            line = without_keys(_to_json(None, "", told))
            self.file.handle(logging.LogRecord(_OURS, logging.INFO, "", 0, line, None, None))
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{without_keys(str(self.render(None, '', told)))}\n")  # the one for people takes it apart


_out = _Out()


class _Logger:
    """That of one module: the last step of a line, whatever its level."""

    def __init__(self, name: str) -> None:
        self.name = name

    def write(self, told: EventDict) -> None:
        """Write a line."""
        _out.write(told)

    debug = info = warning = error = critical = write


def _drop_quiet(_logger: Any, method: str, told: EventDict) -> EventDict:
    if _LEVELS[method] < _out.level:
        raise structlog.DropEvent
    return told


def _hand_over(_logger: Any, _method: str, told: EventDict) -> tuple[tuple[EventDict], dict[str, Any]]:
    return (told,), {}


def configure_logging(*, level: str, form: Literal["auto", "json", "text"], file: str) -> None:
    """Send everything to standard error, and to ``file`` with rotation if it is set. May be called again."""
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    handlers[0].setFormatter(_formatter(_renderer(text=text)))
    _out.level, _out.render, _out.file = logging.getLevelName(level), _renderer(text=text), None
    if file:
        _out.file = RotatingFile(file)
        _out.file.setFormatter(_formatter(_to_json))
        handlers.append(_out.file)
    logging.basicConfig(level=level, handlers=handlers, force=True)
    for noisy in ("urllib3", "alembic"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    names = structlog.stdlib.LoggerFactory(ignore_frame_names=[__name__])
    structlog.configure(
        processors=[_drop_quiet, *_SHARED, _hand_over],
        logger_factory=lambda *told: _Logger(names(*told).name),
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        cache_logger_on_first_use=True,
    )


def _renderer(*, text: bool) -> Processor:
    return structlog.dev.ConsoleRenderer() if text else _to_json


def _formatter(renderer: Processor) -> logging.Formatter:
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    return _Formatter(foreign_pre_chain=_SHARED, processors=[remove, renderer])
