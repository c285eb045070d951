"""Secrets at rest: encrypted with the master key, and tied to the row that they belong to."""

import base64
import os
from binascii import Error as Base64Error
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from domain.errors import Unavailable
from domain.master_keys import MasterKey, MasterKeyError, key_id_of

log = structlog.get_logger()

_NONCE_BYTES = 12
_MAC_BYTES = 16

ReadKeys = Callable[[], Sequence[MasterKey]]


class SealBroken(Unavailable):
    """What was sealed cannot be opened here: its master key is not known, or it is not what was put in this place."""

    code = "secret_unreadable"


class Vault:
    """Seals and opens secrets with AES-256-GCM.

    ``read_keys`` gives the master keys, the current one first, and raises MasterKeyError or OSError when there is none
    to be had. It is asked again whenever something is sealed, or was sealed with a key that is not known yet: the keys
    may change while this works. A secret is bound to its place (table, column, row, owner), and opens in no other.
    """

    def __init__(self, read_keys: ReadKeys) -> None:
        self._read_keys = read_keys
        self._known: dict[str, MasterKey] = {}

    def current(self) -> MasterKey:
        """The key that is sealed with now. Raises Unavailable ``master_key_unusable``."""
        try:
            keys = self._read_keys()
        except (MasterKeyError, OSError) as error:
            log.warning("master_key_unusable", error=str(error))
            raise Unavailable("The master key of this installation cannot be read.", "master_key_unusable") from None
        # Those that went away stay known to this process: somebody may still hold what they sealed.
        self._known = {**self._known, **{key.id: key for key in keys}}
        return keys[0]

    def knows(self, key_id: str) -> bool:
        """Whether there is a master key of that id."""
        return self._key(key_id) is not None

    def seal(self, secret: str, *place: str) -> str:
        """``secret`` as it may be stored: ``<key id>.<nonce, ciphertext and tag in base64>``."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  # 6 MB that few need

        key, nonce = self.current(), os.urandom(_NONCE_BYTES)
        encrypted = AESGCM(key.secret).encrypt(nonce, secret.encode(), _bound_to(place))
        return f"{key.id}.{base64.b64encode(nonce + encrypted).decode()}"

    def open(self, sealed: str, *place: str) -> str:
        """The secret that was sealed for ``place``. Raises :class:`SealBroken`."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415  # see seal
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        key = self._key(key_id_of(sealed))
        if key is None:
            raise SealBroken("A stored key was encrypted with a master key that is not configured here.")
        try:
            packed = base64.b64decode(sealed.partition(".")[2], validate=True)
            if len(packed) < _NONCE_BYTES + _MAC_BYTES:
                raise _broken()
            nonce, encrypted = packed[:_NONCE_BYTES], packed[_NONCE_BYTES:]
            return AESGCM(key.secret).decrypt(nonce, encrypted, _bound_to(place)).decode()
        except (InvalidTag, Base64Error, ValueError):
            raise _broken() from None

    def _key(self, key_id: str) -> MasterKey | None:
        if key_id not in self._known:
            with suppress(Unavailable):
                self.current()
        return self._known.get(key_id)


def _bound_to(place: Sequence[str]) -> bytes:
    # With lengths: no two places give the same bytes, whatever is in them.
    return b"".join(len(part.encode()).to_bytes(4) + part.encode() for part in place)


def _broken() -> SealBroken:
    return SealBroken("A stored key is damaged, or was moved here from another row.")
