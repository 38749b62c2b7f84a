"""What a source is cut into."""

import dataclasses

import pyarrow as pa

__all__ = ["Chunk", "Piece", "Rejected", "Unit", "shorten"]

_RAW_LIMIT = 2000


@dataclasses.dataclass(frozen=True)
class Piece:
    """What one worker reads in one go.

    Attributes:
        index: its place among the pieces of its unit: numbers the data files it becomes.
        path: a file's path or URL, or what to call the source in messages.
        state: the file's size and time of change when it was planned, which must be the same when it has been read; of a database that
            is read in parts: the version that all of them see.
        row_groups: of a Parquet file: only these; empty for all.
        query: for a database: the statement.
        dated: whether each row must say its day itself.
    """

    index: int
    path: str
    state: str = ""
    row_groups: tuple[int, ...] = ()
    query: str = ""
    dated: bool = False


@dataclasses.dataclass(frozen=True)
class Unit:
    """Rows that come and go together.

    Attributes:
        day: the day that delivers them, ISO; empty when each row says its day itself.
        digest: the fingerprint of content, schema and options; empty when only reading can tell (a database, a generator).
        pieces: what to read.
    """

    day: str
    digest: str
    pieces: tuple[Piece, ...]


@dataclasses.dataclass(frozen=True)
class Rejected:
    """A row that does not fit.

    Attributes:
        line: where it begins in its source; 1 is the first, 0 is unknown.
        column: the column that does not fit; empty where it is the whole row.
        reason: why.
        raw: its text, shortened.
        last_line: where it ends; 0 for where it begins.
    """

    line: int
    column: str
    reason: str
    raw: str
    last_line: int = 0


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Rows that were read together: the good ones, typed, and the others.

    Attributes:
        batch: good rows, with the declared columns in order.
        rejected: the other rows.
        rows: how many rows the source delivered, counted before any was judged.
    """

    batch: pa.RecordBatch
    rejected: list[Rejected]
    rows: int


def shorten(text: str, limit: int = _RAW_LIMIT) -> str:
    r"""A row's text as it is kept: what no database can store is made visible, and its end is cut.

    Example:
        >>> shorten("ab\0c", 3)
        'ab␀… (4 characters)'
    """
    shown = text[:limit].encode("utf-8", "replace").decode("utf-8").replace("\0", "␀")
    return shown if len(text) <= limit else f"{shown}… ({len(text):,} characters)"
