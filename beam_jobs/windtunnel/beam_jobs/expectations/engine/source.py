"""Parquet files as chunks that pandas sees as it would see the whole.

``pd.read_parquet`` decides the type of a column from all its rows (one null turns whole numbers into floats), so a chunk alone would
look different. `Source` decides once, from the files' own null counts, and gives every chunk exactly those types and the right place in
the index.
"""

import collections
import dataclasses
import json
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.parquet import FileMetaData

from windtunnel.lifecycle.contract.errors import SchemaMismatchError, SourceFormatError
from windtunnel.lifecycle.data.parquet import BATCH_ROWS, RowGroup, expand, open_parquet, read_row_group
from windtunnel.lifecycle.payload import JsonObject

__all__ = ["Chunk", "Source"]


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Consecutive rows.

    Attributes:
        batch: the rows, with the columns that were asked for.
        start: the place of the first one among all rows.
        number: counts chunks in order; used to know where a value was first seen.
    """

    batch: pa.RecordBatch
    start: int
    number: int


def _add_nulls(metadata: FileMetaData, nulls: collections.Counter[str], unknown: set[str]) -> None:
    """Add the nulls of each column as a file's footer counts them; the columns of which it does not are `unknown`."""
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        for number in range(group.num_columns):
            column = group.column(number)
            if column.statistics is not None and column.statistics.has_null_count:
                nulls[column.path_in_schema] += column.statistics.null_count
            else:
                unknown.add(column.path_in_schema)


