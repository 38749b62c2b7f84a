"""The values at ranks: of counted values exactly, of a sketch within its error."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import datasketches
import numpy as np
import numpy.typing as npt

__all__ = ["QuantileSketch", "at_ranks", "between", "search"]

_KLL = 800
"""The size of a sketch: a rank error of about 0.2 percent at most, with 99 percent confidence."""

_BRACKET = 1 << 16  # values that are sorted at once when a rank is looked for among parts

Blocks = Callable[[], Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]]


def at_ranks(values: np.ndarray, counts: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """The values at zero-based ranks of the column that sorted distinct values and their counts stand for.

    Example:
        >>> at_ranks(np.array([1.0, 5.0]), np.array([3, 1]), np.array([0, 2, 3])).tolist()
        [1.0, 1.0, 5.0]
    """
    return np.asarray(values[np.searchsorted(np.cumsum(counts), ranks, side="right")])


def between(counts: np.ndarray, shares: Sequence[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each share of a column: the places of the two neighbours among its sorted distinct values, and how far it is from the first.

    Example:
        >>> low, high, rest = between(np.array([1, 1]), [0.25])
        >>> low.tolist(), high.tolist(), rest.tolist()
        ([0], [1], [0.25])
    """
    ends = np.cumsum(counts)
    place = np.asarray(shares, dtype=np.float64) * (ends[-1] - 1)
    below = np.floor(place)
    low = np.searchsorted(ends, below, side="right")
    high = np.searchsorted(ends, np.minimum(below + 1, ends[-1] - 1), side="right")
    return low, high, place - below


def search(blocks: Blocks, rank: int) -> object:
    """The value at a zero-based rank of values that come in parts, in any order, too many to be sorted at once.

    A bracket around the rank is narrowed, a reading of the parts each time, until what is in it can be sorted.

    Example:
        >>> parts = [(np.array([3, 1]), np.array([1, 2])), (np.array([2]), np.array([1]))]
        >>> int(search(lambda: iter(parts), 2))
        2
    """
    low: Any | None = None
    high: Any | None = None
    while True:
        below, size, inside, sample = _bracket(blocks, low, high)
        if size <= _BRACKET:
            values = np.concatenate([values for values, _ in inside])
            # Ranks go on from what lies below the bracket, which was only counted.
            order = np.argsort(values, kind="stable")
            ends = below + np.cumsum(np.concatenate([counts for _, counts in inside])[order])
            return values[order][np.searchsorted(ends, rank, side="right")]
        pivots = np.unique(np.concatenate(sample))
        place = int(np.searchsorted(_up_to(blocks, pivots), rank, side="right"))
        # The rank lies above one pivot and at most at the next; outside of the sample the old bound stays.
        low, high = (pivots[place - 1] if place else low), (pivots[place] if place < len(pivots) else high)


def _bracket(blocks: Blocks, low: Any | None, high: Any | None) -> tuple[int, int, list[tuple[np.ndarray, np.ndarray]], list[np.ndarray]]:
    """How many rows are below a bracket, how many values are in it, the values themselves while they are few, and a sample of them."""
    below = size = 0
    inside, sample = [], []
    for values, counts in blocks():
        under = values < low if low is not None else np.zeros(len(values), bool)
        within = ~under & (values <= high if high is not None else np.ones(len(values), bool))
        below += int(counts[under].sum())
        kept = values[within]
        size += len(kept)
        sample.append(kept[:: max(1, len(kept) // 64)])
        # Once it is clear that there are too many, no more of them are kept: memory stays within the bracket.
        if size <= _BRACKET:
            inside.append((kept, counts[within]))
    return below, size, inside, sample


def _up_to(blocks: Blocks, pivots: np.ndarray) -> np.ndarray:
    """How many rows are at most each pivot."""
    total = np.zeros(len(pivots), np.int64)
    for values, counts in blocks():
        order = np.argsort(values, kind="stable")
        ends = np.concatenate([[0], np.cumsum(counts[order])])
        total += ends[np.searchsorted(values[order], pivots, side="right")]
    return total


@dataclasses.dataclass
class QuantileSketch:
    """Quantiles within a rank error (KLL of `datasketches`)."""

    kll: datasketches.kll_doubles_sketch = dataclasses.field(default_factory=lambda: datasketches.kll_doubles_sketch(_KLL))

    def add(self, numbers: np.ndarray) -> None:
        """Finite numbers of a batch."""
        if len(numbers):
            # datasketches refuses arrays that it may not write to, which those of Arrow are.
            self.kll.update(numbers if numbers.flags.writeable else numbers.copy())

    def merge(self, other: "QuantileSketch") -> None:
        """Add another's numbers."""
        self.kll.merge(other.kll)

    @property
    def error(self) -> float:
        """The rank error of one quantile, with a confidence of 99 %."""
        return float(self.kll.normalized_rank_error(False))

    def quantiles(self, ranks: list[float]) -> list[float]:
        """The numbers at these shares of all."""
        return [] if self.kll.is_empty() else [float(value) for value in self.kll.get_quantiles(ranks)]

    def at_ranks(self, ranks: np.ndarray, total: int) -> np.ndarray:
        """The numbers at about these zero-based ranks of so many."""
        return np.asarray(self.kll.get_quantiles(np.clip((ranks + 1) / total, 0.0, 1.0), True), dtype=np.float64)

    def cdf(self, points: np.ndarray) -> np.ndarray:
        """The share of numbers that are at most each point."""
        if self.kll.is_empty() or not len(points):
            return np.zeros(len(points))
        # datasketches refuses points that repeat or fall.
        unique, back = np.unique(points, return_inverse=True)
        # The last entry is that of everything beyond the points, always 1.
        return np.asarray(self.kll.get_cdf(unique.tolist(), True))[:-1][back]

    def to_bytes(self) -> bytes:
        """To be kept."""
        return bytes(self.kll.serialize())

    @classmethod
    def from_bytes(cls, data: bytes) -> "QuantileSketch":
        """What `to_bytes` wrote."""
        return cls(datasketches.kll_doubles_sketch.deserialize(data))

    def __getstate__(self) -> bytes:
        """Sketches go between processes as bytes."""
        return self.to_bytes()

    def __setstate__(self, state: bytes) -> None:
        self.kll = datasketches.kll_doubles_sketch.deserialize(state)
