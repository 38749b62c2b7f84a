"""The steps of a plan that turn columns into features: one for each kind of fitted transformer.

Arithmetic is done in the order in which scikit-learn does it, so that a value on the edge of a tree's threshold falls on the same side.
"""

import dataclasses
import math
import operator
from typing import Any

import numpy as np

from windtunnel.serving.base.values import Column, Texts
from windtunnel.serving.compiler.plan import Row, Scorer, Step, Strand, Value, as_columns, as_matrix, refuse, register

__all__ = ["Affine", "Bins", "Chain", "Fill", "Indicate", "Look", "OneHot", "Select", "Take", "Union"]

_REFUSED = -2
_UNSEEN = "a category that the model was not trained with, and that its encoder refuses"
_DISTINCT = 512
"""From so many rows on, numbers are looked up once for each distinct value."""


@register
class Chain(Step):
    """Steps one after another."""

    steps: list[Step]

    def width_out(self) -> int | None:
        """Those of the last step that knows; steps after it that keep the number do not count."""
        return _outputs_of_chain(self.steps)

    def run(self, value: Value) -> Value:
        """Each on the output of the one before."""
        for step in self.steps:
            value = step.run(value)
        return value

    def one(self, row: Row) -> Row:
        """Each on the output of the one before."""
        for step in self.steps:
            row = step.one(row)
        return row

    def trace(self, names: list[str], known: dict[str, set[object]]) -> list[str]:
        """Through each of them."""
        for step in self.steps:
            names = step.trace(names, known)
        return names

    def strands(self, strands: list[Strand]) -> list[Strand] | None:
        """Through each of them."""
        found: list[Strand] | None = strands
        for step in self.steps:
            found = None if found is None else step.strands(found)
        return found

    def scorer(self, strands: list[Strand]) -> Scorer | None:
        """That of the last, if all before it work value by value."""
        before = Chain(self.steps[:-1]).strands(strands)
        return None if before is None or not self.steps else self.steps[-1].scorer(before)


@register
class Select(Step):
    """Some of the columns, by place."""

    places: list[int]

    def width_out(self) -> int | None:
        """The columns that are selected."""
        return len(self.places)

    def run(self, value: Value) -> Value:
        """Those columns."""
        if isinstance(value, np.ndarray):
            return value[:, self.places]
        return [value[place] for place in self.places]

    def one(self, row: Row) -> Row:
        """Those values."""
        return [row[place] for place in self.places]

    def trace(self, names: list[str], known: dict[str, set[object]]) -> list[str]:
        """Those names, where these are inputs."""
        return [names[place] for place in self.places] if names else []

    def strands(self, strands: list[Strand]) -> list[Strand]:
        """Those columns."""
        return [strands[place] for place in self.places]


@register
class Union(Step):
    """Several branches side by side: a ColumnTransformer or a FeatureUnion."""

    branches: list[Step]

    def width_out(self) -> int | None:
        """Those of all branches."""
        counts = [branch.width_out() for branch in self.branches]
        return None if None in counts else sum(count or 0 for count in counts)

    def run(self, value: Value) -> Value:
        """The outputs of all branches, in order."""
        parts = [branch.run(value) for branch in self.branches]
        if len(parts) == 1:
            return parts[0]
        if any(isinstance(part, list) and any(isinstance(column, Texts) for column in part) for part in parts):
            return [column for part in parts for column in as_columns(part)]
        return np.hstack([as_matrix(part) for part in parts])

    def one(self, row: Row) -> Row:
        """The outputs of all branches, in order."""
        found: Row = []
        for branch in self.branches:
            found += branch.one(row)
        return found

    def trace(self, names: list[str], known: dict[str, set[object]]) -> list[str]:
        """Through all of them; what follows gets no inputs."""
        for branch in self.branches:
            branch.trace(names, known)
        return []

    def strands(self, strands: list[Strand]) -> list[Strand] | None:
        """The columns of all branches."""
        found: list[Strand] = []
        for branch in self.branches:
            part = branch.strands(strands)
            if part is None:
                return None
            found += part
        return found


