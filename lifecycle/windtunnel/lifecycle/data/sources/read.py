"""Reading any piece of any source."""

from collections.abc import Callable, Iterator

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.seams.sources import SOURCES
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.sources.files import border
from windtunnel.lifecycle.data.sources.piece import Chunk, Piece

__all__ = ["read"]


def read(problem: Problem, piece: Piece, settings: Settings) -> Iterator[Chunk]:
    """The rows of a piece, typed by the problem's schema, in chunks of bounded size.

    Raises:
        SourceFormatError: the piece is not what the source's format says, or is damaged.
        SchemaMismatchError: a declared column is missing or of another family of types.
        UnavailableError: the piece is out of reach, or was changed since it was planned.
    """
    reader: Callable[[Problem, Piece, Settings], Iterator[Chunk]] = SOURCES[problem.source.format].part("read")
    with border(piece.path):
        yield from reader(problem, piece, settings)
