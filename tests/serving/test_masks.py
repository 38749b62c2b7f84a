"""Ensembles as masks answer as treelite's walk down the trees does, and one row exactly as many do."""

import numpy as np
import pandas as pd
import pytest
import serving_models
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline

from windtunnel.serving.base.batch import Rows
from windtunnel.serving.base.values import Schema
from windtunnel.serving.compiler import masks
from windtunnel.serving.compiler.compile import compile_pipeline
from windtunnel.serving.compiler.estimators import Trees
from windtunnel.serving.compiler.gate import adversarial_rows
from windtunnel.serving.compiler.learners import estimator
from windtunnel.serving.compiler.plan import Plan

MODELS = {
    "binary": (HistGradientBoostingClassifier(max_iter=12), "binary"),
    "deep": (HistGradientBoostingClassifier(max_iter=4, max_leaf_nodes=64), "binary"),
    "three classes": (HistGradientBoostingClassifier(max_iter=6), "multiclass"),
    "poisson": (HistGradientBoostingRegressor(max_iter=6, loss="poisson"), "regression"),
    "single precision": (GradientBoostingClassifier(n_estimators=6), "binary"),
}


@pytest.fixture(scope="module", params=MODELS)
def fitted(request, tmp_path_factory):
    model, task = MODELS[request.param]
    frame = serving_models.flights(1200, 4)
    delays = frame["arr_delay"]
    y = {
        "binary": (delays > 15).astype("int8"),
        "multiclass": pd.cut(delays, [-1e9, 0, 15, 1e9], labels=["early", "on time", "late"]).astype("str"),
        "regression": delays.clip(lower=0),
    }[task]
    x = frame[serving_models.NUMERIC + serving_models.CATEGORICAL]
    pipeline = Pipeline([("features", serving_models.features()), ("model", model)]).fit(x, y)
    classes = [str(name) for name in model.classes_] if task != "regression" else None
    described = serving_models.write(tmp_path_factory.mktemp("b") / "b", pipeline, x, task=task, classes=classes)
    return compile_pipeline(pipeline, described), pipeline, described, x


def test_masks_are_used_and_one_row_is_bit_for_bit_what_many_are(fitted, tmp_path):
    plan, pipeline, described, frame = fitted
    assert isinstance(plan.step.steps[-1], masks.Masks)
    plan.save(tmp_path)
    plan = Plan.load(tmp_path)
    rows = serving_models.rows_of(frame.head(300))
    schema = Schema.of(described)
    many = plan.run(Rows(rows).columns(schema))
    order = Schema.of(described, plan.inputs)
    assert [plan.one(order.one(row)) for row in rows] == many.tolist()
    theirs = pipeline.predict_proba(frame.head(300)) if hasattr(pipeline, "predict_proba") else pipeline.predict(frame.head(300))
    assert np.abs(many - theirs.reshape(len(rows), -1)).max() < 1e-9


def test_folded_codes_are_the_features_that_they_stand_for(fitted):
    plan, pipeline, described, frame = fitted
    step = plan.step.steps[-1]
    assert any(step.coded), "one-hot columns are codes"
    assert len(step.places) <= len(described.inputs)
    # An unseen, an empty and a null category, each as the walk down the trees has it.
    walked = compile_walked(pipeline, described)
    rows = adversarial_rows(described.inputs, serving_models.rows_of(frame.head(50)), 400, seed=7)
    good = [row for row in rows if Schema.of(described).one(row) is not None]
    columns = Rows(good).columns(Schema.of(described))
    assert np.abs(plan.run(columns) - walked.run(columns)).max() < 1e-12


def compile_walked(pipeline, described):
    """The same plan by treelite's own walk."""
    from unittest import mock

    with mock.patch.object(masks, "masked", lambda features, trees, width: (features, trees)):
        plan = compile_pipeline(pipeline, described)
    assert isinstance(plan.step.steps[-1], Trees)
    return plan


NUMBERS = st.floats(-3, 3, width=32) | st.just(float("nan")) | st.just(float("inf"))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(NUMBERS, st.sampled_from([0.0, 1.0, float("nan"), 0.5])), min_size=1, max_size=40), st.integers(0, 3))
def test_any_tree_with_nulls(values, seed):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(300, 2)).astype(np.float32).astype(np.float64)
    x[generator.random(300) < 0.1, 0] = np.nan
    x[:, 1] = generator.integers(0, 2, 300)
    y = (np.nan_to_num(x[:, 0], nan=1.0) * (x[:, 1] - 0.5) + generator.normal(size=300) * 0.1 > 0).astype(int)
    model = HistGradientBoostingClassifier(max_iter=5, max_leaf_nodes=8, min_samples_leaf=3).fit(x, y)
    trees = estimator(model, "binary")
    _, step = masks.masked(None, trees, 2)
    rows = np.array(values)
    assert np.abs(step.run(rows) - model.predict_proba(rows)).max() < 1e-12
    assert [step.one(row) for row in rows.tolist()] == step.run(rows).tolist()


def test_what_is_too_large_is_walked(monkeypatch):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(400, 3))
    trees = estimator(HistGradientBoostingClassifier(max_iter=3).fit(x, x[:, 0] > 0), "binary")
    monkeypatch.setattr(masks, "_MOST_BYTES", 10)
    assert masks.masked(None, trees, 3) == (None, trees)
