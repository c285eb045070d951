"""What the logs hold, and what they never do."""

import json
import logging
import threading
from pathlib import Path

import pytest
from flask_openapi import OpenAPI

from api.log_setup import RotatingFile
from domain.key_format import new_key
from tests.actors import Actor
from tests.conftest import AppFactory

CANARY = "canary-3f9c1d7a"


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "unichat.log"


@pytest.fixture
def app(make_app: AppFactory, log_file: Path) -> OpenAPI:
    return make_app(LOG_FILE=str(log_file), LOGGING_LEVEL="DEBUG")


def _records(log_file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log_file.read_text().splitlines()]


def test_each_request_leaves_one_line_with_its_id_duration_and_time_to_first_byte(user: Actor, log_file: Path) -> None:
    before = len(_records(log_file))

    response = user.post("/api/v1/chat/stream", {"message": "hello"}, headers={"X-Request-Id": "my-id-1"})
    response.get_data()
    response.close()

    lines = [record for record in _records(log_file)[before:] if record["event"] == "request"]
    assert len(lines) == 1
    assert lines[0]["request_id"] == "my-id-1"
    assert lines[0]["route"] == "/api/v1/chat/stream"
    assert lines[0]["status"] == 200
    assert 0 < float(str(lines[0]["ttft_ms"])) <= float(str(lines[0]["duration_ms"]))


def test_a_file_that_was_read_to_its_end_has_its_line_and_is_closed(user: Actor, log_file: Path) -> None:
    response = user.get("/api/v1/docs/docs.js")

    assert b"SwaggerUIBundle" in response.get_data()

    line = [record for record in _records(log_file) if record["event"] == "request"][-1]
    assert (line["path"], line["status"]) == ("/api/v1/docs/docs.js", 200)


@pytest.mark.parametrize("stream", [False, True])
def test_the_line_of_an_answer_that_is_not_stored_says_who_gave_it_and_how_it_ended(
    user: Actor, log_file: Path, stream: bool
) -> None:
    asked = {"model": "echo", "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    response = user.post("/v1/chat/completions", asked)
    response.get_data()
    response.close()

    line = [record for record in _records(log_file) if record["event"] == "request"][-1]
    assert str(line["generation_id"]).startswith("gen_")
    assert {name: line[name] for name in ("model", "targets", "end_reason", "error_code")} == {
        "model": "echo",
        "targets": "echo/echo",
        "end_reason": "stop",
        "error_code": None,
    }


def test_prompts_answers_and_secrets_are_never_logged(app: OpenAPI, user: Actor, log_file: Path) -> None:
    client = app.test_client()
    user.post("/api/v1/chat", {"message": f"{CANARY} prompt", "config": {"system_prompt": f"{CANARY} system"}})
    user.post("/api/v1/sessions", {"title": f"{CANARY} title"})
    user.get(f"/api/v1/sessions?q={CANARY}")
    user.post("/api/v1/chat", {"message": f"/echo fail=provider_unavailable {CANARY}"})
    client.post("/api/v1/auth/login", json={"username": "grace", "password": f"{CANARY} password"})
    client.post("/api/v1/auth/refresh", json={"refresh_token": f"{CANARY}.token"})
    client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {CANARY}"})
    client.get(f"/api/v1/chat/sess_1/stream?ticket={CANARY}")
    client.post("/api/v1/setup", json={"token": CANARY, "username": "eve", "password": f"{CANARY} password"})

    assert CANARY not in log_file.read_text()


def test_api_keys_are_never_logged_wherever_they_are_put(app: OpenAPI, user: Actor, log_file: Path) -> None:
    made = Actor.ok(user.post("/api/v1/keys", {"name": "mine"}), 201)
    key, wrong, client = made["key"], new_key(), app.test_client()

    def call(path: str, json: object = None, **headers: str) -> None:
        client.open(path, method="GET" if json is None else "POST", json=json, headers=headers).close()  # and log it

    call("/api/v1/auth/me", **{"x-api-key": key})
    for text in (key, wrong):
        headers = {"Authorization": f"Bearer {text}", "X-Request-Id": text}
        for path in ("/api/v1/auth/me", f"/api/v1/keys/{text}", f"/{text}", f"/api/v1/sessions?q={text}"):
            call(path, **headers)
        call("/api/v1/auth/me", **{"x-api-key": text[:-1]})
        call("/api/v1/auth/login", {"username": text, "password": text})
        call("/api/v1/chat", {"message": text, "model": text, "provider": text}, **headers)
        logging.getLogger("a.library").warning("it says %s", text)
    Actor.ok(user.delete(f"/api/v1/keys/{made['id']}"))

    written = log_file.read_text()
    assert key[:11] in written  # the prefix may be
    for text in (key, wrong):
        assert text[12:30] not in written
    used = [record for record in _records(log_file) if record.get("key_id") == made["id"]]
    assert {record["event"] for record in used} >= {"key_created", "request", "key_revoked"}


def test_a_forged_request_id_cannot_break_into_the_log(user: Actor, log_file: Path) -> None:
    response = user.get("/api/v1/sessions", headers={"X-Request-Id": "x" * 500})

    assert response.headers["X-Request-Id"].startswith("req_")
    assert "x" * 500 not in log_file.read_text()


def test_several_writers_rotate_one_file_without_losing_a_line(log_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.log_setup._ROTATE_BYTES", 10_000)
    monkeypatch.setattr("api.log_setup._ROTATE_KEEP", 50)
    handlers = [RotatingFile(str(log_file)) for _ in range(3)]  # as three workers have one each

    def write(number: int, handler: RotatingFile) -> None:
        for line in range(200):
            handler.emit(logging.LogRecord("x", logging.INFO, "", 0, f"{number}-{line} {'.' * 80}", None, None))

    threads = [threading.Thread(target=write, args=pair) for pair in enumerate(handlers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for handler in handlers:
        handler.close()

    files = [path for path in log_file.parent.glob("unichat.log*") if path.suffix != ".lock"]
    written = [line.split()[0] for path in files for line in path.read_text().splitlines()]
    assert len(files) > 1
    assert sorted(written) == sorted(f"{number}-{line}" for number in range(3) for line in range(200))
