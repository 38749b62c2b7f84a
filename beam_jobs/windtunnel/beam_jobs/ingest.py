"""Ingest: raw rows of a window become typed rows of the problem's table; those that do not fit go to quarantine with the reason.

Only days that the table lacks, or whose source has changed, are read. Workers write Parquet files under names that only their content
decides; one commit then makes them the days' content. Nothing is committed when too many rows do not fit.

    python -m windtunnel.beam_jobs.ingest --spec spec.json --result result.json

with a spec of ``{"problem": {...}, "window": {"start": ..., "end": ...}, "settings": {...}}``.
"""

import collections
import contextlib
import dataclasses
import datetime as dt
import logging
from collections.abc import Generator, Sequence
from typing import cast

import apache_beam as beam
import fsspec

from windtunnel.beam_jobs.ingest_write import PieceWriter, publish, write_table
from windtunnel.beam_jobs.job import Progress, main, pipeline, progress_of, reporting, spread
from windtunnel.beam_jobs.outcome import Outcomes, outcomes
from windtunnel.lifecycle.contract.errors import EmptyWindowError, QuarantineLimitError
from windtunnel.lifecycle.contract.problem import Problem, parse
from windtunnel.lifecycle.contract.references import SnapshotRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.days import UNKNOWN_DAY, day_files, replace_days
from windtunnel.lifecycle.data.pins import pin
from windtunnel.lifecycle.data.rows import DAY
from windtunnel.lifecycle.data.schema import QUARANTINE_SCHEMA, arrow_schema
from windtunnel.lifecycle.data.sources import Chunk, Piece, Unit, plan, read
from windtunnel.lifecycle.data.sources.arrival import await_arrival
from windtunnel.lifecycle.data.sources.database import one_version
from windtunnel.lifecycle.data.sources.lake import pinned
from windtunnel.lifecycle.data.sources.plan import version_of
from windtunnel.lifecycle.data.tables import open_table, table_name
from windtunnel.lifecycle.learning.check import need_learning
from windtunnel.lifecycle.payload import JsonMapping, JsonObject

__all__ = ["ingest", "run"]

log = logging.getLogger("windtunnel.jobs.ingest")


@dataclasses.dataclass(frozen=True)
class _Task:
    """One piece to read: what is shuffled."""

    unit: int
    piece: Piece
    digest: str
    day: str
    days: tuple[str, ...]


def ingest(problem: Problem, window: Window, settings: Settings, progress: Progress) -> SnapshotRef:
    """Make the problem's table hold the window's rows as the source has them now.

    Args:
        problem: says where the source is and what its rows look like.
        window: the days.
        settings: name the catalog, the warehouse and the runner.
        progress: counts rows.

    Returns:
        the table's version and the window in it; the same source gives the same fingerprint and no new version.

    Raises:
        ProblemError: the problem names what a later stage could not use, such as an estimator that cannot be imported.
        EmptyWindowError: the window has no good row.
        QuarantineLimitError: too large a share of rows does not fit; nothing was committed.
        SourceFormatError: a source cannot be read as what it claims to be; nothing was committed.
        SchemaMismatchError: a column is missing or of another type; nothing was committed.
    """
    need_learning(problem)
    if problem.source.format == "iceberg" and (ref := pinned(problem, window, settings)) is not None:
        return ref
    with one_version(problem) as version:
        _ingest(problem, window, settings, progress, version)
    return pin(problem, _seen(problem, window, settings), settings)


def _ingest(problem: Problem, window: Window, settings: Settings, progress: Progress, version: str) -> None:
    await_arrival(problem, window, settings)
    units = plan(problem, window, settings, version)
    examples = open_table(settings, table_name(problem, "examples"), arrow_schema(problem))
    quarantine = open_table(settings, table_name(problem, "quarantine"), QUARANTINE_SCHEMA)
    there = day_files(examples, window.start, window.end)
    todo = _lacking(units, window, {(entry.day, entry.digest) for entry in there})
    if todo:
        places = (f"{examples.location()}/data", f"{quarantine.location()}/data")
        written = _write(problem, todo, places, settings, progress)
        _check_share(problem, window, written)
        _check_window(problem, window, written, sum(entry.rows for entry in there))
        days, bad_days = _contents(problem, todo, written, places)
        if not problem.event_time and not _delivered_daily(units):  # a source without time is one version of everything
            days |= {entry.day: [] for entry in there if entry.day not in days}
        # The quarantine first: what is lacking is told by the examples, so a run that ends in between is done again.
        replace_days(settings, table_name(problem, "quarantine"), bad_days)
        replace_days(settings, table_name(problem, "examples"), days)


