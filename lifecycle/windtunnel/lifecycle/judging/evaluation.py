"""From what a pass counted to a judgement: figures with intervals, comparisons, slices, fairness and the verdict of the gates.

The result, ``evaluation.json``, is plain data:

.. code-block:: text

    candidate, baseline_figures, champion_figures   metric -> value
    champion     who the champion was: version, cut-off, and its ledger entry, or null
    intervals    metric -> [low, high] of the candidate (95 %)
    baseline     which simple model stands beside it: kind, and in words
    differences  metric -> {value, low, high, error}: candidate minus champion, paired; baseline_differences: minus the baseline
    newest       the same figures on the newest days alone
    slices       declared: name, rows, figures, champion's figures
    found        slices that are worse than the rest, corrected for how many were looked at
    fairness     a sensitive column -> its differences and groups
    unseen       values that the window has and the judged rows have not; unseen_live: that the model server was asked about
    gates        gate, passed, reason, value, bound
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from windtunnel.lifecycle.contract.errors import UnavailableError
from windtunnel.lifecycle.contract.naming import imported
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import EvaluationRef
from windtunnel.lifecycle.contract.seams.metrics import METRICS, MetricRow, lower_is_better
from windtunnel.lifecycle.data.artifacts import read_text
from windtunnel.lifecycle.judging import gates, tallies
from windtunnel.lifecycle.judging.baselines import kind_of
from windtunnel.lifecycle.judging.costs import cost_curve, expected_cost
from windtunnel.lifecycle.judging.fairness import compare_groups, worst_groups
from windtunnel.lifecycle.judging.sample import Sample
from windtunnel.lifecycle.judging.slices import Slicing
from windtunnel.lifecycle.judging.tallies import MAIN, Binary, Regression, Spread, Tally
from windtunnel.lifecycle.judging.weak import Weak, given_up, weak_spots
from windtunnel.lifecycle.model.bundle import Bundle
from windtunnel.lifecycle.payload import JsonMapping, JsonObject

__all__ = ["approval_body", "conclude", "load", "unseen"]


class Counted(Protocol):
    """What a pass added up, by model name."""

    rows: int
    labelled: int
    training: dict[object, float]
    heldout: dict[str, Tally]
    newest: dict[str, Tally]
    declared: dict[str, list[Slicing]]
    searched: list[Slicing]
    domains: dict[str, dict[str, list[int]]]
    kpi: dict[str, Sample]


class Judged(Protocol):
    """A model that took part."""

    @property
    def name(self) -> str:
        """Who it is: candidate or champion."""

    @property
    def bundle(self) -> Bundle:
        """Its manifest."""


class Standing(Protocol):
    """The champion of the moment."""

    @property
    def version(self) -> str:
        """Its version."""

    @property
    def cutoff(self) -> str:
        """Its data cut-off."""

    @property
    def entry(self) -> str:
        """The ledger entry that made it champion."""


def conclude(
    problem: Problem,
    models: Sequence[Judged],
    count: Counted,
    present: Standing | None,
    *,
    uses: int = 1,
    about: str = "",
    left_out: Sequence[str] = (),
    explanations: JsonMapping | None = None,
    more: Mapping[str, float] | None = None,
) -> dict[str, object]:
    """The judgement, as plain data for evaluation.json.

    Args:
        problem: says the task, the slices, the gates.
        models: the candidate first.
        count: what the pass added up.
        present: the champion, or None.
        uses: how many candidates these rows have judged, this one included.
        about: the baseline in words.
        left_out: what could not be done, and why.
        explanations: what `windtunnel.lifecycle.judging.explaining.explain` found.
        more: further figures of the candidate, such as its size.
    """
    mine, bundle = count.heldout["candidate"], models[0].bundle
    groups = {name: _groups(problem, slicings) for name, slicings in count.declared.items()}
    fairness = {column: compare_groups(problem.task, cells) for column, cells in groups["candidate"].items()}
    figures = _figures(problem, count, "candidate", groups, fairness) | dict(more or {})
    theirs = _champion_figures(problem, count, groups)
    baseline = _baseline_figures(problem, count, bundle)
    # After everything else: objectives may weigh costs, fairness and the KPI as well.
    for each in filter(None, (figures, baseline, theirs)):
        _objective(problem, each)
    spots, looked = weak_spots(count.searched)
    body: JsonObject = {
        "format": 1,
        "problem": problem.name,
        "task": problem.task,
        "metric": MAIN[problem.task],
        "rows": {"window": count.rows, "labelled": count.labelled, "judged": mine.rows},
        "candidate": figures,
        "candidate_bundle": {"cutoff": bundle.cutoff, "threshold": bundle.threshold, "lineage": bundle.lineage},
        "baseline": {"kind": kind_of(problem) if "baseline" in count.heldout else _STANDS_IN[problem.task == "regression"], "what": about},
        "baseline_figures": baseline,
        "champion": {"version": present.version, "cutoff": present.cutoff, "entry": present.entry} if present else None,
        "champion_figures": theirs,
        **_compared(count, figures),
        "newest": _newest(count),
        "slices": _declared(count),
        "found": [_spot(problem, spot) for spot in spots],
        "looked_at": {"cells": looked, "given_up": given_up([*count.searched, *count.declared["candidate"]])},
        "fairness": _fairness(fairness, groups["candidate"]),
        "pictures": _pictures(problem, mine),
        "explanations": dict(explanations or {}),
        "unseen": unseen(count.domains),
        "uses": uses,
        "left_out": list(left_out),
    }
    # NaN becomes null before the gates look: they read null as "could not be computed", and JSON has no NaN.
    body = _plain(body)
    body["gates"] = [verdict.__dict__ for verdict in gates.judge(problem, body)]
    return body


def _newest(count: Counted) -> JsonObject:
    """Each model's figures of the newest rows alone, where there are any."""
    return {name: counted.figures() | {"rows": counted.rows} for name, counted in count.newest.items() if counted.rows}


