"""Blocks of records as typed columns; records that do not fit are refused one by one, with line, column and reason.

A block is parsed straight into the wanted types. A column with a value that does not fit is read as text from then on and cast value by
value; all others stay on the fast way.
"""

import itertools
import logging
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from windtunnel.lifecycle.contract.errors import SourceFormatError
from windtunnel.lifecycle.contract.source_options import TextOptions
from windtunnel.lifecycle.data.sources.cast import FALSE, TRUE, cast_text, is_inexact, is_too_fine
from windtunnel.lifecycle.data.sources.piece import Rejected, shorten
from windtunnel.lifecycle.data.sources.text.layout import Layout
from windtunnel.lifecycle.data.sources.text.records import Block, Offsets, Record, Splitter

__all__ = ["Converter", "Rows"]

log = logging.getLogger("windtunnel.sources")

_FEW = 200
_FILLED = re.compile(rb"[^\r\n]")
_COLUMN = re.compile(r"In CSV column #(\d+)")

Mask = npt.NDArray[np.bool_]


class Rows:
    """Typed rows of a block, and the records that were refused.

    Args:
        batch: the rows.
        block: where they come from.
        records: which of the block's records each row is.

    Attributes:
        batch: the rows that fit.
        rejected: the records that do not.
    """

    def __init__(self, batch: pa.RecordBatch, block: Block, records: Offsets | None) -> None:
        self.batch, self.rejected = batch, list[Rejected]()
        self._block, self._records = block, records
        self._places: tuple[Offsets, Offsets, Offsets] | None = None

    def refuse(self, rows: Mask, column: str, reason: Callable[[int], str]) -> None:
        """Set rows aside; `reason` says why of each of them, by its place in the batch."""
        places = np.flatnonzero(rows)
        if not len(places):
            return
        self.rejected += [self._rejected(self._record(i), column, reason(i)) for i in places.tolist()]
        keep = ~rows
        self._records = (np.arange(len(rows)) if self._records is None else self._records)[keep]
        self.batch = _kept(self.batch, places, keep)

    def refuse_record(self, record: int, column: str, reason: str) -> None:
        """Note a record that became no row."""
        self.rejected.append(self._rejected(record, column, reason))

    def line(self, row: int) -> int:
        """The line on which a row begins."""
        return self._written(self._record(row)).first

    def _record(self, row: int) -> int:
        return row if self._records is None else int(self._records[row])

    def _written(self, record: int) -> Record:
        self._places = self._places or self._block.places()
        starts, ends, lines = self._places
        return self._block.record(int(starts[record]), int(ends[record]), int(lines[record]))

    def _rejected(self, record: int, column: str, reason: str) -> Rejected:
        first, last, raw = self._written(record)
        return rejected(first, last, column, reason, raw)


def rejected(first: int, last: int, column: str, reason: str, raw: bytes) -> Rejected:
    """A record as quarantine keeps it."""
    return Rejected(first, column, reason.replace("\0", "␀"), shorten(raw.decode("utf-8", "replace")), last)


