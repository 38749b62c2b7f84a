"""Summaries of fixed size for columns with too many distinct values: how many there are, and which are frequent.

Both merge. The first depends on nothing but the data, whatever way it was cut and merged; the other varies within the error it states.
"""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.statistics.counting.budget import COLUMN_BYTES, COUNT_BYTES, size_of
from windtunnel.lifecycle.statistics.counting.hashing import hash_column
from windtunnel.lifecycle.statistics.counting.values import combine_counts

__all__ = ["DistinctSketch", "FrequentSketch"]

SMALLEST = 1 << 15
_FREQUENT = 4096
_HASHES = 1024  # at least: a relative standard error of 3 %
_VALUES = 1 << 15  # bytes, at least: 2,048 numbers


class DistinctSketch:
    """How many distinct values, from the smallest of their hashes (k minimum values).

    The relative standard error is 1/sqrt(k - 2): 0.55 % for the 32,768 hashes that are kept where there is room for them.

    Args:
        hashes: those of a sketch that was kept, ascending.
        most: how many hashes are kept.
    """

    def __init__(self, hashes: np.ndarray | None = None, most: int = SMALLEST) -> None:
        self.most = most
        self._hashes = np.empty(0, dtype=np.uint64) if hashes is None else hashes
        self._new: list[np.ndarray] = []
        self._size = 0

    @classmethod
    def within(cls, limit: int) -> "DistinctSketch":
        """One that takes half of so many bytes at most (but no fewer than 1,024 hashes)."""
        return cls(most=max(_HASHES, min(SMALLEST, limit // 16)))

    @property
    def hashes(self) -> np.ndarray:
        """The smallest hashes, ascending, each once."""
        if self._new:
            found = np.sort(np.concatenate([self._hashes, *self._new]))
            self._hashes = found[np.concatenate([[True], found[1:] != found[:-1]])][: self.most]
            self._new, self._size = [], 0
        return self._hashes

    def add(self, values: pa.Array) -> None:
        """Distinct values of a batch; repeats do no harm."""
        self.add_hashes(hash_column(values))

    def add_hashes(self, found: np.ndarray) -> None:
        """The same by their hashes."""
        # Not `hashes`, which would sort what is new with every batch: a bound that is a little old lets a few more through, and loses none.
        if len(self._hashes) == self.most:
            found = found[found < self._hashes[-1]]
        self._keep(found)

    def merge(self, other: "DistinctSketch") -> None:
        """Add another's values; of two sizes the smaller is kept, as no more is known."""
        if other.most < self.most:
            self.most = other.most
            self._hashes = self.hashes[: self.most]
        self._keep(other.hashes[: self.most])

    def _keep(self, found: np.ndarray) -> None:
        if len(found) > 2 * self.most:  # the smallest are in any case among the smallest of the batch, repeats included or not
            smallest = np.unique(np.partition(found, self.most)[: self.most])
            # Repeats took the places of hashes that may still belong to the smallest.
            found = smallest if len(smallest) == self.most else found
        if len(found):
            self._new.append(found)
            self._size += len(found)
        if self._size > self.most:
            _ = self.hashes

    @property
    def estimate(self) -> float:
        """The estimated number of distinct values."""
        if len(self.hashes) < self.most:
            return float(len(self.hashes))
        # k - 1 and not k: only so is the estimate right on average.
        return (self.most - 1) / (float(self.hashes[-1]) / 2.0**64)

    @property
    def error(self) -> float:
        """The relative standard error."""
        return 0.0 if len(self.hashes) < self.most else 1 / (self.most - 2) ** 0.5


@dataclasses.dataclass
class FrequentSketch:
    """The most frequent values with a lower bound of their counts (Misra and Gries, mergeable as Agarwal and others showed).

    Attributes:
        values: the candidates.
        counts: at least how often each occurred.
        error: a true count is at most this much larger, and no value left out occurred more often than this.
        limit: bytes that the values may take.
    """

    values: pa.Array
    counts: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, dtype=np.int64))
    error: int = 0
    limit: int = COLUMN_BYTES // 2

    @classmethod
    def within(cls, kind: pa.DataType, limit: int) -> "FrequentSketch":
        """An empty one that takes half of so many bytes at most (but no less than 32 kB)."""
        return cls(pa.array([], kind), limit=max(_VALUES, limit // 2))

    def add(self, values: pa.Array, counts: np.ndarray) -> None:
        """Counted values of a batch."""
        # By itself first, so that joining never sees more than two sketches' worth of values.
        values, counts, lost = _prune(values, counts, self.limit)
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
        self.values, self.counts, more = _prune(*joined, self.limit)
        self.error += more


def _prune(values: pa.Array, counts: np.ndarray, limit: int) -> tuple[pa.Array, np.ndarray, int]:
    """At most 4,096 values in so many bytes: every count is lowered by the first that has no place."""
    room = _room(values, counts, limit)
    if len(counts) <= room:
        return values, counts, 0
    lost = int(np.partition(counts, len(counts) - room - 1)[len(counts) - room - 1])
    keep = counts > lost
    return values.filter(pa.array(keep)), counts[keep] - lost, lost


def _room(values: pa.Array, counts: np.ndarray, limit: int) -> int:
    """How many of the most frequent values there is a place for."""
    if size_of(values) + COUNT_BYTES * len(counts) <= limit:
        return _FREQUENT
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return min(_FREQUENT, limit // (size_of(values) // len(values) + COUNT_BYTES))
    order = np.argsort(-counts, kind="stable")
    sizes = pc.binary_length(values).to_numpy(zero_copy_only=False).astype(np.int64)[order] + 2 * COUNT_BYTES
    return min(_FREQUENT, int(np.searchsorted(np.cumsum(sizes), limit, side="right")))
