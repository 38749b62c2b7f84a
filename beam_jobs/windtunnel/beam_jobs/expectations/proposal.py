"""Looking at data to propose a suite."""

from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.beam_jobs.expectations.engine.calls import FrameEngine
from windtunnel.beam_jobs.expectations.engine.distinct import Counter, Limit, Weighted
from windtunnel.beam_jobs.expectations.engine.known import Known
from windtunnel.beam_jobs.expectations.engine.source import Source
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.quality import suites
from windtunnel.lifecycle.statistics.table import TableStatistics

__all__ = ["columns_of", "infer"]

_COUNTED = 20_000  # distinct values that are counted; beyond, only range and nulls are known
_FEW = 200


def infer(source: Source, name: str, problem: Problem | None = None, statistics: TableStatistics | None = None) -> suites.Suite:
    """A suite that a source would pass, with slack; each expectation says why in its notes."""
    return suites.propose(name, columns_of(source, statistics), problem)


def columns_of(source: Source, statistics: TableStatistics | None = None) -> list[suites.Column]:
    """What is in each column, in one pass over those that the statistics of these rows do not tell about."""
    known = Known(source, statistics or TableStatistics(), FrameEngine())
    counted: dict[str, Weighted | None] = {}
    ranges: dict[str, tuple[object, object]] = {}  # of the columns with more values than are counted
    unknown = []
    for name in (name for name in source.columns if name in source.keyed):
        if (rows := known.rows_of(name)) is not None:
            counted[name] = rows
        elif (rows := known.outline_of(name)) is not None:
            ranges[name] = _range_of(rows)
        else:
            unknown.append(name)
    if unknown:
        _count(source, unknown, counted, ranges)
    return [_column(source, name, counted.get(name), ranges.get(name)) for name in source.columns]


def _count(source: Source, names: list[str], counted: dict[str, Weighted | None], ranges: dict[str, tuple[object, object]]) -> None:
    """One pass: the distinct values of columns, or only their range where they are too many."""
    counters = {name: Counter(source, [name], Limit(most=_COUNTED)) for name in names}
    for chunk in source.chunks(names):
        for name, counter in counters.items():
            if name in ranges:
                ranges[name] = _wider(ranges[name], chunk.batch.column(name))
            elif counter.add(chunk):
                ranges[name] = _range_of(counter.take())
    counted.update({name: counter.take() for name, counter in counters.items() if name not in ranges})


def _column(source: Source, name: str, counted: Weighted | None, bounds: tuple[Any, Any] | None) -> suites.Column:
    """What is known of a column; of its values nothing where they cannot be counted."""
    nulls = source.nulls.get(name, 0)
    if name not in source.keyed:
        return suites.Column(name, "other", source.rows, nulls, None)
    kind = _kind(source.schema.field(name).type)
    low, high = bounds if bounds is not None else _range_of(counted)
    if counted is None:
        return suites.Column(name, kind, source.rows, nulls, None, _plain(low), _plain(high), None)
    series = counted.frame[name]
    present = series.notna().to_numpy()
    # As pandas sees them: NaN counts as one, which the files' footers do not count.
    nulls = int(counted.counts[~present].sum())
    values = None
    if present.sum() <= _FEW:
        values = {_plain(value): int(n) for value, n in zip(series[present], counted.counts[present], strict=True)}
    return suites.Column(name, kind, source.rows, nulls, int(series.nunique()), _plain(low), _plain(high), values)


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind):
        return "whole"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    return "time" if pa.types.is_temporal(kind) else "other"


def _range_of(rows: Weighted | None) -> tuple[Any, Any]:
    if rows is None:
        return None, None
    series = rows.frame.iloc[:, 0].dropna()
    return (series.min(), series.max()) if len(series) else (None, None)


def _wider(known: tuple[object, object] | None, column: pa.Array) -> tuple[Any, Any]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    found = pc.min_max(column).as_py()
    values = [value for value in (*(known or ()), found["min"], found["max"]) if value is not None]
    series = pd.Series(values)
    return (series.min(), series.max()) if values else (None, None)


def _plain(value: Any) -> object:
    """A value as JSON has it."""
    if hasattr(value, "item"):
        value = value.item()
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)
