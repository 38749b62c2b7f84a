"""What a window's source consists of, and which version of it: decided before anything is read."""

import logging
import string
from collections.abc import Mapping, Sequence

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.fingerprint import fingerprint
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.seams.sources import SOURCES
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.sources.files import content_digest, find, is_local, state_of
from windtunnel.lifecycle.data.sources.piece import Piece, Unit

__all__ = ["day_values", "plan", "plan_iceberg", "plan_python", "plan_sql"]

log = logging.getLogger("windtunnel.sources")

_PARSERS = {"csv": 2, "jsonl": 2}
"""Of a format (1 if not named): raised whenever the same bytes would be read as other rows. Days from before are ingested anew."""

_PIECE_ROWS = 1_048_576
_DAILY = {"day", "dom"}
_FIELDS = {"landing", "day", "year", "month", "dom"}


def plan(problem: Problem, window: Window, settings: Settings, version: str = "") -> list[Unit]:
    """The units of a window: one a day where the path names days, else one for all.

    A day without a file has no unit, which is logged.

    Args:
        problem: says where its source is.
        window: the days.
        settings: say where ``{landing}`` is.
        version: of a database that is read in parts, see `windtunnel.lifecycle.data.sources.database.one_version`.

    Raises:
        ConfigurationError: the path has unknown fields.
        UnavailableError: the place is out of reach.
    """
    row = SOURCES[problem.source.format]
    if row.plan:
        units: list[Unit] = row.part("plan")(problem, window, settings, version)
        return units
    return _plan_files(problem, window, settings)


def plan_sql(problem: Problem, window: Window, _settings: Settings, version: str) -> list[Unit]:
    """The unit of a database's window."""
    from windtunnel.lifecycle.data.sources.database import plan_query

    return [plan_query(problem, window, version)]


def plan_python(problem: Problem, window: Window, _settings: Settings, _version: str) -> list[Unit]:
    """The unit of a generator's window."""
    from windtunnel.lifecycle.data.sources.generator import plan_generator

    return [plan_generator(problem, window)]


def plan_iceberg(problem: Problem, window: Window, settings: Settings, _version: str) -> list[Unit]:
    """The unit of an Iceberg table that is copied."""
    from windtunnel.lifecycle.data.sources.lake import plan_table

    return [plan_table(problem, window, settings, version_of)]


def _plan_files(problem: Problem, window: Window, settings: Settings) -> list[Unit]:
    values = day_values(problem, window, settings)
    if _fields(problem) & _DAILY:
        return _daily(problem, values)
    # A path that names months only is the same for all days of one.
    patterns = dict.fromkeys(problem.source.path.format(**entry) for entry in values)
    paths = list(dict.fromkeys(path for pattern in patterns for path in find(pattern)))
    if not paths:
        log.warning("%s: no file matches %s", problem.name, _shown(list(patterns)))
        return []
    return [_unit(problem, "" if problem.event_time else window.days[-1].isoformat(), paths)]


def day_values(problem: Problem, window: Window, settings: Settings) -> list[dict[str, str]]:
    """What is filled into `source.path`, for each day of a window.

    Raises:
        ConfigurationError: the path has unknown fields.
    """
    landing = settings.need("landing") if "landing" in _fields(problem) else ""
    return [
        {"landing": landing, "day": f"{day:%Y-%m-%d}", "year": f"{day:%Y}", "month": f"{day:%m}", "dom": f"{day:%d}"} for day in window.days
    ]


def _daily(problem: Problem, values: Sequence[Mapping[str, str]]) -> list[Unit]:
    units = []
    absent = []
    for entry in values:
        paths = find(problem.source.path.format(**entry))
        if paths:
            units.append(_unit(problem, entry["day"], paths))
        else:
            absent.append(entry["day"])
    if absent:
        log.warning("%s: no file for %d of %d days: %s", problem.name, len(absent), len(values), _shown(absent))
    return units


def _fields(problem: Problem) -> set[str]:
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(problem.source.path) if name is not None}
    except ValueError as error:
        raise ConfigurationError(f"problem {problem.name}: source.path {problem.source.path!r}: {error}") from error
    if fields - _FIELDS:
        raise ConfigurationError(
            f"problem {problem.name}: source.path has unknown fields {sorted(fields - _FIELDS)}",
            hint=f"known ones: {', '.join(sorted(_FIELDS))}",
        )
    return fields


def _unit(problem: Problem, day: str, paths: Sequence[str]) -> Unit:
    # Before the content is read: a file that changes meanwhile has another state than this, and its reader refuses it.
    states = [state_of(path) for path in paths]
    # Of an object its tag stands for the content: to read it for a digest would cost as much as to ingest it.
    contents = [content_digest(path) if is_local(path) else state for path, state in zip(paths, states, strict=True)]
    pieces: list[Piece] = []
    for path, state in zip(paths, states, strict=True):
        for groups in _row_groups(path) if problem.source.format == "parquet" else [()]:
            pieces.append(Piece(len(pieces), path, state, groups, dated=not day))
    return Unit(day, version_of(problem, contents), tuple(pieces))


def _row_groups(path: str) -> list[tuple[int, ...]]:
    """A Parquet file's row groups in pieces of about a million rows, so that workers share a large file."""
    from windtunnel.lifecycle.data.sources.columnar import row_counts

    parts: list[tuple[int, ...]] = []
    held: list[int] = []
    rows = 0
    counts = row_counts(path)
    for group, count in enumerate(counts):
        held.append(group)
        rows += count
        if rows >= _PIECE_ROWS or group == len(counts) - 1:
            parts.append(tuple(held))
            held, rows = [], 0
    return parts or [()]


def version_of(problem: Problem, contents: Sequence[str]) -> str:
    """The digest of rows that were made from these contents in this problem's way."""
    how = problem.part_fingerprint("columns", "optional_columns", "event_time")
    return fingerprint(_PARSERS.get(problem.source.format, 1), problem.source.format, problem.source.options, how, list(contents))


def _shown(entries: Sequence[str], limit: int = 5) -> str:
    return ", ".join(entries[:limit]) + (f" and {len(entries) - limit} more" if len(entries) > limit else "")
