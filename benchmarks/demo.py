"""From a clean clone to the answer of a served model, twice.

python benchmarks/demo.py --parsing # only what the DAG files cost to parse
python benchmarks/demo.py          # clones the committed state into a temporary folder; the package cache is as warm as it is
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from windtunnel.cli.instance import Instance
from windtunnel.cli.instance.process import members
from windtunnel.cli.instance.services import SERVICES

ROOT = Path(__file__).parent.parent


def timed(name: str, command: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, str]:
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.monotonic() - began
    print(f"{name:34} {seconds:7.1f} s   exit {done.returncode}   load {os.getloadavg()[0]:.1f}", flush=True)
    return seconds, done.stdout


def cost(instance: Instance) -> tuple[float, float]:
    """CPU seconds since the start and proportional memory in MB of all processes of an instance."""
    cpu = memory = 0.0
    for pid in members(str(instance.daemon(name).marker) for name in SERVICES):
        process = psutil.Process(pid)
        times = process.cpu_times()
        cpu += times.user + times.system + times.children_user + times.children_system
        memory += process.memory_full_info().pss / 2**20
    return cpu, memory


_PARSE = """
import importlib.util, json, sys, time
began = time.perf_counter()
from airflow.sdk import DAG, Asset, BaseOperator, CronDataIntervalTimetable, Param
airflow = time.perf_counter() - began
for name in ("lifecycle", "problem_files"):
    spec = importlib.util.spec_from_file_location(name, f"{sys.argv[1]}/dags/{name}.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
print(json.dumps([airflow, time.perf_counter() - began - airflow]))
"""


def parsing(root: Path, runs: int = 5) -> None:
    """What the DAG files cost to parse in a fresh process, beside what importing Airflow's SDK costs; medians."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    found = []
    for _ in range(runs):
        done = subprocess.run([sys.executable, "-c", _PARSE, str(root)], env=environment, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    airflow, ours = (statistics.median(column) for column in zip(*found, strict=True))
    print(f"parsing the DAG files {ours:.2f} s, importing airflow.sdk {airflow:.2f} s (medians of {runs})", flush=True)


def main() -> None:
    parsing(ROOT)
    if "--parsing" in sys.argv:
        return
    clone = Path(tempfile.mkdtemp(prefix="wt-demo-")) / "windtunnel"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("WINDTUNNEL", "AIRFLOW", "MLFLOW", "VIRTUAL_ENV"))
    }
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    windtunnel = [str(clone / ".venv" / "bin" / "windtunnel"), "demo", "--json"]
    try:
        setup, _ = timed("make setup", ["make", "setup"], clone, environment)
        first, answer = timed("windtunnel demo, first", windtunnel, clone, environment)
        print(json.dumps(json.loads(answer).get("seconds")))
        print(f"clone to answer {setup + first:.1f} s (target 180)")
        instance = Instance(clone / ".windtunnel")
        cpu, memory = cost(instance)
        print(f"CPU of all services and tasks so far {cpu:.0f} s, memory (PSS) {memory:.0f} MB")
        timed("make demo, second", ["make", "demo"], clone, environment)
        _, answer = timed("windtunnel demo, third", windtunnel, clone, environment)
        print(json.dumps(json.loads(answer).get("seconds")))
        timed("windtunnel up, all is well", [*windtunnel[:1], "up"], clone, environment)
        timed("windtunnel down", [*windtunnel[:1], "down"], clone, environment)
        timed("windtunnel up, database there", [*windtunnel[:1], "up"], clone, environment)
    finally:
        subprocess.run([*windtunnel[:1], "down"], cwd=clone, env=environment, check=False)
        shutil.rmtree(clone.parent, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
