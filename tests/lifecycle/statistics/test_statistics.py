"""Statistics: right against NumPy and pandas, and the same however the rows were cut."""

import collections
import datetime as dt
import itertools
import json
import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from windtunnel.lifecycle.contract.errors import SchemaMismatchError, SourceFormatError
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.statistics import TableStatistics, summarize
from windtunnel.lifecycle.statistics.association import association, associations
from windtunnel.lifecycle.statistics.counting.hashing import hash_column
from windtunnel.lifecycle.statistics.counting.sketches import DistinctSketch, FrequentSketch
from windtunnel.lifecycle.statistics.profiled import Profiled
from windtunnel.lifecycle.statistics.scan import scan_groups, tasks_of


def statistics(table: pa.Table | pa.RecordBatch, limit: int = 1 << 20, cuts: list[int] | None = None, **more: int) -> TableStatistics:
    found = TableStatistics(limit, **more)
    bounds = [0, *sorted(cuts or []), table.num_rows]
    for start, end in itertools.pairwise(bounds):
        found.add_batch(table.slice(start, end - start), "file", start)
    return found


def figures(table: pa.Table, name: str = "x") -> dict:
    return summarize(statistics(table))["columns"][name]


def test_numbers_against_pandas():
    rng = np.random.default_rng(1)
    values = np.where(rng.random(5000) < 0.1, np.nan, np.round(rng.normal(5, 3, 5000), 1))
    found = figures(pa.table({"x": pa.array(values, from_pandas=True)}))
    series = pd.Series(values)
    assert found["count"] == series.count()
    assert found["nulls"] == series.isna().sum()
    assert found["distinct"] == series.nunique()
    for figure in ("min", "max", "mean", "std"):
        assert found[figure] == pytest.approx(getattr(series, figure)(), rel=1e-12)
    assert found["skewness"] == pytest.approx(series.skew(), rel=1e-2)
    for q, value in found["quantiles"].items():
        assert value == pytest.approx(series.quantile(float(q)), rel=1e-12)
    counts = series.value_counts()
    assert [count for _, count in found["top"]] == counts.iloc[:20].tolist()
    assert all(counts[value] == count for value, count in found["top"])
    assert sum(found["histogram"]["counts"]) == found["count"]


def test_texts():
    found = figures(pa.table({"x": ["b", "a", "a", None, "é" * 3, ""]}))
    assert (found["count"], found["nulls"], found["distinct"], found["min"], found["max"]) == (5, 1, 4, "", "ééé")
    assert found["top"][0] == ["a", 2]
    assert found["lengths"] == {"min": 0, "max": 3, "mean": 1.2, "std": pytest.approx(math.sqrt(1.2)), "empty": 1}


@pytest.mark.parametrize(
    ("values", "low", "high", "mean"),
    [
        (pa.array([True, False, None, True]), False, True, 2 / 3),
        (pa.array([dt.date(2013, 1, 1), dt.date(2013, 1, 3)]), "2013-01-01", "2013-01-03", "2013-01-02"),
        (pa.array([1356998400, 1357084800], pa.timestamp("s")), "2013-01-01T00:00:00", "2013-01-02T00:00:00", "2013-01-01T12:00:00"),
        (pa.array([Decimal("1.5"), Decimal("2.5")]), 1.5, 2.5, 2.0),
        (pa.array([2**62, 2**62 + 1]), 2**62, 2**62 + 1, pytest.approx(2.0**62)),
        (pa.array([0, 2**64 - 1], pa.uint64()), 0, 2**64 - 1, pytest.approx(2.0**63)),
        (pa.array(["x", "y", "x"]).dictionary_encode(), "x", "y", None),
        (pa.array([None, None], pa.int32()), None, None, None),
        (pa.array([[1], [2]]), None, None, None),
        (pa.array([None, None]), None, None, None),
        (pa.array([1.5], pa.float16()), 1.5, 1.5, 1.5),
    ],
)
def test_every_type(values, low, high, mean):
    found = figures(pa.table({"x": values}))
    assert (found["min"], found["max"], found["mean"]) == (low, high, mean)
    json.dumps(found, allow_nan=False)


