"""How a delimited file is laid out: which record names the columns, and whether records end with a delimiter of their own."""

import collections
import dataclasses
import operator
import re
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from windtunnel.lifecycle.contract.source_options import TextOptions
from windtunnel.lifecycle.data.sources.text.inference import infer_type, wider
from windtunnel.lifecycle.data.sources.text.stream import Head, TextStream

__all__ = ["HEADS", "Layout", "common_width", "fit_width", "looks_like_data", "placed", "told_delimiter"]

HEADS = 100
"""Records that are looked at."""
_RECORDS = 20
"""That are looked at to tell what stands between cells."""
_TABLE = 2
_YEAR = re.compile(r"1[89]\d\d|2[01]\d\d")


class Layout(NamedTuple):
    """The columns of a file.

    Attributes:
        names: of all cells of a record, that after a trailing delimiter included.
        header: the bytes of the record that names them; empty if none does.
        trailing: whether each record ends with a delimiter, after which nothing may stand.
    """

    names: Sequence[str]
    header: bytes = b""
    trailing: bool = False


def fit_width(names: Sequence[str], heads: Sequence[Head], header: Head | None) -> Layout:
    """The columns of a file whose rows all end with a delimiter where the header does not, or the other way round.

    Example:
        >>> fit_width(["a", "b"], [*[Head(2, 0, ["1", "2", ""])] * 2], None).names
        ['a', 'b', '']
    """
    rows = _rows(heads, header)
    raw = b"" if header is None else header.raw
    widths = {len(cells) for cells in rows} if len(rows) >= _TABLE else set[int]()  # one row alone may be wrong
    if widths == {len(names) + 1} and not any(map(operator.itemgetter(-1), rows)):
        return Layout([*names, ""], raw, trailing=True)
    if widths == {len(names) - 1} and not names[-1]:
        return Layout(list(names[:-1]), raw)
    return Layout(list(names), raw)


def _rows(heads: Sequence[Head], header: Head | None) -> list[list[str]]:
    return [head.cells for head in heads if not (head is header or head.broken)]


def told_delimiter(stream: TextStream, options: TextOptions, where: str) -> str:
    """What stands between cells: as the file's name tells, or as most of the first records agree on."""
    name = re.sub(r"\.(gz|bz2|xz|zst|zip)$", "", where.lower())
    if name.endswith((".tsv", ".tab")):
        return "\t"
    agreed = {}
    for mark in (",", ";", "\t", "|"):
        heads = [head for head in stream.head(dataclasses.replace(options, delimiter=mark), _RECORDS) if not head.broken]
        width, count = common_width(heads)
        agreed[mark] = (width > 1, count / max(len(heads), 1), width)
    return max(agreed, key=lambda mark: agreed[mark])


def common_width(heads: Sequence[Head]) -> tuple[int, int]:
    """The number of cells that most records have, and how many these are."""
    widths = collections.Counter(len(head.cells) for head in heads if not head.broken)
    return max(widths.items(), key=lambda item: (item[1], item[0])) if widths else (0, 0)


def placed(heads: Sequence[Head]) -> Head:
    """The record that names the columns: the first of the common width that is not mostly empty; else the very first one.

    A narrower record in front of the rows may be a preamble, but also a header that lacks names: then it is the first one too, and its
    rows do not fit.
    """
    width, count = common_width(heads)
    if width < _TABLE or count <= len(heads) // 2 or _is_nearly(heads[0].cells, width):
        return heads[0]
    return next((head for head in heads if len(head.cells) == width and _is_filled(head.cells)), heads[0])


def _is_nearly(cells: Sequence[str], width: int) -> bool:
    """Whether a record may be a header whose number of names is wrong by one, or has no name at all."""
    return not any(cells) or (len(cells) >= _TABLE and abs(len(cells) - width) == 1)


def _is_filled(cells: Sequence[str]) -> bool:
    return sum(bool(cell.strip()) for cell in cells) * 2 > len(cells)


def looks_like_data(header: Sequence[str], rows: Sequence[Sequence[str]], options: TextOptions) -> bool:
    """Whether a header is a row as all others: a cell of it is a number or a date as in the rows below, and no cell is of another type.

    Years are names that tables have, so they do not count.

    Example:
        >>> looks_like_data(["1", "x"], [["2", "y"], ["3", "z"]], TextOptions())
        True
        >>> looks_like_data(["country", "2010"], [["A", "1"], ["B", "2"]], TextOptions())
        False
    """
    rows = [cells for cells in rows if len(cells) == len(header)]
    if not rows:
        return False
    telling = [_tells(name, [cells[place] for cells in rows], options) for place, name in enumerate(header)]
    return True in telling and False not in telling


def _tells(name: str, values: Sequence[str], options: TextOptions) -> bool | None:
    """Whether a name is a value like those below it (True), or cannot be one (False); None where that cannot be said."""
    own, column = (infer_type(pa.array([text or None for text in texts], pa.string()), options) for texts in ([name], values))
    if pa.types.is_null(own) or pa.types.is_null(column):
        return None
    if wider(column, own) != column:
        return False
    return True if own != pa.string() and not _YEAR.fullmatch(name.strip()) else None
