"""The rows that a transformer is fitted on or applied to: which files, which columns, which rows, in which order."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from windtunnel.beam_jobs.batches import RowGroup, expand, open_parquet, read_row_group
from windtunnel.beam_jobs.features.options import Options
from windtunnel.beam_jobs.features.tallies.streams import Chunk
from windtunnel.lifecycle.contract.errors import SchemaMismatchError, SourceFormatError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import SnapshotRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data import rows
from windtunnel.lifecycle.data.frames import dtypes_of

__all__ = ["AllRows", "Data", "ProblemRows", "Selection", "open_data"]

BIN_ROWS = 2_000_000
"""Rows that one worker takes in order; fixed by the data alone, so that sums come out the same however many workers there are."""


CHUNK_ROWS = 32_768
"""Rows that are worked on at a time: larger chunks cost memory (40 MB of buffers at 131,072 rows of 8 columns) and gain no speed."""

_HEAD_ROWS = 1024
"""Rows that are read at a time to find the first few that count."""


class Selection(Protocol):
    """Which rows of a batch count, and their labels and weights."""

    columns: list[str]
    """The columns that it reads."""

    filters: bool
    """Whether it may leave rows out."""

    def select(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, np.ndarray | None, np.ndarray | None]:
        """The rows that count, with labels and weights."""


class AllRows:
    """Every row; label and weights are columns."""

    filters = False

    def __init__(self, label: str | None = None, weight: str | None = None) -> None:
        self.label, self.weight = label, weight
        self.columns = [name for name in (label, weight) if name is not None]

    def select(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, np.ndarray | None, np.ndarray | None]:
        """The batch itself."""
        y = None if self.label is None else batch.column(self.label).to_pandas().to_numpy()
        if y is not None and y.dtype.kind not in "iufbO":
            y = y.astype(object)
        weight = None if self.weight is None else batch.column(self.weight).to_pandas().to_numpy().astype(np.float64)
        return batch, y, weight


class ProblemRows:
    """The rows of one split of a problem's window: those whose label was known at its end, of that side.

    Args:
        problem: says what the label and the split are.
        end: the day after the window's last, ISO.
        split: ``train`` or ``test``.
    """

    filters = True

    def __init__(self, problem: Problem, end: str, split: str) -> None:
        self.problem, self.end, self.split = problem, end, split
        timed = problem.splits.by == "time" or problem.label.delay_days
        self.columns = [problem.label.column, *problem.split_columns, *([rows.DAY] if timed else [])]

    def select(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, np.ndarray | None, np.ndarray | None]:
        """Those rows, with labels as `rows.label_of` says."""
        label = rows.label_of(self.problem, batch, self.end)
        known = np.asarray(label.is_valid())
        wanted = known & (rows.split_of(self.problem, batch, self.end) == (self.split == "test"))
        mask = pa.array(wanted)
        return batch.filter(mask), label.filter(mask).to_numpy(zero_copy_only=False), None


@dataclasses.dataclass(frozen=True)
class Data:
    """Rows, and how they are read.

    Attributes:
        groups: references to row groups, in order.
        dtypes: the transformer's inputs, in order, with their pandas types.
        strings: string columns, read as dictionaries.
        selection: which rows count.
    """

    groups: list[RowGroup]
    dtypes: dict[str, str]
    strings: list[str]
    selection: Selection

    @property
    def rows(self) -> int:
        """Rows in the files, before selection."""
        return sum(group.rows for group in self.groups)

    def bins(self) -> list[tuple[int, int, list[RowGroup]]]:
        """Consecutive row groups in bins of about `BIN_ROWS`: (number, rows before it, references)."""
        found: list[tuple[int, int, list[RowGroup]]] = []
        held, before, start = [], 0, 0
        for group in self.groups:
            held.append(group)
            before += group.rows
            if before - start >= BIN_ROWS:
                found.append((len(found), start, held))
                held, start = [], before
        if held:
            found.append((len(found), start, held))
        return found

    def counts(self) -> list[int] | None:
        """Rows of each bin, where the files alone tell."""
        return None if self.selection.filters else [sum(group.rows for group in groups) for _, _, groups in self.bins()]

    def chunks(self, groups: Sequence[RowGroup], columns: Sequence[str], start: int = 0, rows: int = 0) -> Iterator[Chunk]:
        """The chunks of some row groups; `start` is the position of the first selected row, `rows` the most in one."""
        names = list(dict.fromkeys([*columns, *self.selection.columns])) or list(self.dtypes)[:1]
        for group in groups:
            strings = [name for name in self.strings if name in names]
            for read in read_row_group(group, names, dictionary=strings, rows=rows or CHUNK_ROWS, threads=False):
                batch, y, weight = self.selection.select(read)
                chunk = Chunk(batch, self.dtypes, y, weight, start)
                start += chunk.rows
                if chunk.rows:
                    yield chunk

    def head(self, rows: int = 8) -> Chunk:
        """The first rows that count; fewer only if there are not more."""
        found: list[pa.RecordBatch] = []
        labels: list[np.ndarray] = []
        missing = rows
        names = list(dict.fromkeys([*self.dtypes, *self.selection.columns]))
        for group in self.groups:
            for read in read_row_group(group, names, rows=_HEAD_ROWS, threads=False):
                batch, y, _ = self.selection.select(read)
                found.append(batch.slice(0, missing))
                labels += [] if y is None else [y[:missing]]
                missing -= found[-1].num_rows
                if missing <= 0:
                    break
            if missing <= 0:
                break
        if not found:
            return Chunk(pa.RecordBatch.from_pylist([]), self.dtypes)
        whole = pa.Table.from_batches(found)
        whole = whole.take(pa.array(range(whole.num_rows), pa.int64())).combine_chunks()  # a copy: slices would keep all that was read
        batch = whole.to_batches()[0] if whole.num_rows else found[0]
        return Chunk(batch, self.dtypes, np.concatenate(labels) if labels else None)


def open_data(
    data: str | Sequence[str] | SnapshotRef, options: Options, selection: Selection | None = None, columns: Sequence[str] | None = None
) -> Data:
    """Look at Parquet files: their row groups, and the pandas types that all of their rows together have.

    Raises:
        SchemaMismatchError: files differ in their columns, or a column that is asked for is missing.
        SourceFormatError: a file is damaged.
    """
    if isinstance(data, SnapshotRef):
        from windtunnel.lifecycle.data import pins

        data = pins.files(Settings.from_environment(), data)
    selection = selection or AllRows(options.label, options.sample_weight)
    groups: list[RowGroup] = []
    schema: pa.Schema | None = None
    first = ""
    nulls: dict[str, int] = {}
    for path in expand(data):
        with open_parquet(path) as file:
            found, metadata = file.schema_arrow, file.metadata
            if schema is None:
                schema, first = found, path
            elif not schema.equals(found):
                _same(schema, found, first, path)
            groups += [RowGroup(path, i, metadata.row_group(i).num_rows) for i in range(metadata.num_row_groups)]
            for i in range(metadata.num_row_groups):
                group = metadata.row_group(i)
                for j in range(group.num_columns):
                    column = group.column(j)
                    if column.path_in_schema in found.names:
                        # Some writers leave the count out, but whether a column has a null decides its type.
                        known = column.statistics.null_count if column.statistics and column.statistics.has_null_count else None
                        count = _count_nulls(file, i, column.path_in_schema) if known is None else known
                        nulls[column.path_in_schema] = nulls.get(column.path_in_schema, 0) + count
    if schema is None:
        raise SourceFormatError(f"no Parquet file matches {data!r}")
    # pandas shows no index among the columns when it reads such a file.
    hidden = {name for name in _index_columns(schema) if name in schema.names}
    names = [name for name in schema.names if name not in hidden and name not in selection.columns]
    wanted = list(columns if columns is not None else options.columns if options.columns is not None else names)
    missing = [name for name in [*wanted, *selection.columns] if name not in schema.names]
    if missing:
        raise SchemaMismatchError(f"{first}: has no column {missing[0]!r}", hint=f"it has: {', '.join(schema.names)}", column=missing[0])
    inputs = pa.schema([schema.field(name) for name in wanted])
    strings = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    return Data(groups, dtypes_of(inputs, nulls), strings, selection)


def _same(schema: pa.Schema, found: pa.Schema, first: str, path: str) -> None:
    for field in schema:
        if field.name not in found.names:
            raise SchemaMismatchError(f"{path}: has no column {field.name!r}, which {first} has", column=field.name)
        if not found.field(field.name).type.equals(field.type):
            raise SchemaMismatchError(
                f"{path}: column {field.name!r} is {found.field(field.name).type} but {field.type} in {first}",
                hint="write the files with one schema",
                column=field.name,
            )


def _count_nulls(file: Any, index: int, name: str) -> int:
    return int(file.read_row_group(index, columns=[name]).column(0).null_count)


def _index_columns(schema: pa.Schema) -> list[str]:
    described = schema.pandas_metadata or {}
    return [name for name in described.get("index_columns", []) if isinstance(name, str)]
