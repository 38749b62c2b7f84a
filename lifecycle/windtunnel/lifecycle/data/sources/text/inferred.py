"""CSV without a declared schema: by the reader of declared files, with the layout and the types that the file shows.

What is guessed is told: which option would say it, and of a column of texts that nearly was one of numbers why, how many and which.
"""

import collections
import logging
import re
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.contract.errors import SourceFormatError
from windtunnel.lifecycle.contract.source_options import TextOptions
from windtunnel.lifecycle.data.sources.cast import cast_text
from windtunnel.lifecycle.data.sources.files import damage_named, opened
from windtunnel.lifecycle.data.sources.piece import Rejected
from windtunnel.lifecycle.data.sources.text.convert import Converter, Rows
from windtunnel.lifecycle.data.sources.text.inference import FAMILIES, infer_type, looks_like, loses_characters, wider
from windtunnel.lifecycle.data.sources.text.layout import HEADS, Layout, fit_width, looks_like_data, placed, told_delimiter
from windtunnel.lifecycle.data.sources.text.records import Block, Splitter
from windtunnel.lifecycle.data.sources.text.stream import Head, TextStream
from windtunnel.lifecycle.payload import JsonObject

__all__ = ["Reading", "infer_delimited"]

log = logging.getLogger("windtunnel.sources")

_SAMPLES = 5
_NEARLY = 0.5
"""Share of numbers from which a column of texts nearly is one of numbers."""
_OTHERWISE = {
    r"^[+-]?\d{1,3}(\.\d{3})*,\d+$": "numbers with a decimal comma (decimal_point: ',', perhaps thousands: '.')",
    r"^[+-]?\d{1,3}(,\d{3})*(\.\d+)?$": "numbers with commas between thousands (thousands: ',')",
    r"^\d{1,2}[/.-]\d{1,2}[/.-](\d{4}|\d{2})([ T]\d{1,2}:\d\d(:\d\d)?)?$": "dates, whose order of day and month only a person knows "
    "(timestamp_formats: ['%d/%m/%Y'] or ['%m/%d/%Y'])",
    r"^[+-]?\d[\d.,]* ?([A-Za-z%°€$£]{1,4})$": "numbers with a unit: take it out of the cells, and into the column's name",
    r"^[€$£] ?[+-]?\d[\d.,]*$": "amounts with a currency: take it out of the cells, and into the column's name",
}
"""What numbers and dates look like that are not written as the options say."""
_NO_VALUE = re.compile(r"\s*(|NA|N/A|n/a|#N/A|NULL|null|None|none|-|--|\?|\.)\s*")


class _Column:
    """Why a column is text: values that are no numbers (or dates, or flags), and those that would lose characters."""

    def __init__(self, family: str) -> None:
        self.family = family
        self.values = self.others = self.losing = 0
        self.examples: dict[str, int] = {}
        self.lost: dict[str, int] = {}


class Reading:
    """What came of reading files without a schema.

    Attributes:
        refused: how many records do not fit the table.
        samples: the first of them.
        options: that were found in a file and not given, as `source.options` has them.
        notes: what a person should know, by column; the empty name is of the whole table.
    """

    def __init__(self) -> None:
        self.refused = 0
        self.samples: list[Rejected] = []
        self.options: dict[str, Any] = {}
        self.notes: dict[str, list[str]] = {}

    def refuse(self, rejected: list[Rejected]) -> None:
        """Note records that do not fit."""
        self.refused += len(rejected)
        self.samples += rejected[: _SAMPLES - len(self.samples)]

    def note(self, column: str, text: str) -> None:
        """Note something, once."""
        notes = self.notes.setdefault(column, [])
        if text not in notes:
            notes.append(text)

    def merge(self, other: "Reading") -> None:
        """Add what came of another file."""
        self.refused += other.refused
        self.samples += other.samples[: _SAMPLES - len(self.samples)]
        self.options |= other.options
        for column, notes in other.notes.items():
            for text in notes:
                self.note(column, text)


class _WiderError(Exception):
    """A column needs a wider type: reading starts over."""


class _Strictly(Converter):
    """A converter that does not judge a value that does not fit its column's type: the type is wrong then."""

    unfit = ""

    def _read_as_text(self, names: Any) -> None:
        self.unfit = names[0]
        raise _WiderError(self.unfit)


