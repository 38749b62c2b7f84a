"""Checks beyond rows: how much data, how new, how the classes and the splits are balanced, how far features drifted.

Each check is a function of a few figures and gives a `Finding`; nothing here reads rows.
"""

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.lifecycle.quality.balance import shares, shift
from windtunnel.lifecycle.statistics.stratification import stratified

__all__ = ["Figures", "Finding", "check_all"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """The outcome of a check.

    Attributes:
        check: its name.
        ok: whether it was met.
        severity: ``critical`` stops the run, ``warning`` is shown.
        expected: what was asked for, as text.
        got: what was found, as text.
        column: the column that it is about, if one.
    """

    check: str
    ok: bool
    severity: str
    expected: str
    got: str
    column: str = ""

    def to_dict(self) -> JsonObject:
        """Plain data."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        where = f"column {self.column!r}: " if self.column else ""
        return f"{where}{self.check}: expected {self.expected}, got {self.got}"


@dataclasses.dataclass
class Figures:
    """What was counted of a window.

    Attributes:
        rows: all rows.
        labels: how many rows have each label; regression: empty.
        unlabelled: rows without a label.
        train: labels of the training split.
        test: labels of the test split.
        groups: the same two for each value of each sensitive column, such as ``sex=F``.
        days: rows of each day, ISO.
        drift: the population stability index of each column against the reference, where there is one; 0 where the change is not
            beyond chance.
        reference: labels of the reference (numbers or shares), where there is one.
        reference_is: what the reference is, in words.
        purity: how surely each feature's value alone tells the label: 1 if always.
    """

    rows: int = 0
    labels: dict[str, int] = dataclasses.field(default_factory=dict)
    unlabelled: int = 0
    train: dict[str, int] = dataclasses.field(default_factory=dict)
    test: dict[str, int] = dataclasses.field(default_factory=dict)
    groups: dict[str, dict[str, dict[str, int]]] = dataclasses.field(default_factory=dict)
    days: dict[str, int] = dataclasses.field(default_factory=dict)
    drift: dict[str, float] = dataclasses.field(default_factory=dict)
    reference: dict[str, float] = dataclasses.field(default_factory=dict)
    reference_is: str = ""
    purity: dict[str, float] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> JsonObject:
        """Plain data."""
        return dataclasses.asdict(self)


_LEAK = 0.999  # a single feature that tells the label this surely gives it away
_LEAST = 50  # labelled rows below which shares say nothing


def check_all(problem: Problem, figures: Figures, end: str, options: Mapping[str, Any] | None = None) -> list[Finding]:
    """Every check that the figures allow.

    Args:
        problem: its limits are the bounds.
        figures: what was counted.
        end: the day after the window's last, ISO.
        options: from the suite's notes, ``meta.windtunnel.checks``: ``max_age_days`` (then old data is critical), ``split_shift``,
            ``label_shares`` ({class: [low, high]}).
    """
    options = options or {}
    found = [_row_count(problem, figures)]
    if figures.days:
        found.append(_freshness(figures, end, options.get("max_age_days")))
    if problem.task != "regression":
        found += _classes(problem, figures, options)
    if figures.drift:
        found += _drift(problem, figures)
    found += _leaks(figures)
    return found


def _row_count(problem: Problem, figures: Figures) -> Finding:
    least = problem.limits.rows_min
    return Finding("rows of the window", figures.rows >= least, "critical", f"at least {least:,}", f"{figures.rows:,}")


def _freshness(figures: Figures, end: str, limit: Any) -> Finding:
    newest = max(figures.days)
    age = (dt.date.fromisoformat(end) - dt.date.fromisoformat(newest)).days
    allowed = int(limit) if limit is not None else 1
    severity = "critical" if limit is not None else "warning"
    expected = f"a row of the last {allowed} day(s) before {end}"
    return Finding("freshness", age <= allowed, severity, expected, f"the newest is of {newest}")


def _classes(problem: Problem, figures: Figures, options: Mapping[str, Any]) -> list[Finding]:
    labels = {name: count for name, count in figures.labels.items() if count}
    column = problem.label.column
    if problem.task == "anomaly":
        return []
    seen = f"{len(labels)} class(es) in {sum(labels.values()):,} labelled rows" + (f": {', '.join(sorted(labels))}" if labels else "")
    found = [Finding("classes of the label", len(labels) > 1, "critical", "at least two", seen, column)]
    if problem.label.classes:
        strange = sorted(set(labels) - set(problem.label.classes))
        text = ", ".join(problem.label.classes)
        found.append(
            Finding(
                "known classes", not strange, "critical", f"only {text}", f"also {', '.join(strange)}" if strange else "no other", column
            )
        )
    if sum(labels.values()) >= _LEAST:
        found += _shares(problem, figures, labels, options)
    if min(sum(figures.train.values()), sum(figures.test.values())) >= _LEAST:
        found += _splits(problem, figures, float(options.get("split_shift", problem.limits.split_shift)))
    return found


def _shares(problem: Problem, figures: Figures, labels: Mapping[str, int], options: Mapping[str, Any]) -> list[Finding]:
    """The classes' shares, against what the suite says and against the reference."""
    column = problem.label.column
    found = []
    for name, (low, high) in (options.get("label_shares") or {}).items():
        share = shares(labels).get(str(name), 0.0)
        bounds = f"{low:.1%} to {high:.1%}"
        found.append(Finding(f"share of class {name}", low <= share <= high, "critical", bounds, f"{share:.1%}", column))
    if figures.reference:
        worst, moved = shift(labels, figures.reference)
        text = f"a class's share within {problem.limits.label_shift:.1%} of {figures.reference_is or 'the reference'}"
        got = f"class {worst} moved by {moved:.1%} to {shares(labels).get(worst, 0.0):.1%}"
        found.append(Finding("label shift", moved <= problem.limits.label_shift, "critical", text, got, column))
    return found


def _splits(problem: Problem, figures: Figures, allowed: float) -> list[Finding]:
    """How alike the splits are: a difference counts if it is larger than the limit and more than chance."""
    column, salt = problem.label.column, problem.splits.salt
    # A split by key can be drawn anew; one by time is what it is, so its difference is only shown.
    severity = "warning" if problem.splits.by == "time" else "critical"
    other = f"; another splits.salt than {salt!r} draws another split, limits.split_shift is the limit"
    way_out = "" if problem.splits.by == "time" else other
    text = f"a class's share in the test split within {allowed:.1%} of the training split's{way_out}"
    _, moved = shift(figures.test, figures.train)
    found = []
    for entry in stratified({"train": figures.train, "test": figures.test}, figures.groups, allowed):
        if entry.group:
            expected = f"shares of the two splits within {allowed:.1%}{way_out}"
            found.append(Finding(f"split balance of {entry.of} of {entry.group}", entry.balanced, severity, expected, str(entry), column))
            continue
        excuse = f", which chance alone may do in so few rows (p {entry.q_value:.2g})" if moved > allowed and entry.balanced else ""
        got = f"class {entry.name} differs by {moved:.1%}{excuse}"
        found.insert(0, Finding("split balance", entry.balanced, severity, text, got, column))
    return found


def _drift(problem: Problem, figures: Figures) -> list[Finding]:
    features = set(problem.features.columns)
    found = []
    for column, value in sorted(figures.drift.items()):
        if column in features:
            text = f"a population stability index of at most {problem.limits.drift:g}"
            found.append(Finding("drift", value <= problem.limits.drift, "critical", text, f"{value:.3g}", column))
    return found


def _leaks(figures: Figures) -> Sequence[Finding]:
    return [
        Finding(
            "leak of the label",
            purity < _LEAK,
            "critical",
            "a feature that does not give the label away",
            f"it tells {purity:.2%} of labels",
            column,
        )
        for column, purity in sorted(figures.purity.items())
    ]
