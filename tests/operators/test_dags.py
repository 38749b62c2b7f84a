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
    assert set(found.dags) == {"flight_delays", "flight_delays_monitoring", "flight_delays_feedback", "windtunnel_maintenance"}


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
    assert set(found.dags) == {"flight_delays", "flight_delays_monitoring", "flight_delays_feedback", "windtunnel_maintenance"}
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


def flights(**more):
    return parse({**yaml.safe_load((DAGS / "problems" / "flight_delays.yaml").read_text(encoding="utf-8")), **more})


def survived(dag):
    return DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))


def test_a_schedule_of_assets_of_times_and_of_both():
    assets = {"assets": ["bookings.examples", "s3://lake/raw", "somebodys_asset"]}
    dag = survived(lifecycle_dags(flights(schedule=assets))[0])
    assert type(dag.timetable).__name__ == "AssetTriggeredTimetable"
    assert {key.name for key, _ in dag.timetable.asset_condition.iter_assets()} == {"bookings.examples", "s3://lake/raw"}
    both = survived(lifecycle_dags(flights(schedule={**assets, "cron": "0 3 * * *", "any": True}))[0])
    assert type(both.timetable).__name__ == "AssetOrTimeSchedule"
    with pytest.raises(ProblemError, match="schedule"):
        flights(schedule={"assets": []})


def test_times_are_of_the_problems_zone_summer_time_included():
    dag = survived(lifecycle_dags(flights(timezone="America/New_York", windows={"train_days": 7}, schedule="0 0 * * *"))[0])
    restriction = TimeRestriction(earliest=pendulum.datetime(2013, 3, 10, tz="America/New_York"), latest=None, catchup=True)
    info = dag.timetable.next_dagrun_info(last_automated_data_interval=None, restriction=restriction)
    assert info.data_interval.end - info.data_interval.start == pendulum.duration(hours=23), "clocks go forward on that day"
    closed = lifecycle_dags(flights(timezone="America/New_York"))[0].timetable
    last = TimeRestriction(earliest=pendulum.datetime(2013, 12, 31, tz="America/New_York"), latest=None, catchup=True)
    assert closed.next_dagrun_info(last_automated_data_interval=None, restriction=last) is not None, "31 December ends there, not in UTC"
    with pytest.raises(ProblemError, match="no time zone of the IANA database"):
        flights(timezone="New York")


def test_time_outs_are_sane_and_people_have_time_to_answer():
    dag = survived(lifecycle_dags(flights())[0])
    assert dag.get_task("train").execution_timeout.total_seconds() == 6 * 3600
    assert dag.get_task("approve").execution_timeout is None
    assert dag.dagrun_timeout.total_seconds() > 72 * 3600


def test_airflows_own_options_come_from_the_file_or_from_register_problems(folder):
    call = "# airflow dags\nfrom windtunnel.operators import register_problems\nregister_problems('problems', globals(), {})\n"
    (folder / "lifecycle.py").write_text(call.format("retries=7, pool='gpu', timezone='Europe/Berlin'"))
    path = folder / "problems" / "flight_delays.yaml"
    mine = "dag: { retries: 1, owner_links: { a: 'mailto:a@example.org' }, deadline: 06:00:00 }\n"
    path.write_text(path.read_text(encoding="utf-8") + mine)
    found = bag(folder)
    assert not found.import_errors
    dag = found.dags["flight_delays"]
    assert (dag.get_task("train").retries, dag.get_task("train").pool, str(dag.timetable._timezone)) == (1, "gpu", "Europe/Berlin")
    (folder / "lifecycle.py").write_text(call.format("poool='gpu'"))
    ((_, message),) = bag(folder).import_errors.items()
    assert "did you mean 'pool'?" in message


def test_who_may_start_a_retraining_how_and_who_is_told_when_it_is_late():
    options = {
        "allowed_run_types": ["scheduled", "backfill"],
        "deadline": "06:00:00",
        "owner_links": {"flight-operations@example.org": "mailto:a@b.c"},
    }
    dag = survived(lifecycle_dags(flights(dag=options, alerts=[{"notifier": "somewhere.Notifier"}]))[0])
    assert {kind.value for kind in dag.allowed_run_types} == {"scheduled", "backfill"}
    assert len(dag.deadline) == 1
    assert dag.owner_links
    assert all(task.has_on_failure_callback for task in dag.tasks), "every stage tells of its failure"
    with pytest.raises(ProblemError, match="default_args must not have retries"):
        flights(dag={"default_args": {"retries": 1}})


def test_stages_are_grouped_and_explained(retraining):
    groups = {name: set(group.children) for name, group in retraining.task_group.get_task_group_dict().items() if name}
    assert groups["data"] == {"ingest", "profile", "validate"}
    assert groups["decision"] == {"approve", "register", "deploy"}
    assert len({task.ui_color for task in retraining.tasks}) == len(retraining.tasks)
    assert all(task.doc_md for task in retraining.tasks)


def test_the_form_offers_only_what_is_no_laxer_than_the_file():
    for rule, offered in (("auto", ["auto", "ask", "never"]), ("ask", ["ask", "never"]), ("never", ["never"])):
        dag = lifecycle_dags(flights(approval={"promotion": rule}))[0]
        assert dag.params.get_param("promotion").schema["enum"] == offered