def test_what_is_not_finite_is_counted_and_left_out():
    found = figures(pa.table({"x": [1.0, math.nan, math.inf, -math.inf, 3.0]}))
    assert (found["count"], found["nan"], found["infinite"], found["min"], found["max"], found["mean"]) == (5, 1, 2, 1.0, 3.0, 2.0)
    json.dumps(found, allow_nan=False)


def test_extreme_numbers_stay_json():
    json.dumps(figures(pa.table({"x": [1e308, -1e308, 1e308]})), allow_nan=False)


def test_no_rows_and_no_columns():
    assert figures(pa.table({"x": pa.array([], pa.int64())}))["count"] == 0
    assert summarize(TableStatistics()) == {"rows": 0, "columns": {}}


PHASES = [Phase.explicit, Phase.generate]  # shrinking tables takes minutes and tells little
VALUES = st.one_of(st.none(), st.integers(-5, 5))
FLOATS = st.one_of(
    st.none(), st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf, -math.inf, 1e300]), st.sampled_from([0.0, -0.0, 1.5])
)
TEXTS = st.one_of(st.none(), st.text(max_size=3))
SENTENCES = st.one_of(
    st.none(), st.lists(st.sampled_from(["to", "be", "or", "not", " ", "\t", "\u3000", "이다"]), max_size=5).map(" ".join)
)


@st.composite
def tables(draw):
    size = draw(st.integers(0, 60))
    column = lambda values: draw(st.lists(values, min_size=size, max_size=size))  # noqa: E731
    return pa.table(
        {
            "i": pa.array(column(VALUES), pa.int64()),
            "f": pa.array(column(FLOATS), pa.float64()),
            "t": pa.array(column(TEXTS), pa.string()),
            "w": pa.array(column(SENTENCES), pa.string()),
            "b": pa.array(column(st.one_of(st.none(), st.booleans())), pa.bool_()),
            "d": pa.array(column(st.one_of(st.none(), st.dates(dt.date(2000, 1, 1), dt.date(2030, 1, 1)))), pa.date32()),
        }
    )


@settings(max_examples=40, deadline=None, phases=PHASES)
@given(tables(), st.lists(st.integers(0, 60), max_size=4), st.booleans())
def test_merged_parts_are_the_whole(table, cuts, kept):
    whole = statistics(table, sample=10)
    merged = TableStatistics(sample=10)
    bounds = [0, *sorted(min(cut, table.num_rows) for cut in cuts), table.num_rows]
    for start, end in itertools.pairwise(bounds):
        part = TableStatistics(sample=10)
        part.add_batch(table.slice(start, end - start), "file", start)
        merged.merge(TableStatistics.from_bytes(part.to_bytes()) if kept else part)
    assert json.dumps(summarize(merged), sort_keys=True) == json.dumps(summarize(whole), sort_keys=True)
    assert str(merged.sample.table.to_pylist()) == str(whole.sample.table.to_pylist())


def close(left: object, right: object, path: str = "") -> None:
    """The same figures, but for the last digits and what sketches may differ in."""
    if isinstance(left, dict) and isinstance(right, dict):
        assert left.keys() == right.keys(), path
        for key in left:
            if key not in {"quantiles", "histogram"} and not (key in {"std", "skewness"} and None in {left[key], right[key]}):
                close(left[key], right[key], f"{path}.{key}")
    elif isinstance(left, float) and isinstance(right, float):
        assert left == pytest.approx(right, rel=1e-6, abs=1e-6), path
    else:
        assert left == right, path


