"""The guard on the way out: what people register as a base URL must not lead into the operator's own network.

A name is looked up once, every address that it has must be allowed, and the connection goes to an address that was
looked at: what the name means a moment later makes no difference. Providers that the operator declared go unguarded.
"""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any
from urllib.parse import urlsplit

from adapters import dialing
from adapters.base_adapter import Deadlines, UpstreamCall
from domain.egress import WEB_PORTS, AllowedHost, address_of, host_name, is_public, url_fault
from domain.errors import AddressNotAllowed, UnsupportedInput

Resolve = Callable[[str, int], list[Any]]
_CODE = AddressNotAllowed.code
_FIELD = ("base_url",)
_LOOKUP_S = 5.0


class Egress:
    """Decides which hosts may be called. ``allowed`` is what the operator permits besides the public Internet.

    ``resolve`` looks a name up (the tuples of getaddrinfo), ``ports`` are those that need no permission.
    """

    def __init__(
        self,
        allowed: Sequence[AllowedHost] = (),
        *,
        resolve: Resolve | None = None,
        ports: Collection[int] = WEB_PORTS,
    ) -> None:
        self._allowed = tuple(allowed)
        self._resolve = resolve or dialing.look_up
        self._ports = frozenset(ports)

    def addresses(self, host: str, port: int, call: UpstreamCall, deadline: float) -> list[Any]:
        """The addresses of ``host``, all of which may be called; ``deadline`` is a monotonic time.

        Raises :class:`AddressNotAllowed`, and what a lookup raises.
        """
        found = dialing.addresses(host, port, call, deadline, self._resolve)
        name = host_name(host)
        if not all(self._allows(name, port, info[4][0]) for info in found):
            raise AddressNotAllowed("The provider's address is not a public one, and the operator has not allowed it.")
        return found

    def check(self, url: str, lookup_s: float = _LOOKUP_S) -> None:
        """Look at a base URL before it is saved; its name is looked up, for at most ``lookup_s`` seconds.

        Raises UnsupportedInput ``address_not_allowed``. A name that cannot be looked up gets the same answer as one
        that leads inside: nobody can ask which names there are in here.
        """
        if fault := url_fault(url):
            raise UnsupportedInput(fault, _CODE, _FIELD)
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        try:
            # Its own call: nothing can abort it, and the deadline is that of the lookup.
            if self.addresses(host, port, UpstreamCall(Deadlines()), time.monotonic() + lookup_s):
                return
        except (AddressNotAllowed, OSError, UnicodeError):
            pass
        message = "The host must have public addresses only, on port 80 or 443, unless the operator allows others."
        raise UnsupportedInput(message, _CODE, _FIELD)

    def _allows(self, name: str, port: int, text: str) -> bool:
        try:
            address = address_of(text)
        except ValueError:
            return False
        if port in self._ports and is_public(address):
            return True
        return any(one.fits(name, address, port, self._ports) for one in self._allowed)
