"""Random ColumnTransformers and models, fitted on flights: what compiles answers as scikit-learn does, what does not says why.

``WINDTUNNEL_SERVING_SWEEP=500`` tries so many; each is named by its number, which is its seed.
"""

import os
import random
import warnings

import numpy as np
import pandas as pd
import pytest
import serving_models
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, HuberRegressor, LogisticRegression, Ridge, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from windtunnel.serving.compiler import compile as compiler
from windtunnel.serving.compiler.gate import adversarial_rows, parity

COUNT = int(os.environ.get("WINDTUNNEL_SERVING_SWEEP", "10"))
NUM, CAT = serving_models.NUMERIC, serving_models.CATEGORICAL
IMPUTERS = [
    SimpleImputer(),
    SimpleImputer(strategy="median", add_indicator=True),
    SimpleImputer(strategy="most_frequent"),
    SimpleImputer(strategy="constant", fill_value=-1),
]
# Projections are not among them: a sum that BLAS rounds otherwise for a batch than for a row can fall on the other side of a tree's
# threshold, in scikit-learn as here; the gate then leaves the model to scikit-learn.
SCALERS = [
    *(
        StandardScaler(),
        StandardScaler(with_mean=False),
        MinMaxScaler((-1, 3), clip=True),
        MaxAbsScaler(),
        RobustScaler(),
        Normalizer("l1"),
    ),
    *(Binarizer(threshold=2), KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"), QuantileTransformer(n_quantiles=30)),
    *(PolynomialFeatures(2), SplineTransformer(n_knots=3, extrapolation="linear"), FunctionTransformer(np.cbrt)),
    *("passthrough", QuantileTransformer(n_quantiles=20, output_distribution="normal")),
]
ENCODERS = [
    OneHotEncoder(handle_unknown="ignore"),
    OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=50),
    OneHotEncoder(handle_unknown="ignore", max_categories=3, drop="first"),
    OneHotEncoder(),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    TargetEncoder(random_state=0),
    make_pipeline(SimpleImputer(strategy="constant", fill_value="?"), OneHotEncoder(handle_unknown="ignore"), SelectKBest(chi2, k=3)),
]
TEXTS = [
    TfidfVectorizer(analyzer="char"),
    CountVectorizer(analyzer="char", ngram_range=(1, 2)),
    HashingVectorizer(n_features=16, analyzer="char"),
]
CLASSIFIERS = [
    *(LogisticRegression(), HistGradientBoostingClassifier(max_iter=5), RandomForestClassifier(5), ExtraTreesClassifier(5)),
    *(GradientBoostingClassifier(n_estimators=5), DecisionTreeClassifier(max_depth=5), CalibratedClassifierCV(LinearSVC(), cv=2)),
    *(SGDClassifier(loss="log_loss"), GaussianNB()),
]
REGRESSORS = [
    *(Ridge(), ElasticNet(), HuberRegressor(), HistGradientBoostingRegressor(max_iter=5), RandomForestRegressor(5), ExtraTreesRegressor(5)),
    *(GradientBoostingRegressor(n_estimators=5), DecisionTreeRegressor(max_depth=5)),
]


def case(seed):
    """A fitted pipeline, its frame and its task."""
    rng = random.Random(seed)
    base = serving_models.flights(1500, 3)
    frame, noise = base[NUM + CAT].copy(), np.random.default_rng(seed)
    for name in NUM + CAT:
        if rng.random() < 0.5:
            if name in NUM:
                frame[name] = frame[name].astype("float64")
            frame.loc[noise.random(len(frame)) < 0.05, name] = np.nan if name in NUM else None
    frame["flag"], frame["code"] = noise.random(len(frame)) < 0.3, noise.integers(0, 6, len(frame))
    frame["note"] = base["dest"].where(noise.random(len(frame)) < 0.9, "")
    numbers = rng.sample(NUM, len(NUM))
    cut = rng.randrange(1, len(NUM))
    parts = [
        ("n1", make_pipeline(rng.choice(IMPUTERS), rng.choice(SCALERS)), numbers[:cut]),
        ("n2", make_pipeline(rng.choice(IMPUTERS), rng.choice(SCALERS)), numbers[cut:]),
        ("c", rng.choice(ENCODERS), rng.sample(CAT, rng.randrange(1, 4))),
    ]
    parts += [("code", OneHotEncoder(handle_unknown="ignore"), ["code"])] * (rng.random() < 0.4)
    parts += [("note", rng.choice(TEXTS), "note")] * (rng.random() < 0.4)
    parts += [("flag", "passthrough", ["flag"])] * (rng.random() < 0.3)
    task = rng.choice(["binary", "multiclass", "regression"])
    model = rng.choice(REGRESSORS if task == "regression" else CLASSIFIERS)
    dense = isinstance(model, HistGradientBoostingClassifier | HistGradientBoostingRegressor | GaussianNB)  # they take nothing else
    features = ColumnTransformer(
        parts, sparse_threshold=0 if dense else rng.choice([0, 0.3]), transformer_weights={"n1": 2.0} if rng.random() < 0.3 else None
    )
    delays = base["arr_delay"]
    labels = {
        "binary": (delays > 15).astype("int8"),
        "multiclass": pd.cut(delays, [-1e9, 0, 15, 1e9], labels=["early", "on time", "late"]).astype("str"),
        "regression": delays.clip(lower=0),
    }
    steps = [("features", clone(features)), ("fill", SimpleImputer()), ("model", clone(model))]
    return Pipeline(steps), frame, labels[task], task


@pytest.mark.parametrize("seed", range(COUNT))
def test_random_pipelines(seed, tmp_path):
    pipeline, frame, y, task = case(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline.fit(frame, y)
        classes = [] if task == "regression" else [str(name) for name in pipeline.classes_]
        described = serving_models.write(tmp_path / "b", pipeline, frame, task=task, classes=classes, samples=64)
    if isinstance(pipeline[-1], GaussianNB):
        with pytest.raises(compiler.NotCompilableError, match="GaussianNB has no compiler"):
            compiler.compile_pipeline(pipeline, described)
        return
    plan = compiler.compile_pipeline(pipeline, described)
    rows = serving_models.rows_of(frame.head(200))
    found = parity(plan, pipeline, described, [*rows, *adversarial_rows(described.inputs, rows, 200, seed)])
    assert found.rows > 50
