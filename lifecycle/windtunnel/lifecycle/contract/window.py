"""Windows: the time that a run is about, whichever way the run was started.

Time is data time. A run learns from the ``train_days`` that end at its **data cut-off**; models are ordered by that, never by when they
were trained.
"""

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any, Self

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.problem import Windows

__all__ = ["Window", "resolve_window"]

_DAY = dt.timedelta(days=1)


@dataclasses.dataclass(frozen=True)
class Window:
    """A half-open interval of days, ``start <= day < end``.

    Attributes:
        start: the first day.
        end: the day after the last: the data cut-off.
        origin: how it was found, for the log: ``conf``, ``partition``, ``interval``, ``logical_date``, ``now``.
    """

    start: dt.date
    end: dt.date
    origin: str = "conf"

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ConfigurationError(f"a window must start before it ends but got {self.start} to {self.end}")

    @property
    def days(self) -> list[dt.date]:
        """Every day of it, oldest first."""
        return [self.start + _DAY * i for i in range((self.end - self.start).days)]

    @property
    def cutoff(self) -> str:
        """The data cut-off, ISO: models are ordered by it."""
        return self.end.isoformat()

    def to_dict(self) -> dict[str, str]:
        """Plain data."""
        return {"start": self.start.isoformat(), "end": self.end.isoformat(), "origin": self.origin}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The window that `to_dict` wrote."""
        return cls(_date(values["start"], "start"), _date(values["end"], "end"), str(values.get("origin", "conf")))


def resolve_window(context: Mapping[str, Any], windows: Windows) -> Window:
    """The training window of a run.

    What a task sees differs with how its run started; the first of these that is there decides the cut-off:

    1. ``window_start`` and/or ``window_end`` in the params (the trigger form) or the run's conf;
    2. a partition (``CronPartitionTimetable``, a partitioned asset): ``partition_date``, or a ``partition_key`` that begins with an ISO
       date: the cut-off is the day after;
    3. a data interval with a width (schedule, backfill): its end;
    4. a logical date alone, or a zero-width interval (``@daily`` in Airflow 3): the day it falls on is the first that is not seen;
    5. nothing (a manual run without a logical date, an asset event): ``run_after``, or now.

    The window never reaches over the problem's ``history_start`` and ``history_end``: a run "as of now" over a closed history is about
    its newest days.

    Args:
        context: Airflow's task context, or any mapping with its keys.
        windows: the problem's windows.

    Raises:
        ConfigurationError: a date is not a date, or the window is empty.

    Example:
        >>> resolve_window({"params": {"window_end": "2013-02-01"}}, Windows(train_days=7)).to_dict()
        {'start': '2013-01-25', 'end': '2013-02-01', 'origin': 'conf'}
    """
    run = context.get("dag_run")
    asked = {**_mapping(context.get("params")), **{k: v for k, v in _mapping(getattr(run, "conf", None)).items() if v is not None}}
    end, origin = _cutoff(context, run, asked)
    if windows.history_end is not None and end > windows.history_end:
        if origin == "conf":
            raise ConfigurationError(
                f"window_end {end} lies after the end of the data, {windows.history_end}",
                hint=f"give a window_end of at most {windows.history_end}",
            )
        end = windows.history_end
    if asked.get("window_start"):
        return Window(_date(asked["window_start"], "window_start"), end, "conf")
    start = end - _DAY * windows.train_days
    if windows.history_start is not None and start < windows.history_start:
        start = windows.history_start
    if start >= end:
        raise ConfigurationError(
            f"no data before {end}: the problem's history starts on {windows.history_start}",
            hint="choose a later window_end, or a later first date of the backfill",
        )
    return Window(start, end, origin)


def _cutoff(context: Mapping[str, Any], run: Any, asked: Mapping[str, Any]) -> tuple[dt.date, str]:
    if asked.get("window_end"):
        return _date(asked["window_end"], "window_end"), "conf"
    partition = context.get("partition_date") or getattr(run, "partition_date", None)
    if partition:
        return _date(partition, "partition_date") + _DAY, "partition"
    key = context.get("partition_key") or getattr(run, "partition_key", None)
    if key:
        return _date(str(key)[:10], "partition_key") + _DAY, "partition"
    start, end = (context.get(name) or getattr(run, name, None) for name in ("data_interval_start", "data_interval_end"))
    if start and end and start < end:
        return _ceil(end), "interval"
    logical = context.get("logical_date") or getattr(run, "logical_date", None)
    if logical:
        return _date(logical, "logical_date"), "logical_date"
    now = getattr(run, "run_after", None) or context.get("run_after") or dt.datetime.now(dt.UTC)
    return _date(now, "run_after"), "now"


def _ceil(moment: dt.datetime) -> dt.date:
    """The first day that begins at or after a moment, so that a window of hours is not cut off."""
    day = _date(moment, "data_interval_end")
    return day if moment.astimezone(dt.UTC).time() == dt.time() else day + _DAY


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else dict(value.dump()) if hasattr(value, "dump") else {}


def _date(value: Any, name: str) -> dt.date:
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo is None else value.astimezone(dt.UTC)).date()
    if isinstance(value, dt.date):
        return value
    try:
        return dt.date.fromisoformat(str(value)[:10])
    except ValueError as error:
        raise ConfigurationError(f"{name} must be a date such as 2013-02-01 but got {value!r}") from error
