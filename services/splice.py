"""Joins an answer that was begun anew to what its reader has seen already."""

from domain.deltas import ImageDelta, ReasoningDelta, Replacement, Said, TextDelta
from domain.growing_text import GrowingText


class Splice:
    """Takes the deltas of all attempts of a turn, and gives what the reader still has to get.

    An attempt after the first is swallowed while it repeats what was shown. Where it departs from that, a
    :class:`Replacement` puts its text in place of the other. So what is shown is always the beginning of one attempt's
    answer, or all that the attempt before it gave.
    """

    def __init__(self) -> None:
        self._text = _Track()
        self._reasoning = _Track()
        self._pictures: set[str] = set()

    @property
    def shown(self) -> bool:
        """Whether the reader has got anything."""
        return bool(self._text or self._reasoning or self._pictures)

    @property
    def said(self) -> str:
        """All reasoning and text of the present attempt."""
        return self._reasoning.said() + self._text.said()

    def restart(self) -> None:
        """Another attempt begins."""
        self._text.restart()
        self._reasoning.restart()

    def take(self, delta: Said) -> Said | None:
        """What ``delta`` means for the reader; None for nothing new."""
        match delta:
            case TextDelta(text=text):
                return self._grown(delta, text)
            case ReasoningDelta(text=text):
                return self._thought(delta, text)
            case ImageDelta(url=url):
                if url in self._pictures:
                    return None
                self._pictures.add(url)
            case Replacement(text=text):
                self._text.put(text)
        return delta

    def finish(self) -> Replacement | None:
        """The attempt is complete: what it has less than was shown before is taken back."""
        shorter, thought_less = self._text.cut(), self._reasoning.cut()
        return self._replacement(with_reasoning=thought_less) if shorter or thought_less else None

    def _grown(self, delta: TextDelta, text: str) -> Said | None:
        new, departs = self._text.add(text)
        if departs:
            # The thoughts of this attempt are over; those of the other one do not belong to this text.
            return self._replacement(with_reasoning=self._reasoning.cut())
        return delta if new == text else TextDelta(new) if new else None

    def _thought(self, delta: ReasoningDelta, text: str) -> Said | None:
        new, departs = self._reasoning.add(text)
        if departs:
            return self._replacement(with_reasoning=True)
        return delta if new == text else ReasoningDelta(new) if new else None

    def _replacement(self, *, with_reasoning: bool) -> Replacement:
        return Replacement(self._text.shown(), self._reasoning.shown() if with_reasoning else None)


class _Track:
    """One kind of text: what the reader has of it, and how much of that the present attempt has repeated."""

    def __init__(self) -> None:
        self._shown = GrowingText()
        self._old = ""  # what is to be repeated; empty once it was
        self._at = 0  # how much of it was

    def __bool__(self) -> bool:
        return bool(self._shown)

    def restart(self) -> None:
        self._old, self._at = self.shown(), 0

    def shown(self) -> str:
        return str(self._shown)

    def said(self) -> str:
        return self._old[: self._at] if self._old else self.shown()

    def add(self, piece: str) -> tuple[str, bool]:
        """What of ``piece`` the reader does not have yet, and whether all that was shown has to go for it."""
        if not self._old:
            self._shown.add(piece)
            return piece, False
        rest = len(self._old) - self._at
        if self._old.startswith(piece[:rest], self._at):
            self._at += len(piece)
            if len(piece) < rest:
                return "", False
            self._old = ""
            return self.add(piece[rest:])
        self.put(self._old[: self._at] + piece)
        return piece, True

    def put(self, text: str) -> None:
        self._shown, self._old = GrowingText(text), ""

    def cut(self) -> bool:
        """The present attempt has no more: forget what it did not repeat; whether there was any."""
        if not self._old:
            return False
        self.put(self._old[: self._at])
        return True