@settings(max_examples=25, deadline=None, phases=PHASES)
@given(tables(), st.lists(st.integers(0, 60), max_size=4), st.integers(1, 200))
def test_merged_parts_are_the_whole_past_the_limit(table, cuts, limit):
    whole = statistics(table, limit)
    merged = TableStatistics(limit)
    bounds = [0, *sorted(min(cut, table.num_rows) for cut in cuts), table.num_rows]
    for start, end in itertools.pairwise(bounds):
        part = TableStatistics(limit)
        part.add_batch(table.slice(start, end - start), "file", start)
        merged.merge(TableStatistics.from_bytes(part.to_bytes()))
    close(summarize(merged), summarize(whole))
    for name, column in whole.columns.items():
        if name == "i":  # eight bytes a value, and eight for its count
            assert column.exact == (16 * len(set(table[name].drop_null().to_pylist())) <= limit)
        assert merged.columns[name].exact == column.exact


def test_sketches_keep_the_error_that_they_state():
    rng = np.random.default_rng(3)
    numbers = rng.lognormal(size=400_000)
    numbers[:20_000] = 7.0
    rng.shuffle(numbers)
    texts = [f"{value:.9f}" for value in numbers]
    table = pa.table({"x": numbers, "t": texts})
    cut = statistics(table, cuts=[100_000, 150_000, 390_000])
    other = TableStatistics()
    for start in range(0, 400_000, 50_000):
        part = statistics(table.slice(start, 50_000))
        other.merge(part)
    for found in (summarize(cut)["columns"], summarize(other)["columns"]):
        exact = len(np.unique(numbers))
        for name in ("x", "t"):
            error = found[name]["approximate"]["distinct"]["relative_standard_error"]
            assert found[name]["distinct"] == pytest.approx(exact, rel=4 * error)
            value, count = found[name]["top"][0]
            assert float(value) == 7.0
            assert count <= 20_000 <= count + found[name]["approximate"]["top"]["count_error"]
        ordered = np.sort(numbers)
        for q, value in found["x"]["quantiles"].items():
            rank = np.searchsorted(ordered, value, side="right") / len(ordered)
            low = np.searchsorted(ordered, value, side="left") / len(ordered)
            error = found["x"]["approximate"]["quantiles"]["rank_error"]
            assert low - error <= float(q) <= rank + error
        assert found["x"]["mean"] == pytest.approx(numbers.mean(), rel=1e-12)
        assert found["x"]["std"] == pytest.approx(numbers.std(ddof=1), rel=1e-12)
        assert found["t"]["min"] == min(texts)
        assert found["t"]["max"] == max(texts)
    assert cut.columns["x"].distinct.hashes.tolist() == other.columns["x"].distinct.hashes.tolist()


def test_sketches_do_not_depend_on_order():
    values = pa.array(np.random.default_rng(5).permutation(200_000))
    one, two = DistinctSketch(), DistinctSketch()
    one.add(values)
    two.add(values.slice(100_000))
    two.add(values.slice(0, 120_000))
    assert one.hashes.tolist() == two.hashes.tolist()
    assert one.estimate == pytest.approx(200_000, rel=4 * one.error)
    frequent = FrequentSketch(pa.array([], pa.int64()))
    frequent.add(values, np.ones(len(values), dtype=np.int64))
    assert frequent.error == 1
    assert not len(frequent.values)


@pytest.mark.parametrize("limit", [1 << 22, 1 << 14, 1])
def test_tokens_of_real_messages(shared_data, limit):
    lines = (shared_data / "sms_spam" / "sms.tsv").read_text(encoding="utf-8").splitlines()
    texts = [line.partition("\t")[2] for line in lines]
    words = collections.Counter(word for text in texts for word in text.split())
    per_text = [len(text.split()) for text in texts]
    parts = [TableStatistics(limit) for _ in range(3)]
    for i, part in enumerate(parts):
        for start in range(i * 2000, min((i + 1) * 2000, len(texts)), 500):
            part.add_batch(pa.table({"x": texts[start : min(start + 500, (i + 1) * 2000)]}))
    whole = TableStatistics(limit)
    for part in parts:
        whole.merge(TableStatistics.from_bytes(part.to_bytes()))
    found = summarize(whole)["columns"]["x"]["tokens"]
    assert found["total"] == sum(per_text)
    assert (found["per_text"]["min"], found["per_text"]["max"]) == (min(per_text), max(per_text))
    assert found["per_text"]["mean"] == pytest.approx(np.mean(per_text), rel=1e-12)
    assert found["per_text"]["std"] == pytest.approx(np.std(per_text, ddof=1), rel=1e-9)
    error = found.get("approximate", {}).get("top", {}).get("count_error", 0)
    spread = found.get("approximate", {}).get("distinct", {}).get("relative_standard_error", 0.0)
    assert found["distinct"] == pytest.approx(len(words), rel=4 * spread)
    assert spread < 0.04
    assert error < 40
    assert ("approximate" in found) == (limit < 1 << 22)
    for word, count in found["top"]:
        assert count <= words[word] <= count + error


