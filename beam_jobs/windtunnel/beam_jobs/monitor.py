"""Monitor: is the champion still fit?

It is looked at from every side that there is something to see from: how old it is beside the data, drift of the newest rows and of what it
is asked, training-serving skew, its quality on answers whose truth is known by now, and the model server's health and latency. What is
missing (no champion, no predictions, a server that is down) is an alert or a note, never a crash. Logged answers are read by a Beam job,
file by file; statistics and times are merged, so memory does not grow with rows.

    python -m windtunnel.beam_jobs.monitor --spec spec.json --result result.json

with a spec of ``{"problem": {...}, "window": {"start": ..., "end": ...}, "settings": {...}, "run": {...}}``.
"""

import dataclasses
import datetime as dt
import json
import logging
import math

import apache_beam as beam
import fsspec
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.beam_jobs.job import Progress, main, pipeline, progress_of, reporting
from windtunnel.beam_jobs.outcome import Outcomes, outcomes
from windtunnel.beam_jobs.profile import STATE, profile
from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import DataError, JobError, SchemaMismatchError, UnavailableError
from windtunnel.lifecycle.contract.fingerprint import code_version, fingerprint
from windtunnel.lifecycle.contract.problem import Problem, parse
from windtunnel.lifecycle.contract.references import MonitorRef, SnapshotRef, StatisticsRef
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.artifacts import Stage
from windtunnel.lifecycle.data.days import DayFile, day_files
from windtunnel.lifecycle.data.parquet import batches
from windtunnel.lifecycle.data.pins import pin
from windtunnel.lifecycle.data.rows import DAY
from windtunnel.lifecycle.data.sources.days import event_columns
from windtunnel.lifecycle.data.tables import existing, table_name
from windtunnel.lifecycle.live import monitoring
from windtunnel.lifecycle.live.collecting import collect
from windtunnel.lifecycle.live.feedback import horizon, inputs_of
from windtunnel.lifecycle.live.joined import look_at_quality
from windtunnel.lifecycle.live.monitoring import Findings, Latencies, MonitoringAlert
from windtunnel.lifecycle.pages.monitor import render
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.lifecycle.record.baseline_data import champion_statistics
from windtunnel.lifecycle.record.champion import Champion, champion, registered
from windtunnel.lifecycle.record.ledger import Ledger
from windtunnel.lifecycle.statistics import TableStatistics
from windtunnel.lifecycle.statistics.drift import compare
from windtunnel.lifecycle.statistics.profiled import Profiled

__all__ = ["monitor", "run"]

log = logging.getLogger("windtunnel.jobs.monitor")

_NEWEST = 7
"""Days that count as the newest: of data, and of answers."""


def monitor(context: RunContext, window: Window, progress: Progress) -> MonitorRef:
    """Look at the champion as it was at the end of a window.

    Args:
        context: its problem's ``monitoring``, ``serving`` and ``gates`` have the limits; its settings name the ledger, the catalog and
            the model server; its run is kept in the ledger beside a reason to retrain.
        window: its end is now, in data time; nothing later is looked at (but see `windtunnel.lifecycle.live.feedback.horizon`).
        progress: counts logged answers.

    Raises:
        UnavailableError: the ledger or the catalog is out of reach.
    """
    collect(context.problem, context.settings)
    found = Findings()
    present = champion(context.settings, context.problem.name)
    until = horizon(context.problem, window)
    if present is None:
        text = f"{context.problem.name} has no champion: run the retraining DAG {context.problem.name!r}, and approve its model"
        found.alerts.append(MonitoringAlert("champion", text, retrain=True))
    newest = _newest_day(context.problem, context.settings, window)
    if present is not None:
        found.take(monitoring.check_staleness(context.problem, present, newest, window.end))
    _look_at_answers(context, window, present, newest, until, found, progress)
    look_at_quality(context.problem, context.settings, window, present, until, found)
    server = monitoring.look_at_server(context.settings, context.problem.name)
    found.take(monitoring.check_server(context.problem, server, present))
    if not server.url:
        found.notes.append("The settings name no model server over HTTP, so its health and latency were not looked at.")
    found.sections["server"] = {"url": server.url, "error": server.error, "labels": dict(server.labels), "codes": dict(server.codes)}
    return _publish(context, window, present, found)


# Data -------------------------------------------------------------------------------------------------------------------------------


def _newest_day(problem: Problem, settings: Settings, window: Window) -> dt.date | None:
    table = existing(settings, table_name(problem, "examples"))
    days = [entry.day for entry in day_files(table, None, window.end) if entry.rows] if table is not None else []
    return dt.date.fromisoformat(max(days)) if days else None