class Source:
    """Parquet files as one table that is read chunk by chunk.

    Args:
        data: a path, folder or glob, or several of them, in order.
        batch_rows: rows a chunk at most.

    Raises:
        SourceFormatError: a file is damaged, or none is there.
        SchemaMismatchError: the files' columns do not fit together.
    """

    def __init__(self, data: str | Sequence[str], batch_rows: int = BATCH_ROWS) -> None:
        self.files = expand(data)
        self.batch_rows = batch_rows
        self.groups: list[RowGroup] = []
        nulls: collections.Counter[str] = collections.Counter()
        unknown: set[str] = set()
        schemas = []
        for path in self.files:
            with open_parquet(path) as file:
                schemas.append(file.schema_arrow)
                self.groups += [RowGroup(path, i, file.metadata.row_group(i).num_rows) for i in range(file.metadata.num_row_groups)]
                _add_nulls(file.metadata, nulls, unknown)
        self.schema = _one_schema(self.files, schemas)
        for path, schema in zip(self.files, schemas, strict=True):
            rows = sum(group.rows for group in self.groups if group.path == path)
            nulls.update(dict.fromkeys(set(self.schema.names) - set(schema.names), rows))
        self.rows = 0
        self._starts: list[tuple[int, int]] = []  # of each row group: its first row, and the number of its first chunk
        number = 0
        for group in self.groups:
            self._starts.append((self.rows, number))
            self.rows += group.rows
            number += group.rows // min(self.batch_rows, BATCH_ROWS) + group.rows // BATCH_ROWS + 2
        self._index, self._range = _index_of(self.schema, self.rows)
        self.columns = [name for name in self.schema.names if name not in self._index]
        self._count_nulls(nulls, {name for name in unknown if _needs_null_count(self.schema, name)})
        self.nulls = nulls
        self._bare = self.schema.with_metadata(_without_index(self.schema.metadata))
        self.dtypes = self._target_types()
        self.keyed = [field.name for field in self.schema if _can_be_key(field.type)]
        """Columns whose values Arrow can count and compare; the others are read whole when a metric wants them."""

    def chunks(self, columns: Sequence[str], groups: Sequence[int] | None = None, *, start_at: int = 0) -> Iterator[Chunk]:
        """The chunks, in order.

        Args:
            columns: the columns to read; without any, chunks have rows and no columns.
            groups: only these row groups, by number.
            start_at: the first row that is wanted: row groups that end before it are not read.
        """
        wanted = [name for name in self.schema.names if name in set(columns)]
        text = [name for name in wanted if pa.types.is_string(self.schema.field(name).type)]
        # pandas decides the types within a struct batch by batch, so batches must be those that it would read
        step = BATCH_ROWS if any(pa.types.is_nested(self.schema.field(name).type) for name in wanted) else self.batch_rows
        for place, group in enumerate(self.groups):
            start, number = self._starts[place]
            if (groups is not None and place not in groups) or start + group.rows <= start_at:
                continue
            for batch in self._read(group, wanted, text):
                for offset in range(0, batch.num_rows, step):
                    piece = batch.slice(offset, step)
                    yield Chunk(piece, start, number)
                    start += piece.num_rows
                    number += 1

    def _read(self, group: RowGroup, wanted: list[str], text: list[str]) -> Iterator[pa.RecordBatch]:
        with open_parquet(group.path) as file:
            present = file.schema_arrow
        names = [name for name in wanted if name in present.names]
        if not names:
            empty = pa.RecordBatch.from_struct_array(pa.nulls(group.rows, pa.struct([])))
            columns = [pa.nulls(group.rows, self.schema.field(name).type) for name in wanted]
            yield pa.RecordBatch.from_arrays(columns, names=wanted) if wanted else empty
            return
        same = names == wanted and all(present.field(name).type == self.schema.field(name).type for name in names)
        for batch in read_row_group(
            group, names, dictionary=[name for name in text if pa.types.is_string(present.field(name).type)], threads=True
        ):
            yield batch if same else pa.RecordBatch.from_arrays([self._fitted(batch, name, group.path) for name in wanted], names=wanted)

    def _fitted(self, batch: pa.RecordBatch, name: str, path: str) -> pa.Array:
        target = self.schema.field(name).type
        if name not in batch.schema.names:
            return pa.nulls(batch.num_rows, target)
        column = batch.column(name)
        if column.type == target or column.type == _coded(target):
            return column
        try:
            return pc.cast(column, target)
        except pa.ArrowException as error:
            raise SchemaMismatchError(f"{path}: column {name!r} does not fit {target}: {error}", path=path, column=name) from error

    def frame(
        self, table: pa.Table | pa.RecordBatch, *, start: int | None = None, places: npt.NDArray[np.intp] | None = None
    ) -> pd.DataFrame:
        """Rows as pandas would hold them.

        Args:
            table: some of the columns.
            start: the place of the first row, for rows in their order: the frame gets the index that the whole would have. None for rows
                in no place of their own, which are numbered from 0.
            places: for some rows of a chunk: their places behind `start`.
        """
        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        arrays, fields = [], []
        for name in table.schema.names:
            column = table.column(name)
            field = self._bare.field(name)
            arrays.append(column.cast(field.type) if column.type != field.type else column)
            fields.append(field)
        if not fields:
            frame = pd.DataFrame(index=pd.RangeIndex(table.num_rows))
        else:
            plain = pa.table(arrays, schema=pa.schema(fields, metadata=self._bare.metadata))
            frame = plain.to_pandas()
            for name in frame.columns:
                target = self.dtypes[name]
                if frame[name].dtype != target and not isinstance(target, pd.CategoricalDtype):
                    frame[name] = frame[name].astype(target)
        if start is not None:
            frame = self._placed(frame, start, places)
        return frame

    def start_of(self, number: int) -> int:
        """The first row of the row group that a chunk, by its number, belongs to."""
        return max((start for start, first in self._starts if first <= number), default=0)

    def index_columns(self) -> list[str]:
        """The columns that the files say are pandas' index."""
        return self._index

    def empty(self) -> pd.DataFrame:
        """No rows, all columns, the right types."""
        return self.frame(self._bare.empty_table().select([*self.columns, *self._index]), start=0)

    def _placed(self, frame: pd.DataFrame, start: int, places: npt.NDArray[np.intp] | None) -> pd.DataFrame:
        if self._index:
            if set(self._index) <= set(frame.columns):
                frame = frame.set_index(self._index)
                frame.index.names = [None if str(n).startswith("__index_level_") else n for n in frame.index.names]
            return frame
        first, step = self._range
        if places is not None:
            frame.index = pd.Index(first + (start + places) * step)
            return frame
        frame.index = pd.RangeIndex(first + start * step, first + (start + len(frame)) * step, step)
        return frame

    def _target_types(self) -> JsonObject:
        none = self._bare.empty_table().to_pandas().dtypes
        one = pa.table([pa.nulls(1, field.type) for field in self._bare], schema=_nullable(self._bare)).to_pandas().dtypes
        return {name: (one if self.nulls.get(name) else none)[name] for name in self._bare.names}

    def _count_nulls(self, nulls: dict[str, int], names: set[str]) -> None:
        """Count nulls by reading where files do not say them."""
        flat = [name for name in names if name in self.schema.names]
        if not flat:
            return
        nulls.update(dict.fromkeys(flat, 0))
        for chunk in self.chunks(flat):
            for name in flat:
                nulls[name] += chunk.batch.column(name).null_count


