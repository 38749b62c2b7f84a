"""Public data sets: the features one would make of each, fitted in parts and by scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from parity import check
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, VarianceThreshold, chi2, f_classif
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)

ROWS = 3000
RARE = {"handle_unknown": "infrequent_if_exist", "min_frequency": 0.02}
NUMBERS = make_column_selector(dtype_include="number")
WORDS = make_column_selector(dtype_exclude="number")


def adult(folder):
    frame = pd.read_parquet(folder / "adult_train.parquet").replace("?", None)
    categories = ["workclass", "education", "marital-status", "occupation", "relationship", "race", "sex"]
    return (
        frame,
        "income",
        ColumnTransformer(
            [
                ("bins", KBinsDiscretizer(5, quantile_method="averaged_inverted_cdf"), ["age", "hours-per-week"]),
                ("gains", make_pipeline(FunctionTransformer(np.log1p, feature_names_out="one-to-one"), StandardScaler()), slice(10, 12)),
                ("categories", make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(**RARE)), categories),
                ("country", TargetEncoder(random_state=0), ["native-country"]),
            ]
        ),
    )


def german_credit(folder):
    frame = pd.read_csv(folder / "german.csv", header=None, names=[f"a{i}" for i in range(1, 21)] + ["good"])
    return (
        frame,
        "good",
        make_pipeline(
            ColumnTransformer([("n", MinMaxScaler(), NUMBERS), ("c", OneHotEncoder(drop="if_binary", handle_unknown="ignore"), WORDS)]),
            SelectKBest(chi2, k=15),
        ),
    )


def telco_churn(folder):
    frame = pd.read_csv(folder / "Telco-Customer-Churn.csv")
    frame["TotalCharges"] = pd.to_numeric(frame["TotalCharges"], errors="coerce")
    return (
        frame,
        "Churn",
        ColumnTransformer(
            [
                ("charges", make_pipeline(SimpleImputer(add_indicator=True), PolynomialFeatures(2)), ["MonthlyCharges", "TotalCharges"]),
                ("tenure", SplineTransformer(4, knots="quantile"), ["tenure"]),
                ("contract", OneHotEncoder(drop="first"), make_column_selector("^(?:Contract|Payment|Internet|gender)")),
            ],
            remainder=OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        ),
    )


def nsl_kdd(folder):
    frame = pd.read_parquet(folder / "kdd_train20.parquet").drop(columns="difficulty")
    numbers = FeatureUnion([("quantiles", QuantileTransformer(n_quantiles=50, subsample=None)), ("ranges", RobustScaler())])
    return (
        frame.assign(attack=frame["attack"] != "normal"),
        "attack",
        ColumnTransformer(
            [
                ("n", make_pipeline(VarianceThreshold(), numbers), NUMBERS),
                (
                    "best",
                    SelectKBest(f_classif, k=6),
                    ["count", "srv_count", "serror_rate", "same_srv_rate", "logged_in", "hot"],
                ),
                ("c", OneHotEncoder(handle_unknown="ignore", max_categories=12), ["protocol_type", "service", "flag"]),
            ]
        ),
    )


def sms_spam(folder):
    frame = pd.read_csv(folder / "sms.tsv", sep="\t", header=None, names=["label", "text"], quoting=3)
    frame["length"] = frame["text"].str.len()
    text = FeatureUnion(
        [("w", TfidfVectorizer(min_df=3, stop_words="english")), ("c", HashingVectorizer(n_features=128, analyzer="char_wb"))]
    )
    return (
        frame,
        "label",
        ColumnTransformer([("t", text, "text"), ("n", KBinsDiscretizer(8, strategy="kmeans", random_state=1), ["length"])]),
    )


def korean_chatbot(folder):
    frame = pd.read_csv(folder / "ChatbotData.csv")
    chosen = make_pipeline(CountVectorizer(analyzer="char", ngram_range=(1, 2), min_df=5), SelectKBest(chi2, k=100), MaxAbsScaler())
    return frame, "label", ColumnTransformer([("q", chosen, "Q"), ("a", TfidfVectorizer(sublinear_tf=True, max_features=300), "A")])


def nsmc(folder):
    frame = pd.read_parquet(folder / "nsmc_dev.parquet").drop(columns=["rating", "review_id"])
    return (
        frame,
        "sentiment",
        ColumnTransformer(
            [
                ("review", TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3), min_df=10, dtype=np.float32), "review"),
                ("movie", OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=5), ["movie_id"]),
                ("date", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["date"]),
            ]
        ),
    )


def bike_sharing(folder):
    frame = pd.read_csv(folder / "hour.csv").drop(columns=["instant", "casual", "registered"])
    return (
        frame,
        "cnt",
        ColumnTransformer(
            [
                ("hour", SplineTransformer(7, extrapolation="periodic"), ["hr"]),
                ("season", OneHotEncoder(handle_unknown="ignore"), ["season", "weathersit"]),
                ("month", TargetEncoder(target_type="continuous", random_state=3), ["mnth", "weekday"]),
                ("air", make_pipeline(StandardScaler(), PCA(2, svd_solver="covariance_eigh")), ["temp", "atemp", "hum", "windspeed"]),
            ],
            remainder="drop",
        ),
    )


def california_housing(folder):
    frame = pd.read_csv(folder / "housing.csv")
    counts = ["total_rooms", "total_bedrooms", "population", "households"]
    return (
        frame,
        "median_house_value",
        ColumnTransformer(
            [
                ("counts", make_pipeline(SimpleImputer(strategy="median"), PowerTransformer("box-cox")), counts),
                ("place", KBinsDiscretizer(6, encode="onehot-dense", quantile_method="linear"), ["longitude", "latitude"]),
                ("income", RobustScaler(quantile_range=(5, 95)), ["median_income", "housing_median_age"]),
                ("sea", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["ocean_proximity"]),
            ],
            verbose_feature_names_out=False,
        ).set_output(transform="pandas"),
    )


SETS = [adult, german_credit, telco_churn, nsl_kdd, sms_spam, korean_chatbot, nsmc, bike_sharing, california_housing]


@pytest.mark.parametrize("make", SETS, ids=lambda make: make.__name__)
def test_a_data_set(make, shared_data, monkeypatch):
    monkeypatch.setattr("windtunnel.beam_jobs.features.data.BIN_ROWS", 1000)
    frame, label, transformer = make(shared_data / make.__name__)
    known, unseen = split(frame)
    check(transformer, known, y=label, unseen=unseen.drop(columns=label), files=3, groups=4)


@pytest.mark.parametrize("make", [german_credit], ids=lambda make: make.__name__)
def test_with_two_workers(make, shared_data, monkeypatch):
    monkeypatch.setattr("windtunnel.beam_jobs.features.data.BIN_ROWS", 300)
    frame, label, transformer = make(shared_data / make.__name__)
    known, unseen = split(frame)
    check(transformer, known, y=label, unseen=unseen.drop(columns=label), files=3, groups=4, options={"workers": 2})


def split(frame):
    """Rows to fit on, in their order, and rows that were not seen then."""
    known = frame.head(min(ROWS, len(frame) * 3 // 4))
    return known, frame.iloc[len(known) : len(known) + 500].reset_index(drop=True)