def _seen(problem: Problem, window: Window, settings: Settings) -> Window:
    """The window up to the newest day that was looked at: a cut-off must not claim days of which no file has come."""
    there = day_files(open_table(settings, table_name(problem, "examples"), arrow_schema(problem)), window.start, window.end)
    newest = max((entry.day for entry in there), default="")
    end = dt.date.fromisoformat(newest) + dt.timedelta(days=1) if newest else window.end
    if end < window.end:
        log.warning(
            "%s: the data cut-off is %s and not %s: there is no file of the days between (source.wait waits for them)",
            problem.name,
            end,
            window.end,
        )
    return dataclasses.replace(window, end=min(end, window.end))


def _delivered_daily(units: Sequence[Unit]) -> bool:
    return len(units) != 1 or len({unit.day for unit in units}) != 1


def _lacking(units: Sequence[Unit], window: Window, have: set[tuple[str, str]]) -> list[tuple[Unit, list[str]]]:
    """Units with those of their days that the table does not hold in this version."""
    found = []
    for unit in units:
        days = [unit.day] if unit.day else [day.isoformat() for day in window.days]
        lacking = [day for day in days if not unit.digest or (day, unit.digest) not in have]
        if lacking:
            found.append((unit, lacking))
    return found


class _IngestPiece(beam.DoFn):
    """Reads one piece and writes its files; run twice, it leaves the same files."""

    def __init__(self, problem: dict[str, object], settings: Settings, places: Sequence[str], results: Outcomes) -> None:
        self._problem, self._settings, self._places, self._results = problem, settings, places, results

    def process(self, element: _Task) -> None:
        """One piece."""
        name = f"{element.unit:06}-{element.piece.index:06}"
        with self._results.reporting(name, element.piece.path):
            problem = parse(self._problem)
            progress = progress_of("ingest")
            writer = PieceWriter(problem, element.piece, self._places, element.digest, element.days, element.day)
            try:
                # Closed here and not whenever the collector comes by: a source that is given up half-way holds connections and files.
                with contextlib.closing(cast("Generator[Chunk]", read(problem, element.piece, self._settings))) as chunks:
                    for chunk in chunks:
                        writer.add(chunk)
                        progress.add(chunk.rows)
                result = writer.finish()
            # A task that is stopped must not leave half-written files either.
            except BaseException:
                writer.abandon()
                raise
            self._results.put(name, {"unit": element.unit, **result})


def _write(
    problem: Problem, todo: Sequence[tuple[Unit, list[str]]], places: Sequence[str], settings: Settings, progress: Progress
) -> list[dict[str, object]]:
    tasks = [_Task(i, piece, unit.digest, unit.day, tuple(days)) for i, (unit, days) in enumerate(todo) for piece in unit.pieces]
    with outcomes(settings, problem.name, "ingest") as results, reporting("ingest", progress):
        with pipeline(settings.to_dict()) as p:
            step = _IngestPiece(problem.model_dump(mode="json"), settings, places, results)
            _ = p | spread(tasks, settings.to_dict()) | beam.ParDo(step)
        found = results.collect()
    if len(found) != len(tasks):
        raise RuntimeError(f"{len(tasks)} pieces were given out but {len(found)} came back")
    return found


def _why(written: Sequence[JsonMapping]) -> str:
    """The three reasons that most rejected rows share."""
    reasons: collections.Counter[str] = collections.Counter()
    for entry in written:
        for column, reason, count in entry["reasons"]:
            reasons[f"column {column!r} {reason}" if column else reason] += count
    return "; ".join(f"{count:,} rows: {text}" for text, count in reasons.most_common(3))


