"""Statistics that are at hand answer what they can, with the same JSON as a pass and as GX's pandas engine, and nothing is read for it."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.beam_jobs.expectations import run_suite, validate
from windtunnel.beam_jobs.expectations.engine import source
from windtunnel.beam_jobs.expectations.engine.known import load_statistics
from windtunnel.beam_jobs.expectations.proposal import columns_of
from windtunnel.beam_jobs.job import Progress
from windtunnel.cli.main import main
from windtunnel.lifecycle.contract.errors import SourceFormatError
from windtunnel.lifecycle.statistics.table import TableStatistics


def _here(name):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


both, cases = _here("both"), _here("cases")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # row conditions as text


def told(path, limit=1 << 20):
    """The statistics of a file."""
    found = TableStatistics(limit)
    for batch in pq.ParquetFile(path).iter_batches(3):
        found.add_batch(batch)
    return found


@pytest.fixture
def reads(monkeypatch):
    """The columns of every chunk that is read from here on."""
    seen = []
    original = source.Source.chunks

    def chunks(self, columns, *arguments, **options):
        for chunk in original(self, columns, *arguments, **options):
            seen.append(sorted(columns))
            yield chunk

    monkeypatch.setattr(source.Source, "chunks", chunks)
    return seen


def answers(path, entries, form, statistics=None):
    suite = {"name": "s", "expectations": [{**entry, "meta": {"n": n}} for n, entry in enumerate(entries)]}
    found = both.cleaned(run_suite(suite, str(path), result_format=form, batch_rows=2, statistics=statistics))
    return sorted(found["results"], key=lambda entry: entry["expectation_config"]["meta"]["n"])


def on_pandas(path, entries, form):
    suite = {"name": "s", "expectations": [{**entry, "meta": {"n": n}} for n, entry in enumerate(entries)]}
    found = both.on_pandas(path, suite, form)["results"]
    return sorted(found, key=lambda entry: entry["expectation_config"]["meta"]["n"])


def same(left, right):
    for one, other in zip(left, right, strict=True):
        for part in ("success", "result", "exception_info"):
            assert json.dumps(one[part], sort_keys=True) == json.dumps(other[part], sort_keys=True), one["expectation_config"]


TABLE = pa.table(
    {
        "n": [1, 2, 2, 3, None, 7, 7],
        "whole": pa.array([3, 1, 4, 1, 5, 9, 2], pa.int32()),
        "x": [0.5, float("nan"), -1.25, 3.0, None, 8.0, 8.0],
        "steps": [-2.0, 0.0, 5.0, 60.0, None, 5.0, -7.0],
        "word": ["b", "a", "b", "c", None, "é", "b"],
        "flag": [True, False, True, None, True, True, False],
        "day": pd.to_datetime(["2024-01-05", "2024-01-02", None, "2024-03-01", "2024-01-02", "2024-01-02", "2024-02-29"]),
    }
)

ANSWERED = [
    {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}},
    {"type": "expect_table_row_count_to_equal", "kwargs": {"value": 7}},
    {"type": "expect_table_column_count_to_equal", "kwargs": {"value": 7}},
    {"type": "expect_table_columns_to_match_ordered_list", "kwargs": {"column_list": ["n", "whole"]}},
    {"type": "expect_column_to_exist", "kwargs": {"column": "x"}},
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "whole"}},
    {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "whole", "value_set": [1, 2, 3, 4, 5, 9]}},
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "n", "min_value": 0, "max_value": 8}},
    {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "x", "min_value": -2, "row_condition": "x < 5", "condition_parser": "pandas"},
    },
    {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "word", "regex": "^.$"}},
    {"type": "expect_column_value_lengths_to_equal", "kwargs": {"column": "word", "value": 1}},
    {"type": "expect_column_min_to_be_between", "kwargs": {"column": "x", "min_value": 0}},
    {"type": "expect_column_max_to_be_between", "kwargs": {"column": "day", "max_value": "2025-01-01T00:00:00"}},
    {"type": "expect_column_sum_to_be_between", "kwargs": {"column": "whole", "max_value": 20}},
    {"type": "expect_column_sum_to_be_between", "kwargs": {"column": "n", "max_value": 20}},
    {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "steps", "min_value": 1}},
    {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "whole", "min_value": 1}},
    {"type": "expect_column_median_to_be_between", "kwargs": {"column": "x", "min_value": 1}},
    {"type": "expect_column_unique_value_count_to_be_between", "kwargs": {"column": "word", "min_value": 5}},
    {"type": "expect_column_proportion_of_unique_values_to_be_between", "kwargs": {"column": "n", "max_value": 0.5}},
    {"type": "expect_column_distinct_values_to_be_in_set", "kwargs": {"column": "word", "value_set": ["a", "b", "c"]}},
    {"type": "expect_column_distinct_values_to_equal_set", "kwargs": {"column": "flag", "value_set": [True, False]}},
    {"type": "expect_column_most_common_value_to_be_in_set", "kwargs": {"column": "word", "value_set": ["b"]}},
]
READ = [
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "x"}},
    {"type": "expect_column_values_to_be_null", "kwargs": {"column": "n"}},
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "n", "max_value": 2}},
    {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "word", "value_set": ["b"], "mostly": 0.5}},
    {"type": "expect_column_sum_to_be_between", "kwargs": {"column": "x", "max_value": 20}},
    {"type": "expect_column_stdev_to_be_between", "kwargs": {"column": "whole", "max_value": 20}},
    {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "n"}},
    {"type": "expect_column_pair_values_to_be_equal", "kwargs": {"column_A": "n", "column_B": "whole"}},
]


@pytest.fixture
def path(tmp_path):
    place = tmp_path / "t.parquet"
    pq.write_table(TABLE, place)
    return place


@pytest.mark.parametrize("form", both.FORMATS)
def test_a_suite_that_statistics_answer_reads_no_rows(path, reads, form):
    by_pass, theirs = answers(path, ANSWERED, form), on_pandas(path, ANSWERED, form)
    assert reads
    reads.clear()
    ours = answers(path, ANSWERED, form, told(path))
    assert reads == []
    same(ours, by_pass)
    same(ours, theirs)


@pytest.mark.parametrize("form", both.FORMATS)
def test_what_needs_rows_reads_them_and_only_for_that(path, reads, form):
    ours = answers(path, [*ANSWERED, *READ], form, told(path))
    assert reads
    same(ours, answers(path, [*ANSWERED, *READ], form))
    same(ours, on_pandas(path, [*ANSWERED, *READ], form))


def test_of_a_column_with_too_many_values_nulls_and_range_are_known(tmp_path, reads):
    rng = np.random.default_rng(3)
    numbers, words = rng.integers(-900, 900, 400), [f"w{i}" for i in rng.integers(0, 900, 400)]
    path = tmp_path / "many.parquet"
    floats = np.where(np.arange(400) % 9 == 0, np.nan, numbers / 8)
    pq.write_table(pa.table({"n": numbers, "w": [None, *words[1:]], "f": floats}), path)
    entries = [
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "n"}},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "n", "min_value": -900, "max_value": 900}},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "f", "min_value": -900, "max_value": 900}},
        *({"type": f"expect_column_{end}_to_be_between", "kwargs": {"column": c, "max_value": 5}} for end in ("min", "max") for c in "nf"),
    ]
    rest = [
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "f"}},
        {"type": "expect_column_values_to_be_null", "kwargs": {"column": "w"}},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "n", "max_value": 500}},
        {"type": "expect_column_unique_value_count_to_be_between", "kwargs": {"column": "n", "max_value": 500}},
    ]
    statistics = told(path, limit=16)
    assert not statistics.columns["n"].exact
    ours = answers(path, entries, "COMPLETE", statistics)
    assert reads == []
    same(ours, on_pandas(path, entries, "COMPLETE"))
    same(answers(path, [*entries, *rest], "COMPLETE", statistics), on_pandas(path, [*entries, *rest], "COMPLETE"))


def test_all_kinds_of_cases_agree_with_statistics(tmp_path):
    path = tmp_path / "cases.parquet"
    pq.write_table(cases.table(), path, row_group_size=4)
    chosen = [case for case in [*cases.cases(), *cases.conditioned()] if "column" in case["kwargs"]][::3]
    for start in range(0, len(chosen), 24):
        entries = chosen[start : start + 24]
        same(answers(path, entries, "COMPLETE", told(path)), answers(path, entries, "COMPLETE"))


def test_which_zero_a_column_has_is_read(tmp_path):
    path = tmp_path / "zero.parquet"
    pq.write_table(pa.table({"z": [-0.0, 1.0, -0.0]}), path)
    entries = [{"type": "expect_column_min_to_be_between", "kwargs": {"column": "z", "max_value": 5}}]
    ours = answers(path, entries, "BASIC", told(path))
    assert str(ours[0]["result"]["observed_value"]) == "-0.0"
    same(ours, on_pandas(path, entries, "BASIC"))


def test_statistics_of_other_rows_are_not_used(path, tmp_path):
    other = tmp_path / "other.parquet"
    pq.write_table(TABLE.slice(0, 5), other)
    more = tmp_path / "more.parquet"
    pq.write_table(TABLE.set_column(1, "whole", pa.array([None, 1, 4, 1, 5, 9, 2], pa.int32())), more)
    for wrong in (told(other), told(more)):
        same(answers(path, ANSWERED[5:7], "BASIC", wrong), answers(path, ANSWERED[5:7], "BASIC"))


def test_a_proposal_from_statistics_is_the_one_from_a_pass(path, reads):
    table = source.Source(str(path))
    expected = columns_of(table)
    reads.clear()
    found = columns_of(table, told(path))
    assert reads == []
    for one, other in zip(map(dataclasses.asdict, found), map(dataclasses.asdict, expected), strict=True):
        assert {str(key): n for key, n in one.pop("values").items()} == {str(key): n for key, n in other.pop("values").items()}
        assert one == other


def test_the_command_line_takes_a_statistics_file(path, tmp_path, capsys):
    suite, state, result = tmp_path / "s.json", tmp_path / "state.arrow", tmp_path / "r.json"
    suite.write_text(json.dumps({"name": "s", "expectations": ANSWERED[:9]}), encoding="utf-8")
    assert main(["profile", str(path), "--state", str(state)]) == 0
    arguments = ["validate", "--suite", str(suite), str(path), "--json", "-o", str(result)]
    code = main([*arguments, "--statistics", str(state)])
    first = both.cleaned(json.loads(result.read_text(encoding="utf-8")))["results"]
    assert main(arguments) == code
    same(first, both.cleaned(json.loads(result.read_text(encoding="utf-8")))["results"])
    assert main([*arguments, "--statistics", str(suite)]) != 0
    assert "no statistics can be read" in capsys.readouterr().err
    with pytest.raises(SourceFormatError, match="nowhere"):
        load_statistics(str(tmp_path / "nowhere.arrow"))


def test_the_stage_reuses_the_profile(demo, reads):
    from windtunnel.beam_jobs.profile import profile

    demo.land("2013-03-01", "2013-03-07")
    snapshot = demo.snapshot("2013-03-01", "2013-03-07")
    statistics = profile(demo.problem, snapshot, demo.settings, Progress())
    reads.clear()
    with_them = validate(demo.problem, snapshot, statistics, demo.settings, Progress())
    fewer = len(reads)
    reads.clear()
    without = validate(demo.problem, snapshot, None, demo.settings, Progress())
    assert fewer < len(reads)
    left, right = (both.cleaned(json.loads(Path(ref.uri).read_text(encoding="utf-8")))["results"] for ref in (with_them, without))
    same(left, right)
    proposals = [json.loads((Path(ref.uri).parent / "proposal.json").read_text(encoding="utf-8")) for ref in (with_them, without)]
    assert proposals[0] == proposals[1]