class Converter:
    """Makes rows of blocks.

    Args:
        layout: the file's columns, each under a name of its own.
        types: the columns that are wanted, in order, and as what.
        options: how the file is written.
        splitter: what cut the blocks.
        where: what to call the file in messages.
    """

    def __init__(self, layout: Layout, types: Mapping[str, pa.DataType], options: TextOptions, splitter: Splitter, where: str) -> None:
        self.names, self.types, self.options = list(layout.names), dict(types), options
        self._splitter, self._header, self._trailing, self._where = splitter, layout.header, layout.trailing, where
        # Arrow's parser knows nothing of thousands separators.
        self._as_text = {name for name, kind in types.items() if options.thousands and not pa.types.is_string(kind)}
        self._cut: set[str] = set()
        self._convert = self._options()

    def shown(self, column: int) -> str:
        """A column's name as the file has it; empty where it has none."""
        return self.names[column].partition("\0")[0] if 0 <= column < len(self.names) else ""

    def rows(self, block: Block) -> Rows:
        """The rows of a block.

        Raises:
            SourceFormatError: it cannot be parsed at all.
        """
        refused = [
            rejected(block.line + entry.first, block.line + entry.last, self.shown(entry.column), entry.reason, entry.raw)
            for entry in block.broken
        ]
        # Before Arrow sees them: one cell that is not UTF-8 fails the whole block.
        block, unreadable = self._without_unreadable(block)
        batch, ragged = self._parsed(block)
        rows = Rows(batch, block, _remaining(batch.num_rows, ragged))
        rows.rejected = [*refused, *unreadable]
        for row in ragged:
            rows.refuse_record(row.number - 1, "", self._another_width(row.actual_columns))
        self._typed(rows)
        if self._trailing:
            extra = rows.batch.column(rows.batch.num_columns - 1)
            rows.refuse(_mask(pc.is_valid(extra)), "", lambda _: "has a value past the last column")
            rows.batch = rows.batch.select(list(self.types))
        rows.rejected.sort(key=lambda entry: entry.line)
        return rows

    def _without_unreadable(self, block: Block) -> tuple[Block, list[Rejected]]:
        """The block without records that say the header again, hold a NUL byte, or cannot be decoded."""
        if not self._is_suspect(block.text):
            return block, []
        starts, ends, lines = block.places()
        suspects = {*_touched(block.text, b"\0", ends), *_foreign(block.text, ends)}
        suspects.update(_touched(block.text, self._header, ends) if self._header else [])
        refused, bad = [], []
        for i in sorted(suspects):
            record = block.record(int(starts[i]), int(ends[i]), int(lines[i]))
            column, reason = self._unreadable(record.raw)
            if reason:
                refused.append(rejected(record.first, record.last, column, reason, record.raw))
                bad.append(i)
        return (block.without(np.array(bad)) if bad else block), refused

    def _is_suspect(self, text: bytes) -> bool:
        return b"\0" in text or bool(self._header and self._header in text) or not (text.isascii() or _is_utf8(text))

    def _unreadable(self, raw: bytes) -> tuple[str, str]:
        """The column in which a record cannot be read, and why; nothing where it can, or where nobody wants that column."""
        if raw == self._header:
            return "", "says the header again"
        if b"\0" in raw:
            return self.shown(self._splitter.column_of(raw, raw.index(b"\0"))), "has a NUL byte"
        if _is_utf8(raw):
            return "", ""
        cells = self._splitter.cells(raw)
        if len(cells) != len(self.names):  # Arrow cannot hand over a record that is no text
            return "", self._another_width(len(cells))
        wanted = set(self._convert.include_columns)
        place = next((i for i, cell in enumerate(cells) if self.names[i] in wanted and not _is_utf8(cell)), None)
        return ("", "") if place is None else (self.shown(place), f"cannot be decoded as {self.options.encoding}")

    def _another_width(self, cells: int) -> str:
        return f"has {cells} cells where the header has {len(self.names) - self._trailing}"

    def _parsed(self, block: Block) -> tuple[pa.RecordBatch, list[pa_csv.InvalidRow]]:
        """The block's rows as Arrow parses them, and its records of another width."""
        while True:
            ragged: list[pa_csv.InvalidRow] = []
            try:
                batch = self._parse(block.clean, ragged)
            except pa.ArrowInvalid as error:
                # Only in its message does Arrow say which column it was.
                place = _COLUMN.search(str(error))
                # A column that is read as text already would fail in the same way for ever.
                if place is None or self.names[int(place[1])] in self._as_text:
                    raise SourceFormatError(f"{self._where}: cannot be read as CSV: {error}", path=self._where) from error
                log.info("%s: column %r is judged value by value: %s", self._where, self.shown(int(place[1])), error)
                self._read_as_text([self.names[int(place[1])]])
            else:
                # Arrow rounds whole numbers that a float cannot hold without a word.
                rounded = [field.name for field in batch.schema if is_inexact(batch.column(field.name))]
                if not rounded:
                    return batch, ragged
                self._read_as_text(rounded)

    def _read_as_text(self, names: Sequence[str]) -> None:
        """From now on these columns are cast value by value."""
        self._as_text.update(names)
        self._convert = self._options()

    def _parse(self, text: bytes, ragged: list[pa_csv.InvalidRow]) -> pa.RecordBatch:
        def handle(row: pa_csv.InvalidRow) -> str:
            ragged.append(row)
            return "skip"

        wanted = self._convert.include_columns
        if _FILLED.search(text) is None:
            empty = [pa.array([], self._convert.column_types[name]) for name in wanted]
            return pa.record_batch(empty, names=wanted)
        options = self.options
        table = pa_csv.read_csv(
            pa.BufferReader(text),
            # Only without threads does Arrow number the rows that it hands over, and a record must not be longer than a block.
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=self.names),
            parse_options=pa_csv.ParseOptions(
                delimiter=options.delimiter,
                quote_char=options.quote or False,
                escape_char=options.escape or False,
                newlines_in_values=True,
                invalid_row_handler=handle,
            ),
            convert_options=self._convert,
        )
        batches = table.combine_chunks().to_batches()
        return batches[0] if batches else pa.RecordBatch.from_arrays([pa.array([], kind) for kind in table.schema.types], wanted)

    def _options(self) -> pa_csv.ConvertOptions:
        types = {name: pa.string() if name in self._as_text else kind for name, kind in self.types.items()}
        if self._trailing:
            types[self.names[-1]] = pa.string()
        return pa_csv.ConvertOptions(
            column_types=types,
            include_columns=list(types),
            null_values=list(self.options.nulls),
            strings_can_be_null=True,
            true_values=TRUE,
            false_values=FALSE,
            decimal_point=self.options.decimal_point,
            timestamp_parsers=[pa_csv.ISO8601, *self.options.timestamp_formats],
        )

    def _typed(self, rows: Rows) -> None:
        """Cast the columns that were read as text."""
        for name, kind in self.types.items():
            values = rows.batch.column(name)
            if values.type != kind:
                self._cast(rows, name, values, kind)

    def _cast(self, rows: Rows, name: str, values: pa.Array, kind: pa.DataType) -> None:
        options = self.options
        if pa.types.is_timestamp(kind):
            kind = pa.timestamp("us")  # a text says its zone itself
        if pa.types.is_timestamp(kind) and name not in self._cut and is_too_fine(values):
            self._cut.add(name)
            log.warning("%s: column %r has times finer than a microsecond: they are cut", self._where, name)
        typed, bad = cast_text(
            values, kind, decimal_point=options.decimal_point, thousands=options.thousands, formats=options.timestamp_formats
        )
        place = rows.batch.schema.get_field_index(name)
        rows.batch = rows.batch.set_column(place, name, typed)
        rows.refuse(bad, name, lambda i: f"{shorten(str(values[i].as_py()), 80)!r} is not {kind}")


