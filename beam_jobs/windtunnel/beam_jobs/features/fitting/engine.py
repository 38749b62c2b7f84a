"""The engine: fits are coroutines that ask for what they need; each round of questions is one pass.

A fit is written as if the data were at hand: ``summary = yield from context.summary(stream)``. It is suspended only if the answer needs
rows. The parts of a ColumnTransformer run side by side, so that all of them ask before the rows are read once; a question that can be
answered from what is known already, such as the distinct values of an imputed column from those of the raw one, costs no pass.
"""

from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.beam_jobs.features.options import Options
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.tallies.accumulator import Gatherer, Request
from windtunnel.beam_jobs.features.tallies.beyond import Beyond
from windtunnel.beam_jobs.features.tallies.moments import MomentsGatherer, WeightedMoments, moments_of
from windtunnel.beam_jobs.features.tallies.rows import Rows
from windtunnel.beam_jobs.features.tallies.streams import SOURCE, Apply, Chunk, Pick, Source, Stream
from windtunnel.beam_jobs.features.tallies.summary import Summary
from windtunnel.beam_jobs.features.tallies.tally import Tally
from windtunnel.lifecycle.learning import scikit

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["Context", "Fit", "Tallies", "parallel", "run"]

Fit = Generator[list[Request], None, Any]


class Column(Gatherer):
    """The tally of one raw column."""

    def __init__(self, name: str, dtype: str, beyond: Beyond) -> None:
        self.name, self.dtype, self.tally = name, dtype, Tally(beyond)

    def join(self, other: Any) -> None:
        """Somebody needs the values."""
        if other.tally.beyond.keep:
            self.tally.keep()

    def gather(self, stream: Stream, chunk: Chunk) -> None:
        """Count the raw Arrow column, without pandas."""
        self.tally.add_arrow(chunk.batch.column(self.name), self.dtype)

    def merge(self, other: "Column") -> None:
        """Add counts."""
        self.tally.merge(other.tally)


class Tallies(Gatherer):
    """The tallies of the columns of what a stream gives."""

    def __init__(self, beyond: Beyond) -> None:
        self._beyond = beyond
        self.tallies: list[Tally] | None = None

    def gather(self, stream: Stream, chunk: Chunk) -> None:
        """Count each column."""
        columns = split_columns(stream.evaluate(chunk))
        if self.tallies is None:
            self.tallies = [Tally(self._beyond) for _ in columns]
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
        work: a folder that workers share, for what is spilled.
        total: rows of the data, where known before it is read.
        column_map: fitted transformer -> for each output column the input column that alone it depends on, or None.
    """

    def __init__(
        self, head: Chunk, options: Options, column_map: Callable[[object], list[int] | None], work: str, total: int | None = None
    ) -> None:
        self.head, self.options, self._column_map, self._total = head, options, column_map, total
        self.work = work
        self.source = Stream(SOURCE)
        self.nothing = self.source.then(Pick([], []))
        self._answers: dict[Any, Any] = {}
        self.notes: list[dict[str, object]] = []

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
            tallies = yield from self._tallies(stream, keep=True)
            if tallies is None:
                (found,) = yield from self.need(Request(("tallies", stream.key), stream, Tallies(self._beyond(keep=True))))
                tallies = found.tallies or []
            self._answers[key] = Summary(_empty(self.peek(stream)), [tally.close() for tally in tallies])
            self._state_errors(tallies)
        return self._answers[key]

    def _state_errors(self, tallies: list[Tally]) -> None:
        for number, tally in enumerate(tallies):
            if tally.large is not None and tally.large.sketch is not None:
                self.note(f"column {number}", "quantiles", f"KLL sketch: ranks are within {tally.large.error:.2%} of the rows")

    def _beyond(self, *, keep: bool) -> Beyond:
        options = self.options
        return Beyond(options.beyond, self.work, keep, options.distinct_bytes, options.distinct_limit)

    def weighted(self, estimator: "BaseEstimator") -> bool:
        """Whether an estimator is to be given the row weights."""
        if self.options.sample_weight is None:
            return False
        return scikit.weight_requested(estimator) or self.alone

    alone = False
    last = ""
    """The place of the one step that is fitted and not applied to the training rows: the last of a Pipeline; empty if none."""

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
            tallies = yield from self._tallies(stream, keep=False)
            if tallies is not None:
                return moments_of(Summary(_empty(self.peek(stream)), [tally.close() for tally in tallies]))
        kind = WeightedMoments if weighted else MomentsGatherer
        (found,) = yield from self.need(Request((kind.__name__, stream.key), stream, kind()))
        return found.moments

    def _tallies(self, stream: Stream, *, keep: bool) -> Fit:
        """The tallies of a stream from those of raw columns; None where they cannot be had so."""
        names = list(self.head.dtypes) if isinstance(stream.step, Source) else stream.step.names if isinstance(stream.step, Pick) else None
        if names is not None:
            found = yield from self._columns(stream, names, keep=keep)
            return found
        mapping = self._column_map(stream.step.fitted) if isinstance(stream.step, Apply) else None
        if mapping is None or stream.parent is None:
            return None
        parents = yield from self._tallies(stream.parent, keep=keep)
        if parents is None:
            return None
        parent = Summary(_empty(self.peek(stream.parent)), [tally.close() for tally in parents])
        if not parent.complete:
            return None
        with quiet():
            made = split_columns(stream.step.fitted.transform(parent.surrogate()))  # type: ignore[attr-defined]
        tallies = []
        for column, index in zip(made, mapping, strict=True):
            counts = parent.column(index)[1]
            tally = Tally(self._beyond(keep=True))
            # Below these entries the stand-in repeats the column's first one, only to be as high as its neighbours.
            tally.add(column[: len(counts)], counts)
            tallies.append(tally)
        return tallies

    def _columns(self, stream: Stream, names: list[str], *, keep: bool) -> Fit:
        """The tallies of raw columns; those that were large when only moments were asked for are read again if values are needed."""
        requests = []
        for name in names:
            key: tuple[str, ...] = ("column", name)
            known = self._answers.get(key)
            if keep and known is not None and known.tally.large is not None and not known.tally.beyond.keep:
                key = ("column", name, "kept")
            requests.append(Request(key, stream, Column(name, self.head.dtypes[name], self._beyond(keep=keep))))
        found = yield from self.need(*requests)
        return [column.tally for column in found]


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
        unique: dict[Any, Request] = {}
        for request in wanted:
            if not context.answered(request) and unique.setdefault(request.key, request) is not request:
                unique[request.key].gatherer.join(request.gatherer)
        requests = list(unique.values())
        for request, found in zip(requests, gather(requests), strict=True):
            context.answer(request, found)
        passes += 1
