"""Cases for every expectation type of GX core that its pandas engine supports, on a table of many types."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa


def table() -> pa.Table:
    none = None
    return pa.table(
        {
            "whole": pa.array([3, 1, 2, 2, 5, 8, 3], pa.int64()),
            "holes": pa.array([1, none, 2, 2, none, 9, 4], pa.int64()),
            "small": pa.array([1, 2, 3, 4, 5, 6, 7], pa.int32()),
            "real": pa.array([1.5, 0.5, 0.5, float("nan"), 2.25, none, 1e9], pa.float64()),
            "zeros": pa.array([-0.0, 0.0, 1.0, none, 2.0, 3.0, 4.0], pa.float64()),
            "single": pa.array([0.1, 0.2, 0.3, none, 0.1, 0.7, 0.9], pa.float32()),
            "word": pa.array(["a", "b", none, "a", "ü☃", "", "zz9"], pa.string()),
            "full": pa.array(["x1", "x2", "x3", "x3", "x5", "x6", "x7"], pa.string()),
            "flag": pa.array([True, False, True, True, False, True, True], pa.bool_()),
            "maybe": pa.array([True, none, True, False, False, none, True], pa.bool_()),
            "day": pa.array([dt.date(2020, 1, d) for d in (1, 2, 3, 3, 5, 6, 7)], pa.date32()),
            "time": pa.array([dt.datetime(2020, 1, d, 3) for d in (1, 2, 3, 3, 5, 6)] + [none], pa.timestamp("us")),  # noqa: DTZ001 - times without a zone
            "nano": pa.array([dt.datetime(2020, 1, d, 3) for d in (1, 2, 3, 3, 5, 6, 7)], pa.timestamp("ns")),  # noqa: DTZ001 - times without a zone
            "zone": pa.array([dt.datetime(2020, 1, d, 3, tzinfo=dt.UTC) for d in (1, 2, 3, 3, 5, 6, 7)], pa.timestamp("us", tz="UTC")),
            "money": pa.array(
                [Decimal("1.10"), Decimal("2.20"), none, Decimal("2.20"), Decimal("-3.00"), Decimal("5.55"), Decimal("0.00")]
            ),
            "empty": pa.array([none] * 7, pa.float64()),
            "nothing": pa.array([none] * 7, pa.string()),
            "json": pa.array(['{"a": 1}', '{"a": "x"}', "[]", "no", none, "1", '{"a": 2}'], pa.string()),
            "date_text": pa.array(["2020-01-01", "2020-02-30", none, "01/02/2020", "x", "2021-12-31", "2020-06-06"], pa.string()),
            "list": pa.array([[1], [2, 3], none, [], [1], [4], [5]], pa.list_(pa.int64())),
            "up": pa.array([1, 2, 2, none, 3, 4, 3], pa.float64()),
            "down": pa.array([9, 8, 8, 7, 5, 4, 1], pa.int64()),
        }
    )


COLUMNS = table().schema.names
NUMBERS = ["whole", "holes", "small", "real", "single", "up", "down", "empty", "maybe", "flag", "money", "word", "time", "day", "nowhere"]


def _for(columns: list[str], kind: str, *options: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": kind, "kwargs": {"column": column, **option}} for column in columns for option in options or ({},)]


def cases() -> list[dict[str, Any]]:  # noqa: PLR0915 - a list of cases
    every = [*COLUMNS, "nowhere"]
    plain = [name for name in COLUMNS if name != "list"]
    texts = ["word", "full", "holes", "real", "json", "date_text", "nothing", "day", "maybe"]
    sets = {
        "whole": [1, 2, 3],
        "holes": [1, 2],
        "real": [0, 1.5],
        "word": ["a", "b", "ü☃"],
        "full": ["x1"],
        "flag": [True],
        "maybe": [True],
        "nano": ["2020-01-01T03:00:00"],
        "day": ["2020-01-01"],
        "empty": [1.0],
        "nothing": ["a"],
        "money": [1],
        "single": [0.1],
    }
    found: list[dict[str, Any]] = []
    for kind in ("max", "min", "mean", "median", "stdev", "sum", "unique_value_count"):
        name = f"expect_column_{kind}_to_be_between"
        found += _for(NUMBERS, name, {"min_value": 1, "max_value": 3}, {"min_value": 2, "strict_min": True})
    moments = {"min_value": "2020-01-02T00:00:00", "max_value": "2020-01-09T00:00:00"}
    found += _for(["time", "nano"], "expect_column_max_to_be_between", moments)
    found += _for(["time", "nano"], "expect_column_min_to_be_between", moments)
    found += _for(NUMBERS, "expect_column_proportion_of_unique_values_to_be_between", {"min_value": 0.5, "max_value": 1})
    found += _for(every, "expect_column_proportion_of_non_null_values_to_be_between", {"min_value": 0.9})
    for method in (None, "linear", "lower", "higher", "midpoint", "nearest"):
        ranges = {"quantiles": [0.0, 0.05, 0.33, 0.5, 0.77, 1.0], "value_ranges": [[0, 3], [None, 2], [1, 5], [0, None], [2, 9], [1, 9]]}
        more = {"allow_relative_error": method} if method else {}
        found += _for(NUMBERS, "expect_column_quantile_values_to_be_between", {"quantile_ranges": ranges, **more})
    found += _for(NUMBERS, "expect_column_value_z_scores_to_be_less_than", *({"threshold": 1.1, "double_sided": d} for d in (True, False)))
    found += _for(NUMBERS, "expect_column_values_to_not_be_outliers", *({"method": m, "multiplier": 1.5} for m in ("iqr", "std")))
    found += _for(
        ["whole", "holes", "real", "single", "small", "up", "empty", "money", "word"],
        "expect_column_values_to_be_between",
        {"min_value": 1, "max_value": 3},
        {"max_value": 2, "strict_max": True, "mostly": 0.5},
        {"min_value": 2, "max_value": 1},
    )
    found += _for(["nano", "zone"], "expect_column_values_to_be_between", {"min_value": "2020-01-02T00:00:00", "max_value": "2020-01-05"})
    for kind in ("increasing", "decreasing"):
        columns = ["whole", "holes", "up", "down", "real", "time", "nano", "empty", "word", "money", "small", "flag", "nowhere"]
        found += _for(columns, f"expect_column_values_to_be_{kind}", {}, {"strictly": True}, {"mostly": 0.3})
    for column, values in {**sets, "nowhere": [1]}.items():
        for kind in (
            "values_to_be_in_set",
            "values_to_not_be_in_set",
            "distinct_values_to_be_in_set",
            "distinct_values_to_contain_set",
            "distinct_values_to_equal_set",
            "most_common_value_to_be_in_set",
        ):
            found += _for([column], f"expect_column_{kind}", {"value_set": values})
        found += _for([column], "expect_column_values_to_be_in_set", {"value_set": values, "mostly": 0.3}, {"value_set": []})
        found += _for([column], "expect_column_most_common_value_to_be_in_set", {"value_set": values, "ties_okay": True})
    for kind in ("int", "float", "str", "int64", "float64", "datetime", "date", "Decimal", "bool", "object", "list", "strange"):
        found += _for(
            ["whole", "holes", "word", "day", "money", "list", "maybe", "flag", "time", "nothing"],
            "expect_column_values_to_be_of_type",
            {"type_": kind},
        )
    found += _for(
        plain,
        "expect_column_values_to_be_in_type_list",
        {"type_list": ["int", "str"]},
        {"type_list": ["float64", "datetime64"]},
        {"type_list": None},
    )
    found += _for(every, "expect_column_type_to_be", {"type_": "int64"}, {"type_": "str"}, {"type_": "object"}, {"type_": "datetime64[us]"})
    found += _for(every, "expect_column_to_exist", {}, {"column_index": 1})
    found += _for(every, "expect_column_values_to_be_null", {}, {"mostly": 0.1})
    found += _for(every, "expect_column_values_to_not_be_null", {}, {"mostly": 0.8})
    found += _for(every, "expect_column_values_to_be_unique", {}, {"mostly": 0.5})
    found += _for(
        texts, "expect_column_value_lengths_to_be_between", {"min_value": 1, "max_value": 2}, {"min_value": 2, "strict_min": True}
    )
    found += _for(texts, "expect_column_value_lengths_to_equal", {"value": 1})
    found += _for(texts, "expect_column_values_to_match_regex", {"regex": "^[a-z]"}, {"regex": "^[a-z]", "mostly": 0.4})
    found += _for(texts, "expect_column_values_to_not_match_regex", {"regex": "^[a-z]"})
    found += _for(
        texts,
        "expect_column_values_to_match_regex_list",
        {"regex_list": ["a", "x"], "match_on": "any"},
        {"regex_list": ["x", "[0-9]"], "match_on": "all"},
    )
    found += _for(texts, "expect_column_values_to_not_match_regex_list", {"regex_list": ["a", "5"]})
    found += _for(texts, "expect_column_values_to_be_dateutil_parseable")
    found += _for(texts, "expect_column_values_to_match_strftime_format", {"strftime_format": "%Y-%m-%d"})
    found += _for(texts, "expect_column_values_to_be_json_parseable")
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    found += _for(["json", "word", "nothing"], "expect_column_values_to_match_json_schema", {"json_schema": schema})
    partition = {"bins": [0, 2, 4, 10], "weights": [0.3, 0.4, 0.3]}
    found += _for(
        ["whole", "real", "holes", "up"], "expect_column_kl_divergence_to_be_less_than", {"partition_object": partition, "threshold": 0.5}
    )
    found += _for(
        ["whole", "real"],
        "expect_column_kl_divergence_to_be_less_than",
        {"partition_object": {"bins": [0, 2, 4], "weights": [0.4, 0.4], "tail_weights": [0.1, 0.1]}, "threshold": 5},
    )
    category = {"values": ["a", "b", "ü☃"], "weights": [0.5, 0.3, 0.2]}
    found += _for(
        ["word"],
        "expect_column_kl_divergence_to_be_less_than",
        {"partition_object": category, "threshold": 0.5},
        {"partition_object": category, "threshold": None, "tail_weight_holdout": 0.01, "internal_weight_holdout": 0.01},
    )
    for missing in ("neither", "both_values_are_missing", "either_value_is_missing"):
        for left, right in (
            ("whole", "holes"),
            ("up", "down"),
            ("word", "full"),
            ("real", "single"),
            ("time", "nano"),
            ("word", "whole"),
            ("whole", "nowhere"),
        ):
            pair = {"column_A": left, "column_B": right, "ignore_row_if": missing}
            found += [
                {"type": "expect_column_pair_values_a_to_be_greater_than_b", "kwargs": pair},
                {"type": "expect_column_pair_values_a_to_be_greater_than_b", "kwargs": {**pair, "or_equal": True}},
                {"type": "expect_column_pair_values_to_be_equal", "kwargs": {**pair, "mostly": 0.5}},
                {"type": "expect_column_pair_values_to_be_in_set", "kwargs": {**pair, "value_pairs_set": [[3, 1], [2, 2], ["a", "x1"]]}},
            ]
    for missing in ("never", "all_values_are_missing", "any_value_is_missing"):
        for columns in (
            ["whole", "holes"],
            ["whole", "holes", "small"],
            ["word", "full"],
            ["real", "up"],
            ["whole", "nowhere"],
            ["day", "whole"],
        ):
            many = {"column_list": columns, "ignore_row_if": missing}
            found += [
                {"type": "expect_compound_columns_to_be_unique", "kwargs": many},
                {"type": "expect_select_column_values_to_be_unique_within_record", "kwargs": many},
                {"type": "expect_multicolumn_sum_to_equal", "kwargs": {**many, "sum_total": 4}},
                {"type": "expect_multicolumn_values_to_be_equal", "kwargs": many},
            ]
    found += [
        {"type": "expect_table_row_count_to_equal", "kwargs": {"value": 7}},
        {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 8}},
        {"type": "expect_table_column_count_to_equal", "kwargs": {"value": 3}},
        {"type": "expect_table_column_count_to_be_between", "kwargs": {"min_value": 1, "max_value": 90}},
        {"type": "expect_table_columns_to_match_ordered_list", "kwargs": {"column_list": COLUMNS}},
        {"type": "expect_table_columns_to_match_ordered_list", "kwargs": {"column_list": ["b", "a"]}},
        {"type": "expect_table_columns_to_match_set", "kwargs": {"column_set": ["a", "word"], "exact_match": False}},
    ]
    return found


def conditioned() -> list[dict[str, Any]]:
    """Cases with row conditions, in every form that GX has."""
    forms: list[dict[str, Any]] = [
        {"row_condition": "whole > 2", "condition_parser": "pandas"},
        {"row_condition": "word == 'a' or holes.isnull()", "condition_parser": "pandas"},
        {"row_condition": "index > 2", "condition_parser": "pandas"},
        {"row_condition": "whole > 99", "condition_parser": "pandas"},
        {"row_condition": "whole >", "condition_parser": "pandas"},
        {"row_condition": "elsewhere == 1", "condition_parser": "pandas"},
        {"row_condition": {"type": "comparison", "column": {"name": "small"}, "operator": "<=", "parameter": 4}},
        {"row_condition": {"type": "nullity", "column": {"name": "word"}, "is_null": False}},
    ]
    base: list[dict[str, Any]] = [
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "holes", "min_value": 2}},
        {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "word", "value_set": ["a"]}},
        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "whole"}},
        {"type": "expect_column_values_to_be_increasing", "kwargs": {"column": "up"}},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "holes"}},
        {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "real", "min_value": 0}},
        {"type": "expect_column_stdev_to_be_between", "kwargs": {"column": "up", "min_value": 0}},
        {"type": "expect_column_max_to_be_between", "kwargs": {"column": "whole", "max_value": 3}},
        {"type": "expect_column_median_to_be_between", "kwargs": {"column": "whole", "max_value": 3}},
        {"type": "expect_column_unique_value_count_to_be_between", "kwargs": {"column": "word", "max_value": 1}},
        {"type": "expect_column_distinct_values_to_be_in_set", "kwargs": {"column": "word", "value_set": ["a"]}},
        {"type": "expect_column_pair_values_a_to_be_greater_than_b", "kwargs": {"column_A": "whole", "column_B": "holes"}},
        {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["whole", "full"]}},
        {"type": "expect_multicolumn_sum_to_equal", "kwargs": {"column_list": ["whole", "small"], "sum_total": 4}},
        {"type": "expect_column_value_z_scores_to_be_less_than", "kwargs": {"column": "whole", "threshold": 1, "double_sided": True}},
        {"type": "expect_table_row_count_to_equal", "kwargs": {"value": 3}},
    ]
    return [{"type": case["type"], "kwargs": {**case["kwargs"], **form}} for form in forms for case in base]
