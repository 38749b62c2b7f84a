"""Deployments against a real server, a real MLflow store and a real ledger."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
import serving_models
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from windtunnel.cli.main import main
from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import ConfigurationError, GateError, IntegrityError, UnavailableError
from windtunnel.lifecycle.contract.fingerprint import fingerprint
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.references import CandidateRef, DecisionRef, EvaluationRef
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.model import bundle
from windtunnel.lifecycle.record.champion import champion
from windtunnel.lifecycle.record.ledger import Ledger
from windtunnel.lifecycle.record.promotion import rollback
from windtunnel.lifecycle.record.registration import register
from windtunnel.lifecycle.release.deployment import deploy, package, serve_champion

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

    def fragile(self, cutoff):
        """A model that cannot answer a row with a null, because nothing before it fills nulls."""
        folder = self.folder / "fragile"
        frame = serving_models.flights(2000, 5).dropna(subset=serving_models.NUMERIC)
        x, y = frame[serving_models.NUMERIC], (frame["arr_delay"] > 15).astype("int8")
        serving_models.write(folder, make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y), x, cutoff=cutoff)
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
        return register(RunContext(problem, settings, run), candidate, evaluation, DecisionRef(True, "gates", "passed", decision.hash))


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
    found = deploy(RunContext(problem, settings, RUN), first, version)
    assert (found.deployed, found.alias, found.version) == (True, "champion", version.version)
    assert found.url == f"{server.url}/v2/models/flight_delays"
    assert champion(settings, "flight_delays").version == version.version
    assert server.predict(rows)["version"] == version.version
    assert steps(settings) == ["smoke test passed", "pushed", "deployed"]
    # Twice is harmless: the same answer, no new promotion, no new step.
    assert deploy(RunContext(problem, settings, RUN), first, version).deployed
    assert steps(settings) == ["smoke test passed", "pushed", "deployed"]
    assert len(Ledger(settings).entries("flight_delays", ("promotion",))) == 1

    second = stages.candidate(1, cutoff="2013-04-02")
    version = stages.version(problem, second, settings)
    assert deploy(RunContext(problem, settings, RUN), second, version).deployed
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
    found = deploy(RunContext(problem, settings, run), candidate, version)  # nothing listens at server_url
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
    assert deploy(RunContext(problem, settings, RUN), new, version).deployed
    found = deploy(RunContext(problem, settings, RUN), old, late)
    assert not found.deployed
    assert server.predict(rows)["version"] == version.version
    assert [entry["version"] for entry in server.call("/v2/repository/index", {})[1]] == [version.version]


def test_a_server_that_is_down_can_be_tried_again(settings, stages, monkeypatch):
    monkeypatch.setattr("windtunnel.lifecycle.contract.calls.PAUSE", 0.01)
    problem = problem_of()
    candidate = stages.candidate(0)
    version = stages.version(problem, candidate, settings)
    with pytest.raises(UnavailableError, match="does not answer") as caught:
        deploy(RunContext(problem, settings, RUN), candidate, version)
    assert caught.value.retryable
    assert champion(settings, "flight_delays") is None


def test_limits_and_changed_bundles_stop_a_deployment(settings, stages):
    candidate = stages.candidate(0)
    slow = problem_of(serving={"latency_p99_ms": 0.0001})
    with pytest.raises(GateError, match=r"latency_p99_ms is 0.0001.* in each of 3 attempts"):
        deploy(RunContext(slow, settings, RUN), candidate, stages.version(slow, candidate, settings))
    large = problem_of(serving={"size_mb": 0.0001})
    with pytest.raises(GateError, match="size_mb"):
        package(large, candidate, settings)
    with pytest.raises(IntegrityError, match="digest"):
        package(problem_of(), dataclasses.replace(candidate, digest="0" * 64), settings)
    assert steps(settings) == ["smoke test failed"]


def test_the_smoke_test_measures_under_load_in_an_environment_of_its_own(settings, stages):
    ready = package(problem_of(serving={"latency_p99_ms": 5000}), stages.candidate(0), settings)
    loaded = ready.report["under_load"]
    assert loaded["clients"] > 1
    assert loaded["requests"] > loaded["clients"]
    assert loaded["errors"] == 0
    assert 0 < loaded["p50"] <= loaded["p90"] <= loaded["p99"] < 5000
    assert ready.report["foreign"] == []
    assert ready.report["latency_ms"]["p50"] < loaded["p50"], "a request waits for others"


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


# The canary, with a fault for each reason to take it out -------------------------------------------------------------------------------


@contextlib.contextmanager
def asked(server, rows, every=0.004, batch=1):
    """Somebody asks all the while; gives the list of answers, or of failures."""
    seen, stop = [], threading.Event()

    def ask():
        number = 0
        while not stop.wait(every):
            number += batch
            few = [{**row, "flight": number + n} for n, row in enumerate((rows * 3)[number % len(rows) :][:batch])]
            status, body = server.call("/v1/models/flight_delays/predict", {"rows": few})
            seen.append((status, body.get("route"), body.get("version")))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield seen
    finally:
        stop.set()
        asking.join()


@pytest.fixture
def champion_served(serve, settings, stages):
    """A server with a champion, and the settings that name it."""
    server = serve()
    settings = dataclasses.replace(settings, server_url=server.url)
    problem = problem_of(serving={"latency_p99_ms": 5000})
    first = stages.candidate(0)
    assert deploy(RunContext(problem, settings, RUN), first, stages.version(problem, first, settings)).deployed
    return server, settings


def canary_of(**serving):
    return problem_of(serving={"canary_share": 0.5, "bake_seconds": 60.0, "latency_p99_ms": 5000, "canary_drift": 100.0} | serving)


def taken_out(server, settings, rows):
    """The champion alone answers again, nothing of the canary is left, and the ledger says so."""
    assert champion(settings, "flight_delays").version == "1"
    assert {server.predict(rows[:1])["version"] for _ in range(20)} == {"1"}
    assert [(entry["version"], entry["labels"]) for entry in server.call("/v2/repository/index", {})[1]] == [("1", ["champion"])]
    assert server.call("/v2/models/flight_delays/route")[1]["route"] == {}
    entry = Ledger(settings).entries("flight_delays", ("deployment",))[-1]
    assert entry.payload["step"] == "rolled back"
    assert "canary passed" not in steps(settings)
    return entry.payload["reason"]


def test_a_canary_takes_its_share_and_is_promoted(champion_served, stages, rows):
    server, settings = champion_served
    problem = canary_of(bake_seconds=3.0, sticky="flight", canary_requests=10)
    second = stages.candidate(1, cutoff="2013-04-02")
    version = stages.version(problem, second, settings)
    with asked(server, rows) as seen:
        assert deploy(RunContext(problem, settings, RUN), second, version).deployed
    assert {status for status, _, _ in seen} == {200}
    routes = [route for _, route, _ in seen]
    assert routes.count("canary") > 10
    assert routes.index("canary") < len(routes) - routes[::-1].index("champion")
    said = steps(settings)
    assert said[-5:] == ["smoke test passed", "pushed", "canary started", "canary passed", "deployed"]
    assert server.predict(rows[:1])["route"] == "champion"
    assert server.predict(rows[:1])["version"] == version.version
    assert server.call("/v2/models/flight_delays/route")[1]["route"] == {}
    # Pushed again: nothing happens again.
    assert deploy(RunContext(problem, settings, RUN), second, version).deployed
    assert steps(settings) == said
    (promotion,) = Ledger(settings).entries("flight_delays", ("promotion",))[1:]
    assert promotion.payload["facts"]["canary"]["requests"] > 10


def test_a_canary_that_fails_requests_is_taken_out(champion_served, stages, rows):
    server, settings = champion_served
    problem = canary_of()
    # It learned without nulls: what the samples hold it answers, and what comes now it cannot.
    second = stages.fragile(cutoff="2013-04-02")
    version = stages.version(problem, second, settings)
    with (
        asked(server, [{**row, "dep_delay": None} for row in rows]) as seen,
        pytest.raises(GateError, match="error rate"),
    ):
        deploy(RunContext(problem, settings, RUN), second, version)
    assert {route for status, route, _ in seen if status == 200} >= {"champion"}
    assert "error rate" in taken_out(server, settings, rows)


def test_a_slow_canary_is_taken_out(champion_served, stages, rows):
    server, settings = champion_served
    # The samples' single rows are quick enough, also under load; what people send has thousands of rows and is not.
    problem = canary_of(latency_p99_ms=150)
    second = stages.candidate(3, cutoff="2013-04-02", kind="forest")
    version = stages.version(problem, second, settings)
    with asked(server, rows * 200, batch=3000, every=0.05), pytest.raises(GateError, match="latency"):
        deploy(RunContext(problem, settings, RUN), second, version)
    assert "p99 limit" in taken_out(server, settings, rows)


def test_a_canary_that_answers_something_else_is_taken_out(champion_served, stages, rows):
    server, settings = champion_served
    problem = canary_of(canary_drift=0.25)
    second = stages.candidate(0, cutoff="2013-04-02", kind="flipped")
    version = stages.version(problem, second, settings)
    with asked(server, rows), pytest.raises(GateError, match="canary_drift"):
        deploy(RunContext(problem, settings, RUN), second, version)
    assert "(drift)" in taken_out(server, settings, rows)


def test_a_canary_whose_answers_are_worth_less_is_taken_out(champion_served, stages, rows):
    server, settings = champion_served
    problem = canary_of()
    second = stages.candidate(0, cutoff="2013-04-02", kind="flipped")
    version = stages.version(problem, second, settings)
    caught = []

    def go():
        try:
            deploy(RunContext(problem, settings, RUN), second, version)
        except GateError as error:
            caught.append(error)

    deploying = threading.Thread(target=go)
    deploying.start()
    rewarded = 0
    while deploying.is_alive():  # the truth comes in bit by bit, as the feedback DAG tells it
        time.sleep(0.3)
        rewarded += 20
        totals = {"1/champion": {"count": rewarded, "total": rewarded * 0.9}, "2/canary": {"count": rewarded, "total": rewarded * 0.5}}
        server.call("/v2/models/flight_delays/rewards", totals)
    assert "(KPI)" in str(caught[0])
    assert "(KPI)" in taken_out(server, settings, rows)


def test_a_server_that_dies_while_a_canary_bakes_is_reported_and_the_retry_finishes(champion_served, stages, rows, monkeypatch):
    monkeypatch.setattr("windtunnel.lifecycle.contract.calls.PAUSE", 0.01)
    server, settings = champion_served
    problem = canary_of(bake_seconds=4.0, canary_without_evidence=True)
    second = stages.candidate(1, cutoff="2013-04-02")
    version = stages.version(problem, second, settings)
    package(problem, second, settings)
    threading.Timer(2.5, server.stop, (signal.SIGKILL,)).start()
    with pytest.raises(UnavailableError):
        deploy(RunContext(problem, settings, RUN), second, version)
    assert steps(settings)[-1] == "out of reach"
    for pid in server.workers().values():  # they end with their supervisor, but not at once
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.start()
    settings = dataclasses.replace(settings, server_url=server.url)
    assert deploy(RunContext(problem, settings, RUN), second, version).deployed
    assert server.predict(rows[:1])["version"] == version.version
    assert server.call("/v2/models/flight_delays/route")[1]["route"] == {}


# Other targets ------------------------------------------------------------------------------------------------------------------------


def test_a_directory_is_a_place_to_push_to(settings, stages, tmp_path):
    settings = dataclasses.replace(settings, server_url=str(tmp_path / "target"))
    problem = problem_of()
    candidate = stages.candidate(0)
    version = stages.version(problem, candidate, settings)
    for _ in range(2):
        assert deploy(RunContext(problem, settings, RUN), candidate, version).deployed
    pushed = tmp_path / "target" / "flight_delays"
    assert json.loads((pushed / "labels.json").read_text())["labels"]["champion"] == version.version
    assert bundle.read(pushed / version.version).files["plan/plan.json"]


def test_further_places_and_manifests_follow_the_promotion(settings, stages, tmp_path):
    settings = dataclasses.replace(settings, server_url=str(tmp_path / "one"))
    parts = {
        "targets": [str(tmp_path / "two"), "mlflow:"],
        "manifests": {"image": "registry.example.org/server:1", "role": "arn:aws:iam::1:role/m"},
    }
    problem = problem_of(serving={"latency_p99_ms": 5000} | parts)
    candidate = stages.candidate(0)
    version = stages.version(problem, candidate, settings)
    for _ in range(2):
        assert deploy(RunContext(problem, settings, RUN), candidate, version).deployed
    for place in ("one", "two"):
        assert json.loads((tmp_path / place / "flight_delays" / "labels.json").read_text())["labels"]["champion"] == version.version
    said = steps(settings)
    assert said == [
        "smoke test passed",
        "deployed",
        f"pushed to {tmp_path / 'two'}",
        f"pushed to {settings.tracking_uri}",
        "manifests written",
    ]
    written = tmp_path / "artifacts" / "flight_delays" / "manifests" / version.version
    assert sorted(path.name for path in written.iterdir()) == ["kserve.yaml", "kubernetes.yaml", "sagemaker.json"]


def test_a_place_that_is_none_is_named_first_and_one_that_is_down_is_tried_again(settings, stages, tmp_path, monkeypatch):
    monkeypatch.setattr("windtunnel.lifecycle.contract.calls.PAUSE", 0.01)
    settings = dataclasses.replace(settings, server_url=str(tmp_path / "one"))
    candidate = stages.candidate(0)
    problems = [
        problem_of(serving={"latency_p99_ms": 5000, "targets": [url]}) for url in ("ftp://x", "put+http://127.0.0.1:9", str(tmp_path))
    ]
    version = stages.version(problems[0], candidate, settings)
    with pytest.raises(ConfigurationError, match="ftp://x"):
        deploy(RunContext(problems[0], settings, RUN), candidate, version)
    assert champion(settings, "flight_delays") is None
    with pytest.raises(UnavailableError, match="does not answer"):
        deploy(RunContext(problems[1], settings, RUN), candidate, version)
    assert champion(settings, "flight_delays").version == version.version
    assert deploy(RunContext(problems[2], settings, RUN), candidate, version).deployed
    assert (tmp_path / "flight_delays" / version.version).is_dir()


def test_a_canary_that_nobody_asked_is_not_promoted(champion_served, stages, rows):
    server, settings = champion_served
    problem = canary_of(bake_seconds=0.3)
    second = stages.candidate(1, cutoff="2013-04-02")
    with pytest.raises(GateError, match=r"answered 0 requests in 0.3 s, serving.canary_requests is 20"):
        deploy(RunContext(problem, settings, RUN), second, stages.version(problem, second, settings))
    assert "too few" in taken_out(server, settings, rows)


def test_without_evidence_only_where_the_problem_allows_it_and_the_ledger_says_so(champion_served, stages, rows):
    server, settings = champion_served
    problem = canary_of(bake_seconds=0.3, canary_without_evidence=True)
    second = stages.candidate(1, cutoff="2013-04-02")
    version = stages.version(problem, second, settings)
    assert deploy(RunContext(problem, settings, RUN), second, version).deployed
    assert "promoted without evidence" in steps(settings)
    assert "canary passed" not in steps(settings)
    (promotion,) = Ledger(settings).entries("flight_delays", ("promotion",))[1:]
    assert "answered 0 requests" in promotion.payload["facts"]["canary"]["without_evidence"]
    assert server.predict(rows[:1])["version"] == version.version


def test_how_quick_a_model_is_is_measured_each_time_and_one_busy_moment_bars_nothing(settings, stages, monkeypatch):
    from windtunnel.lifecycle.release import packaging

    real, calls = packaging._smoke, []

    def busy(folder, digest, limit_ms, *, compiling=False):
        """The first measurement happens while the machine does something else."""
        report = real(folder, digest, limit_ms, compiling=compiling)
        calls.append(compiling)
        if len(calls) == 1:
            report["latency_ms"]["p99"] = 1e6
        return report

    monkeypatch.setattr(packaging, "_smoke", busy)
    problem, candidate = problem_of(serving={"latency_p99_ms": 5000}), stages.candidate(0)
    first = package(problem, candidate, settings)
    assert (first.report["attempts"], calls) == (2, [True, False])
    again = package(problem, candidate, settings)
    assert (again.report["attempts"], calls) == (1, [True, False, False])
    assert (first.uri, first.digest) == (again.uri, again.digest)
    kept = json.loads((Path(first.uri) / "result.json").read_text())["report"]
    assert not set(kept) & {"latency_ms", "slowdown", "under_load", "load_seconds"}


def test_a_latency_counts_beside_what_the_machine_did_meanwhile():
    from windtunnel.lifecycle.release.packaging import _too_slow

    problem = problem_of(serving={"latency_p99_ms": 10}, gates=[{"metric": "latency_p50_ms", "at_most": 2}])
    figures = {"latency_ms": {"p50": 1.0, "p99": 40.0}, "under_load": {"clients": 4, "p50": 1.5, "p99": 9.0}}
    assert "p99) but serving.latency_p99_ms is 10" in _too_slow(problem, figures | {"slowdown": 1.0})
    assert not _too_slow(problem, figures | {"slowdown": 5.0})
    slow = figures | {"latency_ms": {"p50": 30.0, "p99": 40.0}, "slowdown": 5.0}
    assert "the gate on latency_p50_ms is 2; the machine was 5.0 times slower" in _too_slow(problem, slow)


# A rollback, with each system down in turn ----------------------------------------------------------------------------------------------


@pytest.fixture
def three_served(champion_served, stages):
    """Champions 1, 2 and 3, one after the other, on a server with a token."""
    server, settings = champion_served
    problem = problem_of(serving={"latency_p99_ms": 5000})
    for seed in (1, 2):
        candidate = stages.candidate(seed, cutoff=f"2013-04-0{seed + 1}")
        assert deploy(RunContext(problem, settings, RUN), candidate, stages.version(problem, candidate, settings)).deployed
    return server, settings


def roll(settings, monkeypatch, capsys, *more):
    """The command, in a shell that has the settings' variables."""
    for name, value in settings.to_dict().items():
        monkeypatch.setenv(f"AIRFLOW__WINDTUNNEL__{name.upper()}", str(value))
    code = main(["rollback", "flight_delays", "--reason", "precision fell", *more])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def agree(server, settings, rows, version):
    from windtunnel.lifecycle.record.tracking import client

    assert champion(settings, "flight_delays").version == version
    assert str(client(settings).get_model_version_by_alias("flight_delays", "champion").version) == version
    assert server.predict(rows[:1])["version"] == version


