"""Counting distinct rows on a Beam runner: the pass that nearly every expectation comes down to, on as many workers as there are.

Each row group is counted where it is read, with the very `Counter` of the in-process route; counts are merged by the same code and come
back as Arrow files. Rows never leave the workers, only distinct ones with their number do.
"""

import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import fsspec
import pyarrow as pa
import pyarrow.ipc

from windtunnel.beam_jobs.expectations.engine.distinct import Counter, Limit, Weighted
from windtunnel.beam_jobs.expectations.engine.source import Source
from windtunnel.beam_jobs.job import pipeline

__all__ = ["beam_counting"]

Columns = tuple[str, ...]
Take = Callable[[Columns, Weighted], None]

_SOURCES: dict[tuple[str, ...], Source] = {}  # a worker reads the footers once


def beam_counting(spec: Mapping[str, object], folder: str = "") -> Callable[[Source, Sequence[Columns], Limit, Take], None]:
    """A way of counting for `Questions`: on the runner that a spec names.

    Args:
        spec: ``runner``, ``runner_options``, ``workers``.
        folder: a place that workers and this process both reach; a local temporary one if not given.
    """

    def count(source: Source, wanted: Sequence[Columns], limit: Limit, take: Take) -> None:
        with tempfile.TemporaryDirectory(prefix="windtunnel-") as local:
            place = f"{folder.rstrip('/')}/{uuid.uuid4().hex}" if folder else local
            with pipeline(spec) as root:
                _ = (
                    root
                    | "row groups" >> beam.Create(range(len(source.groups)))
                    | "spread" >> beam.Reshuffle()
                    | "count" >> beam.ParDo(_Count(source.files, source.batch_rows, list(wanted), limit))
                    | "together" >> beam.GroupByKey()
                    | "merge" >> beam.ParDo(_Merge(source.files, source.batch_rows, list(wanted), place))
                )
            _take(source, wanted, limit, place, take)

    return count


def _take(source: Source, wanted: Sequence[Columns], limit: Limit, place: str, take: Take) -> None:
    filesystem, path = fsspec.core.url_to_fs(place)
    for number, columns in enumerate(wanted):
        counter = Counter(source, columns, limit)
        for name in sorted(filesystem.glob(f"{path}/{number}-*.arrow")):
            with filesystem.open(name, "rb") as file, pa.ipc.open_stream(file) as reader:
                for batch in reader:
                    if counter.merge(pa.Table.from_batches([batch])) and (rows := counter.take()) is not None:
                        take(columns, rows)
        if (rows := counter.take()) is not None:
            take(columns, rows)
    if "://" in place:
        filesystem.rm(path, recursive=True)


def _source(files: Sequence[str], batch_rows: int) -> Source:
    key = (*files, str(batch_rows))
    if key not in _SOURCES:
        _SOURCES.clear()
        _SOURCES[key] = Source(list(files), batch_rows)
    return _SOURCES[key]


class _Count(beam.DoFn):
    """Row groups to (number of the columns, counts as IPC bytes)."""

    def __init__(self, files: Sequence[str], batch_rows: int, wanted: list[Columns], limit: Limit) -> None:
        self._files, self._batch_rows, self._wanted, self._limit = list(files), batch_rows, wanted, limit

    def process(self, element: int) -> Iterable[tuple[int, bytes]]:
        """One row group."""
        source = _source(self._files, self._batch_rows)
        counters = [Counter(source, columns, self._limit) for columns in self._wanted]
        columns = sorted({name for names in self._wanted for name in names})
        for chunk in source.chunks(columns, groups=[element]):
            for number, counter in enumerate(counters):
                if counter.add(chunk) and (table := counter.drain()) is not None:
                    yield number, _bytes(table)
        for number, counter in enumerate(counters):
            if (table := counter.drain()) is not None:
                yield number, _bytes(table)


class _Merge(beam.DoFn):
    """All counts of some columns to a file; a bundle that runs twice writes the same file twice."""

    def __init__(self, files: Sequence[str], batch_rows: int, wanted: list[Columns], place: str) -> None:
        self._files, self._batch_rows, self._wanted, self._place = list(files), batch_rows, wanted, place

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterable[int]:
        """Merge in order of first appearance, in rounds of as many rows as are held."""
        number, parts = element
        source = _source(self._files, self._batch_rows)
        counter = Counter(source, self._wanted[number])
        filesystem, path = fsspec.core.url_to_fs(self._place)
        filesystem.makedirs(path, exist_ok=True)
        written = 0
        for part in parts:
            with pa.ipc.open_stream(part) as reader:
                if counter.merge(reader.read_all()) and (table := counter.drain()) is not None:
                    _write(filesystem, f"{path}/{number}-{written:06d}.arrow", table)
                    written += 1
        if (table := counter.drain()) is not None:
            _write(filesystem, f"{path}/{number}-{written:06d}.arrow", table)
        yield number


def _bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _write(filesystem: Any, path: str, table: pa.Table) -> None:
    temporary = f"{path}.{uuid.uuid4().hex}"
    with filesystem.open(temporary, "wb") as file:
        file.write(_bytes(table))
    filesystem.mv(temporary, path)
