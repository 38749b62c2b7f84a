"""An instance that an earlier state made (commit 3e75b98, by make.py) opens with its data, its ledger and its champion."""

import csv
import dataclasses
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from places import unpack

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import (
    CandidateRef,
    DecisionRef,
    DeploymentRef,
    EvaluationRef,
    FeaturesRef,
    SnapshotRef,
    StatisticsRef,
    TrialsRef,
    ValidationRef,
    VersionRef,
)
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.contract.settings import PREFIX, Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.record.ledger import Ledger

pytestmark = pytest.mark.filterwarnings("ignore")  # third parties' warnings are tested where they are called

KINDS = (
    *(SnapshotRef, StatisticsRef, ValidationRef, FeaturesRef, TrialsRef),
    *(CandidateRef, EvaluationRef, VersionRef, DeploymentRef),
)
TOKEN = "earlier"


class State:
    """The earlier instance, opened by the code of today."""

    def __init__(self, home):
        self.home = home
        self.expected = json.loads((home / "expected.json").read_text())
        # As the environment of its services has them; an option that there is no more is passed over.
        options = {f"{PREFIX}{name.upper()}": str(value) for name, value in self.expected["settings"].items()}
        self.settings = Settings.from_environment(options)
        self.problem = Problem.model_validate(self.expected["problem"])
        self.runs = [
            {kind: kind.from_dict(plain) for kind, plain in zip(KINDS, run, strict=True)} for run in self.expected["runs"]
        ]  # as Airflow's XCom holds them


@pytest.fixture
def state(tmp_path, monkeypatch):
    unpack(tmp_path)
    monkeypatch.chdir(tmp_path)
    return State(tmp_path)


