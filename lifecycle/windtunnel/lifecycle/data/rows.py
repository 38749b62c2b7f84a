"""What a problem says about single rows: their label and their split, for a whole Arrow batch at once.

Both are pure functions of the row, so any job, on any worker, in any order, answers the same.
"""

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.contract.errors import ConfigurationError, SchemaMismatchError
from windtunnel.lifecycle.contract.problem import Problem

__all__ = ["DAY", "first_test_day", "first_unknown_day", "label_of", "split_of"]

DAY = "event_date"
"""The column that ingest adds: the day of the window that a row belongs to; the table is partitioned by it."""

_BUCKETS = 1 << 32


def label_of(problem: Problem, batch: pa.RecordBatch | pa.Table, end: str = "") -> pa.Array:
    """The label of each row; null where it has none, and is no training row.

    Args:
        problem: says what the label is, and how many days after its event it is known.
        batch: has the label column, and `DAY` where labels come late.
        end: a run's data cut-off, ISO: labels that were not known then are null. Empty: all that are known by now.

    Returns:
        binary and anomaly: int8 of 0 and 1; multiclass: string; regression: float64.

    Example:
        >>> from windtunnel.lifecycle.contract.problem import parse
        >>> problem = parse({"name": "p", "owner": "o", "task": "binary", "source": {"format": "csv", "path": "x"},
        ...     "columns": {"x": "int64", "late": "float64"}, "features": {"numeric": ["x"]},
        ...     "label": {"column": "late", "positive": {"above": 15}}})
        >>> label_of(problem, pa.table({"x": [1, 2, 3], "late": [15.0, 16.0, None]})).to_pylist()
        [0, 1, None]
    """
    label = _label(problem, batch)
    if not end or not problem.label.delay_days:
        return label
    known = pc.less(_flat(_column(batch, DAY)), pa.scalar(first_unknown_day(problem, end), pa.date32()))
    return pc.if_else(known, label, pa.scalar(None, label.type))


def first_unknown_day(problem: Problem, end: str) -> dt.date:
    """The first day whose rows' labels are not known yet at a data cut-off (ISO): ``label.delay_days`` before it.

    Example:
        >>> from windtunnel.lifecycle.contract.problem import parse
        >>> problem = parse({"name": "p", "owner": "o", "task": "regression", "source": {"format": "csv", "path": "x/{day}.csv"},
        ...     "columns": {"x": "int64", "y": "float64"}, "features": {"numeric": ["x"]}, "label": {"column": "y", "delay_days": 3}})
        >>> first_unknown_day(problem, "2013-01-15").isoformat()
        '2013-01-12'
    """
    return dt.date.fromisoformat(end) - dt.timedelta(days=problem.label.delay_days)


def first_test_day(problem: Problem, end: str) -> dt.date:
    """The first day of the test split of a split by time: the newest share of the window's days whose labels are known."""
    newest = max(1, round((problem.windows.train_days - problem.label.delay_days) * problem.splits.test))
    return first_unknown_day(problem, end) - dt.timedelta(days=newest)


def _label(problem: Problem, batch: pa.RecordBatch | pa.Table) -> pa.Array:
    values = _flat(_column(batch, problem.label.column))
    if problem.task == "regression":
        return pc.cast(values, pa.float64())
    if problem.task == "multiclass":
        return pc.cast(values, pa.string())
    positive = problem.label.positive
    if positive is None:
        return pc.cast(values, pa.int8())
    if positive.above is not None:
        answer = pc.greater(pc.cast(values, pa.float64()), positive.above)
    elif positive.at_least is not None:
        answer = pc.greater_equal(pc.cast(values, pa.float64()), positive.at_least)
    elif positive.not_equals is not None:
        answer = pc.not_equal(values, pa.scalar(positive.not_equals).cast(values.type))
    else:
        answer = pc.equal(values, pa.scalar(positive.equals).cast(values.type))
    return pc.cast(answer, pa.int8())


def split_of(problem: Problem, batch: pa.RecordBatch | pa.Table, end: str) -> np.ndarray:
    """Which rows are for testing: a boolean array, true for the test split, false for training.

    By key, a row's place is a stable hash of its key columns (SipHash by `pandas.util.hash_array`), so a key never crosses splits and
    a row keeps its split from run to run. By time, the newest share of the window's days whose labels are known is for testing.

    Args:
        problem: says how.
        batch: has the key columns, or `DAY` for a split by time.
        end: the day after the window's last, ISO.
    """
    splits = problem.splits
    if splits.by == "time":
        answer = pc.greater_equal(_flat(_column(batch, DAY)), pa.scalar(first_test_day(problem, end), pa.date32()))
        return answer.to_numpy(zero_copy_only=False)
    keys = splits.key or problem.keys
    if not keys:
        raise ConfigurationError(
            f"problem {problem.name!r} splits by key but names no key columns", hint="give keys, or splits.key, or splits.by: time"
        )
    total = np.zeros(batch.num_rows, dtype=np.uint64)
    for column in [_flat(_column(batch, name)) for name in keys]:
        text = pc.fill_null(pc.cast(column, pa.string()), "\0null").to_numpy(zero_copy_only=False)
        total = total * np.uint64(1_000_003) + pd.util.hash_array(text.astype(object), hash_key=f"{splits.salt:\0<16.16}", categorize=True)
    return (total >> np.uint64(32)).astype(np.float64) < splits.test * _BUCKETS


def _column(batch: pa.RecordBatch | pa.Table, name: str) -> pa.Array | pa.ChunkedArray:
    if name not in batch.schema.names:
        raise SchemaMismatchError(f"column {name!r} is missing", hint=f"there are: {', '.join(batch.schema.names)}", column=name)
    return batch.column(name)


def _flat(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
