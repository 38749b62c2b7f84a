"""Sum, mean and standard deviation of a column, chunk by chunk, to the last bit as pandas has them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from great_expectations.validator.metric_configuration import MetricConfiguration

from windtunnel.beam_jobs.expectations.engine.calls import Calls, FrameEngine, MetricFailure
from windtunnel.beam_jobs.expectations.engine.source import Chunk, Source
from windtunnel.beam_jobs.expectations.engine.tasks import OfRows
from windtunnel.lifecycle.statistics.counting.sums import BlockSum, IntegerSum, PairwiseSum

__all__ = ["Moments"]


def _wide(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64) if values.dtype.kind in "iub" else values


class Moments(OfRows):
    """Sum, mean and standard deviation of a number column, to the last bit as pandas has them.

    Without a row condition the number of rows is known, and one pass gives sum and mean; the standard deviation takes one more.
    """

    def __init__(self, source: Source, engine: FrameEngine, metric: MetricConfiguration, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self.squares_wanted = False
        self.count = 0
        self.failure: MetricFailure | None = None
        self._metric, self._source, self._engine = metric, source, engine
        self._column = str(metric.metric_domain_kwargs["column"])
        self._filtered = bool(metric.metric_domain_kwargs.get("row_condition"))
        self._dtype = source.dtypes[self._column]
        self._length = None if self._filtered else source.rows
        self._step = "count" if self._filtered else "sum"
        self._sum: Any = None
        self._mean: Any = None
        self._middle: Any = None
        self._squares: PairwiseSum | None = None
        self._rows = 0
        if not self._filtered:
            self._begin_sums(source.rows)

    def take(self, chunk: Chunk) -> bool:
        """The next values."""
        if self.failure is not None:
            return True
        try:
            values = self._values(chunk)
        except Exception as error:  # noqa: BLE001 - a row condition may raise anything
            self.failure = MetricFailure(self._metric, error)
            return True
        if self._step == "count":
            self._rows += len(values)
            return False
        missing = np.isnan(values) if values.dtype.kind == "f" else None
        if self._step == "sum":
            self._add(values, missing)
            return False
        if self._squares is None:
            return True
        self._squares.add(self._squared(values, missing))
        return False

    def _add(self, values: np.ndarray, missing: np.ndarray | None) -> None:
        """Add values up as numpy adds a whole column: nulls as zeros, means in the type that pandas takes."""
        self.count += len(values) - (int(missing.sum()) if missing is not None else 0)
        filled = np.where(missing, values.dtype.type(0), values) if missing is not None else values
        # Sum and mean may be one and the same object, which must take each value once.
        for total in {id(total): total for total in (self._sum, self._mean)}.values():
            total.add(filled)
        if self._middle is not self._sum and self._middle is not self._mean:
            self._middle.add(_wide(filled))

    def _squared(self, values: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
        """The squared distances from the mean; zero of a null."""
        wide = _wide(values)
        if missing is None:
            return (self._average - wide) ** 2
        squares = (self._average - np.where(missing, wide.dtype.type(0), wide)) ** 2
        squares[missing] = 0
        return squares

    def end_pass(self) -> None:
        """Go on to the next step, if one is wanted."""
        if self._step == "count":
            self._length = self._rows
            self._begin_sums(self._rows)
            self._step = "sum"
        elif self._step == "sum" and self.squares_wanted and self._length:
            with np.errstate(all="ignore"):
                self._average = np.float64(self._middle.value()) / np.float64(self.count)
            self._squares = PairwiseSum(self._length, np.float64)
            self._step = "squares"
        else:
            self.done = True

    def sum(self) -> Any:
        """As ``Series.sum``."""
        return self._sum.value() if self._length else self._empty().sum()

    def mean(self) -> Any:
        """As ``Series.mean``."""
        if not self._length:
            return self._empty().mean()
        if not self.count:
            return np.nan
        kind = self._dtype if self._dtype.kind == "f" else np.dtype(np.float64)
        # pandas divides in the column's own type: a mean of float32 is rounded as float32.
        return self._mean.value() / kind.type(self.count)

    def std(self) -> Any:
        """As ``Series.std``: one degree of freedom less."""
        if not self._length:
            return self._empty().std()
        if self.count <= 1:
            return np.nan
        if self._squares is None:
            return np.nan
        kind = self._dtype if self._dtype.kind == "f" else np.dtype(np.float64)
        with np.errstate(all="ignore"):
            variance = self._squares.value() / kind.type(self.count - 1)
            return np.sqrt(variance.astype(kind))

    def _begin_sums(self, length: int) -> None:
        if self._dtype == np.dtype(np.float64):
            self._sum = self._mean = self._middle = PairwiseSum(length, np.float64)
        elif self._dtype.kind == "f":
            self._sum = self._mean = PairwiseSum(length, self._dtype)
            # pandas' deviations start from a mean in float64, to which numpy converts block by block while it adds.
            self._middle = BlockSum()
        else:
            self._sum = IntegerSum(unsigned=self._dtype.kind == "u")
            self._mean = self._sum if self._dtype.kind == "b" else BlockSum()
            self._middle = PairwiseSum(length, np.float64)

    def _values(self, chunk: Chunk) -> np.ndarray:
        if self._filtered:
            frame = self._source.frame(chunk.batch, start=chunk.start)
            rows = Calls(self._engine, frame).domain(self._metric.metric_domain_kwargs)
            return rows[self._column].to_numpy()
        column = chunk.batch.column(self._column)
        if column.null_count == 0 and column.type == pa.from_numpy_dtype(self._dtype) and not pa.types.is_boolean(column.type):
            return column.to_numpy()
        return self._source.frame(chunk.batch.select([self._column]))[self._column].to_numpy()

    def _empty(self) -> pd.Series:
        return pd.Series([], dtype=self._dtype)
