"""Files of which no schema is declared: the types are found while reading, and widened where a later value does not fit."""

import csv
import logging
import re
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.ipc

from windtunnel.lifecycle.contract.errors import SourceFormatError
from windtunnel.lifecycle.data.sources.files import damage_named, opened
from windtunnel.lifecycle.data.sources.options import TextOptions
from windtunnel.lifecycle.data.sources.text.stream import MARK, TextStream

__all__ = ["Skipped", "format_of", "read_untyped"]

log = logging.getLogger("windtunnel.sources")

_NULLS = ("", "NA", "N/A", "n/a", "NULL", "null", "NaN", "nan", "#N/A", "None")
_RECORDS = 20
"""That are looked at to tell what stands between cells."""
_OPEN_QUOTE = "a quote is never closed"
_BLOCKS = (8 << 20, 64 << 20, 512 << 20)
_SUFFIXES = {
    "parquet": ("parquet", "pq"),
    "arrow": ("arrow", "feather", "ipc"),
    "jsonl": ("jsonl", "ndjson", "json"),
    "csv": ("csv", "tsv", "psv", "ssv", "txt", "tab", "dat", "data"),
}


class Skipped:
    """Rows that were passed over because their number of cells is wrong, with a few to show."""

    def __init__(self) -> None:
        self.rows = 0
        self.samples: list[str] = []

    def add(self, text: str) -> None:
        """One of them."""
        self.rows += 1
        if len(self.samples) < 5:  # noqa: PLR2004 - enough to see what is wrong
            self.samples.append(text[:200])


def format_of(path: str) -> str:
    """The format that a file's name, or else its first bytes, tell.

    Example:
        >>> format_of("a/b.csv.gz"), format_of("x.parquet")
        ('csv', 'parquet')
    """
    name = re.sub(r"\.(gz|bz2|xz|zst|zip)$", "", path.rpartition("/")[2].lower())
    for kind, suffixes in _SUFFIXES.items():
        if name.endswith(tuple(f".{suffix}" for suffix in suffixes)):
            return kind
    try:
        with opened(path) as streams:
            head = next(iter(streams))[1].read(6)
    except SourceFormatError as error:
        if "Parquet" in error.message:
            return "parquet"
        if "Arrow" in error.message:
            return "arrow"
        raise
    return "jsonl" if head.lstrip().startswith(b"{") else "csv"


def read_untyped(path: str, options: dict[str, Any], skipped: Skipped) -> Iterator[pa.RecordBatch | None]:
    """The batches of a file; ``None`` says: forget those so far, reading starts over with wider types.

    Raises:
        SourceFormatError: it cannot be read.
    """
    kind = format_of(path)
    if kind == "jsonl":
        from windtunnel.lifecycle.data.sources.text.lines import read_untyped_lines

        yield from read_untyped_lines(path)
    elif kind == "arrow":
        from windtunnel.lifecycle.data.sources.columnar import arrow_batches

        yield from arrow_batches(path)
    else:
        yield from _Csv(path, options, skipped).batches()


