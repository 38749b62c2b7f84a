"""Deployments against a real server, a real MLflow store and a real ledger."""

import dataclasses
import json
import shutil
import threading
import time

import pytest
import serving_models

from windtunnel.lifecycle import bundle
from windtunnel.lifecycle.deployment import deploy, package, serve_champion
from windtunnel.lifecycle.errors import GateError, IntegrityError, UnavailableError
from windtunnel.lifecycle.fingerprint import fingerprint
from windtunnel.lifecycle.ledger import Ledger
from windtunnel.lifecycle.problem import parse
from windtunnel.lifecycle.references import CandidateRef, DecisionRef, EvaluationRef
from windtunnel.lifecycle.registry import champion, register, rollback
from windtunnel.lifecycle.run import Run
from windtunnel.lifecycle.settings import Settings

RUN = Run("flight_delays", "scheduled__1", "scheduled")
PROBLEM = {
    "name": "flight_delays",
    "owner": "ops@example.org",
    "task": "binary",
    "source": {"format": "csv", "path": "x.csv"},
    "columns": dict.fromkeys(serving_models.NUMERIC, "float64")
    | dict.fromkeys(serving_models.CATEGORICAL, "string")
    | {"arr_delay": "float64"},
    "label": {"column": "arr_delay", "positive": {"above": 15}},
    "features": {"numeric": serving_models.NUMERIC, "categorical": serving_models.CATEGORICAL},
    "approval": {"promotion": "auto"},
}


def problem_of(**parts):
    return parse({**PROBLEM, **parts})


@pytest.fixture
def settings(tmp_path, empty_mlflow):
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    return Settings(
        artifacts=str(tmp_path / "artifacts"),
        ledger_uri=f"sqlite:///{tmp_path}/ledger.db",
        tracking_uri=f"sqlite:///{tmp_path}/mlflow.db",
        server_url="http://127.0.0.1:9",
        server_token="only-for-tests",
    )


@dataclasses.dataclass
class Stages:
    """What comes before a deployment, for bundles made by hand."""

    folder: object

    def candidate(self, seed=0, kind="linear", cutoff="2013-04-01", **options):
        folder = self.folder / f"candidate-{seed}-{kind}-{fingerprint(cutoff, options)[:6]}"
        if not folder.exists():
            serving_models.flight_bundle(folder, kind, seed, compiled=False, iterations=10, cutoff=cutoff, **options)
        return CandidateRef("flight_delays", str(folder), bundle.read(folder).digest, "", fingerprint(str(folder)), cutoff)

    def version(self, problem, candidate, settings, run=RUN):
        present = champion(settings, problem.name)
        name = fingerprint(candidate.fingerprint, present.entry if present else "")
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "evaluation.json").write_text(json.dumps({"champion": {"entry": present.entry if present else ""}}))
        ledger = Ledger(settings)
        ledger.append(problem.name, "evaluation", {"value": 0.9}, key=name)
        decision = ledger.append(problem.name, "decision", {"approved": True, "by": "gates"}, key=name)
        evaluation = EvaluationRef(str(folder), "", "auc", 0.9, 0.5, None, True, [], name)
        return register(problem, candidate, evaluation, DecisionRef(True, "gates", "passed", decision.hash), settings, run)


@pytest.fixture
def stages(tmp_path):
    return Stages(tmp_path / "stages")


def steps(settings):
    return [entry.payload["step"] for entry in Ledger(settings).entries("flight_delays", ("deployment",))]


def test_a_version_goes_into_production_and_a_second_one_after_it(serve, settings, stages, rows):
    server = serve()
    settings = dataclasses.replace(settings, server_url=server.url)
    problem = problem_of()
    first = stages.candidate(0)
    version = stages.version(problem, first, settings)
    found = deploy(problem, first, version, settings, RUN)
    assert (found.deployed, found.alias, found.version) == (True, "champion", version.version)
    assert found.url == f"{server.url}/v2/models/flight_delays"
    assert champion(settings, "flight_delays").version == version.version
    assert server.predict(rows)["version"] == version.version
    assert steps(settings) == ["smoke test passed", "pushed", "deployed"]
    # Twice is harmless: the same answer, no new promotion, no new step.
    assert deploy(problem, first, version, settings, RUN).deployed
    assert steps(settings) == ["smoke test passed", "pushed", "deployed"]
    assert len(Ledger(settings).entries("flight_delays", ("promotion",))) == 1

    second = stages.candidate(1, cutoff="2013-04-02")
    version = stages.version(problem, second, settings)
    assert deploy(problem, second, version, settings, RUN).deployed
    assert server.predict(rows)["version"] == version.version
    index = {entry["version"]: entry["labels"] for entry in server.call("/v2/repository/index", {})[1]}
    assert index == {"1": [], "2": ["champion"]}
    # A rollback in the ledger, and the server follows.
    rollback(settings, "flight_delays", reason="a drill")
    assert serve_champion(settings, problem)
    assert server.predict(rows)["version"] == "1"
    assert not serve_champion(settings, problem)


@pytest.mark.parametrize(
    ("run", "parts", "why"),
    [
        (Run("d", "backfill__1", "backfill"), {}, "a backfill never touches production"),
        (Run("d", "manual__1", "manual", promotion="never"), {}, "promotion: never"),
        (RUN, {"approval": {"promotion": "never"}}, "approval.promotion is never"),
    ],
)
def test_what_may_not_touch_production_touches_nothing(settings, stages, run, parts, why):
    problem = problem_of(**parts)
    candidate = stages.candidate(0)
    version = stages.version(problem, candidate, settings, run)
    found = deploy(problem, candidate, version, settings, run)  # nothing listens at server_url
    assert not found.deployed
    assert why in found.reason
    assert steps(settings) == ["refused"]
    assert champion(settings, "flight_delays") is None


