"""Bytes of a text file on their way to the parser: transcoded to UTF-8, and watched for what no text has."""

import codecs
import csv
import io
import re
from typing import IO, TYPE_CHECKING

from windtunnel.lifecycle.contract.errors import SourceFormatError
from windtunnel.lifecycle.data.sources.options import TextOptions

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BLANK", "MARK", "TextStream"]

MARK = "\ufdd0"
"""Stands for bytes that cannot be decoded: a code point that Unicode promises never to be a character."""

BLANK = "\ufdd1"
"""Stands on a blank line of a file that is read leniently: another such code point."""

_BLANK = BLANK.encode()
_BLANK_LINE = re.compile(rb"(\n)(?=\r?\n)")
_HEAD = 1 << 16
_HEAD_LIMIT = 1 << 26
_BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def _mark(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeDecodeError):
        return MARK, error.end
    raise error


codecs.register_error("windtunnel.mark", _mark)


class TextStream(io.RawIOBase):
    """A binary stream of UTF-8 without a byte order mark.

    Args:
        stream: what to read.
        options: say the encoding and how many lines to skip.
        lenient: put `MARK` for bytes that cannot be decoded; else pass them on for the parser to refuse (UTF-8), which is faster.

    Attributes:
        nul: whether a NUL byte came by.
        quotes: how many quote characters came by.
        undecodable: whether `MARK` was put anywhere.
        leading: blank lines before the header, which were taken away.
        whole: whether the records that were peeked at are all there are.
    """

    def __init__(self, stream: IO[bytes], options: TextOptions, *, lenient: bool) -> None:
        super().__init__()
        self._stream = stream
        self._quote = options.quote.encode()
        self._decode: Callable[[bytes, bool], str] | None = None
        if lenient or not options.is_utf8:
            name = "utf-8" if options.is_utf8 else options.encoding
            self._decode = codecs.getincrementaldecoder(name)("windtunnel.mark").decode
        self._held = self._out = self._carriage = b""
        self._lenient, self._after_newline = lenient, False
        self._ended = self._started = False
        self.nul = self.undecodable = self.whole = False
        self.quotes = 0
        start = self._fill(_HEAD)
        self._held = start.removeprefix(codecs.BOM_UTF8)
        for _ in range(options.skip_lines):
            while b"\n" not in self._held and not self._ended:
                self._held += self._fill(_HEAD)
            self._held = self._held.partition(b"\n")[2]
        text = self._held.lstrip(b"\r\n")
        self.leading = self._held[: len(self._held) - len(text)].replace(b"\r\n", b"\n").count(b"\n")
        self._held = text
        self._watch(self._held)

    def peek_records(self, options: TextOptions, count: int, where: str) -> list[list[str]]:
        """The first records, without consuming them.

        Raises:
            SourceFormatError: they are not text in this encoding.
        """
        size = _HEAD
        while True:
            while len(self._held) < size and not self._ended:
                more = self._fill(_HEAD)
                self._watch(more)
                self._held += more
            text = self._text(self._held[:size], where)
            records = _records(text, options, count)
            self.whole = whole = self._ended and size >= len(self._held)
            if whole or len(records) > count or size > _HEAD_LIMIT:
                return records[:count]
            size *= 4

    def _text(self, head: bytes, where: str) -> str:
        try:
            text = codecs.getincrementaldecoder("utf-8")().decode(head)
        except UnicodeDecodeError:
            looks = next((name for bom, name in _BOMS.items() if head.startswith(bom)), None)
            if looks or head.count(b"\0") > len(head) // 4:
                raise SourceFormatError(
                    f"{where}: is not text in the encoding that source.options says",
                    hint=f"it looks like {looks or 'utf-16 or binary data'}; set source.options.encoding",
                    path=where,
                ) from None
            return head.decode("utf-8", "windtunnel.mark")
        if text[:_HEAD].count("\0") > len(text[:_HEAD]) // 4:
            raise SourceFormatError(
                f"{where}: is binary data or UTF-16, not text", hint="set source.options.encoding, such as utf-16", path=where
            )
        return text

    def _fill(self, size: int) -> bytes:
        block = self._stream.read(size)
        if not block:
            self._ended = True
        if self._decode is None:
            return block or b""
        text = self._decode(block or b"", self._ended)
        if MARK in text:
            self.undecodable = True
        if not text:
            return b"" if self._ended else self._fill(size)
        if not self._started:
            text, self._started = text.removeprefix("\ufeff"), True
        return text.encode("utf-8", "replace")

    def _watch(self, block: bytes) -> None:
        self.nul = self.nul or b"\0" in block
        if self._quote:
            self.quotes += block.count(self._quote)

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to so many bytes; empty at the end."""
        block = self._out or self._marked(self._next(size))
        if 0 <= size < len(block):
            block, self._out = block[:size], block[size:]
        else:
            self._out = b""
        return block

    def _next(self, size: int) -> bytes:
        if self._held:
            size = len(self._held) if size < 0 else size
            block, self._held = self._held[:size], self._held[size:]
            return block
        block = self._fill(size)
        self._watch(block)
        return block

    def _marked(self, block: bytes) -> bytes:
        """Leniently read lines that are blank get `BLANK`, so that they count as lines; inside quotes it is taken out again later."""
        if not self._lenient:
            return block
        block = self._carriage + block
        self._carriage = b"\r" if block.endswith(b"\r") and not self._ended else b""
        block = block[: len(block) - len(self._carriage)]
        if not block and self._carriage:
            return self._marked(self._next(_HEAD))
        whole = _BLANK_LINE.sub(b"\\1" + _BLANK, (b"\n" if self._after_newline else b"") + block)
        block_out = whole[1:] if self._after_newline else whole
        self._after_newline = block.endswith(b"\n") if block else self._after_newline
        return block_out


def _records(text: str, options: TextOptions, count: int) -> list[list[str]]:
    """Up to one more than the wanted number of records, blank lines left out."""
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=options.delimiter,
        quotechar=options.quote or None,
        quoting=csv.QUOTE_MINIMAL if options.quote else csv.QUOTE_NONE,
        escapechar=options.escape or None,
    )
    found: list[list[str]] = []
    limit = csv.field_size_limit(_HEAD_LIMIT)
    try:
        for record in reader:
            if record:
                found.append(record)
            if len(found) > count:
                break
    except csv.Error:
        pass
    finally:
        csv.field_size_limit(limit)
    return found
