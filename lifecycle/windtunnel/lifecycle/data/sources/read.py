"""Reading any piece of any source."""

import importlib
from collections.abc import Callable, Iterator

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.sources.piece import Chunk, Piece

__all__ = ["read"]


def read(problem: Problem, piece: Piece, settings: Settings) -> Iterator[Chunk]:
    """The rows of a piece, typed by the problem's schema, in chunks of bounded size.

    Raises:
        SourceFormatError: the piece is not what the source's format says, or is damaged.
        SchemaMismatchError: a declared column is missing or of another family of types.
        UnavailableError: the piece is out of reach, or was changed since it was planned.
    """
    return _reader(problem.source.format)(problem, piece, settings)


def _reader(kind: str) -> Callable[[Problem, Piece, Settings], Iterator[Chunk]]:
    """Only the module that is needed is imported."""
    module, name = _READERS[kind]
    reader: Callable[[Problem, Piece, Settings], Iterator[Chunk]] = getattr(importlib.import_module(module), name)
    return reader


_READERS = {
    "csv": ("windtunnel.lifecycle.data.sources.text.delimited", "read_delimited"),
    "jsonl": ("windtunnel.lifecycle.data.sources.text.lines", "read_lines"),
    "parquet": ("windtunnel.lifecycle.data.sources.columnar", "read_parquet"),
    "iceberg": ("windtunnel.lifecycle.data.sources.columnar", "read_parquet"),
    "arrow": ("windtunnel.lifecycle.data.sources.columnar", "read_arrow"),
    "sql": ("windtunnel.lifecycle.data.sources.database", "read_query"),
    "python": ("windtunnel.lifecycle.data.sources.generator", "read_generator"),
}
