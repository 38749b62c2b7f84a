"""What a profile holds beside the columns: the same by slice and by split, and the labels by day and split. Parts merge into the whole."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from windtunnel.lifecycle.contract.errors import SchemaMismatchError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.lifecycle.statistics.column import ColumnStatistics
from windtunnel.lifecycle.statistics.counting.budget import COLUMN_BYTES
from windtunnel.lifecycle.statistics.counting.hashing import hash_rows
from windtunnel.lifecycle.statistics.counting.values import flat
from windtunnel.lifecycle.statistics.table import TableStatistics

__all__ = ["LabelCounts", "Profiled", "slice_name"]

_SLICE_BYTES = 1 << 16
_SLICES = 200
# No label can be this: readers refuse rows with a NUL.
_UNKNOWN = "\0"
_ROW = "row"

LabelCounts = dict[str, dict[str, int]]
"""Rows by split and label."""


def slice_name(columns: Sequence[str], values: Sequence[object]) -> str:
    """How a slice is called.

    Example:
        >>> slice_name(["origin", "carrier"], ["JFK", None])
        'origin=JFK, carrier=null'
    """
    return ", ".join(f"{column}={'null' if value is None else value}" for column, value in zip(columns, values, strict=True))


class Profiled:
    """Statistics of a table, of its slices and splits, and its labels.

    Of each crossing at most 200 slices are kept, those whose names have the smallest hashes: so parts agree with the whole on which.

    Args:
        slices: column crossings to look into.
        columns: the columns that slices and splits are profiled by; None for all.
        problem: says what a label and a split are, and which columns are sensitive; None for a table without.
        repeats: whether rows are compared, by the problem's keys or else as a whole, for `repeats`.
    """

    def __init__(
        self,
        slices: Sequence[Sequence[str]] = (),
        columns: Sequence[str] | None = None,
        problem: Problem | None = None,
        *,
        repeats: bool = False,
    ) -> None:
        self.table = TableStatistics()
        self.slices: dict[str, TableStatistics] = {}
        self.splits: dict[str, TableStatistics] = {}
        self.labels: Counter[tuple[str, str, str]] = Counter()  # day, split, label
        self.groups: dict[str, Counter[tuple[str, str, str]]] = {}  # the same for each value of a sensitive column
        self.rows = TableStatistics(COLUMN_BYTES, sample=0) if repeats else None  # of one column: the hashes of rows
        self._crossing: dict[str, str] = {}  # of each slice and group
        self._crossings = [list(crossing) for crossing in slices]
        self._columns = None if columns is None else list(columns)
        self._problem = problem

    def add_batch(self, batch: pa.RecordBatch, origin: str = "", offset: int = 0) -> None:
        """Rows, and where they come from (see `TableStatistics.add_batch`)."""
        self.table.add_batch(batch, origin, offset)
        self._add_rows(batch)
        for crossing in self._crossings:
            names = self._columns if self._columns is not None else [name for name in batch.schema.names if name not in crossing]
            part = batch.select([name for name in names if name in batch.schema.names])
            for name, rows in _sliced(batch, crossing):
                if self._has_place(self.slices, name, ", ".join(crossing)):
                    self.slices.setdefault(name, TableStatistics(_SLICE_BYTES, sample=0)).add_batch(part.filter(rows))
        if self._problem is not None:
            self._add_splits(self._problem, batch)

    def _add_rows(self, batch: pa.RecordBatch) -> None:
        if self.rows is not None:
            keys = [name for name in (self._problem.keys if self._problem else []) if name in batch.schema.names]
            self.rows.add_batch(pa.record_batch({_ROW: hash_rows(batch.select(keys) if keys else batch)}))

    def _has_place(self, kept: JsonObject, name: str, crossing: str) -> bool:
        """Whether a slice belongs to those that are kept; the one that it displaces is forgotten."""
        if name in kept:
            return True
        rivals = [other for other in kept if self._crossing[other] == crossing]
        if len(rivals) >= _SLICES:
            last = max(rivals, key=_priority)
            if _priority(name) > _priority(last):
                return False
            del kept[last]
        self._crossing[name] = crossing
        return True

    def _add_splits(self, problem: Problem, batch: pa.RecordBatch) -> None:
        if problem.label.column not in batch.schema.names:
            return
        test = self._split_by_key(problem, batch)
        if problem.task != "regression":
            self._count_labels(problem, batch, test)

    def _split_by_key(self, problem: Problem, batch: pa.RecordBatch) -> np.ndarray | None:
        """Which rows are for testing, with the statistics of both splits; None where days decide."""
        from windtunnel.lifecycle.data.rows import split_of

        if not problem.split_columns:
            return None
        # Split by key, rows do not depend on the window's end: any day will do.
        test = split_of(problem, batch, "9999-12-31")
        names = self._columns if self._columns is not None else batch.schema.names
        part = batch.select([name for name in names if name in batch.schema.names])
        for split, mask in (("train", ~test), ("test", test)):
            if mask.any():
                self.splits.setdefault(split, TableStatistics(_SLICE_BYTES, sample=0)).add_batch(part.filter(pa.array(mask)))
        return test

    def _count_labels(self, problem: Problem, batch: pa.RecordBatch, test: np.ndarray | None) -> None:
        """Labels by day and split, of all rows and of each value of the sensitive columns."""
        from windtunnel.lifecycle.data.rows import DAY, label_of

        nothing = pa.array([""] * batch.num_rows, pa.string())
        labels = label_of(problem, batch).cast(pa.string())
        days = flat(batch.column(DAY)).cast(pa.string()) if DAY in batch.schema.names else nothing
        split = pa.array(np.where(test, "test", "train")) if test is not None else nothing
        # A null among the parts would make the whole text null, and its rows would not be counted under any label.
        joined = pc.binary_join_element_wise(days, split, pc.fill_null(labels, _UNKNOWN), "\1")
        self.labels.update(_counted(joined))
        for column in problem.sensitive:
            if column not in batch.schema.names:
                continue
            for name, rows in _sliced(batch, [column]):
                if self._has_place(self.groups, name, column):
                    self.groups.setdefault(name, Counter()).update(_counted(joined.filter(rows)))

    def merge(self, other: Self) -> None:
        """Add another part."""
        # First: it asks whether any row was here before the other part came.
        self._merge_rows(other)
        self.table.merge(other.table)
        for name, statistics in other.slices.items():
            if self._has_place(self.slices, name, other.crossing_of(name)):
                self.slices.setdefault(name, TableStatistics(_SLICE_BYTES, sample=0)).merge(statistics)
        for name, statistics in other.splits.items():
            self.splits.setdefault(name, TableStatistics(_SLICE_BYTES, sample=0)).merge(statistics)
        self.labels.update(other.labels)
        for name, counts in other.groups.items():
            if self._has_place(self.groups, name, other.crossing_of(name)):
                self.groups.setdefault(name, Counter()).update(counts)

    def _merge_rows(self, other: Self) -> None:
        """Where one part did not compare its rows, nobody knows of the whole."""
        if other.rows is None or (self.rows is None and self.table.rows):
            self.rows = None if other.table.rows or other.rows is not None else self.rows
            return
        self.rows = self.rows or TableStatistics(COLUMN_BYTES, sample=0)
        self.rows.merge(other.rows)

    @property
    def repeats(self) -> ColumnStatistics | None:
        """The hashes of rows, or of their keys, counted; None where rows were not compared."""
        return None if self.rows is None else self.rows.columns.get(_ROW)

    def crossing_of(self, name: str) -> str:
        """The columns whose crossing a slice is of."""
        return self._crossing[name]

    def hide_labels(self, first: str) -> None:
        """Count rows from this day on (ISO) as rows without a label: it was not known at a run's cut-off."""
        self.labels = _hidden(self.labels, first)
        self.groups = {name: _hidden(counts, first) for name, counts in self.groups.items()}

    def label_counts(self, first_test_day: str = "") -> LabelCounts:
        """Rows by split and label (rows without a label are left out).

        Args:
            first_test_day: for a split by time: the first day, ISO, of the test split.
        """
        return _by_split(self.labels, first_test_day)

    def group_counts(self, first_test_day: str = "") -> dict[str, LabelCounts]:
        """The same for each value of a sensitive column, such as ``sex=F``."""
        return {name: _by_split(counts, first_test_day) for name, counts in sorted(self.groups.items())}

    def unlabelled(self) -> int:
        """Rows without a label."""
        return sum(count for (_, _, label), count in self.labels.items() if label == _UNKNOWN)

    def to_bytes(self) -> bytes:
        """Everything, to be merged later or elsewhere."""
        plain = {
            "labels": [[*key, count] for key, count in self.labels.items()],
            "slices": list(self.slices),
            "splits": list(self.splits),
            "groups": {name: [[*key, count] for key, count in counts.items()] for name, counts in self.groups.items()},
            "crossing": {name: self._crossing[name] for name in [*self.slices, *self.groups]},
            "rows": self.rows is not None,
        }
        parts = [self.table, *self.slices.values(), *self.splits.values(), *([self.rows] if self.rows is not None else [])]
        # Offsets of 32 bits end at 2 GB, which the parts of many slices together may pass.
        batch = pa.record_batch({"blob": pa.array([json.dumps(plain).encode(), *(part.to_bytes() for part in parts)], pa.large_binary())})
        sink = pa.BufferOutputStream()
        with pyarrow.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return bytes(sink.getvalue())

    @staticmethod
    def table_of(data: bytes) -> TableStatistics:
        """The statistics of the whole table alone, of what `to_bytes` wrote.

        Raises:
            SchemaMismatchError: it is something else.
        """
        try:
            with pyarrow.ipc.open_file(pa.py_buffer(data)) as file:
                # The place behind the head; the slices, of which there may be hundreds, are not decoded.
                return TableStatistics.from_bytes(file.read_all()["blob"][1].as_py())
        except (pa.ArrowInvalid, KeyError, ValueError, IndexError) as error:
            raise SchemaMismatchError(f"these are no statistics of ours: {error}") from error

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` wrote.

        Raises:
            SchemaMismatchError: it is something else.
        """
        try:
            with pyarrow.ipc.open_file(pa.py_buffer(data)) as file:
                head, table, *parts = file.read_all()["blob"].to_pylist()
        except (pa.ArrowInvalid, KeyError, ValueError) as error:
            raise SchemaMismatchError(f"these are no statistics of ours: {error}") from error
        plain = json.loads(head)
        found = cls()
        found.table = TableStatistics.from_bytes(table)
        if plain.get("rows"):
            found.rows = TableStatistics.from_bytes(parts.pop())
        split = len(plain["slices"])
        found.slices = {name: TableStatistics.from_bytes(blob) for name, blob in zip(plain["slices"], parts[:split], strict=True)}
        found.splits = {name: TableStatistics.from_bytes(blob) for name, blob in zip(plain.get("splits", []), parts[split:], strict=True)}
        found.labels = _counter(plain["labels"])
        found.groups = {name: _counter(counts) for name, counts in plain.get("groups", {}).items()}
        # Earlier versions did not note crossings: their slices are told by the columns in their names.
        found._crossing = {name: ", ".join(part.partition("=")[0] for part in name.split(", ")) for name in found.slices}
        found._crossing |= plain.get("crossing", {})
        return found


def _priority(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


def _sliced(batch: pa.RecordBatch, crossing: Sequence[str]) -> Iterator[tuple[str, pa.Array]]:
    """The slices of a crossing that a batch has, and which rows are in each."""
    codes = np.zeros(batch.num_rows, dtype=np.int64)
    dictionaries = []
    for name in crossing:
        encoded = flat(batch.column(name))
        encoded = encoded if pa.types.is_dictionary(encoded.type) else encoded.dictionary_encode()
        values = [*encoded.dictionary.to_pylist(), None]
        index = pc.fill_null(encoded.indices.cast(pa.int64()), len(values) - 1).to_numpy(zero_copy_only=False)
        codes = codes * len(values) + index
        dictionaries.append(values)
    for code in np.unique(codes):
        rest, values = int(code), []
        for dictionary in reversed(dictionaries):
            rest, place = divmod(rest, len(dictionary))
            values.append(dictionary[place])
        yield slice_name(crossing, values[::-1]), pa.array(codes == code)


def _counted(joined: pa.Array) -> dict[tuple[str, str, str], int]:
    found = {}
    for entry in pc.value_counts(joined).to_pylist():
        day, split, label = entry["values"].split("\1")
        found[day, split, label] = entry["counts"]
    return found


def _counter(entries: Sequence[Sequence[Any]]) -> Counter[tuple[str, str, str]]:
    return Counter({(day, split, label): count for day, split, label, count in entries})


def _hidden(counts: Mapping[tuple[str, str, str], int], first: str) -> Counter[tuple[str, str, str]]:
    hidden: Counter[tuple[str, str, str]] = Counter()
    for (day, split, label), count in counts.items():
        hidden[day, split, _UNKNOWN if day >= first else label] += count
    return hidden


def _by_split(counts: Mapping[tuple[str, str, str], int], first_test_day: str) -> LabelCounts:
    found: LabelCounts = {}
    for (day, split, label), count in sorted(counts.items()):
        if label == _UNKNOWN:
            continue
        part = split or (("test" if day >= first_test_day else "train") if first_test_day else "all")
        entry = found.setdefault(part, {})
        entry[label] = entry.get(label, 0) + count
    return found
