"""SplineTransformer: knots from ranges or quantiles. PowerTransformer: by maximum likelihood over distinct values with counts."""

from typing import Any

import numpy as np
from scipy import optimize, stats
from scipy.special import boxcox as box_cox
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array

from windtunnel.beam_jobs.features.fitting.engine import Context, Fit
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.tallies.accumulator import Request
from windtunnel.beam_jobs.features.tallies.moments import stand_in
from windtunnel.beam_jobs.features.tallies.order import column_quantiles
from windtunnel.beam_jobs.features.tallies.rows import Gathered, fits_in_memory
from windtunnel.beam_jobs.features.tallies.streams import Stream
from windtunnel.beam_jobs.features.tallies.summary import Summary
from windtunnel.lifecycle.contract.errors import UnsupportedError
from windtunnel.lifecycle.learning import scikit
from windtunnel.lifecycle.statistics.counting import TableMoments


def spline(context: Context, estimator: BaseEstimator, stream: Stream, where: str) -> Fit:
    """scikit-learn's own fit, given the base knots of all rows."""
    width = np.shape(context.peek(stream))[1]
    if context.weighted(estimator) and isinstance(estimator.knots, str):
        rows = yield from context.rows()
        if not fits_in_memory(rows, width):
            raise UnsupportedError(
                f"{where}: a weighted SplineTransformer is fitted on the rows themselves, and {rows:,} are too many",
                hint="leave out the weights, or give the knots",
            )
        (found,) = yield from context.need(Request(("all", stream.key), stream, Gathered()))
        with quiet():
            return estimator.fit(found.table, sample_weight=found.weight)
    if estimator.knots != "quantile" if isinstance(estimator.knots, str) else True:
        moments = yield from context.moments(stream)
        with quiet():
            likeness = stand_in(moments, context.peek(stream))
            return estimator.fit(likeness if moments.rows > 1 else context.peek(stream))
    summary = yield from context.summary(stream)
    levels = 100 * np.linspace(start=0, stop=1, num=estimator.n_knots, dtype=np.float64)
    with quiet():
        surrogate = summary.surrogate()
        if summary.rows > 1 and len(surrogate) == 1:
            surrogate = summary.twice(surrogate)
        kind = check_array(surrogate, dtype="numeric", ensure_all_finite=False).dtype
        knots = np.column_stack([column_quantiles(summary, i, np.true_divide(levels, 100), kind) for i in range(width)])
        with scikit.base_knots(estimator, knots):
            estimator.fit(surrogate)
    return estimator


def power(context: Context, estimator: BaseEstimator, stream: Stream, where: str) -> Fit:
    """On the rows themselves while they are few, which is scikit-learn's own fit; else from distinct values with counts.

    The likelihood is flat at its top, so its maximum is only defined to about 1e-6: the order of the sums decides beyond that.
    """
    rows = yield from context.rows()
    if fits_in_memory(rows, np.shape(context.peek(stream))[1]):
        (found,) = yield from context.need(Request(("all", stream.key), stream, Gathered()))
        with quiet():
            return estimator.fit(found.table)
    summary = yield from context.summary(stream)
    summary.need_complete()
    context.note(where, "lambdas_", "maximum of the likelihood over distinct values; relative error about 1e-6")
    with quiet():
        return _from_summary(estimator, summary)


def _from_summary(estimator: BaseEstimator, summary: Summary) -> BaseEstimator:
    table = scikit.power_input(estimator, summary.surrogate())
    width = table.shape[1]
    estimator.lambdas_ = np.empty(width, dtype=table.dtype)
    moments = TableMoments(summary.rows, *(np.zeros(width) for _ in range(5)))
    for i, tally in enumerate(summary.tallies):
        values, counts = tally.values()
        x, n = values.astype(np.float64), counts.sum()
        mean = np.dot(counts, x) / n
        constant = scikit.constant_features(np.dot(counts, (x - mean) ** 2) / n, mean, summary.rows)
        if estimator.method == "yeo-johnson" and constant:
            estimator.lambdas_[i] = 1.0
        elif estimator.method == "box-cox":
            estimator.lambdas_[i] = _best(lambda power, x=x: box_cox(x, power), np.log(x), x, counts)
        else:
            jacobian = np.sign(x) * np.log1p(np.abs(x))
            estimator.lambdas_[i] = _best(lambda power, x=x: stats.yeojohnson(x, power), jacobian, x, counts)
        made = box_cox(x, estimator.lambdas_[i]) if estimator.method == "box-cox" else stats.yeojohnson(x, estimator.lambdas_[i])
        moments.n[i] = n
        moments.mean[i] = np.dot(counts, made) / n
        moments.m2[i] = np.dot(counts, (made - moments.mean[i]) ** 2)
        moments.low[i], moments.high[i] = made.min(), made.max()
    if estimator.standardize:
        from windtunnel.beam_jobs.features.fitting.families.scaling import finish_standard

        scaler = StandardScaler(copy=False).set_output(transform="default")
        scikit.set_power_scaler(estimator, finish_standard(scaler, moments, table[:0], weighted=False))
    return estimator


def _best(transform: Any, jacobian: np.ndarray, x: np.ndarray, counts: np.ndarray) -> float:
    """The power that maximises the profile likelihood of a normal distribution."""
    n = counts.sum()
    slope = np.dot(counts, jacobian)

    def loss(power: float) -> float:
        made = transform(power)
        mean = np.dot(counts, made) / n
        return float(n / 2 * np.log(np.dot(counts, (made - mean) ** 2) / n) - (power - 1) * slope)

    return float(optimize.brent(loss, brack=(-2, 2), tol=1e-11))
