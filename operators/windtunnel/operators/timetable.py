"""A schedule over a history that has ended."""

import datetime as dt
from zoneinfo import ZoneInfo

from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable

from windtunnel.lifecycle.payload import JsonObject

__all__ = ["ClosedHistoryTimetable"]


class ClosedHistoryTimetable(CronDataIntervalTimetable):
    """Cron data intervals that stop at the end of the data.

    Without it, unpausing a DAG over the data of a past year would start a run for yesterday. A DAG's ``end_date`` is no way out: Airflow
    makes no tasks for a run whose logical date lies after it, and a run that is triggered in the UI has today's.

    Args:
        cron: the cron expression.
        until: no interval ends after this day.
        timezone: the time zone of both.

    Example:
        >>> timetable = ClosedHistoryTimetable("0 0 * * *", dt.date(2014, 1, 1))
        >>> ClosedHistoryTimetable.deserialize(timetable.serialize()) == timetable
        True
    """

    def __init__(self, cron: str, until: dt.date, timezone: str = "UTC") -> None:
        super().__init__(cron, timezone=timezone)
        self.until = until
        self._zone = timezone

    # the class above compares expression and zone only: two that end on different days would be equal
    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClosedHistoryTimetable) and self.serialize() == other.serialize()

    def __hash__(self) -> int:
        return hash(str(self.serialize()))

    @property
    def summary(self) -> str:
        """What the UI shows."""
        return f"{self._expression} until {self.until}"

    def serialize(self) -> JsonObject:
        """Plain data, for Airflow's database."""
        return {"cron": self._expression, "until": self.until.isoformat(), "timezone": self._zone}

    @classmethod
    def deserialize(cls, data: JsonObject) -> "ClosedHistoryTimetable":
        """The timetable again."""
        return cls(data["cron"], dt.date.fromisoformat(data["until"]), data.get("timezone", "UTC"))

    def next_dagrun_info(self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction) -> DagRunInfo | None:
        """The next run, if its data lies before the end."""
        upcoming = super().next_dagrun_info(last_automated_data_interval=last_automated_data_interval, restriction=restriction)
        if upcoming is None or upcoming.data_interval is None:
            return None
        return upcoming if upcoming.data_interval.end.astimezone(ZoneInfo(self._zone)).date() <= self.until else None
