"""Network addresses as far as they tell one client from another."""

import ipaddress
from collections.abc import Collection, Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_IPV6_PREFIX = 64  # the smallest network that a provider gives out: one client can use every address in it
_LONGEST = 64


def network_of(address: str) -> str:
    """``address`` itself, or its /64 network for IPv6. What is no address comes back as it is, shortened."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address[:_LONGEST]
    if isinstance(ip, ipaddress.IPv6Address):
        mapped = ip.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((int(ip), _IPV6_PREFIX), strict=False))
    return str(ip)


def parse_network(text: str) -> Network:
    """The network in CIDR notation, or the network of one address. Raises ValueError with a reason for people."""
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(f"{text[:_LONGEST]!r} is not an address or a network like 10.0.0.0/8") from None
    if isinstance(network, ipaddress.IPv6Network) and (network.network_address.ipv4_mapped or "%" in text):
        raise ValueError(f"{text[:_LONGEST]!r}: write it as IPv4, and without a zone")
    return network


def is_in(address: str, networks: Iterable[Network]) -> bool:
    """Whether ``address`` is in one of the networks. What is no address is in none."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return any(ip in network for network in networks)


def are_within(networks: Iterable[Network], outer: Collection[Network]) -> bool:
    """Whether each of the networks lies in one of the ``outer`` ones."""
    return all(any(_is_part(network, one) for one in outer) for network in networks)


def _is_part(network: Network, outer: Network) -> bool:
    return network.version == outer.version and network.subnet_of(outer)  # type: ignore[arg-type]  # of one version
