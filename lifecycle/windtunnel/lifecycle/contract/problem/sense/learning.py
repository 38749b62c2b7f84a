"""Learning: a family that can learn the task, and a search that can be made."""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from windtunnel.lifecycle.contract.naming import unknown
from windtunnel.lifecycle.contract.problem.sense.fault import Fault, Rule
from windtunnel.lifecycle.contract.seams.learners import LEARNERS
from windtunnel.lifecycle.payload import JsonMapping

if TYPE_CHECKING:
    from windtunnel.lifecycle.contract.problem.label import Positive
    from windtunnel.lifecycle.contract.problem.problem import Problem

__all__ = ["CONSISTENT", "SENSE"]

_CLASSES = frozenset({"binary", "multiclass"})
_RANGE = ("low", "high", "log")
_NUMERIC = frozenset({"int32", "int64", "float32", "float64", "decimal"})


def _positive(problem: "Problem") -> Iterator[Fault]:
    if problem.task == "binary" and problem.label.positive is None:
        yield Fault("label.positive", "a binary task needs label.positive: one of above, at_least, equals, not_equals")


def _family(problem: "Problem") -> Iterator[Fault]:
    model = problem.model
    if model.estimator is None and problem.task not in LEARNERS[model.family].estimators:
        able = [name for name in LEARNERS.names if problem.task in LEARNERS[name].estimators]
        yield Fault("model.family", f"{model.family!r} cannot learn a task of {problem.task!r}; allowed: {', '.join(able)}")
    if model.class_balance != "none" and problem.task not in _CLASSES:
        yield Fault("model.class_balance", f"{model.class_balance!r} is for classes; allowed for a task of {problem.task!r}: none")


def _search(problem: "Problem") -> Iterator[Fault]:
    for name, space in problem.model.search.items():
        fault = _space_fault(space)
        if fault:
            yield Fault(f"model.search.{name}", fault)


def _space_fault(space: object) -> str:
    """What is wrong with one parameter's part of the search; empty if nothing is."""
    if isinstance(space, list):
        return "" if space else "has no choice; give a list of at least one"
    if not isinstance(space, Mapping):
        return f"must be a list of choices, or {{low, high, log}}, but got {space!r}"
    strange = [name for name in space if name not in _RANGE]
    return unknown(strange[0], "part of a range", _RANGE) if strange else _range_fault(space)


def _range_fault(space: JsonMapping) -> str:
    low, high, log = space.get("low"), space.get("high"), space.get("log", False)
    if low is None or high is None or not (_is_number(low) and _is_number(high)):
        return f"needs low and high, both numbers, but got {dict(space)!r}"
    if not isinstance(log, bool):
        return f"log must be true or false but got {log!r}"
    if float(low) >= float(high):
        return f"low must be less than high but they are {low} and {high}"
    return f"a range by logarithm starts above 0 but low is {low}" if log and float(low) <= 0 else ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _label(problem: "Problem") -> Iterator[Fault]:
    label, kind = problem.label, problem.columns.get(problem.label.column)
    if problem.task == "regression" and kind is not None and kind not in _NUMERIC:
        yield Fault("label.column", f"column {label.column!r} is of type {kind}; a regression needs one of: {', '.join(sorted(_NUMERIC))}")
    if label.positive is not None and problem.task not in {"binary", "anomaly"}:
        yield Fault("label.positive", f"is for tasks of yes and no; a task of {problem.task!r} has none")
    if label.classes is not None:
        yield from _label_classes(problem, label.classes)
    if label.positive is not None and kind is not None:
        yield from _positive_values(label.positive, label.column, kind)


def _positive_values(positive: "Positive", column: str, kind: str) -> Iterator[Fault]:
    for bound in ("above", "at_least"):
        if getattr(positive, bound) is not None and kind not in _NUMERIC:
            yield Fault(
                f"label.positive.{bound}", f"compares numbers, but column {column!r} is of type {kind}; allowed: equals, not_equals"
            )
    for same in ("equals", "not_equals"):
        value = getattr(positive, same)
        if value is not None and not _can_be(value, kind):
            yield Fault(f"label.positive.{same}", f"is {value!r}, which no value of column {column!r} of type {kind} can be")


def _label_classes(problem: "Problem", classes: list[str]) -> Iterator[Fault]:
    if problem.task != "multiclass":
        yield Fault("label.classes", f"is for multiclass; a task of {problem.task!r} has none")
    elif len(set(classes)) < 2 or len(set(classes)) != len(classes):  # nothing to tell apart
        yield Fault("label.classes", f"must name at least two classes, each once, but has {classes!r}")


def _can_be(value: str | float | bool, kind: str) -> bool:
    if isinstance(value, str):
        return kind in {"string", "date", "timestamp"}
    # Before the numbers: True is an int in Python.
    if isinstance(value, bool):
        return kind == "bool"
    return kind in _NUMERIC or (kind == "bool" and value in {0, 1})


CONSISTENT: list[Rule] = [_positive]
SENSE: list[Rule] = [_family, _search, _label]
