"""Airflow's own habits, in a real Airflow: events only for what happened, refused runs, bare and mapped operators, deadlines."""

import datetime as dt
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from windtunnel.cli.instance import Instance
from windtunnel.cli.running.airflow_api import AirflowApi
from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.record.ledger import Ledger

pytestmark = [pytest.mark.instance, pytest.mark.slow, pytest.mark.timeout(900)]

NAME = "habits"
DAYS = [dt.date(2024, 3, 1) + dt.timedelta(days=i) for i in range(5)]
OWN = """# a hand-written Airflow dag, without Params of ours
from airflow.sdk import DAG, task
from windtunnel.operators import EvaluateOperator, IngestOperator, PreprocessOperator, TrainOperator

PROBLEM = f"{__file__.rpartition('/')[0]}/problems/habits.yaml"

@task
def best(evaluations):
    return max(evaluations, key=lambda evaluation: evaluation["value"])

with DAG(dag_id="own_habits", schedule=None):
    ingest = IngestOperator(task_id="rows", problem=PROBLEM)
    preprocess = PreprocessOperator(task_id="numbers", problem=PROBLEM, snapshot=ingest.output)
    train = TrainOperator.partial(
        task_id="candidates", problem=PROBLEM, snapshot=ingest.output, features=preprocess.output
    ).expand(parameters=[{"C": 0.001}, {"C": 1.0}])
    evaluate = EvaluateOperator.partial(task_id="judged", problem=PROBLEM, snapshot=ingest.output).expand(candidate=train.output)
    best(evaluate.output)
"""
PATIENCE = """# an Airflow dag of one task, which waits for files without a worker
import yaml
from airflow.sdk import DAG
from windtunnel.operators import IngestOperator

with open(f"{__file__.rpartition('/')[0]}/problems/habits.yaml") as file:
    problem = yaml.safe_load(file)
problem["name"] = "patience"
problem["windows"] = {"train_days": 2}
problem["source"]["wait"] = {"until": 876000, "complete": "all", "settle_seconds": 1}

with DAG(dag_id="patience", schedule=None):
    IngestOperator(task_id="rows", problem=problem)
"""
HEARD = '''"""A notifier that writes what it hears into a file."""

from airflow.sdk import BaseNotifier


class Heard(BaseNotifier):
    """Appends a line."""

    def __init__(self, file):
        super().__init__()
        self.file = file

    def notify(self, context):
        with open(self.file, "a") as file:
            file.write(str(context["exception"]).replace("\\n", " ") + "\\n")
'''


def _problem(landing: Path, heard: Path) -> dict[str, Any]:
    return {
        "name": NAME,
        "owner": "test@example.org",
        "task": "binary",
        "source": {"format": "csv", "path": f"{landing}/{{day}}.csv"},
        "columns": {"at": "date", "id": "int64", "a": "float64", "b": "float64", "y": "int64"},
        "event_time": {"column": "at"},
        "keys": ["id"],
        "label": {"column": "y", "positive": {"equals": 1}},
        "features": {"numeric": ["a", "b"]},
        "windows": {"train_days": 3, "history_end": (DAYS[-1] + dt.timedelta(days=1)).isoformat()},
        "model": {"family": "linear"},
        "budget": {"trials": 0},
        "limits": {"label_shift": 1.0, "drift": 100.0, "split_shift": 1.0},
        "gates": [{"metric": "auc", "at_least": 0.6}],
        "approval": {
            "promotion": "auto",
            "approvers": ["grace"],
            "deputies": ["admin"],
            "needed": 2,
            "notifiers": [{"notifier": "heard.Heard", "options": {"file": f"{heard}.asked"}}],
        },
        "serving": {"latency_p99_ms": 60000},
        "schedule": "0 3 * * *",
        "start_date": DAYS[0].isoformat(),
        "dag": {"deadline": 1},
        "alerts": [{"notifier": "heard.Heard", "options": {"file": str(heard)}}],
    }


