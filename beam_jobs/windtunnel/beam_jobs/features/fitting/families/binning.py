"""KBinsDiscretizer and QuantileTransformer: from order statistics, or from scikit-learn's own subsample of the rows."""

import copy
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils import check_array, check_random_state

from windtunnel.beam_jobs.features.fitting.engine import Context, Fit
from windtunnel.beam_jobs.features.fitting.registry import identity_map
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.tallies.accumulator import Request
from windtunnel.beam_jobs.features.tallies.kmeans import centers_of
from windtunnel.beam_jobs.features.tallies.order import column_quantiles, quantiles
from windtunnel.beam_jobs.features.tallies.rows import Gathered, Weights, fits_in_memory
from windtunnel.beam_jobs.features.tallies.streams import Stream
from windtunnel.beam_jobs.features.tallies.summary import Summary
from windtunnel.lifecycle.contract.errors import UnsupportedError
from windtunnel.lifecycle.learning import scikit


def ordinal_bins(fitted: BaseEstimator) -> list[int] | None:
    """Column by column where the bins are numbers."""
    return identity_map(fitted) if fitted.encode == "ordinal" else None


def seeded(random_state: Any) -> np.random.RandomState:
    """The estimator's own generator, without using it up; where it has none, always the same one."""
    return check_random_state(0 if random_state is None else copy.deepcopy(random_state))


def rows_at(context: Context, stream: Stream, indices: np.ndarray) -> Fit:
    """The rows of a stream at any positions, in that order, repeated ones too."""
    positions, inverse = np.unique(indices, return_inverse=True)
    key = ("rows", stream.key, hash(positions.tobytes()))
    (found,) = yield from context.need(Request(key, stream, Gathered(positions), positions=True))
    table = found.table
    return table.iloc[inverse] if hasattr(table, "iloc") else table[inverse]


def bins(context: Context, estimator: BaseEstimator, stream: Stream, where: str) -> Fit:
    """Every strategy; more rows than `subsample` are sampled at the same places as scikit-learn's."""
    rows = yield from context.rows()
    weighted = context.weighted(estimator)
    if estimator.subsample is not None and rows > estimator.subsample:
        shares = None
        if weighted:
            (held,) = yield from context.need(Request("weights", context.nothing, Weights()))
            shares = held.weights / np.sum(held.weights)
        chosen = seeded(estimator.random_state).choice(rows, size=estimator.subsample, p=shares, replace=True)
        sample = yield from rows_at(context, stream, chosen)
        return _fit_on_all(estimator, sample, None)
    width = np.shape(context.peek(stream))[1]
    few = fits_in_memory(rows, width)
    if weighted or (estimator.strategy == "kmeans" and few):
        if not few:
            raise UnsupportedError(
                f"{where}: a weighted KBinsDiscretizer is fitted on the rows themselves, and {rows:,} are too many",
                hint="leave out the weights, or fit it on a declared sample (options sample={'KBinsDiscretizer': rows})",
            )
        (found,) = yield from context.need(Request(("all", stream.key), stream, Gathered()))
        return _fit_on_all(estimator, found.table, found.weight if weighted else None)
    summary = yield from context.summary(stream)
    with quiet():
        surrogate = summary.surrogate()
        kind = check_array(surrogate, dtype="numeric").dtype
        estimator = _fit_on_all(estimator, surrogate, None)
        n_bins = scikit.bins(estimator, width)
    edges = np.zeros(width, dtype=object)
    for i in range(width):
        edges[i], n_bins[i] = _edges(estimator, summary, i, kind, int(n_bins[i]))
    estimator.bin_edges_, estimator.n_bins_ = edges, n_bins
    if "onehot" in estimator.encode:
        dtype = estimator.dtype if estimator.dtype in (np.float64, np.float32) else kind
        encoder = OneHotEncoder(categories=[np.arange(n) for n in n_bins], sparse_output=estimator.encode == "onehot", dtype=dtype)
        scikit.set_bin_encoder(estimator, encoder.fit(np.zeros((1, width))))
    return estimator, None, rows * width if estimator.encode == "onehot" else None