def _compared(count: Counted, figures: Mapping[str, float]) -> JsonObject:
    """What chance may have done: the intervals of the candidate's metrics, and its differences to the others on the same rows."""
    spreads = {name: Spread.of(counted) for name, counted in count.heldout.items()}
    candidate = spreads["candidate"]
    # Only what follows from the tallies: size, KPI and fairness have no figure without a group, so no jackknife.
    tested = [name for name in figures if name in candidate.figures]
    differences = {other: _differences(spreads, tested, other) if other in spreads else {} for other in ("champion", "baseline")}
    return {
        "intervals": {name: _bounds(candidate.interval(name)) for name in tested},
        "differences": differences["champion"],
        "baseline_differences": differences["baseline"],
    }


def _champion_figures(problem: Problem, count: Counted, groups: Mapping[str, Mapping[str, JsonMapping]]) -> dict[str, float] | None:
    """The champion's figures on the same rows; None if it did not answer them."""
    if "champion" not in count.heldout:
        return None
    fairness = {column: compare_groups(problem.task, cells) for column, cells in groups["champion"].items()}
    return _figures(problem, count, "champion", groups, fairness)


def _baseline_figures(problem: Problem, count: Counted, bundle: Bundle) -> dict[str, float]:
    """The fitted baseline's figures on the same rows; where none was fitted, what a constant answer would have been worth."""
    beside = count.heldout.get("baseline")
    if beside is None:
        return _baseline(problem, count, count.heldout["candidate"], bundle)
    figures = beside.figures()
    if problem.costs is not None and isinstance(beside, Binary):
        figures["expected_cost"] = expected_cost(beside.confusion.sum(axis=0), problem.costs)
    return figures


def _fairness(compared: Mapping[str, Mapping[str, object]], groups: Mapping[str, JsonMapping]) -> JsonObject:
    """What is written of each sensitive column: how its groups compare, and the groups themselves in brief."""
    written = {}
    for column, figures in compared.items():
        brief = {name: _brief(cell) for name, cell in groups[column].items()}
        written[column] = {**figures, "groups": brief}
    return written


