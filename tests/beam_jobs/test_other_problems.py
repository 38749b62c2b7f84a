"""Other data sets than the demo's, through the whole chain of stages: tasks, formats, separators, texts, nulls, dates."""

import csv
import dataclasses
import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from windtunnel.beam_jobs.evaluate import evaluate
from windtunnel.beam_jobs.features import preprocess
from windtunnel.beam_jobs.ingest import ingest
from windtunnel.beam_jobs.job import Progress
from windtunnel.beam_jobs.predict import predict
from windtunnel.beam_jobs.profile import profile
from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import ConfigurationError, DataError, EmptyWindowError
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.artifacts import read_text
from windtunnel.lifecycle.data.frames import to_frame
from windtunnel.lifecycle.data.pins import files
from windtunnel.lifecycle.learning.shards import load_shards
from windtunnel.lifecycle.learning.training import train
from windtunnel.lifecycle.learning.tuning import tune
from windtunnel.lifecycle.model import answers, bundle
from windtunnel.lifecycle.record import tracking

pytestmark = pytest.mark.filterwarnings("ignore")  # third parties' warnings are tested where they are called

WINDOW = Window(dt.date(2013, 1, 1), dt.date(2013, 1, 2))
RUN = Run("a_dag", "a_run", "manual")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)  # where MLflow puts artefacts without a server
        yield Settings(
            catalog_uri=f"sqlite:///{home}/catalog.db",
            ledger_uri=f"sqlite:///{home}/ledger.db",
            warehouse=str(home / "warehouse"),
            artifacts=str(home / "artifacts"),
            tracking_uri=f"sqlite:///{home}/mlflow.db",
        )


def telco(data):
    header = next(csv.reader((data / "telco_churn" / "Telco-Customer-Churn.csv").open(encoding="utf-8")))
    numeric = {"SeniorCitizen": "int32", "tenure": "int32", "MonthlyCharges": "float64", "TotalCharges": "float64"}
    columns = {name: numeric.get(name, "string") for name in header}
    return {
        "name": "telco",
        "task": "binary",
        # Eleven customers without a first bill have a blank there.
        "source": {"format": "csv", "path": str(data / "telco_churn" / "*.csv"), "options": {"nulls": ["", " "]}},
        "columns": columns,
        "keys": ["customerID"],
        "label": {"column": "Churn", "positive": {"equals": "Yes"}},
        "features": {"numeric": list(numeric), "categorical": [n for n in header if n not in {*numeric, "customerID", "Churn"}]},
        "sensitive": ["gender"],
        "slices": ["Contract"],
        "model": {"family": "linear"},
        "gates": [{"metric": "auc", "at_least": 0.8}],
    }


def housing(data):
    numeric = ["longitude", "latitude", "housing_median_age", "total_rooms", "total_bedrooms", "population", "households", "median_income"]
    return {
        "name": "housing",
        "task": "regression",
        "source": {"format": "csv", "path": str(data / "california_housing" / "housing.csv")},
        "columns": dict.fromkeys([*numeric, "median_house_value"], "float64") | {"ocean_proximity": "string"},
        "keys": ["longitude", "latitude", "total_rooms"],
        "label": {"column": "median_house_value"},
        "features": {"numeric": numeric, "categorical": ["ocean_proximity"]},
        "model": {"parameters": {"max_iter": 40}},
        "gates": [{"metric": "r2", "at_least": 0.7}],
    }


def intrusions(data, **changes):
    schema = pq.read_schema(data / "nsl_kdd" / "kdd_train20.parquet")
    kinds = {"int64": "int64", "double": "float64", "large_string": "string"}
    columns = {field.name: kinds[str(field.type)] for field in schema if field.name != "difficulty"}
    return {
        "name": "intrusions",
        "task": "anomaly",
        "source": {"format": "parquet", "path": str(data / "nsl_kdd" / "kdd_train20.parquet")},
        "columns": columns,
        "splits": {"key": ["src_bytes", "dst_bytes", "service", "count"]},
        "label": {"column": "attack", "positive": {"not_equals": "normal"}},
        "features": {
            "numeric": [n for n, kind in columns.items() if kind != "string"],
            "categorical": ["protocol_type", "flag"],
        },
        "model": {"family": "isolation_forest"},
    } | changes


