"""Statistics of tables of any size in one pass and constant memory, mergeable; exact until a limit, then sketches with stated errors."""

from windtunnel.lifecycle.statistics.column import ColumnStatistics
from windtunnel.lifecycle.statistics.summary import summarize
from windtunnel.lifecycle.statistics.table import TableStatistics

__all__ = ["ColumnStatistics", "TableStatistics", "summarize"]
