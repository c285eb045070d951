"""How names and e-mail addresses are written and compared."""

import pytest

from domain.addresses import network_of
from domain.errors import InvalidInput
from domain.user_names import clean_email, clean_username, email_of, login_key


@pytest.mark.parametrize("name", ["ada", "ADA", "Ａｄａ", " ada ", "Ada"])
def test_names_that_look_alike_are_one(name: str) -> None:
    assert login_key(name) == "ada"


def test_names_that_differ_by_an_accent_are_two() -> None:
    assert login_key("jose") != login_key("josé")


def test_the_key_of_a_key_is_the_key() -> None:
    for name in ("Straße", "İstanbul", "ﬁsh", "ΑΣ", "ǅ"):
        assert login_key(login_key(name)) == login_key(name)


@pytest.mark.parametrize("name", ["", "   ", "x" * 65, "a\nb", "a\x1b[31m", "a\u202eb", "a\x00b", "tab\there"])
def test_empty_long_and_unprintable_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        clean_username(name)

    assert caught.value.error_code == "invalid_username"


@pytest.mark.parametrize("name", ["a", "x" * 64, "Grace Hopper", "王小明", "o'brien", "ünïcödé"])
def test_names_of_any_script_are_accepted(name: str) -> None:
    assert clean_username(f" {name} ") == name


@pytest.mark.parametrize("address", ["a@b.c", "ADA@Example.org", "root@localhost", "x+y@sub.example.org"])
def test_addresses_are_kept_in_lower_case(address: str) -> None:
    assert clean_email(address) == address.lower()


@pytest.mark.parametrize("address", ["ada", "@example.org", "ada@", "a b@c.d", "a@b@c", "a@" + "b" * 260])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput):
        clean_email(address)


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_an_address_is_not_needed(nothing: str | None) -> None:
    assert clean_email(nothing) is None


def test_who_is_named_like_an_address_has_that_address() -> None:
    assert email_of("Ada@Example.org", None) == "ada@example.org"
    assert email_of("ada@example.org", "ADA@example.org") == "ada@example.org"
    with pytest.raises(InvalidInput):
        email_of("ada@example.org", "other@example.org")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("unknown", "unknown"),
        ("x" * 100, "x" * 64),
    ],
)
def test_an_ipv6_client_is_its_network(address: str, network: str) -> None:
    assert network_of(address) == network
