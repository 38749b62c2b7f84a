"""The engine: fits are coroutines that ask for what they need; each round of questions is one pass.

A fit is written as if the data were at hand: ``summary = yield from context.summary(stream)``. It is suspended only if the answer needs
rows. The parts of a ColumnTransformer run side by side, so that all of them ask before the rows are read once; a question that can be
answered from what is known already, such as the distinct values of an imputed column from those of the raw one, costs no pass.
"""

from collections.abc import Callable, Generator, Iterable
from typing import Any

import numpy as np

from windtunnel.beam_jobs.features.accumulator import Gatherer, Request
from windtunnel.beam_jobs.features.moments import MomentsGatherer, WeightedMoments, moments_of
from windtunnel.beam_jobs.features.options import Options
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.rows import Rows
from windtunnel.beam_jobs.features.streams import SOURCE, Apply, Chunk, Pick, Source, Stream
from windtunnel.beam_jobs.features.summary import Summary
from windtunnel.beam_jobs.features.tally import Tally

__all__ = ["Context", "Fit", "Tallies", "parallel", "run"]

Fit = Generator[list[Request], None, Any]


class Column(Gatherer):
    """The tally of one raw column."""

    def __init__(self, name: str, dtype: str, limit: int) -> None:
        self.name, self.dtype, self.tally = name, dtype, Tally(limit)

    def gather(self, stream: Stream, chunk: Chunk) -> None:
        """Count the raw Arrow column, without pandas."""
        self.tally.add_arrow(chunk.batch.column(self.name), self.dtype)

    def merge(self, other: "Column") -> None:
        """Add counts."""
        self.tally.merge(other.tally)