def test_codes_are_tokens_themselves_and_become_words_when_sentences_come():
    codes, sentences = pa.table({"x": [f"c{i}" for i in range(300)]}), pa.table({"x": [f"c{i} c0" for i in range(300)]})
    for order in ([codes, sentences], [sentences, codes]):
        found = statistics(order[0], 100)
        for part in (order[1], codes):
            found.merge(statistics(part, 100))
        told = summarize(found)["columns"]["x"]["tokens"]
        assert (told["total"], told["distinct"], told["top"][0]) == (1200, 300, ["c0", 303])
        assert told["per_text"] == {
            "min": 1,
            "max": 2,
            "mean": pytest.approx(4 / 3),
            "std": pytest.approx(np.std([1] * 600 + [2] * 300, ddof=1)),
        }


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 20])
def test_texts_of_one_length_hash_as_among_others(length):
    texts = [f"{i:0{length}d}"[-length:] for i in range(50)]
    alone, mixed = hash_column(pa.array(["?" * length, *texts]).slice(1)), hash_column(pa.array(["", *texts, "a longer one than those"]))
    assert alone.tolist() == mixed[1:-1].tolist()


def test_hashes_are_the_same_for_the_same_value_in_any_slice():
    texts = ["", "a", "abcdefg", "abcdefgh", "abcdefghi", "x" * 100, "é", "abcdefgh\0"]
    array = pa.array(texts)
    hashes = hash_column(array).tolist()
    assert len(set(hashes)) == len(texts)
    assert hash_column(array.slice(3)).tolist() == hashes[3:]
    assert hash_column(array.cast(pa.large_string())).tolist() == hashes
    assert hash_column(array.dictionary_encode()).tolist() == hashes
    assert hash_column(pa.array([7], pa.int8())).tolist() == hash_column(pa.array([7], pa.int64())).tolist()
    assert hash_column(pa.array([0.0])).tolist() == hash_column(pa.array([-0.0])).tolist()


def test_columns_that_parts_lack_are_null_there():
    one, two = TableStatistics(), TableStatistics()
    one.add_batch(pa.record_batch({"a": [1, 2]}))
    two.add_batch(pa.record_batch({"b": ["x"]}))
    one.merge(two)
    found = summarize(one)["columns"]
    assert (found["a"]["count"], found["a"]["nulls"], found["b"]["count"], found["b"]["nulls"]) == (2, 1, 1, 2)


def test_columns_of_different_types_do_not_merge():
    one, two = TableStatistics(), TableStatistics()
    one.add_batch(pa.record_batch({"a": [1, 2]}))
    two.add_batch(pa.record_batch({"a": ["x"]}))
    with pytest.raises(SchemaMismatchError, match="'a'"):
        one.merge(two)


def test_slices():
    found = Profiled([["g"], ["g", "h"]])
    found.add_batch(pa.record_batch({"g": ["a", "a", None], "h": [1, 2, 1], "x": [1, 2, 3]}))
    assert {name: part.rows for name, part in found.slices.items()} == {
        "g=a": 2,
        "g=null": 1,
        "g=a, h=1": 1,
        "g=a, h=2": 1,
        "g=null, h=1": 1,
    }
    again = Profiled.from_bytes(found.to_bytes())
    again.merge(found)
    assert again.slices["g=a"].rows == 4
    with pytest.raises(SchemaMismatchError):
        Profiled.from_bytes(b"nothing of ours")


