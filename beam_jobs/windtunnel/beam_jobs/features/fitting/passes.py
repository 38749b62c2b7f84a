"""Passes over the rows: what all parts of a fit ask for at the same time is gathered in one Beam pipeline.

References to row groups go out in bins that the data alone decides; each bin's partial results come back as one file that is renamed
into place, so a bundle that runs twice leaves the same file once. The driver merges the files in the order of the rows: the sums come
out the same with one worker or with many.
"""

import contextlib
import copy
import os
import pickle
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam

from windtunnel.beam_jobs import job
from windtunnel.beam_jobs.features.data import Data
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.tallies.accumulator import Gatherer, Request
from windtunnel.beam_jobs.outcome import Outcomes
from windtunnel.lifecycle.contract.errors import DataError, JobError, UnavailableError, WindtunnelError

__all__ = ["COMPLAINTS", "gather", "guard", "on_disk", "run_bins"]

NAME = "features"
COMPLAINTS = (ValueError, TypeError, AttributeError, ArithmeticError, LookupError, RuntimeError)
"""What scikit-learn, numpy and scipy raise about data and parameters (a LinAlgError is a ValueError, an ArpackError a RuntimeError)."""


def guard(error: Exception, doing: str) -> WindtunnelError:
    """scikit-learn's complaint about data, as an error of ours that says where."""
    if isinstance(error, WindtunnelError):
        return error
    return DataError(f"{doing}: {error}", hint="scikit-learn itself refuses this data with these parameters", cause=type(error).__name__)


class _Gather(beam.DoFn):
    """One bin: reads its rows in order and writes what was gathered to a file."""

    def __init__(self, data: Data, requests: Sequence[Request], columns: Sequence[str], folder: str, starts: list[int] | None) -> None:
        self._data, self._requests, self._columns, self._folder, self._starts = data, list(requests), list(columns), folder, starts
        self._found = Outcomes(folder)

    def process(self, element: tuple[int, int, list[Any]]) -> Iterable[tuple[int, int]]:
        """Answers (bin, rows)."""
        number, before, groups = element
        with self._found.reporting(f"{number:06d}", f"reading part {number} of the data"):
            rows, states = self._gathered(groups, before if self._starts is None else self._starts[number])
            target = Path(self._folder, f"{number:06d}.state")
            temporary = target.with_suffix(f".{uuid.uuid4().hex}")
            with temporary.open("wb") as file:
                pickle.dump((rows, states), file, protocol=5)
            temporary.replace(target)
            yield number, rows

    def _gathered(self, groups: list[Any], start: int) -> tuple[int, list[Gatherer]]:
        # Copies: the same step works on several bins in one process.
        states: list[Gatherer] = [copy.deepcopy(request.gatherer) for request in self._requests]
        progress = job.progress_of(NAME)
        rows = 0
        try:
            for chunk in self._data.chunks(groups, self._columns, start):
                with quiet():
                    for request, state in zip(self._requests, states, strict=True):
                        state.gather(request.stream, chunk)
                rows += chunk.rows
                progress.add(chunk.rows)
        except COMPLAINTS as error:
            raise guard(error, "while fitting") from error
        return rows, states


def gather(data: Data, requests: Sequence[Request], spec: dict[str, object], work: str, starts: list[int] | None = None) -> list[Any]:
    """One pass: the merged gatherer of each request; rows of each bin come last.

    Raises:
        WindtunnelError: what a worker met.
    """
    bins = data.bins()
    columns = sorted(set().union(*[request.stream.source_columns(list(data.dtypes)) for request in requests])) if requests else []
    with tempfile.TemporaryDirectory(prefix="pass-", dir=work) as folder:
        do = _Gather(data, requests, columns, folder, starts)
        run_bins(data, spec, do, "Gather")
        Outcomes(folder).collect()
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


@contextlib.contextmanager
def on_disk(what: str) -> Iterator[None]:
    """A disk that is full or out of reach, as an error of ours; a retry can help."""
    try:
        yield
    except OSError as error:
        raise UnavailableError(f"{what}: {error}", hint="is the disk full, or the place out of reach?") from error


def run_bins(data: Data, spec: dict[str, object], do: beam.DoFn, name: str) -> None:
    """A pipeline that hands each bin of the data to a step.

    Raises:
        JobError: the runner failed; what goes wrong in the step itself is in its outcomes.
    """
    try:
        with job.pipeline(spec) as pipeline:
            _ = pipeline | "Bins" >> beam.Create(data.bins()) | "Spread" >> beam.Reshuffle() | name >> beam.ParDo(do)
    except (WindtunnelError, OSError):
        raise
    except Exception as error:
        raise JobError(
            f"the Beam runner failed: {type(error).__name__}: {error}", hint="try again; the log of the runner says more"
        ) from error
