"""VarianceThreshold from moments; SelectKBest and its kin from sums by class, or from sums of products with the target."""

from typing import Any

import numpy as np
import scipy.sparse
from scipy import special, stats
from sklearn.base import BaseEstimator
from sklearn.feature_selection import (
    chi2,
    f_classif,
    f_regression,
)
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from windtunnel.beam_jobs.features.fitting.engine import Context, Fit
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.tallies.accumulator import Gatherer, Request
from windtunnel.beam_jobs.features.tallies.moments import of_table, stand_in
from windtunnel.beam_jobs.features.tallies.streams import Chunk, Stream
from windtunnel.lifecycle.contract.errors import ConfigurationError, UnsupportedError
from windtunnel.lifecycle.statistics.counting import TableMoments


def variance(context: Context, estimator: BaseEstimator, stream: Stream, where: str) -> Fit:
    """Variances, and for a threshold of zero the ranges, which rounding cannot spoil."""
    moments: TableMoments = yield from context.moments(stream)
    with quiet():
        likeness = validate_data(
            estimator,
            X=stand_in(moments, context.peek(stream)),
            accept_sparse=("csr", "csc"),
            dtype=np.float64,
            ensure_all_finite="allow-nan",
        )
        estimator.variances_ = moments.variance
        if estimator.threshold == 0:
            # numpy's range of a column with NaN is NaN, and then scikit-learn goes by the variance alone.
            spread = np.where(moments.n < moments.rows, np.nan, moments.high - moments.low)
            estimator.variances_ = np.nanmin(np.array([estimator.variances_, spread]), axis=0)
        flat = np.all(~np.isfinite(estimator.variances_) | (estimator.variances_ <= estimator.threshold))
    if flat:
        single = " (X contains only one sample)" if moments.rows == 1 else ""
        raise ValueError(f"No feature in X meets the variance threshold {estimator.threshold:.5f}{single}")
    del likeness
    return estimator


class ByClass(Gatherer):
    """The moments of each column, class by class."""

    def __init__(self) -> None:
        self.classes: dict[object, TableMoments] = {}
        self.sums: dict[Any, np.ndarray] = {}

    def gather(self, stream: Stream, chunk: Chunk) -> None:
        """Take in a chunk."""
        X = check_array(stream.evaluate(chunk), accept_sparse="csr", dtype=np.float64)
        y = np.asarray(chunk.y)
        for label in np.unique(y).tolist():
            rows = X[y == label]
            sums = np.asarray(rows.sum(axis=0), dtype=np.float64).ravel()
            self._take(label, of_table(rows), sums)

    def _take(self, label: object, moments: TableMoments, sums: np.ndarray) -> None:
        if label in self.classes:
            self.classes[label].merge(moments)
            self.sums[label] = self.sums[label] + sums
        else:
            self.classes[label], self.sums[label] = moments, sums

    def merge(self, other: "ByClass") -> None:
        """Class by class."""
        for label, moments in other.classes.items():
            self._take(label, moments, other.sums[label])


class WithTarget(Gatherer):
    """Means, squared deviations and products with the target's deviations, of each column."""

    def __init__(self) -> None:
        self.n = 0
        self.mean: Any = 0.0
        self.m2: Any = 0.0
        self.product: Any = 0.0
        self.y_mean = 0.0
        self.y_m2 = 0.0
        self.least: Any = np.inf
        self.greatest: Any = -np.inf

    def gather(self, stream: Stream, chunk: Chunk) -> None:
        """Take in a chunk."""
        X = check_array(stream.evaluate(chunk), accept_sparse="csr", dtype=np.float64)
        y = np.asarray(chunk.y, dtype=np.float64)
        found = WithTarget()
        moments = of_table(X)
        found.n, found.mean, found.m2 = X.shape[0], moments.mean, moments.m2
        found.least, found.greatest = moments.low, moments.high
        found.y_mean = float(y.mean())
        away = y - found.y_mean
        found.y_m2 = float(away @ away)
        found.product = np.asarray((X.T @ away) if scipy.sparse.issparse(X) else away @ (X - found.mean)).ravel()
        self.merge(found)

    def merge(self, other: "WithTarget") -> None:
        """Chan's update, for products too."""
        if not self.n or not other.n:
            if other.n:
                self.__dict__.update(other.__dict__)
            return
        n = self.n + other.n
        weight = self.n * other.n / n
        dx, dy = other.mean - self.mean, other.y_mean - self.y_mean
        self.m2 = self.m2 + other.m2 + dx * dx * weight
        self.y_m2 = self.y_m2 + other.y_m2 + dy * dy * weight
        self.product = self.product + other.product + dx * dy * weight
        self.mean, self.y_mean = self.mean + dx * other.n / n, self.y_mean + dy * other.n / n
        self.least, self.greatest = np.fmin(self.least, other.least), np.fmax(self.greatest, other.greatest)
        self.n = n