def _look_at_answers(
    context: RunContext,
    window: Window,
    present: Champion | None,
    newest: dt.date | None,
    until: dt.date | None,
    found: Findings,
    progress: Progress,
) -> None:
    """Drift of the newest rows and of what was asked, and how long answers took."""
    statistics, times, answers = _answers(context.problem, window, context.settings, until, progress)
    found.figures["answers"] = float(answers)
    if times.requests:
        found.take(monitoring.check_latency(context.problem, times, f"the log of the last {_NEWEST} days with answers", "latency"))
    elif not answers:
        found.notes.append("No predictions were logged: live drift, skew, quality and latency show once the model server was asked.")
    if present is None:
        return
    try:
        reference = _reference(context.problem, context.settings, present, progress)
        rows = _new_rows(context.problem, context.settings, present, newest, progress)
    except (DataError, JobError) as error:
        found.alerts.append(
            MonitoringAlert("drift", f"drift cannot be told, because data cannot be read: {error.message}: mend it and look again")
        )
        return
    if reference is None:
        found.notes.append(f"The statistics of what version {present.version} learned from are gone, so drift cannot be told.")
        return
    if rows is None:
        found.notes.append(f"There are no rows after the champion's data cut-off {present.cutoff}, so there is no new data to compare.")
    ignored = {DAY, *event_columns(context.problem)} - set(context.problem.features.columns)
    for name, what, current in (("drift", "newest rows", rows), ("live_drift", "what the model was asked", statistics)):
        if current is None or not current.rows:
            continue
        drift = compare(reference, current, limit=context.problem.monitoring.drift, ignore=ignored)
        found.take(monitoring.check_drift(context.problem, drift, what, name))
        found.sections[name] = {"what": what, "rows": drift["rows"], "columns": drift["columns"], "limit": drift["limit"]}


def _reference(problem: Problem, settings: Settings, present: Champion, progress: Progress) -> TableStatistics | None:
    """The statistics of what the champion learned from: those its own run left, or made anew from the snapshot in its lineage."""
    kept = champion_statistics(settings, problem.name)
    if kept is not None:
        try:
            return _statistics(kept)
        except (OSError, SchemaMismatchError) as error:
            log.warning("the champion's statistics at %s cannot be read: %s", kept.uri, error)
    entry = registered(settings, problem.name).get(present.version)
    lineage = (entry.payload.get("lineage") or {}) if entry else {}
    if not {"table", "snapshot_id", "start", "end", "snapshot"} <= set(lineage):
        return None
    snapshot = SnapshotRef(lineage["table"], int(lineage["snapshot_id"]), lineage["start"], lineage["end"], 0, 0, lineage["snapshot"])
    try:
        return _statistics(profile(problem, snapshot, settings, progress))
    except UnavailableError as error:  # the snapshot was expired
        log.warning("what version %s learned from cannot be read any more: %s", present.version, error)
        return None


def _new_rows(
    problem: Problem, settings: Settings, present: Champion, newest: dt.date | None, progress: Progress
) -> TableStatistics | None:
    """The statistics of the newest days that the champion did not learn from."""
    cutoff = dt.date.fromisoformat(present.cutoff)
    if newest is None or newest < cutoff:
        return None
    end = newest + dt.timedelta(days=1)
    recent = Window(max(cutoff, end - dt.timedelta(days=_NEWEST)), end)
    return _statistics(profile(problem, pin(problem, recent, settings), settings, progress))


def _statistics(reference: StatisticsRef) -> TableStatistics:
    filesystem, path = fsspec.core.url_to_fs(f"{reference.uri}/{STATE}")
    return Profiled.from_bytes(filesystem.cat_file(path)).table


# Answers ----------------------------------------------------------------------------------------------------------------------------


class _ReadAnswers(beam.DoFn):
    """Reads a file of logged answers: statistics of what was asked, and times; run twice, it keeps the same."""

    def __init__(self, problem: Problem, results: Outcomes) -> None:
        self._problem, self._results = problem.model_dump(mode="json"), results

    def process(self, element: tuple[int, DayFile]) -> None:
        """One file."""
        number, file = element
        with self._results.reporting(f"{number:08}", file.path):
            problem = parse(self._problem)
            statistics, times, answers = TableStatistics(sample=0), Latencies(), 0
            for batch in batches([file.path]):
                shown = _shown(batch)
                answers += shown.num_rows
                progress_of("monitor").add(batch.num_rows)
                if "seconds" in shown.schema.names:
                    # A request of many rows took its time once.
                    first = shown.filter(pc.equal(shown.column("row"), 0)) if "row" in shown.schema.names else shown
                    times.add(first.column("seconds").to_numpy(zero_copy_only=False))
                if "inputs" in shown.schema.names and shown.num_rows:
                    asked = inputs_of(problem, shown).combine_chunks()
                    names = [name for name in problem.features.columns if name not in problem.redacted]
                    statistics.add_batch(asked.select(names), file.digest)
            # Before the result: whoever collects a result expects its state beside it.
            self._results.put_bytes(f"{number:08}.state", statistics.to_bytes())
            self._results.put(f"{number:08}", {"answers": answers, "times": {str(time): count for time, count in times.counts.items()}})


