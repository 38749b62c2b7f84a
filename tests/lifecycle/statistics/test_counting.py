"""The counting house: whatever the parts, the limit and the rules, the same counts."""

import collections
import itertools
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.lifecycle.statistics import TableStatistics, summarize
from windtunnel.lifecycle.statistics.counting import (
    Ascending,
    Counted,
    Counter,
    FrequentSketch,
    Hashed,
    InOrder,
    Moments,
    Parts,
    Runs,
    TableMoments,
    at_ranks,
    count_values,
    search,
    share,
    size_of,
)
from windtunnel.lifecycle.statistics.profiled import Profiled

BATCHES = st.lists(st.lists(st.integers(-20, 20), max_size=30), max_size=8)


def ones(count: int) -> np.ndarray:
    return np.ones(count, dtype=np.int64)


@settings(max_examples=40, deadline=None)
@given(BATCHES, st.integers(1, 400))
def test_what_is_handed_on_and_what_is_held_are_all_values(batches, limit):
    total: collections.Counter[int] = collections.Counter()
    counter = Counter(Hashed(), limit)
    for batch in batches:
        if counter.add(Counted(*count_values(pa.array(batch, pa.int64())))):
            handed = counter.drain()
            assert size_of(handed.keys) + 8 * len(handed.keys) > limit
            total.update(dict(zip(handed.keys.to_pylist(), handed.counts.tolist(), strict=True)))
    held = counter.held()
    if held is not None:
        for value, count in zip(held.keys.to_pylist(), held.counts.tolist(), strict=True):
            total[value] += count
    assert total == collections.Counter(itertools.chain(*batches))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 5)), st.sampled_from(["a", "b", None])), max_size=60), st.integers(1, 60))
def test_rows_are_in_the_order_of_first_sight(rows, cut):
    counter = Counter(InOrder())
    for start in range(0, len(rows), cut):
        part = rows[start : start + cut]
        keys = (pa.array([a for a, _ in part], pa.int64()), pa.array([b for _, b in part], pa.string()))
        counter.add(InOrder().join([Counted(keys, ones(len(part)), np.arange(start, start + len(part)))]))
    held = counter.held()
    expected = collections.Counter(rows)
    found = {} if held is None else dict(zip(zip(*(key.to_pylist() for key in held.keys), strict=True), held.counts.tolist(), strict=True))
    assert list(found) == list(expected)
    assert found == dict(expected)
    assert held is None or held.first.tolist() == [rows.index(row) for row in expected]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), min_size=1, max_size=5))
def test_runs_on_disk_are_one_sorted_column(tmp_path_factory, batches):
    runs, more = (Runs(str(tmp_path_factory.mktemp("runs"))) for _ in range(2))
    for number, batch in enumerate(batches):
        joined = Ascending().join([Counted(np.array(batch), ones(len(batch)))])
        (runs if number % 2 else more).add(joined.keys, joined.counts)
    runs.merge(more)
    whole = np.sort(np.concatenate(batches))
    ranks = np.arange(len(whole))
    assert runs.at_ranks(ranks).tolist() == whole.tolist()
    assert [float(search(runs.blocks, int(rank))) for rank in ranks[:: max(1, len(ranks) // 5)]] == whole[
        :: max(1, len(ranks) // 5)
    ].tolist()


def test_parts_on_disk_keep_equal_values_together():
    table = pa.table({"v": list(range(1000)) * 2})
    parts = Parts(table.schema)
    hashes = np.array(table["v"].to_pylist(), dtype=np.uint64) * np.uint64(2654435761)
    parts.add(table.slice(0, 1200), hashes[:1200])
    parts.add(table.slice(1200), hashes[1200:])
    seen = [set(part["v"].to_pylist()) for part in parts.tables()]
    parts.close()
    assert sum(map(len, seen)) == len(set().union(*seen)) == 1000


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.integers(1, 5)), min_size=2, max_size=40), st.integers(1, 39))
def test_moments_of_parts_are_those_of_the_whole(rows, cut):
    values, weights = (np.array(column) for column in zip(*rows, strict=True))
    expanded = np.repeat(values, weights)
    merged = Moments.of(values[:cut], weights[:cut])
    merged.merge(Moments.of(values[cut:], weights[cut:]))
    table = TableMoments.of(values[:cut, None], weights[:cut].astype(float))
    if len(values) > cut:
        table.merge(TableMoments.of(values[cut:, None], weights[cut:].astype(float)))
    for count, mean, m2 in ((merged.count, merged.mean, merged.m2), (table.n[0], table.mean[0], table.m2[0])):
        assert count == len(expanded)
        assert mean == pytest.approx(expanded.mean(), rel=1e-9, abs=1e-9)
        assert m2 == pytest.approx(((expanded - expanded.mean()) ** 2).sum(), rel=1e-6, abs=1e-6)


def test_ranks_of_counted_values():
    values, counts = np.array([1.0, 2.0, 5.0]), np.array([2, 1, 3])
    assert at_ranks(values, counts, np.arange(6)).tolist() == np.repeat(values, counts).tolist()


def test_long_texts_do_not_fill_the_frequent_ones():
    sketch = FrequentSketch.within(pa.string(), 1 << 16)
    for start in range(0, 200, 20):
        sketch.add(pa.array([f"{i}" * 5000 for i in range(start, start + 20)] + ["often"]), np.array([1] * 20 + [50]))
    assert size_of(sketch.values) <= 1 << 16
    kept = dict(zip(sketch.values.to_pylist(), sketch.counts.tolist(), strict=True))
    assert kept["often"] <= 500 <= kept["often"] + sketch.error


def test_many_columns_share_what_a_table_may_take():
    assert share(2000) * 2000 <= 128 << 20
    rng = np.random.default_rng(0)
    wide = TableStatistics(sample=0)
    wide.add_batch(pa.table({f"c{i}": rng.random(300) for i in range(12_000)}))
    first = next(iter(wide.columns.values()))
    assert first.limit == 1 << 14
    assert first.exact
    wide.add_batch(pa.table({f"c{i}": rng.random(2000) for i in range(3)}))
    assert not first.exact
    assert first.distinct.estimate == pytest.approx(2300, rel=4 * first.distinct.error)


def test_statistics_of_an_earlier_version_are_read_and_merge():
    """Protocol 1: its limit was a number of values; `x` and `t` were past it."""
    data = (Path(__file__).parent / "states" / "protocol_1.arrow").read_bytes()
    old = Profiled.from_bytes(data)
    found = summarize(old.table)
    assert found["rows"] == 200
    assert found["columns"]["n"]["top"][0] == [0, 29]
    assert found["columns"]["f"]["nulls"] == 50
    assert found["columns"]["x"]["distinct"] == 200
    assert found["columns"]["x"]["approximate"]
    assert math.isclose(found["columns"]["x"]["mean"], np.mean([i * 0.5 for i in range(200)]))
    new = TableStatistics()
    new.add_batch(pa.record_batch({"n": [7], "x": [1000.0], "t": ["k"], "f": ["a"]}))
    old.table.merge(new)
    again = summarize(Profiled.table_of(old.to_bytes()))
    assert again["rows"] == 201
    assert again["columns"]["x"]["max"] == 1000.0
    assert again["columns"]["n"]["distinct"] == 8
