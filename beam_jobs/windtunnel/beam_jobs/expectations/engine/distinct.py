"""Distinct rows with their number: what most expectations need of any amount of data.

`Counter` counts the distinct values (or tuples of values) of chunks in Arrow and hands them on whenever there are too many to hold.
`Store` keeps such weighted values as pandas tells them apart; beyond its limit it spills them to disk, split by a hash, so that each
part can be looked at alone.
"""

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from windtunnel.beam_jobs.expectations.engine.source import Chunk, Source

__all__ = ["LIMIT", "Counter", "Store", "Weighted"]

LIMIT = 1 << 19
"""Distinct values a column (or tuples) that are held in memory before they go on."""

_CHUNK_BITS = 20  # a value's place of first appearance is chunk number and place in the chunk, in one whole number
_PARTS = 64
_COUNT, _FIRST = "__count__", "__first__"


@dataclasses.dataclass
class Weighted:
    """Distinct rows: `counts` says how often each occurs, `first` is larger the later it was first seen."""

    frame: pd.DataFrame
    counts: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]

    @property
    def first_chunks(self) -> npt.NDArray[np.int64]:
        """The number of the chunk in which each was first seen."""
        return self.first >> _CHUNK_BITS


class Counter:
    """Counts the distinct rows of some columns, chunk by chunk.

    Args:
        source: where the chunks come from.
        columns: which columns; each must be one of ``source.keyed``.
        limit: distinct rows to hold.
    """

    def __init__(self, source: Source, columns: Sequence[str], limit: int = LIMIT) -> None:
        self.columns = list(columns)
        self._source = source
        self._limit = limit
        self._names = [f"c{i}" for i in range(len(self.columns))]
        self._held: list[pa.Table] = []
        self._held_rows = 0
        self._merged_rows = 0

    def add(self, chunk: Chunk) -> bool:
        """Count a chunk's rows; true if there are now too many distinct ones: `take` them."""
        arrays = [chunk.batch.column(name) for name in self.columns]
        table = self._of_one(arrays[0]) if len(arrays) == 1 else self._of_many(arrays)
        first = pa.array((np.int64(chunk.number) << _CHUNK_BITS) + np.arange(table.num_rows, dtype=np.int64))
        return self._hold(table.append_column(_FIRST, first))

    def merge(self, table: pa.Table) -> bool:
        """Add what another counter's `table` held."""
        return self._hold(table)

    def table(self) -> pa.Table | None:
        """What is held, merged, as an Arrow table; None if nothing came."""
        self._merge()
        return self._held[0] if self._held else None

    def take(self) -> Weighted | None:
        """What is held, in the order of first appearance; the counter is empty afterwards."""
        table = self.drain()
        if table is None:
            return None
        counts, first = (table.column(name).to_numpy() for name in (_COUNT, _FIRST))
        frame = self._source.frame(table.select(self._names).rename_columns(self.columns))
        return Weighted(frame, counts, first)

    def drain(self) -> pa.Table | None:
        """As `take`, as an Arrow table for another counter to `merge`."""
        table = self.table()
        self._held, self._held_rows, self._merged_rows = [], 0, 0
        return None if table is None else table.sort_by(_FIRST)

    def _hold(self, table: pa.Table) -> bool:
        self._held.append(table)
        self._held_rows += table.num_rows
        if self._held_rows > max(2 * self._merged_rows, 1 << 16, self._limit):
            self._merge()
        return self._merged_rows > self._limit

    def _merge(self) -> None:
        if len(self._held) > 1:
            everything = pa.concat_tables(self._held).combine_chunks()
            group, leaders = _groups([everything.column(name) for name in self._names])
            counts = np.zeros(len(leaders), np.int64)
            np.add.at(counts, group, everything.column(_COUNT).to_numpy())
            first = np.full(len(leaders), np.iinfo(np.int64).max)
            np.minimum.at(first, group, everything.column(_FIRST).to_numpy())
            kept = everything.select(self._names).take(pa.array(leaders))
            self._held = [kept.append_column(_COUNT, pa.array(counts)).append_column(_FIRST, pa.array(first))]
        self._held_rows = self._merged_rows = sum(table.num_rows for table in self._held)

    def _of_one(self, array: pa.Array) -> pa.Table:
        counted = pc.value_counts(array)
        values = counted.field(0)
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        return pa.table([values, counted.field(1)], names=[self._names[0], _COUNT])

    def _of_many(self, arrays: list[pa.Array]) -> pa.Table:
        group, leaders = _groups(arrays)
        places = pa.array(leaders)
        columns = [array.take(places) for array in arrays]
        plain = [column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in columns]
        return pa.table([*plain, pa.array(np.bincount(group, minlength=len(leaders)))], names=[*self._names, _COUNT])


