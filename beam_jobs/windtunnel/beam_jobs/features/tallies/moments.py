"""The moments of each column of a stream; of wide and sparse ones all columns at once."""

from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from sklearn.utils import check_array

from windtunnel.beam_jobs.features.tallies.accumulator import Gatherer
from windtunnel.beam_jobs.features.tallies.streams import Chunk, Stream
from windtunnel.beam_jobs.features.tallies.summary import Summary
from windtunnel.lifecycle.statistics.counting import Moments, TableMoments

__all__ = ["MomentsGatherer", "WeightedMoments", "moments_of", "of_table", "stand_in"]


def stand_in(moments: TableMoments, template: Any) -> Any:
    """A few rows with the same least, greatest and missing values, in the container of the stream."""
    rows = [moments.low, moments.high]
    missing = moments.n < moments.rows
    if missing.any():
        rows.append(np.where(missing, np.nan, moments.low))
    table = np.vstack(rows)
    if scipy.sparse.issparse(template):
        return scipy.sparse.csr_matrix(table.astype(template.dtype))
    if not hasattr(template, "iloc"):
        return table.astype(template.dtype) if template.dtype.kind == "f" else table
    frame = pd.DataFrame(table, columns=template.columns)
    floats = {name: dtype for name, dtype in zip(template.columns, template.dtypes, strict=True) if dtype.kind == "f"}
    return frame.astype(floats) if floats else frame


class MomentsGatherer(Gatherer):
    """Gathers moments over chunks."""

    def __init__(self) -> None:
        self.moments: TableMoments | None = None

    def gather(self, stream: Stream, chunk: Chunk) -> None:
        """Take in a chunk."""
        found = of_table(stream.evaluate(chunk), chunk.weight if self.weighted else None)
        if self.moments is None:
            self.moments = found
        else:
            self.moments.merge(found)

    weighted = False

    def merge(self, other: "MomentsGatherer") -> None:
        """Merge."""
        if self.moments is None:
            self.moments = other.moments
        elif other.moments is not None:
            self.moments.merge(other.moments)


class WeightedMoments(MomentsGatherer):
    """Moments with row weights in the place of counts."""

    weighted = True


def of_table(table: Any, weight: np.ndarray | None = None) -> TableMoments:
    """The moments of one table."""
    X = check_array(table, accept_sparse="csc", dtype=np.float64, ensure_all_finite=False, ensure_min_samples=0, ensure_min_features=0)
    if scipy.sparse.issparse(X):
        return _of_sparse(X, weight)
    return TableMoments.of(X, weight)


def _of_sparse(X: Any, weight: np.ndarray | None) -> TableMoments:
    from sklearn.utils.sparsefuncs import mean_variance_axis, min_max_axis

    mean, variance, n = mean_variance_axis(X, axis=0, weights=weight, return_sum_weights=True)
    low, high = min_max_axis(X, axis=0, ignore_nan=True)
    n = np.asarray(n, dtype=np.float64)
    return TableMoments(X.shape[0], n, np.where(n > 0, mean, np.nan), np.where(n > 0, variance * n, 0.0), low, high)


def moments_of(summary: Summary) -> TableMoments:
    """The moments of columns that were tallied: exact, whatever the order of the rows."""
    width = len(summary.tallies)
    made = TableMoments(summary.rows, *(np.full(width, np.nan) for _ in range(5)))
    for i, tally in enumerate(summary.tallies):
        if tally.large is not None:
            moments, low, high = tally.large.moments, tally.large.low, tally.large.high
        else:
            values, counts = tally.values()
            x = values.astype(np.float64)
            moments = Moments.of(x, counts)
            low, high = (x.min(), x.max()) if len(x) else (np.nan, np.nan)
        n = made.n[i] = moments.count + moments.infinites
        made.m2[i] = 0.0
        if n:
            odd = bool(moments.infinites)  # their mean is not a number, and scikit-learn refuses them by the extremes
            made.mean[i], made.m2[i] = (np.nan, np.nan) if odd else (moments.mean, moments.m2)
            made.low[i], made.high[i] = low, high
    return made
