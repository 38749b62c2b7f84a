"""The distinct values of one column with their counts: what every statistic that is exact can be computed from.

Numbers are kept as sorted arrays, strings as Arrow arrays, other objects in a dictionary. Nulls are counted apart, as NaN or as None, the
way pandas shows them.
"""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Tally"]


class Tally:
    """Counts of one column.

    Args:
        limit: when more pairs than four times this are held, they are put together.

    Attributes:
        rows: rows seen.
        nan: how many are NaN (or NaT, or null in a column that pandas shows so).
        none: how many are None in a column of objects.
    """

    def __init__(self, limit: int = 250_000) -> None:
        self._limit = limit
        self._parts: list[tuple[Any, np.ndarray]] = []
        self._held = 0
        self._objects: dict[Any, int] = {}
        self._sample: dict[Any, Any] = {}
        self.kind = ""
        self.rows = 0
        self.nan = 0
        self.none = 0

    def __len__(self) -> int:
        """Distinct values, nulls not counted."""
        self._consolidate()
        return len(self._objects) if self.kind == "object" else self._held

    def add_arrow(self, column: pa.Array, dtype: str) -> None:
        """Count a raw column; `dtype` is what pandas shows it as."""
        rows = len(column)
        if dtype == "object" or (pa.types.is_boolean(column.type) and dtype != "bool"):
            self.add(column.to_pandas().astype(object) if dtype == "object" else column.to_pandas())
            return
        if pa.types.is_dictionary(column.type):
            codes = column.indices
            counts = np.bincount(
                codes.drop_null().to_numpy(zero_copy_only=False).astype(np.int64, copy=False), minlength=len(column.dictionary)
            )
            values, nulls = column.dictionary, codes.null_count
        else:
            found = pc.value_counts(column)
            values, counts = found.field("values"), found.field("counts").to_numpy(zero_copy_only=False)
            nulls = column.null_count
        seen = counts > 0
        if values.null_count:
            seen &= ~np.asarray(values.is_null())
        values, counts = values.filter(pa.array(seen)), counts[seen]
        self.rows += rows
        self.nan += nulls
        if dtype == "str":
            self._push("string", values.cast(pa.large_string()), counts.astype(np.int64))
            return
        numbers = values.to_pandas().to_numpy() if dtype.startswith(("datetime", "timedelta")) else values.to_numpy(zero_copy_only=False)
        self._numbers(numbers.astype(dtype, copy=False) if not dtype.startswith(("datetime", "timedelta")) else numbers, counts)

    def add(self, values: Any, counts: np.ndarray | None = None) -> None:
        """Count what a transformer made: a pandas series or a one-dimensional array, each entry `counts` times."""
        counts = np.ones(len(values), dtype=np.int64) if counts is None else np.asarray(counts, dtype=np.int64)
        self.rows += int(counts.sum())
        if isinstance(values, pd.Series):
            if isinstance(values.dtype, pd.StringDtype):
                null = values.isna().to_numpy()
                self.nan += int(counts[null].sum())
                text = pa.array(values[~null].to_numpy(dtype=object), pa.large_string())
                self._strings(text, counts[~null])
                return
            values = values.to_numpy()
        values = np.asarray(values)
        if values.dtype.kind in "iufbmM":
            self._numbers(values, counts)
        else:
            self._any(values.tolist(), counts)

    def _numbers(self, values: np.ndarray, counts: np.ndarray) -> None:
        if values.dtype.kind in "fmM":
            null = np.isnan(values)
            if null.any():
                missing = int(counts[null].sum())
                self.nan += missing
                values, counts = values[~null], counts[~null]
        self._push("number", values, counts.astype(np.int64))

    def _strings(self, values: pa.Array, counts: np.ndarray) -> None:
        self._push("string", values, counts)

    def _any(self, values: list[Any], counts: np.ndarray) -> None:
        if self.kind in {"number", "string"}:
            self._to_objects()
        self.kind = "object"
        for value, count in zip(values, counts.tolist(), strict=True):
            if value is None:
                self.none += count
            elif value != value:  # NaN is the only value that differs from itself  # noqa: PLR0124
                self.nan += count
            else:
                key = (type(value).__name__ if isinstance(value, bool) else "", value)
                self._objects[key] = self._objects.get(key, 0) + count

    def _push(self, kind: str, values: Any, counts: np.ndarray) -> None:
        if self.kind == "object" or (self.kind and self.kind != kind):
            self._to_objects()
            self._any(values.to_pylist() if isinstance(values, pa.Array) else values.tolist(), counts)
            return
        self.kind = kind
        if len(counts):
            self._parts.append((values, counts))
            self._held += len(counts)
            if self._held > 4 * self._limit and len(self._parts) > 1:
                self._consolidate()
        elif not self._parts:
            self._parts.append((values, counts))

    def _to_objects(self) -> None:
        self._consolidate()
        parts, self._parts, self._held, self.kind = self._parts, [], 0, "object"
        for values, counts in parts:
            self._any(values.to_pylist() if isinstance(values, pa.Array) else values.tolist(), counts)

    def _consolidate(self) -> None:
        if self.kind == "object" or not self._parts:
            return
        if self.kind == "number":
            values = np.concatenate([v for v, _ in self._parts])
            counts = np.concatenate([c for _, c in self._parts])
            unique, inverse = np.unique(values, return_inverse=True)
            total = np.zeros(len(unique), dtype=np.int64)
            np.add.at(total, inverse, counts)
            self._parts, self._held = [(unique, total)], len(unique)
        elif len(self._parts) > 1 or not self._settled:
            table = pa.table(
                {
                    "value": pa.chunked_array([v for v, _ in self._parts], pa.large_string()),
                    "count": pa.chunked_array([pa.array(c) for _, c in self._parts]),
                }
            )
            summed = table.group_by("value").aggregate([("count", "sum")]).sort_by("value")
            values = summed.column("value").combine_chunks()
            values = pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values
            self._parts = [(values, summed.column("count_sum").to_numpy())]
            self._held, self._settled = len(values), True

    _settled = False

    def merge(self, other: "Tally") -> None:
        """Take over what another one counted."""
        self.rows += other.rows
        self.nan += other.nan
        self.none += other.none
        if other.kind == "object":
            if self.kind in {"number", "string"}:
                self._to_objects()
            self.kind = "object"
            for key, count in other._objects.items():
                self._objects[key] = self._objects.get(key, 0) + count
            return
        self._settled = False
        for values, counts in other._parts:
            self._push(other.kind, values, counts)

    def values(self) -> tuple[Any, np.ndarray]:
        """The distinct values, sorted (objects: as they came), and the count of each."""
        self._consolidate()
        if self.kind == "object":
            made = np.empty(len(self._objects), dtype=object)
            made[:] = [value for _, value in self._objects]
            return made, np.array(list(self._objects.values()), dtype=np.int64)
        if not self._parts:
            return np.empty(0), np.empty(0, dtype=np.int64)
        values, counts = self._parts[0]
        if isinstance(values, pa.Array):
            return values.to_numpy(zero_copy_only=False), counts
        return values, counts
