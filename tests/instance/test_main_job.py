"""The main job on a real Airflow, PostgreSQL, MLflow and model server: trigger, look, kill, ask, backfill."""

import csv
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from windtunnel.cli.running.airflow_api import AirflowApi, call
from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.data.catalog import catalog
from windtunnel.lifecycle.data.days import day_files
from windtunnel.lifecycle.data.tables import table_name
from windtunnel.lifecycle.record.champion import champion, registered
from windtunnel.lifecycle.record.ledger import Ledger

pytestmark = [pytest.mark.instance, pytest.mark.slow, pytest.mark.timeout(1200)]

DAG = "flight_delays"
STAGES = ["ingest", "profile", "validate", "preprocess", "tune", "train", "evaluate", "approve", "register", "deploy"]


@pytest.fixture(scope="module")
def environment(instance):
    return {**os.environ, **instance.environment()}


@pytest.fixture(scope="module")
def demo(instance, environment):
    """What the README's command prints as JSON, here with a version before it: the newest one comes in as its canary."""
    command = [sys.executable, "-m", "windtunnel.cli.main", "demo", "--canary", "--json", "--home", str(instance.home)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def api(instance, demo):
    return AirflowApi(instance.airflow_url, instance.token())


def wait(api, run_id, seconds=400.0):
    end = time.monotonic() + seconds
    while (state := api.run(DAG, run_id)["state"]) not in {"success", "failed"}:
        assert time.monotonic() < end, {task["task_id"]: task["state"] for task in api.tasks(DAG, run_id)}
        time.sleep(0.5)
    return state


def wait_for(question, seconds=120.0):
    end = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.2)
    return answer


def airflow(environment, *arguments, timeout=300):
    command = [sys.executable, "-m", "airflow", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)


def day_rows(instance, day):
    with (Path(instance.settings().landing) / f"flights_{day}.csv").open(newline="") as file:
        return sum(1 for _ in csv.reader(file)) - 1


def test_the_demo_holds_in_every_point(instance, demo):
    assert demo["ok"] is True
    assert demo["quarantined_rows"] == 0
    assert demo["rows"] == sum(day_rows(instance, dt.date(2013, 12, 4) + dt.timedelta(days=i)) for i in range(28))
    assert demo["validation"]["success"] is True
    assert demo["validation"]["evaluated"] >= 10
    assert demo["metric"]["name"] == "auc"
    assert demo["metric"]["value"] > max(0.85, demo["metric"]["baseline"])
    assert demo["model"]["alias"] == "champion"
    assert demo["answer"]["prediction"] in {0, 1}
    assert {"Airflow", "MLflow", "Data version", "Statistics", "Data Docs", "Features", "MLflow run", "Report", "Endpoint"} <= set(
        demo["links"]
    )


def test_the_second_version_is_a_canary_before_it_is_promoted(instance, demo):
    canary = demo["canary"]
    assert canary["first"] != demo["model"]["version"]
    assert canary["failed"] == 0, canary["failures"]
    assert canary["canary"] > 0
    assert canary["after"] > 0
    assert canary["steps"] == ["smoke test passed", "pushed", "canary started", "canary passed", "promoted", "deployed"]
    settings = instance.settings()
    promotion = Ledger(settings).entries(DAG, ("promotion",))[-1]
    assert (promotion.payload["version"], promotion.payload["previous"]) == (demo["model"]["version"], canary["first"])
    baked = promotion.payload["facts"]["canary"]
    assert baked["requests"] > 0
    assert baked["errors"] == 0
    # MLflow's alias and the server's labels follow the ledger.
    from mlflow import MlflowClient

    held = MlflowClient(settings.tracking_uri).get_model_version_by_alias(DAG, "champion")
    assert held.version == demo["model"]["version"]
    index = call(f"{settings.server_url}/v2/repository/index", {}, token=settings.server_token)
    assert {entry["version"]: entry["labels"] for entry in index if entry["name"] == DAG} == {
        canary["first"]: [],
        demo["model"]["version"]: ["champion"],
    }
    # The log of answers shows the split.
    versions = Counter()
    for line in (line for path in Path(settings.server_log).parent.glob("log/*/*.jsonl") for line in path.read_text().splitlines()):
        entry = json.loads(line)
        versions[entry["version"], entry["route"]] += 1
    for path in Path(settings.server_log).glob(f"{DAG}/*/*.parquet"):
        for row in pq.read_table(path, columns=["version", "route"]).to_pylist():
            versions[row["version"], row["route"]] += 1
    assert versions[demo["model"]["version"], "canary"] == canary["canary"]


def test_every_stage_links_to_something_that_can_be_seen(instance, api, demo):
    for stage in STAGES:
        links = [link for link in api.links(DAG, demo["run_id"], stage).values() if link]
        assert links, stage
        if links[0].startswith(instance.airflow_url):
            path = links[0].removeprefix(instance.airflow_url)
            assert _status(instance.airflow_url + path, instance.token()) == 200, links[0]
            assert _status(instance.airflow_url + path, "") == 401, "nobody sees it without logging in"