def infer_delimited(path: str, given: dict[str, object], reading: Reading) -> Iterator[pa.RecordBatch | None]:
    """The batches of a CSV file; ``None`` says: forget those so far, reading starts over with wider types.

    Raises:
        SourceFormatError: it cannot be read, or not one record has the width of the header.
    """
    file = _Inferred(path, given)
    while True:
        file.reading = Reading()
        try:
            with opened(path) as streams, damage_named(path):
                for name, stream in streams:
                    yield from file.batches(name, stream)
        except _WiderError as error:
            log.info("%s: read anew, because column %s has other values too", path, error)
            yield None
            continue
        file.explain()
        reading.merge(file.reading)
        return


class _Inferred:
    """A file whose types are found while it is read.

    Args:
        path: a path or URL.
        given: options of a source that a person has given.
    """

    def __init__(self, path: str, given: JsonObject) -> None:
        self._path, self._given = path, given
        self._kinds: dict[str, pa.DataType] = {}
        self._nearly: dict[str, _Column] = {}
        self._otherwise: dict[str, str] = {}  # columns of texts of the first block: how they are written
        self.reading = Reading()

    def batches(self, name: str, stream: IO[bytes]) -> Iterator[pa.RecordBatch]:
        """The batches of one file in it.

        Raises:
            _WiderError: a type was too narrow.
        """
        self._nearly, self._otherwise = {}, {}
        text = TextStream(stream, TextOptions.of(self._given, name), name)
        options, layout = self._lay_out(text, name)
        splitter = Splitter(options, len(layout.names))
        columns = layout.names[: len(layout.names) - layout.trailing]
        texts = Converter(layout, dict.fromkeys(columns, pa.string()), options, splitter, name)
        typed: _Strictly | None = None
        rows = 0
        for block in text.blocks(splitter):
            # The first block shows the types as text. Later ones are parsed into them, unless a cell such as 007 would lose a character so.
            if typed is None or self._may_lose(block):
                batch = self._from_texts(texts.rows(block), options)
                typed = _Strictly(layout, {column: self._kinds[column] for column in columns}, options, splitter, name)
            else:
                batch = self._from_types(typed, texts, block, options)
            rows += batch.num_rows
            yield batch
        if typed is None:
            yield pa.record_batch([pa.array([], self._kinds.get(column, pa.string())) for column in columns], names=columns)
        self._check_some(name, rows, len(columns))

    def _check_some(self, name: str, rows: int, width: int) -> None:
        if rows or not self.reading.refused:
            return
        first = self.reading.samples[0]
        raise SourceFormatError(
            f"{name}: none of {self.reading.refused:,} records is a row of {width} columns; line {first.line} {first.reason}",
            hint="is it the delimiter (--delimiter), lines before the header (--skip-lines), or no header at all (--no-header)?",
            path=name,
        )

    def _lay_out(self, text: TextStream, name: str) -> tuple[TextOptions, Layout]:
        """The options and the columns, as far as they are not given as the file shows them; its header is consumed."""
        options = self._told_options(text, name)
        heads = text.head(options, HEADS)
        if not heads:
            raise SourceFormatError(f"{name}: is empty, without even a header", hint="was it written to its end?", path=name)
        if re.match(r"\s*<[a-z!?]", heads[0].cells[0] if heads[0].cells else "", re.IGNORECASE):
            raise SourceFormatError(f"{name}: is HTML or XML, not CSV", hint="fetch the data itself", path=name)
        _check_delimiter(heads, options, name)
        header = self._header(text, heads, options, name)
        if header is None:
            return options, self._without_header(heads, options)
        layout = _named_layout(header, [head for head in heads if head.line > header.line], options)
        _check_names(layout.names, name)
        text.skip(header.end)
        return options, layout

    def _told_options(self, text: TextStream, name: str) -> TextOptions:
        options = TextOptions.of(self._given, name)
        if "delimiter" in self._given:
            return options
        delimiter = told_delimiter(text, options, name)
        if delimiter != options.delimiter:
            self.reading.options["delimiter"] = delimiter
        return TextOptions.of({**self._given, "delimiter": delimiter}, name)

    def _header(self, text: TextStream, heads: list[Head], options: TextOptions, name: str) -> Head | None:
        """The record that names the columns; None if a person says that none does."""
        if not options.header:
            return None
        header = heads[0] if {"skip_lines", "header"} & set(self._given) else placed(heads)
        if header.broken is not None:
            raise SourceFormatError(f"{name} line {header.line}: the header {header.broken.reason}", hint="see --quote", path=name)
        if header is not heads[0]:
            skipped = header.line - text.line
            self.reading.options["skip_lines"] = skipped
            self.reading.note("", f"the first {skipped} lines come before the header in line {header.line}: skip_lines: {skipped}")
        if "header" not in self._given and not options.names:
            self._check_names_are_names(header, heads, options, name)
        return header

    def _check_names_are_names(self, header: Head, heads: list[Head], options: TextOptions, name: str) -> None:
        rows = [head.cells for head in heads if head.line > header.line and not head.broken]
        if looks_like_data(header.cells, rows, options):
            shown = ", ".join(repr(cell) for cell in header.cells[:6])
            raise SourceFormatError(
                f"{name} line {header.line}: looks like data and not like the names of columns: {shown}",
                hint="say --no-header (source.options.header: false) if there are no names, or --header if these are names",
                path=name,
            )

    def _without_header(self, heads: list[Head], options: TextOptions) -> Layout:
        widths = collections.Counter(len(head.cells) for head in heads if not head.broken)
        width = widths.most_common(1)[0][0] if widths else 1
        return Layout(list(options.names) or [f"column_{i}" for i in range(1, width + 1)])

    def _may_lose(self, block: Block) -> bool:
        """Whether some cell begins with a zero or a plus and a digit: as a number it would lose a character."""
        if not any(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in self._kinds.values()):
            return False
        octets = np.frombuffer(block.text, dtype=np.uint8)
        zero = (octets[1:-1] == ord("0")) | (octets[1:-1] == ord("+"))
        after = octets[2:]
        before = octets[:-2]
        digit = ((after >= ord("0")) & (after <= ord("9"))) | (after == ord("x")) | (after == ord("X"))
        inside = ((before >= ord("0")) & (before <= ord("9"))) | (before == ord(".")) | (before == ord(":")) | (before == ord("e"))
        return bool((zero & digit & ~inside).any())

    def _from_texts(self, rows: Rows, options: TextOptions) -> pa.RecordBatch:
        """A block whose values are looked at as they are written."""
        self.reading.refuse(rows.rejected)
        columns, batch = [], rows.batch
        changed = []
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            known = self._kinds.get(name)
            found = known if known == pa.string() else infer_type(values, options)
            kind = found if known is None else wider(known, found)
            if known is not None and kind != known:
                changed.append(name)
            self._kinds[name] = kind
            columns.append(self._told(name, values, rows, options) if kind == pa.string() else _cast(values, kind, options))
        # After all columns: each start costs a reading of the file, so it should know every wider type.
        if changed:
            raise _WiderError(changed[0])
        return pa.record_batch(columns, names=batch.schema.names)

    def _from_types(self, typed: _Strictly, texts: Converter, block: Block, options: TextOptions) -> pa.RecordBatch:
        """A block by the types that are known; those that are too narrow are widened, and reading starts over."""
        try:
            rows = typed.rows(block)
        except _WiderError:
            column, known = typed.unfit, self._kinds[typed.unfit]
            kind = wider(known, infer_type(texts.rows(block).batch.column(column), options))
            # Where the values fit by what we know and Arrow refuses them nevertheless, only text lets the reading end.
            self._kinds[column] = kind if kind != known else pa.string()
            raise
        self.reading.refuse(rows.rejected)
        for name in self._nearly:
            self._told(name, rows.batch.column(name), rows, options)
        return rows.batch

    def _told(self, name: str, values: pa.Array, rows: Rows, options: TextOptions) -> pa.Array:
        """A column of texts, after a look at why it is one."""
        column = self._nearly.get(name) or _nearly(values, options)
        if column is None:
            self._otherwise.setdefault(name, _otherwise(values))
            return values
        self._nearly[name] = column
        alike = looks_like(column.family, values, options)
        losing = loses_characters(values, options) if column.family == "numbers" else pc.equal(values, pa.scalar(None, pa.string()))
        column.values += len(values) - values.null_count
        column.others += len(values) - values.null_count - _count(alike)
        column.losing += _count(losing)
        for mask, examples in ((pc.invert(alike), column.examples), (losing, column.lost)):
            for i in np.flatnonzero(pc.fill_null(mask, False).to_numpy(zero_copy_only=False))[:_SAMPLES].tolist():
                if len(examples) < _SAMPLES:
                    examples.setdefault(values[i].as_py(), rows.line(i))
        return values

    def explain(self) -> None:
        """Note of each column of texts that nearly was one of numbers why it is not, and of those that are numbers written otherwise."""
        for name, text in self._otherwise.items():
            if text and self._kinds[name] == pa.string() and name not in self._nearly:
                self.reading.note(name, text)
        for name, column in self._nearly.items():
            if self._kinds[name] == pa.string() and column.others <= _NEARLY * column.values:
                self._explain(name, column)

    def _explain(self, name: str, column: _Column) -> None:
        if column.others:
            shown = ", ".join(f"{value[:40]!r} (line {line})" for value, line in column.examples.items())
            text = f"text, because {column.others:,} of {column.values:,} values are not {column.family}: {shown}"
            if all(_NO_VALUE.fullmatch(value) for value in column.examples):
                text += f"; if these mean no value: nulls: {['', *column.examples]}"
            self.reading.note(name, text)
        if column.losing:
            shown = ", ".join(f"{value[:40]!r} (line {line})" for value, line in column.lost.items())
            self.reading.note(name, f"text, because {column.losing:,} of {column.values:,} would lose characters as numbers: {shown}")


