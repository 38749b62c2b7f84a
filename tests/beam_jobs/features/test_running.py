"""How fitting runs: workers, repeated bundles, bins; refusals; extensions; shards."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parity import check, numbers, write
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, RobustScaler, StandardScaler, TargetEncoder

from windtunnel.beam_jobs.features import (
    Accumulator,
    Options,
    fit,
    fit_transform,
    load_manifest,
    load_shards,
    load_transformer,
    transform,
)
from windtunnel.beam_jobs.features.fitting import registry
from windtunnel.beam_jobs.features.testing import AccumulatorConformance
from windtunnel.lifecycle.contract.errors import ConfigurationError, DataError, IntegrityError, SchemaMismatchError, UnsupportedError

ROWS = 211
FRAME = numbers(ROWS).assign(
    t=["aa bb" if i % 3 else "cc üü" for i in range(ROWS)], c=[f"k{i // 50}" for i in range(ROWS)], y=[i % 2 for i in range(ROWS)]
)
EVERYTHING = ColumnTransformer(
    [
        ("n", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), ["normal", "gaps"]),
        ("k", KBinsDiscretizer(3, subsample=50, random_state=1), ["skewed"]),
        ("t", TfidfVectorizer(), "t"),
        ("c", OneHotEncoder(), ["c"]),
        ("te", make_pipeline(TargetEncoder(cv=KFold(3)), StandardScaler()), ["c"]),
    ]
)


@pytest.fixture
def small_bins(monkeypatch):
    monkeypatch.setattr("windtunnel.beam_jobs.features.data.BIN_ROWS", 40)


def _all_ways(folder, options):
    path = write(FRAME, folder)
    fitted, manifest = fit_transform(EVERYTHING, path, folder / "out", {"label": "y", **options})
    x, y = load_shards(str(folder / "out"))
    inputs = FRAME.drop(columns="y")
    with np.errstate(all="ignore"):
        expected = clone(EVERYTHING).fit_transform(inputs, FRAME["y"])
        assert abs(x - expected).max() < 1e-6
        np.testing.assert_array_equal(y, FRAME["y"])
        transform(fitted, path, folder / "again", options)
        assert abs(load_shards(str(folder / "again"))[0] - clone(EVERYTHING).fit(inputs, FRAME["y"]).transform(inputs)).max() < 1e-6
    return manifest


@pytest.mark.parametrize("options", [{}, {"runner_options": "--direct_runner_bundle_repeat=1"}], ids=str)
def test_many_bins(tmp_path, small_bins, options):
    manifest = _all_ways(tmp_path, options)
    assert manifest["rows"] == ROWS
    assert manifest["splits"]["rows"]["files"] == ["part-00000.arrow"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["features.html", "manifest.json", "part-00000.arrow", "pipeline.skops"]


@pytest.mark.slow
def test_two_workers(tmp_path, small_bins):
    _all_ways(tmp_path, {"workers": 2})


def test_bins_do_not_change_a_bit(tmp_path, monkeypatch):
    path = write(FRAME, tmp_path)
    scaler = make_pipeline(ColumnTransformer([("n", SimpleImputer(), ["normal", "gaps", "skewed"])]), StandardScaler())
    first = fit(scaler, path)
    second = fit(scaler, path)
    np.testing.assert_array_equal(first[-1].mean_, second[-1].mean_)
    np.testing.assert_array_equal(first[-1].var_, second[-1].var_)


def test_passes_are_as_few_as_the_algebra_needs(tmp_path):
    path = write(FRAME, tmp_path)
    plain = ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(), StandardScaler(), RobustScaler()), ["normal", "gaps"]),
            ("c", make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["c"]),
            ("t", TfidfVectorizer(), "t"),
        ]
    )
    assert fit_transform(plain, path, tmp_path / "a")[1]["passes"] == 1


def test_the_input_is_not_fitted(tmp_path):
    scaler = StandardScaler()
    fit(scaler, write(FRAME[["normal"]], tmp_path))
    assert not hasattr(scaler, "mean_")


def test_what_cannot_be_fitted_is_refused_by_name(tmp_path):
    path = write(FRAME[["normal", "gaps"]], tmp_path)
    with pytest.raises(UnsupportedError, match=r"Pipeline\.knnimputer: a KNNImputer") as caught:
        fit(make_pipeline(StandardScaler(), KNNImputer()), path)
    assert "windtunnel.transformers" in caught.value.hint
    assert "sample" in caught.value.hint
    with pytest.raises(UnsupportedError, match="no transformer"):
        fit(make_pipeline(StandardScaler(), __import__("sklearn.linear_model").linear_model.LinearRegression()), path)


def test_a_declared_sample(tmp_path):
    path = write(FRAME[["normal", "gaps"]], tmp_path)
    fitted, manifest = fit_transform(
        make_pipeline(StandardScaler(), KNNImputer()), path, tmp_path / "o", {"sample": 100, "layout": "dense"}
    )
    assert fitted[-1]._fit_X.shape == (100, 2)
    assert "100 of 211 rows" in manifest["notes"][0]["says"]
    whole = fit(make_pipeline(StandardScaler(), KNNImputer()), path, {"sample": {"KNNImputer": 1000}})
    theirs = make_pipeline(StandardScaler(), KNNImputer()).fit(FRAME[["normal", "gaps"]])
    np.testing.assert_allclose(whole.transform(FRAME[["normal", "gaps"]]), theirs.transform(FRAME[["normal", "gaps"]]), rtol=1e-9)


@pytest.mark.parametrize(
    ("step", "frame", "says"),
    [
        (StandardScaler(), pd.DataFrame({"a": [1.0, np.inf]}), "infinity"),
        (StandardScaler(), pd.DataFrame({"a": ["x", "y"]}), "could not convert"),
        (KBinsDiscretizer(2), pd.DataFrame({"a": [1.0, np.nan]}), "NaN"),
        (ColumnTransformer([("t", TfidfVectorizer(), "a")]), pd.DataFrame({"a": ["the cat", None]}), "invalid document"),
        (ColumnTransformer([("t", TfidfVectorizer(), "a")]), pd.DataFrame({"a": ["", " "]}), "empty vocabulary"),
        (ColumnTransformer([("n", StandardScaler(), ["b"])]), pd.DataFrame({"a": [1.0, 2.0]}), "not columns"),
        (OneHotEncoder(categories=[["x"]]), pd.DataFrame({"a": ["x", "y"]}), "unknown categories"),
    ],
    ids=["inf", "text", "nan", "null text", "no words", "no column", "unknown"],
)
def test_what_scikit_learn_refuses_we_refuse_without_a_traceback(step, frame, says, tmp_path):
    with pytest.raises(DataError, match=says):
        fit(step, write(frame, tmp_path, files=1))


def test_no_rows_and_unknown_options(tmp_path):
    pq.write_table(pa.table({"a": pa.array([], pa.float64())}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no row"):
        fit(StandardScaler(), str(tmp_path))
    with pytest.raises(ConfigurationError, match="distinct_limits"):
        fit(StandardScaler(), str(tmp_path), {"distinct_limits": 3})
    with pytest.raises(SchemaMismatchError, match="'nope'"):
        fit(StandardScaler(), str(tmp_path), Options(columns=("nope",)))


class RangeScaler(TransformerMixin, BaseEstimator):
    """Divides by the range; scikit-learn does not know it."""

    def fit(self, X, y=None):
        X = np.asarray(X, dtype=float)
        self.n_features_in_ = X.shape[1]
        self.range_ = np.nanmax(X, axis=0) - np.nanmin(X, axis=0)
        return self

    def transform(self, X):
        return np.asarray(X, dtype=float) / self.range_


class RangeAccumulator(Accumulator):
    """The least and the greatest."""

    def __init__(self, estimator):
        super().__init__(estimator)
        self.low = np.inf
        self.high = -np.inf

    def accumulate(self, X, y=None, sample_weight=None):
        X = np.asarray(X, dtype=float)
        self.low, self.high = np.fmin(self.low, np.fmin.reduce(X)), np.fmax(self.high, np.fmax.reduce(X))

    def merge(self, other):
        self.low, self.high = np.fmin(self.low, other.low), np.fmax(self.high, other.high)

    def finish(self):
        self.estimator.n_features_in_ = len(self.high)
        self.estimator.range_ = self.high - self.low
        return self.estimator


class TestRangeAccumulator(AccumulatorConformance):
    allows_nan = True

    def make_estimator(self):
        return RangeScaler()

    def make_accumulator(self, estimator):
        return RangeAccumulator(estimator)


class Forgetful(RangeAccumulator):
    """An extension with a mistake: it merges nothing."""

    def merge(self, other):
        pass


def test_the_conformance_tests_can_fail():
    class Suite(AccumulatorConformance):
        def make_estimator(self):
            return RangeScaler()

        def make_accumulator(self, estimator):
            return Forgetful(estimator)

    with pytest.raises(AssertionError, match="range_"):
        Suite().test_does_not_depend_on_the_cut()


def test_extensions_fit_their_estimator(tmp_path, monkeypatch, small_bins):
    monkeypatch.setattr(registry, "_extensions", lambda: {registry.name_of(RangeScaler): RangeAccumulator})
    check(make_pipeline(SimpleImputer(), RangeScaler(), StandardScaler()), FRAME[["normal", "gaps", "whole"]])


def test_weights(tmp_path):
    weights = np.random.default_rng(1).random(ROWS)
    path = write(FRAME[["normal", "skewed"]].assign(w=weights), tmp_path)
    ours = fit(StandardScaler(), path, {"sample_weight": "w"})
    theirs = StandardScaler().fit(FRAME[["normal", "skewed"]], sample_weight=weights)
    np.testing.assert_allclose(ours.mean_, theirs.mean_, rtol=1e-12)
    np.testing.assert_allclose(ours.var_, theirs.var_, rtol=1e-12)
    ours = fit(KBinsDiscretizer(4, encode="ordinal"), path, {"sample_weight": "w"})
    theirs = KBinsDiscretizer(4, encode="ordinal").fit(FRAME[["normal", "skewed"]], sample_weight=weights)
    for a, b in zip(ours.bin_edges_, theirs.bin_edges_, strict=True):
        np.testing.assert_array_equal(a, b)


def test_sketches_state_their_error(tmp_path):
    path = write(numbers(3000)[["normal"]], tmp_path)
    fitted, manifest = fit_transform(RobustScaler(), path, tmp_path / "o", {"beyond": "sketch", "distinct_limit": 50})
    assert "0.35%" in manifest["notes"][0]["says"]
    values = np.sort(numbers(3000)["normal"])
    rank = np.searchsorted(values, fitted.center_[0]) / len(values)
    assert abs(rank - 0.5) < 0.0035


def test_damaged_and_missing_shards_are_refused(tmp_path):
    fit_transform(StandardScaler(), write(FRAME[["normal"]], tmp_path), tmp_path / "o")
    assert load_transformer(str(tmp_path / "o")).n_samples_seen_ == ROWS
    shard = next((tmp_path / "o").glob("*.arrow"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IntegrityError, match="damaged"):
        load_shards(str(tmp_path / "o"))
    manifest = load_manifest(str(tmp_path / "o"))
    shard.write_bytes(whole)
    manifest["splits"]["rows"]["rows"] += 1
    (tmp_path / "o" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(IntegrityError, match="212"):
        load_shards(str(tmp_path / "o"))
    with pytest.raises(ConfigurationError, match=r"manifest\.json"):
        load_shards(str(tmp_path))


def test_an_output_that_is_something_else_is_left_alone(tmp_path):
    (tmp_path / "in").mkdir()
    path = write(FRAME[["normal"]], tmp_path / "in")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigurationError, match="no folder of features"):
        fit_transform(StandardScaler(), path, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_clusters_are_not_a_model_but_features_too(tmp_path):
    with pytest.raises(UnsupportedError, match="KMeans"):
        fit(KMeans(2), write(FRAME[["normal"]], tmp_path))
