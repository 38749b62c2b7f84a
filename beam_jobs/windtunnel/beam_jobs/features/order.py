"""Order statistics of tallied columns, as numpy would compute them on all rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from windtunnel.beam_jobs.features.summary import Summary

__all__ = ["at_ranks", "median", "percentiles", "quantiles"]


def at_ranks(values: np.ndarray, counts: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """The values at zero-based ranks of the expanded, sorted column."""
    return values[np.searchsorted(np.cumsum(counts), ranks, side="right")]


def quantiles(values: np.ndarray, counts: np.ndarray, shares: Sequence[float] | np.ndarray, method: Any = "linear") -> np.ndarray:
    """What ``numpy.quantile(numpy.repeat(values, counts), shares, method=method)`` answers, without expanding.

    Each is computed by numpy itself on the few values around the place in question.

    Example:
        >>> quantiles(np.array([1.0, 5.0]), np.array([3, 1]), [0.5, 0.9]).tolist()
        [1.0, 3.8]
    """
    shares = np.asarray(shares, dtype=np.float64)
    n = int(counts.sum())
    if not n:
        return np.full(len(shares), np.nan)
    if n <= 64:  # noqa: PLR2004 - as cheap as anything else
        return np.asarray(np.quantile(np.repeat(values, counts), shares, method=method))
    from numpy.lib import _function_base_impl as implementation

    virtual = np.asanyarray(implementation._QuantileMethods[method]["get_virtual_index"](n, shares))  # type: ignore[attr-defined]
    if virtual.dtype.kind in "iu":
        return at_ranks(values, counts, np.clip(virtual, 0, n - 1))
    below, above = implementation._get_indexes(np.empty(n, dtype=np.bool_), virtual, n)  # type: ignore[attr-defined]
    previous, following = (
        at_ranks(values, counts, np.where(below < 0, n + below, below)),
        at_ranks(values, counts, np.where(above < 0, n + above, above)),
    )
    gamma = implementation._get_gamma(virtual, np.where(below < 0, n + below, below), implementation._QuantileMethods[method])  # type: ignore[attr-defined]
    return np.asarray(implementation._lerp(previous, following, gamma))  # type: ignore[attr-defined]


def percentiles(summary: Summary, index: int, levels: Sequence[float] | np.ndarray) -> np.ndarray:
    """``numpy.nanpercentile`` of a column."""
    values, counts = summary.tallies[index].values()
    numbers = values if values.dtype.kind == "f" else values.astype(np.float64)
    return quantiles(numbers, counts, np.true_divide(np.asarray(levels, dtype=np.float64), 100))


def median(values: np.ndarray, counts: np.ndarray) -> float:
    """The middle value, or the mean of the two middle ones."""
    n = int(counts.sum())
    low, high = at_ranks(values, counts, np.array([(n - 1) // 2, n // 2]))
    return low if n % 2 else (low + high) / 2
