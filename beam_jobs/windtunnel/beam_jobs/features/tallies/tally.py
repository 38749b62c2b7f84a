"""The distinct values of one column with their counts: what every statistic that is exact can be computed from.

Numbers are kept as sorted arrays, strings as Arrow arrays, other objects in a dictionary. Nulls are counted apart, as NaN or as None, the
way pandas shows them. A column of numbers with more distinct values than the limit is `large`: its moments stay exact, and its values are
dropped, spilled to disk as sorted runs, or sketched, as was chosen.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.beam_jobs.features.tallies.beyond import Beyond, Large
from windtunnel.lifecycle.contract.errors import UnsupportedError

__all__ = ["Tally"]

_STRINGS = 20
"""Times the limit: how many distinct strings are held before a column is refused; what is fitted on them would hold them all."""

_FEW = 1 << 14
"""Entries of several chunks that are held before they are joined."""
_GROWTH = 4
"""Or so many times the distinct ones that were found: joining then costs little, and memory follows the distinct values, not the rows."""


class Tally:
    """Counts of one column.

    Args:
        beyond: what happens to many distinct numbers.

    Attributes:
        rows: rows seen.
        nan: how many are NaN (or NaT, or null in a column that pandas shows so).
        none: how many are None in a column of objects.
        large: what became of the numbers beyond the limit; None while all are held.
    """

    def __init__(self, beyond: Beyond) -> None:
        self.beyond = beyond
        self._parts: list[tuple[Any, np.ndarray]] = []
        self._held = 0
        self._distinct = 0
        self._settled = False
        self._objects: dict[Any, int] = {}
        self.kind = ""
        self.rows = 0
        self.nan = 0
        self.none = 0
        self.large: Large | None = None

    def keep(self) -> None:
        """Keep values beyond the limit, too."""
        self.beyond = dataclasses.replace(self.beyond, keep=True)

    def add_arrow(self, column: pa.Array, dtype: str) -> None:
        """Count a raw column; `dtype` is what pandas shows it as."""
        if dtype in {"object", "category"}:
            self.add(column.to_pandas().astype(object))
            return
        self.rows += len(column)
        if self.large is not None and not self.beyond.keep and not dtype.startswith(("datetime", "timedelta")):
            numbers = column.drop_null().to_numpy(zero_copy_only=False).astype(dtype, copy=False)
            self.nan += column.null_count
            self._uncounted(numbers)
            return
        if pa.types.is_dictionary(column.type):
            codes = column.indices
            seen_codes = codes.drop_null() if codes.null_count else codes
            counts = np.bincount(seen_codes.to_numpy(zero_copy_only=False), minlength=len(column.dictionary))
            values, nulls = column.dictionary, codes.null_count
        else:
            found = pc.value_counts(column.cast(pa.float32()) if pa.types.is_float16(column.type) else column)
            values, counts = found.field("values"), found.field("counts").to_numpy(zero_copy_only=False)
            nulls = column.null_count
        seen = counts > 0
        if values.null_count:
            seen &= ~np.asarray(values.is_null())
        if not seen.all():
            values, counts = values.filter(pa.array(seen)), counts[seen]
        self.nan += nulls
        if dtype == "str":
            self._push("string", values.cast(pa.large_string()), counts.astype(np.int64))
            return
        if dtype.startswith(("datetime", "timedelta")):
            self._numbers(values.to_pandas().to_numpy(), counts)
        else:
            self._numbers(values.to_numpy(zero_copy_only=False).astype(dtype, copy=False), counts)

    def add(self, values: Any, counts: np.ndarray | None = None) -> None:
        """Count what a transformer made: a pandas series or a one-dimensional array, each entry `counts` times."""
        counts = np.ones(len(values), dtype=np.int64) if counts is None else np.asarray(counts, dtype=np.int64)
        self.rows += int(counts.sum())
        if isinstance(values, pd.Series):
            if isinstance(values.dtype, pd.StringDtype):
                null = values.isna().to_numpy()
                self.nan += int(counts[null].sum())
                self._push("string", pa.array(values[~null].to_numpy(dtype=object), pa.large_string()), counts[~null])
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
                self.nan += int(counts[null].sum())
                values, counts = values[~null], counts[~null]
        self._push("number", values, counts.astype(np.int64))

    def _uncounted(self, values: np.ndarray) -> None:
        if values.dtype.kind == "f":
            null = np.isnan(values)
            if null.any():
                self.nan += int(null.sum())
                values = values[~null]
        if self.large is not None and len(values):
            self.large.add_rows(values)

    def _any(self, values: list[Any], counts: np.ndarray) -> None:
        if self.kind in {"number", "string"}:
            self._to_objects()
        self.kind = "object"
        for value, count in zip(values, counts.tolist(), strict=True):
            if value is None or value is pd.NA:
                self.none += count
            elif value is pd.NaT or value != value:  # NaN is the only value that differs from itself  # noqa: PLR0124
                self.nan += count
            else:
                key = (type(value).__name__ if isinstance(value, bool) else "", value)
                self._objects[key] = self._objects.get(key, 0) + count

    def _push(self, kind: str, values: Any, counts: np.ndarray) -> None:
        if self.kind == "object" or (self.kind and self.kind != kind):
            self._to_objects()
            self._any(_list(values), counts)
            return
        self.kind, self._settled = kind, False
        if len(counts):
            self._parts.append((values, counts))
            self._held += len(counts)
            if self._held > min(2 * self.beyond.limit, max(_FEW, _GROWTH * self._distinct)):
                self._consolidate()
        elif not self._parts:
            self._parts.append((values, counts))

    def _to_objects(self) -> None:
        if self.large is not None:
            raise UnsupportedError("a column of very many distinct numbers has other values, too", hint="give it one type")
        self._consolidate()
        parts, self._parts, self._held, self.kind = self._parts, [], 0, "object"
        for values, counts in parts:
            self._any(_list(values), counts)

    def _consolidate(self) -> None:
        if self.kind == "object" or not self._parts or self._settled:
            return
        if self.kind == "number":
            values = np.concatenate([v for v, _ in self._parts])
            unique, inverse = np.unique(values, return_inverse=True)
            counts = np.concatenate([c for _, c in self._parts])
            # sums of whole numbers as floats are exact below 2**53
            self._parts = [(unique, np.bincount(inverse, weights=counts, minlength=len(unique)).astype(np.int64))]
            self._held = len(unique)
            if self._held > self.beyond.limit and values.dtype.kind in "iuf":
                self.large = self.large or Large(self.beyond)
                self.large.add(*self._parts[0])
                self._parts, self._held = [(unique[:0], counts[:0])], 0
        else:
            held = pa.chunked_array([v for v, _ in self._parts], pa.large_string()).combine_chunks().dictionary_encode()
            summed = np.bincount(
                held.indices.to_numpy(), weights=np.concatenate([c for _, c in self._parts]), minlength=len(held.dictionary)
            )
            order = pc.array_sort_indices(held.dictionary)
            found = held.dictionary.take(order)
            self._parts = [(found, summed.astype(np.int64)[order.to_numpy()])]
            self._held = len(found)
            if self._held > _STRINGS * self.beyond.limit:
                raise UnsupportedError(
                    f"a column has more than {_STRINGS * self.beyond.limit:,} distinct strings",
                    hint="hash it (FeatureHasher, HashingVectorizer), leave it out, or raise the option distinct_limit",
                )
        self._distinct = self._held
        self._settled = True

    def merge(self, other: "Tally") -> None:
        """Take over what another one counted."""
        self.rows += other.rows
        self.nan += other.nan
        self.none += other.none
        if other.large is not None:
            if self.large is None:
                self.large = other.large
            else:
                self.large.merge(other.large)
        if other.kind == "object":
            if self.kind in {"number", "string"}:
                self._to_objects()
            self.kind = "object"
            for key, count in other._objects.items():
                self._objects[key] = self._objects.get(key, 0) + count
            return
        for values, counts in other._parts:
            self._push(other.kind, values, counts)

    def close(self) -> "Tally":
        """No more values come: what is left of a large column joins the rest."""
        self._consolidate()
        if self.large is not None and self._held:
            self.large.add(*self._parts[0])
            self._parts, self._held = [(self._parts[0][0][:0], self._parts[0][1][:0])], 0
        return self

    def values(self) -> tuple[Any, np.ndarray]:
        """The distinct values, sorted (objects: as they came), and the count of each.

        Raises:
            UnsupportedError: there are too many of them.
        """
        if self.large is not None:
            raise UnsupportedError(
                f"a column has more than {self.beyond.limit:,} distinct numbers, and this step needs each of them",
                hint="bin or round it before this step, raise the option distinct_limit, or declare a sample for the step",
            )
        self._consolidate()
        if self.kind == "object":
            made = np.empty(len(self._objects), dtype=object)
            made[:] = [value for _, value in self._objects]
            return made, np.array(list(self._objects.values()), dtype=np.int64)
        if not self._parts:
            return np.empty(0), np.empty(0, dtype=np.int64)
        values, counts = self._parts[0]
        return (values.to_numpy(zero_copy_only=False), counts) if isinstance(values, pa.Array) else (values, counts)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The distinct numbers and their counts in ascending blocks, however many there are."""
        if self.large is not None:
            yield from self.large.blocks()
        else:
            yield self.values()


def _list(values: Any) -> list[Any]:
    return list(values.to_pylist() if isinstance(values, pa.Array) else values.tolist())
