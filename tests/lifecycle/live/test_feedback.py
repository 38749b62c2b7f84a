import datetime as dt
import json
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.rows import DAY
from windtunnel.lifecycle.data.schema import arrow_schema
from windtunnel.lifecycle.live.feedback import Truth, feedback_schema, horizon, inputs_of, join

MONDAY = dt.date(2024, 1, 1)


def problem(task="binary", **changes):
    label = {"binary": {"column": "y", "positive": {"above": 0}}, "multiclass": {"column": "y"}, "regression": {"column": "y"}}[task]
    return parse(
        {
            "name": "p",
            "owner": "o",
            "task": task,
            "source": {"format": "csv", "path": "x"},
            "columns": {"k": "int64", "x": "float64", "c": "string", "when": "date", "y": "string" if task == "multiclass" else "float64"},
            "keys": ["k"],
            "features": {"numeric": ["x"], "categorical": ["c"]},
            "label": label,
        }
        | changes
    )


def examples(asked, rows, day=MONDAY):
    filled = [{"k": None, "x": None, "c": None, "when": day, "y": None, DAY: day} | row for row in rows]
    kinds = {"int64": pa.int64(), "float64": pa.float64(), "string": pa.string(), "date": pa.date32()}
    schema = pa.schema([*((name, kinds[kind]) for name, kind in asked.columns.items()), (DAY, pa.date32())])
    return Truth(asked, day, iter(pa.Table.from_pylist(filled, schema=schema).to_batches()))


def predictions(rows, day=MONDAY, **answer):
    said = {"prediction": "1", "value": 0.9, "version": "1", "route": "champion", "shadow": False} | answer
    names = [*said, "inputs", DAY]
    table = pa.Table.from_pylist([said | {"inputs": json.dumps(row), DAY: day} for row in rows])
    return table.select(names).combine_chunks().to_batches()[0]


def nobody(_keys):
    return None


def joined(asked, batch, *truths, people=nobody, until=None):
    by_day = {truth.day: truth for truth in truths}
    found, why = join(asked, batch, by_day.get, people, until=until)
    assert found.schema == feedback_schema(asked)
    return found, why


def test_a_row_is_found_by_its_keys_and_keeps_what_was_sent():
    found, why = joined(
        problem(), predictions([{"k": 7, "x": 1.5, "c": "a"}]), examples(problem(), [{"k": 7, "x": 1.5, "c": "a", "y": 1.0}])
    )
    row = found.to_pylist()[0]
    assert (row["label"], row["correct"], row["differs"], row["x"], row["label_source"]) == (1, True, "", 1.5, "truth")
    assert (row["row_date"], row["known_on"]) == (MONDAY, MONDAY)
    assert why == {}


def test_why_the_others_wait():
    asked = problem()
    rows = [{"x": 1.0}, {"k": 1}, {"k": 2}, {"k": 3}]
    truth = examples(asked, [{"k": 2, "y": None}, {"k": 3, "y": 1.0}, {"k": 3, "y": -1.0}])
    found, why = joined(asked, predictions(rows), truth)
    assert found.num_rows == 0
    assert why == {"no_keys": 1, "no_row": 1, "no_label": 1, "ambiguous": 1}
    assert joined(asked, predictions(rows[1:]))[1] == {"no_examples": 3}


def test_a_label_is_known_only_after_its_delay():
    late = {"column": "y", "positive": {"above": 0}, "delay_days": 3}
    asked = problem(label=late, source={"format": "csv", "path": "x/{day}.csv"})
    batch, truth = predictions([{"k": 1}]), examples(asked, [{"k": 1, "y": 1.0}])
    found, why = joined(asked, batch, truth, until=dt.date(2024, 1, 4))
    assert found["known_on"].to_pylist() == [dt.date(2024, 1, 4)]
    assert why == {"not_due": 1}
    assert joined(asked, batch, truth, until=dt.date(2024, 1, 5))[1] == {}


