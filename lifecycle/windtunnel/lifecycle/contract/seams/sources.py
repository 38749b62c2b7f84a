"""Sources: the formats that raw rows can come in."""

import dataclasses

from windtunnel.lifecycle.contract.seams.registry import Registry, Row, part

__all__ = ["SOURCES", "SourceRow"]

_HERE = "windtunnel.lifecycle.data.sources"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceRow(Row):
    """One format of a source.

    Attributes:
        read: ``function(problem, piece, settings) -> iterator of Chunk``: the rows of one piece, typed by the problem's schema.
        plan: ``function(problem, window, settings, version) -> list of Unit``: what a window consists of; empty: files at ``source.path``.
        options: a class whose ``of(values, where)`` checks ``source.options`` and whose fields are their names; empty: it has none.
        needs: fields of ``source``, one of which must be there.
    """

    read: str = part()
    plan: str = part("")
    options: str = part("")
    needs: tuple[str, ...] = ("path",)


_TEXT = "windtunnel.lifecycle.contract.source_options:TextOptions"

SOURCES = Registry(
    "sources",
    "a format of sources",
    SourceRow,
    [
        SourceRow(name="csv", summary="delimited text", read=f"{_HERE}.text.delimited:read_delimited", options=_TEXT),
        SourceRow(name="parquet", summary="Apache Parquet files", read=f"{_HERE}.columnar:read_parquet"),
        SourceRow(name="jsonl", summary="one JSON object a line", read=f"{_HERE}.text.lines:read_lines", options=_TEXT),
        SourceRow(name="arrow", summary="Arrow IPC files and streams", read=f"{_HERE}.columnar:read_arrow"),
        SourceRow(
            name="iceberg",
            summary="an Apache Iceberg table",
            read=f"{_HERE}.columnar:read_parquet",
            plan=f"{_HERE}.plan:plan_iceberg",
            needs=("table",),
        ),
        SourceRow(
            name="sql",
            summary="a table or query of a database",
            read=f"{_HERE}.database:read_query",
            plan=f"{_HERE}.plan:plan_sql",
            options="windtunnel.lifecycle.contract.source_options:QueryOptions",
            needs=("table", "query"),
        ),
        SourceRow(
            name="python",
            summary="a function that yields Arrow batches",
            read=f"{_HERE}.generator:read_generator",
            plan=f"{_HERE}.plan:plan_python",
            needs=("generator",),
        ),
    ],
)
"""All formats."""