@register
class Affine(Step):
    """Scaling: ``((x - sub) / div) * mul + add``, then clipped; what is None is left out; without a label infinity is let through."""

    sub: Any = None
    div: Any = None
    mul: Any = None
    add: object = None
    low: Any = None
    high: Any = None
    label: str = "a scaler"
    _few: Any = dataclasses.field(default=None, init=False, repr=False, compare=False)

    def run(self, value: Value) -> Value:
        """The scaled matrix; null stays null."""
        x = finite(as_matrix(value), self.label) if self.label else as_matrix(value)
        if self.sub is not None:
            x = x - self.sub
        if self.div is not None:
            x = x / self.div
        if self.mul is not None:
            x = x * self.mul
        if self.add is not None:
            x = x + self.add
        return x if self.low is None else np.clip(x, self.low, self.high)

    def one(self, row: Row) -> Row:
        """The scaled values; what is rare, such as a value that is no number, is left to `run`."""
        if self._few is None:
            self._few = [_spread(value, len(row)) for value in (self.sub, self.div, self.mul, self.add)]
        try:
            # one test for all: a sum is not finite if any value is not; where it only overflows, each is looked at
            if self.low is None and (math.isfinite(sum(row)) or not self.label or not any(map(math.isinf, row))):
                return self._scaled(row)
        # null, text or a scale of zero, for all of which numpy has its own answer
        except (TypeError, ZeroDivisionError):
            pass
        return super().one(row)

    def strands(self, strands: list[Strand]) -> list[Strand]:
        """Each column scaled by itself."""
        parts = (self.sub, self.div, self.mul, self.add, self.low, self.high)
        few: list[list[Any]] = [_spread(part, len(strands)) or [None] * len(strands) for part in parts]
        return [
            strand.then(Affine(sub, div, mul, add, low, high, self.label))
            for strand, sub, div, mul, add, low, high in zip(strands, *few, strict=True)
        ]

    def _scaled(self, row: Row) -> Row:
        for operation, values in zip(_ARITHMETIC, self._few, strict=True):
            if values is not None:
                row = list(map(operation, row, values))
        return row


_ARITHMETIC = (operator.sub, operator.truediv, operator.mul, operator.add)


@register
class Fill(Step):
    """SimpleImputer: missing values become fixed ones; columns that were all null are dropped; indicators may follow."""

    fills: list[Any]
    keep: list[int]
    missing: Any
    indicators: list[int]
    text: bool = False

    def width_out(self) -> int | None:
        """The columns that are kept, and the indicators."""
        return len(self.keep) + len(self.indicators)

    def one(self, row: Row) -> Row:
        """Values of which none is missing; indicators and marks of one's own are left to `run`."""
        if self.indicators or not self._fills_null():
            return super().one(row)
        found = [self.fills[place] if (value := row[place]) is None or value != value else value for place in self.keep]  # NaN
        return found if self.text or _all_finite(found) else super().one(row)

    def _fills_null(self) -> bool:
        """Whether null is what is missing, and not a mark of one's own."""
        return self.missing is None or (isinstance(self.missing, float) and math.isnan(self.missing))

    def run(self, value: Value) -> Value:
        """Columns without missing values."""
        if not self.text:
            return self._numbers(as_matrix(value))
        columns = as_columns(value)
        found: list[Column] = []
        for place in self.keep:
            column = columns[place]
            fill = self.fills[place]
            if isinstance(column, Texts):
                # only the distinct texts are filled: the codes of the rows stay as they are
                found.append(Texts([fill if self._missing(entry) else entry for entry in column.values], column.codes))
            else:
                found.append(np.where(_missing_of(column, self.missing), fill, column))
        for place in self.indicators:
            column = columns[place]
            found.append(
                column.each(self._missing).astype(np.float64) if isinstance(column, Texts) else _missing_of(column, self.missing) * 1.0
            )
        return found

    def trace(self, names: list[str], known: dict[str, set[object]]) -> list[str]:
        """The columns that are kept; indicators follow them."""
        return [names[place] for place in self.keep] if names else []

    def strands(self, strands: list[Strand]) -> list[Strand] | None:
        """The columns that are kept, each filled by itself; not where a column says what is missing in another."""
        if self.indicators or not self._fills_null():
            return None
        return [strands[place].then(Fill([self.fills[place]], [0], self.missing, [], self.text)) for place in self.keep]

    def _missing(self, entry: str | None) -> bool:
        return entry is None if self.missing is None or isinstance(self.missing, float) else entry == self.missing

    def _numbers(self, x: np.ndarray) -> np.ndarray:
        mask = _missing_of(x, self.missing)
        if not (isinstance(self.missing, float) and math.isnan(self.missing)) and np.isnan(x).any():
            raise refuse("null where the model's imputer expects another mark for missing values")
        finite(x, "SimpleImputer")
        out = np.where(mask, np.asarray(self.fills, dtype=np.float64), x)
        if len(self.keep) != x.shape[1]:
            out = out[:, self.keep]
        return np.hstack([out, mask[:, self.indicators].astype(np.float64)]) if self.indicators else out


