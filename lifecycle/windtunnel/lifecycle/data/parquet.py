"""Rows of Parquet files as Arrow record batches, row group by row group: what every pass over data reads.

Passes hand on **references to row groups**, never batches; a group is read where it is worked on.
"""

import dataclasses
import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.lifecycle.contract.errors import SourceFormatError, UnavailableError

__all__ = ["BATCH_ROWS", "RowGroup", "expand", "open_parquet", "read_row_group", "row_groups"]

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
