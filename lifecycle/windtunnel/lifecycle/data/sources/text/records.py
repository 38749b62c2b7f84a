"""Where the records of a delimited text begin and end, and which of them are malformed: judged record by record.

After a closing quote comes a delimiter, a line end or another quote; else the record is malformed, and only its own line is given up. Lines
are judged by array scans; Python looks at those alone that break the pattern.
"""

import dataclasses
import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from windtunnel.lifecycle.contract.source_options import TextOptions

__all__ = ["LOOK_AHEAD", "Block", "Broken", "Offsets", "Record", "Splitter", "count_lines"]

LOOK_AHEAD = 16 << 20
"""Bytes in which a quote that opens a cell must be closed again."""

_COINCIDENCES = 3
"""Delimiters on whole lines inside one quoted cell from which these lines are taken for rows that stray quotes have joined."""

_MANY_LINES = 20
"""Line ends in one record from which a person should look at it."""

_CR, _LF = 13, 10
_LINE_ENDS = (b"", b"\n", b"\r")
_OPEN = "opens a quote that is never closed"

Offsets = npt.NDArray[np.int64]


class Broken(NamedTuple):
    """A malformed record: its lines in the block (from 0), its place among the file's columns, what is wrong, and its bytes."""

    first: int
    last: int
    column: int
    reason: str
    raw: bytes


class _End(NamedTuple):
    """Where a record ends; or the column in which it goes wrong, and how."""

    place: int
    column: int = 0
    reason: str = ""


class Record(NamedTuple):
    """A well-formed record: its first and last line in the file, and its bytes."""

    first: int
    last: int
    raw: bytes


@dataclasses.dataclass
class Block:
    """Whole records in a row.

    Attributes:
        text: the bytes as they stand in the file.
        line: the line of the first byte; 1 is the file's first.
        broken: the malformed records.
        starts: where well-formed records begin in `text`; None if each line is one.
        ends: where they end.
        many_lines: well-formed records with a cell of many line ends.
        line_ends: the places after all line ends, where they are known already.
    """

    text: bytes
    line: int
    broken: list[Broken] = dataclasses.field(default_factory=list)
    starts: Offsets | None = None
    ends: Offsets | None = None
    many_lines: int = 0
    line_ends: Offsets | None = None

    @property
    def height(self) -> int:
        """How many line ends there are."""
        if self.line_ends is None:
            return count_lines(self.text)
        return len(self.line_ends) - (not self.text.endswith((b"\n", b"\r")))

    @property
    def clean(self) -> bytes:
        """The well-formed records alone."""
        if self.starts is None or self.ends is None:
            return self.text
        if not len(self.starts):
            return b""
        # Neighbours are copied together: a cut is where a record does not begin at the end of the one before.
        cuts = np.flatnonzero(self.starts[1:] != self.ends[:-1])
        firsts, lasts = self.starts[np.concatenate([[0], cuts + 1])], self.ends[np.concatenate([cuts, [len(self.ends) - 1]])]
        return b"".join(self.text[first:last] for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True))

    def places(self) -> tuple[Offsets, Offsets, Offsets]:
        """Where the well-formed records that are not blank begin and end, and the line of each."""
        lines = line_ends(self.text, final=True) if self.line_ends is None else self.line_ends
        starts, ends = (line_starts(lines), lines) if self.starts is None or self.ends is None else (self.starts, self.ends)
        first = np.frombuffer(self.text, dtype=np.uint8)[starts]
        filled = (first != _LF) & (first != _CR)
        starts, ends = starts[filled], ends[filled]
        return starts, ends, self.line + np.searchsorted(lines, starts, side="right")

    def record(self, start: int, end: int, line: int) -> Record:
        """One of them, without the line end."""
        raw = self.text[start:end].rstrip(b"\r\n")
        return Record(line, line + count_lines(raw), raw)

    def without(self, bad: Offsets) -> "Block":
        """The same without some of the records that `places` counts."""
        starts, ends, _ = self.places()
        return dataclasses.replace(self, starts=np.delete(starts, bad), ends=np.delete(ends, bad))


