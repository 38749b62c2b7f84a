"""The page of a validation: what was asked, what was found, sample rows; self-contained."""

import json
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from windtunnel.beam_jobs.expectations.run import Failure, failures_of
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import SnapshotRef
from windtunnel.lifecycle.pages import page as html
from windtunnel.lifecycle.payload import JsonMapping
from windtunnel.lifecycle.quality.checks import Finding
from windtunnel.lifecycle.quality.suites import describe

__all__ = ["page"]

_TONE = {"critical": "bad", "warning": "warn", "info": "info"}


def _by_day(daily: Mapping[str, JsonMapping]) -> Markup:
    rows = [(day, len(entry["results"]), len(failures_of(entry)), _badge(not failures_of(entry))) for day, entry in daily.items()]
    return html.section("Every day by itself", html.table(("day", "expectations", "not met", ""), rows))


def _changes(changes: Sequence[str]) -> Markup:
    where = html.paragraph(html.link("proposal.json", "the proposal"), ", each expectation with its reason")
    listed = html.details(f"{len(changes)} expectations", html.items(changes), where)
    return html.section("What a newer proposal would change", listed)


def page(
    problem: Problem,
    snapshot: SnapshotRef,
    suite: JsonMapping,
    result: JsonMapping,
    daily: Mapping[str, JsonMapping],
    findings: Sequence[Finding],
    failures: Sequence[Failure],
    changes: Sequence[str] = (),
) -> str:
    """The page as HTML; `changes` is what a newer proposal would change in the suite."""
    bad: list[Finding] = [finding for finding in findings if not finding.ok]
    asked = len(result["results"]) + sum(len(entry["results"]) for entry in daily.values()) + len(findings)
    stops = [*(failure.severity for failure in failures), *(finding.severity for finding in bad)].count("critical")
    tiles = [
        ("verdict", "stopped" if stops else "passed"),
        ("rows", snapshot.rows),
        ("asked", asked),
        ("stop the run", stops),
        ("warnings", len(failures) + len(bad) - stops),
        ("in quarantine", snapshot.quarantined),
    ]
    body = [html.section("Result", html.tiles(tiles))]
    if failures or bad:
        body.append(html.section("Not met", *(_failure(entry) for entry in failures), *(_finding(entry) for entry in bad)))
    body.append(html.section("Beyond rows", html.table(("check", "expected", "got", ""), [_check(finding) for finding in findings])))
    body.append(
        html.section(f"Suite {suite['name']}", html.table(("expectation", "severity", "found", ""), [_row(e) for e in result["results"]]))
    )
    if daily:
        body.append(_by_day(daily))
    if changes:
        body.append(_changes(changes))
    subtitle = f"{snapshot.table}, snapshot {snapshot.snapshot_id}, {snapshot.start} to {snapshot.end} (exclusive)"
    return html.render(f"Validation of {problem.title or problem.name}", body, subtitle)


def _failure(failure: Failure) -> Markup:
    rows = failure.samples
    samples = Markup("")
    if rows:
        names = list(rows[0])
        samples = html.details(f"{len(rows)} sample rows", html.table(names, [[_cell(row.get(name)) for name in names] for row in rows]))
    tone = _TONE.get(failure.severity, "bad")
    return html.paragraph(html.badge(failure.severity, tone), " ", html.bold(failure.expected), Markup("<br>"), failure.got) + samples


def _finding(finding: Finding) -> Markup:
    return html.paragraph(html.badge(finding.severity, _TONE.get(finding.severity, "bad")), " ", html.bold(str(finding)))


def _check(finding: Finding) -> tuple[object, ...]:
    return (f"{finding.check} {finding.column}".strip(), finding.expected, finding.got, _badge(finding.ok, finding.severity))


def _row(entry: JsonMapping) -> tuple[object, ...]:
    config, found = entry["expectation_config"], entry.get("result") or {}
    if "unexpected_count" in found:
        text = f"{found['unexpected_count']:,} of {found.get('element_count', 0):,} not so"
    elif "observed_value" in found:
        text = json.dumps(found["observed_value"], default=str, ensure_ascii=False)[:120]
    else:
        text = ""
    severity = str(config.get("severity") or "critical")
    return describe(config), severity, text, _badge(entry["success"], severity)


def _badge(ok: bool, severity: str = "critical") -> Markup:
    return html.badge("met", "good") if ok else html.badge("not met", _TONE.get(severity, "bad"))


def _cell(value: object) -> object:
    return value if value is None or isinstance(value, int | float | str) else str(value)
