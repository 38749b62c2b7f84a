"""From what a pass counted to a judgement: figures with intervals, comparisons, slices, fairness and the verdict of the gates.

The result, ``evaluation.json``, is plain data:

.. code-block:: text

    candidate, baseline_figures, champion_figures   metric -> value
    champion     who the champion was: version, cut-off, and its ledger entry, or null
    intervals    metric -> [low, high] of the candidate (95 %)
    differences  metric -> {value, low, high, error}: candidate minus champion, paired
    newest       the same figures on the newest days alone
    slices       declared: name, rows, figures, champion's figures
    found        slices that are worse than the rest, corrected for how many were looked at
    fairness     a sensitive column -> its differences and groups
    unseen       values that the window has and the judged rows have not
    gates        gate, passed, reason, value, bound
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from windtunnel.lifecycle import gates
from windtunnel.lifecycle.artifacts import read_text
from windtunnel.lifecycle.bundle import Bundle
from windtunnel.lifecycle.errors import UnavailableError
from windtunnel.lifecycle.judging import tallies
from windtunnel.lifecycle.judging.slices import Slicing
from windtunnel.lifecycle.judging.tallies import MAIN, Regression, Tally, plain
from windtunnel.lifecycle.problem import Problem
from windtunnel.lifecycle.references import EvaluationRef

__all__ = ["approval_body", "conclude", "load"]


class Counted(Protocol):
    """What a pass added up, by model name."""

    rows: int
    labelled: int
    training: dict[Any, float]
    heldout: dict[str, Tally]
    newest: dict[str, Tally]
    declared: dict[str, list[Slicing]]
    searched: list[Slicing]
    domains: dict[str, dict[str, list[int]]]


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
    problem: Problem, models: Sequence[Judged], count: Counted, present: Standing | None, *, uses: int = 1, left_out: Sequence[str] = ()
) -> dict[str, Any]:
    """The judgement, as plain data for evaluation.json.

    Args:
        problem: says the task, the slices, the gates.
        models: the candidate first.
        count: what the pass added up.
        present: the champion, or None.
        uses: how many candidates these rows have judged, this one included.
        left_out: what could not be done, and why.
    """
    mine = count.heldout["candidate"]
    figures = plain(mine.figures())
    scored = "champion" in count.heldout
    body: dict[str, Any] = {
        "format": 1,
        "problem": problem.name,
        "task": problem.task,
        "metric": MAIN[problem.task],
        "rows": {"window": count.rows, "labelled": count.labelled, "judged": mine.rows},
        "candidate": figures,
        "candidate_bundle": {
            "cutoff": models[0].bundle.cutoff,
            "threshold": models[0].bundle.threshold,
            "lineage": models[0].bundle.lineage,
        },
        "baseline_figures": plain(_baseline(problem, count, mine, models[0].bundle)),
        "champion": {"version": present.version, "cutoff": present.cutoff, "entry": present.entry} if present else None,
        "champion_figures": plain(count.heldout["champion"].figures()) if scored else None,
        "intervals": {name: _bounds(tallies.interval(mine, name)) for name in figures},
        "differences": _differences(count, figures) if scored else {},
        "newest": {name: plain(held.figures()) | {"rows": held.rows} for name, held in count.newest.items() if held.rows},
        "slices": _declared(count),
        "unseen": _unseen(count),
        "uses": uses,
        "left_out": list(left_out),
    }
    body["gates"] = [verdict.__dict__ for verdict in gates.judge(problem, body)]
    return body


def load(evaluation: EvaluationRef) -> dict[str, Any]:
    """What evaluation.json holds.

    Raises:
        UnavailableError: it cannot be read.
    """
    try:
        found: dict[str, Any] = json.loads(read_text(f"{evaluation.uri}/evaluation.json"))
    except (OSError, json.JSONDecodeError) as error:
        raise UnavailableError(f"the evaluation at {evaluation.uri} cannot be read: {error}") from error
    return found


def approval_body(evaluation: EvaluationRef, report_url: str = "") -> str:
    """What a person who decides sees first, as Markdown: a short table, the gates, and the way to the report."""
    found = load(evaluation)
    others = [("baseline", found["baseline_figures"])]
    if found["champion_figures"]:
        others.append((f"champion (version {found['champion']['version']})", found["champion_figures"]))
    names = [found["metric"], *(n for n in _SHOWN if n in found["candidate"] and n != found["metric"])]
    lines = [
        f"| metric | candidate | 95 % interval | {' | '.join(name for name, _ in others)} |",
        f"|---|---|---|{'---|' * len(others)}",
    ]
    for name in names:
        bounds = found["intervals"].get(name)
        held = f"{_short(bounds[0])} to {_short(bounds[1])}" if bounds else "-"
        cells = " | ".join(_short(figures.get(name)) for _, figures in others)
        lines.append(f"| {name} | **{_short(found['candidate'][name])}** | {held} | {cells} |")
    lines += ["", f"{found['rows']['judged']:,} held-out rows, data up to {found['candidate_bundle']['cutoff']}.", ""]
    lines += [f"- {'✅' if gate['passed'] else '❌'} {gate['gate']}: {gate['reason']}" for gate in found["gates"]]
    if not found["gates"]:
        lines.append("- the problem names no gate")
    for entry in found.get("found", [])[:3]:
        lines.append(f"- ⚠️ weak spot: {entry['name']} ({entry['rows']:,} rows): {entry['reason']}")
    if report_url:
        lines += ["", f"[The whole report]({report_url})"]
    return "\n".join(lines)


_SHOWN = ("pr_auc", "log_loss", "precision", "recall", "accuracy", "macro_f1", "mae", "r2")


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _bounds(bounds: tuple[float, float]) -> list[float] | None:
    return list(bounds) if all(math.isfinite(bound) for bound in bounds) else None


def _baseline(problem: Problem, count: Counted, mine: Tally, bundle: Bundle) -> dict[str, float]:
    """What the training rows' majority class, share of positives or mean would have been worth on the judged rows."""
    if isinstance(mine, Regression):
        held = count.training.get("n", 0)
        mean = count.training["sum"] / held if held else mine.figures()["mean_truth"]
        return mine.against(mean)
    if isinstance(mine, tallies.Multiclass):
        truth = mine.confusion.sum(axis=(0, 2)).astype(float)
        majority = max(count.training, key=lambda name: (count.training[name], str(name)), default=bundle.classes[0])
        place = bundle.classes.index(str(majority)) if str(majority) in bundle.classes else 0
        right, rows = truth[place], truth.sum()
        present = max(int((truth > 0).sum()), 1)
        f1 = 2 * right / (rows + right) if rows + right else 0.0
        return {"accuracy": right / rows, "macro_f1": f1 / present, "balanced_accuracy": 1 / present, "auc": 0.5}
    confusion = mine.confusion.sum(axis=0).astype(float) if isinstance(mine, tallies.Binary) else None
    assert confusion is not None  # noqa: S101 - the three kinds of tally
    no, yes = confusion.sum(axis=1).tolist()
    rows = no + yes
    known = count.training.get(0, 0) + count.training.get(1, 0)
    share = count.training.get(1, 0) / known if known else yes / rows
    said = share >= bundle.threshold
    import numpy as np

    answer = np.array([[0, no], [0, yes]]) if said else np.array([[no, 0], [yes, 0]])
    held = min(max(share, 1e-15), 1 - 1e-15)
    found = tallies.confusion_figures(answer) | {"auc": 0.5, "pr_auc": yes / rows, "ks": 0.0}
    if problem.task == "binary":
        found["log_loss"] = -(yes * math.log(held) + no * math.log(1 - held)) / rows
        found["brier"] = (yes * (1 - share) ** 2 + no * share**2) / rows
        found["ece"] = abs(share - yes / rows)
    return found


