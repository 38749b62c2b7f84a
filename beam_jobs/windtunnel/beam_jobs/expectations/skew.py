"""Training-serving skew: what a model would learn from, beside what the model server was asked."""

import datetime as dt
from typing import Any

import fsspec

from windtunnel.lifecycle.contract.fingerprint import fingerprint
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import SnapshotRef, StatisticsRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.days import DayFile, day_files
from windtunnel.lifecycle.data.parquet import batches
from windtunnel.lifecycle.data.tables import existing, table_name
from windtunnel.lifecycle.live.feedback import horizon, inputs_of
from windtunnel.lifecycle.quality.checks import Finding
from windtunnel.lifecycle.statistics.drift import compare
from windtunnel.lifecycle.statistics.profiled import Profiled
from windtunnel.lifecycle.statistics.table import TableStatistics

__all__ = ["asked_files", "skew_findings", "version_of"]

_NEWEST = 7  # days with answers that are looked at
_LEAST = 100  # answers below which nothing is said


def asked_files(problem: Problem, snapshot: SnapshotRef, settings: Settings, known: dt.datetime | None = None) -> list[DayFile]:
    """The files of the newest days of the prediction log, of those that the run may see; none before the model was asked.

    Args:
        problem: whose log.
        snapshot: its end is the end of what may be seen, in data time.
        settings: name the catalog.
        known: the log as it was at this moment, for a replay; by default as it is.
    """
    table = existing(settings, table_name(problem, "predictions"))
    if table is None:
        return []
    version = None
    if known is not None:
        then = table.snapshot_as_of_timestamp(int(known.timestamp() * 1000))
        if then is None:
            return []
        version = then.snapshot_id
    window = Window(dt.date.fromisoformat(snapshot.start), dt.date.fromisoformat(snapshot.end))
    files = [entry for entry in day_files(table, None, horizon(problem, window), snapshot_id=version) if entry.rows]
    days = sorted({entry.day for entry in files})[-_NEWEST:]
    return [entry for entry in files if entry.day in days]


def version_of(files: list[DayFile]) -> str:
    """What the answer depends on."""
    return fingerprint([[entry.day, entry.digest, entry.part] for entry in files]) if files else ""


def skew_findings(problem: Problem, statistics: StatisticsRef, files: list[DayFile], limit: Any = None) -> list[Finding]:
    """A finding for each feature; a warning, because new training is what mends skew, unless the suite's notes give a limit.

    Args:
        problem: its features are compared; ``monitoring.drift`` is the limit if the suite names none.
        statistics: of the snapshot.
        files: of `asked_files`.
        limit: from the suite's notes, ``meta.windtunnel.checks.skew``: the largest population stability index; then critical.
    """
    from windtunnel.beam_jobs.profile import STATE  # Beam: validating alone does not need it

    asked = _asked(problem, files)
    if asked.rows < _LEAST:
        return []
    filesystem, path = fsspec.core.url_to_fs(f"{statistics.uri}/{STATE}")
    learned = Profiled.from_bytes(filesystem.cat_file(path)).table
    allowed = float(limit) if limit is not None else problem.monitoring.drift
    columns = compare(learned, asked, limit=allowed)["columns"]
    severity = "critical" if limit is not None else "warning"
    found = []
    for name in problem.features.columns:
        psi = (columns.get(name) or {}).get("psi")
        if psi is not None:
            text = f"what was asked within a population stability index of {allowed:g} of what is learned from"
            got = f"{float(psi):.3g} over {asked.rows:,} logged rows"
            bad = bool(columns[name].get("drifted")) and float(psi) > allowed
            found.append(Finding("training-serving skew", not bad, severity, text, got, name))
    return found


def _asked(problem: Problem, files: list[DayFile]) -> TableStatistics:
    statistics = TableStatistics(sample=0)
    names = [name for name in problem.features.columns if name not in problem.serving.redact]
    for file in files:
        for batch in batches([file.path]):
            if "inputs" in batch.schema.names and batch.num_rows:
                statistics.add_batch(inputs_of(problem, batch).combine_chunks().select(names), file.digest)
    return statistics
