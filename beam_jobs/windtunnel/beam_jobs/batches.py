"""Rows as Arrow record batches: how every job reads them.

Elements are **references to row groups** until the very step that reads them: references are shuffled, batches never are. A step that
makes batches must be annotated with ``Iterable[pa.RecordBatch]`` so that Beam uses `RecordBatchCoder`, which knows a batch's size
without writing it out.
"""

import dataclasses
import glob
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import fsspec
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
from apache_beam import coders

from windtunnel.lifecycle.errors import SourceFormatError, UnavailableError

__all__ = ["ReadRowGroups", "RecordBatchCoder", "RowGroup", "open_parquet", "read_row_group", "row_groups"]

BATCH_ROWS = 131_072
"""Rows a batch at most: what was measured to keep memory flat and kernels fast."""


@dataclasses.dataclass(frozen=True)
class RowGroup:
    """One row group of a Parquet file: what jobs shuffle instead of rows."""

    path: str
    index: int
    rows: int


class RecordBatchCoder(coders.Coder):
    """Record batches as Arrow IPC; their size is read off, not measured by encoding."""

    def encode(self, value: pa.RecordBatch) -> bytes:
        """IPC stream bytes."""
        sink = pa.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, value.schema) as writer:
            writer.write_batch(value)
        return bytes(sink.getvalue())

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        """The batch again."""
        with pyarrow.ipc.open_stream(encoded) as reader:
            return reader.read_next_batch()

    def estimate_size(self, value: pa.RecordBatch) -> int:
        """Bytes of its buffers."""
        return int(value.nbytes)

    def is_deterministic(self) -> bool:
        """The same batch gives the same bytes."""
        return True

    def to_type_hint(self) -> type:
        """What it is registered for."""
        return pa.RecordBatch


coders.registry.register_coder(pa.RecordBatch, RecordBatchCoder)


def expand(data: str | Sequence[str]) -> list[str]:
    """Parquet paths from a path, a folder, a glob or a list of them, sorted within each.

    Raises:
        SourceFormatError: nothing is there.
    """
    found: list[str] = []
    for entry in [data] if isinstance(data, str) else data:
        if "://" in entry:
            filesystem, path = fsspec.core.url_to_fs(entry)
            matches = sorted(filesystem.glob(path)) if glob.has_magic(path) else [path]
            found += [filesystem.unstrip_protocol(match) for match in matches]
        elif Path(entry).is_dir():
            found += [str(path) for path in sorted(Path(entry).rglob("*.parquet"))]
        else:
            found += sorted(glob.glob(entry, recursive=True)) if glob.has_magic(entry) else [entry]  # noqa: PTH207
    if not found:
        raise SourceFormatError(f"no Parquet file matches {data!r}", path=str(data))
    return found


def open_parquet(path: str, **options: Any) -> pq.ParquetFile:
    """A Parquet file at a path or URL.

    Raises:
        UnavailableError: it cannot be reached.
        SourceFormatError: it is not Parquet, or is damaged.
    """
    try:
        if "://" in path and not path.startswith("file://"):
            return pq.ParquetFile(fsspec.open(path, "rb").open(), **options)
        return pq.ParquetFile(path.removeprefix("file://"), memory_map=True, **options)
    except FileNotFoundError as error:
        raise UnavailableError(f"{path}: no such file", path=path) from error
    except OSError as error:
        if isinstance(error, pa.ArrowException) or "Parquet" in str(error):
            raise SourceFormatError(f"{path}: damaged Parquet file: {error}", path=path) from error
        raise UnavailableError(f"{path}: cannot be read: {error}", path=path) from error
    except pa.ArrowException as error:
        raise SourceFormatError(f"{path}: is not a readable Parquet file: {error}", path=path) from error


def row_groups(data: str | Sequence[str]) -> list[RowGroup]:
    """References to every row group of some Parquet files."""
    found = []
    for path in expand(data):
        with open_parquet(path) as file:
            metadata = file.metadata
            found += [RowGroup(path, i, metadata.row_group(i).num_rows) for i in range(metadata.num_row_groups)]
    return found


def read_row_group(
    reference: RowGroup, columns: Sequence[str] | None = None, *, dictionary: Sequence[str] = ()
) -> Iterator[pa.RecordBatch]:
    """The record batches of a row group, of at most `BATCH_ROWS` rows each.

    Args:
        reference: which.
        columns: only these, in this order; None for all.
        dictionary: string columns to leave dictionary-encoded, which makes counting values cheap.
    """
    with open_parquet(reference.path, read_dictionary=list(dictionary) or None) as file:
        try:
            for batch in file.iter_batches(
                BATCH_ROWS, row_groups=[reference.index], columns=list(columns) if columns is not None else None
            ):
                yield batch.select(list(columns)) if columns is not None else batch
        except (pa.ArrowException, OSError) as error:
            raise SourceFormatError(
                f"{reference.path}: row group {reference.index} is damaged: {error}", path=reference.path, row_group=reference.index
            ) from error


class ReadRowGroups(beam.DoFn):
    """References to record batches; fuses with the step that follows."""

    def __init__(self, columns: Sequence[str] | None = None, dictionary: Sequence[str] = ()) -> None:
        self._columns = columns
        self._dictionary = tuple(dictionary)

    def process(self, element: RowGroup) -> Iterable[pa.RecordBatch]:
        """The batches of one reference."""
        yield from read_row_group(element, self._columns, dictionary=self._dictionary)
