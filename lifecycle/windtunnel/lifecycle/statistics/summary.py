"""Statistics as the figures that people and other programs read: plain data, one object a table."""

import datetime as dt
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa

from windtunnel.lifecycle.payload import JsonObject
from windtunnel.lifecycle.statistics.column import ColumnStatistics, numbers_of
from windtunnel.lifecycle.statistics.counting.moments import Moments
from windtunnel.lifecycle.statistics.counting.quantiles import between
from windtunnel.lifecycle.statistics.table import TableStatistics

__all__ = ["QUANTILES", "bin_shares", "summarize", "summarize_column"]

QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
_TOP = 20
_BINS = 20
_SECONDS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def summarize(statistics: TableStatistics) -> JsonObject:
    """``{"rows": n, "columns": {name: {...}}}``.

    Every figure is exact unless its column has ``approximate``, which names the figures that are not and their error.

    Example:
        >>> table = TableStatistics()
        >>> table.add_batch(pa.record_batch({"a": [1, 2, 2, None]}))
        >>> found = summarize(table)["columns"]["a"]
        >>> found["count"], found["nulls"], found["distinct"], found["top"][0], found["quantiles"]["0.5"]
        (3, 1, 2, [2, 2], 2.0)
    """
    return {"rows": statistics.rows, "columns": {name: summarize_column(column) for name, column in statistics.columns.items()}}


def summarize_column(column: ColumnStatistics) -> dict[str, object]:
    """The figures of one column."""
    found: JsonObject = {
        "dtype": str(column.type),
        "count": column.count,
        "nulls": column.nulls,
        "null_share": column.nulls / column.rows if column.rows else 0.0,
    }
    if column.family == "other":
        distinct = 0 if pa.types.is_null(column.type) else None  # of lists and the like nobody counts
        return {**found, "distinct": distinct, "min": None, "max": None, "mean": None, "std": None, "quantiles": {}, "top": []}
    moments = column.measured()
    exact = column.exact
    found["distinct"] = len(column.values) if exact else round(column.distinct.estimate) if column.distinct else None
    if column.family == "text":
        found |= _text_figures(column, moments)
    else:
        found |= _number_figures(column, moments)
    found["top"] = _top(column)
    if not exact:
        found |= _errors(column)
    return found


def _errors(column: ColumnStatistics) -> JsonObject:
    """How far the figures of a sketch may be from the truth."""
    if column.distinct is None or column.frequent is None:
        return {}
    errors: JsonObject = {
        "distinct": {"relative_standard_error": column.distinct.error},
        "top": {"count_error": column.frequent.error, "note": "a count is at least this and at most so many rows more"},
    }
    if column.quantile is not None:
        errors |= {name: {"rank_error": column.quantile.error, "confidence": 0.99} for name in ("quantiles", "histogram")}
    return {"approximate": errors}


def _number_figures(column: ColumnStatistics, moments: Moments) -> dict[str, object]:
    if not moments.count:
        nothing: JsonObject = {"min": None, "max": None, "mean": None, "std": None, "quantiles": {}, "histogram": None}
        return nothing | {"nan": moments.nans, "infinite": moments.infinites}
    deviation = None if moments.variance is None else math.sqrt(max(moments.variance, 0.0))
    scale = 1.0
    if column.family == "time":
        scale = float(_SECONDS.get(getattr(column.type, "unit", "us"), 1))
    elif column.family == "date":
        scale = 1.0
    low, high = _edges(column, moments)
    figures: JsonObject = {
        "min": low,
        "max": high,
        "mean": _shown(column, moments.mean),
        "std": None if deviation is None else _number(deviation / scale),
        "quantiles": dict(zip(map(str, QUANTILES), _quantiles(column), strict=True)),
        "histogram": _histogram(column, moments),
    }
    if column.family == "number":
        size = max(column.count, 1)
        figures |= {
            "zero_share": moments.zeros / size,
            "negative_share": moments.negatives / size,
            "nan": moments.nans,
            "infinite": moments.infinites,
            "skewness": None if moments.skewness is None else _number(moments.skewness),
        }
    return figures


def _edges(column: ColumnStatistics, moments: Moments) -> tuple[Any, Any]:
    """The finite extremes, whole numbers without detour over float."""
    if column.exact and len(column.values):
        values = column.values
        # Sorted floats end in infinity and NaN: their finite extremes are those of the moments.
        if pa.types.is_floating(values.type):
            return _number(moments.low), _number(moments.high)
        return _plain(column, values[0].as_py()), _plain(column, values[-1].as_py())
    if column.exact_bounds is not None:
        return _plain(column, column.exact_bounds[0]), _plain(column, column.exact_bounds[1])
    return _shown(column, moments.low), _shown(column, moments.high)


def _quantiles(column: ColumnStatistics) -> list[object]:
    """In the column's own terms; of whole numbers and decimals without rounding, as long as the column is exact."""
    stepped = pa.types.is_integer(column.type) or pa.types.is_decimal(column.type)
    if not (stepped and column.exact and len(column.values)):
        return [_shown(column, value) for value in quantiles(column, QUANTILES)]
    below, above, rest = between(column.counts, QUANTILES)
    low, high = (column.values.take(pa.array(places)).to_pylist() for places in (below, above))
    return [_between(column, *neighbours) for neighbours in zip(low, high, rest, strict=True)]


