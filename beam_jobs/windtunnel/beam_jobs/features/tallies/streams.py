"""What a step of a transformer is given, as a recipe over record batches.

A `Stream` is a chain of steps from the source's columns; evaluated on a `Chunk` (one batch) it gives exactly the rows that scikit-learn
would hand to that step. Chains are shared: each is evaluated once a chunk.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from windtunnel.lifecycle.data.frames import to_frame
from windtunnel.lifecycle.learning import scikit

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["SOURCE", "Apply", "Assemble", "Chunk", "Columns", "Pick", "Source", "Step", "Stream"]

_NUMBERS = itertools.count()


class Chunk:
    """One batch of rows and what was made of it.

    Args:
        batch: the rows; string columns may be dictionary-encoded.
        dtypes: the inputs, in order, with their pandas types.
        y: labels.
        weight: row weights.
        start: the position of the first row in the whole data.
    """

    def __init__(
        self, batch: pa.RecordBatch, dtypes: Mapping[str, str], y: Any = None, weight: np.ndarray | None = None, start: int = 0
    ) -> None:
        self.batch, self.dtypes, self.y, self.weight, self.start = batch, dtypes, y, weight, start
        self.made: dict[int, object] = {}

    @property
    def rows(self) -> int:
        """How many there are."""
        return int(self.batch.num_rows)

    def frame(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The inputs as a frame."""
        names = list(self.dtypes) if columns is None else list(columns)
        if not names:
            return pd.DataFrame(index=range(self.rows))
        return to_frame(self.batch, {name: self.dtypes[name] for name in names})


class Step:
    """One link of a chain: what it makes of the link before."""

    def evaluate(self, parent: "Stream | None", chunk: Chunk) -> object:
        """The rows after this step."""
        raise TypeError(type(self).__name__)  # pragma: no cover


@dataclasses.dataclass(frozen=True)
class Stream:
    """A chain; `key` names it within one fit, also in worker processes."""

    step: Step
    parent: "Stream | None" = None
    key: int = dataclasses.field(default_factory=lambda: next(_NUMBERS))

    def then(self, step: Step) -> "Stream":
        """A longer chain."""
        return Stream(step, self)

    def evaluate(self, chunk: Chunk) -> Any:
        """The rows of a chunk at the end of the chain."""
        if self.key not in chunk.made:
            chunk.made[self.key] = self.step.evaluate(self.parent, chunk)
        return chunk.made[self.key]

    def source_columns(self, everything: Sequence[str]) -> set[str]:
        """The source's columns that the chain reads."""
        if isinstance(self.step, Source):
            return set(everything)
        if isinstance(self.step, Pick) and self.step.names is not None:
            return set(self.step.names)
        if isinstance(self.step, Columns):
            return set(self.step.names)
        found = self.parent.source_columns(everything) if self.parent is not None else set()
        if isinstance(self.step, Assemble):
            for part in self.step.parts:
                found |= part.source_columns(everything)
        return found


def _before(parent: "Stream | None", chunk: Chunk) -> Any:
    return chunk.frame() if parent is None else parent.evaluate(chunk)


class Columns(Step):
    """A step that reads some of the source's columns by itself, whatever came before it."""

    names: list[str]


class Source(Step):
    """The inputs as a frame."""

    def evaluate(self, parent: Stream | None, chunk: Chunk) -> Any:
        """All inputs."""
        return chunk.frame()


SOURCE = Source()


class Pick(Step):
    """Some columns of what came before, as scikit-learn picks them.

    Args:
        columns: as in a ColumnTransformer.
        names: the same as source columns, if what came before is the source itself: only they are then made into a frame.
    """

    def __init__(self, columns: object, names: list[str] | None = None) -> None:
        self.columns, self.names = columns, names

    def evaluate(self, parent: Stream | None, chunk: Chunk) -> Any:
        """Those columns."""
        if self.names is not None:
            frame = chunk.frame(self.names)
            return frame[self.names[0]] if np.isscalar(self.columns) else frame
        return scikit.take_columns(_before(parent, chunk), self.columns)


class Apply(Step):
    """A fitted transformer."""

    def __init__(self, fitted: "BaseEstimator") -> None:
        self.fitted = fitted

    def evaluate(self, parent: Stream | None, chunk: Chunk) -> Any:
        """Its transform."""
        return self.fitted.transform(_before(parent, chunk))


class Assemble(Step):
    """The parts of a fitted ColumnTransformer or FeatureUnion side by side, as its ``fit_transform`` would answer them."""

    def __init__(self, fitted: "BaseEstimator", parts: list[Stream], weights: list[float | None]) -> None:
        self.fitted, self.parts, self.weights = fitted, parts, weights

    def evaluate(self, parent: Stream | None, chunk: Chunk) -> Any:
        """The whole width."""
        found = self.pieces(chunk)
        return stack(self.fitted, found, chunk.rows)

    def pieces(self, chunk: Chunk) -> list[Any]:
        """The parts before they are put together."""
        found = [part.evaluate(chunk) for part in self.parts]
        return [piece if weight is None else piece * weight for piece, weight in zip(found, self.weights, strict=True)]


def stack(fitted: "BaseEstimator", pieces: list[object], rows: int) -> object:
    """Put parts together as the fitted object's own ``transform`` does, output container included."""
    if not pieces:
        return np.zeros((rows, 0))
    pieces = [piece.copy(deep=False) if isinstance(piece, pd.DataFrame) else piece for piece in pieces]  # stacking renames their columns
    whole = scikit.side_by_side(fitted, pieces, rows)
    return scikit.in_container(whole, pieces[0], fitted)
