"""Typed columns: what every protocol's values become before a model sees them, and the errors that name what does not fit.

A column is a float64 array (numbers and booleans, null as NaN), an int64 array (whole numbers beyond 2**53, without null) or `Texts`:
distinct strings and, where rows repeat them, a code for each row, so that whatever is computed of strings is computed once for each
distinct one. `Schema` says what a model takes; `windtunnel.serving.base.batch` reads rows, tensors, matrices and CSV into such columns.
"""

import dataclasses
import datetime as dt
import functools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from windtunnel.lifecycle.contract.errors import DataError
from windtunnel.lifecycle.model.bundle import Bundle, Input
from windtunnel.lifecycle.payload import JsonMapping, JsonObject

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Column", "Columns", "InvalidInputError", "Problems", "Schema", "Texts", "from_arrow", "invalid", "is_text", "parse"]

EXACT = 1 << 53
"""Whole numbers up to here are exact as float64."""

MOST_PROBLEMS = 20
"""Problems of a request that are told one by one; reading ends there."""

_SHOWN = 3
_LONGEST = 60


class InvalidInputError(DataError):
    """A request's values do not fit the model: answered with 422 and the names of the fields.

    Attributes:
        problems: one ``{"row": index, "field": name, "message": text}`` each.
    """

    def __init__(self, message: str, *, hint: str = "", problems: Sequence[JsonMapping] = (), **details: object) -> None:
        super().__init__(message, hint=hint, problems=list(problems), **details)
        self.problems = list(problems)


def invalid(problems: Sequence[Mapping[str, object]]) -> InvalidInputError:
    """The error for values that do not fit, at most `MOST_PROBLEMS` of them told one by one."""
    told = list(problems)[:MOST_PROBLEMS]
    text = "; ".join(f"row {entry['row']}, field {entry['field']!r} {entry['message']}" for entry in told[:_SHOWN])
    rest = len(problems) - _SHOWN
    more = f" and {rest if len(problems) < MOST_PROBLEMS else 'many'} more" if rest > 0 else ""
    return InvalidInputError(f"the request does not fit the model: {text}{more}", problems=told)


class Problems:
    """What is wrong with a request: never more than can be told, so that a bad request costs no more than a good one."""

    def __init__(self) -> None:
        self._entries: list[JsonObject] = []

    def add(self, row: int, field: str, message: str) -> None:
        """One problem.

        Raises:
            InvalidInputError: there are as many as can be told.
        """
        self._entries.append({"row": row, "field": field, "message": message})
        if len(self._entries) >= MOST_PROBLEMS:
            self.settle()

    def settle(self) -> None:
        """Refuse the request if anything is wrong with it.

        Raises:
            InvalidInputError: something is.
        """
        if self._entries:
            raise invalid(self._entries)


@dataclasses.dataclass(frozen=True, slots=True)
class Texts:
    """A column of strings: distinct values (None is null), and the code of each row; without codes the values are the rows."""

    values: Sequence[str | None]
    codes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values) if self.codes is None else len(self.codes)

    def __getitem__(self, rows: slice) -> "Texts":
        return Texts(self.values[rows]) if self.codes is None else Texts(self.values, self.codes[rows])

    @classmethod
    def of(cls, rows: Iterable[str | None]) -> Self:
        """A column of the values of many rows, coded.

        Example:
            >>> Texts.of(["UA", "AA", "UA"])
            Texts(values=['UA', 'AA'], codes=array([0, 1, 0]))
        """
        places: dict[str | None, int] = {}
        # The length before the call is the place that a new value gets.
        codes = np.array([places.setdefault(value, len(places)) for value in rows], dtype=np.int64)
        return cls(list(places), codes)

    def each(self, function: Callable[[str | None], int]) -> np.ndarray:
        """A whole number for each row, computed once for each distinct value."""
        found = np.fromiter(map(function, self.values), dtype=np.int64, count=len(self.values))
        return found if self.codes is None else found[self.codes]

    def rows(self) -> list[str | None]:
        """The values row by row."""
        return list(self.values) if self.codes is None else [self.values[code] for code in self.codes.tolist()]


Column = np.ndarray | Texts


@dataclasses.dataclass(frozen=True, slots=True)
class Columns(Mapping[str, Column]):
    """The checked columns of some rows.

    Attributes:
        named: name -> column, all of one length.
        count: rows.
        absent: columns that were not sent, and are null because the problem says that they may be absent.
    """

    named: dict[str, Column]
    count: int
    absent: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Column:
        return self.named[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.named)

    def __len__(self) -> int:
        return len(self.named)

    def part(self, start: int, stop: int) -> "Columns":
        """Some of the rows, without a copy."""
        named: dict[str, Column] = {name: column[start:stop] for name, column in self.named.items()}
        return Columns(named, min(stop, self.count) - start, self.absent)

    @classmethod
    def joined(cls, parts: Sequence["Columns"]) -> "Columns":
        """The rows of several requests to one model, one after another."""
        if len(parts) == 1:
            return parts[0]
        named = {name: _joined([part[name] for part in parts]) for name in parts[0]}
        return cls(named, sum(part.count for part in parts))


