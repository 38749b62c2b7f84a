"""The Beam route gives what the in-process route gives, also when bundles run twice or workers are processes of their own."""

import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.beam_jobs.expectations.job import run
from windtunnel.beam_jobs.job import Progress

SUITE = {
    "name": "s",
    "expectations": [
        {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "word", "value_set": ["w1", "w2"]}},
        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "whole"}},
        {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["word", "whole"]}},
        {"type": "expect_column_unique_value_count_to_be_between", "kwargs": {"column": "whole", "max_value": 3}},
        {"type": "expect_column_median_to_be_between", "kwargs": {"column": "real", "max_value": 3}},
        {"type": "expect_column_stdev_to_be_between", "kwargs": {"column": "real", "max_value": 3}},
        {"type": "expect_column_values_to_be_increasing", "kwargs": {"column": "whole"}},
        {"type": "expect_column_pair_values_a_to_be_greater_than_b", "kwargs": {"column_A": "real", "column_B": "whole"}},
    ],
}


@pytest.fixture
def data(tmp_path):
    table = pa.table(
        {"word": [f"w{i % 7}" for i in range(500)], "whole": [i // 2 for i in range(500)], "real": [i / 7 for i in range(500)]}
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=60)
    pq.write_table(table, tmp_path / "b.parquet", row_group_size=70)
    return str(tmp_path)


def _results(spec):
    found = run({"suite": SUITE, "result_format": "COMPLETE", **spec}, Progress())
    return sorted(
        json.dumps({k: entry[k] for k in ("success", "result", "expectation_config")}, sort_keys=True) for entry in found["results"]
    )


@pytest.mark.parametrize(
    "options",
    [
        {"runner": "in-process"},
        {"runner_options": "--direct_runner_bundle_repeat=1"},
        pytest.param({"workers": 2}, marks=pytest.mark.slow),
        {"runner": "in-process", "distinct_limit": 5},
    ],
)
def test_the_same_results(data, options):
    assert _results({"data": data, **options}) == _results({"data": data})


def test_as_a_command(data, tmp_path):
    spec, result = tmp_path / "spec.json", tmp_path / "result.json"
    spec.write_text(json.dumps({"suite": SUITE, "data": data}), encoding="utf-8")
    command = [sys.executable, "-m", "windtunnel.beam_jobs.expectations", "--spec", str(spec), "--result", str(result)]
    subprocess.run(command, check=True, timeout=120)
    assert json.loads(result.read_text(encoding="utf-8"))["statistics"]["evaluated_expectations"] == 8
    spec.write_text(json.dumps({"suite": SUITE, "data": str(tmp_path / "none.parquet")}), encoding="utf-8")
    assert subprocess.run(command, check=False, timeout=120).returncode == 1
    assert json.loads(result.read_text(encoding="utf-8"))["error"]["type"] == "UnavailableError"
