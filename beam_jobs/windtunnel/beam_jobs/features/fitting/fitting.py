"""`fit`: an ordinary fitted scikit-learn object from any amount of data."""

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline

from windtunnel.beam_jobs import job
from windtunnel.beam_jobs.features.data import Data, open_data
from windtunnel.beam_jobs.features.fitting.compose import fit_node
from windtunnel.beam_jobs.features.fitting.engine import Context, run
from windtunnel.beam_jobs.features.fitting.passes import NAME, gather, guard, on_disk
from windtunnel.beam_jobs.features.fitting.registry import column_map
from windtunnel.beam_jobs.features.options import Options
from windtunnel.beam_jobs.features.tallies.accumulator import Request
from windtunnel.beam_jobs.features.tallies.rows import Rows
from windtunnel.beam_jobs.features.tallies.streams import Stream
from windtunnel.lifecycle.contract.errors import EmptyWindowError
from windtunnel.lifecycle.contract.references import SnapshotRef

__all__ = ["Fitted", "fit", "fit_data"]


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A fitted transformer and how it came about.

    Attributes:
        transformer: the ordinary fitted scikit-learn object.
        passes: over the rows.
        rows: rows it was fitted on; -1 if no pass was needed.
        notes: what is approximate, and by how much.
        out: the training rows' features, as its ``fit_transform`` would answer them.
        context: what is known of the data.
        counts: rows of each bin, where a pass or the files told.
    """

    transformer: BaseEstimator
    passes: int
    rows: int
    notes: list[dict[str, object]]
    out: Stream
    context: Context
    counts: list[int] | None


def fit(
    transformer: BaseEstimator, data: str | Sequence[str] | SnapshotRef, options: Options | Mapping[str, Any] | None = None
) -> BaseEstimator:
    """Fit a transformer over Parquet files of any size.

    Args:
        transformer: a ColumnTransformer, Pipeline, FeatureUnion or single transformer; it is not changed.
        data: a path, a folder, a glob, a list of them, or a snapshot.
        options: see `Options`.

    Returns:
        What ``transformer.fit(pandas.read_parquet(data))`` would have given: a fitted clone.

    Raises:
        UnsupportedError: a step cannot be fitted so; says the ways out.
        DataError: scikit-learn refuses the data.
    """
    chosen = Options.of(options)
    return fit_data(transformer, open_data(data, chosen), chosen).transformer


def _last(transformer: BaseEstimator) -> str:
    """The place of the step that `fit` does not apply: the last of a Pipeline, or one that stands alone."""
    where = type(transformer).__name__
    while isinstance(transformer, Pipeline) and transformer.steps:
        name, transformer = transformer.steps[-1]
        where = f"{where}.{name}"
    applied = transformer is None or transformer == "passthrough" or isinstance(transformer, ColumnTransformer | FeatureUnion)
    return "" if applied else where


def fit_data(transformer: BaseEstimator, data: Data, options: Options, progress: job.Progress | None = None) -> Fitted:
    """Fit over rows that were opened already; answers how it went, too."""
    head = data.head()
    if not head.rows:
        raise EmptyWindowError("there is no row to fit features on", hint="check the window, and that rows have a label")
    counts = data.counts()
    total = -1

    with on_disk("fitting features"), tempfile.TemporaryDirectory(prefix="features-", dir=options.work) as work:
        context = Context(head, options, column_map, work, None if counts is None else data.rows)
        context.alone = not isinstance(transformer, ColumnTransformer | FeatureUnion | Pipeline)
        context.last = _last(transformer)

        def ask(requests: list[Request]) -> list[Any]:
            nonlocal counts, total
            # Where a bin's first row lies is known only once the rows of the bins before it are counted.
            if any(request.positions for request in requests) and counts is None:
                *_, counts = gather(data, [Request("rows", context.nothing, Rows())], options.spec, work)
            starts = None if counts is None else [int(n) for n in np.cumsum([0, *counts[:-1]])]
            *found, counts = gather(data, requests, options.spec, work, starts)
            total = sum(counts)
            return found

        with job.reporting(NAME, progress or job.Progress("fit features", data.rows)):
            try:
                node, passes = run(fit_node(context, transformer, context.source, type(transformer).__name__), context, ask)
            except (ValueError, TypeError) as error:
                raise guard(error, type(transformer).__name__) from error
    return Fitted(node.fitted, passes, total, context.notes, node.out, context, counts)
