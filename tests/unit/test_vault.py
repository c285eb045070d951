"""Secrets at rest: sealed with a master key, bound to their place, readable while master keys change."""

import base64
import re
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import ConfigurationError, load_settings, master_keys
from domain.errors import Unavailable
from domain.master_keys import MasterKey, MasterKeyError, key_id_of, new_master_key, read_master_keys, written
from services.vault import SealBroken, Vault

PLACE = ("models", "api_key", "mdl_1", "usr_1")
SECRET = "sk-canary-0123456789"


def vault_of(*texts: str) -> Vault:
    keys = read_master_keys(*texts)
    return Vault(lambda: keys)


@pytest.fixture
def vault() -> Vault:
    return vault_of(new_master_key())


@given(st.text())
def test_what_was_sealed_opens_again(secret: str) -> None:
    vault = vault_of("a" * 64)

    assert vault.open(vault.seal(secret, *PLACE), *PLACE) == secret


def test_a_sealed_secret_shows_nothing_but_its_key_id(vault: Vault) -> None:
    first, second = vault.seal(SECRET, *PLACE), vault.seal(SECRET, *PLACE)

    assert first != second
    assert key_id_of(first) == vault.current().id
    assert SECRET not in first
    assert SECRET.encode() not in base64.b64decode(first.partition(".")[2])


@pytest.mark.parametrize(
    "place",
    [
        ("models", "api_key", "mdl_2", "usr_1"),
        ("models", "api_key", "mdl_1", "usr_2"),
        ("models", "api_key", "mdl_1usr_1", ""),
        ("models", "api_key", "mdl_1"),
        ("others", "api_key", "mdl_1", "usr_1"),
        (),
    ],
)
def test_a_secret_opens_nowhere_else(vault: Vault, place: tuple[str, ...]) -> None:
    with pytest.raises(SealBroken, match="moved"):
        vault.open(vault.seal(SECRET, *PLACE), *place)


def test_a_damaged_secret_does_not_open(vault: Vault) -> None:
    key_id, _, packed = vault.seal(SECRET, *PLACE).partition(".")
    raw = base64.b64decode(packed)
    flipped = [bytes([*raw[:at], raw[at] ^ 1, *raw[at + 1 :]]) for at in range(len(raw))]

    for damaged in [*flipped, raw[:-1], raw + b"x", raw[:20], b""]:
        with pytest.raises(SealBroken):
            vault.open(f"{key_id}.{base64.b64encode(damaged).decode()}", *PLACE)
    for text in ("", key_id, f"{key_id}.", f"{key_id}.é", f"{key_id}.{packed}!", packed):
        with pytest.raises(SealBroken):
            vault.open(text, *PLACE)


def test_an_unknown_master_key_is_said_to_be_so(vault: Vault) -> None:
    with pytest.raises(SealBroken, match="not configured"):
        vault_of(new_master_key()).open(vault.seal(SECRET, *PLACE), *PLACE)


def test_older_keys_open_and_the_current_one_seals() -> None:
    old, new = new_master_key(), new_master_key()
    sealed = vault_of(old).seal(SECRET, *PLACE)
    both = vault_of(new, old)

    assert both.open(sealed, *PLACE) == SECRET
    assert key_id_of(both.seal(SECRET, *PLACE)) == MasterKey.of(new).id


def test_keys_that_come_while_it_works_are_found() -> None:
    old, new = new_master_key(), new_master_key()
    keys = [*read_master_keys(old)]
    vault = Vault(lambda: keys)
    sealed_by_another_node = vault_of(new, old).seal(SECRET, *PLACE)
    assert not vault.knows(MasterKey.of(new).id)

    keys[:] = read_master_keys(new, old)

    assert vault.open(sealed_by_another_node, *PLACE) == SECRET
    assert key_id_of(vault.seal(SECRET, *PLACE)) == MasterKey.of(new).id


@pytest.mark.parametrize("error", [OSError("/secret/place"), MasterKeyError("why")])
def test_a_key_that_cannot_be_read_is_no_answer_to_a_caller(error: Exception) -> None:
    def fails() -> list[MasterKey]:
        raise error

    with pytest.raises(Unavailable) as caught:
        Vault(fails).seal(SECRET, *PLACE)
    assert caught.value.error_code == "master_key_unusable"
    assert "secret" not in caught.value.message


# Master keys


def test_a_master_key_is_the_same_in_every_way_of_writing_it() -> None:
    raw = bytes(range(224, 256))
    ways = [raw.hex(), raw.hex().upper(), base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()]
    ways += [way.rstrip("=") for way in ways[2:]]

    assert {MasterKey.of(way) for way in ways} == {MasterKey.of(raw.hex())}
    assert MasterKey.of(raw.hex()).secret == raw


@pytest.mark.parametrize("text", ["short", "x" * 44, "a" * 63, "a" * 66, "é" * 32, "A" * 42, "A" * 100])
def test_what_is_no_master_key_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(MasterKeyError) as caught:
        MasterKey.of(text)
    assert text not in str(caught.value)


def test_a_master_key_is_not_shown_by_chance() -> None:
    key = MasterKey.of("ab" * 32)

    assert repr(key.secret) not in repr(key)
    assert re.fullmatch(r"[0-9a-f]{8}", key.id)


def test_many_keys_are_read_as_they_are_written() -> None:
    keys = read_master_keys(f"{new_master_key()}, {new_master_key()}", new_master_key())

    assert len(keys) == 3
    assert read_master_keys(written(keys), written(keys[:1])) == keys
    assert read_master_keys("", " \n") == ()


# Where they come from


def test_without_one_a_key_is_made_once_and_kept_closed(tmp_path: Path) -> None:
    settings = load_settings(DATA_DIR=tmp_path)

    (key,) = master_keys(settings)

    assert master_keys(load_settings(DATA_DIR=tmp_path)) == (key,)
    assert stat.S_IMODE((tmp_path / "master_key").stat().st_mode) == 0o600


def test_the_current_key_comes_before_the_older_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_KEY", "aa" * 32)
    monkeypatch.setenv("MASTER_KEYS_OLD", f"{'bb' * 32},{'cc' * 32}")

    assert master_keys(load_settings()) == read_master_keys("aa" * 32, "bb" * 32, "cc" * 32)


def test_a_file_of_keys_is_read_anew_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text("aa" * 32)
    monkeypatch.setenv("MASTER_KEY_FILE", str(file))
    settings = load_settings()
    assert master_keys(settings) == read_master_keys("aa" * 32)

    file.write_text("\n".join(["bb" * 32, "aa" * 32]))

    assert master_keys(settings) == read_master_keys("bb" * 32, "aa" * 32)


@pytest.mark.parametrize("name", ["MASTER_KEY", "MASTER_KEYS_OLD"])
def test_a_wrong_key_stops_the_start_and_is_not_quoted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "canary-not-a-key")

    with pytest.raises(ConfigurationError, match=rf"{name}: .*32 bytes") as caught:
        load_settings()
    assert "canary" not in str(caught.value)
