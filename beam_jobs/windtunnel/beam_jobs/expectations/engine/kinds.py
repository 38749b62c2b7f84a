"""The kinds of Great Expectations' metrics, by their names: what each needs to be answered."""

from windtunnel.beam_jobs.expectations.engine.calls import CONDITION

__all__ = ["ALONE", "COUNT", "FILTERED", "IN_ORDER", "LISTS", "MOMENTS", "ONE_ROW_AT_A_TIME", "SCHEMA"]

ONE_ROW_AT_A_TIME = {
    f"{name}{CONDITION}"
    for name in (
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
}
"""Conditions whose answer for a row depends on that row alone. Add the name of your own condition to spare it the whole column."""

ALONE = {f"column_values.unique{CONDITION}", f"compound_columns.unique{CONDITION}"}
IN_ORDER = {f"column_values.increasing{CONDITION}", f"column_values.decreasing{CONDITION}"}
MOMENTS = {"column.sum", "column.mean", "column.standard_deviation"}
SCHEMA = {"table.columns", "table.column_types", "table.column_count"}
COUNT = ".unexpected_count"
FILTERED = ".filtered_row_count"
LISTS = (".unexpected_values", ".unexpected_index_list", ".unexpected_index_query", ".unexpected_rows")
