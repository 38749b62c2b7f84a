"""SimpleImputer and MissingIndicator: what is missing is seen in the distinct values; statistics come from their counts."""

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse

from windtunnel.beam_jobs.features.fitting.engine import Context, Fit
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.tallies.order import large_statistic, median
from windtunnel.beam_jobs.features.tallies.streams import Stream
from windtunnel.lifecycle.contract.errors import UnsupportedError
from windtunnel.lifecycle.learning import scikit

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator


def kept(fitted: "BaseEstimator") -> list[int] | None:
    """The columns that are not dropped for being empty."""
    if fitted.add_indicator:
        return None
    if fitted.keep_empty_features:
        return list(range(len(fitted.statistics_)))
    empty = scikit.missing_mask(fitted.statistics_, np.nan)
    return [int(i) for i in np.flatnonzero(~empty)]


def imputer(context: Context, estimator: "BaseEstimator", stream: Stream, where: str) -> Fit:
    """All strategies; the indicator too."""
    if callable(estimator.strategy):
        raise UnsupportedError(
            f"{where}: a SimpleImputer whose strategy is a function needs all values at once",
            hint="use mean, median, most_frequent or constant, or a declared sample (options sample={'SimpleImputer': rows})",
        )
    summary = yield from context.summary(stream)
    with quiet():
        estimator.fit(summary.surrogate())
        if estimator.strategy != "constant":
            made = estimator.statistics_
            statistics = np.empty(len(made), dtype=made.dtype)
            for i in range(len(made)):
                statistics[i] = _statistic(estimator, summary, i, scipy.sparse.issparse(summary.template))
            estimator.statistics_ = statistics
    return estimator


def _statistic(estimator: "BaseEstimator", summary: Any, index: int, sparse: bool) -> Any:
    if summary.tallies[index].large is not None:
        return _of_large(estimator, summary, index)
    values, counts = summary.column(index)
    known = ~scikit.missing_mask(values, estimator.missing_values) if len(values) else np.zeros(0, dtype=bool)
    values, counts = values[known], counts[known]
    if not len(values):
        return 0 if estimator.keep_empty_features else np.nan
    if estimator.strategy == "most_frequent":
        best = values[counts == counts.max()]
        return scikit.least(best.tolist()) if best.dtype == object else best.min()
    numbers = values.astype(np.float64)
    order = np.argsort(numbers, kind="stable")
    numbers, counts = numbers[order], counts[order]
    if estimator.strategy == "median":
        return median(numbers, counts)
    n = counts.sum()
    mean = np.dot(counts, numbers) / n
    # The second sum takes back what the first lost by rounding.
    return mean + np.dot(counts, numbers - mean) / n if np.isfinite(mean) else mean


def _of_large(estimator: "BaseEstimator", summary: Any, index: int) -> Any:
    """The statistic of a column with very many distinct numbers."""
    if not scikit.is_nan(estimator.missing_values):
        summary.need_complete()
    if estimator.strategy == "mean":
        return summary.tallies[index].large.moments.mean
    return large_statistic(summary, index, estimator.strategy)


def indicator(context: Context, estimator: "BaseEstimator", stream: Stream, where: str) -> Fit:
    """Fitted by scikit-learn itself on the distinct values."""
    summary = yield from context.summary(stream)
    with quiet():
        return estimator.fit(summary.surrogate())