def _joined(columns: Sequence[Column]) -> Column:
    if isinstance(columns[0], Texts):
        return Texts.of([value for column in columns if isinstance(column, Texts) for value in column.rows()])
    return np.concatenate([column for column in columns if isinstance(column, np.ndarray)])


# What a model takes -----------------------------------------------------------------------------------------------------------------


class Schema:
    """What a model takes: its inputs, and which of them may be absent.

    Args:
        inputs: the columns, in the model's order.
        optional: names that a request may leave out: they are null then.

    Attributes:
        inputs: the columns.
        optional: those that may be absent.
        names: the names of all.
    """

    def __init__(self, inputs: Sequence[Input], optional: Iterable[str] = ()) -> None:
        self.inputs = tuple(inputs)
        self.optional = frozenset(optional)
        self.names = tuple(column.name for column in inputs)
        self._pick = _picker(self.names)
        self._conversions: dict[tuple[type, ...], _Conversions] = {}

    @classmethod
    def of(cls, bundle: Bundle, order: Sequence[str] = ()) -> "Schema":
        """What a bundle's model takes, in another order if one is wanted."""
        known = {column.name: column for column in bundle.inputs}
        return cls([known[name] for name in order] if order else bundle.inputs, bundle.options.get("optional") or ())

    def one(self, row: Mapping[str, object]) -> list[Any] | None:
        """The values of a single row as plain Python values in the order of the inputs: floats (null as NaN) and texts (null as None).

        None where the row has to be read with care: something is wrong with it, or absent.
        """
        try:
            sent = self._pick(row)
        except KeyError:
            return None
        values, kinds = list(sent), tuple(map(type, sent))
        conversions = self._conversions.get(kinds)
        try:
            for place, convert in self._learn(kinds) if conversions is None else conversions:
                values[place] = convert(values[place])
        except (ValueError, OverflowError):
            return self._one_by_one(sent)
        return values

    def _learn(self, kinds: tuple[type, ...]) -> "_Conversions":
        """What makes plain values of values of these kinds: the rows of one client are mostly alike."""
        found = []
        for place, (column, kind) in enumerate(zip(self.inputs, kinds, strict=True)):
            if (column.type, kind) != ("string", str):
                found.append((place, _QUICK.get((column.type, kind)) or functools.partial(_carefully, column)))
        if len(self._conversions) >= _MOST_KINDS:
            # bounded, because a client may mix types as it likes
            self._conversions.clear()
        self._conversions[kinds] = tuple(found)
        return self._conversions[kinds]

    def _one_by_one(self, values: Iterable[object]) -> list[Any] | None:
        """Values that the quick conversions cannot take; None where one does not fit."""
        try:
            return [_carefully(column, value) for column, value in zip(self.inputs, values, strict=True)]
        except (ValueError, OverflowError):
            return None


_MOST_KINDS = 256


def _picker(names: Sequence[str]) -> Callable[[JsonMapping], Sequence[Any]]:
    """A function that answers a row's values of some names.

    Raises:
        KeyError: by the function, where one is absent.
    """
    # of one name alone itemgetter answers the value itself, and no sequence
    if len(names) > 1:
        return operator.itemgetter(*names)
    return lambda row: [row[name] for name in names]


def _carefully(column: Input, value: Any) -> float | str | None:
    """A value as a plan takes a single one: numbers as floats, null as NaN among them.

    Raises:
        ValueError: it does not fit.
        OverflowError: no float can say it.
    """
    parsed = parse(column, value)
    if is_text(column):
        return None if parsed is None else str(parsed)
    return math.nan if parsed is None else float(parsed)


def _finite(value: float) -> float:
    if value - value != 0.0:  # infinite, or NaN, which is null
        raise ValueError
    return value


def _exact(value: int) -> float:
    if -EXACT <= value <= EXACT:
        return float(value)
    raise ValueError


_QUICK: Mapping[tuple[str, type], Callable[[Any], float]] = {
    ("float64", float): _finite,
    ("float64", int): _exact,
    ("int64", int): _exact,
    ("bool", bool): float,
}
"""Conversions of the most frequent values, in short; the row of a value that they refuse is read with care."""

_Conversions = tuple[tuple[int, Callable[[Any], Any]], ...]


def is_text(column: Input) -> bool:
    """Whether a column is carried as `Texts`."""
    return column.type in {"string", "date", "timestamp", "decimal"}


# Single values ----------------------------------------------------------------------------------------------------------------------

BOUNDS = {"int32": (-(1 << 31), (1 << 31) - 1), "int64": (-(1 << 63), (1 << 63) - 1)}
FLOAT32_MAX = float(np.finfo(np.float32).max)
_WIDE = EXACT * EXACT
"""Whole numbers below this are taken as numbers with a fraction; beyond, a client means something else."""