def test_a_row_says_its_own_day_or_is_looked_for_around_the_answer():
    dated = problem(event_time={"column": "when"})
    friday = examples(dated, [{"k": 1, "y": 1.0}], dt.date(2024, 1, 5))
    monday = examples(dated, [{"k": 1, "y": -1.0}])
    said = predictions([{"k": 1, "when": "2024-01-05"}])
    assert joined(dated, said, friday, monday)[0]["label"].to_pylist() == [1]
    assert joined(dated, said, monday)[1] == {"no_examples": 1}
    unsaid = predictions([{"k": 1}])
    assert joined(problem(), unsaid, friday, monday)[0]["label"].to_pylist() == [0]
    assert joined(problem(), unsaid, friday)[0]["label"].to_pylist() == [1]


@pytest.mark.parametrize(
    ("sent", "differs"),
    [
        ({"x": 1.5, "c": "a"}, ""),
        ({"x": 1.5 + 1e-13, "c": "a"}, ""),
        ({"x": 1.6, "c": "a"}, "x"),
        ({"x": 1.5}, "c"),
        ({"x": None, "c": "b"}, "x,c"),
        ({"x": "1.5", "c": "a"}, ""),
    ],
)
def test_what_was_sent_is_compared_with_what_was_ingested(sent, differs):
    truth = examples(problem(), [{"k": 1, "x": 1.5, "c": "a", "y": 1.0}])
    assert joined(problem(), predictions([{"k": 1} | sent]), truth)[0]["differs"].to_pylist() == [differs]


def test_what_the_log_leaves_out_is_not_called_different():
    asked = problem(serving={"redact": ["c"]})
    truth = examples(asked, [{"k": 1, "x": 1.5, "c": "a", "y": 1.0}])
    assert joined(asked, predictions([{"k": 1, "x": 1.5}]), truth)[0]["differs"].to_pylist() == [""]


def test_a_persons_newest_word_comes_before_the_truth():
    said = pa.table(
        {
            "k": [1, 1, 2],
            "label": ["1", "0", "1"],
            "by": ["ada", "bob", "ada"],
            "at": [dt.datetime(2024, 1, day, tzinfo=dt.UTC) for day in (5, 9, 5)],
        }
    )
    truth = examples(problem(), [{"k": 1, "y": 1.0}])
    found, why = joined(problem(), predictions([{"k": 1}, {"k": 2}, {"k": 3}]), truth, people=lambda _: said)
    assert found["label"].to_pylist() == [0, 1]
    assert found["label_by"].to_pylist() == ["bob", "ada"]
    assert found["known_on"].to_pylist() == [dt.date(2024, 1, 9), dt.date(2024, 1, 5)]
    assert why == {"no_row": 1}


def test_regression_and_multiclass():
    number = problem("regression")
    found, _ = joined(number, predictions([{"k": 1}], value=3.0, prediction="3.0"), examples(number, [{"k": 1, "y": 2.5}]))
    assert (found["error"].to_pylist(), found["correct"].to_pylist(), found["label"].to_pylist()) == ([0.5], [None], [2.5])
    kinds = problem("multiclass")
    answer = predictions([{"k": 1}], prediction="cat", probabilities=[0.7, 0.3])
    found, _ = joined(kinds, answer, examples(kinds, [{"k": 1, "y": "dog"}]))
    assert (found["correct"].to_pylist(), json.loads(found["probabilities"][0].as_py())) == ([False], [0.7, 0.3])


def test_inputs_that_do_not_fit_are_null_and_do_not_harm_their_neighbours():
    batch = pa.record_batch(
        {"inputs": ['{"k": 1, "x": NaN}', '{"k": 2.5, "x": "abc"}', "not json", "[1]", None, '{"k": 6, "when": "2024-02-30"}']}
    )
    found = inputs_of(problem(), batch)
    assert found["k"].to_pylist() == [1, None, None, None, None, 6]
    assert found["when"].null_count == 6


def test_predictions_with_columns_of_their_own():
    batch = pa.record_batch({"k": pa.array([1], pa.int32()), "prediction": ["1"], "value": [0.9], DAY: [MONDAY]})
    found, _ = joined(problem(), batch, examples(problem(), [{"k": 1, "x": 1.0, "y": 1.0}]))
    assert found["label"].to_pylist() == [1]
    assert found["differs"].to_pylist() == [None]


