"""Applying a fitted ColumnTransformer to record batches: string columns by their distinct values, gathered back.

A transformer treats each row alone, so rows with the same strings get the same features: the part is applied to the distinct combinations
of a batch and the rows are taken from that small table. What comes out is identical.
"""

import inspect
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import scipy.sparse
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer

from windtunnel.beam_jobs.features.tallies.streams import SOURCE, Apply, Chunk, Columns, Stream, stack
from windtunnel.lifecycle.data.frames import to_frame
from windtunnel.lifecycle.learning import scikit

__all__ = ["Columnwise", "applied", "rowwise"]

_LIMIT = 1 << 22
"""Combinations of dictionary codes that are told apart by a table instead of by sorting."""


def applied(fitted: BaseEstimator, source: Stream | None = None) -> Stream:
    """The stream of a fitted transformer's ``transform`` over the source."""
    source = source or Stream(SOURCE)
    if isinstance(fitted, ColumnTransformer):
        return source.then(Columnwise(fitted))
    if isinstance(fitted, Pipeline):
        steps = [step for _, step in fitted.steps if step is not None and step != "passthrough"]
        if steps and isinstance(steps[0], ColumnTransformer):
            stream = source.then(Columnwise(steps[0]))
            for step in steps[1:]:
                stream = stream.then(Apply(step))
            return stream
    return source.then(Apply(fitted))


def _parts(fitted: BaseEstimator) -> list[Any] | None:
    """What a composed transformer is made of; None of any other."""
    for kind, name in ((Pipeline, "steps"), (FeatureUnion, "transformer_list"), (ColumnTransformer, "transformers_")):
        if isinstance(fitted, kind):
            return [entry[1] for entry in getattr(fitted, name)]
    return None


def rowwise(fitted: BaseEstimator) -> bool:
    """Whether a fitted part is known to treat each row alone: scikit-learn's own, with no functions but numpy's elementwise ones."""
    parts = _parts(fitted)
    if parts is not None:
        return all(part is None or isinstance(part, str) or rowwise(part) for part in parts)
    if isinstance(fitted, FunctionTransformer):
        return fitted.func is None or isinstance(fitted.func, np.ufunc) or fitted.func is np.ravel
    return type(fitted).__module__.startswith("sklearn.") and not any(map(inspect.isfunction, fitted.get_params(deep=False).values()))


class Columnwise(Columns):
    """A fitted ColumnTransformer over the source's columns."""

    def __init__(self, fitted: ColumnTransformer) -> None:
        self.fitted = fitted
        self._parts = scikit.fitted_parts(fitted)
        self._rowwise = [rowwise(part) for _, part, _, _ in self._parts]
        self.names = list(dict.fromkeys(str(name) for *_, columns, _ in self._parts for name in np.atleast_1d(np.asarray(columns, object))))

    def pieces(self, chunk: Chunk) -> list[tuple[Any, np.ndarray | None]]:
        """Each part's features, as a table and, where it holds distinct rows only, the row of it that each row is."""
        found = []
        for (_, part, columns, weight), alone in zip(self._parts, self._rowwise, strict=True):
            names = [str(columns)] if isinstance(columns, str) else [str(name) for name in columns]
            distinct = _distinct(chunk, names) if alone else None
            frame = chunk.frame(names) if distinct is None else distinct[0]
            made = part.transform(frame[columns] if np.isscalar(columns) else frame)
            found.append((made if weight is None else made * weight, None if distinct is None else distinct[1]))
        return found

    def evaluate(self, parent: Stream | None, chunk: Chunk) -> object:
        """What ``fitted.transform`` answers."""
        pieces = [_take(table, rows) for table, rows in self.pieces(chunk)]
        return stack(self.fitted, pieces, chunk.rows)

    def dense(self, chunk: Chunk, dtype: str) -> np.ndarray:
        """The same as one dense array, filled part by part."""
        pieces = self.pieces(chunk)
        out = np.empty((chunk.rows, sum(table.shape[1] for table, _ in pieces)), dtype=dtype)
        start = 0
        for table, rows in pieces:
            plain = table.toarray() if scipy.sparse.issparse(table) else np.asarray(table)
            end = start + plain.shape[1]
            out[:, start:end] = plain if rows is None else plain.astype(dtype, copy=False)[rows]
            start = end
        return out


def _take(table: Any, rows: np.ndarray | None) -> Any:
    if rows is None:
        return table
    return table.iloc[rows].reset_index(drop=True) if hasattr(table, "iloc") else table[rows]


def _distinct(chunk: Chunk, names: list[str]) -> tuple[pd.DataFrame, np.ndarray] | None:
    """The distinct combinations of some columns of strings, and which of them each row is; None where that does not pay."""
    columns = [chunk.batch.column(name) for name in names]
    if not columns or not all(pa.types.is_dictionary(column.type) for column in columns):
        return None
    sizes = [len(column.dictionary) + 1 for column in columns]
    # As floats, which do not wrap around where many sizes are multiplied.
    total = int(np.prod([float(size) for size in sizes]))
    if total > _LIMIT:
        return None
    code = np.zeros(chunk.rows, dtype=np.int64)
    for column, size in zip(columns, sizes, strict=True):
        indices = column.indices.fill_null(size - 1) if column.null_count else column.indices
        code = code * size + indices.to_numpy(zero_copy_only=False)
    seen = np.zeros(total, dtype=bool)
    seen[code] = True
    unique = np.flatnonzero(seen)
    if 2 * len(unique) > chunk.rows:
        return None
    place = np.empty(total, dtype=np.int64)
    place[unique] = np.arange(len(unique))
    arrays = []
    rest = unique
    for column, size in zip(reversed(columns), reversed(sizes), strict=True):
        rest, index = np.divmod(rest, size)
        taken = pa.array(index, mask=index == size - 1)
        arrays.append(column.dictionary.take(taken))
    batch = pa.RecordBatch.from_arrays(arrays[::-1], names)
    return to_frame(batch, {name: chunk.dtypes[name] for name in names}), place[code]