def test_of_very_many_slices_parts_and_the_whole_keep_the_same():
    table = pa.table({"g": [f"v{i % 700}" for i in range(3000)], "x": range(3000)})
    whole, back, front = (Profiled([["g"]]) for _ in range(3))
    parts = []
    for start in range(0, 3000, 500):
        whole.add_batch(table.slice(start, 500).to_batches()[0], "f", start)
        part = Profiled([["g"]])
        part.add_batch(table.slice(start, 500).to_batches()[0], "f", start)
        parts.append(part.to_bytes())
    for part in parts:
        front.merge(Profiled.from_bytes(part))
    for part in reversed(parts):
        back.merge(Profiled.from_bytes(part))
    told = [{name: summarize(part) for name, part in sorted(found.slices.items())} for found in (whole, front, back)]
    assert told[0] == told[1] == told[2]
    assert len(told[0]) == 200
    rows = collections.Counter(f"g={value}" for value in table["g"].to_pylist())
    assert all(entry["rows"] == rows[name] for name, entry in told[0].items())


@settings(max_examples=20, deadline=None, phases=PHASES)
@given(st.data(), st.lists(st.integers(0, 80), max_size=4))
def test_everything_that_a_problem_asks_for_merges(data, cuts):
    """Slices, splits, labels by day and split, labels of sensitive groups, and associations of the sample."""
    size = data.draw(st.integers(1, 80))
    draw = lambda values: data.draw(st.lists(values, min_size=size, max_size=size))  # noqa: E731
    table = pa.table(
        {
            "k": pa.array(draw(st.integers(0, 30)), pa.int64()),
            "g": pa.array(draw(st.sampled_from(["a", "b", None])), pa.string()),
            "t": pa.array(draw(SENTENCES), pa.string()),
            "y": pa.array(draw(st.one_of(st.none(), st.integers(0, 1))), pa.int64()),
            "event_date": pa.array(draw(st.dates(dt.date(2013, 1, 1), dt.date(2013, 1, 4))), pa.date32()),
        }
    )
    problem = parse(
        {
            "name": "p",
            "owner": "o",
            "task": "binary",
            "source": {"format": "csv", "path": "{day}"},
            "columns": {"k": "int64", "g": "string", "t": "string", "y": "int64"},
            "features": {"numeric": ["k"], "categorical": ["g"], "text": ["t"]},
            "label": {"column": "y", "positive": {"equals": 1}, "delay_days": 1},
            "keys": ["k"],
            "sensitive": ["g"],
        }
    )

    def told(found):
        found.hide_labels("2013-01-04")
        return {
            "table": summarize(found.table),
            "slices": {name: summarize(part) for name, part in sorted(found.slices.items())},
            "splits": {name: summarize(part) for name, part in sorted(found.splits.items())},
            "labels": found.label_counts(),
            "groups": found.group_counts(),
            "unlabelled": found.unlabelled(),
            "association": associations(found.table.sample.table, ["k", "g", "t"], "y"),
        }

    whole, merged = Profiled([["g"], ["g", "k"]], None, problem), Profiled()
    bounds = [0, *sorted(min(cut, size) for cut in cuts), size]
    for start, end in itertools.pairwise(bounds):
        batch = table.slice(start, end - start).combine_chunks().to_batches()
        part = Profiled([["g"], ["g", "k"]], None, problem)
        for rows in batch:
            whole.add_batch(rows, "file", start)
            part.add_batch(rows, "file", start)
        merged.merge(Profiled.from_bytes(part.to_bytes()))
    left, right = told(whole), told(merged)
    assert left["unlabelled"] + sum(sum(counts.values()) for counts in left["labels"].values()) == size
    assert json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def test_associations():
    rng = np.random.default_rng(0)
    label = rng.random(4000) < 0.3
    table = pa.table(
        {
            "label": label,
            "leak": np.where(label, 10.0, 1.0) + rng.random(4000),
            "noise": rng.random(4000),
            "code": np.where(label, "yes", "no"),
            "group": rng.choice(["a", "b", "c"], 4000),
            "id": [f"id{i}" for i in range(4000)],
            "none": pa.nulls(4000, pa.float64()),
        }
    )
    found = associations(table, table.column_names, "label")
    assert list(found)[:2] in (["leak", "code"], ["code", "leak"])
    assert found["leak"] > 0.99
    assert found["noise"] < 0.1
    assert found["group"] < 0.1
    assert "none" not in found
    assert "id" not in found
    assert association(pa.array(range(100)), pa.array([i**3 for i in range(100)])) == pytest.approx(1.0)


