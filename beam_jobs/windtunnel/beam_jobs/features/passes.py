"""Passes over the rows: what all parts of a fit ask for at the same time is gathered in one Beam pipeline.

References to row groups go out in bins that the data alone decides; each bin's partial results come back as one file that is renamed
into place, so a bundle that runs twice leaves the same file once. The driver merges the files in the order of the rows: the sums come
out the same with one worker or with many.
"""

import copy
import logging
import os
import pickle
import tempfile
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam

from windtunnel.beam_jobs import job
from windtunnel.beam_jobs.features.accumulator import Gatherer, Request
from windtunnel.beam_jobs.features.data import Data
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.lifecycle.errors import DataError, WindtunnelError

__all__ = ["gather", "guard"]

log = logging.getLogger("windtunnel.features")
NAME = "features"


def guard(error: Exception, doing: str) -> WindtunnelError:
    """scikit-learn's complaint about data, as an error of ours that says where."""
    if isinstance(error, WindtunnelError):
        return error
    return DataError(f"{doing}: {error}", hint="scikit-learn itself refuses this data with these parameters", cause=type(error).__name__)


class _Gather(beam.DoFn):
    """One bin: reads its rows in order and writes what was gathered to a file."""

    def __init__(self, data: Data, requests: Sequence[Request], columns: Sequence[str], folder: str, starts: list[int] | None) -> None:
        self._data, self._requests, self._columns, self._folder, self._starts = data, list(requests), list(columns), folder, starts

    def process(self, element: tuple[int, int, list[Any]]) -> Iterable[tuple[int, int]]:
        """Answers (bin, rows)."""
        number, before, groups = element
        states: list[Gatherer] = [copy.deepcopy(request.gatherer) for request in self._requests]
        progress = job.progress_of(NAME)
        rows = 0
        start = before if self._starts is None else self._starts[number]
        try:
            for chunk in self._data.chunks(groups, self._columns, start):
                with quiet():
                    for request, state in zip(self._requests, states, strict=True):
                        state.gather(request.stream, chunk)
                rows += chunk.rows
                progress.add(chunk.rows)
        except (ValueError, TypeError, AttributeError) as error:
            raise guard(error, "while fitting") from error
        target = Path(self._folder, f"{number:06d}.state")
        temporary = target.with_suffix(f".{uuid.uuid4().hex}")
        with temporary.open("wb") as file:
            pickle.dump((rows, states), file, protocol=5)
        temporary.replace(target)
        yield number, rows


def gather(data: Data, requests: Sequence[Request], spec: dict[str, Any], work: str, starts: list[int] | None = None) -> list[Any]:
    """One pass: the merged gatherer of each request; rows of each bin come last.

    Raises:
        WindtunnelError: what a worker raised, unwrapped from Beam's own error.
    """
    bins = data.bins()
    columns = sorted(set().union(*[request.stream.source_columns(list(data.dtypes)) for request in requests])) if requests else []
    with tempfile.TemporaryDirectory(prefix="pass-", dir=work) as folder:
        try:
            with job.pipeline(spec) as pipeline:
                _ = (
                    pipeline
                    | "Bins" >> beam.Create(bins)
                    | "Spread" >> beam.Reshuffle()
                    | "Gather" >> beam.ParDo(_Gather(data, requests, columns, folder, starts))
                )
        except Exception as error:
            raise unwrap(error) from error
        merged: list[Any] | None = None
        counts = []
        for number, _, _ in bins:
            path = Path(folder, f"{number:06d}.state")
            with path.open("rb") as file:
                rows, states = pickle.load(file)  # noqa: S301 - written by our own workers just now
            os.unlink(path)  # noqa: PTH108 - frees the space before the next is read
            counts.append(rows)
            if merged is None:
                merged = states
            else:
                for mine, other in zip(merged, states, strict=True):
                    mine.merge(other)
    return [*(merged if merged is not None else [copy.deepcopy(request.gatherer) for request in requests]), counts]


def unwrap(error: BaseException) -> BaseException:
    """The error of ours at the bottom of one that Beam wrapped, or the error itself."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, WindtunnelError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return error