def _shown(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Answers that people saw: not those in the shadow."""
    if "shadow" not in batch.schema.names:
        return batch
    return batch.filter(pc.invert(pc.fill_null(batch.column("shadow"), fill_value=False)))


def _answers(
    problem: Problem, window: Window, settings: Settings, until: dt.date | None, progress: Progress
) -> tuple[TableStatistics | None, Latencies, int]:
    """What the newest days with answers hold: statistics of the inputs, times, how many."""
    files = _newest_answers(problem, window, settings, until)
    times = Latencies()
    if not files:
        return None, times, 0
    progress.total = progress.total or sum(entry.rows for entry in files)
    whole, answers = TableStatistics(sample=0), 0
    with outcomes(settings, problem.name, "monitor") as results, reporting("monitor", progress):
        with pipeline(settings.to_dict()) as flow:
            _ = flow | beam.Create(list(enumerate(files))) | beam.Reshuffle() | beam.ParDo(_ReadAnswers(problem, results))
        for number, entry in enumerate(results.collect()):
            answers += entry["answers"]
            times.merge(Latencies({int(time): count for time, count in entry["times"].items()}))
            # Results come sorted by names of eight digits, so a result's place is the number of its file.
            whole.merge(TableStatistics.from_bytes(results.get_bytes(f"{number:08}.state")))
    return whole, times, answers


def _newest_answers(problem: Problem, window: Window, settings: Settings, until: dt.date | None) -> list[DayFile]:
    """The files of the last days that have any answer."""
    table = existing(settings, table_name(problem, "predictions"))
    files = [entry for entry in day_files(table, window.start, until) if entry.rows] if table is not None else []
    days = sorted({entry.day for entry in files})[-_NEWEST:]
    return [entry for entry in files if entry.day in days]


# The result -------------------------------------------------------------------------------------------------------------------------


def _body(problem: Problem, window: Window, present: Champion | None, found: Findings) -> JsonObject:
    """What ``monitor.json`` says."""
    return {
        "problem": problem.name,
        "window": window.to_dict(),
        "champion": dataclasses.asdict(present) if present else None,
        "alerts": [dataclasses.asdict(alert) for alert in found.alerts],
        "notes": found.notes,
        "figures": {name: float(value) for name, value in found.figures.items() if math.isfinite(value)},
        "sections": found.sections,
    }


def _publish(context: RunContext, window: Window, present: Champion | None, found: Findings) -> MonitorRef:
    alerts = [alert.text for alert in found.alerts]
    reasons = [alert.text for alert in found.alerts if alert.retrain]
    body = _body(context.problem, window, present, found)
    figures = body["figures"]
    name = fingerprint("monitor", code_version(), context.problem.fingerprint, body)
    stage = Stage(context.settings, context.problem.name, "monitor", name)
    reference = MonitorRef(stage.path("monitor.html"), alerts, reasons, figures, name)
    if stage.result() is None:
        with stage.writing() as folder:
            (folder / "monitor.json").write_text(json.dumps(body, sort_keys=True, indent=1, default=str), encoding="utf-8")
            (folder / "monitor.html").write_text(render(context.problem, body), encoding="utf-8")
            stage.finish(folder, reference.to_dict())
    if reasons and Ledger.configured(context.settings):
        version = present.version if present else None
        payload = {"reasons": reasons, "champion": version, "cutoff": window.cutoff, "report": reference.report}
        Ledger(context.settings).append(context.problem, "monitoring", payload, context.run, key=name)
    return reference


def run(spec: JsonObject, progress: Progress) -> JsonObject:
    """The job: a spec of problem, window, settings and run in, a monitor reference out."""
    settings, window = Settings.from_mapping(spec["settings"]), Window.from_dict(spec["window"])
    return monitor(RunContext(parse(spec["problem"]), settings, Run.from_dict(spec.get("run") or {})), window, progress).to_dict()


if __name__ == "__main__":
    main(run)
