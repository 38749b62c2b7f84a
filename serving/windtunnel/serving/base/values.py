"""Input values, checked by type: what a request or an Arrow batch holds becomes columns that the plan and the pipeline understand.

A column is a float64 array (numbers and booleans, null as NaN) or `Texts`: distinct strings and, where rows repeat them, a code for
each row, so that whatever is computed of strings is computed once for each distinct one.
"""

import dataclasses
import datetime as dt
import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from windtunnel.lifecycle.contract.errors import DataError
from windtunnel.lifecycle.model.bundle import Input

__all__ = ["Column", "Columns", "InvalidInputError", "Reader", "Texts", "from_batch", "from_rows"]

_EXACT = 1 << 53
"""Whole numbers up to here are exact as float64."""


class InvalidInputError(DataError):
    """A request's values do not fit the model: answered with 422 and the names of the fields.

    Attributes:
        problems: one ``{"row": index, "field": name, "message": text}`` each.
    """

    def __init__(self, message: str, *, hint: str = "", problems: Sequence[Mapping[str, Any]] = (), **details: Any) -> None:
        super().__init__(message, hint=hint, problems=list(problems), **details)
        self.problems = list(problems)


@dataclasses.dataclass(frozen=True)
class Texts:
    """A column of strings: distinct values (None is null), and the code of each row; without codes the values are the rows."""

    values: list[str | None]
    codes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values) if self.codes is None else len(self.codes)

    def each(self, function: Callable[[str | None], int]) -> np.ndarray:
        """A whole number for each row, computed once for each distinct value."""
        found = np.fromiter((function(value) for value in self.values), dtype=np.int64, count=len(self.values))
        return found if self.codes is None else found[self.codes]

    def rows(self) -> list[str | None]:
        """The values row by row."""
        return self.values if self.codes is None else [self.values[code] for code in self.codes.tolist()]


Column = np.ndarray | Texts
Columns = dict[str, Column]

_KINDS: dict[str, str] = {
    "bool": "a boolean",
    "int32": "a whole number",
    "int64": "a whole number",
    "float32": "a number",
    "float64": "a number",
    "string": "a string",
    "decimal": "a number or a decimal string",
    "date": "an ISO date such as 2013-01-31",
    "timestamp": "an ISO time such as 2013-01-31T06:00:00",
}
_BOUNDS = {"int32": (-(1 << 31), (1 << 31) - 1), "int64": (-(1 << 63), (1 << 63) - 1)}
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def parse(column: Input, value: Any) -> Any:  # noqa: PLR0911, PLR0912 - one branch a type
    """A JSON value as the column's type: float, str or None.

    Raises:
        ValueError: says what was expected.
    """
    if value is None:
        if column.required:
            raise ValueError("must not be null")
        return None
    kind = column.type
    if kind in {"float64", "float32"}:
        if type(value) is float or (type(value) is int and abs(value) < _EXACT * _EXACT):
            if math.isinf(value) or (kind == "float32" and abs(value) > _FLOAT32_MAX):
                raise ValueError("must be finite")
            return float(value)
    elif kind == "string":
        if type(value) is str:
            return value
    elif kind in _BOUNDS:
        low, high = _BOUNDS[kind]
        if type(value) is int or (type(value) is float and value.is_integer()):
            if not low <= value <= high:
                raise ValueError(f"must be within {low} and {high}")
            return float(value)
        if type(value) is float and math.isnan(value) and not column.required:
            return None
    elif kind == "bool":
        if type(value) is bool:
            return float(value)
    else:
        return _special(kind, value)
    raise ValueError(f"must be {_KINDS.get(kind, kind)} but is {_shown(value)}")