class _Csv:
    """A CSV file without a schema."""

    def __init__(self, path: str, options: dict[str, Any], skipped: Skipped) -> None:
        self.path, self.given, self.skipped = path, options, skipped
        self.wider: dict[str, pa.DataType] = {}
        self.lenient = False
        self.block = 0

    def batches(self) -> Iterator[pa.RecordBatch | None]:
        """Batches, and None whenever reading starts over."""
        while True:
            self.skipped.rows, self.skipped.samples = 0, []
            try:
                with opened(self.path) as streams, damage_named(self.path):
                    for name, stream in streams:
                        yield from self._one(name, stream)
            except pa.ArrowInvalid as error:
                self._widen(str(error))
                yield None
                continue
            return

    def _widen(self, message: str) -> None:
        """What must change for reading to get further."""
        log.info("%s: read anew, because: %s", self.path, message[:200])
        found = re.search(r"In CSV column #(\d+)", message)
        if message == _OPEN_QUOTE:  # it would swallow all rows that follow: quotes mean nothing here
            self.given = {**self.given, "quote": ""}
        elif "straddl" in message and self.block < len(_BLOCKS) - 1:
            self.block += 1
        elif found and self.names[int(found[1])] not in self.wider:
            name = self.names[int(found[1])]
            number = "error to int64" in message or "error to null" in message
            self.wider[name] = pa.float64() if number else pa.string()
        elif found and self.wider[self.names[int(found[1])]] == pa.float64():
            self.wider[self.names[int(found[1])]] = pa.string()
        elif not self.lenient:
            self.lenient = True
        else:
            raise SourceFormatError(f"{self.path}: cannot be read as CSV: {message[:300]}", path=self.path)

    def _one(self, name: str, stream: IO[bytes]) -> Iterator[pa.RecordBatch]:
        options = TextOptions.of(self.given, name)
        source = TextStream(stream, options, lenient=self.lenient)
        if "delimiter" not in self.given:
            options = TextOptions.of({**self.given, "delimiter": _delimiter(source, options, name)}, name)
        head = source.peek_records(options, 2, name)
        if not head:
            raise SourceFormatError(f"{name}: is empty, without even a header", path=name)
        if re.match(r"\s*<[a-z!?]", head[0][0] if head[0] else "", re.IGNORECASE):
            raise SourceFormatError(f"{name}: is HTML or XML, not CSV", hint="fetch the data itself", path=name)
        self.names = self._columns(head[0], options, name)
        if options.header and len(head) == 1 and source.whole:  # Arrow stumbles over a header without a line end
            yield pa.record_batch([pa.array([], pa.string()) for _ in self.names], names=self.names)
            return
        lenient = self.lenient

        def handle(row: pa_csv.InvalidRow) -> str:
            if row.text.strip():
                self.skipped.add(row.text)
            return "skip"

        try:
            reader = pa_csv.open_csv(
                pa.PythonFile(source, "r"),
                read_options=pa_csv.ReadOptions(
                    use_threads=False, block_size=_BLOCKS[self.block], column_names=self.names, skip_rows_after_names=int(options.header)
                ),
                parse_options=pa_csv.ParseOptions(
                    delimiter=options.delimiter,
                    quote_char=options.quote or False,
                    escape_char=options.escape or False,
                    newlines_in_values=True,
                    invalid_row_handler=handle if lenient else None,
                ),
                convert_options=pa_csv.ConvertOptions(
                    column_types=self.wider,
                    null_values=list(options.nulls if "nulls" in self.given else _NULLS),
                    strings_can_be_null=True,
                    decimal_point=options.decimal_point,
                ),
            )
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):
                return
            raise
        for batch in reader:
            if not lenient and any(pa.types.is_binary(field.type) for field in batch.schema):
                raise pa.ArrowInvalid("undecodable text")
            yield batch
        if options.quote and source.quotes % 2 and "quote" not in self.given:
            raise pa.ArrowInvalid(_OPEN_QUOTE)

    def _columns(self, head: list[str], options: TextOptions, where: str) -> list[str]:
        if options.names:
            return list(options.names)
        if not options.header:
            return [f"column_{i}" for i in range(1, len(head) + 1)]
        names = [cell.strip().replace(MARK, "\ufffd") or f"(unnamed {i})" for i, cell in enumerate(head, 1)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SourceFormatError(
                f"{where}: column {twice[0]!r} is there {names.count(twice[0])} times",
                hint="give each column its own name; or is there no header (--no-header)?",
                path=where,
            )
        return names


def _delimiter(source: TextStream, options: TextOptions, where: str) -> str:
    """The one that the file's name tells, or that the first records agree on, or that the header has most of."""
    name = re.sub(r"\.(gz|bz2|xz|zst|zip)$", "", where.lower())
    if name.endswith((".tsv", ".tab")):
        return "\t"
    candidates = {mark: TextOptions.of({"delimiter": mark, "quote": options.quote}, where) for mark in (",", ";", "\t", "|")}
    widths = {}
    for mark, tried in candidates.items():
        try:
            records = source.peek_records(tried, _RECORDS, where)
        except csv.Error:
            continue
        width = len(records[0]) if records else 0
        widths[mark] = (width > 1 and all(len(record) == width for record in records), width)
    return max(widths, key=lambda mark: widths[mark])
