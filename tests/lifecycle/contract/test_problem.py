import copy
from pathlib import Path

import pytest
import yaml

from windtunnel.lifecycle.contract.errors import ProblemError
from windtunnel.lifecycle.contract.problem import json_schema, load, parse

FILE = Path(__file__).parents[3] / "dags" / "problems" / "flight_delays.yaml"


@pytest.fixture
def values():
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def test_the_demo_problem_loads():
    problem = load(FILE)
    assert problem.name == "flight_delays"
    assert problem.slices == [["origin"], ["carrier"]]
    assert not {"arr_time", "air_time", "arr_delay"} & set(problem.features.columns), "these are known on arrival only"
    assert Path(problem.directory) == FILE.parent


def test_the_schema_is_published_with_every_field():
    schema = json_schema()
    assert {"name", "task", "source", "label", "features", "gates", "approval"} <= set(schema["properties"])
    assert schema["properties"]["task"]["enum"] == ["binary", "multiclass", "regression", "anomaly"]


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"task": "guess"}, "task", "'binary', 'multiclass', 'regression' or 'anomaly'"),
        ({"colour": "red"}, "colour", "allowed: .*name.*task"),
        ({"features": {"numeric": ["speed"]}}, "features.numeric", "not declared: 'speed'.*allowed"),
        ({"features": {"numeric": ["arr_delay"]}}, "", "would see the answer"),
        ({"label": {"column": "arr_delay"}}, "", "label.positive"),
        ({"label": {"column": "arr_delay", "positive": {"above": 1, "equals": 2}}}, "label.positive", "exactly one"),
        ({"windows": {"train_days": 0}}, "windows.train_days", "greater than or equal to 1"),
        ({"windows": {"train_day": 3}}, "windows.train_day", "allowed: .*train_days"),
        ({"columns": {"year": "integer"}}, "columns.year", "'int64'"),
        ({"source": {"format": "csv"}}, "source", "needs path"),
        ({"source": {"format": "excel", "path": "x"}}, "source.format", "allowed: .*parquet"),
        ({"gates": [{"metric": "auc"}]}, "gates.0", "exactly one"),
        ({"name": "Flight Delays"}, "name", "pattern"),
        ({"budget": {"trials": -1}}, "budget.trials", "greater than or equal to 0"),
        ({"event_time": {"year": "year"}}, "event_time", "either column"),
    ],
)
def test_a_wrong_file_names_file_field_and_what_is_allowed(values, tmp_path, change, field, says):
    path = tmp_path / "flight_delays.yaml"
    path.write_text(yaml.safe_dump({**copy.deepcopy(values), **change}), encoding="utf-8")
    with pytest.raises(ProblemError, match=says) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert field in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "- just\n- a list", "", "\x00"])
def test_what_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "p.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ProblemError, match=str(path)):
        load(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ProblemError, match="cannot be read"):
        load(tmp_path / "absent.yaml")


def test_the_fingerprint_sees_every_change_and_not_the_folder(values, tmp_path):
    original = load(FILE)
    assert parse(values).fingerprint == original.fingerprint
    assert parse({**values, "owner": "somebody else"}).fingerprint != original.fingerprint
    assert parse({**values, "owner": "somebody else"}).part_fingerprint("model") == original.part_fingerprint("model")
