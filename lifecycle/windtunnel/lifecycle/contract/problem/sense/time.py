"""Time: schedules that can be, windows that hold a day, and days that rows can be placed in."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from windtunnel.lifecycle.contract.problem.sense.fault import Fault, Rule

if TYPE_CHECKING:
    from windtunnel.lifecycle.contract.problem.problem import Problem

__all__ = ["CONSISTENT", "SENSE", "cron_fault"]

_TAG = 100
"""Characters that Airflow gives a tag."""

_PRESETS = ("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")


def _timed(problem: "Problem") -> bool:
    return problem.event_time is not None or "{" in problem.source.path.replace("{landing}", "")


def _days(problem: "Problem") -> Iterator[Fault]:
    timed, delay = _timed(problem), problem.label.delay_days
    if problem.schedule is not None and not timed:
        yield Fault("schedule", "a scheduled problem needs event_time, or a source path with the window's {day}")
    if delay and not timed:
        yield Fault("label.delay_days", "needs event_time, or a source path with the window's {day}: it counts from a row's day")
    if delay >= problem.windows.train_days:
        yield Fault(
            "label.delay_days",
            f"is {delay}: no label of a window of {problem.windows.train_days} days would be known at its end; allowed: 0 to "
            f"{problem.windows.train_days - 1}, or make windows.train_days larger",
        )


def _history(problem: "Problem") -> Iterator[Fault]:
    start, end = problem.windows.history_start, problem.windows.history_end
    if start is not None and end is not None and start >= end:
        yield Fault("windows.history_end", f"is {end}, which is not after history_start, {start}: no day is left")


def _schedules(problem: "Problem") -> Iterator[Fault]:
    for field, schedule in (("schedule", problem.schedule), ("monitoring.schedule", problem.monitoring.schedule)):
        cron = schedule if isinstance(schedule, str) or schedule is None else schedule.cron
        fault = "" if cron is None else cron_fault(cron)
        if fault:
            yield Fault(field if isinstance(schedule, str) else f"{field}.cron", fault)


def cron_fault(cron: str) -> str:
    """What is wrong with a cron text; empty if nothing is.

    Example:
        >>> cron_fault("0 3 * * *"), cron_fault("@daily")
        ('', '')
        >>> print(cron_fault("every day at 3"))
        'every day at 3' is no cron text; allowed: five fields (minute hour day month weekday, such as 0 3 * * *), @hourly, @daily, ...
    """
    from croniter import CroniterBadDateError, croniter

    allowed = f"allowed: five fields (minute hour day month weekday, such as 0 3 * * *), {', '.join(_PRESETS)}"
    if cron in _PRESETS:
        return ""
    if len(cron.split()) not in {1, 5} or (not cron.startswith("@") and len(cron.split()) == 1):
        return f"{cron!r} is no cron text; {allowed}"
    try:
        # croniter takes the 31st of February; only the search for its next time fails.
        croniter(cron).get_next()
    except CroniterBadDateError:
        return f"{cron!r} names a time that never comes; {allowed}"
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        return f"{cron!r} is no cron text ({error}); {allowed}"
    return ""


def _splits(problem: "Problem") -> Iterator[Fault]:
    splits = problem.splits
    yield from {"time": _by_time, "row": _by_row, "key": _by_key}[splits.by](problem)
    if splits.by != "key" and splits.key:
        yield Fault("splits.key", "is only for splits.by: key")
    if not 0 < splits.test < 1:
        yield Fault("splits.test", f"must leave rows for training and for testing: more than 0, less than 1, but got {splits.test:g}")


def _by_time(problem: "Problem") -> Iterator[Fault]:
    if not _timed(problem):
        yield Fault("splits.by", "time needs event_time, or a source path with the window's {day}; allowed without: key, row")


def _by_key(problem: "Problem") -> Iterator[Fault]:
    if not (problem.splits.key or problem.keys):
        ways = "give keys, or splits.key" + (", or splits.by: time" if _timed(problem) else ", or splits.by: row if rows have none")
        yield Fault("splits.by", f"rows are divided by a key, but no column is named as one: {ways}")


def _by_row(problem: "Problem") -> Iterator[Fault]:
    """Where rows have a key or a time, a split by rows would let the model see the same thing, or the future, in training."""
    if problem.keys:
        yield Fault("splits.by", "row is for rows without a key, but keys are named: rows of one key would be on both sides; allowed: key")
    elif _timed(problem):
        yield Fault("splits.by", "row is for rows without a time: newer ones would be learned from than judged; allowed: time, key")


def _tags(problem: "Problem") -> Iterator[Fault]:
    for place, tag in enumerate(problem.tags):
        if not tag.strip() or len(tag) > _TAG:
            yield Fault(f"tags.{place}", f"must have 1 to {_TAG} characters but has {len(tag)}")


CONSISTENT: list[Rule] = [_days]
SENSE: list[Rule] = [_history, _schedules, _splits, _tags]
