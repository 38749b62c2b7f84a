"""CSV and its relatives.

A file is first read straight into the declared types. Where anything does not fit, reading starts over as text, past the rows that were
already handed on, and each row that does not fit is set aside with its line, column and reason (`lenient`).
"""

import logging
from collections.abc import Callable, Generator, Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from windtunnel.lifecycle.contract.errors import SourceFormatError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.schema import arrow_schema, check_columns
from windtunnel.lifecycle.data.sources.cast import FALSE, TRUE
from windtunnel.lifecycle.data.sources.days import event_days
from windtunnel.lifecycle.data.sources.files import damage_named, opened, unchanged
from windtunnel.lifecycle.data.sources.options import TextOptions
from windtunnel.lifecycle.data.sources.piece import Chunk, Piece
from windtunnel.lifecycle.data.sources.text.lenient import Lenient
from windtunnel.lifecycle.data.sources.text.stream import TextStream

__all__ = ["DelimitedFile", "read_delimited"]

log = logging.getLogger("windtunnel.sources")

_TRIES = ((False, 4 << 20), (True, 4 << 20), (True, 64 << 20), (True, 512 << 20))
"""Lenient or not, and bytes a block: a cell must fit one."""


class _DoesNotFitError(Exception):
    """This way of reading cannot go on; the next one can."""


def read_delimited(problem: Problem, piece: Piece, _settings: Settings) -> Iterator[Chunk]:
    """The rows of a CSV file: plain, gzip, bzip2, xz, zstd, or each file of a zip.

    Raises:
        SourceFormatError: it is not such a file, is damaged, or has no header.
        SchemaMismatchError: a declared column is missing.
        UnavailableError: it is out of reach, or was changed while being read.
    """
    options = TextOptions.of(problem.source.options, f"problem {problem.name}")
    member = 0
    with unchanged(piece.path, piece.state):
        while True:
            more = yield from _member(problem, piece, member, options)
            if not more:
                return
            member += 1


def _member(problem: Problem, piece: Piece, member: int, options: TextOptions) -> Generator[Chunk, None, bool]:
    """The rows of one file inside a file; returns whether another follows."""
    done, path = 0, piece.path
    for lenient, block in _TRIES:
        with opened(path) as streams, damage_named(path):
            for number, (name, stream) in enumerate(streams):
                if number < member:
                    continue
                if number > member:
                    return True
                file = DelimitedFile(problem, name, stream, options, lenient=lenient, block=block, dated=piece.dated)
                try:
                    yield from file.chunks(done)
                except _DoesNotFitError as reason:
                    done = max(done, file.handed)
                    log.info("%s: read anew, because: %s", name, reason)
                    break
            else:
                return False
    raise SourceFormatError(
        f"{path}: a cell is larger than {_TRIES[-1][1] >> 20} MB, or a quote is never closed",
        hint="set source.options.quote to '' if quotes mean nothing in this file",
        path=path,
    )


