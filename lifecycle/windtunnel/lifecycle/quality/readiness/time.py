"""Questions about time, asked of the sample in the order of its rows: what is missing when, and what moved inside the window."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windtunnel.lifecycle.quality.readiness.answer import Answer
from windtunnel.lifecycle.quality.readiness.columns import names_rows
from windtunnel.lifecycle.quality.readiness.subject import Subject
from windtunnel.lifecycle.statistics.counting.values import flat
from windtunnel.lifecycle.statistics.drift import compare
from windtunnel.lifecycle.statistics.table import TableStatistics

__all__ = ["drift_inside", "missing_by_time"]

_PERIODS = 20
_LEAST = 100  # rows of the sample a period
_BEYOND = 6.0  # standard errors
_STEP = 0.1  # of missing values
_UNKNOWN = "no time is named, or its column holds neither dates nor times"
_NAME_IT = "name it: --time COLUMN, or event_time in a problem file"


def _order(subject: Subject) -> npt.NDArray[np.intp] | None:
    """The places of the sample's rows, the oldest first; None where that cannot be said."""
    moments = subject.moments()
    if moments is None or len(moments) - moments.null_count < 2 * _LEAST:
        return None
    places = np.flatnonzero(moments.is_valid().to_numpy(zero_copy_only=False))
    return places[np.argsort(moments.drop_null().to_numpy(zero_copy_only=False), kind="stable")]


def missing_by_time(subject: Subject) -> Iterator[Answer]:
    """Columns that are missing in some stretch of time far more than else."""
    order = _order(subject)
    if order is None:
        yield Answer("missing by time", "unknown", _UNKNOWN, _NAME_IT)
        return
    periods = np.array_split(order, min(_PERIODS, len(order) // _LEAST))
    clean, sample = True, subject.sample
    for name in [*subject.seen, subject.label]:
        if name == subject.time or name not in sample.schema.names:
            continue
        gone = flat(sample.column(name)).is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
        shares = np.array([gone[period].mean() for period in periods])
        usual = float(np.median(shares))
        error = np.sqrt(max(usual * (1 - usual), 0.25 / len(periods[0])) / len(periods[0]))
        unusual = np.flatnonzero(shares - usual > max(_STEP, _BEYOND * error))
        if not len(unusual):
            continue
        clean = False
        worst = int(unusual[np.argmax(shares[unusual])])
        text = f"missing in {shares[worst]:.0%} of rows {_between(subject, periods[worst])}, in {usual:.0%} usually"
        todo = "mend that stretch at its source, or begin after it (windows.history_start)"
        if name == subject.label:
            todo += "; labels that come late: label.delay_days"
        yield Answer("missing by time", "care", text, todo, name)
    if clean:
        text = f"no column is missing more in one of {len(periods)} stretches of {subject.time} than in the others"
        yield Answer("missing by time", "fine", text)


def _between(subject: Subject, places: npt.NDArray[np.intp]) -> str:
    column = flat(subject.sample.column(subject.time))
    first, last = (str(column[int(place)].as_py())[:10] for place in (places[0], places[-1]))
    return f"of {first}" if first == last else f"from {first} to {last}"


def drift_inside(subject: Subject) -> Iterator[Answer]:
    """Columns whose older half is distributed unlike their newer half."""
    order = _order(subject)
    if order is None:
        yield Answer("drift inside", "unknown", _UNKNOWN, _NAME_IT)
        return
    middle = len(order) // 2
    names = [name for name in dict.fromkeys([*subject.seen, subject.label]) if _can_drift(subject, name)]
    sample = subject.sample.select(names)
    before, after = (_statistics(sample.take(pa.array(part))) for part in (order[:middle], order[middle:]))
    moved = compare(before, after, limit=subject.drift)["columns"]
    bad = [name for name in names if name in moved and moved[name]["drifted"]]
    for name in bad:
        text = f"by {subject.time}, its newer half is unlike its older one: {'; '.join(moved[name]['reasons'])}"
        yield Answer("drift inside", "care", text, "divide by time (splits.by: time), or learn from a shorter window", name)
    if not bad:
        yield Answer("drift inside", "fine", f"by {subject.time}: the newer half of the rows is distributed as the older one")


def _can_drift(subject: Subject, name: str) -> bool:
    """Moments and what counts rows through move with time by their nature."""
    if name == subject.time or name not in subject.sample.schema.names:
        return False
    column = subject.table.columns[name]
    return column.family not in {"date", "time"} and not names_rows(column)


def _statistics(rows: pa.Table) -> TableStatistics:
    found = TableStatistics(sample=0)
    found.add_batch(rows)
    return found
