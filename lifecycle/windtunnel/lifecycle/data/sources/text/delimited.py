"""CSV and its relatives as a problem declares them."""

import logging
from collections.abc import Iterator, Sequence
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.contract.errors import SchemaMismatchError, SourceFormatError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.source_options import TextOptions
from windtunnel.lifecycle.data.schema import arrow_schema, check_columns
from windtunnel.lifecycle.data.sources.days import event_columns, event_days
from windtunnel.lifecycle.data.sources.files import damage_named, opened, unchanged
from windtunnel.lifecycle.data.sources.piece import Chunk, Piece, shorten
from windtunnel.lifecycle.data.sources.text.convert import Converter, Rows
from windtunnel.lifecycle.data.sources.text.layout import HEADS, Layout, fit_width
from windtunnel.lifecycle.data.sources.text.records import Splitter
from windtunnel.lifecycle.data.sources.text.stream import Head, TextStream

__all__ = ["read_delimited"]

log = logging.getLogger("windtunnel.sources")


def read_delimited(problem: Problem, piece: Piece, _settings: Settings) -> Iterator[Chunk]:
    """The rows of a CSV file: plain, gzip, bzip2, xz, zstd, or each file of a zip.

    Raises:
        SourceFormatError: it is not such a file, is damaged, or has no header.
        SchemaMismatchError: a declared column is missing.
        UnavailableError: it is out of reach, or was changed while being read.
    """
    options = TextOptions.of(problem.source.options, f"problem {problem.name}")
    with unchanged(piece.path, piece.state), opened(piece.path) as streams, damage_named(piece.path):
        for name, stream in streams:
            yield from _Declared(problem, name, stream, options, dated=piece.dated).chunks()


class _Declared:
    """One CSV file with declared columns.

    Args:
        problem: declares the columns.
        name: what to call the file in messages.
        stream: its bytes.
        options: how it is written.
        dated: whether a row without an event time does not fit.
    """

    def __init__(self, problem: Problem, name: str, stream: IO[bytes], options: TextOptions, *, dated: bool) -> None:
        self._problem, self._name, self._options, self._dated = problem, name, options, dated
        self._schema = arrow_schema(problem, day=False)
        self._stream = TextStream(stream, options, name)
        heads = self._stream.head(options, HEADS)
        self._layout = self._placed(heads)
        self._present = [column for column in self._schema.names if column in self._layout.names]
        self._first = next((head.cells for head in heads[int(options.header) :] if not head.broken), [])

    def _placed(self, heads: Sequence[Head]) -> Layout:
        """The names of the file's columns; those that are not declared get names that cannot clash."""
        if not heads:
            raise SourceFormatError(f"{self._name}: is empty, without even a header", hint="was it written to its end?", path=self._name)
        header = heads[0] if self._options.header else None
        if header is not None and header.broken is not None:
            raise SourceFormatError(f"{self._name} line {header.line}: the header {header.broken.reason}", path=self._name)
        layout = fit_width(self._names(header), heads, header)
        self._check_columns(layout.names[: len(layout.names) - layout.trailing], heads)
        if header is not None:
            self._stream.skip(header.end)
        unique = [name if name in self._problem.columns else f"{name}\0{i}" for i, name in enumerate(layout.names)]
        return layout._replace(names=unique)

    def _names(self, header: Head | None) -> list[str]:
        if self._options.names:
            return list(self._options.names)
        return [cell.strip() for cell in header.cells] if header is not None else list(self._problem.columns)

    def _check_columns(self, names: Sequence[str], heads: Sequence[Head]) -> None:
        """The declared columns are there; if not, the message says whether another line has them."""
        try:
            check_columns(self._problem, names, self._name)
        except SchemaMismatchError as error:
            declared = set(self._problem.columns) - set(self._problem.optional_columns)
            later = next((head for head in heads[1:] if declared <= {cell.strip() for cell in head.cells}), None)
            if later is not None:
                skip = self._options.skip_lines + later.line - self._stream.line
                raise SchemaMismatchError(
                    error.message, hint=f"line {later.line} has them: set source.options.skip_lines to {skip}", **error.details
                ) from error
            raise

    def chunks(self) -> Iterator[Chunk]:
        """The rows, good and bad."""
        layout = self._layout
        splitter = Splitter(self._options, len(layout.names))
        converter = Converter(layout, self._types(), self._options, splitter, self._name)
        many_lines = 0
        for block in self._stream.blocks(splitter):
            rows = converter.rows(block)
            many_lines += block.many_lines
            filled = self._filled(rows)
            yield Chunk(filled, rows.rejected, filled.num_rows + len(rows.rejected))
        if many_lines:
            log.warning("%s: %d rows have a quoted cell of more than 20 lines; is a quote missing there?", self._name, many_lines)

    def _types(self) -> dict[str, pa.DataType]:
        """The declared types; a timestamp column is read as UTC where its first value has an offset."""
        types = {name: self._schema.field(name).type for name in self._present}
        for name, kind in types.items():
            place = self._layout.names.index(name)
            rest = self._first[place].strip()[10:] if place < len(self._first) else ""
            # Arrow takes offsets only into a type with a zone, and nothing else there: the first value says which type to try.
            if pa.types.is_timestamp(kind) and (rest.endswith("Z") or "+" in rest or "-" in rest):
                types[name] = pa.timestamp("us", "UTC")
        return types

    def _filled(self, rows: Rows) -> pa.RecordBatch:
        """The declared columns in order; times without their zone; null where an optional column is absent; rows without a day refused."""
        whole = self._complete(rows.batch)
        if not self._dated:
            return whole
        column = event_columns(self._problem)[0]
        undated = pc.is_null(event_days(self._problem, whole)).to_numpy(zero_copy_only=False)
        values = whole.column(column)
        rows.refuse(undated, column, lambda i: f"{_shown(values[i].as_py())} is no event time")
        return self._complete(rows.batch) if undated.any() else whole

    def _complete(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = []
        for field in self._schema:
            values = batch.column(field.name) if field.name in self._present else pa.nulls(batch.num_rows, field.type)
            columns.append(values if values.type == field.type else values.cast(field.type, safe=False))
        return pa.record_batch(columns, schema=self._schema)


def _shown(value: object) -> str:
    return "null" if value is None else repr(shorten(str(value), 80))
