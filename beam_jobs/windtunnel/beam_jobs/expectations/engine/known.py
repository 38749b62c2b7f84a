"""Answers from statistics that were computed for the same rows before, instead of a pass over them.

Statistics that are exact hold what a pass would count: each value of a column with its number. The same functions of Great Expectations
are asked about those, so an answer is the same as by a pass, or it is not given here: whatever depends on the order of rows, on several
columns, or on which of two zeros a column has, is left to a pass.
"""

import contextlib
import contextvars
from collections.abc import Mapping
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from great_expectations.validator.metric_configuration import MetricConfiguration

from windtunnel.beam_jobs.expectations.engine.aggregates import aggregate
from windtunnel.beam_jobs.expectations.engine.calls import Calls, FrameEngine, Later, MetricFailure
from windtunnel.beam_jobs.expectations.engine.distinct import Store, Weighted
from windtunnel.beam_jobs.expectations.engine.kinds import MOMENTS
from windtunnel.beam_jobs.expectations.engine.source import Source
from windtunnel.beam_jobs.expectations.engine.tasks import Condition, Domain
from windtunnel.lifecycle.contract.errors import SchemaMismatchError, SourceFormatError
from windtunnel.lifecycle.statistics.column import ColumnStatistics
from windtunnel.lifecycle.statistics.profiled import Profiled
from windtunnel.lifecycle.statistics.table import TableStatistics

__all__ = ["STATISTICS", "Known", "load_statistics"]

STATISTICS: contextvars.ContextVar[TableStatistics | None] = contextvars.ContextVar("statistics", default=None)
"""Statistics of the rows that are about to be validated: GX makes the batches itself, so this cannot be handed to them."""

_EXACT = 1 << 53  # whole numbers up to here are exact as floats, and so are their sums in any order
_NULLNESS = {"column_values.nonnull.condition", "column_values.null.condition"}
_BETWEEN = "column_values.between.condition"
_OUTLINED = {"column.min", "column.max", "column.non_null_count"}
_ORDERED = {"column.distinct_values"}  # a set, which comes in an order that depends on how it was filled