def _status(url, token):
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_model_server_answers_as_the_training_environment(instance, demo):
    settings = instance.settings()
    present = champion(settings, DAG)
    samples = json.loads(Path(present.uri, "samples.json").read_text())
    answer = call(f"{settings.server_url}/v1/models/{DAG}/predict", {"rows": samples["inputs"]}, token=settings.server_token)
    for ours, theirs in zip(answer["predictions"], samples["outputs"], strict=True):
        assert ours["prediction"] == theirs["prediction"]
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-9)
    with pytest.raises(ConfigurationError, match="401"):
        call(f"{settings.server_url}/v1/models/{DAG}/predict", {"rows": samples["inputs"]})


def test_every_command_works_right_after_the_demo_with_no_variable_set(instance, demo, monkeypatch, capsys):
    """In the folder in which `make demo` was run: the instance is found by its folder alone."""
    from windtunnel.cli.commands import COMMANDS
    from windtunnel.cli.main import main

    folder = instance.home.parent
    (folder / ".windtunnel").symlink_to(instance.home)
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith(("AIRFLOW", "WINDTUNNEL", "MLFLOW"))]:
        monkeypatch.delenv(name)
    problem = str(Path(__file__).parents[2] / "dags" / "problems" / f"{DAG}.yaml")
    asked = {
        "up": ["up", "--json"],
        "status": ["status"],
        "logs": ["logs", "server", "--lines", "3"],
        "env": ["env", "--json"],
        "profile": ["profile", f"{DAG}.examples"],
        "compare": ["compare", f"{DAG}.examples", f"{DAG}.examples"],
        "quality": ["quality", DAG],
        "check": ["check", problem],
        "schema": ["schema"],
        "routes": ["routes", DAG],
        "ledger": ["ledger", "verify"],
        "lineage": ["lineage", DAG],
        "replay": ["replay", demo["run_id"], "--stages", "profile"],
        "diff": ["diff", demo["run_id"], demo["run_id"]],
        "gc": ["gc", problem, "--dry-run"],
        "completion": ["completion", "bash"],
    }
    elsewhere = {"down", "demo", "serve", "rollback", "label", "infer-suite", "validate", "features", "predict"}  # change it, or ask none
    assert set(asked) | elsewhere == set(COMMANDS)
    for name, words in asked.items():
        status = main(words)
        said = capsys.readouterr()
        assert status == 0, (words, said.out[-2000:], said.err[-2000:])
        assert said.out.strip(), name
    (folder / ".windtunnel").unlink()


def test_the_same_run_again_computes_nothing_and_adds_no_version(instance, api, demo):
    # With today's logical date, as the trigger form of the UI fills it in.
    now = dt.datetime.now(dt.UTC).isoformat()
    run_id = api.call(f"dags/{DAG}/dagRuns", {"logical_date": now, "conf": {}})["dag_run_id"]
    assert wait(api, run_id) == "success"
    assert {task["task_id"] for task in api.tasks(DAG, run_id)} == set(STAGES)
    for stage in ("ingest", "preprocess", "tune", "train"):
        assert api.result(DAG, run_id, stage) == api.result(DAG, demo["run_id"], stage), stage
    assert api.result(DAG, run_id, "register")["version"] == demo["model"]["version"]
    assert set(registered(instance.settings(), DAG)) == {demo["canary"]["first"], demo["model"]["version"]}


