"""The names of versions of data under one roof, for those who import them from here; the rooms are catalog, tables, days and pins."""

from windtunnel.lifecycle.data.catalog import catalog
from windtunnel.lifecycle.data.days import UNKNOWN_DAY, DayFile, content_fingerprint, day_files, day_of, day_path, replace_days
from windtunnel.lifecycle.data.pins import files, pin, table_files
from windtunnel.lifecycle.data.tables import load_table, open_table, table_name

__all__ = [
    "UNKNOWN_DAY",
    "DayFile",
    "catalog",
    "content_fingerprint",
    "day_files",
    "day_of",
    "day_path",
    "files",
    "load_table",
    "open_table",
    "pin",
    "replace_days",
    "table_files",
    "table_name",
]
