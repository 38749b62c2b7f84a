"""The subject of readiness, as a profile and a problem say it."""

from collections import Counter
from collections.abc import Sequence

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.data.rows import DAY, label_of
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.lifecycle.quality.readiness.subject import Subject
from windtunnel.lifecycle.statistics.profiled import Profiled

__all__ = ["subject_of"]


def subject_of(
    found: Profiled, problem: Problem | None = None, *, end: str = "", label: str = "", time: str = "", groups: Sequence[str] = ()
) -> Subject:
    """What readiness is asked of.

    Args:
        found: the profile of the data.
        problem: says what is label, time, features and groups; what is named beside it goes before it.
        end: a run's data cut-off, ISO: labels that were not known then are none.
        label: the label's column.
        time: the column that says when a row happened; by default the problem's, or the first column of dates or times.
        groups: columns whose values are groups that must be judged alone.
    """
    table = found.table
    time = time or _time(problem, found)
    if problem is None or (label and label != problem.label.column):
        return Subject(table, label=label, time=time, groups=groups, rows=found.repeats)
    return Subject(
        table,
        **_labels(problem, found, end),
        features=problem.features.columns,
        time=time,
        groups=list(dict.fromkeys([*groups, *problem.sensitive, *(name for crossing in problem.slices for name in crossing)])),
        keys=problem.keys,
        rows=found.repeats,
        drift=problem.limits.drift,
        task=problem.task,
    )


def _labels(problem: Problem, found: Profiled, end: str) -> JsonObject:
    """What is known of the labels of a problem's table."""
    column, sample = problem.label.column, found.table.sample.table
    labels = label_of(problem, sample, end) if column in sample.schema.names else None
    if problem.task == "regression" or labels is None:
        return {"label": column, "labels": labels, "counts": {}}
    counts: Counter[str] = Counter()
    for part in found.label_counts().values():
        counts.update(part)
    return {"label": column, "labels": labels, "counts": counts, "labelled": counts.total()}


def _time(problem: Problem | None, found: Profiled) -> str:
    """The column that says when a row happened."""
    columns = found.table.columns
    if problem is not None and problem.event_time is not None and problem.event_time.column in columns:
        return problem.event_time.column or ""
    if DAY in columns:
        return DAY
    return next((name for name, column in columns.items() if column.family == "date" or _is_moment(column.type)), "")


def _is_moment(kind: object) -> bool:
    return str(kind).startswith("timestamp")