def _fit_on_all(estimator: BaseEstimator, rows: object, weight: np.ndarray | None) -> BaseEstimator:
    limit = estimator.subsample
    with quiet():
        # Without the limit: a subsample of the stand-in would lose values that the data has.
        estimator.set_params(subsample=None).fit(rows, sample_weight=weight)
    return estimator.set_params(subsample=limit)


def _edges(estimator: BaseEstimator, summary: Summary, index: int, kind: Any, n_bins: int) -> tuple[np.ndarray, int]:
    """The edges of one column, as KBinsDiscretizer.fit finds them, and how many bins they make."""
    tally = summary.tallies[index]
    if tally.large is not None:
        low, high = np.array([tally.large.low, tally.large.high]).astype(kind)
    else:
        values, counts = summary.column(index)
        values = values.astype(kind)
        low, high = values.min(), values.max()
    if low == high:
        return np.array([-np.inf, np.inf]), 1
    if estimator.strategy == "uniform":
        return np.linspace(low, high, n_bins + 1), n_bins
    if estimator.strategy == "quantile":
        # By way of percent, as scikit-learn goes: shares that are divided otherwise differ in the last digit.
        levels = np.true_divide(np.linspace(0, 100, n_bins + 1), 100)
        found = np.asarray(column_quantiles(summary, index, levels, kind, estimator.quantile_method), dtype=np.float64)
    else:
        summary.need_complete()
        start = np.linspace(low, high, n_bins + 1)
        centers = np.sort(centers_of(values.astype(np.float64), counts, (start[1:] + start[:-1]) * 0.5))
        found = np.r_[low, (centers[1:] + centers[:-1]) * 0.5, high]
    found = found[np.ediff1d(found, to_begin=np.inf) > 1e-8]  # scikit-learn's own limit
    return found, len(found) - 1


def quantile(context: Context, estimator: BaseEstimator, stream: Stream, where: str) -> Fit:
    """All quantiles exactly, or those of scikit-learn's own subsample."""
    if estimator.subsample is not None and estimator.n_quantiles > estimator.subsample:
        raise ValueError(
            "The number of quantiles cannot be greater than the number of samples used. "
            f"Got {estimator.n_quantiles} quantiles and {estimator.subsample} samples."
        )
    rows = yield from context.rows()
    head = context.peek(stream)
    sparse = scipy.sparse.issparse(head)
    estimator.n_quantiles_ = max(1, min(estimator.n_quantiles, rows))
    estimator.references_ = np.linspace(0, 1, estimator.n_quantiles_, endpoint=True)
    sampled = estimator.subsample is not None and rows > estimator.subsample
    if sampled and sparse:
        raise UnsupportedError(
            f"{where}: a QuantileTransformer samples a sparse column of {rows:,} rows at random",
            hint="give subsample=None, which is exact, or make the columns dense before it",
        )
    if sampled:
        indices = np.arange(rows)
        seeded(estimator.random_state).shuffle(indices)
        sample = yield from rows_at(context, stream, indices[: estimator.subsample])
        with quiet():
            table = scikit.quantile_input(estimator, sample)
            estimator.quantiles_ = np.nanpercentile(table, estimator.references_ * 100, axis=0)
        return estimator
    summary = yield from context.summary(stream)
    with quiet():
        table = scikit.quantile_input(estimator, summary.surrogate())
        columns = []
        for i in range(table.shape[1]):
            shares = np.true_divide(estimator.references_ * 100, 100)
            if not (sparse and estimator.ignore_implicit_zeros):
                columns.append(column_quantiles(summary, i, shares, table.dtype))
                continue
            values, counts = summary.tallies[i].values()
            values, counts = values[values != 0], counts[values != 0]
            columns.append(quantiles(values, counts, shares) if len(values) else np.zeros(len(shares)))
        made = np.transpose(columns)
        estimator.quantiles_ = made if sparse else np.ascontiguousarray(made)
    return estimator
