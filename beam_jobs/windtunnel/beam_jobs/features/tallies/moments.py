"""Count, mean, squared deviations, least and greatest of each column, merged exactly; for wide and sparse streams all columns at once."""

from typing import Any

import numpy as np
import scipy.sparse
from sklearn.utils import check_array

from windtunnel.beam_jobs.features.tallies.accumulator import Gatherer
from windtunnel.beam_jobs.features.tallies.streams import Chunk, Stream
from windtunnel.beam_jobs.features.tallies.summary import Summary

__all__ = ["Moments", "MomentsGatherer", "moments_of"]


class Moments:
    """Of each column, NaN left out.

    Attributes:
        rows: rows, NaN included.
        n: how many are not NaN.
        mean: their mean.
        m2: their summed squared deviations from it.
        low: the least.
        high: the greatest.
    """

    def __init__(self, rows: int, n: np.ndarray, mean: np.ndarray, m2: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        self.rows, self.n, self.mean, self.m2, self.low, self.high = rows, n, mean, m2, low, high

    @property
    def variance(self) -> np.ndarray:
        """The population variance; NaN where there is no value."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.m2 / self.n

    def merge(self, other: "Moments") -> None:
        """Chan's update."""
        n = self.n + other.n
        with np.errstate(invalid="ignore", divide="ignore"):
            delta = np.where((self.n > 0) & (other.n > 0), other.mean - self.mean, 0.0)
            share = np.where(n > 0, other.n / np.maximum(n, 1e-300), 0.0)
            mean = np.where(self.n > 0, self.mean + delta * share, other.mean)
            self.m2 = self.m2 + other.m2 + delta * delta * self.n * share
        self.rows, self.n, self.mean = self.rows + other.rows, n, mean
        self.low, self.high = np.fmin(self.low, other.low), np.fmax(self.high, other.high)

    def stand_in(self, template: Any) -> Any:
        """A few rows with the same least, greatest and missing values, in the container of the stream."""
        rows = [self.low, self.high]
        if (self.n < self.rows).any():
            rows.append(np.where(self.n < self.rows, np.nan, self.low))
        table = np.vstack(rows)
        if scipy.sparse.issparse(template):
            return scipy.sparse.csr_matrix(table.astype(template.dtype))
        if hasattr(template, "iloc"):
            import pandas as pd

            made = pd.DataFrame(table, columns=template.columns)
            for name, dtype in zip(template.columns, template.dtypes, strict=True):
                if dtype.kind == "f":
                    made[name] = made[name].astype(dtype)
            return made
        return table.astype(template.dtype) if template.dtype.kind == "f" else table


class MomentsGatherer(Gatherer):
    """Gathers moments over chunks."""

    def __init__(self) -> None:
        self.moments: Moments | None = None

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


def of_table(table: Any, weight: np.ndarray | None = None) -> Moments:
    """The moments of one table."""
    X = check_array(table, accept_sparse="csc", dtype=np.float64, ensure_all_finite=False, ensure_min_samples=0, ensure_min_features=0)
    if scipy.sparse.issparse(X):
        return _of_sparse(X, weight)
    null = np.isnan(X)
    some = null.any()
    rows = len(X)
    w = np.ones(rows) if weight is None else weight
    n = w @ ~null if some or weight is not None else np.full(X.shape[1], float(rows))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (w @ np.where(null, 0.0, X) if weight is not None else np.nansum(X, axis=0) if some else X.sum(axis=0)) / n
        away = X - mean
        if some:
            away[null] = 0.0
        m2 = w @ (away * away) if weight is not None else np.einsum("ij,ij->j", away, away)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        low, high = np.nanmin(X, axis=0), np.nanmax(X, axis=0)
    return Moments(rows, n, np.where(n > 0, mean, np.nan), np.where(n > 0, m2, 0.0), low, high)


def _of_sparse(X: Any, weight: np.ndarray | None) -> Moments:
    from sklearn.utils.sparsefuncs import mean_variance_axis, min_max_axis

    mean, variance, n = mean_variance_axis(X, axis=0, weights=weight, return_sum_weights=True)
    low, high = min_max_axis(X, axis=0, ignore_nan=True)
    n = np.asarray(n, dtype=np.float64)
    return Moments(X.shape[0], n, np.where(n > 0, mean, np.nan), np.where(n > 0, variance * n, 0.0), low, high)


def moments_of(summary: Summary) -> Moments:
    """The moments of columns that were tallied: exact, whatever the order of the rows."""
    width = len(summary.tallies)
    made = Moments(summary.rows, *(np.full(width, np.nan) for _ in range(5)))
    for i in range(width):
        large = summary.tallies[i].large
        if large is not None:
            made.n[i], made.mean[i], made.m2[i], made.low[i], made.high[i] = large.n, large.mean, large.m2, large.low, large.high
            continue
        values, counts = summary.tallies[i].values()
        x = values.astype(np.float64)
        n = counts.sum()
        made.n[i] = n
        if n:
            with np.errstate(invalid="ignore"):
                mean = np.dot(counts, x) / n
                away = x - mean
                mean += np.dot(counts, away) / n  # the second term is what rounding took from the first
                away = x - mean
                made.mean[i], made.m2[i] = mean, np.dot(counts, away * away)
                made.low[i], made.high[i] = x.min(), x.max()
        else:
            made.m2[i] = 0.0
    return made
