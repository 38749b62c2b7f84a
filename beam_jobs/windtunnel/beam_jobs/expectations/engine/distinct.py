"""Distinct rows with their number: what most expectations need of any amount of data.

`Counter` counts the distinct values (or tuples of values) of chunks in Arrow and hands them on whenever there are too many to hold.
`Store` keeps such weighted values as pandas tells them apart; beyond its limit it spills them to disk, split by a hash, so that each
part can be looked at alone.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.beam_jobs.expectations.engine.source import Chunk, Source
from windtunnel.lifecycle.statistics.counting import COLUMN_BYTES, Counted, InOrder, Parts, flat, groups
from windtunnel.lifecycle.statistics.counting import Counter as Counting

if TYPE_CHECKING:
    from windtunnel.lifecycle.payload import JsonObject

__all__ = ["Counter", "Counters", "Limit", "Store", "Weighted"]

_CHUNK_BITS = 20  # a value's place of first appearance is chunk number and place in the chunk, in one whole number
_COUNT, _FIRST = "__count__", "__first__"


@dataclasses.dataclass(frozen=True)
class Limit:
    """How many distinct values of a column (or tuples) are held in memory before they go on.

    Attributes:
        size: bytes of them, with their counts.
        most: how many at most, whatever they take; None for as many as fit.
    """

    size: int = COLUMN_BYTES
    most: int | None = None


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

    def __init__(self, source: Source, columns: Sequence[str], limit: Limit = Limit()) -> None:
        self.columns = list(columns)
        self._source = source
        self._counting = Counting(InOrder(), limit.size, limit.most)

    def add(self, chunk: Chunk) -> bool:
        """Count a chunk's rows; true if there are now too many distinct ones: `take` them."""
        arrays = [chunk.batch.column(name) for name in self.columns]
        keys, counts = _of_one(arrays[0]) if len(arrays) == 1 else _of_many(arrays)
        # Arrow counts values in the order of their first appearance.
        first = (np.int64(chunk.number) << _CHUNK_BITS) + np.arange(len(counts), dtype=np.int64)
        return self._counting.add(Counted(keys, counts, first))

    def merge(self, table: pa.Table) -> bool:
        """Add what another counter drained."""
        keys = tuple(flat(column) for column in table.columns[:-2])
        return self._counting.add(Counted(keys, table.column(_COUNT).to_numpy(), table.column(_FIRST).to_numpy()))

    def take(self) -> Weighted | None:
        """What is held, in the order of first appearance; the counter is empty afterwards."""
        table = self.drain()
        if table is None:
            return None
        counts, first = (table.column(name).to_numpy() for name in (_COUNT, _FIRST))
        frame = self._source.frame(table.drop_columns([_COUNT, _FIRST]).rename_columns(self.columns))
        return Weighted(frame, counts, first)

    def drain(self) -> pa.Table | None:
        """As `take`, as an Arrow table for another counter to `merge`."""
        held = self._counting.drain()
        if held is None:
            return None
        names = [f"c{i}" for i in range(len(self.columns))]
        table = pa.table([*held.keys, pa.array(held.counts), pa.array(held.first)], names=[*names, _COUNT, _FIRST])
        return table.sort_by(_FIRST)


def _of_one(array: pa.Array) -> tuple[tuple[pa.Array, ...], npt.NDArray[np.int64]]:
    counted = pc.value_counts(array)
    values = counted.field(0)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return (values,), counted.field(1).to_numpy()


def _of_many(arrays: Sequence[pa.Array]) -> tuple[tuple[pa.Array, ...], npt.NDArray[np.int64]]:
    group, leaders = groups(arrays)
    places = pa.array(leaders)
    columns = [array.take(places) for array in arrays]
    plain = [column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in columns]
    return tuple(plain), np.bincount(group, minlength=len(leaders)).astype(np.int64)


class Alike:
    """What pandas holds for the same; a row as it was first seen, in the order of first appearance."""

    def join(self, parts: Sequence[Counted[pd.DataFrame]]) -> Counted[pd.DataFrame]:
        """By pandas' own codes."""
        frames = [part.keys for part in parts]
        frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
        counts = np.concatenate([part.counts for part in parts])
        first = np.concatenate([part.first for part in parts if part.first is not None])
        order = np.argsort(first, kind="stable")
        # By first appearance, so that of rows that are alike `duplicated` leaves the one that came first.
        frame, counts, first = frame.iloc[order].reset_index(drop=True), counts[order], first[order]
        repeated = frame.duplicated().to_numpy()
        if not repeated.any():
            return Counted(frame, counts, first)
        group = codes_of(frame)
        total = np.zeros(int(group.max()) + 1, np.int64)
        np.add.at(total, group, counts)
        return Counted(frame[~repeated].reset_index(drop=True), total[group[~repeated]], first[~repeated])

    def size(self, keys: pd.DataFrame) -> int:
        """As pandas counts it: of objects their references, as their values are shared."""
        return int(keys.memory_usage(index=False).sum())


