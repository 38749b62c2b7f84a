"""Versions that a stage is pinned to: which snapshot, of which days, with how many rows, and which files hold them."""

from typing import TYPE_CHECKING

from windtunnel.lifecycle.contract.errors import ConfigurationError, EmptyWindowError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import SnapshotRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.rows import DAY

if TYPE_CHECKING:
    from pyiceberg.table import Table

from windtunnel.lifecycle.data.days import UNKNOWN_DAY, content_fingerprint, day_files
from windtunnel.lifecycle.data.tables import load_table, table_name

__all__ = ["files", "pin", "table_files"]


def pin(problem: Problem, window: Window, settings: Settings, version: str = "") -> SnapshotRef:
    """A reference to a window of the problem's examples as the table holds them.

    Args:
        problem: whose.
        window: which days.
        settings: name the catalog.
        version: a snapshot id or a tag; empty for the newest.

    Raises:
        EmptyWindowError: the window has no row.
        UnavailableError: there is no such table or version.
    """
    name = table_name(problem, "examples")
    table = load_table(settings, name)
    number = _version(table, version)
    found = day_files(table, window.start, window.end, snapshot_id=number)
    bad = day_files(load_table(settings, table_name(problem, "quarantine")))
    # A row whose day cannot be told may be of any window.
    quarantined = sum(entry.rows for entry in bad if entry.day == UNKNOWN_DAY or str(window.start) <= entry.day < str(window.end))
    rows = sum(entry.rows for entry in found)
    if not rows or number is None:
        source = problem.source
        where = source.path or source.table or source.generator or "the query"
        raise EmptyWindowError(
            f"{problem.name}: no row between {window.start} and {window.end}; {quarantined:,} rows of it are in quarantine",
            hint=f"is there data for these days at {where!r}?",
            start=str(window.start),
            end=str(window.end),
        )
    return SnapshotRef(name, number, str(window.start), str(window.end), rows, quarantined, content_fingerprint(found))


def files(settings: Settings, ref: SnapshotRef) -> list[str]:
    """The Parquet data files of a snapshot's window, oldest day first; files without rows are left out.

    The table is read at ``ref.snapshot_id``, whatever was committed to it since. A table that somebody else keeps, without a column
    `DAY`, is pinned as a whole.

    Raises:
        UnavailableError: the table or the snapshot is not there any more.
    """
    table = load_table(settings, ref.table)
    if DAY in table.schema().column_names:
        found = day_files(table, ref.start, ref.end, snapshot_id=ref.snapshot_id)
        return [entry.path.removeprefix("file://") for entry in found if entry.rows]
    paths = [task.file.file_path for task in table.scan(snapshot_id=ref.snapshot_id).plan_files()]
    return sorted(path.removeprefix("file://") for path in paths)


def table_files(settings: Settings, name: str, start: str | None = None, end: str | None = None, version: str = "") -> list[str]:
    """The Parquet data files of any table, of some days if it is one of ours; of a snapshot id or tag, or the newest version.

    Raises:
        UnavailableError: there is no such table or version.
    """
    table = load_table(settings, name)
    number = _version(table, version) if version else None
    if DAY in table.schema().column_names:
        return [entry.path.removeprefix("file://") for entry in day_files(table, start, end, snapshot_id=number) if entry.rows]
    return sorted(task.file.file_path.removeprefix("file://") for task in table.scan(snapshot_id=number).plan_files())


def _version(table: "Table", version: str) -> int | None:
    if not version:
        snapshot = table.current_snapshot()
        return snapshot.snapshot_id if snapshot else None
    named = table.snapshot_by_name(version)
    if named is not None:
        return int(named.snapshot_id)
    if version.isdigit() and table.snapshot_by_id(int(version)) is not None:
        return int(version)
    newest = ", ".join(str(entry.snapshot_id) for entry in reversed(table.metadata.snapshots[-5:]))
    raise ConfigurationError(  # asking again cannot help
        f"table {'.'.join(table.name())} has no version {version!r}",
        hint=f"the newest are {newest or 'none'}; older ones may have been expired",
        version=version,
    )