@register
class Indicate(Step):
    """MissingIndicator."""

    places: list[int]
    missing: object

    def width_out(self) -> int | None:
        """The indicators."""
        return len(self.places)

    def run(self, value: Value) -> Value:
        """1.0 where a value is missing."""
        columns = as_columns(value)
        out = np.empty((len(columns[0]), len(self.places)))
        for index, place in enumerate(self.places):
            column = columns[place]
            out[:, index] = column.each(lambda entry: entry is None) if isinstance(column, Texts) else _missing_of(column, self.missing)
        return out


@register
class OneHot(Step):
    """One or more columns of categories to 0/1 columns.

    Attributes:
        tables: for each column, category -> output column (-1: none is set).
        nulls: for each column, the output column of null; -2 where it is refused.
        unknown: for each column, the output column of a category that was never seen; -2 where it is refused.
        width: output columns.
    """

    tables: list[dict[object, int]]
    nulls: list[int]
    unknown: list[int]
    width: int

    def width_out(self) -> int | None:
        """The 0/1 columns."""
        return self.width

    def run(self, value: Value) -> Value:
        """The 0/1 matrix."""
        columns = as_columns(value)
        count = len(columns[0])
        out = np.zeros((count, self.width))
        for column, table, null, unknown in zip(columns, self.tables, self.nulls, self.unknown, strict=True):
            places = look_up(column, table, null, unknown)
            if count == 1:
                if places[0] >= 0:
                    out[0, places[0]] = 1.0
            else:
                rows = np.flatnonzero(places >= 0)
                out[rows, places[rows]] = 1.0
        return out

    def one(self, row: Row) -> Row:
        """The 0/1 values."""
        out = [0.0] * self.width
        for value, table, null, unknown in zip(row, self.tables, self.nulls, self.unknown, strict=True):
            place = null if value is None or value != value else table.get(value, unknown)  # NaN
            if place >= 0:
                out[place] = 1.0
            elif place == _REFUSED:
                raise refuse(_UNSEEN)
        return out

    def trace(self, names: list[str], known: dict[str, set[object]]) -> list[str]:
        """Adds what each column's table knows."""
        for name, table in zip(names, self.tables, strict=False):
            known.setdefault(name, set()).update(table)
        return []


@register
class Look(Step):
    """Columns of categories to one or more numbers each: OrdinalEncoder, TargetEncoder.

    Attributes:
        tables: for each column, category -> row of its outputs.
        outputs: for each column, the numbers of each such row.
        nulls: for each column, the row of null; -2 where it is refused.
        unknown: for each column, the row of a category that was never seen; -2 where it is refused.
    """

    tables: list[dict[object, int]]
    outputs: list[np.ndarray]
    nulls: list[int]
    unknown: list[int]
    _lists: Any = dataclasses.field(default=None, init=False, repr=False, compare=False)

    def width_out(self) -> int | None:
        """Those of all columns."""
        return sum(output.shape[1] for output in self.outputs)

    def run(self, value: Value) -> Value:
        """The numbers."""
        found = [
            output[look_up(column, table, null, unknown)]
            for column, table, output, null, unknown in zip(
                as_columns(value), self.tables, self.outputs, self.nulls, self.unknown, strict=True
            )
        ]
        return found[0] if len(found) == 1 else np.hstack(found)

    def one(self, row: Row) -> Row:
        """The numbers."""
        if self._lists is None:
            self._lists = [output.tolist() for output in self.outputs]
        found: Row = []
        for value, table, output, null, unknown in zip(row, self.tables, self._lists, self.nulls, self.unknown, strict=True):
            place = null if value is None or value != value else table.get(value, unknown)  # NaN
            if place == _REFUSED:
                raise refuse(_UNSEEN)
            found += output[place]
        return found

    def strands(self, strands: list[Strand]) -> list[Strand] | None:
        """Each column looked up by itself, where it gives one number."""
        if any(output.shape[1] != 1 for output in self.outputs):
            return None
        return [
            strand.then(Look([table], [output], [null], [unknown]))
            for strand, table, output, null, unknown in zip(strands, self.tables, self.outputs, self.nulls, self.unknown, strict=True)
        ]

    def trace(self, names: list[str], known: dict[str, set[object]]) -> list[str]:
        """Adds what each column's table knows."""
        for name, table in zip(names, self.tables, strict=False):
            known.setdefault(name, set()).update(table)
        return []


