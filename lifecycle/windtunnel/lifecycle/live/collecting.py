"""The model server's shipped prediction log becomes rows of ``<problem>.predictions``.

The server leaves Parquet files under ``<server_log>/PROBLEM/DAY/``. Collecting writes the rows of new files into one file a day of answers,
notes in the column ``log_file`` where each row came from, commits, and only then removes what it took in. Killed in between, it finds on
the next call what is in the table already, so every answer is there once.
"""

import contextlib
import functools
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.contract.errors import SourceFormatError, UnavailableError
from windtunnel.lifecycle.contract.fingerprint import fingerprint
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.days import DayFile, day_files, day_path, replace_days
from windtunnel.lifecycle.data.parquet import batches, write_file
from windtunnel.lifecycle.data.predictions import LOGGED
from windtunnel.lifecycle.data.tables import open_table, table_name
from windtunnel.lifecycle.record.ledger import Ledger

__all__ = ["COLLECTED", "collect"]

log = logging.getLogger("windtunnel.collecting")

COLLECTED = "ca"
"""What the digest in a collected file's name begins with; files of batch jobs begin with ``ba``."""

_SOURCE = "log_file"
_SCHEMA = pa.schema([*LOGGED, pa.field(_SOURCE, pa.string())])


def collect(problem: Problem | str, settings: Settings) -> int:
    """Take the server's new log files into the table of predictions; answers how many rows came in.

    Args:
        problem: whose answers: a problem or its name.
        settings: ``server_log`` says where the server ships to; empty means that there is nothing to collect.

    Raises:
        UnavailableError: the log or the catalog is out of reach.
    """
    if not settings.server_log:
        return 0
    model = problem if isinstance(problem, str) else problem.name
    root = f"{settings.server_log.rstrip('/')}/{model}"
    if not _shipped(root):
        return 0
    name = table_name(problem, "predictions")
    rows = 0
    with Ledger(settings).lock(f"collect:{model}"):  # two that take in different sets of the same files would count some twice
        table = open_table(settings, name, _SCHEMA)
        # Looked at again under the lock: who had it before may have taken the same files.
        for day, files in _shipped(root).items():
            rows += _collect_day(settings, name, table, day, files)
    log.info("%s: %s logged answers came into %s", model, f"{rows:,}", name)
    return rows


def _collected(table: Any, day: str) -> list[DayFile]:
    """The files of a day that came from the server's log."""
    return [entry for entry in day_files(table) if entry.day == day and entry.digest.startswith(COLLECTED)]


def _collect_day(settings: Settings, name: str, table: Any, day: str, files: Sequence[tuple[str, str]]) -> int:
    """Take the files of a day into the table, those that are in it already left out, and remove what is in it."""
    there = _collected(table, day)
    known = _known(there)
    # Left by a call that was killed between its commit and the removal.
    taken = [path for path, mark in files if mark in known]
    new = [(path, mark) for path, mark in files if mark not in known]
    count = 0
    if new:
        path = day_path(table, day, COLLECTED + fingerprint([mark for _, mark in new]), 0)
        # `taken` grows while the rows are written, and is whole only afterwards.
        _, count = write_file(path.rpartition("/")[0], _rows(new, taken), _SCHEMA, functools.partial(str, path))
    if count:
        paths = [*(entry.path for entry in there), path]
        # Only among the collected files: those of batch jobs of the same day stay.
        replace_days(settings, name, {day: paths}, {"windtunnel.collected": str(count)}, among=COLLECTED)
    _remove(taken)
    return count


def _known(files: Sequence[DayFile]) -> set[str]:
    """The marks of the log files whose rows are in the table already."""
    marks: set[str] = set()
    for batch in batches([entry.path for entry in files], [_SOURCE]):
        marks |= set(pc.unique(batch.column(0)).to_pylist())
    return marks


def _shipped(root: str) -> dict[str, list[tuple[str, str]]]:
    """Day -> the files that the server left for it, oldest first, each with what marks its rows."""
    filesystem, place = fsspec.core.url_to_fs(root)
    found: dict[str, list[tuple[str, str]]] = {}
    try:
        for path in sorted(filesystem.glob(f"{place}/*/*.parquet")):
            day, file = str(path).split("/")[-2:]
            # Two servers may give a file the same name, hardly with the same length.
            found.setdefault(day, []).append((filesystem.unstrip_protocol(path), f"{file}:{filesystem.size(path)}"))
    except OSError as error:
        raise UnavailableError(f"the prediction log at {root} cannot be read: {error}", hint="see the setting server_log") from error
    return found


def _rows(files: Sequence[tuple[str, str]], taken: list[str]) -> Iterator[pa.Table]:
    """The rows of some files; `taken` gets the path of each that was read to its end."""
    for path, mark in files:
        try:
            # Read to the end before a row goes on: of a file that is damaged further down nothing may get in.
            parts = list(batches([path]))
        except SourceFormatError as error:
            log.warning("a prediction log is left where it is, because it cannot be read: %s", error)
            continue
        for batch in parts:
            columns: dict[str, Any] = {field.name: _column(batch, field) for field in _SCHEMA if field.name != _SOURCE}
            yield pa.table(columns | {_SOURCE: pa.array([mark] * batch.num_rows, pa.string())}, schema=_SCHEMA)
        taken.append(path)


def _column(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    if field.name not in batch.schema.names:
        return pa.nulls(batch.num_rows, field.type)
    column = batch.column(field.name)
    if pa.types.is_list(column.type):
        return pa.array([None if value is None else json.dumps(value) for value in column.to_pylist()], pa.string())
    return column.cast(field.type)


def _remove(paths: Sequence[str]) -> None:
    """Remove what is in the table; what cannot be removed is known by its mark next time."""
    for path in paths:
        filesystem, place = fsspec.core.url_to_fs(path)
        with contextlib.suppress(OSError):
            filesystem.rm_file(place)
