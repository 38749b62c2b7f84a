"""Columns with more distinct numbers than are held in memory: exact moments, and sorted runs on disk or a quantile sketch."""

import dataclasses
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from windtunnel.lifecycle.contract.errors import UnsupportedError

__all__ = ["Beyond", "Large"]

_BLOCK = 1 << 18
_SKETCH = 800
"""The size of a sketch: a rank error of about 0.2 percent at most, with 99 percent confidence."""


@dataclasses.dataclass(frozen=True)
class Beyond:
    """What happens beyond the limit.

    Attributes:
        limit: distinct values that are held.
        mode: ``exact`` spills to disk, ``sketch`` estimates.
        folder: where to spill.
        keep: whether the values matter at all; else only their moments are kept.
    """

    limit: int
    mode: Literal["exact", "sketch"]
    folder: str
    keep: bool


class Large:
    """The numbers of a large column.

    Attributes:
        n: how many, repeats counted.
        mean: their mean.
        m2: their summed squared deviations.
        low: the least.
        high: the greatest.
        runs: files of sorted distinct values, with their counts beside them.
        sketch: a KLL sketch, in its place.
    """

    def __init__(self, beyond: Beyond) -> None:
        self.beyond = beyond
        self.n = 0
        self.mean = 0.0
        self.m2 = 0.0
        self.low = np.inf
        self.high = -np.inf
        self.runs: list[str] = []
        self.sketch: Any = None

    def add(self, values: np.ndarray, counts: np.ndarray) -> None:
        """Take sorted distinct values."""
        x = values.astype(np.float64)
        n = int(counts.sum())
        with np.errstate(invalid="ignore"):
            mean = float(np.dot(counts, x) / n)
            away = x - mean
            self._join(n, mean, float(np.dot(counts, away * away)), float(x[0]), float(x[-1]))
        if not self.beyond.keep:
            return
        if self.beyond.mode == "exact":
            name = str(Path(self.beyond.folder, uuid.uuid4().hex))
            np.save(f"{name}.values.npy", values)
            np.save(f"{name}.counts.npy", counts)
            self.runs.append(name)
        else:
            self._sketched(np.repeat(x, counts))

    def add_rows(self, values: np.ndarray) -> None:
        """Take values whose distinct ones do not matter."""
        x = values.astype(np.float64)
        with np.errstate(invalid="ignore"):
            mean = float(x.mean())
            away = x - mean
            self._join(len(x), mean, float(away @ away), float(x.min()), float(x.max()))

    def _join(self, n: int, mean: float, m2: float, low: float, high: float) -> None:
        total = self.n + n
        away = mean - self.mean if self.n else 0.0
        self.m2 += m2 + away * away * self.n * n / total
        self.mean = self.mean + away * n / total if self.n else mean
        self.low, self.high, self.n = min(self.low, low), max(self.high, high), total

    def _sketched(self, x: np.ndarray) -> None:
        import datasketches

        if self.sketch is None:
            self.sketch = datasketches.kll_doubles_sketch(_SKETCH)
        self.sketch.update(x)

    def merge(self, other: "Large") -> None:
        """Take over another's."""
        self._join(other.n, other.mean, other.m2, other.low, other.high)
        self.runs += other.runs
        if other.sketch is not None:
            if self.sketch is None:
                self.sketch = other.sketch
            else:
                self.sketch.merge(other.sketch)

    @property
    def error(self) -> float:
        """The sketch's largest rank error, as a share of the rows."""
        return float(self.sketch.normalized_rank_error(False)) if self.sketch is not None else 0.0

    def at_ranks(self, ranks: np.ndarray) -> np.ndarray:
        """The values at zero-based ranks of the sorted column."""
        if self.sketch is not None:
            return np.asarray(self.sketch.get_quantiles(np.clip((ranks + 1) / self.n, 0.0, 1.0), True), dtype=np.float64)
        found = np.empty(len(ranks))
        before = 0
        for values, counts in self.blocks():
            ends = before + np.cumsum(counts)
            here = (ranks >= before) & (ranks < ends[-1])
            found[here] = values[np.searchsorted(ends, ranks[here], side="right")]
            before = int(ends[-1])
        return found

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All distinct values with their counts, ascending, by merging the runs block by block."""
        if self.sketch is not None or not self.beyond.keep:
            raise UnsupportedError(
                f"a column has more than {self.beyond.limit:,} distinct numbers, and this step needs each of them",
                hint="use the option beyond='exact', or raise distinct_limit",
            )
        values = [np.load(f"{run}.values.npy", mmap_mode="r") for run in self.runs]
        counts = [np.load(f"{run}.counts.npy", mmap_mode="r") for run in self.runs]
        at = [0] * len(values)
        block = max(1024, _BLOCK // max(1, len(values)))
        while True:
            live = [i for i in range(len(values)) if at[i] < len(values[i])]
            if not live:
                return
            pivot = min(values[i][min(at[i] + block, len(values[i])) - 1] for i in live)
            taken, times = [], []
            for i in live:
                end = at[i] + int(np.searchsorted(values[i][at[i] : at[i] + block], pivot, side="right"))
                taken.append(np.asarray(values[i][at[i] : end]))
                times.append(np.asarray(counts[i][at[i] : end]))
                at[i] = end
            unique, inverse = np.unique(np.concatenate(taken), return_inverse=True)
            yield unique, np.bincount(inverse, weights=np.concatenate(times), minlength=len(unique)).astype(np.int64)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "sketch": None if self.sketch is None else self.sketch.serialize()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.sketch is not None:
            import datasketches

            self.sketch = datasketches.kll_doubles_sketch.deserialize(self.sketch)
