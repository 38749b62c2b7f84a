"""Rows of a CSV file read as text and judged one by one."""

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from windtunnel.lifecycle.data.sources.cast import cast_text
from windtunnel.lifecycle.data.sources.days import event_columns, event_days
from windtunnel.lifecycle.data.sources.piece import Chunk, Rejected, shorten
from windtunnel.lifecycle.data.sources.text.stream import BLANK, MARK

if TYPE_CHECKING:
    from windtunnel.lifecycle.data.sources.text.delimited import DelimitedFile

__all__ = ["Lenient"]

_SWALLOWED = 20
"""A misshapen record with more line ends than this is many rows that a stray quote has joined."""


class _Ragged(NamedTuple):
    record: int
    text: str
    reason: str


class Lenient:
    """Reads a file as text and judges every row.

    Args:
        file: the file, opened leniently.
        done: rows that were handed on already.
    """

    def __init__(self, file: "DelimitedFile", done: int) -> None:
        self._file, self._done = file, done
        self._ragged: list[_Ragged] = []
        self._seen = 0
        self._next = 1 + int(file.options.header)
        header = file.head[0] if file.options.header else []
        self._line_offset = file.options.skip_lines + file.stream.leading + sum(cell.count("\n") for cell in header)

    def chunks(self) -> Iterator[Chunk]:
        """The rows that were not handed on yet, good and bad."""
        held: pa.RecordBatch | None = None
        types = dict.fromkeys(self._file.names, pa.string())
        for batch in self._file.batches(types, self._file.names, self._handle):
            if held is not None:
                yield self._judge(held, last=False)
            held = batch
        if held is None:
            held = pa.record_batch([pa.array([], pa.string()) for _ in self._file.names], names=self._file.names)
        yield self._judge(held, last=True)

    def _handle(self, row: pa_csv.InvalidRow) -> str:
        """A row of another width; a blank line is none, but counts as a line."""
        text = row.text.replace(BLANK, "")
        reason = f"has {row.actual_columns} cells where the header has {row.expected_columns}" if row.text != BLANK else ""
        self._ragged.append(_Ragged(row.number, text, reason))
        return "skip"

    def _judge(self, batch: pa.RecordBatch, *, last: bool) -> Chunk:
        if batch.num_columns == 1:
            batch = self._without_blank(batch)
        batch = _unmarked(batch)
        records = self._records(batch.num_rows)
        limit = np.iinfo(np.int64).max if last or not batch.num_rows else int(records[-1]) + 1
        ragged = [entry for entry in self._ragged if entry.record < limit]
        self._ragged = self._ragged[len(ragged) :]
        self._next = int(records[-1]) + 1 if batch.num_rows else self._next
        lines, ragged_lines = self._lines(batch, records, ragged)
        misshapen = [(entry, line) for entry, line in zip(ragged, ragged_lines, strict=True) if entry.reason]
        fresh, ragged_fresh = self._fresh(records, [entry.record for entry, _ in misshapen])

        good, columns, why = self._typed(batch)
        if last and self._file.stream.quotes % 2:
            self._unclosed(batch, records, misshapen, good, why)
        rejected = [
            found
            for (entry, line), new in zip(misshapen, ragged_fresh, strict=True)
            if new
            for found in _split(entry.text, line, entry.reason)
        ]
        for i in np.flatnonzero(~good & fresh):
            column, reason = why[int(i)]
            cells = [cell[int(i)].as_py() for cell in batch.columns]
            many = reason.startswith("opens a quote")
            text = self._file.options.delimiter.join(cells) if many else _joined(cells, self._file.options.delimiter)
            rejected += _split(text, int(lines[i]), reason) if many else [_rejected(text, int(lines[i]), column, reason)]
        rejected.sort(key=lambda entry: entry.line)
        kept = pa.record_batch(columns, schema=self._file.schema)
        if not (good & fresh).all():
            kept = kept.filter(pa.array(good & fresh))
        return Chunk(kept, rejected, kept.num_rows + len(rejected))

    def _without_blank(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """In a file of one column a blank line looks like a row: it joins those that are none."""
        blank = pc.equal(batch.column(0), BLANK).to_numpy(zero_copy_only=False)
        if not blank.any():
            return batch
        self._ragged += [_Ragged(int(record), "", "") for record in self._records(batch.num_rows)[blank]]
        self._ragged.sort()
        return batch.filter(pa.array(~blank))

    def _records(self, rows: int) -> np.ndarray:
        """The record numbers of a batch's rows: those from the next on that were not misshapen."""
        bad = np.fromiter((entry.record for entry in self._ragged), dtype=np.int64)
        numbers = np.arange(self._next, self._next + rows + len(bad), dtype=np.int64)
        return np.setdiff1d(numbers, bad, assume_unique=True)[:rows]

    def _lines(self, batch: pa.RecordBatch, records: np.ndarray, ragged: list[_Ragged]) -> tuple[np.ndarray, list[int]]:
        """The line on which each record begins: its number, and one more for each line end inside earlier records."""
        inside = np.zeros(batch.num_rows, dtype=np.int64)
        for column in batch.columns:
            inside += pc.fill_null(pc.count_substring(column, "\n"), 0).to_numpy(zero_copy_only=False)
        numbers = np.concatenate([records, np.fromiter((entry.record for entry in ragged), dtype=np.int64)])
        ends = np.concatenate([inside, np.fromiter((entry.text.count("\n") for entry in ragged), dtype=np.int64)])
        order = np.argsort(numbers, kind="stable")
        before = np.empty_like(ends)
        before[order] = np.cumsum(ends[order]) - ends[order]
        lines = numbers + before + self._line_offset
        self._line_offset += int(ends.sum())
        return lines[: batch.num_rows], [int(line) for line in lines[batch.num_rows :]]

    def _fresh(self, records: np.ndarray, misshapen: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Which rows were not handed on by an earlier way of reading: all but the first `done`."""
        numbers = np.concatenate([records, np.array(misshapen, dtype=np.int64)])
        place = np.empty_like(numbers)
        place[np.argsort(numbers, kind="stable")] = np.arange(len(numbers)) + self._seen
        self._seen += len(numbers)
        self._file.handed = max(self._done, self._seen)
        fresh = place >= self._done
        return fresh[: len(records)], fresh[len(records) :]

    def _typed(self, batch: pa.RecordBatch) -> tuple[np.ndarray, list[pa.Array], dict[int, tuple[str, str]]]:
        """Typed columns, which rows are good, and for the others which column is wrong and why."""
        file, options = self._file, self._file.options
        good = np.ones(batch.num_rows, dtype=bool)
        why: dict[int, tuple[str, str]] = {}

        def refuse(mask: np.ndarray, column: str, reason: str, values: pa.Array | None = None) -> None:
            for i in np.flatnonzero(mask & good):
                value = None if values is None else values[int(i)].as_py()
                shown = "" if values is None else "null " if value is None else f"{shorten(str(value), 80)!r} "
                why[int(i)] = (column, f"{shown}{reason}")
            good[mask] = False

        for name in batch.schema.names:
            shown = name.partition("\0")[0]
            if file.stream.nul:
                refuse(_contains(batch.column(name), "\0"), shown, "has a NUL byte")
            if file.stream.undecodable:
                refuse(_contains(batch.column(name), MARK), shown, f"cannot be decoded as {options.encoding}")
        columns = []
        nulls = pa.array(options.nulls, pa.string())
        for field in file.schema:
            if field.name not in file.present:
                columns.append(pa.nulls(batch.num_rows, field.type))
                continue
            values = batch.column(field.name)
            values = pc.if_else(pc.is_in(values, nulls), pa.scalar(None, pa.string()), values)
            typed, bad = cast_text(
                values, field.type, decimal_point=options.decimal_point, thousands=options.thousands, formats=options.timestamp_formats
            )
            refuse(bad, field.name, f"is not {field.type}", values)
            columns.append(typed)
        if file.dated:
            undated = pc.is_null(event_days(file.problem, pa.record_batch(columns, schema=file.schema)))
            column = event_columns(file.problem)[0]
            refuse(undated.to_numpy(zero_copy_only=False), column, "is no event time", columns[file.schema.names.index(column)])
        return good, columns, why

    def _unclosed(
        self,
        batch: pa.RecordBatch,
        records: np.ndarray,
        misshapen: list[tuple[_Ragged, int]],
        good: np.ndarray,
        why: dict[int, tuple[str, str]],
    ) -> None:
        """With an odd number of quotes, a last record that spans lines is one that a quote never ended."""
        if not batch.num_rows or (misshapen and misshapen[-1][0].record > records[-1]):
            return
        last = batch.num_rows - 1
        spans = [name for name in batch.schema.names if "\n" in (batch.column(name)[last].as_py() or "")]
        if spans:
            good[last] = False
            why[last] = (spans[-1].partition("\0")[0], "opens a quote that is never closed")


def _unmarked(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Cells as they were: without the marks of blank lines inside quotes."""
    columns = [
        pc.replace_substring(column, BLANK, "") if pc.any(pc.match_substring(column, BLANK)).as_py() else column for column in batch.columns
    ]
    return pa.record_batch(columns, schema=batch.schema)


def _contains(values: pa.Array, text: str) -> np.ndarray:
    return np.asarray(pc.fill_null(pc.match_substring(values, text), False).to_numpy(zero_copy_only=False))


def _split(text: str, line: int, reason: str) -> list[Rejected]:
    """A misshapen record as rejected rows: one, or one a line if it has swallowed many."""
    lines = text.splitlines()
    if reason.startswith("opens a quote") or len(lines) > _SWALLOWED:
        return [_rejected(part, line + i, "", reason) for i, part in enumerate(lines) if part]
    return [_rejected(text, line, "", reason)]


def _rejected(text: str, line: int, column: str, reason: str) -> Rejected:
    return Rejected(line, column, reason.replace(MARK, "\ufffd").replace("\0", "␀"), shorten(text.replace(MARK, "\ufffd")))


def _joined(cells: list[str], delimiter: str) -> str:
    sink = io.StringIO()
    csv.writer(sink, delimiter=delimiter, lineterminator="").writerow(cells)
    return sink.getvalue()
