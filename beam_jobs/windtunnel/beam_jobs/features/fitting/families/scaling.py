"""StandardScaler, MinMaxScaler and MaxAbsScaler: from moments. RobustScaler: from order statistics."""

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from windtunnel.beam_jobs.features.fitting.engine import Context, Fit
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.tallies.moments import stand_in
from windtunnel.beam_jobs.features.tallies.order import percentiles
from windtunnel.beam_jobs.features.tallies.streams import Stream
from windtunnel.lifecycle.learning import scikit
from windtunnel.lifecycle.statistics.counting import TableMoments

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator


def standard(context: Context, estimator: "BaseEstimator", stream: Stream, where: str) -> Fit:
    """Mean and variance; a column counts as constant by scikit-learn's own rule."""
    weighted = context.weighted(estimator)
    moments = yield from context.moments(stream, weighted=weighted)
    return finish_standard(estimator, moments, context.peek(stream), weighted=weighted)


def finish_standard(estimator: "BaseEstimator", moments: TableMoments, template: object, *, weighted: bool) -> "BaseEstimator":
    """A StandardScaler from moments, in the types that scikit-learn leaves."""
    with quiet():
        likeness = stand_in(moments, template)
        estimator.fit(likeness, sample_weight=np.ones(likeness.shape[0]) if weighted else None)
    kind = np.asarray(estimator.n_samples_seen_).dtype
    seen = moments.n.astype(kind)
    # scikit-learn keeps one number where no column has gaps.
    estimator.n_samples_seen_ = seen[0] if np.ptp(seen) == 0 else seen
    if estimator.mean_ is not None or estimator.var_ is not None:
        mean, variance = moments.mean.copy(), moments.variance
        if estimator.mean_ is not None:
            estimator.mean_ = mean.astype(estimator.mean_.dtype)
        if estimator.with_std:
            with np.errstate(invalid="ignore"):
                constant = scikit.constant_features(variance, mean, estimator.n_samples_seen_)
                scale = scikit.nonzero_scale(np.sqrt(variance), constant)
            estimator.var_, estimator.scale_ = variance.astype(estimator.var_.dtype), scale.astype(estimator.scale_.dtype)
    return estimator


def extremes(context: Context, estimator: "BaseEstimator", stream: Stream, where: str) -> Fit:
    """Fitted by scikit-learn itself on the least and the greatest values."""
    moments = yield from context.moments(stream)
    with quiet():
        estimator.fit(stand_in(moments, context.peek(stream)))
    estimator.n_samples_seen_ = moments.rows
    return estimator


def robust(context: Context, estimator: "BaseEstimator", stream: Stream, where: str) -> Fit:
    """Median and quantile range."""
    summary = yield from context.summary(stream)
    with quiet():
        estimator.fit(summary.surrogate())
    low, high = estimator.quantile_range
    columns = range(len(summary.tallies))
    if estimator.with_centering:
        estimator.center_ = np.array([percentiles(summary, i, [50.0])[0] for i in columns]).astype(estimator.center_.dtype)
    if estimator.with_scaling:
        found = np.array([percentiles(summary, i, [low, high]) for i in columns])
        with np.errstate(invalid="ignore"):
            scale = scikit.nonzero_scale(found[:, 1] - found[:, 0])
        if estimator.unit_variance:
            scale = scale / (stats.norm.ppf(high / 100.0) - stats.norm.ppf(low / 100.0))
        estimator.scale_ = scale.astype(estimator.scale_.dtype)
    return estimator
