"""Encoders against scikit-learn's own fits: Unicode, nulls, rare and unseen categories."""

import numpy as np
import pandas as pd
import pytest
from parity import check, write
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    LabelBinarizer,
    LabelEncoder,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)

from windtunnel.beam_jobs.features import Options, fit
from windtunnel.beam_jobs.features.data import open_data
from windtunnel.beam_jobs.features.fitting.fitting import fit_data
from windtunnel.beam_jobs.features.testing import assert_same_fit
from windtunnel.lifecycle.contract.errors import DataError

N = 211
RANDOM = np.random.default_rng(3)
FRAME = pd.DataFrame(
    {
        "c": RANDOM.choice(["x", "y", "z", "w"], N),
        "u": RANDOM.choice(["가", "나", "é", None], N),
        "i": RANDOM.integers(0, 5, N),
        "rare": [f"r{i}" for i in RANDOM.geometric(0.2, N)],
        "shard": ["only here" if i > 205 else "elsewhere" for i in range(N)],
    }
)
TRUTH = {"two": RANDOM.integers(0, 2, N), "three": RANDOM.choice(["a", "b", "c"], N), "number": RANDOM.normal(size=N)}
UNSEEN = pd.DataFrame({"c": ["new", "x"], "u": ["다", None], "i": [9, 1], "rare": ["r1", ""], "shard": ["elsewhere", "nowhere"]})


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"drop": "first"},
        {"drop": "if_binary"},
        {"min_frequency": 10},
        {"max_categories": 3},
        {"min_frequency": 0.1, "drop": "first"},
        {"sparse_output": False},
        {"dtype": np.float32},
        {"drop": ["x", "가", 1, "r1", "elsewhere"]},
        {"feature_name_combiner": lambda name, value: f"{name}={value}"},
    ],
    ids=str,
)
def test_one_hot(choice):
    check(OneHotEncoder(**choice), FRAME)


@pytest.mark.parametrize(
    "choice",
    [
        {"handle_unknown": "ignore"},
        {"handle_unknown": "ignore", "min_frequency": 5, "max_categories": 3},
        {"handle_unknown": "infrequent_if_exist", "min_frequency": 5},
        {"categories": [["x", "y"], ["가"], [0, 1, 2], ["r1", "r2"], ["elsewhere"]], "handle_unknown": "ignore"},
    ],
    ids=str,
)
def test_one_hot_meets_unseen_categories(choice):
    check(OneHotEncoder(**choice), FRAME, unseen=UNSEEN)


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"min_frequency": 10, "encoded_missing_value": -1},
        {"max_categories": 3},
        {"handle_unknown": "use_encoded_value", "unknown_value": -1},
        {"dtype": np.float32, "handle_unknown": "use_encoded_value", "unknown_value": np.nan},
    ],
    ids=str,
)
def test_ordinal(choice):
    check(OrdinalEncoder(**choice), FRAME, unseen=UNSEEN if "handle_unknown" in choice else None)


@pytest.mark.parametrize("files", [1, 5])
def test_categories_of_one_row_group_each(files):
    frame = pd.DataFrame({"c": [f"k{i // 10}" for i in range(200)]})
    check(ColumnTransformer([("c", OneHotEncoder(), ["c"])]), frame, files=files, groups=4)


@pytest.mark.parametrize("label", list(TRUTH))
@pytest.mark.parametrize("smooth", ["auto", 5.0, 0.0])
def test_target(label, smooth):
    cv = KFold(4) if label == "number" else StratifiedKFold(3, shuffle=True, random_state=2)
    frame = FRAME.assign(y=TRUTH[label])
    check(TargetEncoder(smooth=smooth, cv=cv), frame, y="y", unseen=UNSEEN)
    check(make_pipeline(TargetEncoder(smooth=smooth, cv=cv), StandardScaler()), frame, y="y")


def test_target_with_given_categories():
    categories = [["x", "y"], ["가"], [0, 1, 2], ["r1", "r2"], ["elsewhere"]]
    check(TargetEncoder(categories=categories, cv=KFold(3)), FRAME.assign(y=TRUTH["two"]), y="y")


