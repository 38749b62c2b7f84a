"""What a profile holds beside the columns: the same by slice, and the labels by day and split. Parts merge into the whole."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from windtunnel.lifecycle.errors import SchemaMismatchError
from windtunnel.lifecycle.problem import Problem
from windtunnel.lifecycle.statistics.counting import flat
from windtunnel.lifecycle.statistics.table import TableStatistics

__all__ = ["Profiled", "slice_name"]

_SLICE_LIMIT = 4096
_SLICES = 200


def slice_name(columns: Sequence[str], values: Sequence[Any]) -> str:
    """How a slice is called.

    Example:
        >>> slice_name(["origin", "carrier"], ["JFK", None])
        'origin=JFK, carrier=null'
    """
    return ", ".join(f"{column}={'null' if value is None else value}" for column, value in zip(columns, values, strict=True))


class Profiled:
    """Statistics of a table, of its slices, and its labels.

    Args:
        slices: column crossings to look into; at most 200 slices each are kept apart, the first that are met.
        columns: the columns that slices are profiled by; None for all.
        problem: says what a label and a split are; None for a table without.
    """

    def __init__(self, slices: Sequence[Sequence[str]] = (), columns: Sequence[str] | None = None, problem: Problem | None = None) -> None:
        self.table = TableStatistics()
        self.slices: dict[str, TableStatistics] = {}
        self.labels: Counter[tuple[str, str, str]] = Counter()  # day, split, label
        self._crossings = [list(crossing) for crossing in slices]
        self._columns = None if columns is None else list(columns)
        self._problem = problem

    def add_batch(self, batch: pa.RecordBatch, origin: str = "", offset: int = 0) -> None:
        """Rows, and where they come from (see `TableStatistics.add_batch`)."""
        self.table.add_batch(batch, origin, offset)
        for crossing in self._crossings:
            self._add_slices(batch, crossing)
        if self._problem is not None:
            self._add_labels(self._problem, batch)

    def _add_slices(self, batch: pa.RecordBatch, crossing: list[str]) -> None:
        codes = np.zeros(batch.num_rows, dtype=np.int64)
        dictionaries = []
        for name in crossing:
            encoded = flat(batch.column(name))
            encoded = encoded if pa.types.is_dictionary(encoded.type) else encoded.dictionary_encode()
            values = [*encoded.dictionary.to_pylist(), None]
            index = pc.fill_null(encoded.indices.cast(pa.int64()), len(values) - 1).to_numpy(zero_copy_only=False)
            codes = codes * len(values) + index
            dictionaries.append(values)
        names = self._columns if self._columns is not None else [name for name in batch.schema.names if name not in crossing]
        part = batch.select([name for name in names if name in batch.schema.names])
        for code in np.unique(codes):
            rest, values = int(code), []
            for dictionary in reversed(dictionaries):
                rest, place = divmod(rest, len(dictionary))
                values.append(dictionary[place])
            name = slice_name(crossing, values[::-1])
            if name not in self.slices:
                if len(self.slices) >= _SLICES * max(len(self._crossings), 1):
                    continue
                self.slices[name] = TableStatistics(_SLICE_LIMIT, sample=0)
            self.slices[name].add_batch(part.filter(pa.array(codes == code)))

    def _add_labels(self, problem: Problem, batch: pa.RecordBatch) -> None:
        from windtunnel.lifecycle.rows import DAY, label_of, split_of

        if problem.task == "regression":
            return
        labels = label_of(problem, batch).cast(pa.string())
        test = None
        if problem.splits.by == "key" and (problem.splits.key or problem.keys):
            test = split_of(problem, batch, "9999-12-31")
        days = flat(batch.column(DAY)).cast(pa.string()) if DAY in batch.schema.names else pa.array([""] * batch.num_rows)
        split = pa.array(np.where(test, "test", "train")) if test is not None else pa.array([""] * batch.num_rows, pa.string())
        joined = pc.binary_join_element_wise(days, split, pc.fill_null(labels, "\0"), "\1")
        for entry in pc.value_counts(joined).to_pylist():
            day, part, label = entry["values"].split("\1")
            self.labels[day, part, label] += entry["counts"]

    def merge(self, other: Self) -> None:
        """Add another part."""
        self.table.merge(other.table)
        for name, statistics in other.slices.items():
            if name not in self.slices:
                self.slices[name] = TableStatistics(_SLICE_LIMIT, sample=0)
            self.slices[name].merge(statistics)
        self.labels.update(other.labels)

    def hide_labels(self, first: str) -> None:
        """Count rows from this day on (ISO) as rows without a label: it was not known at a run's cut-off."""
        hidden: Counter[tuple[str, str, str]] = Counter()
        for (day, split, label), count in self.labels.items():
            hidden[day, split, "\0" if day >= first else label] += count
        self.labels = hidden

    def label_counts(self, first_test_day: str = "") -> dict[str, dict[str, int]]:
        """Rows by split and label (rows without a label are left out).

        Args:
            first_test_day: for a split by time: the first day, ISO, of the test split.
        """
        found: dict[str, dict[str, int]] = {}
        for (day, split, label), count in sorted(self.labels.items()):
            if label == "\0":
                continue
            part = split or (("test" if day >= first_test_day else "train") if first_test_day else "all")
            counts = found.setdefault(part, {})
            counts[label] = counts.get(label, 0) + count
        return found

    def unlabelled(self) -> int:
        """Rows without a label."""
        return sum(count for (_, _, label), count in self.labels.items() if label == "\0")

    def to_bytes(self) -> bytes:
        """Everything, to be merged later or elsewhere."""
        plain = {"labels": [[*key, count] for key, count in self.labels.items()], "slices": list(self.slices)}
        blobs = [json.dumps(plain).encode(), self.table.to_bytes(), *(statistics.to_bytes() for statistics in self.slices.values())]
        batch = pa.record_batch({"blob": pa.array(blobs, pa.large_binary())})
        sink = pa.BufferOutputStream()
        with pyarrow.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return bytes(sink.getvalue())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` wrote.

        Raises:
            SchemaMismatchError: it is something else.
        """
        try:
            with pyarrow.ipc.open_file(pa.py_buffer(data)) as file:
                head, table, *slices = file.read_all()["blob"].to_pylist()
        except (pa.ArrowInvalid, KeyError, ValueError) as error:
            raise SchemaMismatchError(f"these are no statistics of ours: {error}") from error
        plain = json.loads(head)
        found = cls()
        found.table = TableStatistics.from_bytes(table)
        found.slices = {name: TableStatistics.from_bytes(blob) for name, blob in zip(plain["slices"], slices, strict=True)}
        found.labels = Counter({(day, split, label): count for day, split, label, count in plain["labels"]})
        return found
