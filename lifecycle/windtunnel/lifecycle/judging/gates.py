"""Gates: the conditions that a candidate must meet, and the verdict with a reason for each.

A gate names a metric of the evaluation and one bound. Besides the task's metrics there are ``latency_p50_ms``, ``latency_p99_ms``,
``size_mb``, ``kpi``, ``expected_cost``, the fairness differences (``demographic_parity_difference`` and so on, the worst over the sensitive
columns) and ``worst_group_METRIC``: the metric in the sensitive group where it is worst, which blocks a model that is better overall and
worse for its worst-off group.
"""

import dataclasses
from collections.abc import Sequence

from windtunnel.lifecycle.contract.problem import Gate, Problem
from windtunnel.lifecycle.contract.seams.metrics import lower_is_better
from windtunnel.lifecycle.payload import JsonMapping

__all__ = ["ENOUGH", "Verdict", "judge"]

ENOUGH = 50
"""Rows that a slice must have before a gate looks at it: fewer say nothing."""

_ROUNDING = 1e-12  # 0.6 - 0.4 is a little less than 0.2


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What came of one gate."""

    gate: str
    passed: bool
    reason: str
    value: float | None
    bound: float | None
    hard: bool = False


def judge(problem: Problem, evaluation: JsonMapping) -> list[Verdict]:
    """The verdict of each gate of a problem, and of its serving limits where the file states them.

    Args:
        problem: whose gates.
        evaluation: what ``evaluation.json`` holds.
    """
    found = [dataclasses.replace(_judged(gate, evaluation), hard=gate.is_hard) for gate in problem.gates]
    if "size_mb" in problem.serving.model_fields_set and "size_mb" in evaluation["candidate"]:
        found.append(dataclasses.replace(_one(Gate(metric="size_mb", at_most=problem.serving.size_mb), evaluation), hard=True))
    return found


def _judged(gate: Gate, evaluation: JsonMapping) -> Verdict:
    if gate.metric.startswith("latency_"):
        return _at_deployment(gate)
    return _slices(gate, evaluation) if gate.slices else _one(gate, evaluation)


def _at_deployment(gate: Gate) -> Verdict:
    """A latency is no function of model and data: it is measured where and when the model is deployed."""
    if gate.at_most is None:
        reason = "a latency is measured at deployment, and can only be bounded by at_most"
        return Verdict(describe(gate), False, reason, None, None)
    return Verdict(describe(gate), True, "measured when it is deployed, which stops where it is not met", None, gate.at_most)


def describe(gate: Gate) -> str:
    """A gate in words.

    Example:
        >>> describe(Gate(metric="auc", above_champion_by=0.01))
        'auc better than the champion by 0.01'
    """
    where = " in every slice" if gate.slices else ""
    if gate.at_least is not None:
        return f"{gate.metric} at least {gate.at_least:g}{where}"
    if gate.at_most is not None:
        return f"{gate.metric} at most {gate.at_most:g}{where}"
    if gate.above_baseline_by is not None:
        return f"{gate.metric} better than the baseline by {gate.above_baseline_by:g}{where}"
    return f"{gate.metric} better than the champion by {gate.above_champion_by or 0:g}{where}"


def _one(gate: Gate, evaluation: JsonMapping) -> Verdict:
    value = evaluation["candidate"].get(gate.metric)
    if value is None:
        known = ", ".join(sorted(name for name, figure in evaluation["candidate"].items() if figure is not None))
        return Verdict(describe(gate), False, f"{gate.metric} could not be computed; there are: {known}", None, None)
    if gate.at_least is not None or gate.at_most is not None:
        return _absolute(gate, value)
    return _relative(gate, evaluation, value)


def _rival(gate: Gate) -> tuple[str, float]:
    """Whom a relative gate compares with, and by how much the candidate must be better."""
    if gate.above_baseline_by is not None:
        return "baseline", gate.above_baseline_by
    return "champion", gate.above_champion_by or 0.0


def _gain(metric: str, value: float, against: float) -> float:
    """By how much a figure is better than another."""
    return float(against - value if lower_is_better(metric) else value - against)


def _relative(gate: Gate, evaluation: JsonMapping, value: float) -> Verdict:
    other, by = _rival(gate)
    if other == "champion" and evaluation.get("champion") is None:
        return Verdict(describe(gate), True, f"there is no champion yet; {gate.metric} is {value:.4g}", value, None)
    against = (evaluation.get(f"{other}_figures") or {}).get(gate.metric)
    if against is None:
        return Verdict(describe(gate), False, f"{gate.metric} of the {other} could not be computed", value, None)
    extra = _margin(evaluation, gate.metric) if other == "champion" else 0.0
    gain = _gain(gate.metric, value, against)
    text = f"{gate.metric} is {value:.4g}, the {other}'s {against:.4g}: better by {gain:.4g}"
    if extra:
        text += f"; needed {by:.4g} + {extra:.2g} because these rows have judged {evaluation['uses']} candidates"
    return Verdict(describe(gate), gain >= by + extra - _ROUNDING, text, value, by + extra)


def _absolute(gate: Gate, value: float, where: str = "") -> Verdict:
    bound = gate.at_least if gate.at_least is not None else gate.at_most or 0.0
    passed = value >= bound if gate.at_least is not None else value <= bound
    return Verdict(
        describe(gate), passed, f"{gate.metric}{where} is {value:.4g}, {'within' if passed else 'not within'} {bound:g}", value, bound
    )


def _slices(gate: Gate, evaluation: JsonMapping) -> Verdict:
    """A slice falls short if its figure does, and the figure's 95 % interval as well: small slices must not block by chance."""
    held = [entry for entry in evaluation["slices"] if _is_judged(gate, entry)]
    if not held:
        return Verdict(describe(gate), True, f"no declared slice has {ENOUGH} rows and a {gate.metric}", None, None)
    short = [entry for entry in held if _falls_short(gate, entry)]
    unsure = [entry["name"] for entry in short if _may_hold(gate, entry)]
    failed = _failed(gate, short)
    if not failed:
        return Verdict(describe(gate), True, _holding(len(held), unsure), None, None)
    value, name = max(failed) if lower_is_better(gate.metric) else min(failed)
    text = f"{len(failed)} of {len(held)} slices fall short; the worst is {name} with {gate.metric} {value:.4g}"
    return Verdict(describe(gate), False, text, value, None)


