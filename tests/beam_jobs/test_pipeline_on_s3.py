"""The whole pipeline with landing, warehouse and artefacts in an object store: nothing may take a URL for a path of this machine."""

import csv
import datetime as dt
import shutil

import churn
import fsspec
import pandas as pd
import pytest

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.references import DecisionRef
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.record.ledger import Ledger

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the server's and client's own

PROBLEM = {**churn.PROBLEM, "serving": {"latency_p99_ms": 5000, "explain": True}}


def day_file(bucket, day):
    with fsspec.open(f"s3://{bucket}/in/{day}.csv", "w") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "age", "plan", "left"])
        writer.writerows([day.day * 1000 + i, 20 + i % 40, "ab"[i % 2], int((i % 40 > 20) != (i % 7 == 0))] for i in range(200))


@pytest.mark.slow
def test_from_files_to_a_champion_that_mlflow_can_load(bucket, tmp_path, empty_mlflow, monkeypatch):
    from windtunnel.beam_jobs.evaluate import evaluate
    from windtunnel.beam_jobs.expectations import validate
    from windtunnel.beam_jobs.features import preprocess
    from windtunnel.beam_jobs.ingest import ingest
    from windtunnel.beam_jobs.job import Progress
    from windtunnel.beam_jobs.profile import profile
    from windtunnel.cli.main import main
    from windtunnel.lifecycle.learning.training import train
    from windtunnel.lifecycle.record.promotion import promote
    from windtunnel.lifecycle.record.registration import register
    from windtunnel.lifecycle.record.tracking import client
    from windtunnel.lifecycle.release.packaging import package

    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    settings = Settings(
        catalog_uri=f"sqlite:///{tmp_path}/catalog.db",
        warehouse=f"s3://{bucket}/warehouse",
        artifacts=f"s3://{bucket}/artifacts",
        tracking_uri=f"sqlite:///{tmp_path}/mlflow.db",
        ledger_uri=f"sqlite:///{tmp_path}/ledger.db",
        landing=f"s3://{bucket}/in",
    )
    for number in range(1, 6):
        day_file(bucket, dt.date(2026, 1, number))
    problem, run = parse(PROBLEM), Run("churn", "manual__1", "manual", by="ada")
    context = RunContext(problem, settings, run)
    snapshot = ingest(problem, Window(dt.date(2026, 1, 1), dt.date(2026, 1, 6)), settings, Progress())
    assert snapshot.rows == 1000
    statistics = profile(problem, snapshot, settings, Progress())
    assert validate(problem, snapshot, statistics, settings, Progress()).success
    features = preprocess(problem, snapshot, settings, Progress())
    candidate = train(context, snapshot, features, None)
    evaluation = evaluate(problem, candidate, snapshot, settings, Progress())
    entry = Ledger(settings).append(problem, "decision", {"approved": True, "by": "ada"}, run)
    version = register(context, candidate, evaluation, DecisionRef(True, "ada", "", entry.hash))
    assert package(problem, candidate, settings).uri.startswith("s3://")
    assert promote(context, version).promoted

    # What the registry has is a model of MLflow's own, which its loaders and its page know.
    import mlflow

    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", settings.tracking_uri)
    rows = pd.DataFrame({"age": [21, 55], "plan": ["a", "b"]})
    generic = mlflow.pyfunc.load_model("models:/churn@champion")
    own = mlflow.sklearn.load_model("models:/churn@champion")
    assert list(generic.predict(rows)) == list(own.predict(rows)) == [0, 1]
    assert {column.name for column in generic.metadata.signature.inputs} == {"age", "plan"}
    held = client(settings).get_model_version_by_alias("churn", "champion")
    assert not [value for value in held.tags.values() if "/" in value and "://" not in value], "no path of a machine"
    experiment = client(settings).get_experiment_by_name("churn")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"

    # Scoring from there, too.
    files = [file for file in fsspec.filesystem("s3").find(f"{bucket}/warehouse") if file.endswith(".parquet") and "examples" in file]
    assert main(["predict", candidate.uri, f"s3://{files[0]}", "-o", f"s3://{bucket}/answers", "--keep", "id"]) == 0
    assert fsspec.filesystem("s3").find(f"{bucket}/answers")