def _differences(count: Counted, figures: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    found = {}
    for name in figures:
        value, low, high = tallies.difference(count.heldout["candidate"], count.heldout["champion"], name)
        if math.isfinite(value) and math.isfinite(low):
            found[name] = {"value": value, "low": low, "high": high, "error": (high - low) / (2 * 1.959963984540054)}
    return found


def _declared(count: Counted) -> list[dict[str, Any]]:
    found = []
    others = {slicing.columns: slicing.cells() for slicing in count.declared.get("champion", [])}
    for slicing in count.declared["candidate"]:
        for key, figures in slicing.cells().items():
            entry = {
                "name": " and ".join(f"{column} {_is(value)}" for column, value in zip(slicing.columns, key, strict=True)),
                "columns": list(slicing.columns),
                "values": list(key),
                "rows": figures["rows"],
                "figures": _plain(figures),
            }
            if slicing.columns in others:
                entry["champion"] = _plain(others[slicing.columns].get(key, {}))
            found.append(entry)
    return found


def _is(value: str) -> str:
    return value if value.startswith(("<", ">=")) or " to < " in value else f"= {value}"


def _unseen(count: Counted) -> list[dict[str, Any]]:
    found = []
    for column, values in count.domains.items():
        missing = sorted(((rows, value) for value, (rows, judged) in values.items() if not judged), reverse=True)
        if missing:
            found.append(
                {"column": column, "values": [{"value": value, "rows": rows} for rows, value in missing[:20]], "count": len(missing)}
            )
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
