"""``dag.test()``: a whole retraining in one process, as a developer debugs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from windtunnel.cli.running.landing import lay_out
from windtunnel.lifecycle.record import manifest

pytestmark = [pytest.mark.instance, pytest.mark.slow]

FILE = Path(__file__).parents[2] / "dags" / "problems" / "flight_delays.yaml"
SCRIPT = """
import json, sys
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from windtunnel.lifecycle.contract.problem import load
from windtunnel.operators import lifecycle_dags

dag = lifecycle_dags(load(sys.argv[1]))[0]
DagBundlesManager().sync_bundles_to_db()
bag = DagBag("/dev/null")
bag.bag_dag(dag)
sync_bag_to_db(bag, "windtunnel", None)
run = dag.test(run_conf=json.loads(sys.argv[2]))
print(json.dumps({"state": str(getattr(run.state, "value", run.state)), "run_id": run.run_id}))
"""


def test_a_retraining_in_one_process(instance, tmp_path):
    lay_out(Path(instance.settings().landing))
    values = yaml.safe_load(FILE.read_text(encoding="utf-8")) | {"name": "june_delays", "suite": None}
    values["source"]["path"] = "{landing}/flights_{day}.csv"
    path = tmp_path / "june_delays.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    conf = {"window_start": "2013-06-01", "window_end": "2013-06-08", "trials": 0, "promotion": "never"}
    command = [sys.executable, "-c", SCRIPT, str(path), json.dumps(conf)]
    # A database of its own: a running scheduler would take the tasks away from dag.test().
    own = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db"}
    events = tmp_path / "events.jsonl"
    transport = {"type": "file", "log_file_path": str(events), "append": True}
    own["AIRFLOW__OPENLINEAGE__TRANSPORT"] = json.dumps(transport)
    environment = {**os.environ, **instance.environment(), **own}
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], env=environment, capture_output=True, timeout=300, check=True)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"state"')))
    assert found["state"] == "success", found
    stages = manifest.load(instance.settings(), "june_delays", found["run_id"]).stages
    assert set(stages) == set(manifest.STAGES) - {"balance"}
    assert stages["deploy"].output["deployed"] is False, "promotion was never"
    _tells_openlineage([json.loads(line) for line in events.read_text().splitlines()], instance.settings())


def _tells_openlineage(events, settings):
    """Every stage's event names what it read and wrote: source, snapshot, features and model, with columns."""
    complete = {
        event["job"]["name"].split(".")[-1]: event
        for event in events
        if event["eventType"] == "COMPLETE" and event["job"]["name"].startswith("june_delays.")
    }
    assert set(complete) >= set(manifest.STAGES) - {"balance", "deploy"}, "what is skipped is not complete"

    def names(stage, way):
        return {dataset["name"]: dataset for dataset in complete[stage][way]}

    source, table = f"{settings.landing}/flights_{{day}}.csv", "june_delays.examples"
    assert source in names("ingest", "inputs")
    snapshot = names("ingest", "outputs")[table]
    assert snapshot["outputFacets"]["outputStatistics"]["rowCount"] > 1000
    (origin,) = snapshot["facets"]["columnLineage"]["fields"]["dep_delay"]["inputFields"]
    assert (origin["name"], origin["field"], origin["transformations"][0]["subtype"]) == (source, "dep_delay", "IDENTITY")
    version = snapshot["facets"]["version"]["datasetVersion"]
    for stage in ("profile", "validate", "preprocess", "train", "evaluate"):
        assert names(stage, "inputs")[table]["facets"]["version"]["datasetVersion"] == version, stage
    (model,) = complete["train"]["outputs"]
    fields = {field["field"]: field for field in model["facets"]["columnLineage"]["fields"]["prediction"]["inputFields"]}
    assert set(fields) == {"dep_delay", "hour", "minute", "sched_arr_time", "distance", "carrier", "origin", "dest", "arr_delay"}
    assert fields["arr_delay"]["transformations"][0]["type"] == "INDIRECT", "the label"
    assert model["name"] in names("approve", "inputs")
    (registered,) = complete["register"]["outputs"]
    assert (registered["name"], registered["namespace"]) == ("models/june_delays", settings.tracking_uri)
    assert complete.get("deploy", {"outputs": []})["outputs"] == [], "nothing was deployed"
    said = json.dumps(events)
    password = settings.catalog_uri.split("//")[1].split("@")[0].split(":")[-1]
    assert password
    assert password not in said
