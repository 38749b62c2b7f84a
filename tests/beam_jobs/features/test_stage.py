"""The stage of a retraining run, on real messages, people, customers and film reviews."""

import datetime as dt
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.pipeline import make_union
from sklearn.preprocessing import OneHotEncoder

from windtunnel.beam_jobs.features import Options, load_manifest, load_shards, load_transformer
from windtunnel.beam_jobs.features.page import features_page
from windtunnel.beam_jobs.features.stage import preprocess_files
from windtunnel.beam_jobs.features.testing import assert_same_answer, assert_same_fit
from windtunnel.beam_jobs.job import Progress
from windtunnel.lifecycle.contract.errors import ConfigurationError, EmptyWindowError
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data import rows
from windtunnel.lifecycle.learning.transformers import transformer_of
from windtunnel.lifecycle.record import freshness

DAY = dt.date(2024, 1, 1)
END = "2024-01-02"
PANDAS = {"int64": "int64", "float64": "float64", "str": "string", "object": "string"}


def _problem(frame, label, positive, **features):
    return parse(
        {
            "name": "p",
            "owner": "o",
            "task": "binary",
            "source": {"format": "csv", "path": "x"},
            "columns": {name: PANDAS[str(dtype)] for name, dtype in frame.dtypes.items()},
            "keys": ["id"],
            "label": {"column": label, "positive": positive},
            "features": features,
        }
    )


