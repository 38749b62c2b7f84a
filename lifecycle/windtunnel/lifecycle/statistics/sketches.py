"""Summaries of fixed size for columns with too many distinct values: how many there are, which are frequent, and quantiles.

All merge. The first depends on nothing but the data, whatever way it was cut and merged; the others vary within the error they state.
"""

import dataclasses

import datasketches
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.statistics.counting import combine_counts
from windtunnel.lifecycle.statistics.hashing import hash_column

__all__ = ["DistinctSketch", "FrequentSketch", "QuantileSketch"]

_SMALLEST = 1 << 15
_FREQUENT = 4096
_KLL = 800


class DistinctSketch:
    """How many distinct values, from the smallest of their hashes (k minimum values).

    The relative standard error is 1/sqrt(k - 2): 0.55 % for the 32,768 hashes that are kept.

    Args:
        hashes: those of a sketch that was kept, ascending.
    """

    def __init__(self, hashes: np.ndarray | None = None) -> None:
        self._hashes = np.empty(0, dtype=np.uint64) if hashes is None else hashes
        self._new: list[np.ndarray] = []
        self._size = 0

    @property
    def hashes(self) -> np.ndarray:
        """The smallest hashes, ascending, each once."""
        if self._new:
            found = np.sort(np.concatenate([self._hashes, *self._new]))
            self._hashes = found[np.concatenate([[True], found[1:] != found[:-1]])][:_SMALLEST]
            self._new, self._size = [], 0
        return self._hashes

    def add(self, values: pa.Array) -> None:
        """Distinct values of a batch; repeats do no harm."""
        self.add_hashes(hash_column(values))

    def add_hashes(self, found: np.ndarray) -> None:
        """The same by their hashes."""
        if len(self._hashes) == _SMALLEST:
            found = found[found < self._hashes[-1]]
        self._keep(found)

    def merge(self, other: "DistinctSketch") -> None:
        """Add another's values."""
        self._keep(other.hashes)

    def _keep(self, found: np.ndarray) -> None:
        if len(found) > 2 * _SMALLEST:  # the smallest are in any case among the smallest of the batch, repeats included or not
            smallest = np.unique(np.partition(found, _SMALLEST)[:_SMALLEST])
            found = smallest if len(smallest) == _SMALLEST else found
        if len(found):
            self._new.append(found)
            self._size += len(found)
        if self._size > _SMALLEST:
            _ = self.hashes

    @property
    def estimate(self) -> float:
        """The estimated number of distinct values."""
        if len(self.hashes) < _SMALLEST:
            return float(len(self.hashes))
        return (_SMALLEST - 1) / (float(self.hashes[-1]) / 2.0**64)

    @property
    def error(self) -> float:
        """The relative standard error."""
        return 0.0 if len(self.hashes) < _SMALLEST else 1 / (_SMALLEST - 2) ** 0.5


@dataclasses.dataclass
class FrequentSketch:
    """The most frequent values with a lower bound of their counts (Misra and Gries, mergeable as Agarwal and others showed).

    Attributes:
        values: the candidates.
        counts: at least how often each occurred.
        error: a true count is at most this much larger, and no value left out occurred more often than this.
    """

    values: pa.Array
    counts: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, dtype=np.int64))
    error: int = 0

    def add(self, values: pa.Array, counts: np.ndarray) -> None:
        """Counted values of a batch."""
        values, counts, lost = _prune(values, counts)
        self._join(values, counts, lost)

    def pass_over(self, most: int) -> None:
        """Leave out a batch in which no value occurs more often than this."""
        self.error += most

    def merge(self, other: "FrequentSketch") -> None:
        """Add another's values."""
        self._join(other.values, other.counts, other.error)

    def sort(self) -> None:
        """Order the candidates by value, so that equal sketches look alike."""
        order = pc.sort_indices(self.values)
        self.values, self.counts = self.values.take(order), self.counts[order.to_numpy()]

    def _join(self, values: pa.Array, counts: np.ndarray, lost: int) -> None:
        self.error += lost
        if not len(values):
            return
        joined = combine_counts([self.values, values], [self.counts, counts])
        self.values, self.counts, more = _prune(*joined)
        self.error += more


def _prune(values: pa.Array, counts: np.ndarray) -> tuple[pa.Array, np.ndarray, int]:
    """At most `_FREQUENT` values: every count is lowered by the first that has no place."""
    if len(counts) <= _FREQUENT:
        return values, counts, 0
    lost = int(np.partition(counts, len(counts) - _FREQUENT - 1)[len(counts) - _FREQUENT - 1])
    keep = counts > lost
    return values.filter(pa.array(keep)), counts[keep] - lost, lost


@dataclasses.dataclass
class QuantileSketch:
    """Quantiles within a rank error (KLL of `datasketches`)."""

    kll: datasketches.kll_doubles_sketch = dataclasses.field(default_factory=lambda: datasketches.kll_doubles_sketch(_KLL))

    def add(self, numbers: np.ndarray) -> None:
        """Finite numbers of a batch."""
        if len(numbers):
            self.kll.update(numbers if numbers.flags.writeable else numbers.copy())

    def merge(self, other: "QuantileSketch") -> None:
        """Add another's numbers."""
        self.kll.merge(other.kll)

    @property
    def error(self) -> float:
        """The rank error of one quantile, with a confidence of 99 %."""
        return float(self.kll.normalized_rank_error(False))

    def quantiles(self, ranks: list[float]) -> list[float]:
        """The numbers at these ranks."""
        return [] if self.kll.is_empty() else [float(value) for value in self.kll.get_quantiles(ranks)]

    def cdf(self, points: np.ndarray) -> np.ndarray:
        """The share of numbers that are at most each point."""
        if self.kll.is_empty() or not len(points):
            return np.zeros(len(points))
        unique, back = np.unique(points, return_inverse=True)
        return np.asarray(self.kll.get_cdf(unique.tolist(), True))[:-1][back]

    def to_bytes(self) -> bytes:
        """To be kept."""
        return bytes(self.kll.serialize())

    @classmethod
    def from_bytes(cls, data: bytes) -> "QuantileSketch":
        """What `to_bytes` wrote."""
        return cls(datasketches.kll_doubles_sketch.deserialize(data))
