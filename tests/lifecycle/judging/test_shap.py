"""SHAP values, added up by raw column."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from windtunnel.lifecycle.contract.errors import UnsupportedError
from windtunnel.lifecycle.judging.shap_values import shap_values
from windtunnel.lifecycle.model.bundle import Bundle

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({"a": RNG.normal(size=300), "a_b": RNG.choice(list("xyz"), 300), "c": RNG.normal(size=300)})
SIGNAL = FRAME["a"] + 2 * (FRAME["a_b"] == "x")


def fitted(model, truth):
    steps = [("n", StandardScaler(), ["a", "c"]), ("w", OneHotEncoder(sparse_output=False), ["a_b"])]
    return Pipeline([("features", ColumnTransformer(steps)), ("model", model)]).fit(FRAME, truth)


def bundle(*classes):
    return Bundle("p", "binary", list(classes), 0.5, [], "y", "2013-01-01")


def test_a_linear_models_values_are_its_coefficients_times_the_distance():
    pipeline = fitted(Ridge(), SIGNAL)
    found = shap_values(bundle(), pipeline, FRAME)
    features = pipeline[:-1].transform(FRAME)
    expected = (features - features[:100].mean(axis=0)) * pipeline[-1].coef_
    assert found["explainer"] == "linear"
    by_column = {entry["column"]: entry["mean_abs"] for entry in found["columns"]}
    assert by_column["a"] == pytest.approx(np.abs(expected[:, 0]).mean(), rel=1e-6)
    assert by_column["a_b"] == pytest.approx(np.abs(expected[:, 2:].sum(axis=1)).mean(), rel=1e-6), "one-hot columns are added up"
    assert [entry["column"] for entry in found["columns"]][-1] == "c"


@pytest.mark.parametrize("model", [HistGradientBoostingClassifier(max_iter=10), LogisticRegression()])
@pytest.mark.parametrize("classes", [["0", "1"], ["h", "l", "m"]])
def test_classifiers_of_two_and_more_classes(model, classes):
    truth = (SIGNAL > 1).astype(int) if len(classes) == 2 else np.select([SIGNAL < 0, SIGNAL < 1], ["l", "m"], "h")
    found = shap_values(bundle(*classes), fitted(model, truth), FRAME.head(60))
    values = {entry["column"]: entry["mean_abs"] for entry in found["columns"]}
    assert values["c"] < values["a"]
    assert values["a_b"] > 0
    assert found["rows"] == 60


def test_without_the_library_it_is_said_what_to_install():
    code = """
import sys
sys.modules["shap"] = None
from windtunnel.lifecycle.contract.errors import UnsupportedError
from windtunnel.lifecycle.judging.shap_values import shap_values
try:
    shap_values(None, None, None)
except UnsupportedError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "not installed" in said
    assert "pip install 'windtunnel[explain]'" in said


def test_a_model_without_features_is_refused():
    with pytest.raises(UnsupportedError, match="pipeline"):
        shap_values(bundle("0", "1"), Ridge(), FRAME)
