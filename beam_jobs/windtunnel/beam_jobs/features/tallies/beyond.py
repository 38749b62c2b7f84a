"""Columns with more distinct numbers than are held in memory: exact moments, and sorted runs on disk or a quantile sketch."""

import dataclasses
from collections.abc import Iterator
from typing import Literal

import numpy as np

from windtunnel.lifecycle.contract.errors import UnsupportedError
from windtunnel.lifecycle.statistics.counting import COLUMN_BYTES, Moments, QuantileSketch, Runs

__all__ = ["Beyond", "Large"]


@dataclasses.dataclass(frozen=True)
class Beyond:
    """What happens beyond the limit.

    Attributes:
        mode: ``exact`` spills to disk, ``sketch`` estimates.
        folder: where to spill.
        keep: whether the values matter at all; else only their moments are kept.
        limit: bytes of distinct values that are held.
        most: distinct values that are held, if fewer of them.
    """

    mode: Literal["exact", "sketch"]
    folder: str
    keep: bool
    limit: int = COLUMN_BYTES
    most: int | None = None

    @property
    def described(self) -> str:
        """The limit in words."""
        return f"{self.limit:,} bytes of distinct values" if self.most is None else f"{self.most:,} distinct values"


class Large:
    """The numbers of a large column.

    Attributes:
        moments: of the finite ones.
        low: the least, infinite or not.
        high: the greatest.
        runs: sorted distinct values on disk.
        sketch: in their place, where an estimate will do.
    """

    def __init__(self, beyond: Beyond) -> None:
        self.beyond = beyond
        self.moments = Moments()
        self.low = np.inf
        self.high = -np.inf
        self.runs = Runs(beyond.folder)
        self.sketch: QuantileSketch | None = None

    @property
    def n(self) -> int:
        """How many numbers, repeats counted."""
        return self.moments.count + self.moments.infinites

    def add(self, values: np.ndarray, counts: np.ndarray) -> None:
        """Take sorted distinct values."""
        x = values.astype(np.float64)
        self._take(Moments.of(x, counts), float(x[0]), float(x[-1]))
        if not self.beyond.keep:
            return
        if self.beyond.mode == "exact":
            self.runs.add(values, counts)
        else:
            self.sketch = self.sketch or QuantileSketch()
            self.sketch.add(np.repeat(x, counts))

    def add_rows(self, values: np.ndarray) -> None:
        """Take values whose distinct ones do not matter."""
        x = values.astype(np.float64)
        self._take(Moments.of(x), float(x.min()), float(x.max()))

    def _take(self, moments: Moments, low: float, high: float) -> None:
        self.moments.merge(moments)
        self.low, self.high = min(self.low, low), max(self.high, high)

    def merge(self, other: "Large") -> None:
        """Take over another's."""
        self._take(other.moments, other.low, other.high)
        self.runs.merge(other.runs)
        if other.sketch is not None:
            if self.sketch is None:
                self.sketch = other.sketch
            else:
                self.sketch.merge(other.sketch)

    @property
    def error(self) -> float:
        """The sketch's largest rank error, as a share of the rows."""
        return self.sketch.error if self.sketch is not None else 0.0

    def at_ranks(self, ranks: np.ndarray) -> np.ndarray:
        """The values at zero-based ranks of the sorted column."""
        if self.sketch is not None:
            return self.sketch.at_ranks(ranks, self.n)
        self._need_values()
        return self.runs.at_ranks(ranks)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All distinct values with their counts, ascending."""
        self._need_values()
        return self.runs.blocks()

    def _need_values(self) -> None:
        if self.sketch is not None or not self.beyond.keep:
            raise UnsupportedError(
                f"a column has more than {self.beyond.described}, and this step needs each of them",
                hint="use the option beyond='exact', or raise distinct_bytes",
            )
