"""Text that comes token by token."""

_BLOCK = 64


class GrowingText:
    """A text that is written on. Its pieces are joined now and then: a string for each takes ten times the room."""

    __slots__ = ("_blocks", "_pieces")

    def __init__(self, text: str = "") -> None:
        self._blocks = [text] if text else []
        self._pieces: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._pieces or self._blocks)

    def __str__(self) -> str:
        return "".join([*self._blocks, *self._pieces])

    def add(self, text: str) -> None:
        """Write on."""
        if text:
            self._pieces.append(text)
            if len(self._pieces) == _BLOCK:
                self._blocks.append("".join(self._pieces))
                self._pieces.clear()
