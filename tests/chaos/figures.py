"""What a scenario has measured, beside what it may be."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. ``most`` is the greatest that is good; without it, the number only informs."""

    name: str
    value: float
    most: float | None = None
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Whether it is good."""
        return self.most is None or self.value <= self.most

    def __str__(self) -> str:
        limit = "" if self.most is None else f"  (at most {self.most:g}{'' if self.holds else ', MISSED'})"
        return f"{self.name:<64} {round(self.value, 3):>10g} {self.unit}{limit}"


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which this part of them lies; 0 where there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0


def counted(name: str, found: Sequence[object]) -> Figure:
    """How many bad things were found: none is good."""
    return Figure(name, len(found), most=0)