@pytest.mark.parametrize("wrong", [{"promotion": "perhaps"}, {"trials": -1}, {"window_end": "soon"}, {"data_version": "newest"}])
def test_the_form_refuses_a_bad_value(api, wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        api.call(f"dags/{DAG}/dagRuns", {"logical_date": None, "conf": wrong})


def test_a_killed_task_is_retried_and_leaves_the_same_result_once(instance, api):
    run_id = api.trigger(DAG, {"window_end": "2013-05-08", "window_start": "2013-05-01", "promotion": "never", "trials": 0})

    def running():
        return next((t for t in api.tasks(DAG, run_id) if t["task_id"] == "ingest" and t["state"] == "running" and t["pid"]), None)

    os.kill(wait_for(running)["pid"], signal.SIGKILL)
    assert wait(api, run_id) == "success"
    (ingest,) = (task for task in api.tasks(DAG, run_id) if task["task_id"] == "ingest")
    assert ingest["try_number"] == 2
    table = catalog(instance.settings()).load_table(table_name(DAG, "examples"))
    rows = Counter()
    for file in day_files(table, "2013-05-01", "2013-05-08"):
        rows[file.day] += file.rows
    assert rows == {f"2013-05-0{day}": day_rows(instance, f"2013-05-0{day}") for day in range(1, 8)}


def test_a_person_is_asked_and_the_answer_is_in_the_ledger(instance, api, demo):
    run_id = api.trigger(DAG, {"promotion": "ask", "reason": "a second look"})

    def waiting():
        return next((t for t in api.tasks(DAG, run_id) if t["task_id"] == "approve" and t["state"] in {"awaiting_input", "deferred"}), None)

    wait_for(waiting, 300)
    path = f"dags/{DAG}/dagRuns/{run_id.replace('+', '%2B')}/taskInstances/approve/-1/hitlDetails"
    asked = api.call(path)
    assert "candidate" in asked["body"]
    assert "The whole report" in asked["body"]
    time.sleep(3)  # as a person would: Airflow kills a task that is answered while its first process is still leaving
    api.call(path, {"chosen_options": ["Reject"], "params_input": {"comment": "not before the holidays"}}, method="PATCH")
    assert wait(api, run_id) == "success"
    states = {task["task_id"]: task["state"] for task in api.tasks(DAG, run_id)}
    assert (states["approve"], states["register"], states["deploy"]) == ("success", "skipped", "skipped")
    entry = Ledger(instance.settings()).entries(DAG, ("decision",))[-1]
    assert (entry.payload["approved"], entry.payload["by"]) == (False, "admin")


def test_a_backfill_adds_a_day_a_run_and_leaves_production_alone(instance, api, environment, demo):
    before = champion(instance.settings(), DAG)
    arguments = ("backfill", "create", "--dag-id", DAG, "--from-date", "2013-03-01", "--to-date", "2013-03-14", "--max-active-runs", "2")
    done = airflow(environment, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = _backfilled(api, 14)
    assert {run["state"] for run in runs} == {"success"}
    days = [f"2013-03-{day:02}" for day in range(1, 15)]
    assert _rows_of_days(instance, days) == {day: day_rows(instance, day) for day in days}
    assert champion(instance.settings(), DAG) == before, "a backfill never changes what is in production"
    versions = {api.result(DAG, run["dag_run_id"], "register")["version"]: run["dag_run_id"] for run in runs}
    assert len(versions) == 14
    assert {api.result(DAG, run_id, "register")["alias"] for run_id in versions.values()} == {
        f"asof-2013-03-{day:02}" for day in range(2, 16)
    }
    assert not any(api.result(DAG, run_id, "deploy")["deployed"] for run_id in versions.values())
    # Again: nothing changes. (Airflow looks every half minute whether a backfill has ended, and allows one at a time.)
    snapshot = _snapshot(instance)
    wait_for(lambda: all(entry["completed_at"] for entry in api.call(f"backfills?dag_id={DAG}")["backfills"]))
    done = airflow(environment, *arguments, "--reprocess-behavior", "completed")
    assert done.returncode == 0, done.stdout + done.stderr
    time.sleep(3)
    again = _backfilled(api, 14)
    assert {run["state"] for run in again} == {"success"}
    assert {api.result(DAG, run["dag_run_id"], "register")["version"] for run in again} == set(versions)
    assert _snapshot(instance) == snapshot, "the same source makes no new version of the data"
    assert champion(instance.settings(), DAG) == before
    assert Ledger(instance.settings()).verify()


def _backfilled(api, count):
    def ended():
        runs = [run for run in api.call(f"dags/{DAG}/dagRuns?limit=100&order_by=-run_after")["dag_runs"] if run["run_type"] == "backfill"]
        return runs if len(runs) >= count and all(run["state"] in {"success", "failed"} for run in runs) else None

    return wait_for(ended, 900)


def _rows_of_days(instance, days):
    table = catalog(instance.settings()).load_table(table_name(DAG, "examples"))
    rows = Counter()
    for file in day_files(table, days[0], (dt.date.fromisoformat(days[-1]) + dt.timedelta(days=1)).isoformat()):
        rows[file.day] += file.rows
    return dict(rows)


def _snapshot(instance):
    return catalog(instance.settings()).load_table(table_name(DAG, "examples")).current_snapshot().snapshot_id


def test_monitoring_and_feedback_run(api, demo):
    for dag in (f"{DAG}_monitoring", f"{DAG}_feedback"):
        run_id = api.trigger(dag)
        wait_for(lambda dag=dag, run_id=run_id: api.run(dag, run_id)["state"] in {"success", "failed"}, 200)
        assert api.run(dag, run_id)["state"] == "success", dag


def test_airflow_knows_the_provider_and_the_plugin_once(environment):
    providers = airflow(environment, "providers", "list", "--output", "json")
    names = [entry["package_name"] for entry in json.loads(providers.stdout[providers.stdout.index("[") :])]
    assert names.count("windtunnel") == 1
    plugins = airflow(environment, "plugins", "--output", "json")
    assert [entry["name"] for entry in json.loads(plugins.stdout[plugins.stdout.index("[") :])].count("windtunnel") == 1


def test_the_bundle_has_no_import_error(api):
    assert api.call("importErrors")["import_errors"] == []
