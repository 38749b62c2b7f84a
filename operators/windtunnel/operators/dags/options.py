"""What a problem's DAGs are told of Airflow's own options: schedules, time-outs, access, deadlines."""

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import Asset, AssetOrTimeSchedule, CronDataIntervalTimetable
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from pydantic import ValidationError

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.naming import did_you_mean
from windtunnel.lifecycle.contract.problem import AssetSchedule, DagOptions, Problem
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.operators.telling.events import asset
from windtunnel.operators.timetable import ClosedHistoryTimetable

__all__ = ["check_defaults", "common_of", "retraining_options", "timetable_of", "with_options"]

_OURS = re.compile(r"(?P<problem>[a-z][a-z0-9_]*)\.(?P<what>examples|model|backfill)")
_RETRY_DELAY = dt.timedelta(seconds=5)
_MAX_RETRY_DELAY = dt.timedelta(minutes=10)


def check_defaults(defaults: Mapping[str, Any]) -> None:
    """Refuse defaults for all problems that no problem file could have.

    Raises:
        ConfigurationError: names the option and what is allowed.
    """
    allowed = sorted({"timezone", *DagOptions.model_fields})
    for name in defaults:
        if name not in allowed:
            hint = f"{did_you_mean(name, allowed)} allowed: {', '.join(allowed)}".lstrip()
            raise ConfigurationError(f"register_problems takes no {name!r}", hint=hint)
    try:
        DagOptions.model_validate({name: value for name, value in defaults.items() if name != "timezone"})
        ZoneInfo(defaults.get("timezone", "UTC"))
    except (ValidationError, ValueError, KeyError) as error:
        raise ConfigurationError(f"register_problems: {error}", hint="the fields are those of a problem file's section dag") from error


def with_options(problem: Problem, defaults: Mapping[str, object]) -> Problem:
    """The problem with defaults for what its file does not say."""
    if not defaults:
        return problem
    # also what is said to be as it is by default: whoever writes it down means it
    said = {name: getattr(problem.dag, name) for name in problem.dag.model_fields_set}
    options = {name: value for name, value in defaults.items() if name != "timezone"}
    # validated here, because model_copy validates nothing
    update: dict[str, object] = {"dag": DagOptions.model_validate({**options, **said})}
    if "timezone" in defaults and "timezone" not in problem.model_fields_set:
        update["timezone"] = defaults["timezone"]
    return problem.model_copy(update=update)


def common_of(problem: Problem) -> JsonObject:
    """What all three DAGs of a problem have."""
    start, options = problem.start_date, problem.dag
    waiting = problem.approval.timeout_hours * 2  # a remedy for unbalanced classes may be asked for, then an approval
    waiting += problem.source.wait.until if problem.source.wait else 0.0
    return {
        "description": problem.title or problem.description.strip().split("\n")[0],
        "doc_md": f"# {problem.title or problem.name}\n\n{problem.description}\n\nOwner: {problem.owner}",
        "start_date": dt.datetime(start.year, start.month, start.day, tzinfo=ZoneInfo(problem.timezone)),
        "catchup": options.catchup,
        "tags": ["windtunnel", problem.task, *problem.tags],
        "dagrun_timeout": options.run_timeout(waiting),
        **({"access_control": options.access_control} if options.access_control else {}),
        **({"owner_links": options.owner_links} if options.owner_links else {}),
        "default_args": {
            "owner": problem.owner,
            "retries": options.retries,
            "retry_delay": _RETRY_DELAY,
            "retry_exponential_backoff": True,
            "max_retry_delay": _MAX_RETRY_DELAY,
            **({"pool": options.pool} if options.pool else {}),
            **options.default_args,
        },
    }


def retraining_options(problem: Problem) -> JsonObject:
    """What the retraining DAG has beside: how often and how it may be started, its deadline."""
    options = problem.dag
    extra: JsonObject = {}
    if options.allowed_run_types:
        extra["allowed_run_types"] = options.allowed_run_types
    if options.deadline and problem.alerts:
        alerts = [alert.model_dump(mode="json") for alert in problem.alerts]
        extra["deadline"] = DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=options.deadline,
            callback=SyncCallback(
                "windtunnel.operators.telling.alerts.deadline_missed", kwargs={"problem": problem.name, "alerts": alerts}
            ),
        )
    return {"max_active_runs": options.max_active_runs, **extra}


def timetable_of(problem: Problem, schedule: str | AssetSchedule | None) -> Any:
    """A timetable with real data intervals (plain cron strings have none in Airflow 3), up to the end of the data; or assets.

    Times are of the problem's time zone.
    """
    if schedule is None:
        return None
    if isinstance(schedule, str):
        until = problem.windows.history_end
        if until:
            return ClosedHistoryTimetable(schedule, until, problem.timezone)
        return CronDataIntervalTimetable(schedule, timezone=problem.timezone)
    first, *others = [_asset(name) for name in schedule.assets]
    condition = first
    for other in others:
        condition = condition | other if schedule.any else condition & other
    if schedule.cron is None:
        return [first] if not others else condition
    return AssetOrTimeSchedule(timetable=timetable_of(problem, schedule.cron), assets=condition)


def _asset(name: str) -> Any:
    ours = _OURS.fullmatch(name)
    if ours:
        return asset(ours["problem"], ours["what"])
    return Asset(uri=name, name=name) if "://" in name else Asset.ref(name=name)
