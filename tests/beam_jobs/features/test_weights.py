"""Row weights reach exactly the steps that ask for them, and fit them as scikit-learn does."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from parity import numbers, write
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, MinMaxScaler, SplineTransformer, StandardScaler

from windtunnel.beam_jobs.features import fit
from windtunnel.beam_jobs.features.testing import assert_same_answer, assert_same_fit

ROWS = 301
FRAME = numbers(ROWS)[["normal", "skewed", "whole"]].assign(few=np.arange(ROWS) % 7 * 1.5)
WEIGHTS = np.where(np.arange(ROWS) % 5 == 0, 0.0, np.random.default_rng(3).random(ROWS) * 3)


@pytest.fixture(autouse=True)
def routing(monkeypatch):
    monkeypatch.setattr("windtunnel.beam_jobs.features.data.BIN_ROWS", 60)
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def asking(step):
    return step.set_fit_request(sample_weight=True)


def check(transformer, folder):
    path = write(FRAME.assign(w=WEIGHTS), folder)
    ours = fit(transformer, path, {"sample_weight": "w"})
    frame = pd.read_parquet(path)
    theirs = clone(transformer).fit(frame.drop(columns="w"), sample_weight=frame["w"].to_numpy())
    assert_same_fit(ours, theirs)
    assert_same_answer(ours.transform(FRAME), theirs.transform(FRAME))
    return ours


@pytest.mark.parametrize(
    "step",
    [
        StandardScaler(),
        StandardScaler(with_mean=False),
        KBinsDiscretizer(4, encode="ordinal", subsample=None),
        KBinsDiscretizer(4, encode="ordinal", subsample=100, random_state=5),
        KBinsDiscretizer(3, strategy="kmeans", subsample=None, random_state=0),
        SplineTransformer(n_knots=4, knots="quantile"),
        SplineTransformer(n_knots=4, knots="uniform"),
    ],
    ids=str,
)
def test_each_step_that_takes_weights(step, tmp_path):
    check(asking(step), tmp_path)


def test_only_those_that_ask(tmp_path):
    parts = [
        ("asks", asking(StandardScaler()), ["normal", "whole"]),
        ("does_not", StandardScaler().set_fit_request(sample_weight=False), ["normal", "whole"]),
        ("bins", asking(KBinsDiscretizer(4, encode="ordinal", subsample=None)), ["skewed"]),
        ("chain", make_pipeline(SimpleImputer(), asking(StandardScaler())), ["few"]),
        ("union", FeatureUnion([("a", asking(SplineTransformer(n_knots=3))), ("b", MinMaxScaler())]), ["normal"]),
    ]
    ours = check(ColumnTransformer(parts), tmp_path)
    assert not np.allclose(ours.transformers_[0][1].mean_, ours.transformers_[1][1].mean_)
    check(Pipeline([("all", ColumnTransformer(parts)), ("then", asking(StandardScaler()))]), tmp_path)