def _holding(slices: int, unsure: Sequence[str]) -> str:
    if unsure:
        return f"{slices - len(unsure)} of {slices} slices hold it, the others may by their intervals: {', '.join(unsure)}"
    return f"all {slices} slices of at least {ENOUGH} rows hold it"


def _is_judged(gate: Gate, entry: JsonMapping) -> bool:
    return entry["rows"] >= ENOUGH and entry["figures"].get(gate.metric) is not None


def _failed(gate: Gate, short: Sequence[JsonMapping]) -> list[tuple[float, str]]:
    """Figure and name of the slices that fall short beyond chance."""
    return [(entry["figures"][gate.metric], entry["name"]) for entry in short if not _may_hold(gate, entry)]


def _falls_short(gate: Gate, entry: JsonMapping) -> bool:
    slack = _slack(gate, entry, entry["figures"][gate.metric])
    return slack is not None and slack < -_ROUNDING


def _may_hold(gate: Gate, entry: JsonMapping) -> bool:
    """Whether an end of the slice's 95 % interval passes: its figure may fall short by chance."""
    ends = [end for end in entry["figures"].get(f"{gate.metric}_interval") or [] if end is not None]
    return any((_slack(gate, entry, end) or 0.0) >= 0 for end in ends)


def _slack(gate: Gate, entry: JsonMapping, value: float) -> float | None:
    """By how much a value in a slice is better than the gate asks; None where there is nothing to compare with."""
    if gate.at_least is not None:
        return value - gate.at_least
    if gate.at_most is not None:
        return gate.at_most - value
    other, by = _rival(gate)
    against = (entry.get(other) or {}).get(gate.metric)
    return None if against is None else _gain(gate.metric, value, against) - by


def _margin(evaluation: JsonMapping, metric: str) -> float:
    """How much more is asked because the same rows were used before.

    It is the standard error of the difference times the growth of the Bonferroni-corrected normal quantile: nothing at the first use.
    """
    uses = int(evaluation.get("uses") or 1)
    error = (evaluation.get("differences") or {}).get(metric, {}).get("error")
    if uses <= 1 or not error:
        return 0.0
    from statistics import NormalDist

    level = 0.05
    return float(error) * (NormalDist().inv_cdf(1 - level / uses) - NormalDist().inv_cdf(1 - level))
