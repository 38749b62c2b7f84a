"""From a row's key to the snapshots that hold it, and to the versions that learnt from it or were judged by it."""

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.problem import Problem, parse
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.days import day_files
from windtunnel.lifecycle.data.parquet import open_parquet
from windtunnel.lifecycle.data.rows import DAY, label_of, split_of
from windtunnel.lifecycle.data.tables import load_table, table_name
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.lifecycle.record import manifest
from windtunnel.lifecycle.record.ledger import Entry, Ledger

if TYPE_CHECKING:
    from pyiceberg.table import Table

__all__ = ["RowLineage", "of_row"]

_MOST = 50


@dataclasses.dataclass(frozen=True)
class RowLineage:
    """What became of a row.

    Attributes:
        problem: whose.
        key: column -> value, as asked for.
        rows: the rows with this key in the newest version of the table, at most 50: ``day``, ``row`` (the columns that were
            asked for and the problem's keys: other columns may be nobody's business).
        snapshots: ids of the snapshots that hold such a row, among those that a version was made from and the newest.
        models: the versions it had to do with: ``version``, ``semantic``, ``cutoff``, ``snapshot_id``, ``day``, and ``role``: ``learnt
            from``, ``judged by``, or ``in its window, without a label``.
    """

    problem: str
    key: dict[str, str]
    rows: list[dict[str, Any]]
    snapshots: list[int]
    models: list[dict[str, Any]]


def of_row(settings: Settings, problem: str, key: Mapping[str, str]) -> RowLineage:
    """The lineage of the rows that have these values.

    Data files are read once each, only those columns that are needed, and only row groups that can hold the values.

    Args:
        settings: where table and ledger are.
        problem: whose table of examples.
        key: column -> value in text; all must match. The problem's keys name one row; fewer columns may name several.

    Raises:
        ConfigurationError: the table has no such column, or a value is not of its type.
    """
    table = load_table(settings, table_name(problem, "examples"))
    wanted = _wanted(table, key)
    registrations = Ledger(settings).entries(problem, ("register",))
    by_version = {str(entry.payload["version"]): entry for entry in registrations}  # the newest registration of each
    newest = table.current_snapshot()
    holding = _holding(table, _looked_at(table, by_version.values()), wanted)
    models = []
    for version, entry in sorted(by_version.items(), key=_number):
        models += _roles(settings, problem, version, entry, holding)
    described = next((then for entry in reversed(registrations) if (then := _problem_then(settings, problem, entry))), None)
    columns = list(dict.fromkeys([*key, *(described.keys if described else [])]))
    present = holding.get(newest.snapshot_id, {}) if newest else {}
    return RowLineage(
        problem=problem,
        key=dict(key),
        rows=_shown(present.values(), columns),
        snapshots=sorted(holding),
        models=models,
    )


def _looked_at(table: "Table", registrations: Iterable[Entry]) -> set[int]:
    """The snapshots that versions were made from, as far as they are still there, and the newest."""
    ids = {str((entry.payload.get("lineage") or {}).get("snapshot_id")) for entry in registrations}
    known = {snapshot.snapshot_id for snapshot in table.metadata.snapshots if str(snapshot.snapshot_id) in ids}
    newest = table.current_snapshot()
    return known | {newest.snapshot_id} if newest is not None else known


def _holding(table: "Table", snapshots: Iterable[int], wanted: Mapping[str, pa.Scalar]) -> dict[int, dict[str, pa.Table]]:
    """Snapshot -> file -> matching rows; a file that several snapshots share is read once."""
    matching: dict[str, pa.Table] = {}
    holding: dict[int, dict[str, pa.Table]] = {}
    for snapshot_id in sorted(snapshots):
        for file in day_files(table, snapshot_id=snapshot_id):
            if file.path not in matching:
                matching[file.path] = _matching(file.path, wanted) if file.rows else pa.table({})
            if matching[file.path].num_rows:
                holding.setdefault(snapshot_id, {})[file.path] = matching[file.path]
    return holding


def _shown(tables: Iterable[pa.Table], columns: Sequence[str]) -> list[JsonObject]:
    """The first rows as people read them: their day, and the columns that name them."""
    rows = [row for table in tables for row in table.to_pylist()][:_MOST]
    return [{"day": _text(row.get(DAY)), "row": {name: _text(row[name]) for name in columns if name in row}} for row in rows]


