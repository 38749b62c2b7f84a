"""Columns: fields name only declared ones, of types that can be what they are named for."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from windtunnel.lifecycle.contract.naming import unknown
from windtunnel.lifecycle.contract.problem.sense.fault import Fault, Rule

if TYPE_CHECKING:
    from windtunnel.lifecycle.contract.problem.problem import Problem

__all__ = ["CONSISTENT", "SENSE"]

_NUMBERS = frozenset({"bool", "int32", "int64", "float32", "float64", "decimal"})
_WHOLE = frozenset({"int32", "int64"})
_TIMES = frozenset({"date", "timestamp"})
_RESERVED = frozenset({"event_date"})
"""What ingest adds."""


def _declared(problem: "Problem") -> Iterator[Fault]:
    for field, columns in _named(problem).items():
        for column in columns:
            if column not in problem.columns:
                yield Fault(field, _undeclared(column, problem))


def _undeclared(column: str, problem: "Problem") -> str:
    return f"names a column that is not declared: {unknown(column, 'in columns', problem.columns)}"


def _named(problem: "Problem") -> dict[str, Iterable[str]]:
    """Field -> the columns that it names; those that an earlier state of the project checked."""
    event = problem.event_time.model_dump() if problem.event_time else {}
    return {
        "label.column": [problem.label.column],
        "keys": problem.keys,
        "sensitive": problem.sensitive,
        "optional_columns": problem.optional_columns,
        "features.numeric": problem.features.numeric,
        "features.categorical": problem.features.categorical,
        "features.text": problem.features.text,
        "slices": [column for crossing in problem.slices for column in crossing],
        "splits.key": problem.splits.key,
        "baseline.group": problem.baseline.group,
        "serving.lookup.key": problem.serving.lookup.key if problem.serving.lookup else [],
        **{f"event_time.{part}": [column] for part, column in event.items() if column},
    }


def _declared_in_serving(problem: "Problem") -> Iterator[Fault]:
    serving = problem.serving
    for field, columns in {"serving.redact": serving.redact, "serving.sticky": [serving.sticky] if serving.sticky else []}.items():
        for column in columns:
            if column not in problem.columns:
                yield Fault(field, _undeclared(column, problem))


def _features(problem: "Problem") -> Iterator[Fault]:
    if not problem.features.columns and problem.features.transformer is None:
        yield Fault("features", "needs at least one column, in numeric, categorical or text, or a transformer")
    if problem.label.column in problem.features.columns:
        yield Fault("features", f"the label column {problem.label.column!r} is among the features: the model would see the answer")


def _types(problem: "Problem") -> Iterator[Fault]:
    for name in problem.features.numeric:
        yield from _is(problem, "features.numeric", name, _NUMBERS, "a number; put it in categorical or text")
    for name in problem.features.text:
        yield from _is(problem, "features.text", name, {"string"}, "text; put it in numeric or categorical")
    event = problem.event_time
    if event is not None and event.column is not None:
        yield from _is(problem, "event_time.column", event.column, _TIMES, "a date or a timestamp")
    if event is not None:
        for part in ("year", "month", "day"):
            name = getattr(event, part)
            if name is not None:
                yield from _is(problem, f"event_time.{part}", name, _WHOLE, "a whole number")


def _is(problem: "Problem", field: str, name: str, kinds: Iterable[str], what: str) -> Iterator[Fault]:
    kind = problem.columns.get(name)
    if kind is not None and kind not in kinds:
        yield Fault(field, f"column {name!r} is of type {kind}, which is not {what}; allowed types: {', '.join(sorted(kinds))}")


def _once(problem: "Problem") -> Iterator[Fault]:
    lists = {
        "features": problem.features.columns,
        "keys": problem.keys,
        "sensitive": problem.sensitive,
        "optional_columns": problem.optional_columns,
        "splits.key": problem.splits.key,
        "serving.redact": problem.serving.redact,
    }
    for field, names in lists.items():
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            yield Fault(field, f"names {', '.join(twice)} more than once; name each column once")


def _names(problem: "Problem") -> Iterator[Fault]:
    if not problem.columns:
        yield Fault("columns", "declares no column; write name: type for each")
    for name in problem.columns:
        if not name.strip():
            yield Fault("columns", "a column's name must not be empty")
        if name in _RESERVED:
            yield Fault("columns", f"{name!r} is the name of a column that ingest adds; give it another name in the source")


def _slices(problem: "Problem") -> Iterator[Fault]:
    for place, crossing in enumerate(problem.slices):
        if not 1 <= len(crossing) <= 2:  # alone, or two crossed
            yield Fault(f"slices.{place}", f"must be one column, or a list of two, but has {len(crossing)}")
        elif len(set(crossing)) != len(crossing):
            yield Fault(f"slices.{place}", f"crosses {crossing[0]!r} with itself; name two columns")


CONSISTENT: list[Rule] = [_declared, _features]
SENSE: list[Rule] = [_names, _declared_in_serving, _types, _once, _slices]
