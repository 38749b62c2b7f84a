"""A plan: a fitted pipeline as data, run with look-ups and arithmetic, without scikit-learn and without pandas.

A plan is a tree of steps. Each step takes columns or a float64 matrix and gives a matrix (or columns); the last gives the score matrix
of `windtunnel.lifecycle.model.answers`. Steps are dataclasses, kept as ``plan.json`` and ``plan.npz``: numbers and texts only, nothing that
could run.
"""

import dataclasses
import functools
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

import numpy as np

from windtunnel.lifecycle.contract.errors import IntegrityError, UnsupportedError
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.serving.base.values import Column, Columns, InvalidInputError, Texts

__all__ = [
    "NotCompilableError",
    "Plan",
    "Row",
    "Scorer",
    "Step",
    "Strand",
    "Value",
    "as_columns",
    "as_matrix",
    "product",
    "refuse",
    "register",
]

FORMAT = 1
_JSON, _ARRAYS = "plan.json", "plan.npz"
CHUNK_CELLS = 4_000_000
"""Cells of a feature matrix at most (32 MB): more rows are run in chunks."""

WIDEST_ROW = 1024
"""Features of a plan at most that are worth computing for one row in plain Python."""

Value = np.ndarray | list[Column]

Row = list[Any]
"""The values of one row in plain Python: floats (null as NaN) and texts (None is null)."""


class NotCompilableError(UnsupportedError):
    """The pipeline holds something that a plan cannot express; it is served by scikit-learn itself."""


@dataclasses.dataclass
class Step:
    """One step of a plan; fields are numbers, texts, lists, arrays, bytes or further steps."""

    name: ClassVar[str] = ""

    def run(self, value: Value) -> Value:
        """The step's output for some rows; called by `Plan.run`, never with zero rows.

        Raises:
            InvalidInputError: scikit-learn's own transformer would have refused the rows.
        """
        raise TypeError(f"{type(self).__name__} has no run for {type(value).__name__}")

    def one(self, row: Row) -> Row:
        """The same for one row in plain Python; steps that this is cheaper for have their own.

        For a handful of values Python's own arithmetic, which rounds as numpy's does, costs a fifth of numpy's calls.

        Raises:
            InvalidInputError: scikit-learn's own transformer would have refused the row.
        """
        if all(type(value) is float for value in row):
            found = self.run(np.array([row]))
        else:
            found = self.run([np.array([value]) if type(value) is float else Texts([value]) for value in row])
        if isinstance(found, np.ndarray):
            return list(found[0].tolist())
        return [column.rows()[0] if isinstance(column, Texts) else float(column[0]) for column in found]

    def trace(self, names: list[str], known: dict[str, set[object]]) -> list[str]:  # what steps that pass inputs on override
        """Follow inputs through the step: which of its outputs are inputs still, by name; encoders add the categories that they know."""
        return []

    def width_out(self) -> int | None:
        """How many features the step gives, whatever it gets; None where that depends, or is not known."""
        return None

    def strands(self, strands: list["Strand"]) -> list["Strand"] | None:
        """The step's output columns, each as a function of one input, of input columns that are such; None where they are not."""
        return None

    def scorer(self, strands: list["Strand"]) -> "Scorer | None":
        """The last step and all before it as one function of a row of inputs; None where it has no such short cut."""
        return None


@dataclasses.dataclass(frozen=True, slots=True)
class Strand:
    """One column of a matrix as a function of one input.

    Attributes:
        place: of the input.
        steps: what its values go through, each a step of one column.
    """

    place: int
    steps: tuple[Step, ...] = ()

    def then(self, step: Step) -> "Strand":
        """With one more step."""
        return Strand(self.place, (*self.steps, step))

    def one(self, value: Any) -> Any:
        """The column's value for a value of the input."""
        row = [value]
        for step in self.steps:
            row = step.one(row)
        return row[0]


Scorer = Callable[[Row], Row | None]
"""A row of inputs to its scores; None where the steps have to be asked one by one."""

_REGISTRY: dict[str, type[Step]] = {}
S = TypeVar("S", bound=Step)


@dataclass_transform(field_specifiers=(dataclasses.field,))
def register(kind: type[S]) -> type[S]:
    """Make a step known to `Plan.load`, under the lower-case name of its class."""
    kind = dataclasses.dataclass(kind)
    kind.name = kind.__name__.lower()
    _REGISTRY[kind.name] = kind
    return kind


def refuse(text: str) -> InvalidInputError:
    """The error for rows that the fitted transformer refuses."""
    return InvalidInputError(text, problems=[{"row": 0, "field": "", "message": text}])


def as_matrix(value: Value) -> np.ndarray:
    """A float64 matrix of columns."""
    if isinstance(value, np.ndarray):
        return value
    if any(isinstance(column, Texts) for column in value):
        raise refuse("text where the model needs numbers")
    if not value:
        raise refuse("no columns")
    out = np.empty((len(value[0]), len(value)))
    for index, column in enumerate(value):
        out[:, index] = np.asarray(column)
    return out


