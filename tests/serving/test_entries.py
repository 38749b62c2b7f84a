"""JSON by column is JSON by row; log entries by row and by column are the same rows of the table."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.serving.base import rowjson
from windtunnel.serving.base.batch import Rows, from_tensors
from windtunnel.serving.routing.entries import Entries

VALUE = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=4)
COLUMN = st.one_of(
    st.lists(st.floats(), min_size=12, max_size=12).map(np.array),
    st.lists(st.text(max_size=3) | st.none(), min_size=12, max_size=12),
    st.lists(VALUE, min_size=12, max_size=12),
    st.lists(st.lists(st.floats(0, 1), max_size=3), min_size=12, max_size=12),
)


def plain(value):
    """NaN is not equal to itself, and its text is."""
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.text(max_size=4), COLUMN, min_size=1, max_size=4))
def test_objects_by_column_are_those_by_row(columns):
    lists = {name: values.tolist() if isinstance(values, np.ndarray) else values for name, values in columns.items()}
    wanted = [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
    found = json.loads(rowjson.array(columns))
    assert [{k: plain(v) for k, v in row.items()} for row in found] == [{k: plain(v) for k, v in row.items()} for row in wanted]


def entry(inputs, answers, **more):
    about = {"id": "a", "time": 1.75e9, "problem": "p", "model": "m", "version": "1", "route": "champion", "seconds": 0.1}
    return about | {"inputs": inputs, "answers": answers} | more


def test_rows_and_columns_become_the_same_rows():
    rows = [{"x": number / 2, "key": f"k{number}"} for number in range(12)]
    answers = [{"prediction": "late", "score": number / 12} for number in range(12)]
    by_row, by_column = Entries(), Entries()
    by_row.add(entry(rows, answers))
    by_column.add(
        entry({name: [row[name] for row in rows] for name in rows[0]}, {name: [row[name] for row in answers] for name in answers[0]})
    )
    assert by_row.table().equals(by_column.table())
    assert [json.loads(text) for text in by_row.table()["inputs"].to_pylist()] == rows
    # What batches write is read: many rows by column, few and uneven ones as they are.
    for batch in (Rows(rows), from_tensors([("x", np.arange(12) / 2), ("key", [row["key"] for row in rows])])):
        again = Entries()
        again.add(entry(batch.logged(), answers))
        assert again.table()["inputs"].to_pylist() == by_row.table()["inputs"].to_pylist()
        hidden = batch.logged({"key"})
        assert "key" not in json.dumps(hidden)
    assert isinstance(Rows(rows).logged(), dict)
    assert isinstance(Rows([*rows, {"x": 1.0}]).logged(), list)
    assert Rows(rows[:1]).logged() == rows[:1]


def test_numbers_and_probabilities_and_decisions():
    found = Entries()
    found.add(entry([{}], [{"prediction": 0.1}]))
    found.add(entry([{}], [{"prediction": "a", "score": 0.9, "probabilities": [0.9, 0.1], "decision": "person"}], shadow=True))
    table = found.table().to_pylist()
    assert [(row["prediction"], row["value"], row["probabilities"], row["decision"], row["shadow"]) for row in table] == [
        ("0.1", 0.1, None, None, False),
        ("a", 0.9, "[0.9,0.1]", "person", True),
    ]


@pytest.mark.parametrize(
    "bad",
    [
        {},
        entry([{}], []),
        entry([{}, {}], [{"prediction": 1.0}]),
        entry([{}], [{"score": 1.0}]),
        entry({"a": [1, 2]}, {"prediction": [1.0]}),
        entry([{}], [{"prediction": 1.0}], time="x"),
    ],
)
def test_a_damaged_entry_adds_nothing(bad):
    found = Entries()
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError, IndexError)):
        found.add(bad)
    assert found.table().num_rows == 0
