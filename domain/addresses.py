"""Network addresses as far as they tell one client from another."""

import ipaddress

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
