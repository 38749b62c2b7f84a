"""Which estimator is fitted how: as its row in the registry of transformers says, on a declared sample, or not, with the ways out."""

import functools
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import get_tags

from windtunnel.beam_jobs.features.fitting.engine import Context, Fit
from windtunnel.beam_jobs.features.fitting.passes import COMPLAINTS, guard
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.tallies.accumulator import Accumulator, Gatherer, Request
from windtunnel.beam_jobs.features.tallies.rows import Gathered
from windtunnel.beam_jobs.features.tallies.streams import Chunk, Stream
from windtunnel.lifecycle.contract.errors import ConfigurationError, UnsupportedError
from windtunnel.lifecycle.contract.seams.transformers import TRANSFORMERS
from windtunnel.lifecycle.learning import scikit

__all__ = ["GROUP", "column_map", "fit_leaf", "identity_map"]

GROUP = "windtunnel.accumulators"
"""The older way of extensions, which have no compile side: entry points that name an `Accumulator`, by the estimator's class."""

Handler = Callable[[Context, Any, Stream, str], Fit]


def column_map(fitted: BaseEstimator) -> list[int] | None:
    """For each output column the one input column it depends on; None where it is not so."""
    row = TRANSFORMERS.of(type(fitted))
    if row is None or not row.columns:
        return None
    places: list[int] | None = row.part("columns")(fitted)
    return places


def name_of(kind: type) -> str:
    """A class by its module and name."""
    return f"{kind.__module__}.{kind.__qualname__}"


@functools.cache
def _extensions() -> dict[str, type[Accumulator]]:
    found = {}
    for entry in metadata.entry_points(group=GROUP):
        try:
            found[entry.name] = entry.load()
        except Exception as error:
            raise ConfigurationError(f"the accumulator {entry.name!r} of group {GROUP} cannot be loaded: {error}") from error
    return found


class _Extension(Gatherer):
    """Carries an extension's accumulator."""

    def __init__(self, accumulator: Accumulator) -> None:
        self.accumulator = accumulator

    def gather(self, stream: Stream, chunk: Chunk) -> None:
        """Hand the chunk over."""
        self.accumulator.accumulate(stream.evaluate(chunk), chunk.y, chunk.weight)

    def merge(self, other: "_Extension") -> None:
        """Merge."""
        self.accumulator.merge(other.accumulator)


def fit_leaf(context: Context, estimator: BaseEstimator, stream: Stream, where: str) -> Fit:
    """Fit one estimator that is no composition; answers (fitted, what it gives or None, stored entries or None).

    Raises:
        UnsupportedError: nothing can fit it in this way.
        DataError: scikit-learn refuses the data.
    """
    if not hasattr(estimator, "transform"):
        raise UnsupportedError(
            f"{where}: a {type(estimator).__name__} is no transformer", hint="features end before the model: TrainOperator fits the model"
        )
    try:
        scikit.check_parameters(estimator)
        found = yield from _fit(context, estimator, stream, where)
    except COMPLAINTS as error:
        raise guard(error, f"{where}: {type(estimator).__name__}") from error
    return found if isinstance(found, tuple) else (found, None, None)


def _fit(context: Context, estimator: BaseEstimator, stream: Stream, where: str) -> Fit:
    kind = type(estimator)
    if context.options.sample_for(estimator) is not None:
        return (yield from _on_sample(context, estimator, stream, where))
    row = TRANSFORMERS.of(kind)
    extension = row.part("accumulator") if row is not None and row.accumulator else _extensions().get(name_of(kind))
    if extension is not None:
        gatherer = _Extension(extension(estimator))
        (found,) = yield from context.need(Request(("extension", stream.key, where), stream, gatherer))
        return found.accumulator.finish()
    if row is not None and row.fit:
        handler: Handler = row.part("fit")
        return (yield from handler(context, estimator, stream, where))
    if not get_tags(estimator).requires_fit:
        return estimator.fit(context.peek(stream))
    if isinstance(context.options.sample, int):
        return (yield from _on_sample(context, estimator, stream, where))
    raise UnsupportedError(
        f"{where}: a {kind.__name__} cannot be fitted over any amount of data",
        hint=f"choose another step, fit it on a declared sample (options sample={{{kind.__name__!r}: rows}}), "
        f"or let a package register it: a row with an Accumulator, under the entry-point group {TRANSFORMERS.group}",
        estimator=name_of(kind),
    )


def _on_sample(context: Context, estimator: BaseEstimator, stream: Stream, where: str) -> Fit:
    """Fit on rows drawn without replacement, the same ones each time; states so on the artefact."""
    rows = yield from context.rows()
    seed = context.options.seed
    wanted = min(rows, int(context.options.sample_of(estimator) or rows))
    # Sorted, because rows are gathered as they come by.
    chosen = np.sort(np.random.default_rng(seed).choice(rows, size=wanted, replace=False))
    (found,) = yield from context.need(Request(("sample", stream.key, wanted), stream, Gathered(chosen), positions=True))
    if wanted < rows:
        context.note(where, type(estimator).__name__, f"fitted on a declared sample of {wanted:,} of {rows:,} rows, seed {seed}")
    with quiet():
        return estimator.fit(found.table) if found.label is None else estimator.fit(found.table, found.label)


def identity_map(fitted: BaseEstimator) -> list[int]:
    """Column by column, as many as came in."""
    return list(range(fitted.n_features_in_))
