"""Small things that stages need of Iceberg tables which may not be there yet: look, read batch by batch, write a day."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.lifecycle.contract.errors import UnavailableError
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.parquet import BATCH_ROWS, open_parquet, read_row_group, row_groups
from windtunnel.lifecycle.data.snapshots import catalog

if TYPE_CHECKING:
    from pyiceberg.table import Table

__all__ = ["batches", "existing", "write_file"]


def existing(settings: Settings, name: str) -> "Table | None":
    """A table, or None if there is none.

    Raises:
        UnavailableError: the catalog is out of reach.
    """
    import sqlalchemy.exc
    from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

    try:
        return catalog(settings).load_table(name)
    except (NoSuchTableError, NoSuchNamespaceError):
        return None
    except (sqlalchemy.exc.OperationalError, ConnectionError) as error:
        raise UnavailableError(f"table {name}: the Iceberg catalog is out of reach: {error}", table=name) from error


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
            if rows and not filesystem.exists(final):
                filesystem.makedirs(final.rpartition("/")[0], exist_ok=True)
                filesystem.mv(temporary, final)
        finally:
            if filesystem.exists(temporary):
                filesystem.rm_file(temporary)
    except OSError as error:
        raise UnavailableError(f"{folder}: cannot be written: {error}", hint="is the disk full, or the place out of reach?") from error
    return target, rows
