"""Statistics of Parquet files without a pipeline: what a job's step does for some row groups, and a command for a whole file."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.lifecycle.contract.errors import SourceFormatError
from windtunnel.lifecycle.data.sources.files import is_local, reaching

__all__ = ["BATCH_ROWS", "GroupTask", "Sink", "batch_rows", "opened_parquet", "scan_groups", "tasks_of", "text_columns"]

BATCH_ROWS = 131_072
_BATCH_BYTES = 32 << 20
_FATTEST_BYTES = 4 << 20
_LEAST_ROWS = 16
_LARGE_GROUP = 64 << 20
_BUFFER_BYTES = 1 << 16  # what is read of a column at a time, where whole column chunks would take too much
_GROUP_ROWS = 2_097_152
_BYTES_A_VALUE = 6


class Sink(Protocol):
    """What batches are added to."""

    def add_batch(self, batch: pa.RecordBatch, origin: str = "", offset: int = 0) -> None:
        """Rows, and the place of the first of them in their file."""


@dataclasses.dataclass(frozen=True)
class GroupTask:
    """Some consecutive row groups of one file: what a worker reads in one go.

    Attributes:
        number: its place among all tasks.
        path: the file.
        groups: the row groups.
        offset: the place of their first row in the file.
        rows: their rows.
    """

    number: int
    path: str
    groups: tuple[int, ...]
    offset: int
    rows: int


@contextlib.contextmanager
def opened_parquet(path: str, dictionary: Sequence[str] = (), *, buffer: int = 0) -> Iterator[pq.ParquetFile]:
    """A Parquet file at a path or URL, read and not mapped: a file that shrinks meanwhile is an error, not a crash.

    Args:
        path: where it is.
        dictionary: columns to read as dictionaries.
        buffer: bytes of a column chunk that are read at a time; 0 for whole ones.

    Raises:
        UnavailableError: it cannot be reached.
        SourceFormatError: it is not Parquet, or is damaged.
    """
    with reaching(path):
        stream = pa.OSFile(path.removeprefix("file://"), "rb") if is_local(path) else fsspec.open(path, "rb").open()
    options = {"read_dictionary": list(dictionary) or None, "buffer_size": buffer, "page_checksum_verification": True}
    with stream:
        with damaged(path):
            file = pq.ParquetFile(stream, **options)
        with file:  # what goes wrong with the rows of a good file is not the file's fault
            yield file


@contextlib.contextmanager
def damaged(path: str, where: str = "") -> Iterator[None]:
    """What Arrow raises over a broken Parquet file as our error."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise SourceFormatError(
            f"{path}: {where}is not a readable Parquet file: {str(error)[:300]}", hint="write or fetch the file again", path=path
        ) from error


def tasks_of(paths: Sequence[str]) -> list[GroupTask]:
    """All row groups of some files, in tasks of about two million rows."""
    tasks: list[GroupTask] = []
    for path in paths:
        with opened_parquet(path) as file:
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
        groups: list[int] = []
        offset = rows = 0
        for group, size in enumerate(sizes):
            groups.append(group)
            rows += size
            if rows >= _GROUP_ROWS or group == len(sizes) - 1:
                tasks.append(GroupTask(len(tasks), path, tuple(groups), offset, rows))
                offset, rows, groups = offset + rows, 0, []
        # A file without a row group still has columns, which statistics must name.
        if not sizes:
            tasks.append(GroupTask(len(tasks), path, (), 0, 0))
    return tasks


def text_columns(file: pq.ParquetFile, groups: Sequence[int]) -> list[str]:
    """The text columns that are well dictionary-encoded in these row groups.

    Counting their codes is cheap; decoding other columns as dictionaries would cost a hash a row.
    """
    schema = file.schema_arrow
    if len(file.metadata.schema) != len(schema):  # nested columns: places differ
        return []
    found = []
    for place, field in enumerate(schema):
        if not (pa.types.is_string(field.type) or pa.types.is_large_string(field.type)):
            continue
        chunks = [file.metadata.row_group(group).column(place) for group in groups]
        # A writer that gave the dictionary up half-way left its page as well: only the bytes a value say that codes carry the column.
        if all(chunk.has_dictionary_page and chunk.total_uncompressed_size < max(chunk.num_values, 1) * _BYTES_A_VALUE for chunk in chunks):
            found.append(field.name)
    return found


def batch_rows(file: pq.ParquetFile, group: int, most: int = BATCH_ROWS) -> int:
    """How many rows of a row group are read at once: so many as take some 32 MB, and 4 MB in the column that takes most."""
    described = file.metadata.row_group(group)
    rows, columns = max(described.num_rows, 1), described.num_columns
    fattest = max((described.column(place).total_uncompressed_size for place in range(columns)), default=0) // rows
    a_row = max(described.total_byte_size // rows, 8 * columns, 1)
    return max(_LEAST_ROWS, min(most, _BATCH_BYTES // a_row, _FATTEST_BYTES // max(fattest, 1)))


def scan_groups(task: GroupTask, sink: Sink, seen: Callable[[int], None] | None = None) -> None:
    """Add the rows of a task to a sink.

    Args:
        task: which rows.
        sink: such as a `TableStatistics`.
        seen: is told how many rows were added.

    Raises:
        SourceFormatError: says which file and row group is damaged.
    """
    if not task.groups:
        with opened_parquet(task.path) as file:
            sink.add_batch(pa.RecordBatch.from_pylist([], schema=file.schema_arrow))
        return
    # What is read as a dictionary must be said on opening, and only the footer tells which columns pay: hence twice.
    with opened_parquet(task.path) as file:
        dictionary = text_columns(file, task.groups)
        largest = max(file.metadata.row_group(group).total_byte_size for group in task.groups)
    offset, name = task.offset, task.path.rpartition("/")[2]
    with opened_parquet(task.path, dictionary, buffer=_BUFFER_BYTES if largest > _LARGE_GROUP else 0) as file:
        for group in task.groups:
            start, promised = offset, file.metadata.row_group(group).num_rows
            with damaged(task.path, f"row group {group} "):
                batches = file.iter_batches(batch_rows(file, group), row_groups=[group])
            while True:
                # Around the reading alone: what the sink refuses in a row is no damage of the file.
                with damaged(task.path, f"row group {group} "):
                    batch = next(batches, None)
                if batch is None:
                    break
                sink.add_batch(batch, name, offset)
                offset += batch.num_rows
                if seen is not None:
                    seen(batch.num_rows)
            if offset - start != promised:
                raise SourceFormatError(
                    f"{task.path}: row group {group} gave {offset - start:,} rows but its footer promises {promised:,}", path=task.path
                )