def _between(column: ColumnStatistics, low: Any, high: Any, share: float) -> Any:
    """A number between two neighbours: a float where it says it all, else a whole number or all digits."""
    if low == high or not share:
        return float(low) if float(low) == low else _plain(column, low)
    exact = Fraction(low) + Fraction(float(share)) * (Fraction(high) - Fraction(low))
    return float(exact) if exact.denominator > 1 or float(exact) == exact else exact.numerator


def _text_figures(column: ColumnStatistics, moments: Moments) -> dict[str, object]:
    bounds: tuple[Any, Any] = column.text_bounds or (None, None)
    if column.exact and len(column.values):
        bounds = (column.values[0].as_py(), column.values[-1].as_py())
    low, high = (None if value is None else _clip(value) for value in bounds)
    lengths = None
    if moments.count:
        spread = None if moments.variance is None else math.sqrt(max(moments.variance, 0.0))
        lengths = {"min": int(moments.low), "max": int(moments.high), "mean": moments.mean, "std": spread, "empty": moments.zeros}
    return {"min": low, "max": high, "mean": None, "std": None, "quantiles": {}, "lengths": lengths, "tokens": _tokens(column)}


def _tokens(column: ColumnStatistics) -> JsonObject | None:
    """How many tokens texts have, and which are frequent."""
    counted = column.tokens()
    if counted is None:
        return None
    tokens, per_text = counted
    found = summarize_column(tokens)
    spread = None if per_text.variance is None else math.sqrt(max(per_text.variance, 0.0))
    low, high = (int(per_text.low), int(per_text.high)) if per_text.count else (None, None)
    answer = {
        "total": tokens.rows,
        "per_text": {"min": low, "max": high, "mean": per_text.mean if per_text.count else None, "std": spread},
        "distinct": found["distinct"],
        "top": found["top"],
    }
    return answer | ({"approximate": found["approximate"]} if "approximate" in found else {})


def quantiles(column: ColumnStatistics, ranks: tuple[float, ...]) -> list[float]:
    """Quantiles of the finite numbers: exact ones interpolate between neighbours as NumPy does; else of the sketch."""
    if column.exact:
        numbers, counts = finite_counts(column)
        if not len(numbers):
            return []
        below, above, share = between(counts, ranks)
        low, high = numbers[below], numbers[above]
        # The weighted mean of two equal numbers may differ from them in the last digit.
        return [float(value) for value in np.where(low == high, low, low * (1 - share) + high * share)]
    return column.quantile.quantiles(list(ranks)) if column.quantile is not None else []


def finite_counts(column: ColumnStatistics) -> tuple[np.ndarray, np.ndarray]:
    """The distinct finite numbers of an exact column, ascending, and their counts."""
    numbers, counts = numbers_of(column.values), column.counts
    finite = np.isfinite(numbers)
    return (numbers, counts) if finite.all() else (numbers[finite], counts[finite])


def bin_shares(column: ColumnStatistics, edges: np.ndarray) -> np.ndarray:
    """The share of the finite numbers in each bin ``edges[i] < x <= edges[i + 1]``; the first bin has its left edge too."""
    if column.exact:
        numbers, counts = finite_counts(column)
        total = max(int(counts.sum()), 1)
        ends = np.concatenate([[0], np.cumsum(counts)])
        at = ends[np.searchsorted(numbers, edges, side="right")] / total
    elif column.quantile is not None:
        at = column.quantile.cdf(np.asarray(edges, dtype=np.float64))
    else:
        return np.zeros(len(edges) - 1)
    shares = np.diff(at)
    shares[0] += at[0]
    return np.asarray(shares)


def _histogram(column: ColumnStatistics, moments: Moments) -> dict[str, object] | None:
    # Between extremes near both ends of the floats the span is infinite, and so would all edges be.
    if not moments.count or not math.isfinite(moments.high - moments.low):
        return None
    edges = np.linspace(moments.low, moments.high, _BINS + 1) if moments.high > moments.low else np.array([moments.low, moments.high])
    counts = np.rint(bin_shares(column, edges) * moments.count).astype(int)
    return {"edges": [_shown(column, edge) for edge in edges], "counts": [int(count) for count in counts]}


def _top(column: ColumnStatistics) -> list[list[Any]]:
    """The most frequent values; of equal counts the smaller first."""
    counts = column.counts
    order = np.argsort(-counts, kind="stable")[:_TOP]
    values = column.values
    return [[_plain(column, values[int(i)].as_py()), int(counts[i])] for i in order]


def _plain(column: ColumnStatistics, value: Any) -> object:
    """A value as JSON has it."""
    if isinstance(value, float):
        return _number(value) if math.isfinite(value) else str(value)
    if isinstance(value, dt.date | dt.datetime | dt.time):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return float(value) if Decimal(repr(float(value))) == value else str(value)  # a float that prints back, or all digits
    if isinstance(value, str):
        return _clip(value)
    return value if column.family != "other" else str(value)


def _shown(column: ColumnStatistics, number: float) -> Any:
    """A number in the column's own terms: dates and times as ISO text, else a plain number."""
    if column.family == "date" and abs(number) < 3_000_000:  # days within the calendar of Python
        whole = dt.datetime(1970, 1, 1) + dt.timedelta(days=number)  # noqa: DTZ001 - dates have no zone
        return whole.date().isoformat() if number == math.floor(number) else whole.isoformat(timespec="seconds")
    if column.family == "time" and pa.types.is_timestamp(column.type):
        try:
            moment = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=number / _SECONDS[column.type.unit])  # noqa: DTZ001 - UTC as counted
        except OverflowError:
            return _number(number)
        return moment.isoformat() + ("+00:00" if column.type.tz else "")
    return _number(number)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _clip(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"