def test_raw_columns_that_have_a_name_of_ours():
    asked = parse(
        {
            "name": "p",
            "owner": "o",
            "task": "regression",
            "source": {"format": "csv", "path": "x"},
            "columns": {"row": "int64", "value": "float64", "y": "float64"},
            "keys": ["row"],
            "features": {"numeric": ["value"]},
            "label": {"column": "y"},
        }
    )
    schema = pa.schema([("row", pa.int64()), ("value", pa.float64()), ("y", pa.float64())])
    truth = Truth(asked, MONDAY, iter(pa.table({"row": [1], "value": [2.0], "y": [3.0]}, schema=schema).to_batches()))
    found, _ = joined(asked, predictions([{"row": 1, "value": 2.0}], value=2.5), truth)
    assert (found["value"].to_pylist(), found["input_value"].to_pylist(), found["input_row"].to_pylist()) == ([2.5], [2.0], [1])


def test_the_clock_of_a_closed_history_stands_still():
    closed = problem(windows={"history_end": "2024-02-01"})
    assert horizon(closed, Window(MONDAY, dt.date(2024, 2, 1))) is None
    assert horizon(closed, Window(MONDAY, dt.date(2024, 1, 20))) == dt.date(2024, 1, 20)
    assert horizon(problem(), Window(MONDAY, dt.date(2024, 2, 1))) == dt.date(2024, 2, 1)


keys = st.one_of(st.none(), st.integers(0, 6))
labels = st.one_of(st.none(), st.sampled_from([-1.0, 1.0]))


@settings(max_examples=60, deadline=None)
@given(asked=st.lists(keys, min_size=1, max_size=12), known=st.lists(st.tuples(keys, labels), max_size=12))
def test_the_join_is_that_of_a_dictionary(asked, known):
    truth = examples(problem(), [{"k": key, "y": label} for key, label in known])
    found, why = joined(problem(), predictions([{"k": key, "x": float(place)} for place, key in enumerate(asked)]), truth)
    table: dict = {}
    for key, label in known:
        if key is not None:
            table.setdefault(key, set()).update({int(label > 0)} if label is not None else set())
    expected = [(place, min(table[key])) for place, key in enumerate(asked) if len(table.get(key, ())) == 1]
    assert sorted(zip(found["x"].to_pylist(), found["label"].to_pylist(), strict=True)) == expected
    assert found.num_rows + sum(why.values()) == len(asked)
    assert why.get("no_keys", 0) == asked.count(None)
    assert why.get("ambiguous", 0) == sum(len(table.get(key, ())) == 2 for key in asked)


@pytest.mark.parametrize(
    ("kind", "sent", "held"),
    [
        ("float64", 1.5, 1.5),
        ("float32", 0.1, 0.1),
        ("string", "é", "é"),
        ("bool", True, True),
        ("int32", 7, 7),
        ("date", "2024-01-01", MONDAY),
        ("timestamp", "2024-01-01T10:00:00+01:00", dt.datetime(2024, 1, 1, 9)),  # noqa: DTZ001 - kept without a zone
        ("decimal", 12.5, Decimal("12.5")),
    ],
)
def test_keys_of_any_type(kind, sent, held):
    asked = problem(columns={"k": kind, "x": "float64", "c": "string", "when": "date", "y": "float64"})
    schema = arrow_schema(asked)
    rows = pa.Table.from_pylist([{"k": held, "x": 1.0, "c": "a", "when": None, "y": 1.0, DAY: MONDAY}], schema=schema)
    truth = Truth(asked, MONDAY, iter(rows.to_batches()))
    found, why = joined(asked, predictions([{"k": sent, "x": 1.0, "c": "a"}, {"x": 1.0}]), truth)
    assert (found["label"].to_pylist(), found["differs"].to_pylist(), why) == ([1], [""], {"no_keys": 1})
