"""What a person signs in with: how a username and an e-mail address are written, compared and refused."""

import re
import unicodedata

from domain.errors import InvalidInput

MAX_USERNAME = 64
MAX_EMAIL = 254

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def login_key(text: str) -> str:
    """The form under which names and addresses are compared: ``Ａda``, ``ADA`` and ``ada`` are one."""
    return _normal(_normal(text).casefold())


def clean_username(text: str) -> str:
    """The username as it is shown. Raises :class:`InvalidInput`."""
    name = _normal(text)
    if not 1 <= len(name) <= MAX_USERNAME:
        raise InvalidInput(f"A username has 1 to {MAX_USERNAME} characters.", "invalid_username", ("username",))
    if not name.isprintable():
        raise InvalidInput("A username has no control characters.", "invalid_username", ("username",))
    return name


def clean_email(text: str | None) -> str | None:
    """The address as it is kept; None for none. Raises :class:`InvalidInput`."""
    address = login_key(text or "")
    if not address:
        return None
    if len(address) > MAX_EMAIL or not is_email(address):
        raise InvalidInput("This is not an e-mail address.", "invalid_email", ("email",))
    return address


def is_email(text: str) -> bool:
    """Whether ``text`` has the form of an e-mail address."""
    return bool(_EMAIL.fullmatch(text)) and text.isprintable()


def email_of(username: str, email: str | None) -> str | None:
    """The address to keep beside ``username``. Raises :class:`InvalidInput`.

    Who is named like an address must own it: both sign in, so a name must not be somebody else's address.
    """
    address = clean_email(email)
    key = login_key(username)
    if not is_email(key) or address == key:
        return address
    if address is None:
        return clean_email(key)
    raise InvalidInput("A username that is an e-mail address must be your own.", "invalid_username", ("username",))


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip()