def _wanted(table: "Table", key: Mapping[str, str]) -> dict[str, pa.Scalar]:
    schema = table.schema().as_arrow()
    if not key:
        raise ConfigurationError("a row is named by values of its key columns", hint="such as --key flight=1545 --key day=3")
    found = {}
    for column, value in key.items():
        if column not in schema.names:
            raise ConfigurationError(f"the table has no column {column!r}", hint=f"its columns: {', '.join(schema.names)}")
        kind = schema.field(column).type
        kind = pa.string() if pa.types.is_large_string(kind) else kind
        try:
            found[column] = pa.scalar(value).cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ConfigurationError(f"{value!r} is no value of column {column} of type {kind}", hint=str(error)) from error
    return found


def _matching(path: str, wanted: Mapping[str, pa.Scalar]) -> pa.Table:
    """The rows of a file that have these values."""
    with open_parquet(path.removeprefix("file://")) as file:
        parts = []
        for index in range(file.num_row_groups):
            # The key columns alone first: most row groups have no such row, and the rest of them is not read.
            keys = file.read_row_group(index, columns=list(wanted))
            mask = None
            for column, value in wanted.items():
                same = pc.equal(keys.column(column), value)
                mask = same if mask is None else pc.and_(mask, same)
            # A comparison with null is null, and a row without a key is not the one that is looked for.
            mask = pc.fill_null(mask, False)
            if pc.any(mask).as_py():
                parts.append(file.read_row_group(index).filter(mask))
        return pa.concat_tables(parts) if parts else pa.table({})


def _roles(
    settings: Settings, problem: str, version: str, entry: Entry, holding: Mapping[int, Mapping[str, pa.Table]]
) -> list[dict[str, object]]:
    """What the rows were for one version."""
    lineage = entry.payload.get("lineage") or {}
    identity = lineage.get("snapshot_id")
    described = _problem_then(settings, problem, entry)
    found: list[JsonObject] = []
    for rows in holding.get(int(identity) if identity else 0, {}).values():
        for day, role in _days_and_roles(described, rows, lineage):
            row = {
                "problem": problem,
                "version": version,
                **{name: entry.payload[name] for name in ("semantic", "cutoff", "digest")},
                "snapshot_id": identity,
                "day": day,
                "role": role,
            }
            if row not in found:
                found.append(row)
    return found


def _days_and_roles(described: Problem | None, rows: pa.Table, lineage: JsonMapping) -> list[tuple[str, str]]:
    """Day and role of each row that is in the version's window; without the problem as it was then, the role cannot be told closer."""
    days = [day.isoformat() for day in rows.column(DAY).to_pylist()] if DAY in rows.column_names else [""] * rows.num_rows
    roles = _role(described, rows, str(lineage["end"])) if described else ["in its window"] * rows.num_rows
    start, end = str(lineage["start"]), str(lineage["end"])
    return [(day, role) for day, role in zip(days, roles, strict=True) if not day or start <= day < end]


def _role(problem: Problem, rows: pa.Table, end: str) -> list[str]:
    label = label_of(problem, rows, end)
    label = label.combine_chunks() if isinstance(label, pa.ChunkedArray) else label
    labelled = pc.is_valid(label).to_pylist()
    test = split_of(problem, rows, end).tolist()
    return [
        "in its window, without a label" if not known else "judged by" if judged else "learnt from"
        for known, judged in zip(labelled, test, strict=True)
    ]


def _problem_then(settings: Settings, problem: str, entry: Entry) -> Problem | None:
    """The problem file as the version's own run had it; None if the run left no manifest."""
    try:
        stages = manifest.load(settings, problem, str(entry.run.get("run_id", ""))).stages
    except ConfigurationError:
        return None
    return parse(next(iter(stages.values())).problem)


def _number(item: tuple[str, Entry]) -> tuple[int, str]:
    # Versions are numbers in text: by length first, or 10 would come before 9.
    return len(item[0]), item[0]


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, dt.date | dt.datetime) else value if isinstance(value, int | float | str) else None
