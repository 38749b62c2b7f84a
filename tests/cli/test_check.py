"""What the file alone cannot decide: imports, scikit-learn's own rules for values, the suite, the data."""

import json
from pathlib import Path

import pytest
import yaml

from windtunnel.cli.main import main
from windtunnel.lifecycle.contract.errors import ProblemError
from windtunnel.lifecycle.contract.problem import load
from windtunnel.lifecycle.learning.check import need_learning

DEMO = Path(__file__).parents[2] / "dags" / "problems" / "flight_delays.yaml"
MODULE = "def make(**parameters):\n    return object()\n\n\nNUMBER = 3\n"


@pytest.fixture
def write(tmp_path):
    (tmp_path / "flight_delays.suite.json").write_bytes((DEMO.parent / "flight_delays.suite.json").read_bytes())
    (tmp_path / "check_team_functions.py").write_text(MODULE, encoding="utf-8")

    def written(**changes):
        path = tmp_path / "flight_delays.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(DEMO.read_text(encoding="utf-8")) | changes), encoding="utf-8")
        return path

    return written


def test_the_demo_is_right(capsys):
    assert main(["check", str(DEMO)]) == 0
    assert "nothing is wrong" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"model": {"parameters": {"nonsense": 1}}}, "model.parameters", "'nonsense' is not a parameter of HistGradientBoostingClassifier"),
        ({"model": {"parameters": {"learning_rat": 0.1}}}, "model.parameters", "did you mean 'learning_rate'"),
        ({"model": {"parameters": {"learning_rate": "fast"}}}, "model.parameters", "'learning_rate' parameter"),
        ({"model": {"search": {"learning_rat": [0.1]}}}, "model.search.learning_rat", "did you mean 'learning_rate'"),
        ({"model": {"search": {"learning_rate": [0.1, -1]}}}, "model.search.learning_rate", "'learning_rate' parameter"),
        ({"model": {"search": {"max_iter": {"low": -5, "high": 10}}}}, "model.search.max_iter", "'max_iter' parameter"),
        ({"model": {"estimator": "no_such_module:make"}}, "model.estimator", "cannot be imported"),
        ({"model": {"estimator": "check_team_functions:make"}}, "model.estimator", "returned a object"),
        ({"features": {"transformer": "check_team_functions:absent"}}, "features.transformer", "cannot be imported"),
        ({"features": {"transformer": "check_team_functions:make"}}, "features.transformer", "is no transformer"),
        ({"kpi": {"name": "k", "function": "no_such_module:f"}}, "kpi.function", "cannot be imported"),
        ({"kpi": {"name": "k", "function": "check_team_functions:NUMBER"}}, "kpi.function", "is a int, not a function"),
        ({"serving": {"reward": "no_such_module:f"}}, "serving.reward", "cannot be imported"),
        ({"alerts": [{"notifier": "no_such.Notifier"}]}, "alerts.0.notifier", "cannot be imported"),
        ({"alerts": [{"notifier": "log", "options": {"colour": 1}}]}, "alerts.0.notifier", "does not take these options"),
        ({"suite": "absent.json"}, "suite", "cannot be read"),
        ({"gates": [{"metric": "accuracyy", "at_least": 1}]}, "gates.0.metric", "did you mean 'accuracy'"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_field(write, capsys, changes, field, says):
    path = write(**changes)
    assert main(["check", str(path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(fault["file"], fault["field"]) for fault in found] == [(str(path), field)]
    assert says in found[0]["message"]


def test_a_file_of_another_name_is_said(write, capsys):
    path = write()
    other = path.with_name("other.yaml")
    path.rename(other)
    assert main(["check", str(other)]) == 1
    assert "name: is 'flight_delays' but must be the file's own name, 'other'" in capsys.readouterr().out


def test_the_newest_rows_are_looked_at_if_asked(write, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__WINDTUNNEL__LANDING", str(tmp_path))
    path = write()
    assert main(["check", str(path), "--data"]) == 1
    assert "source: has nothing between 2013-12-04 and 2014-01-01" in capsys.readouterr().out
    columns = list(load(path).columns)
    row = dict.fromkeys(columns, "1") | {"year": "2013", "month": "12", "day": "31"}
    (tmp_path / "flights_2013-12-31.csv").write_text(f"{','.join(columns)}\n{','.join(row.values())}\n", encoding="utf-8")
    assert main(["check", str(path), "--data"]) == 0
    (tmp_path / "flights_2013-12-31.csv").write_text("year;month\n2013;12\n", encoding="utf-8")
    assert main(["check", str(path), "--data"]) == 1
    assert "source: " in capsys.readouterr().out


def test_ingest_stops_before_anything_is_computed(write):
    with pytest.raises(ProblemError, match=r"model\.estimator: .*cannot be imported"):
        need_learning(load(write(model={"estimator": "no_such_module:make"})))