@pytest.mark.parametrize("nested", [False, True])
def test_scanning_parquet(tmp_path, nested):
    rng = np.random.default_rng(2)
    table = pa.table({"s": rng.choice(["x", "y", None], 10_000), "u": [f"unique value {i}" for i in range(10_000)], "n": range(10_000)})
    if nested:
        table = table.append_column("l", pa.array([[1]] * 10_000))
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=3000)
    tasks = tasks_of([str(tmp_path / "a.parquet")])
    found = TableStatistics()
    for task in tasks:
        scan_groups(task, found)
    expected = summarize(statistics(table, sample=0))
    if nested:
        expected["columns"]["l"]["dtype"] = "list<element: int64>"  # Parquet's name for it
    assert json.dumps(summarize(found)) == json.dumps(expected)


def test_damaged_parquet_is_named(shared_data, tmp_path):
    folder = shared_data / "malformed_columnar" / "parquet_testing" / "bad_data"
    readable = []
    for path in sorted(folder.glob("*.parquet")):
        try:
            for task in tasks_of([str(path)]):
                scan_groups(task, TableStatistics())
            readable.append(path.name)
        except SourceFormatError as error:
            assert path.name in error.message  # noqa: PT017 - most raise, one does not
    assert readable == ["ARROW-GH-43605.parquet"]
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(SourceFormatError, match=r"a\.parquet"):
        tasks_of([str(tmp_path / "a.parquet")])


def test_whole_numbers_and_decimals_are_not_rounded():
    big = 2**53 + 1
    whole = pa.array([big, big + 2, big + 4], pa.int64())
    money = pa.array([Decimal("0.1"), Decimal("12345678901234567890.01"), Decimal("12345678901234567890.03")], pa.decimal128(38, 2))
    for limit in (1 << 20, 1):
        found = summarize(statistics(pa.table({"w": whole, "m": money}), limit))["columns"]
        assert (found["w"]["min"], found["w"]["max"]) == (big, big + 4)
        assert (found["m"]["min"], found["m"]["max"]) == (0.1, "12345678901234567890.03")
        if limit > 1:
            assert found["w"]["quantiles"]["0.5"] == big + 2
            assert found["m"]["quantiles"]["0.5"] == "12345678901234567890.01"
        else:
            assert "quantiles" in found["w"]["approximate"]
    merged = TableStatistics(1)
    for part in (whole.slice(0, 1), whole.slice(1)):
        merged.merge(TableStatistics.from_bytes(statistics(pa.table({"w": part}), 1).to_bytes()))
    assert summarize(merged)["columns"]["w"]["max"] == big + 4


def test_what_goes_wrong_with_the_rows_of_a_good_file_is_not_called_a_bad_file(tmp_path):
    class Picky:
        def add_batch(self, batch, origin="", offset=0):
            pc.cast(batch.column("a"), pa.int8())

    pq.write_table(pa.table({"a": [1, 1000]}), tmp_path / "good.parquet")
    with pytest.raises(pa.ArrowInvalid, match="1000"):
        scan_groups(tasks_of([str(tmp_path / "good.parquet")])[0], Picky())
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and nothing more PAR1")
    with pytest.raises(SourceFormatError, match="not a readable Parquet file"):
        tasks_of([str(tmp_path / "bad.parquet")])