class Tallies(Gatherer):
    """The tallies of the columns of what a stream gives."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.tallies: list[Tally] | None = None

    def gather(self, stream: Stream, chunk: Chunk) -> None:
        """Count each column."""
        columns = split_columns(stream.evaluate(chunk))
        if self.tallies is None:
            self.tallies = [Tally(self._limit) for _ in columns]
        for tally, column in zip(self.tallies, columns, strict=True):
            tally.add(column)

    def merge(self, other: "Tallies") -> None:
        """Add counts."""
        if self.tallies is None:
            self.tallies = other.tallies
        elif other.tallies is not None:
            for mine, theirs in zip(self.tallies, other.tallies, strict=True):
                mine.merge(theirs)


def split_columns(table: Any) -> list[Any]:
    """The columns of any container, as series or one-dimensional arrays."""
    if hasattr(table, "iloc"):
        return [table] if table.ndim == 1 else [table.iloc[:, i] for i in range(table.shape[1])]
    if hasattr(table, "toarray"):
        table = table.tocsc()
        return [table[:, [i]].toarray().ravel() for i in range(table.shape[1])]
    table = np.asarray(table)
    return [table] if table.ndim == 1 else [table[:, i] for i in range(table.shape[1])]


class Context:
    """What a fit may ask.

    Args:
        head: the first few rows: what shapes, names and types are taken from.
        options: the caller's choices.
        total: rows of the data, where known before it is read.
        column_map: fitted transformer -> for each output column the input column that alone it depends on, or None.
    """

    def __init__(self, head: Chunk, options: Options, column_map: Callable[[Any], list[int] | None], total: int | None = None) -> None:
        self.head, self.options, self._column_map, self._total = head, options, column_map, total
        self.source = Stream(SOURCE)
        self.nothing = self.source.then(Pick([], []))
        self._answers: dict[Any, Any] = {}
        self.notes: list[dict[str, Any]] = []

    def note(self, where: str, what: str, says: str) -> None:
        """State what is approximate; it goes on the artefact."""
        self.notes.append({"step": where, "what": what, "says": says})

    def rows(self) -> Fit:
        """Ask how many rows there are."""
        if self._total is None:
            (found,) = yield from self.need(Request("rows", self.nothing, Rows()))
            self._total = found.rows
        return self._total

    def peek(self, stream: Stream) -> Any:
        """The first few rows of a stream."""
        with quiet():
            return stream.evaluate(self.head)

    def answered(self, request: Request) -> bool:
        """Whether it is known."""
        return request.key in self._answers

    def answer(self, request: Request, value: Any) -> None:
        """Note what a pass gathered."""
        self._answers[request.key] = value

    def need(self, *requests: Request) -> Fit:
        """Ask for gatherers; answers them merged over all rows."""
        missing = [request for request in requests if request.key not in self._answers]
        if missing:
            yield missing
        return [self._answers[request.key] for request in requests]

    def summary(self, stream: Stream) -> Fit:
        """Ask for the distinct values of every column of a stream."""
        key = ("summary", stream.key)
        if key not in self._answers:
            tallies = yield from self._tallies(stream)
            self._answers[key] = Summary(_empty(self.peek(stream)), tallies)
        return self._answers[key]

    def weighted(self, estimator: Any) -> bool:
        """Whether an estimator is to be given the row weights."""
        if self.options.sample_weight is None:
            return False
        request = getattr(estimator, "_metadata_request", None)
        wanted = request.fit.requests.get("sample_weight") if request is not None else None
        return bool(wanted) or self.alone

    alone = False

    def countable(self, stream: Stream) -> bool:
        """Whether a stream's values can be had from the tallies of raw columns."""
        if isinstance(stream.step, Source) or (isinstance(stream.step, Pick) and stream.step.names is not None):
            return True
        if isinstance(stream.step, Apply) and stream.parent is not None:
            return self._column_map(stream.step.fitted) is not None and self.countable(stream.parent)
        return False

    def moments(self, stream: Stream, *, weighted: bool = False) -> Fit:
        """Ask for the moments of every column."""
        if not weighted and self.countable(stream):
            summary = yield from self.summary(stream)
            return moments_of(summary)
        kind = WeightedMoments if weighted else MomentsGatherer
        (found,) = yield from self.need(Request((kind.__name__, stream.key), stream, kind()))
        return found.moments

    def _tallies(self, stream: Stream) -> Fit:
        names = self.head.dtypes if isinstance(stream.step, Source) else stream.step.names if isinstance(stream.step, Pick) else None
        if names is not None:
            requests = [
                Request(("column", name), stream, Column(name, self.head.dtypes[name], self.options.distinct_limit)) for name in names
            ]
            found = yield from self.need(*requests)
            return [column.tally for column in found]
        mapping = self._column_map(stream.step.fitted) if isinstance(stream.step, Apply) else None
        if mapping is not None and stream.parent is not None:
            parent: Summary = yield from self.summary(stream.parent)
            made = split_columns(stream.step.fitted.transform(parent.surrogate()))  # type: ignore[attr-defined]
            tallies = []
            for column, index in zip(made, mapping, strict=True):
                counts = parent.column(index)[1]
                tally = Tally(self.options.distinct_limit)
                tally.add(column[: len(counts)], counts)
                tallies.append(tally)
            return tallies
        (found,) = yield from self.need(Request(("tallies", stream.key), stream, Tallies(self.options.distinct_limit)))
        return found.tallies or []


def _empty(table: Any) -> Any:
    return table.iloc[:0] if hasattr(table, "iloc") else table[:0]


def parallel(fits: Iterable[Fit]) -> Fit:
    """Run fits side by side: what all of them wait for is asked together."""
    waiting = dict(enumerate(fits))
    answers: dict[int, Any] = {}
    while waiting:
        wanted: list[Request] = []
        for number, fit in list(waiting.items()):
            try:
                wanted += next(fit)
            except StopIteration as end:
                answers[number] = end.value
                del waiting[number]
        if waiting:
            yield wanted
    return [answers[number] for number in sorted(answers)]


def run(fit: Fit, context: Context, gather: Callable[[list[Request]], list[Any]]) -> tuple[Any, int]:
    """Drive a fit to its end; answers its result and the number of passes."""
    passes = 0
    while True:
        try:
            wanted = next(fit)
        except StopIteration as end:
            return end.value, passes
        requests = list({request.key: request for request in wanted if not context.answered(request)}.values())
        for request, found in zip(requests, gather(requests), strict=True):
            context.answer(request, found)
        passes += 1
