"""Drift: certain and large, or not called drift."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from windtunnel.lifecycle.pages.eda import comparison_page
from windtunnel.lifecycle.statistics import TableStatistics
from windtunnel.lifecycle.statistics.drift import compare, label_shift


def statistics(limit: int = 1 << 20, **columns: object) -> TableStatistics:
    found = TableStatistics(limit)
    found.add_batch(
        pa.record_batch({name: values if isinstance(values, pa.Array) else pa.array(values) for name, values in columns.items()})
    )
    return found


@pytest.mark.parametrize("rows", [200, 10_000, 1_000_000])
def test_the_example_of_the_field(rows):
    before, same, shifted = (
        {"0": rows // 2, "1": rows // 2},
        {"0": int(rows * 0.52), "1": int(rows * 0.48)},
        {"0": rows * 7 // 10, "1": rows * 3 // 10},
    )
    assert label_shift(before, shifted)["shifted"]
    assert not label_shift(before, same)["shifted"]


@pytest.mark.parametrize("kind", ["text", "bool", "int"])
def test_the_example_as_a_column(kind):
    make = {
        "text": lambda n, m: ["a"] * n + ["b"] * m,
        "bool": lambda n, m: [True] * n + [False] * m,
        "int": lambda n, m: [1] * n + [0] * m,
    }[kind]
    before = statistics(y=make(5000, 5000))
    assert compare(before, statistics(y=make(7000, 3000)))["drifted"] == ["y"]
    assert compare(before, statistics(y=make(5200, 4800)))["drifted"] == []


def test_a_big_table_does_not_drift_everywhere():
    rng = np.random.default_rng(0)
    before = statistics(**{f"c{i}": rng.normal(size=200_000) for i in range(10)})
    after = statistics(**{f"c{i}": rng.normal(0.02, size=200_000) for i in range(10)})
    found = compare(before, after)
    assert found["drifted"] == []
    assert min(entry["q_value"] for entry in found["columns"].values()) < 0.001  # significant, and yet too small to matter


def test_a_small_table_does_not_drift_by_chance():
    rng = np.random.default_rng(0)
    drifted = 0
    for _ in range(50):
        before, after = ({f"c{i}": rng.normal(size=40) for i in range(10)} for _ in range(2))
        drifted += bool(compare(statistics(**before), statistics(**after))["drifted"])
    assert drifted <= 5


@pytest.mark.parametrize("limit", [1 << 20, 1600])
def test_distances_against_scipy(limit):
    rng = np.random.default_rng(1)
    one, two = rng.normal(size=20_000), rng.normal(0.9, 1.2, size=30_000)
    entry = compare(statistics(limit, x=one), statistics(limit, x=two))["columns"]["x"]
    tolerance = 1e-9 if limit > 1600 else 0.02
    truth = stats.ks_2samp(one, two, method="asymp")
    assert entry["ks"] == pytest.approx(truth.statistic, abs=tolerance)
    assert entry["wasserstein"] == pytest.approx(stats.wasserstein_distance(one, two) / one.std(ddof=1), abs=max(tolerance, 1e-6))
    assert entry["drifted"]
    assert entry["approximate"] == (limit <= 1600)


def test_categories_come_and_go():
    before = statistics(c=["a"] * 500 + ["b"] * 480 + ["c"] * 20)
    after = statistics(c=["a"] * 500 + ["b"] * 300 + ["d"] * 200)
    entry = compare(before, after)["columns"]["c"]
    assert entry["new"] == [["d", 0.2]]
    assert entry["lost"] == [["c", 0.02]]
    assert entry["drifted"]
    assert entry["p_value"] == pytest.approx(stats.chi2_contingency([[500, 480, 20, 0], [500, 300, 0, 200]]).pvalue, rel=1e-6)


def test_nulls_that_appear_are_drift():
    before = statistics(x=pa.array([1.0, 2.0] * 500))
    after = statistics(x=pa.array([1.0, None] * 500))
    entry = compare(before, after)["columns"]["x"]
    assert entry["missing"]["change"] == 0.5
    assert any("nulls" in reason for reason in entry["reasons"])


def test_identifiers_and_dates_have_no_shares():
    before = statistics(i=[f"id{i:05}" for i in range(2000)], d=pa.array(range(2000), pa.int32()).cast(pa.date32()))
    after = statistics(i=[f"id{i:05}" for i in range(2000, 4000)], d=pa.array(range(2000, 4000), pa.int32()).cast(pa.date32()))
    found = compare(before, after, ignore=["d"])
    assert found["drifted"] == []
    assert found["columns"]["i"]["kind"] == "text"
    assert compare(before, after)["drifted"] == ["d"]


def test_columns_that_cannot_be_compared():
    before = statistics(a=[1, 2], b=[1, 2], c=["x", "y"])
    after = statistics(a=pa.nulls(2, pa.int64()), b=["1", "2"], d=[1, 2])
    found = compare(before, after)
    assert found["new_columns"] == ["d"]
    assert found["lost_columns"] == ["c"]
    assert found["columns"]["b"]["kind"] == "other"
    assert comparison_page("a", "b", found, before, after).startswith("<!doctype html>")


def test_constants_and_shifts_of_them():
    before = statistics(x=[1.0] * 500, y=[5] * 500)
    found = compare(before, statistics(x=[1.0] * 400, y=[6] * 400))
    assert found["drifted"] == ["y"]


def test_bike_sharing_drifts_from_year_to_year(shared_data):
    import pandas as pd

    frame = pd.read_csv(shared_data / "bike_sharing" / "day.csv")
    parts = [TableStatistics() for _ in range(2)]
    for year, part in enumerate(parts):
        part.add_batch(pa.RecordBatch.from_pandas(frame[frame["yr"] == year].drop(columns=["dteday", "instant"]), preserve_index=False))
    found = compare(*parts, ignore=["yr"])
    assert "cnt" in found["drifted"]
    assert "season" not in found["drifted"]
    assert "weekday" not in found["drifted"]


@pytest.mark.parametrize("cut", [1, 2])
@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (pa.array([1.0, float("nan")] * 500), "share of nulls"),
        (pa.array([1.0, None] * 500, pa.float64()), "share of nulls"),
        (pa.array([1.0, float("inf")] * 500), "share of infinities"),
        (pa.array(["1", "2"] * 500), "the type was double and is string"),
        (pa.array([True, False] * 500), "the type was double and is bool"),
    ],
    ids=["nan", "null", "infinity", "text", "bool"],
)
def test_what_a_figure_leaves_out_is_in_the_decision(now, reason, cut):
    before = statistics(x=pa.array([1.0, 1.0] * 500))
    after = statistics(1 if cut > 1 else 1 << 20, x=now)  # exact, or by sketches
    found = compare(before, after)
    assert found["drifted"] == ["x"]
    assert any(reason in entry for entry in found["columns"]["x"]["reasons"])
    assert compare(after, after)["drifted"] == []


def test_a_wider_type_or_no_value_at_all_is_no_other_type():
    before = statistics(x=pa.array([1, 2] * 500, pa.int32()))
    for now in (pa.array([1, 2] * 500, pa.int64()), pa.array([1.0, 2.0] * 500)):
        assert compare(before, statistics(x=now))["drifted"] == []
    found = compare(before, statistics(x=pa.nulls(1000)))
    assert found["columns"]["x"]["types"] == []
    assert found["drifted"] == ["x"]
