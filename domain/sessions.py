"""What sessions hold."""

from enum import StrEnum


class SessionKind(StrEnum):
    """A CHAT is its user's, to be listed, read and gone on with. The others are hidden.

    RESPONSE: one turn that was asked for as a stored response. COMPLETION: one turn whose prompt is not stored.
    """

    CHAT = "chat"
    RESPONSE = "response"
    COMPLETION = "completion"
