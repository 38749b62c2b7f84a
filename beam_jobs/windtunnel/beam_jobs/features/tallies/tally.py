"""The distinct values of one column with their counts: what every statistic that is exact can be computed from.

Numbers are kept as sorted arrays, strings as Arrow arrays, other objects in a dictionary. Nulls are counted apart, as NaN or as None, the
way pandas shows them. A column of numbers with more distinct values than the limit is `large`: its moments stay exact, and its values are
dropped, spilled to disk as sorted runs, or sketched, as was chosen.
"""

import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.beam_jobs.features.tallies.beyond import Beyond, Large
from windtunnel.lifecycle.contract.errors import UnsupportedError
from windtunnel.lifecycle.statistics.counting import Ascending, Counted, Counter, Hashed

__all__ = ["Tally"]

_STRINGS = 64
"""Times the limit: the bytes of distinct strings before a column is refused; what is fitted on them would hold them all."""


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
        self._counter: Counter[Any] = Counter(Ascending())
        self._objects: dict[Any, int] = {}
        self._empty: object = np.empty(0)  # of the column's type
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
            # Arrow counts no values of float16.
            found = pc.value_counts(column.cast(pa.float32()) if pa.types.is_float16(column.type) else column)
            values, counts = found.field("values"), found.field("counts").to_numpy(zero_copy_only=False)
            nulls = column.null_count
        # A dictionary may list values that no row of this batch has, and null among them.
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
                strings = pa.array(values[~null].to_numpy(dtype=object), pa.large_string())
                joined = Hashed().join([Counted(strings, counts[~null])])
                self._push("string", joined.keys, joined.counts)
                return
            values = values.to_numpy()
        values = np.asarray(values)
        if values.dtype.kind in "iufbmM":
            joined = Ascending().join([Counted(values, counts)])
            self._numbers(joined.keys, joined.counts)
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
            elif value is pd.NaT or value != value:  # NaN is the only value that differs from itself
                self.nan += count
            else:
                # True == 1 and both hash alike: without the type they would be one value.
                key = (type(value).__name__ if isinstance(value, bool) else "", value)
                self._objects[key] = self._objects.get(key, 0) + count

    def _push(self, kind: str, values: Any, counts: np.ndarray) -> None:
        # A column of mixed kinds is counted as objects from here on, and so is what it counted before.
        if self.kind == "object" or (self.kind and self.kind != kind):
            self._to_objects()
            self._any(_list(values), counts)
            return
        if not self.kind:
            self.kind = kind
            self._counter = self._begin(kind, values)
        self._empty = values[:0]
        if self._counter.add(Counted(values, counts)):
            self._overflow()

    def _begin(self, kind: str, values: Any) -> Counter[Any]:
        """A counter for numbers or for strings; times and booleans stay in memory however many there are."""
        most = self.beyond.most
        if kind == "number":
            if values.dtype.kind in "iuf":
                return Counter(Ascending(), self.beyond.limit, most)
            return Counter(Ascending(), sys.maxsize)
        return Counter(Hashed(), _STRINGS * self.beyond.limit, None if most is None else _STRINGS * most)

    def _to_objects(self) -> None:
        if self.large is not None:
            raise UnsupportedError("a column of very many distinct numbers has other values, too", hint="give it one type")
        held = self._counter.drain()
        self.kind = "object"
        if held is not None:
            self._any(_list(held.keys), held.counts)

    def _overflow(self) -> None:
        """Numbers that are too many to hold go beyond; strings are refused."""
        if self.kind == "string":
            limit = self._counter.limit
            most = "" if self._counter.most is None else f" or {self._counter.most:,} in number"
            raise UnsupportedError(
                f"the distinct strings of a column take more than {limit:,} bytes{most}",
                hint="hash it (FeatureHasher, HashingVectorizer), leave it out, or raise the option distinct_bytes",
            )
        held = self._counter.drain()
        if held is not None:
            self.large = self.large or Large(self.beyond)
            self.large.add(*self._sorted(held))

    @staticmethod
    def _sorted(held: Counted[Any]) -> tuple[Any, np.ndarray]:
        """What is held in the order of the values, each once."""
        if isinstance(held.keys, pa.Array):
            order = pc.array_sort_indices(held.keys)
            return held.keys.take(order), held.counts[order.to_numpy()]
        if len(held.keys) > 1 and not (held.keys[1:] > held.keys[:-1]).all():
            held = Ascending().join([held])
        return held.keys, held.counts

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
        if other.kind:
            held = other._counter.held()
            keys, counts = (other._empty, np.empty(0, np.int64)) if held is None else (held.keys, held.counts)
            self._push(other.kind, keys, counts)

    def close(self) -> "Tally":
        """No more values come: what is left of a large column joins the rest."""
        if self.kind != "object" and (self._counter.settle() or self.large is not None):
            self._overflow()
        return self

    def values(self) -> tuple[Any, np.ndarray]:
        """The distinct values, sorted (objects: as they came), and the count of each.

        Raises:
            UnsupportedError: there are too many of them.
        """
        if self.large is not None:
            raise UnsupportedError(
                f"a column has more than {self.beyond.described}, and this step needs each of them",
                hint="bin or round it before this step, raise the option distinct_bytes, or declare a sample for the step",
            )
        if self.kind == "object":
            made = np.empty(len(self._objects), dtype=object)
            made[:] = [value for _, value in self._objects]
            return made, np.array(list(self._objects.values()), dtype=np.int64)
        held = self._counter.held()
        if held is None:
            values, counts = (self._empty, np.empty(0, dtype=np.int64)) if self.kind else (np.empty(0), np.empty(0, dtype=np.int64))
        else:
            values, counts = self._sorted(held)
            self._counter.replace(Counted(values, counts))
        return (values.to_numpy(zero_copy_only=False), counts) if isinstance(values, pa.Array) else (values, counts)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The distinct numbers and their counts in ascending blocks, however many there are."""
        if self.large is not None:
            yield from self.large.blocks()
        else:
            yield self.values()


def _list(values: Any) -> list[object]:
    return list(values.to_pylist() if isinstance(values, pa.Array) else values.tolist())
