"""Files of which no schema is declared: by the same readers as declared ones, with types that are inferred."""

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from windtunnel.lifecycle.contract.errors import SourceFormatError
from windtunnel.lifecycle.data.sources.files import opened
from windtunnel.lifecycle.data.sources.text.inferred import Reading, infer_delimited

__all__ = ["Reading", "format_of", "read_untyped"]

_SUFFIXES = {
    "parquet": ("parquet", "pq"),
    "arrow": ("arrow", "feather", "ipc"),
    "jsonl": ("jsonl", "ndjson", "json"),
    "csv": ("csv", "tsv", "psv", "ssv", "txt", "tab", "dat", "data"),
}


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
    # `opened` refuses what is no text by the name of its format, which is all that is asked here.
    except SourceFormatError as error:
        if "Parquet" in error.message:
            return "parquet"
        if "Arrow" in error.message:
            return "arrow"
        raise
    return "jsonl" if head.lstrip().startswith((b"{", b"[{")) else "csv"


def read_untyped(path: str, options: dict[str, Any], reading: Reading) -> Iterator[pa.RecordBatch | None]:
    """The batches of a file; ``None`` says: forget those so far, reading starts over with wider types.

    Args:
        path: a path or URL.
        options: those of a source that a person has given; others are looked for in the file.
        reading: is told what was refused, and what was guessed and why.

    Raises:
        SourceFormatError: it cannot be read.
    """
    kind = format_of(path)
    if kind == "jsonl":
        from windtunnel.lifecycle.data.sources.text.lines import read_untyped_lines

        yield from read_untyped_lines(path, options)
    elif kind == "arrow":
        from windtunnel.lifecycle.data.sources.columnar import arrow_batches

        yield from arrow_batches(path)
    else:
        yield from infer_delimited(path, options, reading)
