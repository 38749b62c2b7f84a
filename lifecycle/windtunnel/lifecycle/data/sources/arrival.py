"""The arrival of data: files of required days are waited for until they are there, filled, and no longer growing."""

import datetime as dt
import logging
import time
from collections.abc import Callable
from zoneinfo import ZoneInfo

from windtunnel.lifecycle.contract.errors import UnavailableError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.sources.files import find, state_of
from windtunnel.lifecycle.data.sources.plan import day_values

__all__ = ["await_arrival", "lacking_days", "waits_until"]

log = logging.getLogger("windtunnel.sources")

POLL_SECONDS = 30.0


def await_arrival(
    problem: Problem,
    window: Window,
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return when every required day of a window has its files; at once where the problem has no `source.wait`.

    Args:
        problem: says where files are, which days are required, and how long they are waited for.
        window: the days.
        settings: say where ``{landing}`` is.
        clock: seconds since 1970.
        sleep: lets seconds pass.

    Raises:
        UnavailableError: a required day's file is absent, empty or still growing when its time is over: the window is not claimed as seen.
    """
    wait = problem.source.wait
    if wait is None:
        return
    end = waits_until(problem, window)
    while lacking := lacking_days(problem, window, settings, clock()):
        left = end.timestamp() - clock()
        shown = "; ".join(f"{day}: {reason}" for day, reason in list(lacking.items())[:5])
        if left <= 0:
            raise UnavailableError(
                f"{problem.name}: {len(lacking)} required days have no whole file by {end:%Y-%m-%d %H:%M %Z}: {shown}",
                hint="deliver them and run again; or change source.wait",
                days=list(lacking),
            )
        log.info("%s: waiting until %s for %d days: %s", problem.name, f"{end:%Y-%m-%d %H:%M %Z}", len(lacking), shown)
        sleep(min(POLL_SECONDS, left))


def waits_until(problem: Problem, window: Window) -> dt.datetime:
    """When the files of a window are no longer waited for: ``source.wait.until`` hours after its end, in the problem's time zone."""
    hours = problem.source.wait.until if problem.source.wait else 0.0
    midnight = dt.datetime.combine(window.end, dt.time(), ZoneInfo(problem.timezone))
    # Added in UTC: on a day when clocks change, hours on the wall are not all an hour long.
    return (midnight.astimezone(dt.UTC) + dt.timedelta(hours=hours)).astimezone(midnight.tzinfo)


def lacking_days(problem: Problem, window: Window, settings: Settings, now: float) -> dict[str, str]:
    """The required days, ISO, without whole files, and what is wrong: there is none, it is empty, or it still grows."""
    wait = problem.source.wait
    values = day_values(problem, window, settings)
    if wait is None:
        return {}
    required = values if wait.complete == "all" else values[-1:]
    reasons = {entry["day"]: _reason(find(problem.source.path.format(**entry)), now - wait.settle_seconds) for entry in required}
    return {day: reason for day, reason in reasons.items() if reason}


def _reason(paths: list[str], settled: float) -> str:
    """Why these files are not read yet; empty if they may be."""
    if not paths:
        return "no file"
    for path in paths:
        size, _, changed = state_of(path).partition(":")
        if size == "0":
            return f"{path} is empty"
        if "://" not in path and int(changed) / 1e9 > settled:  # objects of a store are there whole or not at all
            return f"{path} still grows"
    return ""
