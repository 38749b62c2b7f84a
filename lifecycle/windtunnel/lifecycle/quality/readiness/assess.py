"""All questions of readiness, asked of one subject."""

from collections.abc import Callable, Iterator

from windtunnel.lifecycle.quality.readiness.answer import Answer, Readiness
from windtunnel.lifecycle.quality.readiness.columns import absent, constants, identifiers, repeats, small_groups
from windtunnel.lifecycle.quality.readiness.labels import afterwards, balance, enough_labels, enough_rows, leaks
from windtunnel.lifecycle.quality.readiness.personal import personal_data
from windtunnel.lifecycle.quality.readiness.subject import Subject
from windtunnel.lifecycle.quality.readiness.time import drift_inside, missing_by_time

__all__ = ["QUESTIONS", "assess"]

QUESTIONS: tuple[Callable[[Subject], Iterator[Answer]], ...] = (
    enough_rows,
    enough_labels,
    balance,
    leaks,
    afterwards,
    identifiers,
    repeats,
    constants,
    absent,
    missing_by_time,
    drift_inside,
    small_groups,
    personal_data,
)


def assess(subject: Subject) -> Readiness:
    """Whether a table is ready to be learned from, why not, and what to do.

    Example:
        >>> import pyarrow as pa
        >>> from windtunnel.lifecycle.statistics import TableStatistics
        >>> table = TableStatistics()
        >>> table.add_batch(pa.table({"x": range(500), "y": [0, 1] * 250}))
        >>> found = assess(Subject(table, label="y"))
        >>> found.verdict, [answer.question for answer in found.answers if answer.grade == "care"]
        ('ready with care', ['rows', 'identifiers'])
    """
    return Readiness.of([answer for question in QUESTIONS for answer in question(subject)])
