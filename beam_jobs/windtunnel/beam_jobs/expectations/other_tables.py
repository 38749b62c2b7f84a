"""Expectations about another table, resolved through the catalog: Great Expectations asks a database for it, and files have none."""

from typing import TYPE_CHECKING

from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data import tables
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.lifecycle.quality import suites

if TYPE_CHECKING:
    from pyiceberg.table import Table

__all__ = ["resolved"]

_OTHER = "expect_table_row_count_to_equal_other_table"
_SAME = "expect_table_row_count_to_equal"


def resolved(suite: suites.Suite, settings: Settings) -> suites.Suite:
    """The suite with the rows that other tables of the catalog have now in the place of their names.

    A table that is not in the catalog stays as it is: Great Expectations answers that it cannot be found.

    Args:
        suite: plain data.
        settings: name the catalog.

    Raises:
        UnavailableError: the catalog is out of reach.
    """
    if not settings.catalog_uri or not any(entry["type"] == _OTHER for entry in suite["expectations"]):
        return suite
    return {**suite, "expectations": [_resolved(entry, settings) for entry in suite["expectations"]]}


def _resolved(entry: JsonMapping, settings: Settings) -> JsonObject:
    name = str(entry["kwargs"].get("other_table_name") or "")
    if entry["type"] != _OTHER or name.count(".") != 1:
        return dict(entry)
    table = tables.existing(settings, name)
    if table is None:
        return dict(entry)
    kwargs = {key: value for key, value in entry["kwargs"].items() if key != "other_table_name"}
    return {**entry, "type": _SAME, "kwargs": {**kwargs, "value": _rows(table)}, "meta": {**(entry.get("meta") or {}), "other_table": name}}


def _rows(table: "Table") -> int:
    """What its newest snapshot says; a table without one has none."""
    snapshot = table.current_snapshot()
    summary = snapshot.summary if snapshot is not None else None
    return int(summary["total-records"] or 0) if summary is not None else 0
