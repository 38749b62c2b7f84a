"""Judging: gates, objectives, costs and baselines that the task has."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from windtunnel.lifecycle.contract.naming import unknown
from windtunnel.lifecycle.contract.problem.sense.fault import Fault, Rule
from windtunnel.lifecycle.contract.seams.baselines import BASELINES
from windtunnel.lifecycle.contract.seams.metrics import MetricRow, metrics_of

if TYPE_CHECKING:
    from windtunnel.lifecycle.contract.problem.problem import Problem

__all__ = ["CONSISTENT", "SENSE"]

_ALONE = ("latency_p50_ms", "latency_p99_ms", "size_mb", "kpi")
"""Figures that a baseline does not have."""

_OF_THE_CANDIDATE = ("latency_p50_ms", "latency_p99_ms", "size_mb")
"""Figures that are taken of the candidate only."""


def _baseline(problem: "Problem") -> Iterator[Fault]:
    kind = problem.baseline.kind
    able = [name for name in BASELINES.names if problem.task in BASELINES[name].tasks]
    if kind is not None and kind not in able:
        yield Fault("baseline.kind", f"baseline of a {problem.task} task must be one of {', '.join(able)} but is {kind}")


def _previous(problem: "Problem") -> Iterator[Fault]:
    baseline = problem.baseline
    if baseline.kind == "previous" and problem.event_time is None and "{" not in problem.source.path.replace("{landing}", ""):
        yield Fault("baseline.kind", "previous needs event_time, or a source path with the window's {day}: else no row has a day before")
    if baseline.group and baseline.kind != "previous":
        yield Fault("baseline.group", f"is only for the kind previous; the kind is {baseline.kind or 'not given'}")


def _metrics(problem: "Problem") -> Iterator[Fault]:
    known = _known(problem)
    named = [(f"gates.{place}.metric", gate.metric) for place, gate in enumerate(problem.gates)]
    named += [(f"objectives.{name}", name) for name in problem.objectives]
    rows = metrics_of(problem.task)
    for field, name in named:
        if name in known:
            continue
        row = rows.get(name)
        if row is not None:
            yield Fault(field, f"{name!r} is only computed where the problem has {_WANTED[row.needs]}")
        else:
            yield Fault(field, unknown(name, f"a metric of a {problem.task} task", known))
    if "objective" in problem.objectives:
        yield Fault("objectives.objective", "is made from the objectives, and cannot be one of them")


_WANTED = {"costs": "costs", "kpi": "kpi.function", "sensitive": "sensitive columns", "objectives": "objectives"}


def _known(problem: "Problem") -> dict[str, MetricRow]:
    """The metrics that an evaluation of this problem will hold."""
    there = {
        "": True,
        "costs": problem.costs is not None,
        "kpi": problem.kpi is not None and problem.kpi.function is not None,
        "sensitive": bool(problem.sensitive),
        "objectives": bool(problem.objectives),
    }
    return {name: row for name, row in metrics_of(problem.task).items() if there[row.needs]}


def _comparisons(problem: "Problem") -> Iterator[Fault]:
    for place, gate in enumerate(problem.gates):
        if gate.above_baseline_by is not None and gate.metric in _ALONE:
            yield Fault(f"gates.{place}.above_baseline_by", f"a baseline has no {gate.metric}; allowed: at_least, at_most")
        if gate.above_champion_by is not None and gate.metric in _OF_THE_CANDIDATE:
            yield Fault(f"gates.{place}.above_champion_by", f"{gate.metric} is taken of the candidate alone; allowed: at_least, at_most")


def _slices(problem: "Problem") -> Iterator[Fault]:
    rows = metrics_of(problem.task)
    for place, gate in enumerate(problem.gates):
        if not gate.slices:
            continue
        if not problem.slices:
            yield Fault(f"gates.{place}.slices", "the problem declares no slices; name columns in slices")
        row = rows.get(gate.metric)
        if row is not None and (row.needs or row.compute or gate.metric in _ALONE):
            yield Fault(f"gates.{place}.slices", f"{gate.metric} is not computed for slices; allowed: false")


def _costs(problem: "Problem") -> Iterator[Fault]:
    if problem.costs is None:
        return
    if problem.task not in {"binary", "anomaly"}:
        yield Fault("costs", f"are for answers of yes and no; a task of {problem.task!r} has none")
    elif not any(problem.costs.model_dump().values()):
        yield Fault("costs", "are all 0: give at least one of false_positive, false_negative, true_positive, true_negative")


CONSISTENT: list[Rule] = [_baseline]
SENSE: list[Rule] = [_previous, _metrics, _comparisons, _slices, _costs]
