"""Windows: the time that a run is about, whichever way the run was started.

Time is data time. A run learns from the ``train_days`` that end at its **data cut-off**; models are ordered by that, never by when they
were trained. The cut-off of a run is the end of the last whole day (or week) of the problem's time zone: a day that is not over has not
all of its rows, and a cut-off that claims it would be a lie.
"""

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, Self
from zoneinfo import ZoneInfo

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.problem import Windows
from windtunnel.lifecycle.payload import JsonMapping

__all__ = ["Window", "resolve_window"]

_DAY = dt.timedelta(days=1)


@dataclasses.dataclass(frozen=True)
class Window:
    """A half-open interval of days, ``start <= day < end``.

    Attributes:
        start: the first day.
        end: the day after the last: the data cut-off.
        origin: where it is from, for the log: ``conf``, ``partition``, ``interval``, ``logical_date``, ``asset``, ``now``.
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
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """The window that `to_dict` wrote."""
        return cls(_date(values["start"], "start"), _date(values["end"], "end"), str(values.get("origin", "conf")))


def resolve_window(context: Mapping[str, Any], windows: Windows, timezone: str = "UTC") -> Window:
    """The training window of a run.

    What a task sees differs with how its run started; the first of these that is there decides the cut-off:

    1. ``window_start`` and/or ``window_end`` in the params (the trigger form) or the run's conf: taken as they are;
    2. a partition (``CronPartitionTimetable``, a partitioned asset): ``partition_date``, or a ``partition_key`` that begins with an ISO
       date: the end of that day (with ``windows.unit: week`` of the week that begins then); of a partition of hours, that day's begin;
    3. a data interval with a width (schedule, backfill): the last whole day before its end;
    4. a logical date alone, or a zero-width interval (``@daily`` in Airflow 3): the day it falls on is the first that is not seen;
    5. asset events of ours that started the run: the newest ``cutoff`` that they tell;
    6. nothing (a manual run without a logical date): ``run_after``, or now.

    Moments become days in the problem's time zone, so that a schedule of midnight in New York ends days there, summer time included. With
    ``windows.unit: week`` the cut-off of 2 to 6 is the Monday at or before it.

    The window never reaches over the problem's ``history_start`` and ``history_end``: a run "as of now" over a closed history is about
    its newest days.

    Args:
        context: Airflow's task context, or any mapping with its keys.
        windows: the problem's windows.
        timezone: the problem's time zone, an IANA name.

    Raises:
        ConfigurationError: a date is not a date, or the window is empty.

    Example:
        >>> resolve_window({"params": {"window_end": "2013-02-01"}}, Windows(train_days=7)).to_dict()
        {'start': '2013-01-25', 'end': '2013-02-01', 'origin': 'conf'}
        >>> evening = dt.datetime(2013, 2, 2, 3, tzinfo=dt.UTC)  # still the first of February in New York
        >>> resolve_window({"run_after": evening}, Windows(train_days=7), "America/New_York").cutoff
        '2013-02-01'
    """
    run = context.get("dag_run")
    # A conf goes before the Params, which hold defaults where the conf is silent.
    asked = {**_mapping(context.get("params")), **{k: v for k, v in _mapping(getattr(run, "conf", None)).items() if v is not None}}
    end, origin = _cutoff(context, run, asked, windows, ZoneInfo(timezone))
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


def _cutoff(context: Mapping[str, object], run: Any, asked: JsonMapping, windows: Windows, zone: ZoneInfo) -> tuple[dt.date, str]:
    if asked.get("window_end"):
        return _date(asked["window_end"], "window_end"), "conf"
    partition = _partition(context, run, windows, zone)
    if partition is not None:
        return partition, "partition"
    moment, origin = _moment(context, run)
    day = _date(moment, origin, zone)
    return (_monday(day) if windows.unit == "week" else day), origin


def _partition(context: Mapping[str, Any], run: Any, windows: Windows, zone: ZoneInfo) -> dt.date | None:
    """The end of the run's partition, or None where it has none."""
    date, key = _of(context, run, "partition_date"), _of(context, run, "partition_key")
    if not date and not key:
        return None
    day = _date(date, "partition_date", zone) if date else _date(str(key)[:10], "partition_key")
    if windows.unit == "week":
        return _monday(day) + 7 * _DAY
    hour = isinstance(date, dt.datetime) and _aware(date).astimezone(zone).time() != dt.time()
    return day if hour else day + _DAY  # the day of a partition of hours is not over


def _moment(context: Mapping[str, object], run: Any) -> tuple[Any, str]:
    """The moment, or the day, up to which a run without a partition may know; and where it is from."""
    start, end = (_of(context, run, name) for name in ("data_interval_start", "data_interval_end"))
    # @daily gives an interval of no width in Airflow 3, which says no more than the logical date does.
    wide = end if start and end and start < end else None
    moments = {
        "interval": wide,
        "logical_date": _of(context, run, "logical_date"),
        "asset": _told(context.get("triggering_asset_events")),
        "now": _of(context, run, "run_after"),
    }
    return next(((moment, origin) for origin, moment in moments.items() if moment), (dt.datetime.now(dt.UTC), "now"))


def _of(context: Mapping[str, Any], run: object, name: str) -> Any:
    """What a task's context says, or its run does."""
    return context.get(name) or getattr(run, name, None)


def _told(events: Any) -> str:
    """The newest cut-off that asset events of ours tell; empty if none does."""
    lists: Iterable[Any] = events.values() if hasattr(events, "values") else ()
    extras = (getattr(event, "extra", None) or {} for entries in lists for event in entries)
    return max((str(extra["cutoff"]) for extra in extras if isinstance(extra, Mapping) and extra.get("cutoff")), default="")


def _monday(day: dt.date) -> dt.date:
    return day - _DAY * day.weekday()


def _mapping(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, Mapping) else dict(value.dump()) if hasattr(value, "dump") else {}


def _aware(moment: dt.datetime) -> dt.datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)


def _date(value: object, name: str, zone: dt.tzinfo = dt.UTC) -> dt.date:
    """A date from a date, a text that begins with one, or a moment, which falls on a day of a time zone."""
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo is None else value.astimezone(zone)).date()
    if isinstance(value, dt.date):
        return value
    try:
        return dt.date.fromisoformat(str(value)[:10])
    except ValueError as error:
        raise ConfigurationError(f"{name} must be a date such as 2013-02-01 but got {value!r}") from error