def protocols(data):
    values = intrusions(
        data, name="protocols", task="multiclass", label={"column": "protocol_type"}, model={"parameters": {"max_iter": 10}}
    )
    values["features"] = {"numeric": values["features"]["numeric"], "categorical": ["flag"]}
    return values | {"gates": [{"metric": "accuracy", "at_least": 0.9}]}


def spam(data):
    return {
        "name": "spam",
        "task": "binary",
        "source": {
            "format": "csv",
            "path": str(data / "sms_spam" / "sms.tsv"),
            "options": {"delimiter": "\t", "header": False, "quote": "", "names": ["kind", "message"]},
        },
        "columns": {"kind": "string", "message": "string"},
        "keys": ["message"],
        "label": {"column": "kind", "positive": {"equals": "spam"}},
        "features": {"text": ["message"]},
        "model": {"family": "linear"},
        "gates": [{"metric": "auc", "at_least": 0.95}],
    }


def reviews(data):
    return {
        "name": "reviews",
        "task": "binary",
        "source": {"format": "parquet", "path": str(data / "nsmc" / "nsmc_dev.parquet")},
        "columns": {"review_id": "int64", "date": "timestamp", "rating": "int32", "review": "string"},
        "event_time": {"column": "date"},
        "keys": ["review_id"],
        "label": {"column": "rating", "positive": {"at_least": 9}},
        "features": {"text": ["review"]},
        "model": {"family": "linear"},
        "gates": [{"metric": "auc", "at_least": 0.7}],
    }