def load(evaluation: EvaluationRef) -> JsonObject:
    """What evaluation.json holds.

    Raises:
        UnavailableError: it cannot be read.
    """
    try:
        found: JsonObject = json.loads(read_text(f"{evaluation.uri}/evaluation.json"))
    except (OSError, json.JSONDecodeError) as error:
        raise UnavailableError(f"the evaluation at {evaluation.uri} cannot be read: {error}") from error
    return found


def approval_body(evaluation: EvaluationRef, report_url: str = "") -> str:
    """What a person who decides sees first, as Markdown: a short table, the gates, and the way to the report."""
    found = load(evaluation)
    others = [("baseline", found["baseline_figures"])]
    if found["champion_figures"]:
        others.append((f"champion (version {found['champion']['version']})", found["champion_figures"]))
    lines = _approval_table(found, others)
    lines += ["", f"{found['rows']['judged']:,} held-out rows, data up to {found['candidate_bundle']['cutoff']}.", ""]
    lines += [f"- {'✅' if gate['passed'] else '❌'} {gate['gate']}: {gate['reason']}" for gate in found["gates"]]
    if not found["gates"]:
        lines.append("- the problem names no gate")
    for entry in found.get("found", [])[:3]:
        lines.append(f"- ⚠️ weak spot: {entry['name']} ({entry['rows']:,} rows): {entry['reason']}")
    if report_url:
        lines += ["", f"[The whole report]({report_url})"]
    return "\n".join(lines)


def _approval_table(found: JsonMapping, others: Sequence[tuple[str, JsonMapping]]) -> list[str]:
    """The main metric and those that people ask for first, beside the baseline and the champion."""
    lines = [
        f"| metric | candidate | 95 % interval | {' | '.join(name for name, _ in others)} |",
        f"|---|---|---|{'---|' * len(others)}",
    ]
    for name in [found["metric"], *(n for n in _SHOWN if n in found["candidate"] and n != found["metric"])]:
        bounds = found["intervals"].get(name)
        interval = f"{_short(bounds[0])} to {_short(bounds[1])}" if bounds else "-"
        cells = " | ".join(_short(figures.get(name)) for _, figures in others)
        lines.append(f"| {name} | **{_short(found['candidate'][name])}** | {interval} | {cells} |")
    return lines


_STANDS_IN = ("prior", "mean")

_SHOWN = ("pr_auc", "log_loss", "precision", "recall", "accuracy", "macro_f1", "mae", "r2")


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _bounds(bounds: tuple[float, float]) -> list[float] | None:
    return list(bounds) if all(math.isfinite(bound) for bound in bounds) else None


def _baseline(problem: Problem, count: Counted, mine: Tally, bundle: Bundle) -> dict[str, float]:
    """What the training rows' majority class, share of positives or mean would have been worth on the judged rows."""
    if isinstance(mine, Regression):
        rows = count.training.get("n", 0)
        return mine.against(count.training["sum"] / rows if rows else mine.figures()["mean_truth"])
    if isinstance(mine, tallies.Multiclass):
        return _always_majority(count, mine, bundle)
    assert isinstance(mine, Binary)  # the three kinds of tally
    return _always_share(problem, count, mine, bundle)


def _always_majority(count: Counted, mine: tallies.Multiclass, bundle: Bundle) -> dict[str, float]:
    """What the class that most training rows have would have been worth."""
    truth = mine.confusion.sum(axis=(0, 2)).astype(float)
    # Ties by name: the order of the counts is that in which workers came.
    majority = max(count.training, key=lambda name: (count.training[name], str(name)), default=bundle.classes[0])
    place = bundle.classes.index(str(majority)) if str(majority) in bundle.classes else 0
    right, rows = truth[place], truth.sum()
    present = max(int((truth > 0).sum()), 1)
    # Every other class has a recall and an F1 of 0, so means over the classes are this one's share.
    f1 = 2 * right / (rows + right) if rows + right else 0.0
    return {"accuracy": right / rows, "macro_f1": f1 / present, "balanced_accuracy": 1 / present, "auc": 0.5}