def _one_schema(files: Sequence[str], schemas: list[pa.Schema]) -> pa.Schema:
    first = schemas[0]
    if all(schema.equals(first) for schema in schemas[1:]):
        return first
    try:
        merged = pa.unify_schemas([schema.remove_metadata() for schema in schemas], promote_options="permissive")
    except pa.ArrowException as error:
        raise SchemaMismatchError(f"the columns of {len(files)} files do not fit together: {error}", path=files[0]) from error
    return merged.with_metadata(first.metadata)


def _nullable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_nullable(True) for field in schema], metadata=schema.metadata)


def _needs_null_count(schema: pa.Schema, name: str) -> bool:
    if name not in schema.names:
        return False
    kind = schema.field(name).type
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def _coded(kind: pa.DataType) -> pa.DataType:
    return pa.dictionary(pa.int32(), kind)


def _can_be_key(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or pa.types.is_dictionary(kind) or pa.types.is_null(kind) or isinstance(kind, pa.ExtensionType))


def _pandas_metadata(metadata: dict[bytes, bytes] | None) -> JsonObject:
    if not metadata or b"pandas" not in metadata:
        return {}
    try:
        found = json.loads(metadata[b"pandas"])
    except ValueError as error:
        raise SourceFormatError(f"the pandas metadata of the file is not JSON: {error}") from error
    return found if isinstance(found, dict) else {}


def _without_index(metadata: dict[bytes, bytes] | None) -> dict[bytes, bytes] | None:
    """The same metadata, but every column is a column."""
    found = _pandas_metadata(metadata)
    if not metadata or not found:
        return metadata
    return {**metadata, b"pandas": json.dumps({**found, "index_columns": []}).encode()}


def _index_of(schema: pa.Schema, rows: int) -> tuple[list[str], tuple[int, int]]:
    """The index columns, and first value and step of the row numbers otherwise."""
    columns = _pandas_metadata(schema.metadata).get("index_columns") or []
    named = [name for name in columns if isinstance(name, str) and name in schema.names]
    if named:
        return named, (0, 1)
    for entry in columns:
        if isinstance(entry, dict) and entry.get("kind") == "range":
            place = range(int(entry["start"]), int(entry["stop"]), int(entry["step"]))
            if len(place) == rows:
                return [], (place.start, place.step)
    return [], (0, 1)


def is_number(dtype: object) -> bool:
    """Whether sums over a column of this pandas type are sums of plain numpy numbers.

    Example:
        >>> is_number(np.dtype("float64")), is_number(np.dtype("object"))
        (True, False)
    """
    return isinstance(dtype, np.dtype) and (dtype.kind in "iub" or dtype in {np.dtype("float64"), np.dtype("float32")})
