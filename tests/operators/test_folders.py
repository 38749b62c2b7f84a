"""Folders of problem files, in Airflow's own DAG bag: a wrong file is an import error that names it, and nobody else's DAGs are touched."""

import os
import shutil
from pathlib import Path

import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag

from windtunnel.lifecycle.contract.errors import ProblemError
from windtunnel.operators import check_problems, register_problems
from windtunnel.operators.dags import folders

DAGS = Path(__file__).parents[2] / "dags"
VALUES = yaml.safe_load((DAGS / "problems" / "flight_delays.yaml").read_text(encoding="utf-8"))
OURS = {"flight_delays", "flight_delays_monitoring", "flight_delays_feedback", "windtunnel_maintenance"}


@pytest.fixture
def bundle(tmp_path):
    shutil.copytree(DAGS, tmp_path / "dags")
    return tmp_path / "dags"


def write(folder, name, **changes):
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(VALUES | {"name": name} | changes, allow_unicode=True), encoding="utf-8")
    return path


def bag(bundle):
    return DagBag(str(bundle), bundle_path=bundle)


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [
        ("tiny", {"schedule": "every day at 3"}, "schedule"),
        ("tiny", {"schedule": "99 99 * * *"}, "schedule"),
        ("tiny", {"monitoring": {"schedule": "nope"}}, "monitoring.schedule"),
        ("tiny", {"tags": ["x" * 101]}, "tags.0"),
        ("tiny", {"owner": ""}, "owner"),
        ("tiny", {"windows": {"history_start": "2014-01-01", "history_end": "2013-01-01"}}, "windows.history_end"),
        ("flight_delays_monitoring", {}, "name"),
        ("flight_delays_feedback", {}, "name"),
    ],
)
def test_what_airflow_would_refuse_is_an_import_error_of_the_file_alone(bundle, name, changes, field):
    write(bundle / "problems", "other")
    write(bundle / "problems", name, **changes)
    found = bag(bundle)
    assert set(found.dags) == OURS | {"other", "other_monitoring", "other_feedback"}
    assert found.dags["flight_delays_monitoring"].task_ids == ["monitor"]
    ((file, message),) = found.import_errors.items()
    assert file.endswith("problem_files.py")
    assert f"{name}.yaml: {field}" in message


def test_what_only_airflow_knows_is_caught_too(bundle, monkeypatch, caplog):
    """Whatever is raised while DAGs are built: here, by Airflow's own timetable, as if the file's check had missed it."""
    monkeypatch.setattr("windtunnel.lifecycle.contract.problem.sense.time.cron_fault", lambda _cron: "")
    write(bundle / "problems", "tiny", schedule="99 99 * * *")
    found = bag(bundle)
    assert set(found.dags) == OURS
    ((file, message),) = found.import_errors.items()
    assert file.endswith("problem_files.py")
    assert "tiny.yaml: Airflow does not take its DAGs" in message
    assert "tiny.yaml: left out" in caplog.text
    fault = folders._fault(bundle / "problems" / "tiny.yaml", bundle)
    assert "tiny.yaml" in fault
    assert "99 99 * * *" in fault


def test_one_name_in_two_folders_is_one_problem_and_one_error(bundle):
    for folder in "ab":
        write(bundle / folder, "tiny", title=f"the one in {folder}")
    (bundle / "lifecycle.py").write_text(
        "# a dag for airflow\nfrom windtunnel.operators import register_problems\n"
        "for folder in ('a', 'b', 'problems'):\n    register_problems(folder, globals())\n",
        encoding="utf-8",
    )
    (bundle / "problem_files.py").write_text(
        "# a dag for airflow\nfrom windtunnel.operators import check_problems\ncheck_problems('a', 'b', 'problems')\n", encoding="utf-8"
    )
    found = bag(bundle)
    assert set(found.dags) == OURS | {"tiny", "tiny_monitoring", "tiny_feedback"}
    assert "the one in a" in str(found.dags["tiny"].description)
    ((_, message),) = found.import_errors.items()
    assert "b/tiny.yaml: name" in message
    assert "a/tiny.yaml too" in message


def test_each_of_two_dag_files_knows_of_the_other_s_folder(bundle):
    for folder in "ab":
        write(bundle / folder, "tiny", title=f"the one in {folder}")
    namespaces = {folder: {"__file__": str(bundle / f"{folder}.py")} for folder in "ab"}
    for folder, namespace in namespaces.items():
        register_problems(folder, namespace)
    assert "dag_tiny" in namespaces["a"]
    assert "dag_tiny" not in namespaces["b"]


def test_what_is_no_folder_is_said():
    with pytest.raises(ProblemError, match="is not a folder"):
        check_problems("nowhere")


def test_whatever_lies_in_the_folder_no_problem_loses_its_dags(bundle):
    """Folders, pipes, links in a circle or to nowhere, doubles and empty files: each is named, and nobody else's DAGs wait for it."""
    problems = bundle / "problems"
    write(problems, "other", schedule="@weekly")
    for name in ("one", "two", "three", "four"):
        (bundle / name).mkdir()
    (bundle / "one" / "other.yaml").mkdir()
    (bundle / "two" / "other.yaml").symlink_to("/nowhere/at/all")
    (bundle / "three" / "other.yaml").symlink_to("other.yaml")
    (bundle / "four" / "other.yaml").symlink_to(problems / "other.yaml")  # the same file is no rival
    (problems / "folder.yaml").mkdir()
    (problems / "loop.yaml").symlink_to("loop.yaml")
    (problems / "double.yaml").symlink_to("other.yaml")
    (problems / "empty.yaml").write_text("")
    (problems / "two words.yaml").write_text((problems / "other.yaml").read_text())
    (problems / "other.yml").write_text((problems / "other.yaml").read_text())
    os.mkfifo(problems / "pipe.yaml")
    found = bag(bundle)
    assert set(found.dags) == OURS | {"other", "other_monitoring", "other_feedback"}
    assert set(found.dags["windtunnel_maintenance"].task_ids) == {"flight_delays", "other"}
    ((file, message),) = found.import_errors.items()
    assert file.endswith("problem_files.py")
    for name in ("folder.yaml: is a folder", "loop.yaml: cannot be read", "double.yaml: name", "empty.yaml: is empty", "pipe.yaml: is no"):
        assert name in message
    assert "other.yml: name: 'other' is the name of" in message
    assert "two words.yaml: name" in message