def _always_share(problem: Problem, count: Counted, mine: Binary, bundle: Bundle) -> dict[str, float]:
    """What the share of positive training rows would have been worth as everybody's score."""
    no, yes = mine.confusion.sum(axis=0).astype(float).sum(axis=1).tolist()
    rows = no + yes
    known = count.training.get(0, 0) + count.training.get(1, 0)
    share = count.training.get(1, 0) / known if known else yes / rows
    import numpy as np

    answer = np.array([[0, no], [0, yes]]) if share >= bundle.threshold else np.array([[no, 0], [yes, 0]])
    figures = tallies.confusion_figures(answer) | {"auc": 0.5, "pr_auc": yes / rows, "ks": 0.0}
    if problem.task == "binary":
        score = min(max(share, 1e-15), 1 - 1e-15)
        figures["log_loss"] = -(yes * math.log(score) + no * math.log(1 - score)) / rows
        figures["brier"] = (yes * (1 - share) ** 2 + no * share**2) / rows
        figures["ece"] = abs(share - yes / rows)
    return figures


def _figures(
    problem: Problem,
    count: Counted,
    name: str,
    groups: Mapping[str, Mapping[str, JsonMapping]],
    fairness: Mapping[str, Mapping[str, object]],
) -> dict[str, float]:
    """A model's metrics with what fairness, costs and the KPI add to them."""
    counted = count.heldout[name]
    found = dict(counted.figures())
    found |= worst_groups(list(groups[name].values())) | _worst_columns(fairness)
    if problem.costs is not None and isinstance(counted, Binary):
        found["expected_cost"] = expected_cost(counted.confusion.sum(axis=0), problem.costs)
    rows = count.kpi[name].table() if name in count.kpi else None
    if rows is None:
        return found
    truth, prediction = rows["truth"].to_numpy(), rows["prediction"].to_numpy()
    if problem.kpi is not None and problem.kpi.function:
        call = imported(problem.kpi.function, "kpi.function", problem.directory)
        found["kpi"] = float(call(truth, prediction))
    return found | {row.name: float(row.part("compute")(truth, prediction)) for row in computed(problem)}


def _worst_columns(fairness: Mapping[str, JsonMapping]) -> dict[str, float]:
    """Each fairness figure of the sensitive column where it is worst: the smallest ratio, the largest difference."""
    worst: dict[str, float] = {}
    for compared in fairness.values():
        for metric, value in compared["figures"].items():
            worse = min if metric.endswith("_ratio") else max
            worst[metric] = worse(worst.get(metric, value), value)
    return worst


def needs_answers(problem: Problem) -> bool:
    """Whether a figure of a problem is computed from the answers themselves: its KPI, or a metric of an installed package."""
    return (problem.kpi is not None and bool(problem.kpi.function)) or bool(computed(problem))


def computed(problem: Problem) -> list[MetricRow]:
    """The metrics of installed packages that a problem's gates or objectives name: computed on a bounded sample of held-out rows."""
    named = dict.fromkeys([*(gate.metric for gate in problem.gates), *problem.objectives])
    rows = [METRICS.get(name) for name in named]
    return [row for row in rows if row is not None and row.compute]


def _objective(problem: Problem, figures: dict[str, float]) -> None:
    """Add ``objective``: the weighted sum of the problem's objectives, what should be small counted negative."""
    known = {name: figures.get(name) for name in problem.objectives}
    if known and all(value is not None and math.isfinite(value) for value in known.values()):
        figures["objective"] = sum(
            weight * (-1 if lower_is_better(name) else 1) * (known[name] or 0.0) for name, weight in problem.objectives.items()
        )


def _groups(problem: Problem, slicings: Sequence[Slicing]) -> dict[str, dict[str, JsonObject]]:
    """Sensitive column -> value -> figures."""
    return {
        slicing.columns[0]: {key[0]: figures for key, figures in slicing.cells().items()}
        for slicing in slicings
        if len(slicing.columns) == 1 and slicing.columns[0] in problem.sensitive
    }


def _brief(cell: JsonMapping) -> JsonObject:
    return {name: cell[name] for name in ("rows", *_GROUP) if name in cell}