PROBLEMS = {
    "telco": (telco, WINDOW, 7043),
    "housing": (housing, WINDOW, 20640),
    "intrusions": (intrusions, WINDOW, 25192),
    "protocols": (protocols, WINDOW, 25192),
    "spam": (spam, WINDOW, 5574),
    "reviews": (reviews, Window(dt.date(2013, 1, 1), dt.date(2013, 7, 1)), None),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_whole_chain(name, settings, shared_data):
    make, window, rows = PROBLEMS[name]
    problem = parse({"owner": "somebody", **make(shared_data)})
    snapshot = ingest(problem, window, settings, Progress())
    if rows is not None:
        assert (snapshot.rows, snapshot.quarantined) == (rows, 0)
    assert profile(problem, snapshot, settings, Progress()).rows == snapshot.rows
    features = preprocess(problem, snapshot, settings, Progress())
    assert sum(features.rows.values()) == snapshot.rows
    candidate = train(RunContext(problem, settings, RUN), snapshot, features, None)
    evaluation = evaluate(problem, candidate, snapshot, settings, Progress())
    assert evaluation.passed, evaluation.reasons
    better = evaluation.value < evaluation.baseline if evaluation.metric in {"rmse", "mae"} else evaluation.value > evaluation.baseline
    assert better, (evaluation.metric, evaluation.value, evaluation.baseline)
    assert "<h1>" in read_text(evaluation.report)
    predictions = predict(problem, candidate.uri, snapshot, settings, Progress())
    assert predictions.rows == snapshot.rows
    # Batch scoring gives the numbers that the training environment gives.
    described = bundle.read(Path(candidate.uri), candidate.digest)
    frame = to_frame(pq.read_table(files(settings, snapshot)[0]), described.dtypes)
    expected = answers.scores(bundle.read_pipeline(Path(candidate.uri)), problem.task, frame)
    scored = pq.read_table(files(settings, predictions)[0]).to_pandas()
    best = expected.max(axis=1) if problem.task == "multiclass" else expected[:, -1]
    np.testing.assert_allclose(np.sort(scored["value"]), np.sort(best), rtol=1e-9, atol=1e-12)
    assert train(RunContext(problem, settings, RUN), snapshot, features, None) == candidate, "the same inputs are not trained again"
    runs = tracking.client(settings).search_runs([tracking.experiment(settings, problem.name)])
    assert len(runs) == 1
    assert runs[0].inputs.dataset_inputs[0].dataset.name == snapshot.table


@pytest.fixture(scope="module")
def churn(settings, shared_data):
    problem = parse({"owner": "somebody", **telco(shared_data)})
    snapshot = ingest(problem, WINDOW, settings, Progress())
    return problem, snapshot, preprocess(problem, snapshot, settings, Progress())


def changed(problem, **parts):
    values = problem.model_dump(mode="json", exclude={"directory"})
    return parse({**values, **parts})


def test_a_grid_no_larger_than_the_budget_is_searched_whole(churn, settings):
    problem = changed(churn[0], model={"family": "linear", "search": {"C": [0.01, 1.0]}}, budget={"trials": 10})
    found = tune(problem, churn[2], settings)
    assert found.trials == 2
    assert found.best["C"] in {0.01, 1.0}
    assert tune(problem, churn[2], settings) == found
    assert tune(problem, churn[2], settings, trials=0).best == {}


def test_a_range_is_searched_with_a_fixed_seed(churn, settings, tmp_path):
    problem = changed(churn[0], model={"family": "linear", "search": {"C": {"low": 0.001, "high": 10, "log": True}}}, budget={"trials": 3})
    first = tune(problem, churn[2], settings)
    again = tune(problem, churn[2], dataclasses.replace(settings, artifacts=str(tmp_path)))
    assert (first.trials, first.best) == (3, again.best)
    assert 0.001 <= first.best["C"] <= 10


def test_a_search_space_that_is_none_is_named(churn, settings):
    problem = changed(churn[0], model={"family": "linear", "search": {"C": 5}})
    with pytest.raises(ConfigurationError, match=r"model\.search\.C must be a list of choices"):
        tune(problem, churn[2], settings)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"family": "isolation_forest"}, "cannot learn a task of 'binary'"),
        ({"family": "linear", "parameters": {"speed": 1}}, "'speed' is not a parameter of LogisticRegression"),
        ({"estimator": "nowhere:model"}, "model.estimator names 'nowhere:model'"),
    ],
)
def test_a_model_that_cannot_be_is_refused_by_name(churn, settings, model, says):
    problem, snapshot, features = churn
    with pytest.raises(ConfigurationError, match=says):
        train(RunContext(changed(problem, model=model), settings, RUN), snapshot, features, None)


def test_downsampling_and_a_memory_budget_bound_the_rows(churn, settings):
    problem, snapshot, features = churn
    balanced = changed(problem, model={"family": "linear", "class_balance": "downsample"})
    candidate = train(RunContext(balanced, settings, RUN), snapshot, features, None)
    rows = tracking.client(settings).get_run(candidate.run_id).data.metrics["rows"]
    positives = int(np.sum(load_shards(features.uri, "train")[1]))
    assert rows == 2 * positives


def test_one_class_and_no_rows_are_said(churn, settings, tmp_path, shared_data):
    problem, snapshot, _ = churn
    constant = changed(problem, name="constant", label={"column": "Churn", "positive": {"equals": "Perhaps"}})
    snapshot = ingest(constant, WINDOW, settings, Progress())
    features = preprocess(constant, snapshot, settings, Progress())
    with pytest.raises(DataError, match="nothing to tell apart"):
        train(RunContext(constant, settings, RUN), snapshot, features, None)
    dated = changed(parse({"owner": "o", **reviews(shared_data)}), name="dated")
    with pytest.raises(EmptyWindowError):
        ingest(dated, Window(dt.date(1990, 1, 1), dt.date(1990, 1, 2)), settings, Progress())


def test_snapshots_files_hold_the_windows_rows(churn, settings):
    _, snapshot, _ = churn
    assert sum(pq.read_metadata(path).num_rows for path in files(settings, snapshot)) == snapshot.rows
