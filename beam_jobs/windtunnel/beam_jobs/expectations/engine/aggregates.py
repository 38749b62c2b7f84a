"""Column metrics out of distinct values and their counts.

Where a metric is a function of the set of values, GX's own function is called on the distinct values. Where counts matter it is worked
out here, with numpy's and pandas' own rules for the last step.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from great_expectations.expectations.metrics.column_aggregate_metrics.column_outlier_statistics import OutlierStatistics
from great_expectations.validator.metric_configuration import MetricConfiguration

from windtunnel.beam_jobs.expectations.engine.calls import Calls, FrameEngine, MetricFailure
from windtunnel.beam_jobs.expectations.engine.distinct import Store
from windtunnel.lifecycle.statistics.counting import search

__all__ = ["OF_COUNTS", "OF_THE_SET", "aggregate"]

OF_THE_SET = {
    "column.max",
    "column.min",
    "column.distinct_values",
    "column.distinct_values.count",
    "column.distinct_values.count.under_threshold",
    "column.distinct_values.missing_from_column",
    "column.distinct_values.missing_from_column.count",
    "column.distinct_values.not_in_set",
    "column.distinct_values.not_in_set.count",
}
"""Metrics that do not depend on how often a value occurs."""


def aggregate(metric: MetricConfiguration, needs: Mapping[str, Any], store: Store, empty: pd.DataFrame, engine: FrameEngine) -> object:
    """A column metric of the values in a store.

    Args:
        metric: one that `OF_THE_SET` or `OF_COUNTS` names.
        needs: what it depends on.
        store: the values of its domain.
        empty: the column without rows, in its type.
        engine: to call GX's functions with.

    Raises:
        MetricFailure: it cannot be worked out, as GX's own could not.
    """
    column = str(metric.metric_domain_kwargs["column"])
    # The values in the store met the condition when they came, and the columns that it names may not be there any more.
    kwargs = {key: value for key, value in metric.metric_domain_kwargs.items() if key not in {"row_condition", "condition_parser"}}
    plain = MetricConfiguration(metric.metric_name, kwargs, metric.metric_value_kwargs)
    if metric.metric_name not in OF_THE_SET:
        try:
            return OF_COUNTS[metric.metric_name](store, empty[column], metric.metric_value_kwargs)
        except Exception as error:
            raise MetricFailure(metric, error) from error

    def of(frame: pd.DataFrame) -> object:
        return Calls(engine, frame).value(plain, needs)

    try:
        if store.spilled:
            in_parts = _of_parts(metric, store, column, of)
            if in_parts is not None:
                return in_parts
        found = store.everything()
        return of(found.frame if found is not None else empty)
    except MetricFailure as failure:
        raise MetricFailure(metric, failure.error) from failure.error


def _of_parts(metric: MetricConfiguration, store: Store, column: str, of: Callable[[pd.DataFrame], Any]) -> Any:
    """The same, part by part, where that is possible."""
    name = metric.metric_name
    if name in {"column.max", "column.min"}:
        extremes = [of(part.frame) for part in store.parts()]
        # Asked once more about the answers of the parts, in the column's type: so the answer is of the type that GX gives.
        dtype = next(store.parts()).frame[column].dtype
        return of(pd.DataFrame({column: pd.Series(extremes, dtype=dtype)}))
    if name == "column.distinct_values.count":
        return sum(int(part.frame[column].nunique()) for part in store.parts())
    if name == "column.distinct_values.count.under_threshold":
        return sum(int(part.frame[column].nunique()) for part in store.parts()) < metric.metric_value_kwargs["threshold"]
    return None


def _counted(store: Store, empty: pd.Series) -> tuple[pd.Series, npt.NDArray[np.int64]]:
    found = store.everything()
    return (empty, np.empty(0, np.int64)) if found is None else (found.frame.iloc[:, 0], found.counts)


def _non_null_count(store: Store, _empty: pd.Series, _options: Mapping[str, Any]) -> object:
    return np.int64(sum(int(part.counts[part.frame.iloc[:, 0].notna().to_numpy()].sum()) for part in store.parts()))


def _value_counts(store: Store, empty: pd.Series, options: Mapping[str, object]) -> pd.Series:
    sort = options.get("sort") or "value"
    if sort not in {"value", "count", "none"}:
        raise ValueError("sort must be either 'value', 'count', or 'none'")
    if options.get("collate") is not None:
        raise ValueError("collate parameter is not supported in PandasDataset")
    values, counts = _counted(store, empty)
    present = values.notna().to_numpy()
    found = pd.Series(counts[present], index=pd.Index(values[present]), dtype=np.int64).sort_values(ascending=False, kind="stable")
    if sort == "value":
        try:
            found = found.sort_index()
        except TypeError:  # values of several types, as GX handles them
            found.index = found.index.astype(str)
            found = found.sort_index()
    found.name, found.index.name = "count", "value"
    return found


def _most_common(store: Store, empty: pd.Series, _options: Mapping[str, object]) -> list[object]:
    top, best = 0, empty
    # A value is in one part only, so the most frequent ones of all are among those of the parts.
    for part in store.parts():
        series = part.frame.iloc[:, 0]
        present = series.notna().to_numpy()
        if not present.any():
            continue
        most = int(part.counts[present].max())
        here = series[present & (part.counts == most)]
        if most > top:
            top, best = most, here
        elif most == top:
            best = pd.concat([best, here])
    return _plain(best.reset_index(drop=True).mode() if top else empty.mode())


def _plain(series: pd.Series) -> list[object]:
    """The values as numpy has them, where instants have no time zone."""
    return list((series.dt.tz_convert(None) if isinstance(series.dtype, pd.DatetimeTZDtype) else series).to_numpy())


def _histogram(store: Store, empty: pd.Series, options: Mapping[str, Any]) -> list[object]:
    bins = options["bins"]
    total = np.histogram(empty.to_numpy(), bins)[0]
    for part in store.parts():
        series = part.frame.iloc[:, 0]
        present = series.notna().to_numpy()
        total = total + np.histogram(series[present], bins, weights=part.counts[present])[0]
    return list(total.astype(np.int64))


def _median(store: Store, empty: pd.Series, _options: Mapping[str, Any]) -> Any:
    ranked = _Ranked(store)
    if not ranked.total:
        return empty.median()
    middle = ranked.at([(ranked.total - 1) // 2, ranked.total // 2])
    return np.median(np.array(middle, dtype=np.float64 if middle[0].dtype.kind in "iu" else middle[0].dtype))


def _quantiles(store: Store, empty: pd.Series, options: Mapping[str, Any]) -> list[object]:
    method = options.get("allow_relative_error") or "nearest"
    known = ("linear", "lower", "higher", "midpoint", "nearest")
    if method not in known:
        raise ValueError(
            "If specified for pandas, allow_relative_error must be one an allowed value for the 'interpolation'"
            f"parameter of .quantile() (one of {known})"
        )
    return _quantiles_of(store, empty, list(options["quantiles"]), method)


def _quantiles_of(store: Store, empty: pd.Series, quantiles: Sequence[float], method: str) -> list[Any]:
    empty.quantile(list(quantiles), interpolation=method)  # refuses quantiles outside [0, 1]
    ranked = _Ranked(store)
    if not ranked.total:
        return empty.quantile(list(quantiles), interpolation=method).tolist()
    places = (ranked.total - 1) * np.asarray(quantiles, dtype=np.float64)
    below, above = np.floor(places).astype(np.intp), np.ceil(places).astype(np.intp)
    if method == "nearest":
        # Half to even, as pandas rounds for this method.
        below = above = np.around(places).astype(np.intp)
    low, high = ranked.at([int(place) for place in below]), ranked.at([int(place) for place in above])
    if method in {"lower", "nearest"}:
        return [value.item() for value in low]
    if method == "higher":
        return [value.item() for value in high]
    shares = places - np.floor(places)
    if method == "midpoint":
        shares = np.where(shares > 0, 0.5, 0.0)
    return [_between(*entry) for entry in zip(low, high, shares, strict=True)]


def _between(left: Any, right: Any, share: float) -> Any:
    """What lies a share of the way between two values, in their type where they are floats."""
    value = np.quantile(np.array([left, right]), np.array([share]))[0]
    return (left.dtype.type(value) if left.dtype.kind == "f" else value).item()


def _outliers(store: Store, empty: pd.Series, _options: Mapping[str, Any]) -> OutlierStatistics:
    """Quartiles; the other method, by standard deviation, is a sum and not worked out here."""
    low, high = (value if np.isfinite(value) else None for value in map(float, _quantiles_of(store, empty, [0.25, 0.75], "linear")))
    return OutlierStatistics(low, high, high - low if low is not None and high is not None else None)


class _Ranked:
    """The values of a store in order, each as often as it occurs, without writing them out."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sorted: tuple[np.ndarray, npt.NDArray[np.int64]] | None = None
        self.total = sum(int(counts.sum()) for _, counts in self._present())
        if not store.spilled:
            for values, counts in self._present():
                order = np.argsort(values, kind="stable")
                self._sorted = values[order], np.cumsum(counts[order])

    def at(self, ranks: Sequence[int]) -> list[Any]:
        """The values at these places, 0 the smallest."""
        if self._sorted is None:
            return [search(self._present, rank) for rank in ranks]
        values, ends = self._sorted
        return [values[np.searchsorted(ends, rank, side="right")] for rank in ranks]

    def _present(self) -> Any:
        for part in self._store.parts():
            series = part.frame.iloc[:, 0]
            present = series.notna().to_numpy()
            if present.any():
                yield series[present].to_numpy(), part.counts[present]


OF_COUNTS: dict[str, Callable[[Store, pd.Series, Mapping[str, object]], object]] = {
    "column.non_null_count": _non_null_count,
    "column.value_counts": _value_counts,
    "column.most_common_value": _most_common,
    "column.histogram": _histogram,
    "column.median": _median,
    "column.quantile_values": _quantiles,
    "column.outlier_statistics": _outliers,
}
"""Metrics that depend on how often each value occurs."""
