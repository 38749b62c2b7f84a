"""An Iceberg table of somebody else's as a source: pinned where it can be used as it is, else copied from a pinned version."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from windtunnel.lifecycle.contract.errors import EmptyWindowError, UnavailableError, UnsupportedError
from windtunnel.lifecycle.contract.fingerprint import fingerprint
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import SnapshotRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.source_options import checked
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.days import day_files
from windtunnel.lifecycle.data.rows import DAY
from windtunnel.lifecycle.data.schema import arrow_schema, check_columns
from windtunnel.lifecycle.data.sources.piece import Piece, Unit
from windtunnel.lifecycle.data.tables import load_table

if TYPE_CHECKING:
    from pyiceberg.table import Table

__all__ = ["pinned", "plan_table"]


def _whole_files(table: Any, snapshot_id: int) -> list[tuple[str, int]] | None:
    """Every file of a snapshot with its rows; None where rows were deleted out of some."""
    tasks = list(table.scan(snapshot_id=snapshot_id).plan_files())
    if any(task.delete_files for task in tasks):
        return None
    return sorted((task.file.file_path, task.file.record_count) for task in tasks)


def _has_types(schema: pa.Schema, wanted: pa.Schema) -> bool:
    return all(field.name in schema.names and _plain(schema.field(field.name).type) == field.type for field in wanted)


def pinned(problem: Problem, window: Window, settings: Settings) -> SnapshotRef | None:
    """A reference to the source table itself, if it has the declared columns and types and its files hold whole windows.

    That is so when it is partitioned by `DAY` as our own tables are, or when the problem has no event time and so takes all of it.

    Raises:
        EmptyWindowError: the window has no row.
        UnavailableError: there is no such table.
    """
    table = _table(problem, settings)
    snapshot = table.current_snapshot()
    if snapshot is None:
        raise EmptyWindowError(f"{problem.name}: table {problem.source.table} is empty")
    schema = table.schema().as_arrow()
    check_columns(problem, schema.names, problem.source.table)
    if not _has_types(schema, arrow_schema(problem, day=False)):
        return None
    if [field.name for field in table.spec().fields if str(field.transform) == "identity"] == [DAY]:
        entries = day_files(table, window.start, window.end, snapshot_id=snapshot.snapshot_id)
        content = [(entry.path, entry.rows) for entry in entries]
    elif problem.event_time is not None or DAY in schema.names or (whole := _whole_files(table, snapshot.snapshot_id)) is None:
        return None
    else:
        content = whole
    rows = sum(count for _, count in content)
    if not rows:
        raise EmptyWindowError(f"{problem.name}: table {problem.source.table} has no row between {window.start} and {window.end}")
    # By the table's own id: under a name that was dropped and given again the content is another.
    content_key = fingerprint(str(table.metadata.table_uuid), content)
    return SnapshotRef(problem.source.table, snapshot.snapshot_id, str(window.start), str(window.end), rows, 0, content_key)


def plan_table(problem: Problem, window: Window, settings: Settings, digest: Callable[[Problem, Sequence[str]], str]) -> Unit:
    """The data files of the table's newest version, to be copied.

    Raises:
        UnsupportedError: rows of it were deleted without their files being rewritten.
    """
    checked(problem.source.options, set(), f"problem {problem.name}")
    table = _table(problem, settings)
    tasks = list(table.scan().plan_files())
    if any(task.delete_files for task in tasks):
        raise UnsupportedError(
            f"{problem.name}: table {problem.source.table} has delete files",
            hint="rewrite its data files (compact it) so that files hold the rows that count",
        )
    paths = sorted(task.file.file_path for task in tasks)
    dated = problem.event_time is not None
    pieces = tuple(Piece(i, path, dated=dated) for i, path in enumerate(paths))
    return Unit("" if dated else window.days[-1].isoformat(), digest(problem, [str(table.metadata.table_uuid), *paths]), pieces)


def _table(problem: Problem, settings: Settings) -> "Table":
    if "." not in problem.source.table:
        raise UnavailableError(f"{problem.name}: source.table {problem.source.table!r} has no namespace", hint="write namespace.table")
    return load_table(settings, problem.source.table)


def _plain(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_large_string(kind) else kind