def count_lines(text: bytes) -> int:
    r"""How many line ends there are: ``\n``, ``\r\n`` or ``\r``.

    Example:
        >>> count_lines(b"a\r\nb\rc\n")
        3
    """
    if b"\r" in text:
        return len(line_ends(text, final=False))
    return int(np.count_nonzero(np.frombuffer(text, dtype=np.uint8) == _LF))


def line_ends(text: bytes, *, final: bool) -> Offsets:
    """The places after each line end; with `final` the last line may lack one."""
    octets = np.frombuffer(text, dtype=np.uint8)
    places = octets == _LF
    if b"\r" in text:
        returns = octets == _CR
        # Of \r\n only the \n counts.
        returns[:-1] &= ~places[1:]
        places |= returns
    ends = np.flatnonzero(places) + 1
    if final and len(text) and (not len(ends) or ends[-1] != len(text)):
        ends = np.append(ends, len(text))
    return ends.astype(np.int64)


def line_starts(ends: Offsets) -> Offsets:
    """Where lines begin that end there and follow upon each other."""
    return np.concatenate([np.zeros(1, dtype=np.int64), ends])[:-1]


class Splitter:
    """Cuts a text into blocks of whole records.

    Args:
        options: the delimiter, the quote and the escape.
        width: how many cells a record has, where that is known.
    """

    def __init__(self, options: TextOptions, width: int = 0) -> None:
        self._delimiter, self._quote, self._escape = (text.encode() for text in (options.delimiter, options.quote, options.escape))
        self._width = width
        self._record, self._cell, self._plain = _patterns(self._delimiter, self._quote, self._escape)

    def split(self, text: bytes, line: int, *, final: bool) -> Block:
        """The whole records that a text begins with; its rest is what the block's text lacks.

        Args:
            text: from the beginning of a record on.
            line: the number of its first line.
            final: nothing comes after it.
        """
        if text.endswith(b"\r") and not final:
            text = text[:-1]  # a line feed may follow
        escaped = self._escape != b"" and self._escape in text
        if not escaped and not (self._quote and self._quote in text):
            return Block(text if final else text[: max(text.rfind(b"\n"), text.rfind(b"\r")) + 1], line)
        ends = line_ends(text, final=final)
        if not escaped:
            block = self._well_quoted(text, line, ends, final=final)
            if block is not None:
                return block
        return self._judged(text, line, ends, final=final)

    def _well_quoted(self, text: bytes, line: int, ends: Offsets, *, final: bool) -> Block | None:
        """The block, if every quote in it opens, closes or doubles as it should."""
        octets = np.frombuffer(text, dtype=np.uint8)
        quotes = np.flatnonzero(octets == ord(self._quote))
        # A line end with an odd number of quotes before it lies inside of a cell.
        inside = (np.searchsorted(quotes, ends) & 1).astype(bool)
        ends_outside = ends[~inside]
        if not len(ends_outside) or (final and ends_outside[-1] != len(text)):
            return None
        cut = int(ends_outside[-1])
        quotes = quotes[: np.searchsorted(quotes, cut)]
        if not self._pattern_holds(octets, quotes[0::2], quotes[1::2]):
            return None
        height = int(np.searchsorted(ends, cut)) + 1
        if not inside[:height].any():
            return Block(text[:cut], line, line_ends=ends[:height])
        starts = line_starts(ends_outside)
        block = Block(text[:cut], line, [], starts, ends_outside, line_ends=ends[:height])
        spans = np.searchsorted(ends, ends_outside) - np.searchsorted(ends, starts, side="right")
        return self._check_spans(block, np.flatnonzero(spans > 1), line_numbers=np.searchsorted(ends, starts, side="right"))

    def _pattern_holds(self, octets: npt.NDArray[np.uint8], opening: Offsets, closing: Offsets) -> bool:
        around = np.zeros(256, dtype=bool)
        around[[ord(self._delimiter), ord(self._quote), _LF, _CR]] = True
        before = opening[opening > 0] - 1
        after = closing[closing < len(octets) - 1] + 1
        return bool(around[octets[before]].all() and around[octets[after]].all())

    def _check_spans(self, block: Block, long: Offsets, line_numbers: Offsets) -> Block:
        """Records of more than two lines: some may be rows that stray quotes have joined."""
        assert block.starts is not None
        assert block.ends is not None
        bad: list[int] = []
        for i in long.tolist():
            raw = block.text[block.starts[i] : block.ends[i]]
            if self._swallows_rows(raw):
                bad.append(i)
                block.broken += _joined(raw, int(line_numbers[i]))
            else:
                block.many_lines += count_lines(raw) > _MANY_LINES
        if bad:
            block.starts, block.ends = np.delete(block.starts, bad), np.delete(block.ends, bad)
        return block

    def _swallows_rows(self, raw: bytes) -> bool:
        """Whether each line of a record is by itself a row of the table's width."""
        lines = raw.rstrip(b"\r\n").splitlines()
        wanted = self._width - 1
        # The stray quotes are in the first and the last line: those between must be rows as they stand.
        if (len(lines) - 2) * wanted < _COINCIDENCES or any(line.count(self._delimiter) != wanted for line in lines[1:-1]):
            return False
        head, _, tail = lines[-1].partition(self._quote)
        unquoted = [self._cell.sub(b"", lines[0]), head + self._cell.sub(b"", tail)]
        return all(line.count(self._delimiter) == wanted for line in unquoted)

    def _judged(self, text: bytes, line: int, ends: Offsets, *, final: bool) -> Block:
        """The block, lines with something unusual judged one by one."""
        if not len(ends):
            return Block(b"", line)
        starts = line_starts(ends)
        keep, record_ends = np.ones(len(ends), dtype=bool), ends.copy()
        block, position, last = Block(text, line), 0, len(ends)
        for i in self._unusual(text, starts, ends).tolist():
            start = int(starts[i])
            if start < position:
                continue  # inside the record before
            end = self._end_of(text, start, int(ends[i]))
            if end.reason == _OPEN and not final and len(text) - start < LOOK_AHEAD:
                last = i  # the quote may be closed by what comes
                break
            stop = i if end.reason else int(np.searchsorted(ends, end.place))
            position = int(ends[stop])
            broken = self._wrong(text[start:position], i, stop, end)
            keep[i + (not broken) : stop + 1] = False
            record_ends[i] = position
            block.broken += broken
            block.many_lines += stop - i > _MANY_LINES and not broken
        keep[last:] = False
        block.text = text[: int(starts[last])] if last < len(ends) else text[: int(ends[-1])]
        block.starts, block.ends, block.line_ends = starts[keep], record_ends[keep], ends[:last]
        return block

    def _wrong(self, raw: bytes, first: int, last: int, end: _End) -> list[Broken]:
        """What of a record is malformed: nothing, it, or all lines of it."""
        if end.reason:
            return [Broken(first, first, end.column, end.reason, raw.rstrip(b"\r\n"))]
        return _joined(raw, first) if last - first > 1 and self._swallows_rows(raw) else []

    def _unusual(self, text: bytes, starts: Offsets, ends: Offsets) -> Offsets:
        """The lines whose quotes do not fit into each other, or that have an escape."""
        octets = np.frombuffer(text, dtype=np.uint8)
        unusual = np.zeros(len(ends), dtype=bool)
        if self._escape and self._escape in text:
            escapes = np.flatnonzero(octets[: ends[-1]] == ord(self._escape))
            unusual[np.searchsorted(ends, escapes, side="right")] = True
        if not self._quote:
            return np.flatnonzero(unusual)
        quotes = np.flatnonzero(octets[: ends[-1]] == ord(self._quote))
        line = np.searchsorted(ends, quotes, side="right")
        rank = np.arange(len(quotes)) - np.searchsorted(line, line)
        opening = (rank & 1) == 0
        around = np.zeros(256, dtype=bool)
        around[[ord(self._delimiter), ord(self._quote), _LF, _CR]] = True
        before = around[octets[np.maximum(quotes - 1, 0)]] | (quotes == starts[line])
        after = around[octets[np.minimum(quotes + 1, len(octets) - 1)]] | (quotes == len(octets) - 1)
        unusual[line[np.where(opening, ~before, ~after)]] = True
        unusual |= (np.bincount(line, minlength=len(ends)) & 1).astype(bool)
        return np.flatnonzero(unusual)

    def _end_of(self, text: bytes, start: int, line_end: int) -> _End:
        """Where the record that begins here ends, or what is wrong with it."""
        # Most lines that look unusual are whole records: only the others are followed over line ends.
        match = self._record.match(text, start, line_end)
        if match is not None:
            return _End(match.end())
        limit, position, column = min(len(text), start + LOOK_AHEAD), start, 0
        while True:
            if self._quote and text.startswith(self._quote, position):
                position = self._after_quote(text, position + 1, limit)
                if position < 0:
                    return _End(0, column, _OPEN)
            else:
                position = self._after_plain(text, position, limit)
            follows = text[position : position + 1]
            if follows != self._delimiter:
                break
            position, column = position + 1, column + 1
        if follows in _LINE_ENDS:
            return _End(position + 1 + text.startswith(b"\r\n", position))
        shown = follows.decode("utf-8", "replace")
        return _End(0, column, "ends with an escape" if follows == self._escape else f"a closing quote is followed by {shown!r}")

    def _after_plain(self, text: bytes, position: int, limit: int) -> int:
        match = self._plain.match(text, position, limit)
        return match.end() if match is not None else position

    def _after_quote(self, text: bytes, position: int, limit: int) -> int:
        """The place after the quote that closes a cell; -1 where none does."""
        if self._escape:
            match = self._cell.match(text, position - 1, limit)
            return match.end() if match is not None else -1
        while (position := text.find(self._quote, position, limit) + 1) > 0:
            if not text.startswith(self._quote, position):
                return position
            position += 1
        return -1

    def cells(self, raw: bytes) -> list[bytes]:
        """The cells of a well-formed record, without their quotes and escapes."""
        position, cells = 0, []
        while match := self._cell.match(raw, position):
            cells.append(self._unquoted(match.group()))
            position = match.end() + 1
            if position > len(raw):
                break
        return cells

    def _unquoted(self, cell: bytes) -> bytes:
        if self._escape and self._escape in cell:
            cell = re.sub(re.escape(self._escape) + rb"(?s:(.))", rb"\1", cell)
        if self._quote and cell.startswith(self._quote):
            return cell[1:-1].replace(self._quote * 2, self._quote)
        return cell

    def column_of(self, raw: bytes, offset: int) -> int:
        """The column in which a byte of a well-formed record stands."""
        position = column = 0
        while (match := self._cell.match(raw, position)) and match.end() < offset:
            position, column = match.end() + 1, column + 1
        return column