def load_statistics(place: str) -> TableStatistics:
    """Statistics of a table as `windtunnel profile --state` or the profile stage wrote them.

    Raises:
        SourceFormatError: there is no such file, or it holds something else.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(place)
        return Profiled.table_of(filesystem.cat_file(path))
    except (OSError, SchemaMismatchError) as error:
        hint = "`windtunnel profile DATA --state FILE` writes one"
        raise SourceFormatError(f"{place}: no statistics can be read: {error}", hint=hint, path=place) from error


def _number_bounds(column: ColumnStatistics) -> tuple[Any, Any] | None:
    """The smallest and the largest number; None where float64 does not tell them, or there is none."""
    moments = column.measured()
    whole = pa.types.is_integer(column.type)
    if column.family != "number" or not (whole or pa.types.is_float64(column.type)) or moments.infinites or not moments.count:
        return None
    if not whole:
        return moments.low, moments.high
    return (int(moments.low), int(moments.high)) if max(-moments.low, moments.high) < _EXACT else None


class Known:
    """What statistics tell about a source.

    Args:
        source: the rows.
        table: their statistics. Columns that do not fit the source (other type, other number of nulls) are not used, and none is if the
            number of rows is another.
        engine: to call GX's functions with.
    """

    def __init__(self, source: Source, table: TableStatistics, engine: FrameEngine) -> None:
        self._source, self._engine = source, engine
        fits = table.rows == source.rows and source.rows > 0
        self._columns = {name: column for name, column in table.columns.items() if fits and self._fits(name, column)}
        self._rows: dict[str, Weighted | None] = {}

    def rows_of(self, name: str) -> Weighted | None:
        """The distinct values of a column with their number, nulls included; None if they are not all known."""
        if name not in self._rows:
            column = self._columns.get(name)
            exact = column is not None and column.exact
            self._rows[name] = self._weighted(name, column.values, column.counts, column.nulls) if column is not None and exact else None
        return self._rows[name]

    def outline_of(self, name: str) -> Weighted | None:
        """The smallest and the largest value of a number or text column, standing for all its values, and its nulls."""
        column = self._columns.get(name)
        if column is None or column.exact:
            return self.rows_of(name)
        bounds = column.text_bounds if column.family == "text" else _number_bounds(column)
        if bounds is None:
            return None
        nans = column.measured().nans if column.family == "number" else 0
        counts = np.array([1, column.count - nans - 1], np.int64)
        return self._weighted(name, pa.array(bounds, column.type), counts, column.nulls + nans)

    def _rows_or_outline(self, name: str, *, outlined: bool) -> Weighted | None:
        """A column's distinct values, or else its outline where that will do."""
        rows = self.rows_of(name)
        return self.outline_of(name) if rows is None and outlined else rows

    def condition(self, later: Later, columns: list[str]) -> Condition | None:
        """A condition that was asked already, about all values; None if rows have to be read for it."""
        kwargs = later.metric.metric_domain_kwargs
        if len(columns) != 1 or kwargs.get("column") != columns[0]:
            return None
        name = later.metric.metric_name
        rows = self._rows_or_outline(columns[0], outlined=not kwargs.get("row_condition") and name in {*_NULLNESS, _BETWEEN})
        if rows is None:
            return None
        found = Condition(later, columns)
        found.take(Calls(self._engine, rows.frame), rows)
        if found.failure is not None:
            return None
        if self.rows_of(columns[0]) is None:
            if found.unexpected and name not in _NULLNESS:
                return None
            found.bad = None  # two values stand for all of them
        found.known = True
        return found

    def value(self, metric: MetricConfiguration, needs: Mapping[str, Any], columns: list[str], empty: pd.DataFrame) -> Any:
        """A column metric, or the number of rows of a condition; None if rows have to be read for it.

        Args:
            metric: one of those that `aggregates` and `moments` know, or ``table.row_count``.
            needs: what it depends on.
            columns: what it looks at.
            empty: the source without rows.
        """
        name = metric.metric_name
        kwargs = metric.metric_domain_kwargs
        ordered = name == "column.value_counts" and metric.metric_value_kwargs.get("sort") != "value"
        if len(columns) != 1 or ordered or name in _ORDERED:
            return None
        rows = self._rows_or_outline(columns[0], outlined=not kwargs.get("row_condition") and name in _OUTLINED)
        if rows is None:
            return None
        keep = [] if name == "table.row_count" else [columns[0]]
        with contextlib.closing(Store()) as store:
            domain = Domain(metric, columns, keep, store)
            domain.take(Calls(self._engine, rows.frame), rows)
            if domain.failure is not None:
                return None  # a pass fails as GX does
            return self._of(metric, needs, store, empty[columns]) if keep else domain.rows

    def _of(self, metric: MetricConfiguration, needs: Mapping[str, object], store: Store, empty: pd.DataFrame) -> object:
        if metric.metric_name in MOMENTS:
            return _moment(metric.metric_name, store)
        try:
            found = aggregate(metric, needs, store, empty, self._engine)
        except MetricFailure:
            return None
        floats = pa.types.is_floating(self._source.schema.field(str(empty.columns[0])).type)
        return None if floats and _shows_zero(found) else found

    def _fits(self, name: str, column: ColumnStatistics) -> bool:
        if name not in self._source.keyed or column.rows != self._source.rows or column.family == "other":
            return False
        if ColumnStatistics(self._source.schema.field(name).type).type != column.type:
            return False
        return self._source.nulls.get(name, column.nulls) == column.nulls

    def _weighted(self, name: str, values: pa.Array, counts: npt.NDArray[np.int64], nulls: int) -> Weighted:
        if nulls:
            values = pa.concat_arrays([values, pa.nulls(1, values.type)])
            counts = np.append(counts, nulls)
        frame = self._source.frame(pa.table([values], names=[name]))
        return Weighted(frame, counts.astype(np.int64), np.zeros(len(counts), np.int64))


def _moment(name: str, store: Store) -> Any:
    """Sum or mean, where every order of adding gives the same: of whole numbers that are not too large."""
    found = store.everything()
    if found is None or name == "column.standard_deviation":
        return None
    series = found.frame.iloc[:, 0]
    kind, present = series.dtype, series.notna().to_numpy()
    values, counts = series[present].to_numpy(), found.counts[present]
    total = _whole_sum(values, counts) if isinstance(kind, np.dtype) and (kind.kind in "iu" or kind == np.float64) else 0
    if not total:
        return None  # which zero it is depends on the order
    if name == "column.mean":
        return np.float64(total) / np.float64(counts.sum())
    return kind.type(total) if kind.kind == "f" else np.uint64(total) if kind.kind == "u" else np.int64(total)


def _whole_sum(values: np.ndarray, counts: npt.NDArray[np.int64]) -> int:
    """The sum of whole numbers; 0 also if some are not whole, or too large for every order of adding to give the same."""
    if not len(values) or (values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.floor(values)).all())):
        return 0
    if max(abs(int(values.min())), abs(int(values.max()))) * int(counts.sum()) >= _EXACT:
        return 0
    return int((values.astype(np.int64) * counts).sum())


def _shows_zero(value: Any) -> bool:
    """Whether an answer has a zero in it, of which the statistics do not say whether it is 0.0 or -0.0."""
    if isinstance(value, pd.Series):
        return bool((value.index == 0).any())
    entries = value if isinstance(value, list | tuple | set) else [value]
    return any(isinstance(entry, float | np.floating) and entry == 0 for entry in entries)
