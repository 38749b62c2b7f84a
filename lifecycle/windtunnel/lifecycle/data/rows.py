"""What a problem says about single rows: their label and their split, for a whole Arrow batch at once.

Both are pure functions of the row, so any job, on any worker, in any order, answers the same.
"""

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.contract.errors import ConfigurationError, SchemaMismatchError
from windtunnel.lifecycle.contract.problem import Positive, Problem

__all__ = ["DAY", "class_type", "first_test_day", "first_unknown_day", "label_of", "split_of"]

DAY = "event_date"
"""The column that ingest adds: the day of the window that a row belongs to; the table is partitioned by it."""

_BUCKETS = 1 << 32


def label_of(problem: Problem, batch: pa.RecordBatch | pa.Table, end: str = "") -> pa.Array:
    """The label of each row; null where it has none, and is no training row.

    The one place that says what a label is: NaN, infinity and NaN as text are none, for every task, in training, judging and feedback.

    Args:
        problem: says what the label is, and how many days after its event it is known.
        batch: has the label column, and `DAY` where labels come late.
        end: a run's data cut-off, ISO: labels that were not known then are null. Empty: all that are known by now.

    Returns:
        binary and anomaly: int8 of 0 and 1; multiclass: string; regression: float64.

    Raises:
        SchemaMismatchError: the column is missing, or its values do not fit the task.

    Example:
        >>> from windtunnel.lifecycle.contract.problem import parse
        >>> problem = parse({"name": "p", "owner": "o", "task": "binary", "source": {"format": "csv", "path": "x"},
        ...     "columns": {"x": "int64", "late": "float64"}, "features": {"numeric": ["x"]},
        ...     "label": {"column": "late", "positive": {"above": 15}}})
        >>> label_of(problem, pa.table({"x": [1, 2, 3, 4], "late": [15.0, 16.0, None, float("nan")]})).to_pylist()
        [0, 1, None, None]
    """
    label = _label(problem, batch)
    if not end or not problem.label.delay_days:
        return label
    known = pc.less(_flat(_column(batch, DAY)), pa.scalar(first_unknown_day(problem, end), pa.date32()))
    return pc.if_else(known, label, pa.scalar(None, label.type))


def class_type(problem: Problem) -> str:
    """The type that a model's classes are answered in: the label column's own; ``int64`` where a rule makes 0 and 1 of it.

    Of a bool whose positive class is true the rule changes nothing.

    Returns:
        a type of the problem file; empty for regression, which has no classes.

    Example:
        >>> from windtunnel.lifecycle.contract.problem import parse
        >>> problem = parse({"name": "p", "owner": "o", "task": "multiclass", "source": {"format": "csv", "path": "x"},
        ...     "columns": {"x": "int64", "grade": "int32"}, "features": {"numeric": ["x"]}, "label": {"column": "grade"}})
        >>> class_type(problem)
        'int32'
    """
    if problem.task == "regression":
        return ""
    kind, positive = problem.columns.get(problem.label.column, ""), problem.label.positive
    if positive is None or (kind == "bool" and str(positive.equals).lower() in {"true", "1"}):
        return kind
    return "int64"


def newest_from(problem: Problem, end: str) -> int | None:
    """The day, counted from 1970, from which rows are also judged by themselves: the last seventh of a split by key.

    A split by time tests by the newest rows anyhow, so there it is None.
    """
    if problem.splits.by != "key":
        return None
    days = max(1, problem.windows.train_days // 7)
    return (first_unknown_day(problem, end) - dt.timedelta(days=days) - dt.date(1970, 1, 1)).days


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
    column = problem.label.column
    values = _known(problem, _flat(_column(batch, column)))
    try:
        return _as_task(problem, values)
    except pa.ArrowException as error:
        positive = "" if problem.label.positive or problem.task in {"regression", "multiclass"} else "give label.positive, or "
        raise SchemaMismatchError(
            f"label column {column!r} of type {values.type} does not fit the task {problem.task}: {error}",
            hint=f"{positive}mend the values, or the column's type in the problem file",
            column=column,
        ) from error


def _known(problem: Problem, values: pa.Array) -> pa.Array:
    """The values of a label column, null where they say nothing: NaN and infinity are no labels, nor is NaN as somebody's text."""
    if pa.types.is_floating(values.type):
        return _finite(values)
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return values
    positive = problem.label.positive
    meant = [*(problem.label.classes or []), *([positive.equals, positive.not_equals] if positive else [])]
    if any(isinstance(name, str) and name.casefold() == "nan" for name in meant):  # a class of that name
        return values
    nothing = pc.equal(pc.utf8_lower(pc.utf8_trim_whitespace(values)), "nan")
    return pc.if_else(pc.fill_null(nothing, fill_value=False), pa.scalar(None, values.type), values)


def _finite(values: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))