class Store:
    """Distinct rows as pandas tells them apart, in memory or, beyond the limit, in parts on disk.

    pandas holds 0.0 and -0.0, or NaN and null, for the same where Arrow does not: rows are grouped once more here.

    Args:
        limit: distinct rows to hold in memory.
    """

    def __init__(self, limit: Limit = Limit()) -> None:
        self._counting = Counting(Alike(), limit.size, limit.most)
        self._parts: Parts | None = None
        self._dtypes: JsonObject = {}
        self._names: list[object] = []

    def add(self, rows: Weighted) -> None:
        """More distinct rows."""
        if len(rows.frame) and self._counting.add(Counted(rows.frame, rows.counts, rows.first)):
            self._spill()

    @property
    def spilled(self) -> bool:
        """Whether there were too many to hold."""
        return self._parts is not None

    def parts(self) -> Iterator[Weighted]:
        """The rows, each in one part only, each part in the order of first appearance."""
        if self._parts is None:
            held = self._counting.held()
            if held is not None:
                held = Alike().join([held])
                self._counting.replace(held)
                yield _weighted(held)
            return
        # What was not too much by itself is part of some part on disk nevertheless.
        self._spill()
        for table in self._parts.tables():
            if table.num_rows:
                yield self._read(table)

    def everything(self) -> Weighted | None:
        """All rows at once, in the order of first appearance: grows with the number of distinct ones."""
        parts = list(self.parts())
        if len(parts) < 2:  # nothing to put together
            return parts[0] if parts else None
        frame = pd.concat([part.frame for part in parts], ignore_index=True)
        counts = np.concatenate([part.counts for part in parts])
        first = np.concatenate([part.first for part in parts])
        order = np.argsort(first, kind="stable")
        return Weighted(frame.iloc[order].reset_index(drop=True), counts[order], first[order])

    def close(self) -> None:
        """Remove what was spilled."""
        if self._parts is not None:
            self._parts.close()
            self._parts = None

    def _spill(self) -> None:
        held = self._counting.drain()
        if held is None:
            return
        # Its columns are renamed below, and those of what was handed over must not be.
        frame = held.keys.copy(deep=False)
        places = [str(i) for i in range(frame.shape[1])]
        if not self._dtypes:
            self._dtypes, self._names = dict(zip(places, frame.dtypes, strict=True)), list(frame.columns)
        frame.columns = pd.Index(places)
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        table = table.append_column(_COUNT, pa.array(held.counts)).append_column(_FIRST, pa.array(held.first))
        if self._parts is None:
            self._parts = Parts(pa.schema([(field.name, _roomy(field.type)) for field in table.schema]))
        self._parts.add(table, _hash(frame))

    def _read(self, table: pa.Table) -> Weighted:
        frame = table.drop_columns([_COUNT, _FIRST]).to_pandas()
        for name, dtype in self._dtypes.items():
            if frame[name].dtype != dtype:
                frame[name] = frame[name].astype(dtype)
        frame.columns = pd.Index(self._names)
        return _weighted(Alike().join([Counted(frame, table.column(_COUNT).to_numpy(), table.column(_FIRST).to_numpy())]))


def _weighted(counted: Counted[pd.DataFrame]) -> Weighted:
    if counted.first is None:
        raise ValueError("rows are held with the place where each was first seen")
    return Weighted(counted.keys, counted.counts, counted.first)


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


class Counters:
    """Counts the distinct rows of several sets of columns in one pass.

    Args:
        source: the rows.
        wanted: the sets of columns.
        limit: of what each may hold in memory.
        take: told the columns and a part of their distinct rows, whenever a limit is reached and at the end.
    """

    def __init__(
        self,
        source: Source,
        wanted: Sequence[tuple[str, ...]],
        limit: Limit,
        take: Callable[[tuple[str, ...], Weighted], None],
    ) -> None:
        self._counters = {columns: Counter(source, columns, limit) for columns in wanted}
        self._overflown: set[tuple[str, ...]] = set()
        self._take = take

    def add(self, chunk: Chunk) -> None:
        """Count a chunk."""
        for columns, counter in self._counters.items():
            if counter.add(chunk):
                self._overflown.add(columns)
                self._hand_on(columns, counter)

    def end(self) -> Iterator[tuple[tuple[str, ...], Weighted | None]]:
        """The sets whose distinct rows all had room, with those; None of a set without a row. The rest of the others is handed on."""
        for columns, counter in self._counters.items():
            if columns in self._overflown:
                self._hand_on(columns, counter)
            else:
                yield columns, counter.take()

    def _hand_on(self, columns: tuple[str, ...], counter: Counter) -> None:
        part = counter.take()
        if part is not None:
            self._take(columns, part)