def univariate(context: Context, estimator: BaseEstimator, stream: Stream, where: str) -> Fit:
    """The scores of chi2, f_classif and f_regression; scikit-learn selects by them."""
    function = estimator.score_func
    if function not in {chi2, f_classif, f_regression}:
        raise UnsupportedError(
            f"{where}: {type(estimator).__name__} with {getattr(function, '__name__', function)} needs all rows at once",
            hint="score with chi2, f_classif or f_regression, or fit it on a declared sample "
            f"(options sample={{{type(estimator).__name__!r}: rows}})",
        )
    if context.head.y is None:
        raise ConfigurationError(f"{where}: {type(estimator).__name__} learns from labels", hint="name their column: options label=...")
    if function is f_regression:
        (pairs,) = yield from context.need(Request(("target", stream.key), stream, WithTarget()))
        scores = _f_regression(pairs)
    else:
        (found,) = yield from context.need(Request(("classes", stream.key), stream, ByClass()))
        if function is chi2:
            check_classification_targets(np.array(_ordered(found)))
        scores = _chi2(found) if function is chi2 else _f_classif(found)
    estimator.score_func = lambda *_: scores
    try:
        with quiet():
            estimator.fit(context.peek(stream), context.head.y)
    finally:
        estimator.score_func = function
    return estimator


def _ordered(found: ByClass) -> list[Any]:
    return sorted(found.classes)


def _chi2(found: ByClass) -> tuple[np.ndarray, np.ndarray]:
    """Observed against expected sums of each column by class."""
    if any((moments.low < 0).any() for moments in found.classes.values()):
        raise ValueError("Input X must be non-negative.")
    order = _ordered(found)
    observed = np.array([found.sums[label] for label in order])
    rows = np.array([found.classes[label].rows for label in order], dtype=np.float64)
    # Of a single class scikit-learn makes two columns, one of them empty.
    if len(order) == 1:
        observed, rows = np.vstack([np.zeros_like(observed), observed]), np.r_[0.0, rows]
    expected = np.outer(rows / rows.sum(), observed.sum(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        value = ((observed - expected) ** 2 / expected).sum(axis=0)
    return value, special.chdtrc(len(observed) - 1, value)


def _f_classif(found: ByClass) -> tuple[np.ndarray, np.ndarray]:
    """Between-class against within-class squared deviations."""
    parts = [found.classes[label] for label in _ordered(found)]
    rows = sum(part.rows for part in parts)
    n = np.array([part.rows for part in parts], dtype=np.float64)[:, None]
    low, high = np.array([part.low for part in parts]), np.array([part.high for part in parts])
    single = low == high  # of one value: its mean and deviations are known without rounding
    means = np.where(single, low, np.array([part.mean for part in parts]))
    within = np.where(single, 0.0, np.array([part.m2 for part in parts])).sum(axis=0)
    mean = np.where(low.min(axis=0) == high.max(axis=0), low[0], (n * means).sum(axis=0) / rows)
    between = (n * (means - mean) ** 2).sum(axis=0)
    free, left = len(parts) - 1, rows - len(parts)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (between / float(free)) / (within / float(left))
    return value, special.fdtrc(free, left, value)


def _f_regression(found: WithTarget) -> tuple[np.ndarray, np.ndarray]:
    """From each column's correlation with the target; a column without variance scores 0, a perfect one the greatest float."""
    with np.errstate(invalid="ignore", divide="ignore"):
        r = found.product / np.sqrt(found.m2) / np.sqrt(found.y_m2)
        constant = (found.greatest == found.least) | (found.y_m2 == 0)
        r = np.where(constant, 0.0, r)
        free = found.n - 2
        squared = r**2
        value = squared / (1 - squared) * free
    p = stats.f.sf(value, 1, free)
    value, p = np.where(np.isnan(value), 0.0, value), np.where(np.isnan(value), 1.0, p)
    perfect = np.isinf(value)
    return np.where(perfect, np.finfo(value.dtype).max, value), np.where(perfect, 0.0, p)