def parse(column: Input, value: object) -> float | int | str | None:
    """A JSON value as the column's type: a float (an int beyond 2**53), a text, or None for null; NaN is null.

    Raises:
        ValueError: says what was expected.

    Example:
        >>> parse(Input("departs", "timestamp", "datetime64[us]"), "2013-01-31T06:00:00-05:00")
        '2013-01-31T11:00:00+00:00'
    """
    if value is None or (type(value) is float and math.isnan(value)):
        if column.required:
            raise ValueError("must not be null")
        return None
    name, reader = _READERS[column.type]
    found = reader(column.type, value)
    if found is None:
        raise ValueError(f"must be {name} but is {_shown(value)}")
    return found


def _real(kind: str, value: Any) -> float | None:
    # type and not isinstance: to Python true and false are whole numbers too
    if type(value) is not float and not (type(value) is int and abs(value) < _WIDE):
        return None
    if math.isinf(value) or (kind == "float32" and abs(value) > FLOAT32_MAX):
        raise ValueError("must be finite")
    return float(value)


def _whole(kind: str, value: Any) -> float | int | None:
    if type(value) is not int and not (type(value) is float and value.is_integer()):
        return None
    low, high = BOUNDS[kind]
    if not low <= value <= high:
        raise ValueError(f"must be within {low} and {high}")
    return float(value) if abs(value) <= EXACT else int(value)


def _boolean(_: str, value: object) -> float | None:
    return float(value) if type(value) is bool else None


def _string(_: str, value: Any) -> str | None:
    return value if type(value) is str else None


def _date(_: str, value: object) -> str | None:
    try:
        return dt.date.fromisoformat(value).isoformat() if isinstance(value, str) else None
    except ValueError:
        return None


def _timestamp(_: str, value: object) -> str | None:
    """A time of the wall as it stands; one with an offset is an instant, and is written in UTC."""
    try:
        when = dt.datetime.fromisoformat(value) if isinstance(value, str) else None
        return when if when is None else (when.astimezone(dt.UTC) if when.tzinfo is not None else when).isoformat()
    except (ValueError, OverflowError):
        return None


def _decimal(_: str, value: object) -> str | None:
    try:
        good = isinstance(value, int | float | str) and not isinstance(value, bool) and math.isfinite(float(value))
    except (ValueError, OverflowError):
        return None
    return str(value) if good else None


_READERS: dict[str, tuple[str, Callable[[str, object], float | int | str | None]]] = {
    "bool": ("a boolean", _boolean),
    "int32": ("a whole number", _whole),
    "int64": ("a whole number", _whole),
    "float32": ("a number", _real),
    "float64": ("a number", _real),
    "string": ("a string", _string),
    "decimal": ("a number or a decimal string", _decimal),
    "date": ("an ISO date such as 2013-01-31", _date),
    "timestamp": ("an ISO time such as 2013-01-31T06:00:00 or 2013-01-31T06:00:00-05:00", _timestamp),
}


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


# Arrow ------------------------------------------------------------------------------------------------------------------------------


def from_arrow(inputs: Sequence[Input], batch: "pa.RecordBatch") -> Columns:
    """Columns from an Arrow batch whose types are trusted: it comes from our own tables.

    Raises:
        InvalidInputError: a column is missing or of a type that cannot be an input.
    """
    import pyarrow as pa

    named: dict[str, Column] = {}
    for column in inputs:
        if column.name not in batch.schema.names:
            raise InvalidInputError(f"column {column.name!r} is missing", hint=f"there are: {', '.join(batch.schema.names)}")
        values = batch.column(column.name)
        try:
            named[column.name] = _texts(values) if is_text(column) else _numbers(values)
        except (pa.ArrowException, ValueError) as error:
            raise InvalidInputError(f"column {column.name!r} cannot be used as {column.type}: {error}") from error
    return Columns(named, batch.num_rows)


def _texts(values: "pa.Array") -> Texts:
    import pyarrow as pa

    if not pa.types.is_dictionary(values.type):
        values = values.cast(pa.string()).dictionary_encode()
    # Null is one more distinct value, coded last.
    distinct = [*values.dictionary.cast(pa.string()).to_pylist(), None]
    codes = values.indices.fill_null(len(distinct) - 1).to_numpy(zero_copy_only=False).astype(np.int64)
    return Texts(distinct, codes)


def _numbers(values: "pa.Array") -> np.ndarray:
    import pyarrow as pa

    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    if pa.types.is_integer(values.type) and not values.null_count:
        return narrowed(values.to_numpy(zero_copy_only=False).astype(np.int64, copy=False))
    return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64, copy=False)


def narrowed(whole: np.ndarray) -> np.ndarray:
    """Whole numbers as float64 where that is exact, else as they are."""
    if len(whole) and (int(whole.max()) > EXACT or int(whole.min()) < -EXACT):
        return whole.astype(np.int64, copy=False)
    return whole.astype(np.float64)
