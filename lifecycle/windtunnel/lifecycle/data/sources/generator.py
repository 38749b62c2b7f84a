"""Anything else: a Python function of the window that yields Arrow batches."""

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from windtunnel.lifecycle.contract.errors import ConfigurationError, SourceFormatError, WindtunnelError
from windtunnel.lifecycle.contract.naming import imported
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.source_options import checked
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.sources.columnar import Fitter
from windtunnel.lifecycle.data.sources.piece import Chunk, Piece, Unit

__all__ = ["plan_generator", "read_generator"]

_ROWS = 131_072


def plan_generator(problem: Problem, window: Window) -> Unit:
    """One call for the window; what it yields is only known by calling it.

    Raises:
        ConfigurationError: there is no such function.
    """
    checked(problem.source.options, set(), f"problem {problem.name}")
    _function(problem)
    piece = Piece(0, f"python:{problem.source.generator}", query=f"{window.start} {window.end}", dated=problem.event_time is not None)
    return Unit("" if problem.event_time else window.days[-1].isoformat(), "", (piece,))


def read_generator(problem: Problem, piece: Piece, _settings: Settings) -> Iterator[Chunk]:
    """What the function yields: record batches, tables, or lists of dictionaries.

    Raises:
        SourceFormatError: it raised an error, or yields something else.
        SchemaMismatchError: a declared column is missing or of another family of types.
    """
    import datetime as dt

    start, end = (dt.date.fromisoformat(text) for text in piece.query.split())
    row = 0
    for batch in _told(piece.path, _function(problem), start, end):
        # Anew for each: nothing keeps a generator from changing its columns on the way.
        fitter = Fitter(problem, piece, batch.schema)
        for first in range(0, batch.num_rows, _ROWS):
            part = batch.select(fitter.present).slice(first, _ROWS)
            yield fitter.fit(part, row)
            row += part.num_rows


def _function(problem: Problem) -> Callable[..., Iterable[object]]:
    found = imported(str(problem.source.generator), f"problem {problem.name}: source.generator", problem.directory)
    if not callable(found):
        raise ConfigurationError(f"problem {problem.name}: source.generator {problem.source.generator!r} is not a function")
    function: Callable[..., Iterable[object]] = found
    return function


def _told(where: str, function: Callable[..., Iterable[object]], *arguments: object) -> Iterator[pa.RecordBatch]:
    """Its batches; whatever it raises says where it came from."""
    try:
        for given in function(*arguments):
            yield from _batches(given, where)
    except WindtunnelError:
        raise
    except Exception as error:
        raise SourceFormatError(f"{where}: raised {type(error).__name__}: {error}", hint="mend the generator") from error


def _batches(given: object, where: str) -> Iterator[pa.RecordBatch]:
    if isinstance(given, pa.RecordBatch):
        yield given
    elif isinstance(given, pa.Table):
        yield from given.to_batches()
    elif isinstance(given, list):
        yield from pa.Table.from_pylist(given).to_batches()
    else:
        raise SourceFormatError(f"{where}: yielded a {type(given).__name__}", hint="yield record batches, tables, or lists of dictionaries")
