import datetime as dt
import json
import sys
import types

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, mean_squared_error, roc_auc_score

from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.live.feedback import feedback_schema
from windtunnel.lifecycle.live.outcomes import COLUMNS, Arm, Live

ARM = Arm("1", "champion", shadow=False)
MONDAY = dt.date(2024, 1, 1)


def problem(task, **changes):
    label = {"column": "y", "positive": {"above": 0}} if task == "binary" else {"column": "y"}
    return parse(
        {
            "name": "p",
            "owner": "o",
            "task": task,
            "source": {"format": "csv", "path": "x"},
            "columns": {"x": "float64", "y": "string" if task == "multiclass" else "float64"},
            "features": {"numeric": ["x"]},
            "label": label,
        }
        | changes
    )


def rows(asked, entries):
    schema = pa.schema([feedback_schema(asked).field(name) for name in COLUMNS])
    common = {"version": "1", "route": "champion", "shadow": False, "known_on": MONDAY}
    return pa.Table.from_pylist([common | entry for entry in entries], schema=schema)


def live(asked, entries, cuts=(), classes=None, until=None):
    table, found = rows(asked, entries), Live(asked, classes, until)
    for start, end in zip((0, *cuts), (*cuts, len(entries)), strict=True):
        found.add(table.slice(start, end - start))
    return found


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20)), min_size=2, max_size=60), st.integers(0, 60))
def test_binary_is_what_scikit_learn_says_however_it_comes(pairs, cut):
    asked = problem("binary")
    entries = [{"label": truth, "value": score / 20, "prediction": str(int(score >= 10))} for truth, score in pairs]
    outcome = live(asked, entries, (min(cut, len(entries)),)).outcome([ARM])
    truth, score = np.array(pairs).T
    assert outcome.rows == len(pairs)
    assert outcome.figures["accuracy"] == pytest.approx(np.mean(truth == (score >= 10)))
    if len(set(truth)) == 2:
        assert outcome.value == pytest.approx(roc_auc_score(truth, score))
    else:
        assert outcome.value is None


def test_regression():
    truth, said = np.arange(50.0), np.arange(50.0) + np.tile([1.0, -3.0], 25)
    entries = [{"label": a, "value": b, "prediction": repr(b)} for a, b in zip(truth.tolist(), said.tolist(), strict=True)]
    outcome = live(problem("regression"), entries).outcome([ARM])
    assert (outcome.metric, outcome.value) == ("rmse", pytest.approx(np.sqrt(mean_squared_error(truth, said))))
    assert "accuracy" not in outcome.figures
    assert outcome.interval[0] < outcome.value < outcome.interval[1]


def test_multiclass_and_versions_that_know_other_classes():
    generator = np.random.default_rng(0)
    names = ["a", "b", "c"]
    entries = []
    for version, classes in (("1", names), ("2", ["c", "b", "a"]), ("3", names)):
        for _ in range(40):
            chances = generator.dirichlet(np.ones(3))
            said = {"version": version, "prediction": classes[int(chances.argmax())], "probabilities": json.dumps(chances.tolist())}
            entries.append(said | {"label": names[int(generator.integers(3))]})
    found = live(problem("multiclass"), entries, classes={"1": names, "2": ["c", "b", "a"], "3": names})
    for version in ("1", "2", "3"):
        mine = [entry for entry in entries if entry["version"] == version]
        expected = f1_score([entry["label"] for entry in mine], [entry["prediction"] for entry in mine], average="macro")
        assert found.outcome([Arm(version, "champion", shadow=False)]).value == pytest.approx(expected)
    together = found.outcome(sorted(found.rows))
    same = [entry for entry in entries if entry["version"] != "2"]
    expected = f1_score([entry["label"] for entry in same], [entry["prediction"] for entry in same], average="macro")
    assert (together.rows, together.value) == (120, pytest.approx(expected))


def test_multiclass_without_known_classes_still_has_an_accuracy():
    found = live(problem("multiclass"), [{"label": "a", "prediction": "a", "probabilities": "[1.0]"}]).outcome([ARM])
    assert (found.figures, found.interval) == ({"accuracy": 1.0}, None)


def test_answers_that_are_no_numbers_harm_nothing():
    entries = [{"label": i % 2, "value": float(i), "prediction": "1"} for i in range(10)]
    entries += [{"label": 1, "value": float("nan"), "prediction": "1"}, {"label": 1, "value": None, "prediction": "0"}]
    outcome = live(problem("binary"), entries).outcome([ARM])
    assert outcome.rows == 12
    assert outcome.value == pytest.approx(roc_auc_score([i % 2 for i in range(10)], range(10)))


def test_what_is_known_later_does_not_count():
    entries = [{"label": 1, "value": 0.9, "prediction": "1", "known_on": MONDAY + dt.timedelta(days=day)} for day in range(5)]
    assert live(problem("binary"), entries, until=MONDAY + dt.timedelta(days=2)).rows[ARM] == 2
    assert live(problem("binary"), entries, until=MONDAY).outcome([ARM]) is None


def test_a_kpi_of_the_teams_own(monkeypatch):
    module = types.ModuleType("kpi_of_ours")
    module.caught = lambda truth, prediction: float(((truth == 1) & (prediction == 1)).sum())
    monkeypatch.setitem(sys.modules, "kpi_of_ours", module)
    asked = problem("binary", kpi={"name": "caught", "function": "kpi_of_ours:caught"})
    entries = [{"label": int(i % 2 == 0), "value": 0.9, "prediction": "1" if i < 6 else "0"} for i in range(10)]
    assert live(asked, entries, (3, 7)).outcome([ARM]).figures["kpi"] == 3.0


def test_features_that_were_sent_differently_are_counted():
    entries = [{"label": 1, "value": 0.9, "prediction": "1", "differs": differs} for differs in ("", "x", "x,z", None)]
    found = live(problem("binary"), entries)
    assert (found.compared, found.shares()) == (3, {"x": 2 / 3, "z": 1 / 3})
