import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.lifecycle.contract.errors import ConfigurationError, SchemaMismatchError
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.data.rows import label_of, split_of
from windtunnel.lifecycle.data.schema import arrow_type


def problem(**changes):
    return parse(
        {
            "name": "p",
            "owner": "o",
            "task": "binary",
            "source": {"format": "csv", "path": "x"},
            "columns": {"x": "int64", "k": "string", "y": "string"},
            "features": {"numeric": ["x"]},
            "keys": ["k"],
            "label": {"column": "y", "positive": {"equals": "Yes"}},
        }
        | changes
    )


@pytest.mark.parametrize(
    ("changes", "values", "expected"),
    [
        ({}, pa.array(["Yes", "No", None]), [1, 0, None]),
        ({}, pa.array(["Yes", "No", None]).dictionary_encode(), [1, 0, None]),
        ({"label": {"column": "y", "positive": {"not_equals": "normal"}}}, pa.array(["normal", "worm", None]), [0, 1, None]),
        ({"label": {"column": "y", "positive": {"at_least": 2}}}, pa.array([1, 2, None]), [0, 1, None]),
        ({"label": {"column": "y", "positive": {"equals": True}}}, pa.array([True, False, None]), [1, 0, None]),
        ({"task": "multiclass", "label": {"column": "y"}}, pa.array([1, 2, None]), ["1", "2", None]),
        ({"task": "regression", "label": {"column": "y"}}, pa.array([1, 2, None]), [1.0, 2.0, None]),
    ],
)
def test_labels(changes, values, expected):
    assert label_of(problem(**changes), pa.table({"y": values})).to_pylist() == expected


def test_a_missing_column_is_named():
    with pytest.raises(SchemaMismatchError, match="column 'y' is missing"):
        label_of(problem(), pa.table({"x": [1]}))


@settings(max_examples=30)
@given(st.lists(st.text(max_size=5) | st.none(), min_size=1, max_size=60), st.integers(1, 60))
def test_a_split_does_not_depend_on_how_rows_are_cut_or_encoded(keys, cut):
    table = pa.table({"k": pa.array(keys, pa.string())})
    whole = split_of(problem(), table, "2013-01-01")
    parts = [split_of(problem(), table.slice(i, cut), "2013-01-01") for i in range(0, len(keys), cut)]
    assert np.concatenate(parts).tolist() == whole.tolist()
    encoded = split_of(problem(), pa.table({"k": table["k"].combine_chunks().dictionary_encode()}), "2013-01-01")
    assert encoded.tolist() == whole.tolist()


def test_the_share_is_met_and_a_salt_changes_the_draw():
    table = pa.table({"k": [str(i) for i in range(20_000)]})
    test = split_of(problem(), table, "2013-01-01")
    assert abs(test.mean() - 0.2) < 0.01
    salted = split_of(problem(splits={"salt": "other"}), table, "2013-01-01")
    assert 0.6 < (test == salted).mean() < 0.75  # 0.2 * 0.2 + 0.8 * 0.8 = 0.68: independent draws


def test_a_split_is_pinned():
    """The draw must never change between versions: models of old runs would be tested on rows that they learned from."""
    table = pa.table({"k": [f"key {i}" for i in range(24)]})
    drawn = np.flatnonzero(split_of(problem(), table, "2013-01-01")).tolist()
    assert drawn == PINNED


def test_by_time_the_newest_days_are_for_testing():
    timed = problem(splits={"by": "time", "test": 0.25}, windows={"train_days": 4})
    days = pa.array(np.arange("2013-01-01", "2013-01-05", dtype="datetime64[D]"))
    assert split_of(timed, pa.table({"event_date": days}), "2013-01-05").tolist() == [False, False, False, True]


def test_without_keys_it_says_what_to_give():
    with pytest.raises(ConfigurationError, match="names no key columns"):
        split_of(problem(keys=[]), pa.table({"k": ["a"]}), "2013-01-01")


def by_row(**changes):
    return problem(**({"keys": [], "splits": {"by": "row"}} | changes))


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_by_row_a_row_keeps_its_split_in_any_order_cut_and_encoding(seed, cut):
    random = np.random.default_rng(seed)
    table = pa.table({"x": random.integers(0, 60, 300), "k": random.choice(["a", "b", None], 300), "y": random.choice(["Yes", "No"], 300)})
    whole = split_of(by_row(), table, "2013-01-01")
    order = random.permutation(300)
    mixed = table.take(pa.array(order)).select(["y", "k", "x"]).append_column("other", pa.array(range(300)))
    parts = [split_of(by_row(), mixed.slice(i, cut), "2013-01-01") for i in range(0, 300, cut)]
    assert np.concatenate(parts).tolist() == whole[order].tolist()
    encoded = table.set_column(1, "k", table["k"].combine_chunks().dictionary_encode())
    assert split_of(by_row(), encoded, "2013-01-01").tolist() == whole.tolist()
    alike = {}
    for row, test in zip(table.to_pylist(), whole, strict=True):
        assert alike.setdefault(tuple(row.values()), test) == test  # what is there twice is on one side


