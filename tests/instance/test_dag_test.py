"""``dag.test()``: a whole retraining in one process, as a developer debugs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from windtunnel.cli.landing import lay_out
from windtunnel.lifecycle.record import manifest

pytestmark = [pytest.mark.instance, pytest.mark.slow]

FILE = Path(__file__).parents[2] / "dags" / "problems" / "flight_delays.yaml"
SCRIPT = """
import json, sys
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from windtunnel.lifecycle.problem import load
from windtunnel.operators import lifecycle_dags

dag = lifecycle_dags(load(sys.argv[1]))[0]
for task in dag.tasks:
    task.outlets = []  # the scheduler activates assets of the bundle's DAGs only
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
    environment = {**os.environ, **instance.environment(), **own}
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], env=environment, capture_output=True, timeout=300, check=True)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["state"] == "success", found
    stages = manifest.load(instance.settings(), "june_delays", found["run_id"]).stages
    assert set(stages) == set(manifest.STAGES)
    assert stages["deploy"].output["deployed"] is False, "promotion was never"
