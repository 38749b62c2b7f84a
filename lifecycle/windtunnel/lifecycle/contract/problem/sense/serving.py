"""Serving and the rest of the world: targets, notifiers, names that Airflow and the stages keep for themselves, options of sources."""

import string
from collections.abc import Iterator
from typing import TYPE_CHECKING

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.naming import imported, unknown
from windtunnel.lifecycle.contract.problem.sense.fault import Fault, Rule
from windtunnel.lifecycle.contract.seams.notifiers import NOTIFIERS
from windtunnel.lifecycle.contract.seams.sources import SOURCES
from windtunnel.lifecycle.contract.seams.targets import target_row

if TYPE_CHECKING:
    from windtunnel.lifecycle.contract.problem.problem import Problem

__all__ = ["CONSISTENT", "RESERVED", "SENSE"]

RESERVED = ("_monitoring", "_feedback")
"""Ends of a problem's further DAGs: no problem's own name may end so."""

_PLACES = ("landing", "day", "year", "month", "dom")


def _bandit(problem: "Problem") -> Iterator[Fault]:
    serving = problem.serving
    if serving.bandit and problem.task == "regression" and serving.reward is None:
        yield Fault("serving.reward", "serving.bandit of a regression needs serving.reward: a function that gives rewards from 0 to 1")
    if serving.lookup is not None and not (serving.lookup.key or problem.keys):
        yield Fault("serving.lookup.key", "serving.lookup needs a key: the columns that name a row, in serving.lookup.key or keys")


def _canary(problem: "Problem") -> Iterator[Fault]:
    serving = problem.serving
    if serving.bandit and not serving.canary_share:
        yield Fault("serving.bandit", "shares the traffic between champion and canary, but serving.canary_share is 0; give it a share")
    if serving.abstain_below is not None and problem.task == "regression":
        yield Fault("serving.abstain_below", "is a confidence, which a regression's answers do not have; leave it out")


def _targets(problem: "Problem") -> Iterator[Fault]:
    for place, url in enumerate(problem.serving.targets):
        try:
            target_row(url)
        except ConfigurationError as error:
            yield Fault(f"serving.targets.{place}", error.message)


def _notifiers(problem: "Problem") -> Iterator[Fault]:
    for field, alerts in (("alerts", problem.alerts), ("approval.notifiers", problem.approval.notifiers)):
        for place, alert in enumerate(alerts):
            if "." not in alert.notifier and alert.notifier not in NOTIFIERS:
                yield Fault(f"{field}.{place}.notifier", unknown(alert.notifier, "a notifier, nor an import path", NOTIFIERS.names))


def _names(problem: "Problem") -> Iterator[Fault]:
    for end in RESERVED:
        if problem.name.endswith(end):
            yield Fault("name", f"{problem.name!r} ends like the DAG {end} of another problem; choose a name that does not end with {end}")
    if not problem.owner.strip():
        yield Fault("owner", "must not be empty: say who answers for it")


def _options(problem: "Problem") -> Iterator[Fault]:
    source, row = problem.source, SOURCES[problem.source.format]
    if not row.options:
        for name in source.options:
            yield Fault(f"source.options.{name}", f"a source of format {source.format!r} has no options")
        return
    try:
        imported(row.options).of(source.options, f"problem {problem.name}")
    except (ConfigurationError, TypeError) as error:
        message = error.message.removeprefix(f"problem {problem.name}: ") if isinstance(error, ConfigurationError) else str(error)
        hint = f" ({error.hint})" if isinstance(error, ConfigurationError) and error.hint else ""
        yield Fault("source.options", f"{message}{hint}")


def _path(problem: "Problem") -> Iterator[Fault]:
    source = problem.source
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(source.path) if name is not None}
    except ValueError as error:
        yield Fault("source.path", f"{source.path!r}: {error}; fields: {', '.join(f'{{{name}}}' for name in _PLACES)}")
        return
    for name in sorted(names - set(_PLACES)):
        yield Fault("source.path", f"{{{name}}}: {unknown(name, 'a field of a path', _PLACES)}")
    if source.format == "sql" and not source.connection:
        yield Fault("source.connection", "a source of format 'sql' needs the id of an Airflow connection")


CONSISTENT: list[Rule] = [_bandit]
SENSE: list[Rule] = [_names, _options, _path, _canary, _targets, _notifiers]
