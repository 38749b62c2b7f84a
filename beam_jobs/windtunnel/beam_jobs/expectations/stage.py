"""The stage: a problem's suite and limits over a snapshot, with a page that says why it passed or stopped."""

import dataclasses
import datetime as dt
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.beam_jobs.expectations.docs import page
from windtunnel.beam_jobs.expectations.engine.known import load_statistics
from windtunnel.beam_jobs.expectations.engine.source import Source
from windtunnel.beam_jobs.expectations.figures import count_figures
from windtunnel.beam_jobs.expectations.other_tables import resolved
from windtunnel.beam_jobs.expectations.proposal import infer
from windtunnel.beam_jobs.expectations.quarantine import set_aside
from windtunnel.beam_jobs.expectations.run import Failure, failures_of, run_suite
from windtunnel.beam_jobs.expectations.skew import asked_files, skew_findings, version_of
from windtunnel.lifecycle.contract.errors import EmptyWindowError, ValidationFailedError
from windtunnel.lifecycle.contract.fingerprint import code_version, fingerprint
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import SnapshotRef, StatisticsRef, ValidationRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data import pins
from windtunnel.lifecycle.data.artifacts import Stage, read_text
from windtunnel.lifecycle.data.days import DayFile
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.lifecycle.quality import suites
from windtunnel.lifecycle.quality.checks import Finding, check_all
from windtunnel.lifecycle.statistics.table import TableStatistics

if TYPE_CHECKING:
    from windtunnel.beam_jobs.job import Progress

__all__ = ["stopped", "validate"]

log = logging.getLogger("windtunnel.expectations")

_FORM = {
    "result_format": "SUMMARY",
    "partial_unexpected_count": 20,
    "include_unexpected_rows": True,
    "map_expectation_unexpected_rows_as_dict": True,
}
_DAY = re.compile(r"event_date=(\d{4}-\d{2}-\d{2})")
_SHOWN = 6  # failures in the message; the page has all
_TOLD = 8  # lines of warnings, and of what a newer proposal would change, in the log
_CLASSES = 50  # classes whose counts are handed on


def validate(
    problem: Problem,
    snapshot: SnapshotRef,
    statistics: StatisticsRef | None,
    settings: Settings,
    progress: "Progress",
    *,
    known: dt.datetime | None = None,
) -> ValidationRef:
    """Validate a snapshot against the problem's suite and limits; without a suite, against a proposal made of the snapshot itself.

    Rows that marked expectations do not like are set aside in quarantine first (see `quarantine`).
    Result, page and suite are kept whether or not the suite was met. The same inputs are not computed again: a failure is raised again.

    Args:
        problem: its ``suite`` is the reviewed file; ``limits`` bound what is beyond rows.
        snapshot: the rows.
        statistics: of the snapshot, with drift against the reference where there is one.
        settings: where artefacts are kept.
        progress: told the rows that were read.
        known: look at the prediction log as it was at this moment, for a replay; by default as it is.

    Raises:
        ValidationFailedError: something critical was not met: says column, expected, got, and sample rows; ``details`` has the page.
        EmptyWindowError: there are no rows.
        ConfigurationError: the suite is wrong.
    """
    given, stage = _placed(problem, snapshot, statistics, settings, known)
    result = stage.result()
    if result is None:
        result = _compute(given, stage, settings, progress)
    for line in result["warnings"]:
        log.warning("%s", line)
    for line in result["changes"]:
        log.info("%s", line)
    if not result["success"]:
        raise ValidationFailedError(result["message"], hint=result["hint"], **result["details"])
    return ValidationRef(
        success=True,
        evaluated=result["evaluated"],
        unsuccessful=result["unsuccessful"],
        uri=stage.path("validation.json"),
        docs=stage.path("index.html"),
        fingerprint=stage.key,
        remedy=problem.model.class_balance,
        labels=result["labels"],
        snapshot=result["snapshot"],
        warnings=result["warnings"],
    )


@dataclasses.dataclass(frozen=True)
class _Given:
    """What there is to validate."""

    problem: Problem
    snapshot: SnapshotRef
    statistics: StatisticsRef | None
    reviewed: suites.Suite | None
    asked: list[DayFile]


def stopped(problem: Problem, snapshot: SnapshotRef, statistics: StatisticsRef | None, settings: Settings) -> bool:
    """Whether this very data was validated before, and stopped its run."""
    _, stage = _placed(problem, snapshot, statistics, settings)
    result = stage.result()
    return result is not None and not result["success"]


def _placed(
    problem: Problem, snapshot: SnapshotRef, statistics: StatisticsRef | None, settings: Settings, known: dt.datetime | None = None
) -> tuple[_Given, Stage]:
    """What there is to validate, and where its result is kept."""
    reviewed = suites.of_problem(problem)
    reviewed = None if reviewed is None else resolved(reviewed, settings)
    asked = asked_files(problem, snapshot, settings, known) if statistics is not None else []
    parts = ("label", "limits", "splits", "keys", "features", "task", "optional_columns", "first_suite")
    key = fingerprint(
        "validate",
        code_version(),
        reviewed,
        problem.part_fingerprint(*parts),
        [snapshot.fingerprint, snapshot.start, snapshot.end, snapshot.rows],
        statistics.fingerprint if statistics else None,
        [version_of(asked), problem.monitoring.drift, problem.serving.redact] if asked else None,
    )
    return _Given(problem, snapshot, statistics, reviewed, asked), Stage(settings, problem.name, "validate", key)