@register
class Take(Step):
    """Some of the features: VarianceThreshold, SelectKBest."""

    places: list[int]
    refuse_null: bool = False

    def width_out(self) -> int | None:
        """The features that are taken."""
        return len(self.places)

    def run(self, value: Value) -> Value:
        """Those features."""
        return finite(as_matrix(value), "feature selection", null=not self.refuse_null)[:, self.places]


@register
class Bins(Step):
    """KBinsDiscretizer."""

    edges: list[np.ndarray]
    one_hot: bool

    def run(self, value: Value) -> Value:
        """The bin of each value, as a number or as 0/1 columns."""
        x = finite(as_matrix(value), "KBinsDiscretizer", null=False)
        codes = [np.searchsorted(edges[1:-1], x[:, index], side="right") for index, edges in enumerate(self.edges)]
        if not self.one_hot:
            return np.column_stack(codes).astype(np.float64)
        widths = [len(edges) - 1 for edges in self.edges]
        out = np.zeros((len(x), sum(widths)))
        rows, start = np.arange(len(x)), 0
        for code, width in zip(codes, widths, strict=True):
            out[rows, start + code] = 1.0
            start += width
        return out


def _outputs_of_chain(chain: list[Step]) -> int | None:
    count: int | None = None
    for step in chain:
        count = count if isinstance(step, Affine) else step.width_out()
    return count


def finite(x: np.ndarray, who: str, *, null: bool = True) -> np.ndarray:
    """The matrix, refused where it holds infinity (or null, where that is not allowed either)."""
    if null:
        if np.isinf(x).any():
            raise refuse(f"{who} cannot take infinity")
    elif not np.isfinite(x).all():
        raise refuse(f"{who} cannot take null or infinity, and nothing before it fills them")
    return x


def look_up(column: Column, table: dict[object, int], null: int, unknown: int) -> np.ndarray:
    """The place of each value in a table of categories.

    Raises:
        InvalidInputError: an unknown or null value that the encoder was told to refuse.
    """
    get = table.get
    if isinstance(column, Texts):
        found = column.each(lambda value: null if value is None else get(value, unknown))
    elif len(column) < _DISTINCT:
        found = np.array([null if value != value else get(value, unknown) for value in column.tolist()], dtype=np.int64)  # NaN
    else:
        distinct, inverse = np.unique(column, return_inverse=True)
        found = np.array([null if value != value else get(value, unknown) for value in distinct.tolist()], dtype=np.int64)[inverse]
    if _REFUSED in {unknown, null} and (found == _REFUSED).any():
        raise refuse(_UNSEEN)
    return found


def _all_finite(row: Row) -> bool:
    return all(type(value) is float and not math.isinf(value) for value in row)


def _missing_of(x: np.ndarray, missing: Any) -> np.ndarray:
    if missing is None or (isinstance(missing, float) and math.isnan(missing)):
        return np.isnan(x)
    return x == missing if isinstance(missing, int | float) else np.zeros(x.shape, dtype=bool)


def _spread(value: object, count: int) -> list[float] | None:
    """A scalar or an array as one float for each of some values."""
    return None if value is None else list(np.broadcast_to(np.asarray(value, dtype=np.float64), (count,)).tolist())
