"""Master keys: what the providers' keys are encrypted with at rest."""

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

_BYTES = 32
_ID_CHARS = 8


class MasterKeyError(ValueError):
    """A master key that cannot be used; the message never quotes it."""


@dataclass(frozen=True, slots=True)
class MasterKey:
    """A key for AES-256. ``id`` is made from it, so that nobody has to name keys; it tells nothing about the key."""

    id: str
    secret: bytes = field(repr=False)

    @classmethod
    def of(cls, text: str) -> Self:
        """From 32 bytes in base64 (either alphabet) or hexadecimal digits. Raises :class:`MasterKeyError`."""
        secret = _bytes_of(text)
        if len(secret) != _BYTES:
            raise MasterKeyError("a master key must be 32 bytes, written in base64 or in hexadecimal digits")
        return cls(hashlib.sha256(b"unichat master key " + secret).hexdigest()[:_ID_CHARS], secret)


def read_master_keys(*texts: str) -> tuple[MasterKey, ...]:
    """The keys in ``texts``, with blanks, line breaks or commas between, each once. Raises :class:`MasterKeyError`."""
    keys = [MasterKey.of(word) for text in texts for word in re.split(r"[\s,]+", text) if word]
    return tuple({key.id: key for key in keys}.values())


def new_master_key() -> str:
    """A key by chance, in base64."""
    return base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def key_id_of(sealed: str) -> str:
    """The id of the key that something was sealed with."""
    return sealed.partition(".")[0]


def written(keys: Sequence[MasterKey]) -> str:
    """Keys as a file has them: one a line, the current one first."""
    return "".join(f"{base64.b64encode(key.secret).decode()}\n" for key in keys)


def _bytes_of(text: str) -> bytes:
    if re.fullmatch(rf"[0-9A-Fa-f]{{{_BYTES * 2}}}", text):
        return bytes.fromhex(text)
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""