def test_a_target_encoder_at_the_end_of_a_fit_needs_no_folds(tmp_path):
    row = FRAME[["c", "rare"]].head(1).assign(y=1.0, n=2.0)
    scaled = ColumnTransformer([("n", StandardScaler(), ["n"]), ("c", OrdinalEncoder(), ["c", "rare"])])
    for last in (
        TargetEncoder(target_type="continuous"),
        make_pipeline(OrdinalEncoder(), TargetEncoder(target_type="continuous")),
        make_pipeline(scaled, make_pipeline("passthrough", TargetEncoder(target_type="continuous", cv=2))),
    ):
        check(last, row if "StandardScaler" in repr(last) else row.drop(columns="n"), y="y", files=1)
    path = write(row.drop(columns="n"), tmp_path)
    for applied in (
        make_pipeline(TargetEncoder(target_type="continuous"), StandardScaler()),
        make_pipeline(TargetEncoder(target_type="continuous"), "passthrough"),
        ColumnTransformer([("t", TargetEncoder(target_type="continuous"), ["c"])]),
    ):
        with pytest.raises(DataError, match="n_splits=5 greater than the number of samples"):
            fit(applied, path, {"label": "y"})
        with pytest.raises(ValueError, match="n_splits=5 greater than the number of samples"):
            applied.fit(row[["c", "rare"]], row["y"])


def test_training_rows_of_an_encoder_without_folds_are_refused(tmp_path):
    path = write(FRAME[["c", "rare"]].head(1).assign(y=1.0), tmp_path)
    options = Options(label="y")
    data = open_data(path, options)
    fitted = fit_data(TargetEncoder(target_type="continuous"), data, options)
    with pytest.raises(ValueError, match="greater than the number of samples"):
        fitted.out.evaluate(data.head())


def test_steps_after_a_target_encoder_see_cross_fitted_values():
    inner = TargetEncoder(cv=KFold(5, shuffle=True, random_state=2)).set_output(transform="pandas")
    union = ColumnTransformer(
        [("t", make_pipeline(inner, KBinsDiscretizer(3, encode="ordinal")), ["c", "rare"]), ("o", OneHotEncoder(), ["u"])]
    )
    check(union, FRAME.assign(y=TRUTH["two"]), y="y")


@pytest.mark.parametrize("encoder", [LabelBinarizer(), LabelBinarizer(sparse_output=True), LabelEncoder()], ids=repr)
@pytest.mark.parametrize("column", ["c", "i", "shard"])
def test_labels(encoder, column, tmp_path):
    ours = fit(encoder, write(FRAME, tmp_path), {"columns": [column]})
    assert_same_fit(ours, clone(encoder).fit(FRAME[column]))


def test_empty_strings_nulls_and_constants():
    frame = pd.DataFrame({"s": ["", None, "a", "  ", "A", "á"] * 20, "k": ["k"] * 120, "n": pd.Series([None] * 120, dtype=object)})
    check(
        ColumnTransformer(
            [
                ("o", OneHotEncoder(), ["s", "k", "n"]),
                ("i", make_pipeline(SimpleImputer(strategy="constant", fill_value="?"), OneHotEncoder()), ["s", "n"]),
                ("m", make_pipeline(SimpleImputer(strategy="most_frequent"), OrdinalEncoder()), ["s", "k"]),
            ]
        ),
        frame,
    )


@pytest.mark.parametrize("kind", ["timedelta64[us]", "datetime64[us]", "timedelta64[ns]"])
def test_missing_times_are_as_many_categories_as_scikit_learn_makes_of_them(kind):
    times = np.array([1, 2, "NaT", "NaT", 1, 5, "NaT"] * 9, dtype=kind)
    frame = pd.DataFrame({"z": times, "n": np.arange(len(times)) % 4, "y": np.arange(len(times)) % 2})
    for step in (
        OneHotEncoder(handle_unknown="ignore"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=2),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        TargetEncoder(cv=KFold(3)),
    ):
        check(ColumnTransformer([("z", step, ["z"]), ("n", "passthrough", ["n"])]), frame, y="y")