def _check_share(problem: Problem, window: Window, written: Sequence[JsonMapping]) -> None:
    """Too large a share of bad rows stops the run before anything is committed."""
    rows, rejected = (sum(entry[name] for entry in written) for name in ("delivered", "rejected"))
    if not rejected:
        return
    why = _why(written)
    samples = [sample for entry in written for sample in entry["samples"]][:5]
    first = f"{samples[0]['source']} line {samples[0]['line']}: {samples[0]['reason']}"
    limit = problem.limits.quarantine_share
    if rejected > limit * rows:
        raise QuarantineLimitError(
            f"{problem.name}, window {window.start} to {window.end}: {rejected:,} of {rows:,} rows ({rejected / rows:.2%}) do not fit, "
            f"more than the limit of {limit:.2%}; {why}; first: {first}",
            hint="mend the source, or columns and source.options; or raise limits.quarantine_share",
            rows=rows,
            rejected=rejected,
            samples=samples,
        )
    log.warning("%s: %s of %s rows go to quarantine; %s; first: %s", problem.name, f"{rejected:,}", f"{rows:,}", why, first)


def _check_window(problem: Problem, window: Window, written: Sequence[JsonMapping], there: int) -> None:
    """A window without a row, of a source that has rows of other days, says which: nothing is committed, so it says so every time."""
    elsewhere = sorted(day for entry in written for day in entry["elsewhere"])
    if there or not elsewhere or any(entry["rows"] for entry in written):
        return
    passed = sum(entry["passed"] for entry in written)
    after = dt.date.fromisoformat(elsewhere[-1]) + dt.timedelta(days=1)
    raise EmptyWindowError(
        f"{problem.name}: no row between {window.start} and {window.end}, but the source has {passed:,} rows of {elsewhere[0]} to "
        f"{elsewhere[-1]}",
        hint=f"set windows.history_end: {after} if no more rows will come, or start the run with window_end: {after}",
        start=str(window.start),
        end=str(window.end),
        rows=passed,
        first=elsewhere[0],
        last=elsewhere[-1],
    )


def _contents(
    problem: Problem, todo: Sequence[tuple[Unit, list[str]]], written: Sequence[JsonMapping], places: Sequence[str]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Day to paths, of both tables; a day that turned out to have no row gets an empty file, so that it counts as looked at."""
    days: dict[str, list[str]] = {}
    bad_days: dict[str, list[str]] = {}
    for i, (unit, lacking) in enumerate(todo):
        mine = [entry for entry in written if entry["unit"] == i]
        for kind, wanted, answer in (("examples", lacking, days), ("quarantine", [unit.day or UNKNOWN_DAY], bad_days)):
            for day in wanted:
                files = [entry[kind][day] for entry in mine if day in entry[kind]]
                answer[day] = [file["path"] for file in files] if unit.digest else _named(problem, files)
        for day in lacking:
            if not days[day]:
                path = f"{places[0]}/{DAY}={day}/{unit.digest or version_of(problem, ['nothing'])}-0.parquet"
                write_table(path, arrow_schema(problem).empty_table())
                days[day] = [path]
    return days, bad_days


def _named(problem: Problem, files: Sequence[JsonMapping]) -> list[str]:
    """Files whose content was only known after they were written get the name of their content."""
    if not files:
        return []
    content = [str(sum(file["sum"] for file in files) % (1 << 64)), str(sum(file["rows"] for file in files))]
    digest = version_of(problem, content)
    paths = []
    for number, file in enumerate(files):
        path = f"{file['path'].rpartition('/')[0]}/{digest}-{number}.parquet"
        filesystem, source = fsspec.core.url_to_fs(file["path"])
        publish(filesystem, source, fsspec.core.url_to_fs(path)[1])
        paths.append(path)
    return paths


def run(spec: JsonObject, progress: Progress) -> JsonObject:
    """The job: a spec of problem, window and settings in, a snapshot reference out."""
    return ingest(parse(spec["problem"]), Window.from_dict(spec["window"]), Settings.from_mapping(spec["settings"]), progress).to_dict()


if __name__ == "__main__":
    main(run)