_GROUP = ("selection_rate", "recall", "false_positive_rate", "accuracy", "auc", "log_loss", "rmse", "bias")


def _spot(problem: Problem, spot: Weak) -> JsonObject:
    name = " and ".join(f"{column} {_is(value)}" for column, value in zip(spot.columns, spot.values, strict=True))
    what = {"regression": "mean squared error", "anomaly": "share of mistakes"}.get(problem.task, "log loss")
    return {
        "name": name,
        "columns": list(spot.columns),
        "values": list(spot.values),
        "rows": spot.rows,
        "loss": spot.loss,
        "rest": spot.rest,
        "p_value": spot.p_value,
        "figures": _brief(spot.figures),
        "reason": f"{what} {spot.loss:.4g} against {spot.rest:.4g} elsewhere (p {_p_value(spot.p_value)} after correction)",
    }


def _p_value(value: float) -> str:
    return f"{value:.2g}" if value > 1e-15 else "below 1e-15"  # as far as a float's tail reaches


def _pictures(problem: Problem, counted: Tally) -> JsonObject:
    """Points of the curves that the report draws."""
    if isinstance(counted, Binary):
        curve = counted.scores.curve()
        found: JsonObject = {
            "curve": curve.thinned(),
            "auc_error": counted.scores.auc_error,
            "confusion": counted.confusion.sum(axis=0).tolist(),
        }
        cells = counted.calibration.sum(axis=0)
        found["calibration"] = [[float(score / rows), float(yes / rows), int(rows)] for rows, score, yes in cells.tolist() if rows]
        if problem.costs is not None:
            found["costs"] = dataclasses.asdict(cost_curve(curve, problem.costs))
        return found
    if isinstance(counted, tallies.Multiclass):
        return {"classes": counted.classes, "confusion": counted.confusion.sum(axis=0).tolist(), "unknown_classes": counted.unknown}
    return {"errors": counted.errors.sum(axis=0).tolist()} if isinstance(counted, Regression) else {}


def _differences(spreads: Mapping[str, Spread], figures: Sequence[str], other: str) -> dict[str, dict[str, float]]:
    found = {}
    for name in figures:
        value, low, high = spreads["candidate"].difference(spreads[other], name)
        if math.isfinite(value) and math.isfinite(low):
            # The standard error is read back from the interval: gates widen their margin by it.
            found[name] = {"value": value, "low": low, "high": high, "error": (high - low) / (2 * 1.959963984540054)}
    return found


def _declared(count: Counted) -> list[dict[str, object]]:
    found = []
    others = {
        name: {slicing.columns: slicing.cells() for slicing in count.declared[name]}
        for name in ("champion", "baseline")
        if name in count.declared
    }
    for slicing in count.declared["candidate"]:
        for key, figures in slicing.cells().items():
            entry = {
                "name": " and ".join(f"{column} {_is(value)}" for column, value in zip(slicing.columns, key, strict=True)),
                "columns": list(slicing.columns),
                "values": list(key),
                "rows": figures["rows"],
                "figures": _plain(figures),
            }
            for name, cells in others.items():
                entry[name] = _plain(cells[slicing.columns].get(key, {}))
            found.append(entry)
    return found


def _is(value: str) -> str:
    return value if value.startswith(("<", ">=")) or " to < " in value else f"= {value}"


def unseen(
    domains: Mapping[str, Mapping[str, Sequence[int]]], live: Mapping[str, Mapping[str, int]] | None = None
) -> list[dict[str, object]]:
    """Values without a judged row, by column, the most frequent first.

    Args:
        domains: column -> value -> rows of the window, and judged rows among them.
        live: column -> value -> requests, to look at these values instead of the window's.
    """
    found = []
    for column, values in domains.items():
        judged = {value for value, (_, rows) in values.items() if rows}
        looked = {value: rows for value, (rows, _) in values.items()} if live is None else live.get(column, {})
        missing = sorted(((rows, value) for value, rows in looked.items() if value not in judged), reverse=True)
        if missing:
            listed = [{"value": value, "rows": rows} for rows, value in missing[:20]]
            found.append({"column": column, "values": listed, "count": len(missing)})
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
