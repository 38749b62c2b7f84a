"""Bytes of a text file as UTF-8, in blocks of whole records."""

import codecs
from collections.abc import Iterator
from typing import IO, NamedTuple

from windtunnel.lifecycle.contract.errors import SourceFormatError
from windtunnel.lifecycle.contract.source_options import TextOptions
from windtunnel.lifecycle.data.sources.text.records import Block, Broken, Splitter, count_lines

__all__ = ["Head", "TextStream"]

_BLOCK = 4 << 20
_LIMIT = 512 << 20
"""Bytes of the longest record."""
_HEAD = 1 << 16
_BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_BINARY = 4
"""One NUL in so many bytes is not text;"""
_BINARY_LONG, _LONG = 32, 256
"""in a longer file, one in these."""
_UNREADABLE = "\udcff"
"""Stands for bytes that cannot be decoded. As UTF-8 it is none, so that the row is refused, and no text can hold it."""


def _mark(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeDecodeError):
        return _UNREADABLE, error.end
    raise error


codecs.register_error("windtunnel.mark", _mark)


class Head(NamedTuple):
    """A record near the beginning: its line, the bytes up to its end, and its cells; what is wrong with it, if anything is."""

    line: int
    end: int
    cells: list[str]
    broken: Broken | None = None
    raw: bytes = b""


class TextStream:
    """A binary stream as UTF-8 without a byte order mark, the lines to skip left out.

    Args:
        stream: what to read.
        options: say the encoding and how many lines to skip.
        name: what to call it in messages.

    Attributes:
        line: the number of the next line.

    Raises:
        SourceFormatError: it is binary data, or text in another encoding.
    """

    def __init__(self, stream: IO[bytes], options: TextOptions, name: str) -> None:
        self._stream, self._name = stream, name
        self._decoder = None if options.is_utf8 else codecs.getincrementaldecoder(options.encoding)("windtunnel.mark")
        self._held, self._ended, self.line = b"", False, 1
        self._fill(_HEAD)
        self._check_text()
        while self._held.startswith(codecs.BOM_UTF8):  # some programs write it twice
            self._held = self._held.removeprefix(codecs.BOM_UTF8)
        for _ in range(options.skip_lines):
            while b"\n" not in self._held and not self._ended:
                self._fill(_HEAD)
            self._held = self._held.partition(b"\n")[2]
            self.line += 1

    def _check_text(self) -> None:
        head = self._held[:_HEAD]
        looks = next((name for bom, name in _BOMS.items() if head.startswith(bom)), "")
        if looks or head.count(b"\0") > len(head) // (_BINARY if len(head) < _LONG else _BINARY_LONG):
            raise SourceFormatError(
                f"{self._name}: is not text in the encoding that source.options says",
                hint=f"it looks like {looks or 'utf-16 or binary data'}; set source.options.encoding (--encoding)",
                path=self._name,
            )

    def _fill(self, size: int) -> None:
        """So many more bytes of the file, as UTF-8."""
        while not self._ended:
            block = self._stream.read(size)
            self._ended = not block
            if self._decoder is not None:
                # The mark is half of a surrogate pair, which the strict encoder refuses.
                block = self._decoder.decode(block or b"", self._ended).encode("utf-8", "surrogatepass")
            if block:
                self._held += block
                return

    def head(self, options: TextOptions, count: int) -> list[Head]:
        """The first records that are not blank, without consuming them; fewer if there are no more."""
        size = _HEAD
        while True:
            while len(self._held) < size and not self._ended:
                self._fill(_HEAD)
            final = self._ended and len(self._held) <= size
            records = _heads(Splitter(options).split(self._held[:size], self.line, final=final), options)
            if final or len(records) >= count or size > _LIMIT:
                return records[:count]
            size *= 4

    def skip(self, size: int) -> None:
        """Consume so many bytes, which `head` has shown."""
        self.line += count_lines(self._held[:size])
        self._held = self._held[size:]

    def blocks(self, splitter: Splitter) -> Iterator[Block]:
        """The rest of the file.

        Raises:
            SourceFormatError: a record is too long.
        """
        while self._held or not self._ended:
            if len(self._held) < _BLOCK:
                self._fill(_BLOCK)
            block = splitter.split(self._held, self.line, final=self._ended)
            if block.text:
                self.line += block.height
                self._held = self._held[len(block.text) :]
                yield block
            elif len(self._held) > _LIMIT:
                raise SourceFormatError(
                    f"{self._name}: line {self.line} is longer than {_LIMIT >> 20} MB",
                    hint="is it one table of rows at all?",
                    path=self._name,
                )
            elif not self._ended:
                # As much again: block by block a long record would be scanned from its beginning for each of them.
                self._fill(max(_BLOCK, len(self._held)))

    def lines(self) -> Iterator[tuple[int, list[bytes]]]:
        """The rest of the file as lines, with the number of the first of each block."""
        for block in self.blocks(Splitter(TextOptions(quote=""))):
            yield block.line, block.text.splitlines()

    def first_byte(self) -> bytes:
        """The first byte that is not white space, without consuming it."""
        return self._held.lstrip()[:1]

    def chunks(self) -> Iterator[bytes]:
        """The rest of the file, cut anywhere but inside a character."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while self._held or not self._ended:
            block, self._held = self._held, b""
            yield decoder.decode(block).encode()
            self._fill(_BLOCK)


def _heads(block: Block, options: TextOptions) -> list[Head]:
    splitter = Splitter(options)
    starts, ends, lines = (part.tolist() for part in block.places())
    heads = []
    for start, end, line in zip(starts, ends, lines, strict=True):
        raw = block.text[start:end].rstrip(b"\r\n")
        heads.append(Head(line, end, [cell.decode("utf-8", "replace") for cell in splitter.cells(raw)], raw=raw))
    heads += [Head(block.line + entry.first, 0, [], entry) for entry in block.broken]
    return sorted(heads, key=lambda entry: entry.line)
