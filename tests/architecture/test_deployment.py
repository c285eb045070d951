"""The deployment files: complete, without secrets, and true to the settings. (No container engine is needed.)"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import Settings
from scripts.make_secrets import make_all
from tests.servers import ROOT

COMPOSE_FILES = ["docker-compose.yml", "docker-compose.prod.yml"]
ONE_SHOT = {"secrets", "migrate"}


def compose(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / name).read_text()))


def services(name: str) -> dict[str, dict[str, Any]]:
    return dict(compose(name)["services"])


def mounts(service: dict[str, Any]) -> list[tuple[str, str]]:
    return [(parts[0], parts[1]) for parts in (volume.split(":") for volume in service.get("volumes", []))]


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_every_service_is_watched_and_bounded(file: str) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    for name, service in services(file).items():
        assert "no-new-privileges:true" in service.get("security_opt", []) or name == "migrate", name
        if name in ONE_SHOT:
            assert service["healthcheck"] == {"disable": True}
        else:
            assert "healthcheck" in service or (service.get("image") == "unichat" and "HEALTHCHECK" in dockerfile), name


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_what_is_waited_for_can_happen(file: str) -> None:
    for service in services(file).values():
        for name, condition in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if name in ONE_SHOT else "service_healthy"
            assert condition["condition"] == expected


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_every_mount_exists(file: str) -> None:
    for service in services(file).values():
        for source, _ in mounts(service):
            known = (ROOT / source).exists() if source.startswith("./") else source in compose(file)["volumes"]
            assert known, source


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_no_compose_file_holds_a_secret(file: str) -> None:
    for service in services(file).values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY|URL|TOKEN", name):
                assert name.endswith("_FILE"), name
                assert value.startswith(("/secrets/", "/run/secrets/")), name


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_the_service_gets_settings_that_exist(file: str) -> None:
    for name in services(file)["app"]["environment"]:
        assert name.removesuffix("_FILE") in Settings.model_fields, name


def test_every_secret_that_a_container_reads_is_made(tmp_path: Path) -> None:
    made = set(make_all(tmp_path))
    everything = "".join((ROOT / name).read_text() for name in COMPOSE_FILES)

    read = set(re.findall(r"/secrets/([a-z_.]+)", everything))
    assert read == made
    assert set(compose("docker-compose.prod.yml")["secrets"]) == made


def test_secrets_are_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"

    for _ in range(2):
        subprocess.run([sys.executable, "-m", "scripts.make_secrets", str(folder)], cwd=ROOT, check=True)
        before = {path.name: path.read_text() for path in folder.iterdir()}
    make_all(folder)

    assert {path.name: path.read_text() for path in folder.iterdir()} == before
    assert before["mysql_password"] in before["database_url"]
    assert f"requirepass {before['redis_password']}\n" in before["redis.conf"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len({before["mysql_password"], before["mysql_root_password"], before["secret_key"]}) == 3


def test_the_node_may_take_longer_to_stop_than_it_needs() -> None:
    for file in COMPOSE_FILES:
        grace = int(services(file)["app"]["stop_grace_period"].removesuffix("s"))
        assert grace >= Settings.model_fields["GRACEFUL_TIMEOUT_S"].default + 10


def test_the_image_holds_the_service_and_nothing_else() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    needed = {path.name for path in ROOT.iterdir() if path.is_dir() and list(path.glob("*.py"))} - {"tests", "bench"}
    assert needed | {"migrations", "app.py", "config.py", "wsgi.py", "gunicorn.conf.py", "uv.lock"} <= allowed
    assert not allowed & {".env", ".git", "tests", "data", "secrets"}


def test_the_proxy_lets_as_much_through_as_the_service_does() -> None:
    found = re.search(r"client_max_body_size (\d+)m;", (ROOT / "deploy" / "nginx.conf").read_text())

    assert found
    assert int(found[1]) * 1024 * 1024 == Settings.model_fields["MAX_BODY_BYTES"].default
