"""The statistics of a table: of each column, and a sample of rows for what needs several columns at once."""

import json
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from windtunnel.lifecycle.contract.errors import SchemaMismatchError
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.lifecycle.statistics.column import ColumnStatistics
from windtunnel.lifecycle.statistics.counting.budget import share
from windtunnel.lifecycle.statistics.sampling import RowSample

__all__ = ["TableStatistics"]

_STATE = pa.schema([pa.field("key", pa.string()), pa.field("blob", pa.large_binary())])
_PROTOCOL = 2
_READABLE = {1, 2}  # 1 limited the number of distinct values, not their bytes


class TableStatistics:
    """Statistics of rows that come in batches; parts merge into the whole.

    Args:
        limit: bytes of a column's distinct values up to which its statistics are exact; None for its share of what a table may take.
        columns: only these; None for all.
        sample: rows that are kept as a uniform sample; 0 for none.

    Example:
        >>> whole = TableStatistics()
        >>> whole.add_batch(pa.record_batch({"a": [1, 2, 2]}))
        >>> whole.rows, whole.columns["a"].counts.tolist()
        (3, [1, 2])
    """

    def __init__(self, limit: int | None = None, columns: Sequence[str] | None = None, sample: int = 10_000) -> None:
        self.limit = limit
        self.only = None if columns is None else list(columns)
        self.rows = 0
        self.columns: dict[str, ColumnStatistics] = {}
        self.sample = RowSample(sample)

    def add_batch(self, batch: pa.RecordBatch | pa.Table, origin: str = "", offset: int = 0) -> None:
        """Rows.

        Args:
            batch: the rows.
            origin: where they come from, such as a file's digest: with `offset` it names a row, and so decides which are sampled.
            offset: the place of the first of them in their origin.
        """
        names = [name for name in batch.schema.names if self.only is None or name in self.only]
        for name in names:
            column = batch.column(name)
            if name not in self.columns:
                self._begin(name, column.type, len(names))
            self.columns[name].add(column)
        for name, statistics in self.columns.items():
            if name not in names:
                statistics.rows += batch.num_rows
                statistics.nulls += batch.num_rows
        self.sample.add(batch.select(names), origin, offset)
        # Last: `_begin` takes the rows so far as those in which a new column was absent.
        self.rows += batch.num_rows

    def _begin(self, name: str, kind: pa.DataType, columns: int) -> None:
        self.columns[name] = ColumnStatistics(kind, share(columns) if self.limit is None else self.limit)
        self.columns[name].rows = self.columns[name].nulls = self.rows  # it was absent so far

    def merge(self, other: Self) -> None:
        """Add another part's statistics; a column that one part lacks is null there.

        Raises:
            SchemaMismatchError: a column is of different types.
        """
        for name, statistics in other.columns.items():
            if name not in self.columns:
                self._begin(name, statistics.type, len(other.columns))
            try:
                self.columns[name].merge(statistics)
            except SchemaMismatchError as error:
                raise SchemaMismatchError(f"column {name!r}: {error.message}", column=name) from error
        for name, statistics in self.columns.items():
            if name not in other.columns:
                statistics.rows += other.rows
                statistics.nulls += other.rows
        self.sample.merge(other.sample)
        # Last, as in `add_batch`.
        self.rows += other.rows

    def to_bytes(self) -> bytes:
        """Everything, to be merged later or elsewhere: an Arrow IPC file of named blobs, no code."""
        plain: JsonObject = {"protocol": _PROTOCOL, "rows": self.rows, "bytes": self.limit, "columns": {}}
        blobs: dict[str, bytes] = {}
        for number, (name, statistics) in enumerate(self.columns.items()):
            described, arrays = statistics.state()
            plain["columns"][name] = {"number": number, **described}
            blobs |= _blobs(str(number), arrays)
        plain["sample"], sampled = self.sample.state()
        if sampled is not None:
            blobs["sample"] = _ipc(sampled)
        rows = {"": json.dumps(plain).encode(), **blobs}
        table = pa.table({"key": list(rows), "blob": pa.array(list(rows.values()), pa.large_binary())}, schema=_STATE)
        sink = pa.BufferOutputStream()
        with pyarrow.ipc.new_file(sink, _STATE) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The statistics that `to_bytes` wrote."""
        with pyarrow.ipc.open_file(pa.py_buffer(data)) as file:
            table = file.read_all()
        rows: Mapping[str, bytes] = dict(zip(table["key"].to_pylist(), table["blob"].to_pylist(), strict=True))
        plain = json.loads(rows[""])
        if plain["protocol"] not in _READABLE:
            raise SchemaMismatchError(f"statistics of protocol {plain['protocol']} cannot be read by this version, which knows {_PROTOCOL}")
        found = cls(plain.get("bytes"))
        found.rows = plain["rows"]
        for name, described in plain["columns"].items():
            arrays = _arrays(str(described["number"]), rows)
            found.columns[name] = ColumnStatistics.restore(arrays["values"].type, described, arrays)
        found.sample = RowSample.restore(plain["sample"], _read(rows["sample"]) if "sample" in rows else None)
        return found


def _blobs(place: str, arrays: JsonMapping) -> dict[str, bytes]:
    """A column's arrays as named bytes."""
    counted = pa.record_batch({"value": arrays["values"], "count": pa.array(arrays["counts"], pa.int64())})
    found = {f"{place}.values": _ipc(counted)}
    if "hashes" in arrays:
        # Little-endian wherever they were written: parts from other machines are merged.
        found[f"{place}.hashes"] = arrays["hashes"].astype("<u8").tobytes()
    if "kll" in arrays:
        found[f"{place}.kll"] = arrays["kll"]
    return found | (_blobs(f"{place}.tokens", arrays["tokens"]) if "tokens" in arrays else {})


def _arrays(place: str, rows: Mapping[str, bytes]) -> JsonObject:
    """The arrays that `_blobs` wrote."""
    counted = _read(rows[f"{place}.values"])
    found: JsonObject = {"values": counted.column("value"), "counts": counted.column("count").to_numpy()}
    if f"{place}.hashes" in rows:
        found["hashes"] = np.frombuffer(rows[f"{place}.hashes"], dtype="<u8")
    if f"{place}.kll" in rows:
        found["kll"] = rows[f"{place}.kll"]
    if f"{place}.tokens.values" in rows:
        found["tokens"] = _arrays(f"{place}.tokens", rows)
    return found


def _ipc(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _read(data: bytes) -> pa.RecordBatch:
    with pyarrow.ipc.open_stream(data) as reader:
        return reader.read_next_batch()