def _kept(batch: pa.RecordBatch, gone: Offsets, keep: Mask) -> pa.RecordBatch:
    """A batch without some rows; where they are few, copying what lies between them is cheaper than a filter."""
    if len(gone) * _FEW > batch.num_rows:
        return batch.filter(pa.array(keep))
    edges = np.concatenate([[-1], gone, [batch.num_rows]]).tolist()
    parts = [batch.slice(first + 1, last - first - 1) for first, last in itertools.pairwise(edges) if last > first + 1]
    return pa.concat_batches(parts) if parts else batch.slice(0, 0)


def _remaining(rows: int, ragged: Sequence[pa_csv.InvalidRow]) -> Offsets | None:
    """Which records became rows: all but those of another width."""
    if not ragged:
        return None
    numbers = np.arange(rows + len(ragged), dtype=np.int64)
    return np.delete(numbers, [row.number - 1 for row in ragged])


def _touched(text: bytes, what: bytes, ends: Offsets) -> list[int]:
    """The records in which some bytes stand."""
    places = [match.start() for match in re.finditer(re.escape(what), text)]
    records = np.unique(np.searchsorted(ends, places, side="right"))
    return [int(record) for record in records if record < len(ends)]


def _foreign(text: bytes, ends: Offsets) -> list[int]:
    """The records that are not ASCII."""
    octets = np.flatnonzero(np.frombuffer(text, dtype=np.int8) < 0)
    records = np.unique(np.searchsorted(ends, octets, side="right"))
    return [int(record) for record in records if record < len(ends)]


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _mask(condition: pa.Array) -> Mask:
    return np.asarray(condition.to_numpy(zero_copy_only=False), dtype=bool)
