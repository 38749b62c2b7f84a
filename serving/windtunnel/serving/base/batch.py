"""What a request asks about, as it was sent, and how it becomes typed columns: JSON rows, named tensors, one matrix, CSV.

A `Batch` knows its values in the shape in which the client sent them, for the route, the precomputed answers and the log; `Batch.columns`
checks them against a model's `Schema`. Whole columns are checked at once; only where one does not fit are its values looked at one by one,
until as many problems are known as an answer tells.
"""

import abc
import csv
import io
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from windtunnel.lifecycle.contract.naming import did_you_mean, most_alike
from windtunnel.lifecycle.model.bundle import Input
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.serving.base.values import (
    BOUNDS,
    EXACT,
    FLOAT32_MAX,
    Column,
    Columns,
    InvalidInputError,
    Problems,
    Schema,
    Texts,
    invalid,
    is_text,
    narrowed,
    parse,
)

__all__ = ["Batch", "Named", "Rows", "from_csv", "from_matrix", "from_rows", "from_tensors"]

_FEW = 8
"""Up to so many rows are not worth turning into columns, nor texts into codes."""

_MOST_NEAR = 50


class Batch(abc.ABC):
    """Rows that a request asks about.

    Attributes:
        count: rows.
        width: values of the widest row.
    """

    count: int
    width: int

    @property
    def cells(self) -> int:
        """Values in all: what the work of a request is measured by."""
        return self.count * self.width

    @abc.abstractmethod
    def value(self, name: str, row: int = 0) -> Any:
        """One value as it was sent; None where there is none."""

    @abc.abstractmethod
    def columns(self, schema: Schema) -> Columns:
        """The columns of a model.

        Raises:
            InvalidInputError: names the fields that do not fit, at most 20 of them.
        """

    @abc.abstractmethod
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The rows as JSON objects."""

    @abc.abstractmethod
    def logged(self, hidden: Collection[str] = ()) -> list[Mapping[str, object]] | dict[str, object]:
        """What the prediction log keeps, without some columns: a list of rows, or column name -> list of values."""


class Rows(Batch):
    """JSON objects, one a row.

    Example:
        >>> Rows([{"a": 1.5, "key": 7}]).columns(Schema([Input("a", "float64", "float64")]))["a"]
        array([1.5])
    """

    def __init__(self, rows: Sequence[Mapping[str, object]]) -> None:
        self._rows = rows
        self.count = len(rows)

    @property
    def width(self) -> int:  # type: ignore[override]  # looked up where it is asked for: most requests have one row
        """Values of the first and the last row, whichever has more."""
        return max(len(self._rows[0]), len(self._rows[-1])) if self._rows else 0

    def value(self, name: str, row: int = 0) -> Any:
        """One value as it was sent."""
        return self._rows[row].get(name)

    def columns(self, schema: Schema) -> Columns:
        """The columns of a model; fields that are no inputs are left alone."""
        problems = Problems()
        named: dict[str, Column] = {}
        absent: list[str] = []
        for column in schema.inputs:
            name = column.name
            try:
                values: Sequence[Any] = [row[name] for row in self._rows]
            # rare: plain indexing first, since a row that lacks a field is the exception and `get` with a look for it costs all the others
            except KeyError:
                values = [row.get(name) for row in self._rows]
                absent.append(name)
                if name not in schema.optional:
                    self._missing(schema, name, problems)
                    continue
            named[name] = read_column(column, values, problems)
        problems.settle()
        return Columns(named, self.count, tuple(absent))

    def _missing(self, schema: Schema, name: str, problems: Problems) -> None:
        """Say in which row a column is missing first, and in how many; what it may have been mistyped as is sought once."""
        places = [place for place, row in enumerate(self._rows) if name not in row]
        others = f" (as in {len(places) - 1:,} other rows)" if len(places) > 1 else ""
        problems.add(places[0], name, f"is missing{others}{_meant(name, self._rows[places[0]], schema)}")

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The rows."""
        return self._rows

    def logged(self, hidden: Collection[str] = ()) -> list[Mapping[str, object]] | dict[str, object]:
        """The rows, without some columns; many rows that have the same fields by column, which is less to write and to read."""
        if self.count > _FEW:
            names = list(dict.fromkeys(itertools.chain.from_iterable(self._rows)))
            # as many values as names times rows: no row lacks a field, so each list has one value a row
            if sum(map(len, self._rows)) == len(names) * self.count:
                return {name: [row[name] for row in self._rows] for name in names if name not in hidden}
        if not hidden:
            return list(self._rows)
        return [{name: value for name, value in row.items() if name not in hidden} for row in self._rows]