class DelimitedFile:
    """One CSV file, being read one way.

    Args:
        problem: declares the columns.
        name: what to call the file in messages.
        stream: its bytes.
        options: how it is written.
        lenient: whether rows are judged one by one.
        block: bytes that are parsed at once.
        dated: whether a row without an event time does not fit.

    Attributes:
        handed: how many records were handed on, good or bad.
    """

    def __init__(
        self, problem: Problem, name: str, stream: IO[bytes], options: TextOptions, *, lenient: bool, block: int, dated: bool
    ) -> None:
        self.problem, self.dated = problem, dated
        self.name, self.options, self.lenient, self.block = name, options, lenient, block
        self.handed = 0
        self.declared = list(problem.columns)
        self.schema = arrow_schema(problem, day=False)
        self.stream = TextStream(stream, options, lenient=lenient)
        self.head = self.stream.peek_records(options, 2, name)
        self.names = self._names(problem)
        self.present = [column for column in self.schema.names if column in self.names]

    def _names(self, problem: Problem) -> list[str]:
        """The names of the file's columns; those that are not declared get names that cannot clash."""
        if not self.head:
            raise SourceFormatError(f"{self.name}: is empty, without even a header", hint="was it written to its end?", path=self.name)
        if self.options.names:
            names = list(self.options.names)
        elif self.options.header:
            names = [cell.strip() for cell in self.head[0]]
        else:
            names = list(self.declared)
        check_columns(problem, names, self.name)
        return [name if name in problem.columns else f"{name}\0{i}" for i, name in enumerate(names)]

    def chunks(self, done: int) -> Iterator[Chunk]:
        """The rows after the first `done` ones, which were handed on already.

        Raises:
            _DoesNotFitError: something needs the next way of reading.
        """
        try:
            if self.lenient:
                yield from Lenient(self, done).chunks()
            else:
                yield from self._strict()
        except pa.ArrowInvalid as error:
            text = str(error)
            if self.lenient and "straddl" not in text and "block size" not in text:
                raise SourceFormatError(f"{self.name}: cannot be read as CSV: {text}", path=self.name) from error
            raise _DoesNotFitError(text) from error

    def _strict(self) -> Iterator[Chunk]:
        if self.options.thousands:
            raise _DoesNotFitError("numbers may have thousands separators")
        held: pa.RecordBatch | None = None
        for batch in self.batches(self._types(), self.present, None):
            if held is not None:
                self.handed += held.num_rows
                yield Chunk(held, [], held.num_rows)
            held = self._filled(batch)
            if self.dated and event_days(self.problem, held).null_count:
                raise _DoesNotFitError("a row has no event time")
            if self.stream.nul:
                raise _DoesNotFitError("there is a NUL byte")
        if self.stream.quotes % 2:
            raise _DoesNotFitError("a quote may not be closed")
        if held is not None:
            self.handed += held.num_rows
            yield Chunk(held, [], held.num_rows)

    def _types(self) -> dict[str, pa.DataType]:
        """The declared types; a timestamp column is read as UTC where its first value has an offset."""
        types = {name: self.schema.field(name).type for name in self.present}
        row = self.head[-1] if len(self.head) > int(self.options.header) else []
        for name, kind in types.items():
            place = self.names.index(name)
            rest = row[place].strip()[10:] if place < len(row) else ""
            if pa.types.is_timestamp(kind) and (rest.endswith("Z") or "+" in rest or "-" in rest):
                types[name] = pa.timestamp("us", "UTC")
        return types

    def batches(self, types: dict[str, pa.DataType], columns: list[str], handler: Callable[[Any], str] | None) -> Iterator[pa.RecordBatch]:
        """Parsed batches; with a handler as raw text, null only where a cell is absent."""
        options, strict = self.options, handler is None
        if options.header and len(self.head) == 1 and self.stream.whole:  # Arrow stumbles over a header without a line end
            return
        try:
            reader = pa_csv.open_csv(
                pa.PythonFile(self.stream, "r"),
                read_options=pa_csv.ReadOptions(
                    use_threads=False,
                    block_size=self.block,
                    column_names=self.names,
                    skip_rows_after_names=int(options.header),
                ),
                parse_options=pa_csv.ParseOptions(
                    delimiter=options.delimiter,
                    quote_char=options.quote or False,
                    escape_char=options.escape or False,
                    newlines_in_values=True,
                    ignore_empty_lines=True,
                    invalid_row_handler=handler,
                ),
                convert_options=pa_csv.ConvertOptions(
                    column_types=types,
                    include_columns=columns,
                    null_values=list(options.nulls) if strict else [],
                    strings_can_be_null=strict,
                    true_values=TRUE,
                    false_values=FALSE,
                    decimal_point=options.decimal_point,
                    timestamp_parsers=[pa_csv.ISO8601, *options.timestamp_formats],
                ),
            )
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):  # a header and nothing else
                return
            raise
        yield from reader

    def _filled(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The declared columns in order; times without their zone; null where an optional column is absent."""
        columns = []
        for field in self.schema:
            values = batch.column(field.name) if field.name in self.present else pa.nulls(batch.num_rows, field.type)
            columns.append(values if values.type == field.type else values.cast(field.type, safe=False))
        return pa.record_batch(columns, schema=self.schema)