@dataclasses.dataclass
class _Outcome:
    """All that was found."""

    result: JsonObject
    daily: dict[str, JsonObject]
    findings: list[Finding]
    labels: dict[str, int]

    def failures(self) -> list[Failure]:
        """Expectations that were not met, with the day where they are about one."""
        found = failures_of(self.result)
        for day, result in self.daily.items():
            found += [dataclasses.replace(failure, expected=f"on {day}: {failure.expected}") for failure in failures_of(result)]
        return found

    @property
    def evaluated(self) -> int:
        """How many questions were asked."""
        return len(self.result["results"]) + sum(len(result["results"]) for result in self.daily.values()) + len(self.findings)


def _compute(given: _Given, stage: Stage, settings: Settings, progress: "Progress") -> JsonObject:
    problem, snapshot = given.problem, given.snapshot
    files = _files(problem, snapshot, settings)
    source = Source(files)
    known = _statistics(given)
    proposal = infer(source, f"{problem.name}.proposal", problem, known)
    suite = given.reviewed if given.reviewed is not None else proposal
    left, aside = set_aside(problem, snapshot, suite, settings)
    if left != snapshot:
        files = _files(problem, left, settings)
        source, known = Source(files), None
    labels, kept = _label_errors(given, left, suite, source, settings)
    if kept != left:
        left = kept
        files = _files(problem, left, settings)
        source, known = Source(files), None
    outcome = _look(given, left, suite, source, known, progress)
    outcome.findings += [*labels, *aside]
    failures = outcome.failures()
    bad_findings = [finding for finding in outcome.findings if not finding.ok]
    everything: list[Failure | Finding] = [*failures, *bad_findings, *_unreviewed(given, proposal, stage)]
    critical = [entry for entry in everything if entry.severity == "critical"]
    changes = suites.changes(suite, proposal) if given.reviewed is not None else []
    details = {"docs": stage.path("index.html"), "report": stage.path("index.html"), "uri": stage.path("validation.json")}
    with stage.writing() as folder:
        _write(folder / "validation.json", {**outcome.result, "days": outcome.daily, "checks": [f.to_dict() for f in outcome.findings]})
        _write(folder / "suite.json", suite)
        _write(folder / "proposal.json", proposal)
        shown = page(problem, left, suite, outcome.result, outcome.daily, outcome.findings, failures, changes)
        (folder / "index.html").write_text(shown, encoding="utf-8")
        first = critical[0] if critical else None
        result = {
            "success": not critical,
            "evaluated": outcome.evaluated,
            "unsuccessful": len(failures) + len(bad_findings),
            "message": _message(problem, snapshot, outcome, critical),
            "hint": f"mend the data and clear this task (or ingest), or review the suite; all of it: {stage.path('index.html')}",
            "warnings": [f"{entry.severity}: {entry}" for entry in everything if entry.severity != "critical"][:_TOLD],
            "changes": _told(changes, given, proposal, stage),
            "labels": outcome.labels if len(outcome.labels) <= _CLASSES else {},
            "snapshot": left.to_dict(),
            "details": {
                **details,
                "column": getattr(first, "column", ""),
                "expected": getattr(first, "expected", ""),
                "got": getattr(first, "got", ""),
                "samples": getattr(first, "samples", [])[:5],
                "failures": [str(failure) for failure in critical],
            },
        }
        stage.finish(folder, result)
    return result


def _statistics(given: _Given) -> TableStatistics | None:
    """The statistics of the snapshot's columns; None if there are none of these very rows."""
    if given.statistics is None:
        return None
    described = json.loads(read_text(f"{given.statistics.uri}/statistics.json"))
    same = SnapshotRef.from_dict(described["snapshot"]) == given.snapshot if described.get("snapshot") else False
    return load_statistics(f"{given.statistics.uri}/statistics.arrow") if same else None


def _files(problem: Problem, snapshot: SnapshotRef, settings: Settings) -> list[str]:
    files = pins.files(settings, snapshot)
    if not files:
        raise EmptyWindowError(
            f"problem {problem.name!r}: no rows from {snapshot.start} to {snapshot.end}", hint="has the source landed? see the ingest task"
        )
    return files


def _unreviewed(given: _Given, proposal: suites.Suite, stage: Stage) -> list[Finding]:
    """Without a reviewed suite: what stops the run, where the problem wants that."""
    if given.reviewed is not None or given.problem.first_suite == "go_on":
        return []
    expected = (
        f"a suite that a person has reviewed; {len(proposal['expectations'])} expectations are proposed in {stage.path('proposal.json')}"
    )
    got = "none: put the proposal beside the problem file, review it, and name it in `suite`"
    return [Finding("first suite", ok=False, severity="critical", expected=expected, got=got)]


