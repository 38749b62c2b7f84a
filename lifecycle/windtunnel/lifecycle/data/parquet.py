"""Rows of Parquet files as Arrow record batches, row group by row group: what every pass over data reads.

Passes hand on **references to row groups**, never batches; a group is read where it is worked on.
"""

import dataclasses
import glob
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.lifecycle.contract.errors import SourceFormatError, UnavailableError

__all__ = ["BATCH_ROWS", "RowGroup", "batches", "expand", "head", "open_parquet", "read_row_group", "row_groups", "write_file"]

BATCH_ROWS = 131_072
"""Rows a batch at most: what was measured to keep memory flat and kernels fast."""


@dataclasses.dataclass(frozen=True)
class RowGroup:
    """One row group of a Parquet file: what jobs shuffle instead of rows."""

    path: str
    index: int
    rows: int


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
            return pq.ParquetFile(fsspec.open(path, "rb").open(), page_checksum_verification=True, **options)
        return pq.ParquetFile(path.removeprefix("file://"), memory_map=True, page_checksum_verification=True, **options)
    except FileNotFoundError as error:
        raise UnavailableError(f"{path}: no such file", path=path) from error
    except OSError as error:
        # Arrow raises a plain OSError for bad content, too: its words alone tell that from a file that is out of reach.
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


def head(paths: Sequence[str], rows: int, columns: Sequence[str]) -> pa.Table:
    """The first rows of some Parquet files, wherever they are; fewer if there are fewer.

    Args:
        paths: paths or URLs; at least one.
        rows: at most so many.
        columns: only these, in this order.
    """
    found: list[pa.RecordBatch] = []
    missing, schema = rows, None
    for path in paths:
        with open_parquet(path) as file:
            schema = schema or pa.schema([file.schema_arrow.field(name) for name in columns])
            for batch in file.iter_batches(min(missing, BATCH_ROWS), columns=list(columns)):
                found.append(batch.select(list(columns)).slice(0, missing))
                missing -= found[-1].num_rows
                if not missing:
                    return pa.Table.from_batches(found)
    return pa.Table.from_batches(found, schema=None if found else schema)


def read_row_group(
    reference: RowGroup,
    columns: Sequence[str] | None = None,
    *,
    dictionary: Sequence[str] = (),
    rows: int | None = None,
    threads: bool = True,
) -> Iterator[pa.RecordBatch]:
    """The record batches of a row group, of at most `rows` rows each (`BATCH_ROWS` if not said).

    Args:
        reference: which.
        columns: only these, in this order; None for all.
        dictionary: string columns to leave dictionary-encoded, which makes counting values cheap.
        rows: of one batch; pages of the file are only read as far as a batch needs them.
        threads: decode columns side by side; each thread keeps memory of its own.
    """
    with open_parquet(reference.path, read_dictionary=list(dictionary) or None) as file:
        try:
            for batch in file.iter_batches(
                rows or BATCH_ROWS,
                row_groups=[reference.index],
                columns=list(columns) if columns is not None else None,
                use_threads=threads,
            ):
                yield batch.select(list(columns)) if columns is not None else batch
        except (pa.ArrowException, OSError) as error:
            raise SourceFormatError(
                f"{reference.path}: row group {reference.index} is damaged: {error}", path=reference.path, row_group=reference.index
            ) from error


def batches(paths: Sequence[str], columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of Parquet files, batch by batch; a column that a file lacks is left out of its batches."""
    for path in paths:
        with open_parquet(path) as file:
            names = file.schema_arrow.names
        wanted = None if columns is None else [name for name in columns if name in names]
        for reference in row_groups([path]):
            if reference.rows:
                yield from read_row_group(reference, wanted)


def write_file(folder: str, content: Iterable[pa.Table], schema: pa.Schema, path: Callable[[], str]) -> tuple[str, int]:
    """Write rows as one Parquet file, there whole or not at all; if a file of that name is there already, it stays; no rows, no file.

    Args:
        folder: where it is made: on the file system of `path`.
        content: the rows, in parts.
        schema: their columns.
        path: asked for the file's path once all of `content` was seen, so that the name may depend on what was seen.

    Returns:
        the path, and how many rows there are.

    Raises:
        UnavailableError: it cannot be written.
    """
    filesystem, place = fsspec.core.url_to_fs(folder)
    temporary, rows = f"{place}/.{uuid.uuid4().hex}.tmp", 0
    try:
        filesystem.makedirs(place, exist_ok=True)
        try:
            with filesystem.open(temporary, "wb") as sink, pq.ParquetWriter(sink, schema) as writer:
                for part in content:
                    writer.write_table(part.select(schema.names).cast(schema), row_group_size=BATCH_ROWS)
                    rows += part.num_rows
            target = path()
            _, final = fsspec.core.url_to_fs(target)
            # What is of this name already has this content, as the name says all that it was made from.
            if rows and not filesystem.exists(final):
                filesystem.makedirs(final.rpartition("/")[0], exist_ok=True)
                filesystem.mv(temporary, final)
        finally:
            if filesystem.exists(temporary):
                filesystem.rm_file(temporary)
    except OSError as error:
        raise UnavailableError(f"{folder}: cannot be written: {error}", hint="is the disk full, or the place out of reach?") from error
    return target, rows
