"""Order statistics of tallied columns, as numpy would compute them on all rows."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib import _function_base_impl

from windtunnel.beam_jobs.features.tallies.summary import Summary
from windtunnel.lifecycle.statistics.counting import at_ranks

__all__ = ["column_quantiles", "large_statistic", "median", "percentiles", "quantiles"]

_DENSE = 2
implementation: Any = _function_base_impl
"""numpy's own places and weights of quantiles, so that ours are the same to the last bit."""


def quantiles(values: np.ndarray, counts: np.ndarray, shares: Sequence[float] | np.ndarray, method: Any = "linear") -> np.ndarray:
    """What ``numpy.quantile(numpy.repeat(values, counts), shares, method=method)`` answers, without expanding.

    Example:
        >>> quantiles(np.array([1.0, 5.0]), np.array([3, 1]), [0.5, 0.9]).round(9).tolist()
        [1.0, 3.8]
    """
    n = int(counts.sum())
    if n <= 64:  # as cheap as anything else
        return np.asarray(np.quantile(np.repeat(values, counts), shares, method=method)) if n else np.full(len(shares), np.nan)
    return _by_ranks(lambda ranks: at_ranks(values, counts, ranks), n, np.asarray(shares, dtype=np.float64), method)


def _by_ranks(at: Callable[[np.ndarray], np.ndarray], n: int, shares: np.ndarray, method: str) -> np.ndarray:
    """Quantiles by numpy's own places, weights and interpolation."""
    known = implementation._QuantileMethods[method]
    virtual = np.asanyarray(known["get_virtual_index"](n, shares))
    if virtual.dtype.kind in "iu":
        return at(np.clip(virtual, 0, n - 1))
    # numpy asks only whether the array's type has NaN; a boolean one has none, and no memory is needed for the column.
    below, above = implementation._get_indexes(np.empty(min(_DENSE, n), dtype=np.bool_), virtual, n)
    # numpy's word for the last element is -1, which is no rank.
    below, above = np.where(below < 0, n + below, below), np.where(above < 0, n + above, above)
    gamma = implementation._get_gamma(virtual, below, known)
    found = at(np.concatenate([below, above]))
    return np.asarray(implementation._lerp(found[: len(below)], found[len(below) :], gamma))


def column_quantiles(summary: Summary, index: int, shares: np.ndarray, kind: Any, method: str = "linear") -> np.ndarray:
    """Quantiles of a column's numbers as type `kind`, NaN left out."""
    tally = summary.tallies[index]
    if tally.large is not None:
        large = tally.large
        return _by_ranks(lambda ranks: large.at_ranks(ranks).astype(kind), large.n, np.asarray(shares, dtype=np.float64), method)
    values, counts = tally.values()
    return quantiles(values.astype(kind), counts, shares, method)


def percentiles(summary: Summary, index: int, levels: Sequence[float] | np.ndarray) -> np.ndarray:
    """``numpy.nanpercentile`` of a column."""
    tally = summary.tallies[index]
    kind = np.float64 if tally.large is not None else tally.values()[0].dtype
    kind = kind if np.dtype(kind).kind == "f" else np.float64
    return column_quantiles(summary, index, np.true_divide(np.asarray(levels, dtype=np.float64), 100), kind)


def median(values: np.ndarray, counts: np.ndarray) -> float:
    """The middle value, or the mean of the two middle ones."""
    n = int(counts.sum())
    low, high = at_ranks(values, counts, np.array([(n - 1) // 2, n // 2]))
    return low if n % 2 else (low + high) / 2


def large_statistic(summary: Summary, index: int, strategy: str) -> float:
    """The median or the most frequent value of a large column."""
    tally = summary.tallies[index]
    large = tally.large
    if large is None:
        raise ValueError(f"column {index} is not large")
    if strategy == "median":
        low, high = large.at_ranks(np.array([(large.n - 1) // 2, large.n // 2]))
        return float(low if large.n % 2 else (low + high) / 2)
    best, most = np.nan, 0
    for values, counts in large.blocks():
        # Only if more: blocks ascend, so of equally frequent values the least stays, which is scikit-learn's choice.
        if counts.max() > most:
            most, best = counts.max(), values[np.argmax(counts)]
    return float(best)
