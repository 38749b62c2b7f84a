"""Expectations: what each of Great Expectations' conditions needs to be answered beyond memory, and packages that bring their own."""

import dataclasses
from typing import Literal

from windtunnel.lifecycle.contract.naming import imported
from windtunnel.lifecycle.contract.seams.registry import Registry, Row

__all__ = ["EXPECTATIONS", "ConditionRow", "conditions", "import_expectations"]

Reads = Literal["row", "alone", "order"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConditionRow(Row):
    """One condition, by the name of its metric, such as ``column_values.between``.

    Attributes:
        reads: what the answer for a row depends on: ``row``, that row alone; ``alone``, whether other rows have the same values; ``order``,
            the row before it. A condition in no row is given its whole column.
        module: a module to import before a suite is run: it defines the expectation and the metric.
    """

    reads: Reads = "row"
    module: str = ""


_ROW = (
    "column_values.between",
    "column_values.dateutil_parseable",
    "column_values.in_set",
    "column_values.in_type_list",
    "column_values.json_parseable",
    "column_values.match_json_schema",
    "column_values.match_regex",
    "column_values.match_regex_list",
    "column_values.match_strftime_format",
    "column_values.nonnull",
    "column_values.not_in_set",
    "column_values.not_match_regex",
    "column_values.not_match_regex_list",
    "column_values.not_outliers",
    "column_values.null",
    "column_values.of_type",
    "column_values.value_length.between",
    "column_values.value_length.equals",
    "column_values.z_score.under_threshold",
    "column_pair_values.a_greater_than_b",
    "column_pair_values.equal",
    "column_pair_values.in_set",
    "multicolumn_sum.equal",
    "multicolumn_values.equal",
    "select_column_values.unique.within_record",
)

EXPECTATIONS = Registry(
    "expectations",
    "a condition of expectations",
    ConditionRow,
    [
        *(ConditionRow(name=name) for name in _ROW),
        *(ConditionRow(name=name, reads="alone") for name in ("column_values.unique", "compound_columns.unique")),
        *(ConditionRow(name=name, reads="order") for name in ("column_values.increasing", "column_values.decreasing")),
    ],
)
"""All conditions whose needs are known."""


def conditions(reads: Reads) -> set[str]:
    """The names of all conditions that read in this way.

    Example:
        >>> sorted(conditions("order"))
        ['column_values.decreasing', 'column_values.increasing']
    """
    return {row.name for row in EXPECTATIONS if row.reads == reads}


def import_expectations() -> None:
    """Import the modules of all expectations that packages bring, which makes Great Expectations know them.

    Raises:
        ConfigurationError: one cannot be imported.
    """
    for row in EXPECTATIONS:
        if row.module:
            imported(row.module, f"the expectation {row.name!r}")
