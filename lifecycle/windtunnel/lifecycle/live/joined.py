"""What the answers that were joined with their truth say: what each version was worth, what still waits, and whether that is well."""

import collections
import dataclasses
import datetime as dt
import logging
from collections.abc import Sequence

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.artifacts import local_copy
from windtunnel.lifecycle.data.days import DayFile, day_files
from windtunnel.lifecycle.data.parquet import batches
from windtunnel.lifecycle.data.tables import existing, table_name
from windtunnel.lifecycle.live.monitoring import Findings, check_quality, check_skew
from windtunnel.lifecycle.live.outcomes import COLUMNS, Arm, Live
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.lifecycle.record.champion import Champion, registered
from windtunnel.lifecycle.record.ledger import Ledger

__all__ = ["feedback_report", "figures_of", "look_at_quality", "outcomes_of"]

log = logging.getLogger("windtunnel.live")


def outcomes_of(problem: Problem, settings: Settings, files: Sequence[DayFile], until: dt.date | None) -> Live:
    """How joined rows turned out: one plain pass over a few columns of their files."""
    live = Live(problem, _classes(problem, settings), until)
    for batch in batches([entry.path for entry in files if entry.rows], COLUMNS):
        live.add(batch)
    return live


def feedback_report(
    problem: Problem, window: Window, live: Live, days: Sequence[JsonMapping], answers: int, present: Champion | None
) -> JsonObject:
    """What ``feedback.json`` says of a window.

    Args:
        problem: whose answers.
        window: what was looked at.
        live: the joined rows.
        days: what came of each day of answers.
        answers: how many there were.
        present: the champion.
    """
    waiting: collections.Counter[str] = collections.Counter()
    for entry in days:
        waiting.update(entry["waiting"])
    if not problem.keys and answers:
        waiting["no_keys"] = answers
    shown = live.outcome(_shown(live))
    return {
        "problem": problem.name,
        "window": window.to_dict(),
        "answers": answers,
        "joined": sum(live.rows.values()),
        "waiting": dict(waiting),
        "corrected": live.corrected,
        "differs": live.shares(),
        "compared": live.compared,
        "champion": present.version if present else None,
        "shown": dataclasses.asdict(shown) if shown else None,
        "arms": _by_arm(live),
        "days": [dict(entry) for entry in days],
    }


def figures_of(report: JsonMapping, live: Live, present: Champion | None) -> dict[str, float]:
    """The report's figures by name: counts, shares of values that differ, and what the answers were worth."""
    figures = {name: float(report[name]) for name in ("answers", "joined", "corrected")}
    figures["waiting"] = float(sum(report["waiting"].values()))
    figures |= {f"waiting.{reason}": float(count) for reason, count in report["waiting"].items()}
    figures |= {f"differs.{feature}": share for feature, share in report["differs"].items()}
    if report["shown"]:
        figures |= {f"live.{metric}": value for metric, value in report["shown"]["figures"].items()}
    champions = live.outcome(_of_champion(live, present)) if present else None
    if champions:
        figures |= {f"champion.{metric}": value for metric, value in champions.figures.items()} | {"champion.rows": float(champions.rows)}
    return figures


def look_at_quality(
    problem: Problem, settings: Settings, window: Window, present: Champion | None, until: dt.date | None, findings: Findings
) -> None:
    """Check the answers whose truth is known by now, by the table of feedback."""
    table = existing(settings, table_name(problem, "feedback"))
    # What became known in the window is about rows that are older by the label's delay.
    since = window.start - dt.timedelta(days=problem.label.delay_days)
    files = [entry for entry in day_files(table, since, until) if entry.rows] if table is not None else []
    if not files:
        if findings.figures.get("answers"):
            findings.notes.append(f"No answer was joined with its truth yet: run the DAG {problem.name}_feedback.")
        return
    live = outcomes_of(problem, settings, files, until)
    findings.take(check_skew(live.shares(), live.compared))
    if present is not None:
        findings.take(check_quality(problem, present, live.outcome(_of_champion(live, present))))
    findings.sections["quality"] = _by_arm(live)
    findings.sections["skew"] = {"compared": live.compared, "shares": live.shares()}


def _by_arm(live: Live) -> list[JsonObject]:
    """Each arm and what its answers were worth, as plain data."""
    arms = []
    for arm in sorted(live.rows):
        outcome = live.outcome([arm])
        arms.append(dataclasses.asdict(arm) | (dataclasses.asdict(outcome) if outcome else {"rows": 0, "figures": {}}))
    return arms


def _shown(live: Live) -> list[Arm]:
    """The arms whose answers people saw."""
    return [arm for arm in live.rows if not arm.shadow]


def _of_champion(live: Live, present: Champion) -> list[Arm]:
    """The arms by which people saw the champion's answers: under its number, or (batch jobs) under its candidate's fingerprint."""
    names = {present.version, present.fingerprint[:32]} - {""}
    return [arm for arm in _shown(live) if arm.version in names]


def _classes(problem: Problem, settings: Settings) -> dict[str, list[str]]:
    """The class names of every registered version of a multiclass model, in the order of its probabilities."""
    from windtunnel.lifecycle.model import bundle

    classes: dict[str, list[str]] = {}
    if problem.task != "multiclass" or not Ledger.configured(settings):
        return classes
    for version, entry in registered(settings, problem.name).items():
        try:
            with local_copy(str(entry.payload["uri"])) as folder:
                classes[version] = bundle.read(folder, names=[]).classes
        except (OSError, KeyError) as error:
            log.warning("the classes of version %s cannot be read: %s", version, error)
    return classes
