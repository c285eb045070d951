"""Which addresses this server may call for somebody who registered a base URL. Pure: nothing is looked up here.

``ipaddress.is_global`` alone will not do: it differs between versions of Python, and takes for global what leads to
private addresses by translation (NAT64, 6to4), to many receivers, or to a cloud's own services.
"""

import ipaddress
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

WEB_PORTS = frozenset({80, 443})
_MAX_PORT = 65_535
_PLAIN_URL = re.compile(r"[!-\[\]-~]+")  # printable ASCII without blanks and without the backslash
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")

# Everything in IANA's registries of special addresses, also what is called global there: no provider lives in it.
_SPECIAL_IPV4 = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",  # carriers' own; Alibaba's metadata
    "127.0.0.0/8",
    "168.63.129.16/32",  # Azure's services for its machines
    "169.254.0.0/16",  # metadata of most clouds
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",  # 6to4 relays
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",  # multicast, reserved, broadcast
)
_GLOBAL_IPV6 = "2000::/3"  # all that is given out; NAT64, multicast and local ones are outside
_SPECIAL_IPV6 = (
    "2001::/23",  # Teredo, ORCHID, benchmarks
    "2001:db8::/32",
    "2002::/16",  # 6to4: an IPv4 address in disguise
    "2620:4f:8000::/48",
    "3fff::/20",
)
_SPECIAL: Sequence[Network] = tuple(ipaddress.ip_network(text) for text in (*_SPECIAL_IPV4, *_SPECIAL_IPV6))
_ALL_GLOBAL_IPV6 = ipaddress.ip_network(_GLOBAL_IPV6)


@dataclass(frozen=True, slots=True)
class AllowedHost:
    """What the operator allows although it is not public: a name or a network, on one port or (None) on the web's."""

    name: str
    network: Network | None
    port: int | None

    def fits(self, host: str, address: Address, port: int, ports: Collection[int]) -> bool:
        """Whether it allows ``address``, found for ``host``. ``ports`` are those that need not be named."""
        if port not in (ports if self.port is None else (self.port,)):
            return False
        return address in self.network if self.network is not None else host == self.name


def is_public(address: Address) -> bool:
    """Whether it is an address of one host on the Internet, on every version of Python."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address not in _ALL_GLOBAL_IPV6:
            return False
    return address.is_global and not any(address in network for network in _SPECIAL)


def address_of(text: str) -> Address:
    """An address as a lookup gives it, without its zone; IPv4 where it is only wrapped. Raises ValueError."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def host_name(text: str) -> str:
    """A host's name as names are compared: in lower case, without the dot at its end."""
    return text.lower().rstrip(".")


def url_fault(url: str) -> str | None:
    """What keeps ``url`` from being a plain web address, in a sentence; None where it is one."""
    if not _PLAIN_URL.fullmatch(url):
        return "The address has characters that do not belong into one."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "The address is not well-formed."
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "The address must begin with http:// or https:// and name a host."
    if "@" in parts.netloc:
        return "The address must not have a user or a password in it."
    if port == 0:
        return "Port 0 cannot be called."
    return None


def read_allowed(text: str) -> tuple[AllowedHost, ...]:
    """The operator's list: ``name``, ``address`` or ``network/bits``, each with ``:port`` or without, with commas.

    An IPv6 address with a port stands in brackets. Raises ValueError, which quotes what cannot be read.
    """
    return tuple(_entry(entry) for one in text.split(",") if (entry := one.strip()))


def _entry(text: str) -> AllowedHost:
    host, port = _split(text)
    if port is not None and not (port.isascii() and port.isdecimal() and 0 < int(port) <= _MAX_PORT):
        raise ValueError(f"{text!r} has no port from 1 to {_MAX_PORT}")
    number = None if port is None else int(port)
    try:
        return AllowedHost("", ipaddress.ip_network(host, strict=False), number)
    except ValueError:
        name = host_name(host)
    # A name of digits and dots only is an address that somebody mistyped.
    if not _NAME.fullmatch(name) or not re.search("[a-z]", name):
        raise ValueError(f"{text!r} is neither a host's name nor an address nor a network")
    return AllowedHost(name, None, number)


def _split(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        network, colon, port = rest.partition(":")  # [fd00::1]:8000, and [fd00::]/8:8000
        return host + network, port if colon else None
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, port
    return text, None