@pytest.fixture(scope="module")
def airflow(instance: Instance) -> AirflowApi:
    """The instance, with a small problem and a hand-written DAG of its operators."""
    home = instance.home.parent
    landing, dags = home / "habits", home / "dags"
    landing.mkdir()
    for number, day in enumerate(DAYS):
        rng = np.random.default_rng(number)
        a, b = rng.normal(size=300), rng.normal(size=300)
        y = (a - b / 2 + rng.normal(size=300) / 2 > 0).astype(int)
        frame = pd.DataFrame({"at": day.isoformat(), "id": np.arange(300) + 1000 * number, "a": a, "b": b, "y": y})
        frame.to_csv(landing / f"{day}.csv", index=False)
    (dags / "heard.py").write_text(HEARD)
    (dags / "own_habits.py").write_text(OWN)
    (dags / "patience.py").write_text(PATIENCE)
    (dags / "problems" / f"{NAME}.yaml").write_text(yaml.safe_dump(_problem(landing, home / "heard.txt")))
    api = AirflowApi(instance.airflow_url, instance.token())
    for name in (NAME, "own_habits", "patience"):
        api.wait_for_dag(name)
    return api


def _until(question: Callable[[], Any], seconds: float = 240) -> Any:
    end = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(1)
    return answer


def _ended(api: AirflowApi, dag: str, conf: dict[str, Any] | None = None) -> tuple[str, str, dict[str, str]]:
    """Trigger a run and wait; answers its id, its state, and each task's."""
    run_id = api.trigger(dag, conf)
    _until(lambda: api.run(dag, run_id)["state"] in {"success", "failed"})
    return run_id, api.run(dag, run_id)["state"], {task["task_id"]: task["state"] for task in api.tasks(dag, run_id)}


def _events(api: AirflowApi) -> list[tuple[str, dict[str, Any]]]:
    events = api.call("assets/events?limit=100&order_by=timestamp")["asset_events"]
    return [(event["name"], event["extra"]) for event in events if event["name"].startswith(f"{NAME}.")]