def _groups(columns: Sequence[pa.Array | pa.ChunkedArray]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """For each row the number of its group, and for each group its first row; groups are numbered by first appearance.

    Arrow's own ``group_by`` takes a second for 100,000 pairs of floats that are whole numbers: its hash does not spread them.
    """
    codes: npt.NDArray[np.int64] | None = None
    size = 1
    for column in columns:
        encoded = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if isinstance(encoded, pa.ChunkedArray):
            encoded = pa.concat_arrays(encoded.chunks)
        if not pa.types.is_dictionary(encoded.type):
            encoded = encoded.dictionary_encode(null_encoding="encode")
        here = pc.fill_null(encoded.indices, len(encoded.dictionary)).to_numpy(zero_copy_only=False).astype(np.int64)
        width = len(encoded.dictionary) + 1
        if codes is None:
            codes, size = here, width
            continue
        if size > (1 << 62) // width:
            codes, seen = pd.factorize(codes)
            size = len(seen) + 1
        codes, size = codes * width + here, size * width
    if codes is None:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    group, distinct = pd.factorize(codes)
    leaders = np.empty(len(distinct), np.intp)
    leaders[group[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return group, leaders


class Store:
    """Distinct rows as pandas tells them apart, in memory or, beyond the limit, in parts on disk.

    pandas holds 0.0 and -0.0, or NaN and null, for the same where Arrow does not: rows are grouped once more here.

    Args:
        limit: distinct rows to hold in memory.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._held: list[Weighted] = []
        self._rows = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._writers: list[pa.RecordBatchStreamWriter] = []
        self._arrow: pa.Schema | None = None
        self._dtypes: dict[str, Any] = {}

    def add(self, rows: Weighted) -> None:
        """More distinct rows."""
        if not len(rows.frame):
            return
        self._held.append(rows)
        self._rows += len(rows.frame)
        if self._rows > self._limit:
            merged = _group(self._held)
            self._held, self._rows = [merged], len(merged.frame)
            if self._rows > self._limit:
                self._spill(merged)
                self._held, self._rows = [], 0

    @property
    def spilled(self) -> bool:
        """Whether there were too many to hold."""
        return self._folder is not None

    def parts(self) -> Iterator[Weighted]:
        """The rows, each in one part only, each part in the order of first appearance."""
        if self._folder is None:
            if self._held:
                self._held = [_group(self._held)]
                yield self._held[0]
            return
        if self._held:
            self._spill(_group(self._held))
            self._held, self._rows = [], 0
        for writer in self._writers:
            writer.close()
        self._writers = []
        for number in range(_PARTS):
            path = Path(self._folder.name, str(number))
            part = self._read(path)
            if len(part.frame):
                yield part

    def everything(self) -> Weighted | None:
        """All rows at once, in the order of first appearance: grows with the number of distinct ones."""
        found = list(self.parts())
        if not found:
            return None
        if len(found) == 1:
            return found[0]
        frame = pd.concat([part.frame for part in found], ignore_index=True)
        counts = np.concatenate([part.counts for part in found])
        first = np.concatenate([part.first for part in found])
        order = np.argsort(first, kind="stable")
        return Weighted(frame.iloc[order].reset_index(drop=True), counts[order], first[order])

    def close(self) -> None:
        """Remove what was spilled."""
        if self._folder is not None:
            for writer in self._writers:
                with contextlib.suppress(OSError):
                    writer.close()
            self._folder.cleanup()
            self._folder = None

    def _spill(self, rows: Weighted) -> None:
        frame = rows.frame.copy(deep=False)
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="windtunnel-")
            self._dtypes = {str(i): dtype for i, dtype in enumerate(frame.dtypes)}
        frame.columns = pd.Index([str(i) for i in range(frame.shape[1])])
        part = _hash(frame) % np.uint64(_PARTS)
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        table = table.append_column(_COUNT, pa.array(rows.counts)).append_column(_FIRST, pa.array(rows.first))
        if self._arrow is None:
            self._arrow = pa.schema([(field.name, _roomy(field.type)) for field in table.schema])
        table = table.cast(self._arrow)
        if not self._writers:
            mode = [Path(self._folder.name, str(number)) for number in range(_PARTS)]
            self._writers = [pa.ipc.new_stream(pa.OSFile(str(path), "wb"), self._arrow) for path in mode]
        self._names = list(rows.frame.columns)
        order = np.argsort(part, kind="stable")
        edges = np.searchsorted(part[order], np.arange(_PARTS + 1, dtype=np.uint64))
        table = table.take(pa.array(order))
        for number, writer in enumerate(self._writers):
            low, high = int(edges[number]), int(edges[number + 1])
            if high > low:
                writer.write_table(table.slice(low, high - low))

    def _read(self, path: Path) -> Weighted:
        with pa.OSFile(str(path), "rb") as file:
            table = pa.ipc.open_stream(file).read_all()
        frame = table.drop_columns([_COUNT, _FIRST]).to_pandas()
        for name, dtype in self._dtypes.items():
            if frame[name].dtype != dtype:
                frame[name] = frame[name].astype(dtype)
        frame.columns = pd.Index(self._names)
        return _group([Weighted(frame, table.column(_COUNT).to_numpy(), table.column(_FIRST).to_numpy())])


def _group(rows: list[Weighted]) -> Weighted:
    """Rows that pandas holds for the same, added together, in the order of first appearance."""
    if len(rows) == 1:
        frame, counts, first = rows[0].frame, rows[0].counts, rows[0].first
    else:
        frame = pd.concat([part.frame for part in rows], ignore_index=True)
        counts = np.concatenate([part.counts for part in rows])
        first = np.concatenate([part.first for part in rows])
    if not frame.duplicated().any():
        order = np.argsort(first, kind="stable")
        return Weighted(frame.iloc[order].reset_index(drop=True), counts[order], first[order])
    order = np.argsort(first, kind="stable")
    frame, counts, first = frame.iloc[order].reset_index(drop=True), counts[order], first[order]
    group = codes_of(frame)
    total = np.zeros(int(group.max()) + 1, np.int64)
    np.add.at(total, group, counts)
    leaders = ~frame.duplicated().to_numpy()
    return Weighted(frame[leaders].reset_index(drop=True), total[group[leaders]], first[leaders])


def codes_of(frame: pd.DataFrame) -> npt.NDArray[np.int64]:
    """A whole number for each row, the same for rows that pandas holds for the same."""
    if frame.shape[1] == 1:
        codes, _ = pd.factorize(frame.iloc[:, 0], use_na_sentinel=False)
        return codes.astype(np.int64)
    columns = pd.DataFrame({i: pd.factorize(frame.iloc[:, i], use_na_sentinel=False)[0] for i in range(frame.shape[1])})
    return columns.groupby(list(columns.columns), sort=False).ngroup().to_numpy().astype(np.int64)


def _hash(frame: pd.DataFrame) -> npt.NDArray[np.uint64]:
    plain = {}
    for name in frame.columns:
        column = frame[name]
        if isinstance(column.dtype, np.dtype) and column.dtype.kind == "f":
            column = column + 0.0  # -0.0 is 0.0
        elif column.dtype == object:
            column = column.map(str)
        plain[name] = column
    return pd.util.hash_pandas_object(pd.DataFrame(plain), index=False).to_numpy().astype(np.uint64)


def _roomy(kind: pa.DataType) -> pa.DataType:
    """A type that later values of the column fit as well."""
    if pa.types.is_decimal(kind):
        return pa.decimal128(38, kind.scale)
    return kind
