"""How large a message may be."""

from collections.abc import Sequence
from dataclasses import dataclass

from domain.errors import TooLarge
from domain.messages import Image, Part, text_of


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """The most that one message of a user may hold; ``image_bytes`` counts one picture, decoded."""

    chars: int
    images: int
    image_bytes: int

    def check(self, parts: Sequence[Part]) -> None:
        """Raises :class:`TooLarge`, which names the limit."""
        if len(text_of(parts)) > self.chars:
            raise TooLarge(f"A message may have at most {self.chars:,} characters.", fields=("message",))
        pictures = [part for part in parts if isinstance(part, Image)]
        if len(pictures) > self.images:
            raise TooLarge(f"A message may have at most {self.images} pictures.", fields=("attachments",))
        if any(_size(picture) > self.image_bytes for picture in pictures):
            raise TooLarge(f"A picture may have at most {self.image_bytes:,} bytes.", fields=("attachments",))


def _size(picture: Image) -> int:
    """Bytes of a picture that comes with the message, without decoding it; those elsewhere are not ours to measure."""
    if not picture.url.startswith("data:"):
        return 0
    encoded = picture.url.rpartition(",")[2]
    return len(encoded) * 3 // 4 - encoded[-2:].count("=")
