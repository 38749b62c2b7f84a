"""Every expectation type gives what GX's pandas engine gives, with chunks of 2 and 3 rows, in memory and spilled to disk."""

import importlib.util
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def _here(name):
    """A helper module of this folder: tests are imported by path, not as a package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


both, cases = _here("both"), _here("cases")
BATCH = 24  # GX resolves a suite again and again for every metric that fails
ALL = [*cases.cases(), *cases.conditioned()]
BATCHES = [ALL[i : i + BATCH] for i in range(0, len(ALL), BATCH)]


@pytest.fixture(scope="session")
def path(tmp_path_factory):
    place = tmp_path_factory.mktemp("cases") / "cases.parquet"
    pq.write_table(cases.table(), place, row_group_size=4)
    return place


def test_every_type_that_pandas_supports_has_a_case():
    from great_expectations.expectations import core

    names = {"".join(f"_{c.lower()}" if c.isupper() else c for c in n).strip("_") for n in core.__dict__ if n.startswith("Expect")}
    elsewhere = {
        n
        for n in names
        if "like_pattern" in n or "query" in n or "other_table" in n or "ks_test" in n or "chisquare" in n or "cramers" in n
    }
    tested = {case["type"] for case in ALL}
    numbered = {"expect_column_pair_values_a_to_be_greater_than_b", "expect_column_value_z_scores_to_be_less_than"}
    missing = {n for n in names - elsewhere - tested if not any(n.replace("_", "") == t.replace("_", "") for t in tested | numbered)}
    assert missing <= {"expect_multicolumn_values_to_be_unique"}, missing


@pytest.mark.parametrize("number", range(0, len(BATCHES), 6))
def test_some_cases_agree(path, number):
    form = both.FORMATS[number // 6 % 3]
    assert both.differences(path, BATCHES[number], 2 + number % 2, [form]) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(BATCHES)))
def test_all_cases_agree(path, number):
    assert both.differences(path, BATCHES[number], 2 + number % 2, ["COMPLETE"]) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", range(0, len(BATCHES), 2))
def test_cases_agree_when_hardly_a_value_fits_in_memory(path, number):
    assert both.differences(path, BATCHES[number], 2, ["COMPLETE"], distinct_limit=2) == []


@pytest.mark.parametrize(
    "form",
    [
        {"result_format": "COMPLETE", "unexpected_index_column_names": ["small"]},
        {"result_format": "COMPLETE", "unexpected_index_column_names": ["small", "full"], "exclude_unexpected_values": True},
        {"result_format": "COMPLETE", "return_unexpected_index_query": False},
        {"result_format": "SUMMARY", "partial_unexpected_count": 2},
        {"result_format": "BASIC", "partial_unexpected_count": 0},
        {"result_format": "BOOLEAN_ONLY"},
        {"result_format": "COMPLETE", "unexpected_index_column_names": ["elsewhere"]},
    ],
)
def test_result_formats_agree(path, form):
    chosen = [
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "holes", "min_value": 3}},
        {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "word", "value_set": ["a"]}},
        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "whole"}},
        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "zeros"}},
        {"type": "expect_column_values_to_be_increasing", "kwargs": {"column": "up"}},
        {"type": "expect_column_pair_values_to_be_equal", "kwargs": {"column_A": "whole", "column_B": "holes"}},
        {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["whole", "flag"]}},
    ]
    assert both.differences(path, chosen, 2, [form]) == []


@pytest.mark.parametrize(
    "form",
    [
        {"result_format": "COMPLETE", "include_unexpected_rows": True},
        {"result_format": "SUMMARY", "partial_unexpected_count": 230},
        {"result_format": "COMPLETE", "unexpected_index_column_names": ["n"]},
    ],
)
def test_lists_of_hundreds_of_rows_end_where_those_of_pandas_end(tmp_path, form):
    path = tmp_path / "many.parquet"
    n = list(range(500))
    pq.write_table(pa.table({"n": n, "half": [i // 2 for i in n], "word": [f"w{i % 300}" for i in n], "down": n[::-1]}), path)
    chosen = [
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "n", "max_value": 100}},
        {"type": "expect_column_values_to_be_null", "kwargs": {"column": "word"}},
        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "word"}},
        {"type": "expect_column_values_to_be_increasing", "kwargs": {"column": "down"}},
        {"type": "expect_column_pair_values_to_be_equal", "kwargs": {"column_A": "n", "column_B": "half"}},
        {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["half", "half"]}},
        {"type": "expect_multicolumn_sum_to_equal", "kwargs": {"column_list": ["n", "half"], "sum_total": 3}},
    ]
    assert both.differences(path, chosen, 64, [form]) == []