def _as_task(problem: Problem, values: pa.Array) -> pa.Array:
    if problem.task == "regression":
        return _finite(pc.cast(values, pa.float64()))
    if problem.task == "multiclass":
        return pc.cast(values, pa.string())
    positive = problem.label.positive
    return _flag(problem, values) if positive is None else pc.cast(_is_positive(positive, values), pa.int8())


def _flag(problem: Problem, values: pa.Array) -> pa.Array:
    """Labels that are 0 and 1 already; any other number would be a third class that nobody declared."""
    flags = pc.cast(values, pa.int8())
    other = flags.filter(pc.invert(pc.is_in(flags, pa.array([0, 1, None], pa.int8()))))
    if len(other):
        raise SchemaMismatchError(
            f"label column {problem.label.column!r} holds {other[0].as_py()}, which is neither 0 nor 1",
            hint="give label.positive: which values are the positive class",
            column=problem.label.column,
        )
    return flags


def _is_positive(positive: Positive, values: pa.Array) -> pa.Array:
    if positive.above is not None:
        # NaN is above nothing: unless it became null first, its row would be one of the negative class.
        return pc.greater(_finite(pc.cast(values, pa.float64())), positive.above)
    if positive.at_least is not None:
        return pc.greater_equal(_finite(pc.cast(values, pa.float64())), positive.at_least)
    if positive.not_equals is not None:
        return pc.not_equal(values, pa.scalar(positive.not_equals).cast(values.type))
    return pc.equal(values, pa.scalar(positive.equals).cast(values.type))


def split_of(problem: Problem, batch: pa.RecordBatch | pa.Table, end: str) -> np.ndarray:
    """Which rows are for testing: a boolean array, true for the test split, false for training.

    By key, a row's place is a stable hash of its key columns (SipHash by `pandas.util.hash_array`), so a key never crosses splits and
    a row keeps its split from run to run. By row it is the same of all declared columns, in the order of their names: rows that are alike
    share a split, and as the label is among them, each class is drawn by itself, with the share of tests that all have. By time, the
    newest share of the window's days whose labels are known is for testing.

    Args:
        problem: says how.
        batch: has the key columns (by row: all declared ones), or `DAY` for a split by time.
        end: the day after the window's last, ISO.
    """
    splits = problem.splits
    if splits.by == "time":
        answer = pc.greater_equal(_flat(_column(batch, DAY)), pa.scalar(first_test_day(problem, end), pa.date32()))
        return answer.to_numpy(zero_copy_only=False)
    keys = problem.split_columns
    if not keys:
        raise ConfigurationError(
            f"problem {problem.name!r} splits by key but names no key columns", hint="give keys, or splits.key, or splits.by: time or row"
        )
    total = np.zeros(batch.num_rows, dtype=np.uint64)
    for column in [_flat(_column(batch, name)) for name in keys]:
        # Readers refuse rows with a NUL, so no text of a source can be what stands for null.
        text = pc.fill_null(pc.cast(column, pa.string()), "\0null").to_numpy(zero_copy_only=False)
        # SipHash takes a key of exactly 16 bytes.
        total = total * np.uint64(1_000_003) + pd.util.hash_array(text.astype(object), hash_key=f"{splits.salt:\0<16.16}", categorize=True)
    # The upper half depends on every bit of the hashes, the lower one on lower bits alone; and 32 bits are exact in a float.
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