def _told(changes: Sequence[str], given: _Given, proposal: suites.Suite, stage: Stage) -> list[str]:
    """What a person who keeps the suite should know, for the log."""
    if given.reviewed is None:
        return [f"no suite is reviewed yet: {len(proposal['expectations'])} expectations are proposed in {stage.path('proposal.json')}"]
    if not changes:
        return []
    more = [f"  and {len(changes) - _TOLD} more, on the page"] if len(changes) > _TOLD else []
    return [f"a newer proposal ({stage.path('proposal.json')}) would change the suite:", *(f"  {line}" for line in changes[:_TOLD]), *more]


def _look(
    given: _Given, snapshot: SnapshotRef, suite: suites.Suite, source: Source, known: TableStatistics | None, progress: "Progress"
) -> _Outcome:
    problem, statistics = given.problem, given.statistics
    whole, daily = suites.split_by_day(suite)
    result = run_suite(whole, source.files, result_format=_FORM, progress=progress.add, statistics=known)
    by_day: dict[str, JsonObject] = {}
    if daily["expectations"]:
        for day, paths in _days(source.files).items():
            by_day[day] = run_suite(daily, paths, result_format=_FORM)
    figures = count_figures(problem, source, snapshot.end)
    if statistics is not None:
        figures.drift, figures.reference, figures.reference_is = _reference(statistics)
    notes = suite["meta"].get("windtunnel")
    options = notes.get("checks") if isinstance(notes, Mapping) else None
    findings = check_all(problem, figures, snapshot.end, options)
    if statistics is not None and given.asked:
        limit = options.get("skew") if isinstance(options, Mapping) else None
        findings += skew_findings(problem, statistics, given.asked, limit)
    return _Outcome(result, by_day, findings, figures.labels)


def _label_errors(
    given: _Given, snapshot: SnapshotRef, suite: suites.Suite, source: Source, settings: Settings
) -> tuple[list[Finding], SnapshotRef]:
    """Labels that look wrong, where the suite's notes ask for them; a flipped source goes to quarantine where they say so."""
    notes = suite["meta"].get("windtunnel")
    checks = notes.get("checks") if isinstance(notes, Mapping) else None
    options = checks.get("label_errors") if isinstance(checks, Mapping) else None
    if not isinstance(options, Mapping):
        return [], snapshot
    from windtunnel.beam_jobs.expectations.labels import label_errors

    found = label_errors(given.problem, source, options, snapshot.end)
    share = options.get("set_aside")
    if not (found.flipped and share):
        return found.findings, snapshot
    asked = {
        "type": "expect_column_values_to_not_be_in_set",
        "kwargs": {"column": options["source"], "value_set": found.flipped},
        "meta": {"windtunnel": {"quarantine": float(share)}},
    }
    left, aside = set_aside(given.problem, snapshot, {"name": "flipped labels", "expectations": [asked], "meta": {}}, settings)
    if left == snapshot:  # they are more than the problem lets go: the run stops, with both reasons
        return [*found.findings, *aside], snapshot
    gone = [dataclasses.replace(entry, severity="warning", got=f"{entry.got}: set aside") for entry in found.findings[-1:]]
    return [*found.findings[:-1], *gone, *aside], left


def _days(files: Sequence[str]) -> dict[str, list[str]]:
    """The files of each day, from their places; one entry for all of them if those do not say it."""
    found: dict[str, list[str]] = {}
    for path in files:
        match = _DAY.search(path)
        found.setdefault(match.group(1) if match else "the window", []).append(path)
    return dict(sorted(found.items()))


def _reference(statistics: StatisticsRef) -> tuple[dict[str, float], dict[str, float], str]:
    """Each column's drift from the reference, and the label's shares there, as the profile stage left them; empty without a reference."""
    values = json.loads(read_text(f"{statistics.uri}/statistics.json"))
    compared = values.get("drift") or {}
    measured = {name: entry for name, entry in (compared.get("columns") or {}).items() if entry.get("psi") is not None}
    drift = {name: float(entry["psi"]) if entry.get("drifted") else 0.0 for name, entry in measured.items()}
    shares = (values.get("label_shift") or {}).get("shares") or {}
    rows = (compared.get("rows") or [0])[0]
    return drift, {name: float(pair[0]) for name, pair in shares.items()}, f"the reference of {rows:,} rows"


def _message(problem: Problem, snapshot: SnapshotRef, outcome: _Outcome, critical: Sequence[Failure | Finding]) -> str:
    if not critical:
        return ""
    head = (
        f"{problem.name}: {len(critical)} of {outcome.evaluated} checks stop the run, "
        f"rows of {snapshot.start} to {snapshot.end} (exclusive), {snapshot.rows:,} rows"
    )
    lines = []
    for failure in critical[:_SHOWN]:
        lines.append(f"  {failure}")
        if isinstance(failure, Failure) and failure.samples:
            lines.append(f"    for example {json.dumps(failure.samples[0], default=str, ensure_ascii=False)[:400]}")
    if len(critical) > _SHOWN:
        lines.append(f"  and {len(critical) - _SHOWN} more")
    return "\n".join([head, *lines])


def _write(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=1, default=str, ensure_ascii=False), encoding="utf-8")
