"""The DAGs that a problem file becomes: their shape, their form, and what happens to a broken file."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import jsonschema
import pendulum
import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import TimeRestriction

from windtunnel.lifecycle.contract.errors import ProblemError
from windtunnel.lifecycle.contract.problem import load, parse
from windtunnel.operators import check_problems, lifecycle_dags
from windtunnel.operators.timetable import ClosedHistoryTimetable

DAGS = Path(__file__).parents[2] / "dags"
STAGES = ["ingest", "profile", "validate", "preprocess", "tune", "train", "evaluate", "approve", "register", "deploy"]


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(DAGS, tmp_path / "dags")
    return tmp_path / "dags"


@pytest.fixture(scope="module")
def retraining():
    return lifecycle_dags(load(DAGS / "problems" / "flight_delays.yaml"))[0]


def bag(folder):
    return DagBag(str(folder), bundle_path=folder)


def test_the_bundle_has_no_import_error(folder):
    found = bag(folder)
    assert not found.import_errors
    assert set(found.dags) == {"flight_delays", "flight_delays_monitoring", "flight_delays_feedback"}


def test_the_stages_follow_each_other(retraining):
    assert [task.task_id for task in retraining.topological_sort()] == STAGES
    for one, other in pairwise(STAGES):
        assert other in retraining.get_task(one).downstream_task_ids


def test_every_dag_and_operator_survives_serialization():
    for dag in lifecycle_dags(load(DAGS / "problems" / "flight_delays.yaml")):
        again = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))
        assert again.task_ids == dag.task_ids
        for task in again.tasks:
            assert len(task.operator_extra_links) == 1, "every operator has a link to something worth looking at"
            assert task.has_retry_policy


def test_a_closed_history_is_not_scheduled_past_its_end(retraining):
    assert isinstance(retraining.timetable, ClosedHistoryTimetable)
    assert retraining.end_date is None, "Airflow makes no tasks for runs after it, such as those that are triggered in the UI"
    first = TimeRestriction(earliest=retraining.start_date, latest=None, catchup=False)
    assert retraining.timetable.next_dagrun_info(last_automated_data_interval=None, restriction=first) is None
    backfill = TimeRestriction(earliest=pendulum.datetime(2013, 12, 30), latest=None, catchup=True)
    one = retraining.timetable.next_dagrun_info(last_automated_data_interval=None, restriction=backfill)
    other = retraining.timetable.next_dagrun_info(last_automated_data_interval=one.data_interval, restriction=backfill)
    assert [info.data_interval.end.date().isoformat() for info in (one, other)] == ["2013-12-31", "2014-01-01"]
    assert retraining.timetable.next_dagrun_info(last_automated_data_interval=other.data_interval, restriction=backfill) is None


def test_an_open_history_has_plain_data_intervals(tmp_path):
    values = yaml.safe_load((DAGS / "problems" / "flight_delays.yaml").read_text(encoding="utf-8"))
    del values["windows"]["history_end"]
    dag = lifecycle_dags(parse(values))[0]
    assert type(dag.timetable).__name__ == "CronDataIntervalTimetable"


@pytest.mark.parametrize(
    "wrong",
    [{"promotion": "perhaps"}, {"trials": -1}, {"trials": "many"}, {"window_end": 5}, {"data_version": "newest"}, {"reason": "x" * 501}],
)
def test_the_form_refuses_a_bad_value(retraining, wrong):
    (name, value) = next(iter(wrong.items()))
    schema = retraining.params.get_param(name).schema
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, schema)


def test_the_form_has_sections_titles_and_descriptions(retraining):
    for name in retraining.params:
        param = retraining.params.get_param(name)
        assert {"section", "title"} <= set(param.schema), name
        assert param.description, name
    assert retraining.params.get_param("promotion").schema["enum"] == ["auto", "ask", "never"]


def test_monitoring_starts_a_retraining_only_where_the_problem_wants_it():
    values = yaml.safe_load((DAGS / "problems" / "flight_delays.yaml").read_text(encoding="utf-8"))
    assert lifecycle_dags(parse(values))[1].task_ids == ["monitor"]
    values["monitoring"]["retrain"] = True
    dag = lifecycle_dags(parse(values))[1]
    assert set(dag.task_ids) == {"monitor", "retrain"}
    assert dag.get_task("retrain").upstream_task_ids == {"monitor"}


def test_a_broken_file_is_an_import_error_and_the_others_stay(folder):
    good = (folder / "problems" / "flight_delays.yaml").read_text(encoding="utf-8")
    broken = good.replace("name: flight_delays", "name: broken").replace("task: binary", "task: guess")
    (folder / "problems" / "broken.yaml").write_text(broken, encoding="utf-8")
    found = bag(folder)
    assert set(found.dags) == {"flight_delays", "flight_delays_monitoring", "flight_delays_feedback"}
    ((file, message),) = found.import_errors.items()
    assert file.endswith("problem_files.py"), "an error in lifecycle.py would take every problem's DAGs away"
    for part in ("broken.yaml", "task", "'binary', 'multiclass', 'regression' or 'anomaly'"):
        assert part in message


def test_a_name_that_is_not_the_files_is_refused(folder):
    shutil.copy(folder / "problems" / "flight_delays.yaml", folder / "problems" / "other.yaml")
    with pytest.raises(ProblemError, match="must be the file's own name, 'other'"):
        check_problems(folder / "problems")


def test_a_folder_that_is_not_there():
    with pytest.raises(ProblemError, match="is not a folder"):
        check_problems("nowhere")