def _run(problem, frame, folder, options=None):
    folder.mkdir(exist_ok=True)
    path = folder / "rows.parquet"
    frame.assign(event_date=DAY).to_parquet(path, row_group_size=max(1, len(frame) // 3))
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    return preprocess_files(problem, [str(path)], END, content, Settings(artifacts=str(folder / "art")), options or Options(), Progress())


def _check(problem, frame, folder):
    found = _run(problem, frame, folder)
    table = pq.read_table(folder / "rows.parquet")
    train = ~rows.split_of(problem, table, END)
    inputs = table.to_pandas()[problem.features.columns]
    theirs = clone(transformer_of(problem)).fit(inputs[train])
    ours = load_transformer(found.uri)
    assert_same_answer(ours.transform(inputs[~train]), theirs.transform(inputs[~train]))
    assert list(ours.get_feature_names_out()) == list(theirs.get_feature_names_out())
    y = np.asarray(rows.label_of(problem, table))
    for split, mask in (("train", train), ("test", ~train)):
        x, label = load_shards(found.uri, split)
        assert abs(x - theirs.transform(inputs[mask])).max() < 1e-5
        np.testing.assert_array_equal(label, y[mask])
        assert found.rows[split] == mask.sum()
    manifest = load_manifest(found.uri)
    assert [column["name"] for column in manifest["inputs"]] == problem.features.columns
    html = Path(found.uri, "features.html").read_text(encoding="utf-8")
    assert "What each column became" in html
    assert "http" not in html.replace("http://www.w3.org", "")
    return found


def test_messages(shared_data, tmp_path):
    frame = pd.read_csv(shared_data / "sms_spam" / "sms.tsv", sep="\t", header=None, names=["label", "text"], quoting=3)
    frame = frame.assign(size=frame["text"].str.len(), id=range(len(frame)))
    _check(_problem(frame, "label", {"equals": "spam"}, numeric=["size"], text=["text"]), frame, tmp_path)


def test_people(shared_data, tmp_path):
    frame = pd.read_parquet(shared_data / "adult" / "adult_train.parquet")
    frame.columns = [name.replace("-", "_").replace(".", "_") for name in frame.columns]
    frame = frame.assign(id=range(len(frame)))
    label = frame.columns[-2]
    numeric = [name for name in frame.columns[:-2] if frame[name].dtype.kind in "if"]
    other = [name for name in frame.columns[:-2] if name not in numeric]
    frame = frame.astype(dict.fromkeys(numeric, "float64")) if numeric else frame
    if frame[label].dtype.kind in "iufb":
        frame = frame.astype({label: "int64"})
        positive = {"above": 0}
    else:
        positive = {"equals": str(frame[label].iloc[0])}
    _check(_problem(frame, label, positive, numeric=numeric, categorical=other, min_frequency=100), frame, tmp_path)


def test_customers(shared_data, tmp_path):
    frame = pd.read_csv(shared_data / "telco_churn" / "Telco-Customer-Churn.csv").rename(columns={"customerID": "id"})
    frame["TotalCharges"] = pd.to_numeric(frame["TotalCharges"], errors="coerce")  # eleven are blank
    numeric = ["tenure", "MonthlyCharges", "TotalCharges"]
    other = [name for name in frame.columns if name not in {*numeric, "id", "Churn"}]
    _check(_problem(frame, "Churn", {"equals": "Yes"}, numeric=numeric, categorical=other), frame, tmp_path)


@pytest.mark.slow
def test_film_reviews_in_korean(shared_data, tmp_path):
    frame = pq.read_table(shared_data / "nsmc" / "nsmc_dev.parquet").slice(0, 6000).to_pandas()
    text = "review"
    frame = pd.DataFrame({"id": range(len(frame)), "text": frame[text], "label": frame["sentiment"].astype(str)})
    _check(_problem(frame, "label", {"equals": str(frame["label"].iloc[0])}, text=["text"]), frame, tmp_path)


def _small(**choices):
    frame = pd.DataFrame({"id": range(300), "x": np.arange(300.0), "c": ["a", "b", None] * 100, "y": [float(i % 2) for i in range(300)]})
    return _problem(frame, "y", {"above": 0.5}, numeric=["x"], categorical=["c"], **choices), frame


def test_the_same_inputs_are_not_computed_again_and_a_changed_step_is(tmp_path):
    problem, frame = _small()
    first = _run(problem, frame, tmp_path)
    written = Path(first.uri, "manifest.json").stat().st_mtime_ns
    assert _run(problem, frame, tmp_path) == first
    assert Path(first.uri, "manifest.json").stat().st_mtime_ns == written
    changed = _run(_small(scale=False)[0], frame, tmp_path)
    assert changed.uri != first.uri
    assert _run(problem, frame.assign(x=frame["x"] + 1), tmp_path).uri not in {first.uri, changed.uri}


def test_two_runs_leave_the_same_bytes(tmp_path):
    problem, frame = _small()
    first, second = (
        _run(problem, frame, tmp_path / "a"),
        _run(problem, frame, tmp_path / "b", Options(runner_options="--direct_runner_bundle_repeat=1")),
    )
    assert first.fingerprint == second.fingerprint
    for name in ("pipeline.skops", "train/part-00000.arrow", "test/part-00000.arrow", "manifest.json"):
        assert Path(first.uri, name).read_bytes() == Path(second.uri, name).read_bytes(), name


def test_no_training_row(tmp_path):
    problem, frame = _small()
    with pytest.raises(EmptyWindowError, match="no row to fit"):
        _run(problem, frame.assign(y=np.nan), tmp_path)
    assert not list((tmp_path / "art").rglob("manifest.json"))


def test_a_function_of_the_teams_own(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "team_features.py").write_text(
        "from sklearn.compose import make_column_transformer\nfrom sklearn.preprocessing import MinMaxScaler\n\n\n"
        "def make():\n    return make_column_transformer((MinMaxScaler(), ['x']))\n\n\ndef nothing():\n    return 3\n"
    )
    problem, frame = _small(transformer="team_features:make")
    found = _run(problem, frame, tmp_path / "w")
    assert found.width == 1
    assert_same_fit(type(load_transformer(found.uri)).__name__, "ColumnTransformer")
    for name, says in (
        ("team_features:nothing", "returned a int"),
        ("team_features:absent", "cannot be imported"),
        ("no_module:f", "cannot be imported"),
    ):
        with pytest.raises(ConfigurationError, match=says):
            _run(_small(transformer=name)[0], frame, tmp_path / "w")


SOURCE = """
import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler

LIMIT = 1

def clipped(x):
    return np.array([[min(value, LIMIT) for value in row] for row in np.asarray(x)])

def make():
    return make_column_transformer((MinMaxScaler(feature_range=(0, 1)), ["x"]), (FunctionTransformer(clipped), ["x"]))
"""


def _recipe_in_a_process_of_its_own(folder, source):
    (folder / "changing.py").write_text(source)
    code = "import changing; from windtunnel.beam_jobs.features.stage import recipe; print(recipe(changing.make()))"
    found = subprocess.run([sys.executable, "-W", "ignore", "-B", "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return found.stdout.splitlines()[-1]


def test_a_changed_step_is_another_recipe_and_an_unchanged_one_is_not(tmp_path):
    first = _recipe_in_a_process_of_its_own(tmp_path, SOURCE)
    assert first == _recipe_in_a_process_of_its_own(tmp_path, SOURCE)
    assert first != _recipe_in_a_process_of_its_own(tmp_path, SOURCE.replace("LIMIT = 1", "LIMIT = 2"))
    assert first != _recipe_in_a_process_of_its_own(tmp_path, SOURCE.replace("(0, 1)", "(0, 2)"))


def test_what_changed_is_named_and_what_did_not_is_not_computed_again(tmp_path, monkeypatch):
    problem, frame = _small()
    settings = Settings(artifacts=str(tmp_path / "w" / "art"))
    first = _run(problem, frame, tmp_path / "w")
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.json").write_text(json.dumps({"lineage": {"features": first.fingerprint}}))
    assert freshness.stale(settings, "p", str(model)) == []
    built = Path(first.uri, "pipeline.skops").stat().st_mtime_ns
    assert _run(problem, frame, tmp_path / "w") == first
    assert Path(first.uri, "pipeline.skops").stat().st_mtime_ns == built
    changed = problem.model_copy(update={"features": problem.features.model_copy(update={"impute": "mean"})})
    second = _run(changed, frame, tmp_path / "w")
    assert second.fingerprint != first.fingerprint
    assert [reason.partition(" ")[0] for reason in freshness.stale(settings, "p", str(model))] == ["a", "the"]
    _run(problem, frame.assign(y=frame["y"].to_numpy()[::-1]), tmp_path / "w")
    assert any("other or newer data" in reason for reason in freshness.stale(settings, "p", str(model)))
    _run(problem, frame, tmp_path / "w")
    assert freshness.stale(settings, "p", str(model)) == []
    monkeypatch.setattr(freshness, "libraries", lambda: {"scikit-learn": "0.1"})
    assert any("scikit-learn was" in reason for reason in freshness.stale(settings, "p", str(model)))
    assert _run(problem, frame, tmp_path / "w").fingerprint != first.fingerprint


def test_the_page_shows_blanks_at_the_ends_of_terms_and_days_as_days():
    letters = CountVectorizer(analyzer="char_wb", ngram_range=(2, 2)).fit(["ab 안녕"])
    days = OneHotEncoder().fit(pd.DataFrame({"d": pd.to_datetime(["2024-05-01", "2024-05-02T03:00:00"], format="ISO8601")}))
    html = features_page("t", make_union(letters, days), {"splits": {}, "layout": "dense", "dtype": "float32", "width": 1, "names": ["n"]})
    assert "␣a, ␣안, ab, b␣, 녕␣, 안녕" in html
    assert "2024-05-01, 2024-05-02T03:00:00" in html
