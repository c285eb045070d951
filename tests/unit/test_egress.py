"""Which addresses are public, which URLs are plain, and how the operator's list is read; the same on every Python."""

import ipaddress

import pytest

from domain.egress import AllowedHost, address_of, is_public, read_allowed, url_fault

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "169.253.1.1",
    "172.32.0.1",
    "192.0.1.1",
    "198.20.0.1",
    "223.255.255.254",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
    "::ffff:8.8.8.8",
]
NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.9",
    "192.0.0.170",
    "192.0.0.192",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.168.1.1",
    "192.175.48.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:100.64.0.1",
    "::ffff:0:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses(text: str) -> None:
    assert is_public(address_of(text))


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_addresses_that_lead_inside_or_nowhere(text: str) -> None:
    assert not is_public(address_of(text))
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com",
        "https://api.example.com/v1",
        "https://API.example.com:443/v1/",
        "http://[2606:4700:4700::1111]:80/v1",
        "http://1.1.1.1",
    ],
)
def test_plain_addresses(url: str) -> None:
    assert url_fault(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.com/v1",
        "//api.example.com",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_INFO",
        "dict://127.0.0.1:11211/stat",
        "ftp://127.0.0.1/",
        "unix:///run/docker.sock",
        "http+unix://%2Frun%2Fdocker.sock/info",
        "http://",
        "http:///v1",
        "http://a@127.0.0.1",
        "http://@127.0.0.1",
        "http://:secret@127.0.0.1",
        "http://a:b@127.0.0.1/v1",
        "http://127.0.0.1\\@ok.com",
        "http://ok.com\\@127.0.0.1",
        "http://ok.com@127.0.0.1",
        "http://ok.com /v1",
        "http://ok.com/v1\r\nHost: other",
        "http://ok\t.com",
        "http://ok.com/\x00",
        "http://①②⑦.0.0.1/v1",
        "http://ok.com:0",
        "http://ok.com:65536",
        "http://ok.com:http",
        "http://[::1",
        "http://[not-an-address]/",
    ],
)
def test_addresses_that_are_none_or_mean_two_things(url: str) -> None:
    assert url_fault(url) is not None


def test_the_list_of_the_operator() -> None:
    names = "ollama.internal, Proxy.Internal.:8080,"
    numbers = "10.0.0.0/8,10.1.2.3:11434,192.168.7.0/24:8000,fd00::1,[fd00::2]:9000,[fd00::]/8:8001,"

    assert read_allowed(names + numbers) == (
        AllowedHost("ollama.internal", None, None),
        AllowedHost("proxy.internal", None, 8080),
        AllowedHost("", ipaddress.ip_network("10.0.0.0/8"), None),
        AllowedHost("", ipaddress.ip_network("10.1.2.3"), 11434),
        AllowedHost("", ipaddress.ip_network("192.168.7.0/24"), 8000),
        AllowedHost("", ipaddress.ip_network("fd00::1"), None),
        AllowedHost("", ipaddress.ip_network("fd00::2"), 9000),
        AllowedHost("", ipaddress.ip_network("fd00::/8"), 8001),
    )
    assert read_allowed("") == ()


@pytest.mark.parametrize(
    "text",
    ["http://host", "host:", "host:0", "host:65536", "host:x", "1.2.3.4.5", "300.1.1.1", "a b", "10.0.0.0/99", "*"],
)
def test_a_list_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"has no port|is neither"):
        read_allowed(f"ok.internal,{text}")
