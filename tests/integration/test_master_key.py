"""The master key changes while nodes serve, may be broken off at any moment, and is missed at the start."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask_openapi import OpenAPI

from config import ConfigurationError, load_settings, master_key_file, master_keys
from domain.master_keys import key_id_of, new_master_key
from models import RegisteredModelEntity, db
from scripts.rotate_master_key import rotate
from services.key_rotation import KeyRotation
from services.vault import Vault
from tests.actors import Actor, ok
from tests.chats import services
from tests.conftest import AppFactory
from tests.servers import ROOT

SETTINGS = {"RATE_LIMIT": "1000000 per minute", "RATE_LIMIT_CHAT": "1000000 per minute"}
CANARY = "sk-canary-0123456789abcdefghij"


@pytest.fixture
def app(make_app: AppFactory) -> OpenAPI:
    return make_app(**SETTINGS)


def register(admin: Actor, count: int) -> list[str]:
    made = []
    for number in range(count):
        body = {"name": f"m{number}", "kind": "echo", "api_key": CANARY}
        made.append(ok(admin.post("/api/v1/models/system", body), 201)["id"])
    return made


def key_ids(app: OpenAPI) -> set[str]:
    with app.app_context():
        return {key_id_of(sealed) for sealed in db.session.scalars(sa.select(RegisteredModelEntity.api_key)) if sealed}


def _rotated_by_command() -> subprocess.CompletedProcess[str]:
    command, environment = [sys.executable, "-m", "scripts.rotate_master_key"], os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def _use(node: OpenAPI, admin: Actor, model_id: str, number: int, statuses: list[int], over: threading.Event) -> None:
    """Change a model, its key too, and chat with it, until it is over."""
    actor, turn = Actor(node, admin.tokens), 0
    while not over.is_set() or turn < 3:
        turn += 1
        change: dict[str, Any] = {"max_output": 100 + turn} if turn % 2 else {"api_key": f"{CANARY}{turn}"}
        statuses.append(actor.put(f"/api/v1/models/{model_id}", change).status_code)
        statuses.append(actor.post("/api/v1/chat", {"message": "hi", "model": f"m{number}"}).status_code)
        services(node).refresher.refresh()


@pytest.mark.usefixtures("every_database")
def test_the_key_changes_under_load_without_a_failed_request(app: OpenAPI, make_app: AppFactory, admin: Actor) -> None:
    ids, other_node = register(admin, 12), make_app(**SETTINGS)
    statuses: list[int] = []
    over = threading.Event()
    nodes = enumerate((app, other_node))
    users = [threading.Thread(target=_use, args=(node, admin, ids[n], n, statuses, over)) for n, node in nodes]
    for one in users:
        one.start()
    try:
        done = _rotated_by_command()
    finally:
        over.set()
        for one in users:
            one.join()

    assert done.returncode == 0, done.stderr
    assert "0 left" in done.stdout
    assert len(statuses) >= 12
    assert set(statuses) == {200}
    new, old = master_keys(load_settings())
    assert key_ids(app) <= {new.id, old.id}  # a key that was being stored while the master key changed
    assert rotate(load_settings(), forget_old=True)
    assert key_ids(app) == {new.id}
    assert master_keys(load_settings()) == (new,)
    services(make_app(**SETTINGS))  # a node that starts with the new key alone


@pytest.mark.usefixtures("every_database")
def test_a_rotation_that_was_broken_off_goes_on(app: OpenAPI, admin: Actor) -> None:
    register(admin, 5)
    settings, registry = load_settings(), services(app).models
    (old,) = master_keys(settings)
    file = master_key_file(settings)
    assert file
    file.write_text(f"{new_master_key()}\n{file.read_text()}")
    vault = Vault(lambda: master_keys(settings))

    steps = KeyRotation(registry._unit_of_work, vault, batch=2).steps()
    assert (next(steps).left, key_ids(app)) == (3, {vault.current().id, old.id})
    steps.close()
    progress = list(KeyRotation(registry._unit_of_work, vault, batch=2).steps())

    assert [step.done for step in progress] == [2, 3, 3]
    assert progress[-1].left == 0
    assert key_ids(app) == {vault.current().id}
    assert ok(admin.get("/api/v1/models"))["items"][0]["fault"] is None


def test_a_rotation_that_is_begun_again_makes_no_other_key(
    app: OpenAPI, admin: Actor, capsys: pytest.CaptureFixture[str]
) -> None:
    register(admin, 1)
    settings = load_settings()
    file = master_key_file(settings)
    assert file
    file.write_text(f"{new_master_key()}\n{file.read_text()}")
    before = master_keys(settings)

    assert rotate(settings)

    assert master_keys(settings) == before
    assert "goes on" in capsys.readouterr().out
    assert key_ids(app) == {before[0].id}


def test_a_key_that_was_changed_meanwhile_is_left(app: OpenAPI, admin: Actor) -> None:
    (model_id,) = register(admin, 1)
    with services(app).models._unit_of_work() as uow:
        (key,) = uow.models.sealed_keys(other_than="nothing", after="", limit=9)
        ok(admin.get("/api/v1/models"))
        assert uow.models.replace_key(key, "x.new")
        assert not uow.models.replace_key(key, "x.newer")
    assert key.id == model_id


def test_a_node_with_another_master_key_does_not_start(
    app: OpenAPI, admin: Actor, make_app: AppFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(admin, 1)
    (key,) = master_keys(load_settings())
    monkeypatch.setenv("MASTER_KEY", new_master_key())

    with pytest.raises(ConfigurationError, match=rf"MASTER_KEY: .*{key.id}.*MASTER_KEYS_OLD"):
        make_app()

    monkeypatch.setenv("MASTER_KEYS_OLD", key.secret.hex())
    make_app()
    assert rotate(load_settings())
    monkeypatch.delenv("MASTER_KEYS_OLD")
    make_app()


def test_a_damaged_file_of_keys_is_said_to_be_so(make_app: AppFactory, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "master_key").write_text("canary-not-a-key")

    with pytest.raises(ConfigurationError, match=r"MASTER_KEY: .*32 bytes") as caught:
        make_app()
    assert "canary" not in str(caught.value)
