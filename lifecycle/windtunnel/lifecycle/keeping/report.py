"""The figures of housekeeping."""

import dataclasses

__all__ = ["Freed", "readable"]


@dataclasses.dataclass(frozen=True)
class Freed:
    """What went of one kind.

    Attributes:
        kind: of what.
        rule: the rule that let it go.
        count: how many.
        size: bytes.
        kept: how many were older than the rule but needed.
        names: what they are called.
    """

    kind: str
    rule: str
    count: int
    size: int
    kept: int = 0
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.count} {self.kind} by {self.rule}: {readable(self.size)}" + (f"; {self.kept} kept" if self.kept else "")


def readable(size: int) -> str:
    """Bytes for people.

    Example:
        >>> readable(999), readable(1_350_000_000)
        ('999 B', '1.4 GB')
    """
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