def test_a_rollback_changes_all_systems_and_a_second_one_goes_further_back(three_served, rows, monkeypatch, capsys):
    server, settings = three_served
    code, said = roll(settings, monkeypatch, capsys)
    assert code == 0
    assert "ledger, MLflow, model server agree" in said
    agree(server, settings, rows, "2")
    assert roll(settings, monkeypatch, capsys)[0] == 0
    agree(server, settings, rows, "1")
    assert len(Ledger(settings).entries("flight_delays", ("rollback",))) == 2
    code, said = roll(settings, monkeypatch, capsys)
    assert (code, "had no other champion" in said) == (1, True)
    assert roll(settings, monkeypatch, capsys, "--to", "1")[0] == 0, "what is so already is no error"
    agree(server, settings, rows, "1")
    assert len(Ledger(settings).entries("flight_delays", ("rollback",))) == 2


@pytest.mark.parametrize(
    ("fault", "system"),
    [({"server_token": "wrong"}, "model server"), ({"server_url": "http://127.0.0.1:9"}, "model server"), ({"tracking_uri": ""}, "MLflow")],
    ids=["wrong token", "server down", "MLflow down"],
)
def test_a_rollback_that_is_held_up_says_what_is_left_and_can_be_repeated(three_served, rows, monkeypatch, capsys, fault, system):
    server, settings = three_served
    if "tracking_uri" in fault:
        from windtunnel.lifecycle.release import rolling_back

        real = rolling_back.repair

        def down(*_):
            raise UnavailableError("MLflow is out of reach: nobody answers")

        monkeypatch.setattr("windtunnel.lifecycle.record.promotion.follow_ledger", down)
        monkeypatch.setattr(rolling_back, "repair", down)
        broken = settings
    else:
        broken = dataclasses.replace(settings, **fault)
    for _ in range(2):  # given again while it is still down, it goes no further back
        code, said = roll(broken, monkeypatch, capsys)
        assert code == 1
        assert f"  {system}: " in said
        assert "Left to do: give the same command again" in said
        assert champion(settings, "flight_delays").version == "2"
    monkeypatch.undo()
    if "tracking_uri" in fault:
        assert rolling_back.repair is real
    code, said = roll(settings, monkeypatch, capsys)
    assert code == 0, said
    agree(server, settings, rows, "2")
    assert len(Ledger(settings).entries("flight_delays", ("rollback",))) == 1


def test_a_rollback_without_its_ledger_changes_nothing(three_served, rows, monkeypatch, capsys):
    server, settings = three_served
    gone = dataclasses.replace(settings, ledger_uri="postgresql+psycopg2://a:b@127.0.0.1:9/catalog")
    code, said = roll(gone, monkeypatch, capsys)
    assert (code, "out of reach" in said) == (1, True)
    agree(server, settings, rows, "3")


def test_a_rollback_reaches_the_further_places(three_served, stages, tmp_path, monkeypatch, capsys):
    _, settings = three_served
    problem = problem_of(serving={"latency_p99_ms": 5000, "targets": [str(tmp_path / "elsewhere")]})
    candidate = stages.candidate(4, cutoff="2013-04-09")
    assert deploy(RunContext(problem, settings, RUN), candidate, stages.version(problem, candidate, settings)).deployed
    code, said = roll(settings, monkeypatch, capsys)
    assert (code, str(tmp_path / "elsewhere") in said) == (0, True)
    assert any("3" in path.name for path in (tmp_path / "elsewhere").rglob("*"))
