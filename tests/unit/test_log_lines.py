"""Our own lines in the log, which do not go through the standard library."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from api.log_setup import configure_logging


class Full(io.StringIO):
    """A device with no room."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.fixture(autouse=True)
def _as_usual() -> Iterator[None]:
    structlog.contextvars.clear_contextvars()  # of requests of other tests
    yield
    configure_logging(level="INFO", form="json", file="")


Capture = pytest.CaptureFixture[str]


def _lines(capsys: Capture) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_says_what_when_where_and_how_grave(capsys: Capture) -> None:
    configure_logging(level="INFO", form="json", file="")
    structlog.get_logger().info("something", number=1, text='a "b"\n', nothing=None)

    written = capsys.readouterr().err
    line = json.loads(written)
    assert line.pop("timestamp").endswith("Z")
    expected = {"number": 1, "text": 'a "b"\n', "nothing": None, "event": "something", "level": "info"}
    assert line == expected | {"logger": __name__}
    assert written.startswith('{"number": 1, "text": "a')  # as libraries' lines are written


def test_what_json_cannot_say_is_said_as_well_as_it_can(capsys: Capture) -> None:
    configure_logging(level="INFO", form="json", file="")
    structlog.get_logger().info("odd", half="\ud800", huge=1 << 70)
    structlog.get_logger().info("odd", thing=io.StringIO)

    half, thing = _lines(capsys)
    assert (half["half"], half["huge"]) == ("\ud800", 1 << 70)
    assert thing["thing"] == "<class '_io.StringIO'>"


def test_lines_below_the_level_are_not_written(capsys: Capture) -> None:
    log = structlog.get_logger()
    for level in ("WARNING", "DEBUG"):  # also of a logger that has written before
        configure_logging(level=level, form="json", file="")  # type: ignore[arg-type]
        log.debug(level)
        log.warning(level)

    assert [line["event"] for line in _lines(capsys)] == ["WARNING", "DEBUG", "DEBUG"]


def test_an_exception_is_told_with_its_traceback(capsys: Capture) -> None:
    configure_logging(level="INFO", form="json", file="")
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        structlog.get_logger().exception("crashed")

    (line,) = _lines(capsys)
    assert line["level"] == "error"
    assert "ZeroDivisionError: division by zero" in line["exception"]


def test_text_for_people_goes_to_the_terminal_and_json_to_the_file(capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "log"
    configure_logging(level="INFO", form="text", file=str(file))
    structlog.get_logger().info("something", number=1)

    written = capsys.readouterr().err
    assert "something" in written
    assert not written.startswith("{")
    (line,) = [json.loads(one) for one in file.read_text().splitlines()]
    assert (line["event"], line["number"]) == ("something", 1)


def test_a_log_without_room_costs_nobody_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Full())
    configure_logging(level="INFO", form="json", file="")
    structlog.get_logger().info("something")