def test_events_only_for_what_happened_and_refusals_are_seen(instance: Instance, airflow: AirflowApi) -> None:
    run_id, state, _ = _ended(airflow, NAME)
    assert state == "success"
    examples, model = _events(airflow)
    assert (examples[0], model[0]) == ("habits.examples", "habits.model")
    assert (examples[1]["rows"], examples[1]["cutoff"], model[1]["version"]) == (900, "2024-03-06", "1")
    assert model[1]["run_id"] == run_id
    late, state, tasks = _ended(airflow, NAME, {"window_end": "2024-03-05", "promotion": "never"})
    assert (state, tasks["register"], tasks["deploy"]) == ("success", "success", "skipped")
    assert airflow.result(NAME, late, "deploy")["deployed"] is False, "the reason stays at hand"
    assert [name for name, _ in _events(airflow)[2:]] in ([], ["habits.examples"]), "an earlier day is new; no model is"
    before = len(_events(airflow))
    command = [
        sys.executable,
        "-m",
        "airflow",
        "backfill",
        "create",
        "--dag-id",
        NAME,
        "--from-date",
        "2024-03-02",
        "--to-date",
        "2024-03-03",
    ]
    done = subprocess.run(command, env={**os.environ, **instance.environment()}, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    _until(lambda: all(entry["completed_at"] for entry in airflow.call(f"backfills?dag_id={NAME}")["backfills"]))
    mine = [run for run in airflow.call(f"dags/{NAME}/dagRuns?limit=50")["dag_runs"] if run["run_type"] == "backfill"]
    assert mine
    assert {run["state"] for run in mine} == {"success"}
    assert {name for name, _ in _events(airflow)[before:]} == {"habits.backfill"}


def test_a_run_that_asks_for_what_nobody_knows_is_refused_at_once(airflow: AirflowApi) -> None:
    run_id, state, tasks = _ended(airflow, NAME, {"windw_end": "2024-03-05"})
    assert (state, tasks["ingest"]) == ("failed", "failed")
    (ingest,) = [task for task in airflow.tasks(NAME, run_id) if task["task_id"] == "ingest"]
    assert ingest["try_number"] == 1
    run_id, state, _ = _ended(airflow, NAME, {"data_version": "17"})
    (ingest,) = [task for task in airflow.tasks(NAME, run_id) if task["task_id"] == "ingest"]
    assert (state, ingest["try_number"]) == ("failed", 1)
    with pytest.raises(ConfigurationError, match="promotion"):
        airflow.trigger(NAME, {"promotion": "perhaps"})


def test_alerts_hear_of_failed_stages_and_of_missed_deadlines(instance: Instance, airflow: AirflowApi) -> None:
    _ended(airflow, NAME, {"windw_end": "2024-03-05"})
    heard = instance.home.parent / "heard.txt"
    _until(lambda: heard.exists() and "windw_end" in heard.read_text() and "not done by its deadline" in heard.read_text(), 120)


def test_operators_work_in_a_bare_dag_mapped_with_tasks_between(airflow: AirflowApi) -> None:
    run_id, state, tasks = _ended(airflow, "own_habits")
    assert state == "success", tasks
    path = f"dags/own_habits/dagRuns/{run_id.replace(':', '%3A').replace('+', '%2B')}/taskInstances/candidates/xcomEntries/return_value"
    found = [airflow.call(f"{path}?map_index={index}&deserialize=false&stringify=false")["value"] for index in (0, 1)]
    candidates = [json.loads(value) if isinstance(value, str) else value for value in found]
    assert len({candidate["fingerprint"] for candidate in candidates}) == 2
    assert airflow.result("own_habits", run_id, "best")["kind"] == "evaluation"


def test_a_task_that_waits_for_files_is_deferred_and_goes_on_when_they_come(instance: Instance, airflow: AirflowApi) -> None:
    landing, absent = instance.home.parent / "habits", DAYS[-1] + dt.timedelta(days=1)
    run_id = airflow.trigger("patience", {"window_start": str(DAYS[-1]), "window_end": str(absent + dt.timedelta(days=1))})
    _until(lambda: {task["state"] for task in airflow.tasks("patience", run_id)} & {"deferred", "failed", "success"})
    assert [task["state"] for task in airflow.tasks("patience", run_id)] == ["deferred"]
    (landing / f"{absent}.csv").write_text((landing / f"{DAYS[-1]}.csv").read_text().replace(str(DAYS[-1]), str(absent)))
    _until(lambda: airflow.run("patience", run_id)["state"] in {"success", "failed"})
    found = airflow.result("patience", run_id, "rows")
    assert (found["rows"], found["end"]) == (600, str(absent + dt.timedelta(days=1)))


def test_people_are_asked_again_until_their_answer_counts_and_a_deputy_may_give_it(instance: Instance, airflow: AirflowApi) -> None:
    run_id = airflow.trigger(NAME, {"promotion": "ask", "reason": "a look before the holidays"})
    path = f"dags/{NAME}/dagRuns/{run_id.replace('+', '%2B')}/taskInstances/approve/-1/hitlDetails"

    def asked(times: int) -> dict[str, Any]:
        """The question, once the task waits and people were told of it so many times."""
        heard = instance.home.parent / "heard.txt.asked"
        waits = {"awaiting_input", "deferred"}
        _until(lambda: heard.exists() and len(heard.read_text().splitlines()) >= times)
        _until(lambda: any(task["task_id"] == "approve" and task["state"] in waits for task in airflow.tasks(NAME, run_id)))
        time.sleep(3)  # Airflow kills a task that is answered while its first process is still leaving
        question: dict[str, Any] = airflow.call(path)
        assert "What happens" in question["body"]
        assert not question["response_received"]
        return question

    def answer(choice: str, comment: str = "") -> None:
        airflow.call(path, {"chosen_options": [choice], "params_input": {"comment": comment}}, method="PATCH")

    assert "a look before the holidays" in asked(1)["body"]
    answer("Approve")  # one of two
    asked(2)
    answer("Reject")  # without saying why
    asked(3)
    answer("Reject", "not before the holidays")
    _until(lambda: airflow.run(NAME, run_id)["state"] in {"success", "failed"})
    entry = Ledger(instance.settings()).entries(NAME, ("decision",))[-1]
    assert (entry.payload["by"], entry.payload["outcome"]) == ("admin", "rejected")
    first, second, third = (instance.home.parent / "heard.txt.asked").read_text().splitlines()
    for line in (first, second, third):
        assert "Why now" in line
        assert "started by admin: a look before the holidays" in line
        assert "differs from the champion" in line
        assert "no answer within" in line
        assert f"{instance.airflow_url}/dags/{NAME}/" in line
    assert "admin approved, and more people must" in second
    assert "needs a comment that says why" in third