def test_an_older_cut_off_does_not_displace_a_newer_one(serve, settings, stages, rows):
    server = serve()
    settings = dataclasses.replace(settings, server_url=server.url)
    problem = problem_of()
    old, new = stages.candidate(0, cutoff="2013-03-01"), stages.candidate(1, cutoff="2013-05-01")
    late = stages.version(problem, old, settings)
    version = stages.version(problem, new, settings)
    assert deploy(problem, new, version, settings, RUN).deployed
    found = deploy(problem, old, late, settings, RUN)
    assert not found.deployed
    assert server.predict(rows)["version"] == version.version
    assert [entry["version"] for entry in server.call("/v2/repository/index", {})[1]] == [version.version]


def test_a_server_that_is_down_can_be_tried_again(settings, stages, monkeypatch):
    monkeypatch.setattr("windtunnel.lifecycle.targets._PAUSE", 0.01)
    problem = problem_of()
    candidate = stages.candidate(0)
    version = stages.version(problem, candidate, settings)
    with pytest.raises(UnavailableError, match="does not answer") as caught:
        deploy(problem, candidate, version, settings, RUN)
    assert caught.value.retryable
    assert champion(settings, "flight_delays") is None


def test_limits_and_changed_bundles_stop_a_deployment(settings, stages):
    candidate = stages.candidate(0)
    slow = problem_of(serving={"latency_p99_ms": 0.0001})
    with pytest.raises(GateError, match="latency_p99_ms"):
        deploy(slow, candidate, stages.version(slow, candidate, settings), settings, RUN)
    large = problem_of(serving={"size_mb": 0.0001})
    with pytest.raises(GateError, match="size_mb"):
        package(large, candidate, settings)
    with pytest.raises(IntegrityError, match="digest"):
        package(problem_of(), dataclasses.replace(candidate, digest="0" * 64), settings)
    assert steps(settings) == ["smoke test failed"]


def test_a_model_that_answers_otherwise_than_in_training_is_stopped(settings, stages):
    from pathlib import Path

    candidate = stages.candidate(0)
    folder = Path(candidate.uri)
    samples = bundle.read_samples(folder)
    samples["outputs"][3]["score"] += 0.001
    (folder / "samples.json").write_text(json.dumps(samples))
    sealed = bundle.seal(folder, bundle.read(folder, names=[]))
    with pytest.raises(GateError, match="where training answered"):
        package(problem_of(), dataclasses.replace(candidate, digest=sealed.digest), settings)


def test_a_canary_takes_its_share_and_is_promoted(serve, settings, stages, rows):
    server = serve()
    settings = dataclasses.replace(settings, server_url=server.url)
    problem = problem_of(serving={"canary_share": 0.5, "bake_seconds": 3.0, "latency_p99_ms": 5000})
    first, second = stages.candidate(0), stages.candidate(1, cutoff="2013-04-02")
    assert deploy(problem, first, stages.version(problem, first, settings), settings, RUN).deployed
    version = stages.version(problem, second, settings)
    seen, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            seen.append(server.predict(rows[:1])["route"])
            time.sleep(0.01)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert deploy(problem, second, version, settings, RUN).deployed
    finally:
        stop.set()
        asking.join()
    assert seen.count("canary") > 10
    assert "canary passed" in steps(settings)
    assert server.predict(rows[:1])["route"] == "champion"
    assert server.predict(rows[:1])["version"] == version.version
    assert server.call("/v2/models/flight_delays/route")[1]["route"] == {}


def test_a_slow_canary_is_taken_out_again(serve, settings, stages, rows):
    server = serve()
    settings = dataclasses.replace(settings, server_url=server.url)
    patient = problem_of(serving={"canary_share": 0.5, "bake_seconds": 20.0, "latency_p99_ms": 5000})
    first, second = stages.candidate(0), stages.candidate(1, cutoff="2013-04-02")
    assert deploy(patient, first, stages.version(patient, first, settings), settings, RUN).deployed
    version = stages.version(patient, second, settings)
    package(patient, second, settings)
    # The limit is what one row may take on the server: none meets a hundredth of a millisecond there.
    strict = patient.model_copy(update={"serving": patient.serving.model_copy(update={"latency_p99_ms": 0.01})})
    ready = package(patient, second, settings)
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            server.predict(rows[:1])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        from windtunnel.lifecycle import deployment

        steps_of = deployment._Steps(Ledger(settings), strict, version, second, RUN)
        with pytest.raises(GateError, match="p99 limit"):
            deployment._push(strict, version, ready, settings, RUN, deployment.target_of(settings), steps_of)
    finally:
        stop.set()
        asking.join()
    assert "rolled back" in steps(settings)
    assert champion(settings, "flight_delays").version == "1"
    assert {server.predict(rows[:1])["version"] for _ in range(20)} == {"1"}
    assert [entry["version"] for entry in server.call("/v2/repository/index", {})[1]] == ["1"]


def test_a_directory_is_a_place_to_push_to(settings, stages, tmp_path):
    settings = dataclasses.replace(settings, server_url=str(tmp_path / "target"))
    problem = problem_of()
    candidate = stages.candidate(0)
    version = stages.version(problem, candidate, settings)
    for _ in range(2):
        assert deploy(problem, candidate, version, settings, RUN).deployed
    pushed = tmp_path / "target" / "flight_delays"
    assert json.loads((pushed / "labels.json").read_text())["labels"]["champion"] == version.version
    assert bundle.read(pushed / version.version).files["plan/plan.json"]
