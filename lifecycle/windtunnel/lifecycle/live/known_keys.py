"""Which keys name a row that is known: one of the examples, or one that was predicted."""

from collections.abc import Iterator

import pyarrow as pa

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.days import day_files
from windtunnel.lifecycle.data.parquet import batches
from windtunnel.lifecycle.data.schema import arrow_type
from windtunnel.lifecycle.data.tables import existing, table_name
from windtunnel.lifecycle.live.inputs import inputs_of

__all__ = ["split_by_known_key"]

_ROW = "__row"


def split_by_known_key(problem: Problem, rows: pa.Table, settings: Settings) -> tuple[pa.Table, pa.Table]:
    """Rows whose key some example or some logged answer has, and the others; memory grows with these rows, not with the tables.

    Args:
        problem: names the keys.
        rows: have the key columns.
        settings: name the catalog.

    Returns:
        the rows with a known key and those without, each in their order. Where there is neither a table of examples nor one of
        predictions nobody can tell, and every key counts as known.
    """
    waiting = rows.select(problem.keys).append_column(_ROW, pa.array(range(rows.num_rows), pa.int64()))
    told = False
    for keys in _keys(problem, settings):
        told = True
        waiting = waiting.join(keys.group_by(problem.keys).aggregate([]), problem.keys, join_type="left anti")
        if not waiting.num_rows:
            break
    if not told:
        return rows, rows.slice(0, 0)
    unknown = set(waiting[_ROW].to_pylist())
    mask = pa.array([row in unknown for row in range(rows.num_rows)], pa.bool_())
    return rows.filter(pa.array([row not in unknown for row in range(rows.num_rows)], pa.bool_())), rows.filter(mask)


def _keys(problem: Problem, settings: Settings) -> Iterator[pa.Table]:
    """The keys of the examples and of the answers, bit by bit, in the problem's types."""
    kinds = pa.schema([pa.field(name, arrow_type(problem.columns[name])) for name in problem.keys])
    for kind in ("examples", "predictions"):
        table = existing(settings, table_name(problem, kind))
        if table is None:
            continue
        paths = [entry.path for entry in day_files(table) if entry.rows]
        for batch in batches(paths, problem.keys if kind == "examples" else None):
            if kind == "predictions":
                yield inputs_of(problem, batch).select(problem.keys)
            else:
                yield pa.Table.from_batches([batch]).select(problem.keys).cast(kinds)