def product(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``x @ weights.T``, each row summed in the same order whatever the other rows are.

    BLAS sums in another order for one row than for many: a row's answer in a batch would differ from that to a request by a last bit.
    """
    x = np.ascontiguousarray(x)
    out = np.empty((len(x), len(weights)))
    for index, row in enumerate(weights):
        out[:, index] = (x * row).sum(axis=1)
    return out


def as_columns(value: Value) -> list[Column]:
    """The columns of a matrix."""
    return [value[:, index] for index in range(value.shape[1])] if isinstance(value, np.ndarray) else value


@dataclasses.dataclass(eq=False)
class Plan:
    """A compiled pipeline.

    Attributes:
        inputs: the input columns in the order in which the first step selects them.
        step: turns the columns into the score matrix.
        width: features of the widest step: bounds how many rows are run at once.
    """

    inputs: list[str]
    step: Step
    width: int = 1

    def run(self, columns: Columns) -> np.ndarray:
        """The score matrix of some rows."""
        most = max(1, CHUNK_CELLS // max(1, self.width))
        if columns.count <= most:
            return as_matrix(self.step.run([columns[name] for name in self.inputs]))
        parts = [columns.part(start, start + most) for start in range(0, columns.count, most)]
        return np.concatenate([as_matrix(self.step.run([part[name] for name in self.inputs])) for part in parts])

    def one(self, row: Row) -> Row:
        """The scores of one row, its values in the order of the inputs."""
        found = self._scorer(row)
        if found is not None:
            return found
        with np.errstate(all="ignore"):
            return self.step.one(row)

    @functools.cached_property
    def _scorer(self) -> Scorer:
        """The short cut for single rows, sought with the first of them."""
        strands = [Strand(place) for place in range(len(self.inputs))]
        return self.step.scorer(strands) or _no_scorer

    def save(self, folder: Path) -> None:
        """Write the plan's two files."""
        arrays: dict[str, np.ndarray] = {}
        body = {"format": FORMAT, "inputs": self.inputs, "width": self.width, "step": _pack(self.step, arrays)}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _JSON).write_text(json.dumps(body), encoding="utf-8")
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its own keywords
        (folder / _ARRAYS).write_bytes(buffer.getvalue())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The plan that `save` wrote; check the bundle's digests first.

        Raises:
            IntegrityError: the files are no plan of this version.
        """
        try:
            body = json.loads((folder / _JSON).read_text(encoding="utf-8"))
            if body["format"] != FORMAT:
                raise IntegrityError(f"{folder}: a plan of format {body['format']!r}; this version runs format {FORMAT}")
            # never a pickle: an artefact must not name code to run
            with np.load(folder / _ARRAYS, allow_pickle=False) as arrays:
                step = _unpack(body["step"], {name: arrays[name] for name in arrays.files})
            return cls(inputs=body["inputs"], step=step, width=body["width"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise IntegrityError(f"{folder}: not a plan that can be run: {error}") from error

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether a folder holds a plan."""
        return (folder / _JSON).is_file()


def _no_scorer(_: Row) -> None:
    """The short cut of a plan that has none."""


def _pack(value: object, arrays: dict[str, np.ndarray]) -> Any:
    """A field of a step as JSON; arrays and bytes go to `arrays`, by a name."""
    for kind, packed in _PACKED:
        if isinstance(value, kind):
            return packed(value, arrays)
    raise TypeError(f"a {type(value).__name__} cannot be part of a plan")


def _pack_step(value: Step, arrays: dict[str, np.ndarray]) -> JsonObject:
    fields = {field.name: _pack(getattr(value, field.name), arrays) for field in dataclasses.fields(value) if field.init}
    return {"$step": value.name, **fields}


def _pack_array(value: np.ndarray, arrays: dict[str, np.ndarray]) -> dict[str, str]:
    name = f"a{len(arrays)}"
    arrays[name] = value
    return {"$array": name}


def _pack_float(value: float, _: dict[str, np.ndarray]) -> object:
    return value if math.isfinite(value) else {"$float": str(value)}


_PACKED: tuple[tuple[Any, Callable[[Any, dict[str, np.ndarray]], Any]], ...] = (
    (Step, _pack_step),
    (bytes, lambda value, arrays: {"$bytes": _pack_array(np.frombuffer(value, dtype=np.uint8), arrays)["$array"]}),
    (np.ndarray, _pack_array),
    (np.generic, lambda value, arrays: _pack(value.item(), arrays)),
    (list | tuple, lambda value, arrays: [_pack(entry, arrays) for entry in value]),
    # pairs, because keys of JSON are texts alone, and categories may be numbers or null
    (dict, lambda value, arrays: {"$map": [[_pack(key, arrays), _pack(entry, arrays)] for key, entry in value.items()]}),
    (float, _pack_float),
    (str | bool | int | None, lambda value, _: value),
)


def _unpack(value: object, arrays: dict[str, np.ndarray]) -> Any:
    """What `_pack` was given."""
    if isinstance(value, list):
        return [_unpack(entry, arrays) for entry in value]
    if not isinstance(value, dict):
        return value
    for name, unpacked in _UNPACKED.items():
        if name in value:
            return unpacked(value[name], arrays)
    kind = _REGISTRY[value["$step"]]
    return kind(**{name: _unpack(entry, arrays) for name, entry in value.items() if name != "$step"})


_UNPACKED: dict[str, Callable[[Any, dict[str, np.ndarray]], Any]] = {
    "$array": lambda name, arrays: arrays[name],
    "$bytes": lambda name, arrays: arrays[name].tobytes(),
    "$float": lambda text, _: float(text),
    "$map": lambda pairs, arrays: {_unpack(key, arrays): _unpack(entry, arrays) for key, entry in pairs},
}
