"""Labels stay few, whatever clients and other people's adapters make up."""

import pytest

from telemetry.targets import OTHER, Codes, Targets

TARGETS = Targets([("a", "one"), ("b", "two")])


@pytest.mark.parametrize(
    ("asked", "labels"),
    [
        (("a", "one"), ("a", "one")),
        (("a", "two"), ("a", OTHER)),
        (("a", "made-up"), ("a", OTHER)),
        (("c", "one"), (OTHER, OTHER)),
    ],
)
def test_only_configured_targets_have_a_name(asked: tuple[str, str], labels: tuple[str, str]) -> None:
    assert TARGETS.labels(*asked) == labels


def test_codes_are_bounded() -> None:
    codes = Codes()

    first = [codes.label(f"code_{number}") for number in range(1000)]

    assert len(set(first)) == 201
    assert codes.label("code_7") == "code_7"
    assert codes.label("code_999") == OTHER
    assert codes.label(None) == ""