def landed(state, *days):
    """The flights of some days as their files have them, without the line that is none."""
    numbers = [name for name, kind in state.problem.columns.items() if kind != "string"]
    found = []
    for day in days:
        with (state.home / "landing" / f"flights_2013-01-0{day}.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["dep_delay"] != "soon"]
        found += [row | {name: None if row[name] == "NA" else float(row[name]) for name in numbers} for row in rows]
    return found


@pytest.mark.parametrize(("run", "days"), [(0, (1, 2, 3)), (1, (2, 3, 4))])
def test_its_data_is_read_at_the_version_that_a_run_was_pinned_to(state, run, days):
    from windtunnel.lifecycle.data.pins import files, pin

    snapshot = state.runs[run][SnapshotRef]
    rows = [row for path in files(state.settings, snapshot) for row in pq.ParquetFile(path).read().to_pylist()]
    assert [{name: row[name] for name in state.problem.columns} for row in rows] == landed(state, *days)
    assert len(rows) == snapshot.rows
    assert (
        pin(state.problem, Window.from_dict({"start": snapshot.start, "end": snapshot.end}), state.settings, str(snapshot.snapshot_id))
        == snapshot
    )


def test_its_ledger_verifies_with_the_same_head(state):
    ledger, expected = Ledger(state.settings), state.expected["ledger"]
    verified = ledger.verify()
    assert (verified.entries, verified.head) == (expected["entries"], expected["head"])
    assert [entry.kind for entry in ledger.entries()] == expected["kinds"]


def test_its_champion_is_known_with_its_aliases(state):
    from windtunnel.lifecycle.record.champion import aliases, champion

    assert dataclasses.asdict(champion(state.settings, state.problem.name)) == state.expected["champion"]
    assert aliases(state.settings, state.problem.name)["champion"] == state.expected["champion"]["version"]


def test_its_bundle_answers_the_same(state):
    from windtunnel.lifecycle.model import answers, bundle
    from windtunnel.serving.base.batch import from_rows
    from windtunnel.serving.compiler.engine import Engine

    champion = state.expected["champion"]
    sealed = bundle.read(Path(champion["uri"]), champion["digest"])
    served = json.loads((state.home / "server" / "state.json").read_text())["models"][state.problem.name]
    compiled = Path(served["versions"][champion["version"]]["uri"])
    for folder, kind in ((Path(champion["uri"]), "pipeline"), (compiled, "plan")):
        engine = Engine.load(folder)
        assert engine.kind == kind
        scores = engine.scores(from_rows(engine.schema, state.expected["questions"]))
        found = answers.columns("binary", sealed.classes, sealed.threshold, scores)
        assert found["score"].tolist() == pytest.approx([one["score"] for one in state.expected["answers"]["predictions"]], abs=1e-12)
        assert found["prediction"] == [one["prediction"] for one in state.expected["answers"]["predictions"]]


def test_its_server_answers_the_same(state):
    command = [sys.executable, "-m", "windtunnel.serving", "--home", "server", "--port", "0"]
    process = subprocess.Popen(command, env=os.environ | {"WINDTUNNEL_TOKEN": TOKEN})
    try:
        while not (state.home / "server" / "server.json").exists():
            assert process.poll() is None, "the server ended"
            time.sleep(0.05)
        url = json.loads((state.home / "server" / "server.json").read_text())["url"]
        body = json.dumps({"rows": state.expected["questions"]}).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/v1/models/{state.problem.name}/predict", body, headers)
        with urllib.request.urlopen(request) as answer:
            found = json.load(answer)
    finally:
        process.terminate()
        process.wait(timeout=60)
    for name in ("model", "version", "route", "predictions"):
        assert found[name] == state.expected["answers"][name]


def test_its_statistics_are_read_and_compared_with(state):
    from windtunnel.beam_jobs.job import Progress
    from windtunnel.beam_jobs.profile import profile
    from windtunnel.lifecycle.statistics import summarize
    from windtunnel.lifecycle.statistics.profiled import Profiled

    first, second = (run[StatisticsRef] for run in state.runs)
    for reference in (first, second):
        stored = json.loads(Path(reference.uri, "statistics.json").read_text())
        table = Profiled.from_bytes(Path(reference.uri, "statistics.arrow").read_bytes()).table
        columns = json.loads(json.dumps(summarize(table)["columns"]))
        for column in stored["columns"].values():
            column["quantiles"] = pytest.approx(column["quantiles"])  # the last digit of an interpolation may differ
        assert (table.rows, columns) == (stored["rows"], stored["columns"])
    against = profile(state.problem, state.runs[1][SnapshotRef], state.settings, Progress(), first)
    found = json.loads(Path(against.uri, "statistics.json").read_text())
    assert found["rows"] == second.rows
    assert set(found["drift"]["columns"]) >= set(state.problem.features.columns)


@pytest.mark.slow
def test_a_run_of_today_follows_in_its_ledger(state):
    from windtunnel.beam_jobs.evaluate import evaluate
    from windtunnel.beam_jobs.features import preprocess
    from windtunnel.beam_jobs.ingest import ingest
    from windtunnel.beam_jobs.job import Progress
    from windtunnel.lifecycle.learning.training import train
    from windtunnel.lifecycle.record.champion import champion, registered
    from windtunnel.lifecycle.record.promotion import promote
    from windtunnel.lifecycle.record.registration import register

    ledger, before = Ledger(state.settings), state.expected
    present = champion(state.settings, state.problem.name)
    context = RunContext(state.problem, state.settings, Run("late_arrivals", "today", "scheduled"))
    snapshot = ingest(state.problem, Window.from_dict({"start": "2013-01-03", "end": "2013-01-06"}), state.settings, Progress())
    assert snapshot.rows == len(landed(state, 3, 4, 5))
    candidate = train(context, snapshot, preprocess(state.problem, snapshot, state.settings, Progress()), None)
    judged = evaluate(state.problem, candidate, snapshot, state.settings, Progress())
    assert judged.champion is not None, "the earlier champion is judged on the same rows"
    entry = ledger.append(state.problem, "decision", {"approved": True, "by": "gates"}, context.run, key=judged.fingerprint)
    version = register(context, candidate, judged, DecisionRef(True, "gates", "", entry.hash))
    assert (version.version, sorted(registered(state.settings, state.problem.name))) == ("3", ["1", "2", "3"])
    promote(context, version)
    assert champion(state.settings, state.problem.name).version == "3"
    assert champion(state.settings, state.problem.name).cutoff > present.cutoff
    verified = ledger.verify(known=[before["ledger"]["head"]])
    assert verified.entries > before["ledger"]["entries"]
    assert [entry.hash for entry in ledger.entries()][before["ledger"]["entries"] - 1] == before["ledger"]["head"]