def _joined(raw: bytes, line: int) -> list[Broken]:
    """Rows that stray quotes seem to have joined: which reading is right nobody can tell, so each line is given up."""
    lines = raw.rstrip(b"\r\n").splitlines()
    reason = f"is one of {len(lines)} lines between two quotes, each of them a row of the table's width"
    return [Broken(line + i, line + i, -1, reason, part) for i, part in enumerate(lines) if part]


def _patterns(delimiter: bytes, quote: bytes, escape: bytes) -> tuple[re.Pattern[bytes], re.Pattern[bytes], re.Pattern[bytes]]:
    """A whole record, a cell, and a cell without quotes around it, in which quotes mean nothing."""
    d, q, e = (re.escape(text) for text in (delimiter, quote, escape))
    escaped = rb"|%s(?s:.)" % e if escape else b""
    # Possessive, here and below: where a record does not match, a cell of megabytes must not be tried again at every length.
    plain = rb"(?:[^%s\r\n%s]%s)*+" % (d, e, escaped)
    cell = plain
    if quote:
        quoted = rb"%s(?:[^%s%s]|%s%s%s)*+%s" % (q, q, e, q, q, escaped, q)
        cell = rb"(?:%s|(?!%s)%s)" % (quoted, q, plain)
    record = rb"%s(?:%s%s)*+(?:\r\n|\r|\n|\Z)" % (cell, d, cell)
    return re.compile(record), re.compile(cell), re.compile(plain)
