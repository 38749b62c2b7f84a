"""A schedule over a history that has ended."""

import datetime as dt
from typing import Any

from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable

__all__ = ["ClosedHistoryTimetable"]


class ClosedHistoryTimetable(CronDataIntervalTimetable):
    """Cron data intervals that stop at the end of the data.

    Without it, unpausing a DAG over the data of a past year would start a run for yesterday. A DAG's ``end_date`` is no way out: Airflow
    makes no tasks for a run whose logical date lies after it, and a run that is triggered in the UI has today's.

    Args:
        cron: the cron expression.
        until: no interval ends after this day.

    Example:
        >>> timetable = ClosedHistoryTimetable("0 0 * * *", dt.date(2014, 1, 1))
        >>> ClosedHistoryTimetable.deserialize(timetable.serialize()) == timetable
        True
    """

    def __init__(self, cron: str, until: dt.date) -> None:
        super().__init__(cron, timezone="UTC")
        self.until = until

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClosedHistoryTimetable) and self.serialize() == other.serialize()

    def __hash__(self) -> int:
        return hash(str(self.serialize()))

    @property
    def summary(self) -> str:
        """What the UI shows."""
        return f"{self._expression} until {self.until}"

    def serialize(self) -> dict[str, Any]:
        """Plain data, for Airflow's database."""
        return {"cron": self._expression, "until": self.until.isoformat()}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> "ClosedHistoryTimetable":
        """The timetable again."""
        return cls(data["cron"], dt.date.fromisoformat(data["until"]))

    def next_dagrun_info(self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction) -> DagRunInfo | None:
        """The next run, if its data lies before the end."""
        found = super().next_dagrun_info(last_automated_data_interval=last_automated_data_interval, restriction=restriction)
        if found is None or found.data_interval is None or found.data_interval.end.date() > self.until:
            return None
        return found
