"""Random tables with nulls, NaN, dates, decimals and Unicode: the same results as GX's pandas engine; and the parts that make it so."""

import datetime as dt
import importlib.util
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from windtunnel.beam_jobs.expectations.engine.aggregates import _quantiles_of
from windtunnel.beam_jobs.expectations.engine.distinct import Counter, Limit, Store, Weighted
from windtunnel.beam_jobs.expectations.engine.source import Source
from windtunnel.lifecycle.statistics.counting.sums import BlockSum, PairwiseSum


def _here(name):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


both = _here("both")

TYPES = {
    "whole": (pa.int64(), st.integers(-3, 3) | st.integers(-(2**60), 2**60)),
    "real": (pa.float64(), st.floats(-1e6, 1e6).map(lambda x: x + 0.0) | st.just(float("nan"))),
    "word": (pa.string(), st.text(max_size=3) | st.sampled_from(["a", "b", "é☃", "10"])),
    "day": (pa.date32(), st.dates(dt.date(2000, 1, 1), dt.date(2000, 1, 9))),
    "money": (pa.decimal128(9, 2), st.integers(-500, 500).map(lambda x: Decimal(x) / 100)),
    "flag": (pa.bool_(), st.booleans()),
    "time": (pa.timestamp("us"), st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2000, 1, 3))),  # noqa: DTZ001
}


@st.composite
def tables(draw):
    rows = draw(st.integers(1, 12))
    columns = {}
    for name, (kind, values) in TYPES.items():
        value = values | st.none() if draw(st.booleans()) else values
        columns[name] = pa.array(draw(st.lists(value, min_size=rows, max_size=rows)), kind)
    return pa.table(columns)


def _column(kind, column, **kwargs):
    return {"type": f"expect_column_{kind}", "kwargs": {"column": column, **kwargs}}


SUITE = [
    *(_column("values_to_be_unique", name) for name in TYPES),
    *(_column("values_to_not_be_null", name) for name in TYPES),
    *(_column("unique_value_count_to_be_between", name, max_value=3) for name in TYPES),
    *(
        _column(f"{kind}_to_be_between", name, max_value=3)
        for kind in ("mean", "stdev", "sum", "median", "min")
        for name in ("whole", "real")
    ),
    *(_column("values_to_be_between", name, min_value=0, mostly=0.5) for name in ("whole", "real", "money")),
    _column("values_to_be_increasing", "real"),
    _column("values_to_match_regex", "word", regex="^[a-z]"),
    _column("value_lengths_to_be_between", "word", min_value=1),
    _column("values_to_be_in_set", "word", value_set=["a", "é☃"]),
    _column("most_common_value_to_be_in_set", "word", value_set=["a"]),
    _column("value_z_scores_to_be_less_than", "real", threshold=1, double_sided=True),
    {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["word", "flag"]}},
    {"type": "expect_column_pair_values_a_to_be_greater_than_b", "kwargs": {"column_A": "whole", "column_B": "real"}},
]


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(table=tables(), rows=st.sampled_from([2, 3]), limit=st.sampled_from([2, 1000]))
def test_random_tables_agree(table, rows, limit):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.parquet")
        pq.write_table(table, path, row_group_size=5)
        for start in range(0, len(SUITE), 12):
            assert both.differences(path, SUITE[start : start + 12], rows, ["COMPLETE"], distinct_limit=limit) == []


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(0, 3000), cuts=st.lists(st.integers(0, 3000), max_size=6), seed=st.integers(0, 99), kind=st.sampled_from(["f4", "f8"])
)
def test_sums_are_numpys_to_the_last_bit(size, cuts, seed, kind):
    random = np.random.default_rng(seed)
    values = (random.normal(size=size) * 10.0 ** random.integers(-8, 8)).astype(kind)
    total, blocks = PairwiseSum(size, kind), BlockSum()
    for piece in np.split(values, sorted(min(cut, size) for cut in cuts)):
        total.add(piece)
        blocks.add(piece.astype("f4"))
    assert total.value() == values.sum()
    assert blocks.value() == values.astype("f4").sum(dtype=np.float64)


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(
        st.tuples(st.integers(0, 3) | st.none(), st.sampled_from([0.0, -0.0, 1.5, float("nan"), None])), min_size=1, max_size=30
    ),
    limit=st.sampled_from([1, 5, 1000]),
)
def test_counts_are_pandas_counts_in_memory_and_spilled(values, limit):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.parquet")
        table = pa.table(
            {"a": pa.array([a for a, _ in values], pa.int64()), "b": pa.array([b for _, b in values], pa.float64(), from_pandas=False)}
        )
        pq.write_table(table, path, row_group_size=7)
        source = Source(str(path), 3)
        counter, store = Counter(source, ["a", "b"], Limit(most=limit)), Store(Limit(most=limit))
        for chunk in source.chunks(["a", "b"]):
            if counter.add(chunk):
                store.add(counter.take())
        if (rest := counter.take()) is not None:
            store.add(rest)
        found = store.everything()
        expected = pd.read_parquet(path).value_counts(["a", "b"], dropna=False, sort=False)
        assert sorted(found.counts.tolist()) == sorted(expected.tolist())
        assert int(found.counts.sum()) == len(values)
        first = pd.read_parquet(path).drop_duplicates().reset_index(drop=True)
        pd.testing.assert_frame_equal(found.frame.reset_index(drop=True) + 0.0, first + 0.0)
        store.close()


def test_a_source_has_pandas_types_index_and_missing_columns(tmp_path):
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"]}, index=pd.RangeIndex(10, 16, 2))
    frame.to_parquet(tmp_path / "1.parquet")
    source = Source(str(tmp_path / "1.parquet"), 2)
    whole = pd.concat([source.frame(chunk.batch, start=chunk.start) for chunk in source.chunks(["a", "b"])])
    pd.testing.assert_frame_equal(whole, pd.read_parquet(tmp_path / "1.parquet"))
    named = frame.set_index("b")
    named.to_parquet(tmp_path / "2.parquet")
    source = Source(str(tmp_path / "2.parquet"), 2)
    whole = pd.concat([source.frame(chunk.batch, start=chunk.start) for chunk in source.chunks(["a", "b"])])
    pd.testing.assert_frame_equal(whole, pd.read_parquet(tmp_path / "2.parquet"))
    assert source.columns == ["a"]
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "3.parquet")
    pq.write_table(pa.table({"a": [3], "c": ["new"]}), tmp_path / "4.parquet")
    source = Source([str(tmp_path / "3.parquet"), str(tmp_path / "4.parquet")])
    assert [chunk.batch.column("c").to_pylist() for chunk in source.chunks(["c"])] == [[None, None], ["new"]]
    assert source.nulls["c"] == 2


@pytest.mark.parametrize("method", ["linear", "lower", "higher", "midpoint", "nearest"])
def test_quantiles_are_pandas_quantiles(method):
    random = np.random.default_rng(0)
    for _ in range(150):
        values = pd.Series(np.round(random.normal(size=random.integers(1, 40)) * 10) / random.choice([1, 3, 7]))
        wanted = random.choice([0, 0.05, 0.1, 1 / 3, 0.33, 0.5, 2 / 3, 0.77, 0.9, 1], 3).tolist()
        counts = values.value_counts(sort=False)
        store = Store(Limit(most=1000))
        store.add(Weighted(pd.DataFrame({"a": counts.index}), counts.to_numpy().astype("i8"), np.arange(len(counts))))
        assert _quantiles_of(store, values.iloc[:0], wanted, method) == values.quantile(wanted, interpolation=method).tolist()
        store.close()