class Named(Batch):
    """Columns by name, as tensors and tables bring them: arrays of numbers, or lists of JSON values.

    Args:
        named: name -> values, all of one length.
        strict: whether a column that is no input is refused, and not only left alone.

    Example:
        >>> batch = Named({"a": np.array([1, 2]), "b": ["x", None]})
        >>> batch.rows()[1], batch.value("b")
        ({'a': 2, 'b': None}, 'x')
    """

    def __init__(self, named: Mapping[str, Sequence[object] | np.ndarray], *, strict: bool = False) -> None:
        self._named = named
        self._strict = strict
        self.count = len(next(iter(named.values()))) if named else 0
        self.width = len(named)

    def value(self, name: str, row: int = 0) -> Any:
        """One value as it was sent."""
        values = self._named.get(name)
        if values is None or len(values) == 0:
            return None
        return values[row].item() if isinstance(values, np.ndarray) else values[row]

    def columns(self, schema: Schema) -> Columns:
        """The columns of a model; columns that are no inputs are left alone."""
        problems = Problems()
        for name in self._named if self._strict else ():
            if name not in schema.names:
                problems.add(0, name, f"is not an input; inputs: {', '.join(schema.names)}")
        named: dict[str, Column] = {}
        absent: list[str] = []
        for column in schema.inputs:
            values = self._named.get(column.name)
            if values is not None:
                named[column.name] = read_column(column, values, problems)
                continue
            absent.append(column.name)
            if column.name in schema.optional:
                named[column.name] = read_column(column, [None] * self.count, problems)
            else:
                problems.add(0, column.name, f"is missing{_meant(column.name, self._named, schema)}")
        problems.settle()
        return Columns(named, self.count, tuple(absent))

    def _lists(self) -> dict[str, Sequence[Any]]:
        return {name: values.tolist() if isinstance(values, np.ndarray) else values for name, values in self._named.items()}

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The rows as JSON objects."""
        lists = self._lists()
        return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]

    def logged(self, hidden: Collection[str] = ()) -> list[JsonMapping] | JsonObject:
        """Name -> list of values; a single row as a row, which is how most of the log looks."""
        if self.count == 1:
            return [{name: values[0] for name, values in self._lists().items() if name not in hidden}]
        return {name: values for name, values in self._lists().items() if name not in hidden}


def from_rows(schema: Schema | Sequence[Input], rows: Sequence[Mapping[str, Any]]) -> Columns:
    """Columns from JSON objects.

    Raises:
        InvalidInputError: names the fields that do not fit.
    """
    return Rows(rows).columns(schema if isinstance(schema, Schema) else Schema(schema))


def from_tensors(tensors: Iterable[tuple[str, Sequence[object] | np.ndarray]]) -> Named:
    """Named tensors of one value a row.

    Raises:
        InvalidInputError: a name is there twice, or a tensor has another number of rows than the first.
    """
    named: dict[str, Sequence[object] | np.ndarray] = {}
    count = -1
    for name, values in tensors:
        if name in named:
            raise _refused(name, "is there twice")
        count = len(values) if count < 0 else count
        if len(values) != count:
            raise _refused(name, f"has {len(values)} rows where {next(iter(named))!r} has {count}")
        named[name] = values
    return Named(named, strict=True)


def from_matrix(schema: Schema, matrix: np.ndarray | Sequence[Sequence[object]], field: str = "inputs") -> Named:
    """One matrix, a row a row and a column an input, in the model's order.

    Args:
        schema: what the model takes.
        matrix: numbers as an array of two dimensions, or lists of JSON values.
        field: what the protocol calls it, for errors.

    Raises:
        InvalidInputError: it is not as wide as the model has inputs.

    Example:
        >>> from_matrix(Schema([Input("a", "float64", "float64"), Input("b", "string", "str")]), [[1.5, "x"]]).rows()
        [{'a': 1.5, 'b': 'x'}]
    """
    names, wanted = schema.names, len(schema.names)
    if isinstance(matrix, np.ndarray):
        if matrix.ndim != 2 or matrix.shape[1] != wanted:  # a matrix
            raise _refused(field, f"has shape {list(matrix.shape)} but the model takes [rows, {wanted}]: {', '.join(names)}")
        return Named({name: matrix[:, place] for place, name in enumerate(names)})
    for row, values in enumerate(matrix):
        if not isinstance(values, list | tuple) or len(values) != wanted:
            raise invalid([{"row": row, "field": field, "message": f"must have {wanted} values, one an input: {', '.join(names)}"}])
    return Named({name: [values[place] for values in matrix] for place, name in enumerate(names)})


def from_csv(schema: Schema, raw: bytes, most: int) -> Named:
    r"""CSV with a line of names; an empty value is null, as pandas has it.

    Args:
        schema: what the model takes: says which columns are numbers.
        raw: the text, UTF-8.
        most: rows at most; reading ends one beyond.

    Raises:
        InvalidInputError: it is no such text.

    Example:
        >>> from_csv(Schema([Input("a", "int64", "int64")]), b"a,key\n1,x\n,y\n", 10).rows()
        [{'a': 1, 'key': 'x'}, {'a': None, 'key': 'y'}]
    """
    try:
        # utf-8-sig: spreadsheets write a byte order mark, which would become part of the first name
        lines = csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True)
        names = next(lines, [])
        table = list(_lines(lines, len(names), most))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _refused("body", f"is no CSV in UTF-8: {error}") from error
    if not names or len(set(names)) != len(names):
        raise _refused("body", "must begin with a line of column names, each once")
    # zip of no lines gives no columns at all, and a table without rows still has its names
    columns = list(zip(*table, strict=True)) if table else [()] * len(names)
    types = {column.name: column.type for column in schema.inputs}
    return Named({name: _typed(types.get(name, "string"), values) for name, values in zip(names, columns, strict=True)})


def _lines(lines: Iterator[list[str]], width: int, most: int) -> Iterator[list[str]]:
    """The lines that are not empty, one more than may be at most.

    Raises:
        InvalidInputError: a line has another number of values than the first.
    """
    count = 0
    for line in lines:
        if not line:
            continue
        if len(line) != width:
            raise invalid([{"row": count, "field": "body", "message": f"has {len(line)} values where the first line has {width} names"}])
        yield line
        count += 1
        if count > most:
            return


_WORDS = {"true": True, "false": False, "True": True, "False": False, "TRUE": True, "FALSE": False}


def _typed(kind: str, values: Sequence[str]) -> list[object]:
    """The texts of a CSV column as JSON values; what is no number stays text, which `read_column` refuses by name and row."""
    reader = _OF_TEXT.get(kind, str)
    return [None if value == "" else reader(value) for value in values]


def _number(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value


def _whole_number(value: str) -> int | float | str:
    """A text as a whole number; pandas writes 1.0 for those beside nulls."""
    try:
        return int(value)
    except ValueError:
        return _number(value)


_OF_TEXT: dict[str, Callable[[str], object]] = {
    "bool": lambda value: _WORDS.get(value, value),
    "int32": _whole_number,
    "int64": _whole_number,
    "float32": _number,
    "float64": _number,
}


# Whole columns ----------------------------------------------------------------------------------------------------------------------


def read_column(column: Input, values: Sequence[Any] | np.ndarray, problems: Problems) -> Column:
    """The typed column of some values: checked at once if all is well with them, else one by one.

    Raises:
        InvalidInputError: there are more problems than can be told.
    """
    if isinstance(values, np.ndarray):
        whole = None if is_text(column) else _of_array(column, values)
        if whole is not None:
            return whole
    listed: Sequence[object] = values.tolist() if isinstance(values, np.ndarray) else values
    quick = _strings(column, listed) if column.type == "string" else None if is_text(column) else _of_list(column, listed)
    return _one_by_one(column, listed, problems) if quick is None else quick


def _one_by_one(column: Input, values: Sequence[object], problems: Problems) -> Column:
    found: list[Any] = []
    for row, value in enumerate(values):
        try:
            found.append(parse(column, value))
        except (ValueError, OverflowError) as error:
            problems.add(row, column.name, str(error))
            found.append(None)
    if is_text(column):
        return Texts.of(found) if len(found) > _FEW else Texts(found)
    if None not in found and any(type(value) is int for value in found):  # beyond what a float can say
        return np.array([int(value) for value in found], dtype=np.int64)
    return np.array(found, dtype=np.float64)


def _strings(column: Input, values: Sequence[Any]) -> Texts | None:
    """A column of strings; None where it is not only that."""
    try:
        found = Texts.of(values) if len(values) > _FEW else Texts(list(values))
    except TypeError:  # a list or an object has no hash
        return None
    kinds = set(map(type, found.values))
    good = kinds == {str} or (kinds <= {str, type(None)} and not column.required)
    return found if good else None


_KINDS: dict[str, frozenset[type]] = {
    "bool": frozenset({bool}),
    "int32": frozenset({int, float}),
    "int64": frozenset({int, float}),
    "float32": frozenset({float, int}),
    "float64": frozenset({float, int}),
}


def _of_list(column: Input, values: Sequence[object]) -> np.ndarray | None:
    """A column of numbers or booleans; None where it is not only that."""
    kinds = set(map(type, values))
    wanted = _KINDS[column.type] if column.required else _KINDS[column.type] | {type(None)}
    if not kinds <= wanted:
        return None
    try:
        if column.type in BOUNDS and kinds == {int}:
            return _whole(column, np.array(values, dtype=np.int64))
        found = np.array(values, dtype=np.float64)
    except OverflowError:
        return None
    if column.type == "bool":
        return found
    # Whole numbers beyond what a float can say, beside nulls or fractions: to be looked at one by one.
    far = int in kinds and len(found) and np.nanmax(np.abs(found), initial=0.0) > EXACT
    return None if far else _of_array(column, found)


def _of_array(column: Input, values: np.ndarray) -> np.ndarray | None:
    """A column of an array of numbers or booleans; None where a value does not fit."""
    kind = values.dtype.kind
    if column.type == "bool":
        return values.astype(np.float64) if kind == "b" else None
    if kind not in "iuf" or (kind == "f" and not _fits(column, values)):
        return None
    if column.type in BOUNDS and len(values):
        return _whole(column, values)
    return values.astype(np.float64)


def _whole(column: Input, values: np.ndarray) -> np.ndarray | None:
    """A column of whole numbers within the type's bounds; null only where they came as numbers with a fraction."""
    low, high = BOUNDS[column.type]
    if values.dtype.kind != "f":
        return narrowed(values) if low <= int(values.min()) and int(values.max()) <= high else None
    known = values[~np.isnan(values)]
    inside = np.all(known == np.floor(known)) and np.all(np.abs(known) <= min(high, EXACT))
    return values.astype(np.float64) if inside else None


def _fits(column: Input, values: np.ndarray) -> bool:
    """Whether numbers with a fraction are finite (or null, where that is allowed), and small enough."""
    if column.required and np.isnan(values).any():
        return False
    if np.isinf(values).any():
        return False
    return column.type != "float32" or not len(values) or bool(np.nanmax(np.abs(values), initial=0.0) <= FLOAT32_MAX)


def _meant(name: str, sent: JsonMapping, schema: Schema) -> str:
    """What a missing column may have been mistyped as, or what to do."""
    others = [key for key in list(sent)[: _MOST_NEAR + len(schema.names)] if key not in schema.names][:_MOST_NEAR]
    near = most_alike(name, [key for key in others if len(key) <= 2 * len(name)])
    return f"; {near!r} was sent: {did_you_mean(near, [name])}" if near else "; send null where its value is not known"


def _refused(field: str, message: str) -> InvalidInputError:
    return invalid([{"row": 0, "field": field, "message": message}])
