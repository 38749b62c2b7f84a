"""Distinct values with the number of each, held in memory as long as they fit.

A `Counter` knows nothing of values: what is the same, and how many bytes it takes, say the `Rules` of whoever counts. What does not fit is
handed back (`drain`), to be sketched, to go to disk or to be asked right away.
"""

import dataclasses
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windtunnel.lifecycle.statistics.counting.budget import COLUMN_BYTES, COUNT_BYTES, size_of
from windtunnel.lifecycle.statistics.counting.values import combine_counts, groups

__all__ = ["Ascending", "Counted", "Counter", "Hashed", "InOrder", "Rules"]

Key = TypeVar("Key")
_FLOOR = 2 << 20  # bytes of parts below which joining them would cost more than it saves
_GROWTH = 2  # parts are joined when they have grown so many times: each value is then joined a few times at most, whatever comes


@dataclasses.dataclass
class Counted(Generic[Key]):
    """Values, each with how often it occurs.

    Attributes:
        keys: the values, or the columns of distinct rows.
        counts: how often each occurs.
        first: where each was first seen, a larger number the later; None where nobody asks.
    """

    keys: Key
    counts: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64] | None = None


class Rules(Protocol[Key]):
    """What is the same value, and how many bytes values take."""

    def join(self, parts: Sequence[Counted[Key]]) -> Counted[Key]:
        """Several parts as one, in which each value stands once."""

    def size(self, keys: Key) -> int:
        """The bytes of values; of the same distinct values always the same."""


class Counter(Generic[Key]):
    """Counts distinct values within a number of bytes.

    Example:
        >>> counter = Counter(Hashed(), limit=1000)
        >>> for part in (["a", "b"], ["b"]):
        ...     full = counter.add(Counted(pa.array(part), np.ones(len(part), np.int64)))
        >>> held = counter.held()
        >>> full, held.keys.to_pylist(), held.counts.tolist()
        (False, ['a', 'b'], [1, 2])

    Args:
        rules: what is the same.
        limit: bytes of distinct values with their counts.
        most: distinct values, whatever their size; None for any number within the limit.
    """

    def __init__(self, rules: Rules[Key], limit: int = COLUMN_BYTES, most: int | None = None) -> None:
        self.rules, self.limit, self.most = rules, limit, most
        self._parts: list[Counted[Key]] = []
        self._bytes = self._entries = 0  # of all parts
        self._joined_bytes = self._joined_entries = 0  # of those that were joined: distinct ones

    def add(self, part: Counted[Key]) -> bool:
        """Count a part that has each value once; true if there are now too many distinct ones to hold: `drain` them."""
        if not len(part.counts):
            return self.full
        self._parts.append(part)
        self._bytes += self._size(part)
        self._entries += len(part.counts)
        crowded = self._bytes > max(_GROWTH * self._joined_bytes, min(_FLOOR, self.limit))
        numerous = self.most is not None and self._entries > max(_GROWTH * self._joined_entries, self.most)
        if crowded or numerous:
            self.settle()
        return self.full

    @property
    def full(self) -> bool:
        """Whether the values that were joined so far are too many."""
        return self._joined_bytes > self.limit or (self.most is not None and self._joined_entries > self.most)

    def settle(self) -> bool:
        """Join what came in parts; true if there are too many values to hold."""
        if len(self._parts) > 1:
            self._parts = [self.rules.join(self._parts)]
        if self._joined_bytes != self._bytes or self._joined_entries != self._entries:
            self._bytes = self._joined_bytes = sum(self._size(part) for part in self._parts)
            self._entries = self._joined_entries = sum(len(part.counts) for part in self._parts)
        return self.full

    def held(self) -> Counted[Key] | None:
        """What is held, each value once; None if nothing came."""
        self.settle()
        return self._parts[0] if self._parts else None

    def replace(self, counted: Counted[Key]) -> None:
        """Hold the same values in another order."""
        self._parts = [counted]

    def drain(self) -> Counted[Key] | None:
        """What is held; the counter is empty afterwards."""
        held = self.held()
        self._parts = []
        self._bytes = self._entries = self._joined_bytes = self._joined_entries = 0
        return held

    def _size(self, part: Counted[Key]) -> int:
        return self.rules.size(part.keys) + COUNT_BYTES * len(part.counts) * (1 if part.first is None else 2)


class Hashed:
    """The values of one Arrow array, as Arrow tells them apart; in no particular order.

    A part has each value once, unless it is given in several parts.
    """

    def join(self, parts: Sequence[Counted[pa.Array]]) -> Counted[pa.Array]:
        """By one hash table over all of them."""
        return Counted(*combine_counts([part.keys for part in parts], [part.counts for part in parts]))

    def size(self, keys: pa.Array) -> int:
        """Without buffers that are shared."""
        return size_of(keys)


class InOrder:
    """The rows of some Arrow arrays, as Arrow tells them apart, nulls included; in the order of first sight."""

    def join(self, parts: Sequence[Counted[tuple[pa.Array, ...]]]) -> Counted[tuple[pa.Array, ...]]:
        """Numbers for the values of each column, then for the rows."""
        columns = [pa.chunked_array(list(arrays)).combine_chunks() for arrays in zip(*(part.keys for part in parts), strict=True)]
        group, leaders = groups(columns)
        counts = np.zeros(len(leaders), np.int64)
        # Whole numbers stay whole, where the weights of bincount would be floats.
        np.add.at(counts, group, np.concatenate([part.counts for part in parts]))
        first = np.full(len(leaders), np.iinfo(np.int64).max)
        np.minimum.at(first, group, np.concatenate([_first(part) for part in parts]))
        places = pa.array(leaders)
        return Counted(tuple(column.take(places) for column in columns), counts, first)

    def size(self, keys: tuple[pa.Array, ...]) -> int:
        """All columns."""
        return sum(size_of(column) for column in keys)


def _first(part: Counted[tuple[pa.Array, ...]]) -> npt.NDArray[np.int64]:
    if part.first is None:
        raise ValueError("rows are counted in order only with the place where each was first seen")
    return part.first


class Ascending:
    """Numbers in an array of NumPy (or times), as NumPy tells them apart; ascending. NaN is for the reader to leave out."""

    def join(self, parts: Sequence[Counted[npt.NDArray[np.generic]]]) -> Counted[npt.NDArray[np.generic]]:
        """By sorting."""
        unique, inverse = np.unique(np.concatenate([part.keys for part in parts]), return_inverse=True)
        counts = np.concatenate([part.counts for part in parts])
        # sums of whole numbers as floats are exact below 2**53
        return Counted(unique, np.bincount(inverse, weights=counts, minlength=len(unique)).astype(np.int64))

    def size(self, keys: npt.NDArray[np.generic]) -> int:
        """As they lie in memory."""
        return int(keys.nbytes)
