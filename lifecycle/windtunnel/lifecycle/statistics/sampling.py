"""A uniform sample of rows that merges: the rows with the smallest hashes of their names."""

import zlib
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.payload import JsonObject
from windtunnel.lifecycle.statistics.counting.hashing import mix

__all__ = ["RowSample"]

_BYTES = 64 << 20  # of a sample, if each value takes eight bytes
_TEXT = 1024
"""Characters of a text that a sample keeps: what is looked up in it are categories, not documents."""


class RowSample:
    """The `size` rows whose priority is smallest; a row's priority is a hash of where it came from, so parts agree with the whole.

    Args:
        size: rows to keep; 0 keeps none. Of a table of very many columns fewer are kept, in steps that its width alone decides.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._width = 0
        self._priorities = np.empty(0, dtype=np.uint64)
        self._parts: list[pa.Table] = []

    def add(self, batch: pa.RecordBatch | pa.Table, origin: str, offset: int) -> None:
        """Rows `offset` and on of an origin."""
        if not self.size or not batch.num_rows or not batch.num_columns:
            return
        self._narrow(batch.num_columns)
        # The origin in the upper half of the word and the place in the lower: rows of different files meet only in files of over four
        # billion rows.
        salt = np.uint64(zlib.crc32(origin.encode()) << 32)
        found = mix(np.arange(offset, offset + batch.num_rows, dtype=np.uint64) ^ salt)
        full = len(self._priorities) >= self.size
        chosen = np.flatnonzero(found < self._priorities.max()) if full else np.arange(len(found))
        if len(chosen) > self.size:
            chosen = chosen[np.sort(np.argpartition(found[chosen], self.size)[: self.size])]
        if not len(chosen):
            return
        rows = batch.take(pa.array(chosen))
        table = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        self._join(found[chosen], _plain(table))

    def merge(self, other: Self) -> None:
        """Add another's rows."""
        if len(other._priorities):
            self._narrow(other._width)
            # `table` comes in the order of its priorities, so these must too.
            self._join(np.sort(other._priorities), other.table)

    def _narrow(self, width: int) -> None:
        """Keep no more rows than there is room for in a table so wide."""
        self._width = max(width, self._width)
        self.size = min(self.size, _BYTES // (8 * max(self._width, 1)))

    def _join(self, priorities: np.ndarray, rows: pa.Table) -> None:
        joined = np.concatenate([self._priorities, priorities])
        # Only put together once there are too many rows: each batch would copy the whole sample otherwise.
        self._parts.append(rows)
        if len(joined) > self.size:
            table = pa.concat_tables(self._parts, promote_options="default")
            keep = np.sort(np.argpartition(joined, self.size)[: self.size])
            self._parts, joined = [table.take(pa.array(keep))], joined[keep]
        self._priorities = joined

    @property
    def table(self) -> pa.Table:
        """The sampled rows, in the order of their priorities."""
        if not self._parts:
            return pa.table({})
        table = pa.concat_tables(self._parts, promote_options="default")
        return table.take(pa.array(np.argsort(self._priorities, kind="stable")))

    def state(self) -> tuple[JsonObject, pa.RecordBatch | None]:
        """Plain data and the rows, for `restore`."""
        priorities = np.sort(self._priorities)
        table = self.table.combine_chunks()
        batch = table.to_batches()[0] if table.num_rows else None
        return {"size": self.size, "width": self._width, "priorities": [int(value) for value in priorities]}, batch

    @classmethod
    def restore(cls, plain: JsonObject, batch: pa.RecordBatch | None) -> Self:
        """The sample that `state` told."""
        found = cls(plain["size"])
        found._width = plain.get("width", 0)
        if batch is not None:
            found._priorities = np.array(plain["priorities"], dtype=np.uint64)
            found._parts = [pa.Table.from_batches([batch])]
        return found


def _plain(table: pa.Table) -> pa.Table:
    """Without dictionaries, so that parts of different files join, and without the ends of long texts."""
    columns = [column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column for column in table.columns]
    return pa.table([_clipped(column) for column in columns], names=table.schema.names)


def _clipped(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    longest = pc.max(pc.binary_length(column)).as_py()
    return pc.utf8_slice_codeunits(column, 0, _TEXT) if (longest or 0) > _TEXT else column