def _special(kind: str, value: Any) -> Any:
    """Dates, times and decimals: they stay text, which the pipeline's frame turns into what it was fitted with."""
    try:
        if kind == "date" and isinstance(value, str):
            return dt.date.fromisoformat(value).isoformat()
        if kind == "timestamp" and isinstance(value, str):
            return dt.datetime.fromisoformat(value).isoformat()
        if kind == "decimal" and isinstance(value, int | float | str) and not isinstance(value, bool) and math.isfinite(float(value)):
            return str(value)
    except ValueError:
        pass
    raise ValueError(f"must be {_KINDS.get(kind, kind)} but is {_shown(value)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - enough to recognise it


def is_text(column: Input) -> bool:
    """Whether a column is carried as `Texts`."""
    return column.type in {"string", "date", "timestamp", "decimal"}


def from_rows(inputs: Sequence[Input], rows: Sequence[Mapping[str, Any]]) -> Columns:
    """Columns from rows as JSON objects; a field that is absent is null, fields that are no inputs are left alone.

    Raises:
        InvalidInputError: names every field that is wrong (at most 20 of them).
    """
    found: Columns = {}
    problems: list[dict[str, Any]] = []
    for column in inputs:
        name = column.name
        values: list[Any] = []
        for index, row in enumerate(rows):
            try:
                values.append(parse(column, row.get(name)))
            except (ValueError, OverflowError) as error:
                problems.append({"row": index, "field": name, "message": str(error)})
                values.append(None)
                continue
            if name not in row:
                likely = _misspelt(name, row, inputs)
                if likely:
                    problems.append({"row": index, "field": name, "message": f"is missing; did you mean it by {likely!r}?"})
        found[name] = Texts(values) if is_text(column) else _floats(values)
    if problems:
        raise invalid(problems)
    return found


class Reader:
    """Reads single rows into plain Python values, for `Plan.one`.

    Args:
        inputs: the model's inputs.
    """

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._inputs = tuple(inputs)
        self._known = frozenset(column.name for column in inputs)
        self._fields = tuple((column.name, column, _PLAIN.get(column.type), math.nan if not is_text(column) else None) for column in inputs)

    def read(self, row: Mapping[str, Any]) -> list[Any] | None:
        """The values in the order of the inputs; None where `from_rows` has something to say about the row."""
        found: list[Any] = []
        absent = False
        for name, column, plain, null in self._fields:
            value = row.get(name)
            kind = type(value)
            if value is None:
                absent = absent or name not in row
                if column.required:
                    return None
                found.append(null)
            elif kind is plain and (kind is str or value - value == 0.0):
                found.append(value)
            else:
                try:
                    value = parse(column, value)
                except (ValueError, OverflowError):
                    return None
                found.append(null if value is None else value)
        # A column that is absent beside one that nobody knows may be misspelt.
        return None if absent and not row.keys() <= self._known else found


_PLAIN = {"float64": float, "string": str}
"""Types whose JSON values need no conversion."""


def from_lists(inputs: Sequence[Input], lists: Mapping[str, Sequence[Any]], count: int) -> Columns:
    """Columns from lists of values by name, as the Open Inference Protocol sends them.

    Raises:
        InvalidInputError: names every field that is wrong, missing or unknown.
    """
    known = {column.name for column in inputs}
    problems: list[dict[str, Any]] = [
        {"row": 0, "field": name, "message": f"is not an input; inputs: {', '.join(sorted(known))}"} for name in lists if name not in known
    ]
    found: Columns = {}
    for column in inputs:
        values: list[Any] = []
        for index, value in enumerate(lists.get(column.name, [None] * count)):
            try:
                values.append(parse(column, value))
            except (ValueError, OverflowError) as error:
                problems.append({"row": index, "field": column.name, "message": str(error)})
                values.append(None)
        found[column.name] = Texts(values) if is_text(column) else _floats(values)
    if problems:
        raise invalid(problems)
    return found


def invalid(problems: Sequence[Mapping[str, Any]]) -> InvalidInputError:
    """The error for values that do not fit, at most 20 of them told one by one."""
    told = list(problems)[:20]
    text = "; ".join(f"row {entry['row']}, field {entry['field']!r} {entry['message']}" for entry in told[:3])
    more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""  # noqa: PLR2004 - those that were just told
    return InvalidInputError(f"the request does not fit the model: {text}{more}", problems=told)


def from_batch(inputs: Sequence[Input], batch: pa.RecordBatch) -> Columns:
    """Columns from an Arrow batch whose types are trusted: it comes from our own tables.

    Raises:
        InvalidInputError: a column is missing or of a type that cannot be an input.
    """
    found: Columns = {}
    for column in inputs:
        if column.name not in batch.schema.names:
            raise InvalidInputError(f"column {column.name!r} is missing", hint=f"there are: {', '.join(batch.schema.names)}")
        values = batch.column(column.name)
        try:
            found[column.name] = _texts(values) if is_text(column) else _numbers(values)
        except (pa.ArrowException, ValueError) as error:
            raise InvalidInputError(f"column {column.name!r} cannot be used as {column.type}: {error}") from error
    return found


def _texts(values: pa.Array) -> Texts:
    if not pa.types.is_dictionary(values.type):
        values = values.cast(pa.string()).dictionary_encode()
    # Null is one more distinct value, coded last.
    distinct = [*values.dictionary.cast(pa.string()).to_pylist(), None]
    codes = values.indices.fill_null(len(distinct) - 1).to_numpy(zero_copy_only=False).astype(np.int64)
    return Texts(distinct, codes)


def _numbers(values: pa.Array) -> np.ndarray:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64, copy=False)


def _floats(values: Iterable[float | None]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _misspelt(name: str, row: Mapping[str, Any], inputs: Sequence[Input]) -> str:
    known = {column.name for column in inputs}
    near = difflib.get_close_matches(name, [key for key in row if key not in known][:50], n=1, cutoff=0.8)
    return near[0] if near else ""
