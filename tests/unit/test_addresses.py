"""Networks that API keys may be used from."""

import pytest

from domain.addresses import are_within, is_in, parse_network


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        (" 192.0.2.7 ", "192.0.2.7/32"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_networks_are_read(text: str, network: str) -> None:
    assert str(parse_network(text)) == network


@pytest.mark.parametrize(
    "text", ["", "10.0.0.0/33", "10.0.0", "localhost", "fe80::1%eth0", "::ffff:10.0.0.1", "10.0.0.0/-1"]
)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an address or a network|write it as IPv4"):
        parse_network(text)


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("10.255.255.255", True),
        ("11.0.0.0", False),
        ("::ffff:10.0.0.1", True),
        ("::ffff:11.0.0.1", False),
        ("2001:db8:ffff::1", True),
        ("2001:db9::1", False),
        ("::10.0.0.1", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_addresses_are_looked_for_in_networks(address: str, inside: bool) -> None:
    assert is_in(address, [parse_network("10.0.0.0/8"), parse_network("2001:db8::/32")]) == inside


@pytest.mark.parametrize(
    ("inner", "outer", "within"),
    [
        (["10.0.0.0/9", "10.1.2.3"], ["10.0.0.0/8"], True),
        (["10.0.0.0/8"], ["10.0.0.0/9", "10.128.0.0/9"], False),
        (["0.0.0.0/0"], ["::/0"], False),
        (["2001:db8::/32", "10.0.0.1"], ["::/0", "10.0.0.0/24"], True),
        (["10.0.0.1", "11.0.0.1"], ["10.0.0.0/8"], False),
    ],
)
def test_networks_lie_within_others(inner: list[str], outer: list[str], within: bool) -> None:
    assert are_within(map(parse_network, inner), list(map(parse_network, outer))) == within