def _check_delimiter(heads: Sequence[Head], options: TextOptions, name: str) -> None:
    """Refuse cells that stand between two delimiters in every record: every second column would be an empty one that nobody meant."""
    records = [head.cells for head in heads if not head.broken]
    if records and all(len(cells) > 1 and len(cells) % 2 and not any(cells[1::2]) and any(cells[::2]) for cells in records):
        raise SourceFormatError(
            f"{name}: between any two cells there are two delimiters, {options.delimiter * 2!r}",
            hint="a delimiter has one character here: write the file again with one",
            path=name,
        )


def _otherwise(values: pa.Array) -> str:
    """How a column of texts is written, if it is numbers or dates that an option would make such; empty if it is none."""
    texts = pc.utf8_trim_whitespace(values.drop_null())
    for pattern, what in _OTHERWISE.items() if len(texts) else ():
        if _count(pc.match_substring_regex(texts, pattern)) >= _NEARLY * len(texts):
            return f"text, because its values are {what}, such as {texts[0].as_py()[:40]!r}"
    return ""


def _nearly(values: pa.Array, options: TextOptions) -> _Column | None:
    """Of a column of which most values look like numbers, dates or flags: these."""
    counts = {family: _count(looks_like(family, values, options)) for family in FAMILIES}
    family = max(counts, key=lambda family: counts[family])
    return _Column(family) if counts[family] and counts[family] >= _NEARLY * (len(values) - values.null_count) else None


