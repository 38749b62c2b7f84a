"""Quality over time: what every day of a problem's table was like, in one table of days, columns and measures.

A day's measures are one file, named by the version of the day that they are of: a day that is profiled again leaves the same row once, a
day that was ingested again replaces its own, and a run over an older version of a day writes nothing.
"""

import datetime as dt
import math
from collections.abc import Mapping, Sequence

import pyarrow as pa

from windtunnel.lifecycle.contract.errors import UnavailableError
from windtunnel.lifecycle.contract.fingerprint import fingerprint
from windtunnel.lifecycle.contract.references import SnapshotRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.days import DayFile, day_files, day_path, replace_days
from windtunnel.lifecycle.data.parquet import batches, write_file
from windtunnel.lifecycle.data.rows import DAY
from windtunnel.lifecycle.data.tables import existing, open_table, table_name
from windtunnel.lifecycle.statistics.column import ColumnStatistics
from windtunnel.lifecycle.statistics.summary import quantiles
from windtunnel.lifecycle.statistics.table import TableStatistics

__all__ = ["TABLE", "Measures", "Recorder", "history", "measures_of"]

Measures = dict[str, dict[str, float]]
"""Of one day: column -> measure -> value; the empty column is the whole table."""

TABLE = "quality"
_PROTOCOL = 1
_FEW = 20
_SCHEMA = pa.schema([("column", pa.string()), ("measure", pa.string()), ("value", pa.float64()), (DAY, pa.date32())])


def measures_of(statistics: TableStatistics, quarantined: int = 0) -> Measures:
    """The measures of some rows.

    Example:
        >>> table = TableStatistics()
        >>> table.add_batch(pa.record_batch({"x": [1.0, 3.0, None, 5.0]}))
        >>> found = measures_of(table, quarantined=1)
        >>> found[""], found["x"]["missing"], found["x"]["mean"]
        ({'rows': 4.0, 'quarantined': 1.0}, 0.25, 3.0)
    """
    found: Measures = {"": {"rows": float(statistics.rows), "quarantined": float(quarantined)}}
    for name, column in statistics.columns.items():
        if name != DAY and column.rows:
            found[name] = {measure: value for measure, value in _column(column).items() if math.isfinite(value)}
    return found


def _column(column: ColumnStatistics) -> dict[str, float]:
    """Shares of rows, and where the values lie; moments in time move by their nature and have no place."""
    moments = column.measured()
    odd = moments.nans if column.family == "number" else 0
    found = {"missing": (column.nulls + odd) / column.rows}
    if column.family == "other" or not column.count:
        return found
    counts = column.counts
    found["top"] = float(counts.max()) / column.count if len(counts) else 0.0
    if column.family == "text":
        return found | {"length": moments.mean, "empty": moments.zeros / column.count}
    if column.family in {"number", "bool"}:
        found |= {"mean": moments.mean, "zero": moments.zeros / column.count, "infinite": moments.infinites / column.count}
        found["deviation"] = math.sqrt(max(moments.variance or 0.0, 0.0))
        if not column.exact or len(column.values) > _FEW:  # of few values a quantile is one or another by chance
            found |= dict(zip(("low", "median", "high"), quantiles(column, (0.05, 0.5, 0.95)), strict=False))
    return found


class Recorder:
    """Takes the statistics of a snapshot's days as they come, and records those that are not recorded yet.

    Args:
        settings: name the catalog.
        snapshot: a version of the problem's own table; of another table nothing is recorded.
    """

    def __init__(self, settings: Settings, snapshot: SnapshotRef) -> None:
        self._settings, self._problem = settings, snapshot.table.rpartition(".")[0]
        self._versions = self._lacking(snapshot)
        self._found: dict[str, TableStatistics] = {}

    def _lacking(self, snapshot: SnapshotRef) -> dict[str, tuple[str, int]]:
        """The days that are not recorded in the version that the table has now: their version, and their quarantined rows."""
        table = existing(self._settings, snapshot.table)
        if table is None or DAY not in table.schema().column_names or snapshot.table != table_name(self._problem, "examples"):
            return {}
        seen = _by_day(day_files(table, snapshot.start, snapshot.end, snapshot_id=snapshot.snapshot_id))
        now = _by_day(day_files(table, snapshot.start, snapshot.end))
        aside, kept = self._beside("quarantine", snapshot), self._beside(TABLE, snapshot)
        found = {}
        for day, files in seen.items():
            quarantined = sum(file.rows for file in aside.get(day, []))
            # With the protocol: once other measures are taken, every day is recorded anew.
            version = fingerprint([_PROTOCOL, day, [(file.digest, file.part, file.rows) for file in files], quarantined])
            if files == now.get(day) and version not in {file.digest for file in kept.get(day, [])}:
                found[day] = (version, quarantined)
        return found

    def _beside(self, kind: str, snapshot: SnapshotRef) -> dict[str, list[DayFile]]:
        """The days of another table of the problem."""
        table = existing(self._settings, table_name(self._problem, kind))
        return _by_day(day_files(table, snapshot.start, snapshot.end)) if table is not None else {}

    def add(self, day: str, statistics: TableStatistics) -> None:
        """Some rows of a day (ISO)."""
        if day in self._versions:
            # Without a sample of rows: no measure is taken from one.
            self._found.setdefault(day, TableStatistics(sample=0)).merge(statistics)

    def finish(self) -> int:
        """Record the days; answers how many."""
        if not self._versions:
            return 0
        table = open_table(self._settings, table_name(self._problem, TABLE), _SCHEMA)
        days: dict[str, list[str]] = {}
        for day, (version, quarantined) in self._versions.items():
            found = measures_of(self._found.get(day) or TableStatistics(sample=0), quarantined)
            path = day_path(table, day, version, 0)
            write_file(path.rpartition("/")[0], [_rows(day, found)], _SCHEMA, lambda path=path: path)  # type: ignore[misc]
            days[day] = [path]
        replace_days(self._settings, ".".join(table.name()), days)
        return len(days)


def _by_day(files: Sequence[DayFile]) -> dict[str, list[DayFile]]:
    found: dict[str, list[DayFile]] = {}
    for file in files:
        found.setdefault(file.day, []).append(file)
    return found


def _rows(day: str, found: Measures) -> pa.Table:
    entries = [(column, measure, value) for column, values in found.items() for measure, value in values.items()]
    columns, measures, values = zip(*entries, strict=True)
    days = pa.array([dt.date.fromisoformat(day)] * len(entries), pa.date32())
    return pa.table([pa.array(columns), pa.array(measures), pa.array(values, pa.float64()), days], schema=_SCHEMA)


def history(settings: Settings, problem: str, days: int = 0) -> Mapping[str, Measures]:
    """The measures of every recorded day, ISO, the oldest first.

    Args:
        settings: name the catalog.
        problem: whose table.
        days: only so many, the newest; 0 for all.

    Raises:
        UnavailableError: nothing was recorded of such a problem.
    """
    table = existing(settings, table_name(problem, TABLE))
    files = day_files(table) if table is not None else []
    if not files:
        raise UnavailableError(f"nothing is recorded of the quality of {problem!r}", hint="its profile stage records it: run its DAG first")
    wanted = sorted({file.day for file in files})
    found: dict[str, Measures] = {day: {} for day in (wanted[-days:] if days else wanted)}
    for batch in batches([file.path for file in files if file.day in found]):
        _gather(batch, found)
    return found


def _gather(batch: pa.RecordBatch, found: Mapping[str, Measures]) -> None:
    for row in batch.to_pylist():
        found[row[DAY].isoformat()].setdefault(row["column"], {})[row["measure"]] = row["value"]
