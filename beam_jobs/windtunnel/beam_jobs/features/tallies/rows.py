"""Rows themselves, where an algorithm needs them in order: a fixed sample, or all of them while they are few."""

from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from windtunnel.beam_jobs.features.tallies.accumulator import Gatherer
from windtunnel.beam_jobs.features.tallies.streams import Chunk, Stream

__all__ = ["Gathered", "Labels", "Rows", "Weights", "fits_in_memory"]

GATHER_BYTES = 64 << 20
"""An iterative algorithm is given the rows themselves while they take no more than this."""


def fits_in_memory(rows: int, width: int) -> bool:
    """Whether so many rows of so many numbers may be gathered."""
    return rows * max(width, 1) * 8 <= GATHER_BYTES


class Rows(Gatherer):
    """How many rows there are."""

    def __init__(self) -> None:
        self.rows = 0

    def gather(self, stream: Stream, chunk: Chunk) -> None:
        """Count a chunk."""
        self.rows += chunk.rows

    def merge(self, other: "Rows") -> None:
        """Add."""
        self.rows += other.rows


class Gathered(Gatherer):
    """Rows of a stream, in order: those at `positions` (sorted, distinct), or all."""

    def __init__(self, positions: np.ndarray | None = None) -> None:
        self._positions = positions
        self._parts: list[Any] = []
        self._weights: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []

    def gather(self, stream: Stream, chunk: Chunk) -> None:
        """Take the chunk's share."""
        inside: Any = slice(None)
        if self._positions is not None:
            low, high = np.searchsorted(self._positions, [chunk.start, chunk.start + chunk.rows])
            if low == high:
                return
            inside = self._positions[low:high] - chunk.start
        table = stream.evaluate(chunk)
        # A copy: a view of few rows would keep their whole chunk in memory.
        self._parts.append((table.iloc[inside] if hasattr(table, "iloc") else table[inside]).copy())
        if chunk.weight is not None:
            self._weights.append(chunk.weight[inside])
        if chunk.y is not None:
            self._labels.append(chunk.y[inside])

    def merge(self, other: "Gathered") -> None:
        """Later rows follow."""
        self._parts += other._parts
        self._weights += other._weights
        self._labels += other._labels

    @property
    def table(self) -> Any:
        """The rows, as one container."""
        if hasattr(self._parts[0], "iloc"):
            return pd.concat(self._parts, ignore_index=True)
        return scipy.sparse.vstack(self._parts, format="csr") if scipy.sparse.issparse(self._parts[0]) else self._joined()

    def _joined(self) -> np.ndarray:
        """In the order of memory that the parts have: sums over it then round as in one table."""
        whole = np.concatenate(self._parts)
        return np.asfortranarray(whole) if self._parts[0].flags.fnc else whole

    @property
    def weight(self) -> np.ndarray | None:
        """Their weights."""
        return np.concatenate(self._weights) if self._weights else None

    @property
    def label(self) -> np.ndarray | None:
        """Their labels."""
        return np.concatenate(self._labels) if self._labels else None


class Weights(Gatherer):
    """The weights of all rows, in order: eight bytes a row."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []

    def gather(self, stream: Stream, chunk: Chunk) -> None:
        """Take a chunk's."""
        self._parts.append(np.asarray(chunk.weight))

    def merge(self, other: "Weights") -> None:
        """Later rows follow."""
        self._parts += other._parts

    @property
    def weights(self) -> np.ndarray:
        """All of them."""
        return np.concatenate(self._parts)


class Labels(Gatherer):
    """The labels of all rows, in order: eight bytes a row at most."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []

    def gather(self, stream: Stream, chunk: Chunk) -> None:
        """Take a chunk's."""
        self._parts.append(np.asarray(chunk.y))

    def merge(self, other: "Labels") -> None:
        """Later rows follow."""
        self._parts += other._parts

    @property
    def labels(self) -> np.ndarray:
        """All of them."""
        return np.concatenate(self._parts)