def _count(mask: pa.Array) -> int:
    return pc.sum(mask).as_py() or 0


def _cast(values: pa.Array, kind: pa.DataType, options: TextOptions) -> pa.Array:
    if pa.types.is_null(kind):
        return pa.nulls(len(values))
    typed, bad = cast_text(
        values, kind, decimal_point=options.decimal_point, thousands=options.thousands, formats=options.timestamp_formats
    )
    if bad.any():  # the type that is known from another file of a zip, or from before, is too narrow
        raise _WiderError(str(kind))
    return typed


def _named_layout(header: Head, rows: list[Head], options: TextOptions) -> Layout:
    if options.names:
        return fit_width(list(options.names), rows, header)
    names = [cell.strip() for cell in header.cells]
    ends = {row.cells[-1].strip() for row in rows if len(row.cells) == len(names)}
    if not names[-1] and ends == {""}:
        return Layout(_names(names, trailing=True), header.raw, trailing=True)
    layout = fit_width(names, rows, header)
    return layout._replace(names=_names(layout.names, trailing=layout.trailing))


def _names(cells: Any, *, trailing: bool = False) -> list[str]:
    last = len(cells) if trailing else 0
    return ["\0trailing" if i == last else cell.strip() or f"(unnamed {i})" for i, cell in enumerate(cells, 1)]


def _check_names(names: Any, where: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceFormatError(
            f"{where}: column {twice[0]!r} is there {names.count(twice[0])} times",
            hint="give each column its own name; or is there no header (--no-header)?",
            path=where,
        )
