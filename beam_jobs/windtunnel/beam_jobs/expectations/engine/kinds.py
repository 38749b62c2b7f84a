"""The kinds of Great Expectations' metrics, by their names: what each needs to be answered."""

from windtunnel.beam_jobs.expectations.engine.calls import CONDITION
from windtunnel.lifecycle.contract.seams.expectations import conditions

__all__ = ["ALONE", "COUNT", "FILTERED", "IN_ORDER", "LISTS", "MOMENTS", "ONE_ROW_AT_A_TIME", "SCHEMA"]

ONE_ROW_AT_A_TIME = {f"{name}{CONDITION}" for name in conditions("row")}
"""Conditions whose answer for a row depends on that row alone."""

ALONE = {f"{name}{CONDITION}" for name in conditions("alone")}
IN_ORDER = {f"{name}{CONDITION}" for name in conditions("order")}
MOMENTS = {"column.sum", "column.mean", "column.standard_deviation"}
SCHEMA = {"table.columns", "table.column_types", "table.column_count"}
COUNT = ".unexpected_count"
FILTERED = ".filtered_row_count"
LISTS = (".unexpected_values", ".unexpected_index_list", ".unexpected_index_query", ".unexpected_rows")