def test_by_row_every_class_has_its_share_of_tests():
    random = np.random.default_rng(0)
    label = np.where(random.random(40_000) < 0.03, "Yes", "No")
    table = pa.table({"x": np.arange(40_000), "k": random.choice(["a", "b"], 40_000), "y": label})
    test = split_of(by_row(), table, "2013-01-01")
    assert abs(test[label == "No"].mean() - 0.2) < 0.01
    assert abs(test[label == "Yes"].mean() - 0.2) < 0.04  # four standard errors of 1,200 rows
    salted = split_of(by_row(splits={"by": "row", "salt": "other"}), table, "2013-01-01")
    assert 0.6 < (test == salted).mean() < 0.75


PINNED = [6, 10, 12, 15, 20, 23]


NOTHING = [math.nan, math.inf, -math.inf, None]


def labelled(task, values, kind, positive=None, classes=None):
    """A problem with that label, and its labels of these values."""
    problem = parse(
        {
            "name": "p",
            "owner": "o",
            "task": task,
            "source": {"format": "csv", "path": "x"},
            "columns": {"x": "int64", "y": kind},
            "features": {"numeric": ["x"]},
            "label": {"column": "y", "positive": positive, "classes": classes},
        }
    )
    return label_of(problem, pa.table({"y": pa.array(values, arrow_type(kind))})).to_pylist()


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize(
    ("task", "positive", "values", "labels"),
    [
        ("binary", {"above": 15}, [14.0, 16.0], [0, 1]),
        ("binary", {"at_least": 15}, [14.0, 15.0], [0, 1]),
        ("binary", {"equals": 1}, [0.0, 1.0], [0, 1]),
        ("binary", {"not_equals": 1}, [0.0, 1.0], [1, 0]),
        ("anomaly", None, [0.0, 1.0], [0, 1]),
        ("regression", None, [0.5, 1.5], [0.5, 1.5]),
    ],
)
def test_what_is_no_number_is_no_label(task, positive, values, labels, kind):
    assert labelled(task, [*values, *NOTHING], kind, positive) == [*labels, None, None, None, None]


def test_a_number_that_is_a_class_is_none_where_it_is_no_number():
    assert [value is None for value in labelled("multiclass", [1.0, *NOTHING], "float64")] == [False, True, True, True, True]


@pytest.mark.parametrize("text", ["NaN", "nan", " NAN "])
@pytest.mark.parametrize(
    ("task", "positive", "good", "label"),
    [
        ("binary", {"above": 15}, "16", 1),
        ("binary", {"at_least": 15}, "15", 1),
        ("binary", {"equals": "yes"}, "no", 0),
        ("binary", {"not_equals": "yes"}, "yes", 0),
        ("anomaly", None, "1", 1),
        ("regression", None, "2.5", 2.5),
        ("multiclass", None, "cat", "cat"),
    ],
)
def test_nan_as_text_is_no_label(task, positive, good, label, text):
    assert labelled(task, [good, text, None], "string", positive) == [label, None, None]


def test_infinity_as_text_is_no_number():
    assert labelled("regression", ["1", "inf", "-Infinity"], "string") == [1.0, None, None]
    assert labelled("binary", ["16", "inf"], "string", {"above": 15}) == [1, None]


def test_a_class_that_is_called_nan_stays_one():
    assert labelled("multiclass", ["NaN", "b"], "string", classes=["NaN", "b"]) == ["NaN", "b"]
    assert labelled("binary", ["nan", "b"], "string", {"equals": "nan"}) == [1, 0]


@pytest.mark.parametrize(
    ("task", "positive", "values", "kind", "said"),
    [
        ("anomaly", None, ["normal", "attack"], "string", "label column 'y' of type string does not fit the task anomaly"),
        ("regression", None, ["1", "many"], "string", "label column 'y' of type string does not fit the task regression"),
        ("binary", {"above": 15}, ["1", "late"], "string", "label column 'y' of type string does not fit the task binary"),
        ("binary", {"equals": "yes"}, [1, 0], "int64", "label column 'y' of type int64 does not fit the task binary"),
        ("anomaly", None, [1, -1], "int64", "label column 'y' holds -1, which is neither 0 nor 1"),
    ],
)
def test_a_label_that_does_not_fit_names_its_column(task, positive, values, kind, said):
    with pytest.raises(SchemaMismatchError) as caught:
        labelled(task, values, kind, positive)
    assert said in str(caught.value)
    assert caught.value.hint
