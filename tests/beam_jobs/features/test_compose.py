"""Texts and compositions against scikit-learn's own fits."""

import numpy as np
import pandas as pd
import pytest
from parity import check, numbers, write
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from windtunnel.beam_jobs.features import fit
from windtunnel.lifecycle.contract.errors import UnsupportedError

N = 200
RANDOM = np.random.default_rng(3)
WORDS = ["free", "win", "안녕", "café", "naïve", "日本", "emoji😀", "the", "a", "cash", "Now!", "1000"]
TEXT = [" ".join(RANDOM.choice(WORDS, RANDOM.integers(0, 8))) for _ in range(N)]
FRAME = pd.DataFrame(
    {
        "text": TEXT,
        "num": RANDOM.normal(size=N),
        "gap": np.where(RANDOM.random(N) < 0.3, np.nan, RANDOM.normal(size=N)),
        "int": RANDOM.integers(0, 9, N),
        "c": RANDOM.choice(["x", "y", "z"], N),
        "cn": [None if RANDOM.random() < 0.2 else x for x in RANDOM.choice(["q", "ü", ""], N)],
        "b": RANDOM.random(N) < 0.5,
        "bn": [None if RANDOM.random() < 0.2 else bool(x) for x in RANDOM.integers(0, 2, N)],
        "ts": pd.date_range("2024-01-01", periods=N),
        "nan": np.full(N, np.nan),
    }
)
NUMBERS = ["num", "gap", "int"]


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"ngram_range": (1, 2)},
        {"analyzer": "char_wb", "ngram_range": (2, 3)},
        {"min_df": 5},
        {"max_df": 0.3},
        {"max_features": 4},
        {"stop_words": ["the", "a"]},
        {"binary": True},
        {"lowercase": False, "token_pattern": r"\S+"},
        {"strip_accents": "unicode"},
        {"vocabulary": ["free", "win", "zzz"]},
    ],
    ids=str,
)
def test_vectorizers(choice):
    check(ColumnTransformer([("t", CountVectorizer(**choice), "text")]), FRAME)
    check(ColumnTransformer([("t", TfidfVectorizer(**choice), "text"), ("n", StandardScaler(), ["num"])]), FRAME)


@pytest.mark.parametrize(
    "steps",
    [
        [TfidfVectorizer(dtype=np.float32, sublinear_tf=True, norm="l1")],
        [CountVectorizer(), TfidfTransformer(smooth_idf=False)],
        [TfidfVectorizer(), TruncatedSVD(3, random_state=1), StandardScaler()],
        [TfidfVectorizer(), VarianceThreshold(0.001), MaxAbsScaler(), StandardScaler(with_mean=False)],
        [CountVectorizer(), RobustScaler(with_centering=False)],
        [CountVectorizer(), QuantileTransformer(n_quantiles=10)],
        [HashingVectorizer(n_features=64)],
        [FeatureUnion([("w", TfidfVectorizer()), ("c", TfidfVectorizer(analyzer="char"))], transformer_weights={"w": 2.0})],
        [FunctionTransformer(lambda texts: [[text] for text in texts]), FeatureHasher(8, input_type="string")],
    ],
    ids=str,
)
def test_text_pipelines(steps):
    check(ColumnTransformer([("t", make_pipeline(*steps), "text"), ("n", StandardScaler(), ["num"])]), FRAME)


UNIONS = {
    "remainder passes": ColumnTransformer(
        [("n", StandardScaler(), ["num", "gap"]), ("d", "drop", ["text", "ts", "c", "cn", "bn"])], remainder="passthrough"
    ),
    "selectors": make_column_transformer(
        (StandardScaler(), make_column_selector(dtype_include=np.number)),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include=["str"])),
    ),
    "slices": ColumnTransformer([("n", StandardScaler(), slice(1, 3)), ("m", "passthrough", slice("int", "int"))]),
    "callable": ColumnTransformer([("n", StandardScaler(), lambda frame: [name for name in frame if name.startswith("n")])]),
    "pandas out": ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), ["num", "gap"]),
            ("c", OneHotEncoder(sparse_output=False), ["c", "cn"]),
            ("p", "passthrough", ["int", "b"]),
        ]
    ).set_output(transform="pandas"),
    "plain names": ColumnTransformer(
        [("n", StandardScaler(), ["num", "gap"]), ("c", OrdinalEncoder(), ["c", "cn"])],
        verbose_feature_names_out=False,
        remainder="passthrough",
    ).set_output(transform="pandas"),
    "nested": ColumnTransformer(
        [
            (
                "a",
                ColumnTransformer([("b", StandardScaler(), ["num"]), ("c", OneHotEncoder(), ["c"])], remainder="passthrough"),
                ["num", "c", "int"],
            ),
            ("z", SimpleImputer(), ["gap"]),
        ]
    ),
    "chained": make_pipeline(
        ColumnTransformer([("b", StandardScaler(), ["num"]), ("c", OneHotEncoder(), ["c"]), ("g", SimpleImputer(), ["gap"])]),
        VarianceThreshold(0.01),
        ColumnTransformer([("q", MinMaxScaler(), [0, 1]), ("r", MaxAbsScaler(), slice(2, None))]),
    ),
    "chained by name": make_pipeline(
        ColumnTransformer(
            [("b", StandardScaler(), ["num"]), ("c", OneHotEncoder(sparse_output=False), ["c"]), ("g", SimpleImputer(), ["gap"])],
            verbose_feature_names_out=False,
        ).set_output(transform="pandas"),
        ColumnTransformer([("q", MinMaxScaler(), ["num", "gap"])], remainder="passthrough").set_output(transform="pandas"),
        StandardScaler(),
    ),
    "union": make_pipeline(
        make_column_transformer((SimpleImputer(), NUMBERS)),
        FeatureUnion([("p", PCA(2)), ("s", StandardScaler()), ("poly", PolynomialFeatures(2)), ("d", "drop"), ("pt", "passthrough")]),
    ),
    "functions": ColumnTransformer(
        [
            ("l", make_pipeline(FunctionTransformer(np.log1p, feature_names_out="one-to-one"), StandardScaler()), ["int"]),
            ("f", make_pipeline(FunctionTransformer(lambda x: x**2), StandardScaler()), ["num"]),
        ]
    ),
    "all null": ColumnTransformer(
        [
            ("k", make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler()), ["nan", "gap"]),
            ("d", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), ["nan", "gap"]),
            ("s", StandardScaler(), ["nan", "gap"]),
            ("o", OneHotEncoder(), ["nan"]),
            ("m", MissingIndicator(), ["nan", "gap", "num"]),
        ]
    ),
    "booleans": ColumnTransformer(
        [("o", OneHotEncoder(), ["b", "bn"]), ("s", StandardScaler(), ["b"]), ("m", MissingIndicator(missing_values=None), ["bn"])]
    ),
    "no columns": ColumnTransformer([("s", StandardScaler(), []), ("m", MinMaxScaler(), ["num"])]),
    "weights of parts": ColumnTransformer(
        [("s", StandardScaler(), ["num"]), ("m", OneHotEncoder(), ["c"])], transformer_weights={"s": 3.0, "m": 0.5}
    ),
    "passthrough steps": Pipeline([("a", "passthrough"), ("b", ColumnTransformer([("s", StandardScaler(), ["num"])])), ("c", None)]),
    "never sparse": ColumnTransformer([("s", StandardScaler(), ["num"]), ("m", OneHotEncoder(), ["c"])], sparse_threshold=0),
    "always sparse": ColumnTransformer([("s", StandardScaler(), ["num"]), ("m", OneHotEncoder(), ["c"])], sparse_threshold=1.0),
    "timestamps": ColumnTransformer([("m", OneHotEncoder(), ["ts"]), ("o", OrdinalEncoder(), ["ts", "int"])]),
}


@pytest.mark.parametrize("union", list(UNIONS))
def test_compositions(union):
    check(UNIONS[union], FRAME)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_handful_of_rows(rows):
    frame = FRAME.iloc[5 : 5 + rows].reset_index(drop=True).assign(text="free cash 안녕", gap=1.5)
    check(
        ColumnTransformer(
            [
                ("n", make_pipeline(SimpleImputer(), StandardScaler(), MinMaxScaler()), ["num", "int", "gap"]),
                ("r", RobustScaler(), ["num"]),
                ("c", OneHotEncoder(), ["c"]),
                ("t", TfidfVectorizer(), "text"),
            ]
        ),
        frame,
        files=1,
    )


def test_types_that_only_pandas_writes():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "cat": pd.Categorical(random.choice(["p", "q", "é"], 90)),
            "gap": pd.Categorical([None if i % 4 == 0 else "ab"[i % 2] for i in range(90)]),
            "span": pd.to_timedelta(random.integers(0, 5, 90), unit="h"),
            "u8": random.integers(0, 200, 90).astype("uint8"),
            "n": random.normal(size=90),
        }
    )
    check(
        make_column_transformer(
            (OneHotEncoder(), make_column_selector(dtype_include="category")),
            (OrdinalEncoder(), ["span", "gap"]),
            (StandardScaler(), ["u8", "n"]),
            (MinMaxScaler(), ["u8"]),
        ),
        frame,
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x - np.asarray(x).mean(axis=0),
        lambda x: np.asarray(x)[::-1],
        lambda x: np.sort(np.asarray(x), axis=0),
        lambda x: np.cumsum(np.asarray(x), axis=0),
        lambda x: np.asarray(x)[:3],
    ],
    ids=["mean", "reversed", "sorted", "running", "fewer"],
)
def test_a_function_that_looks_at_other_rows_is_refused(function, tmp_path):
    frame = numbers()[["normal"]]
    path = write(frame, tmp_path)
    with pytest.raises(UnsupportedError, match="row by row"):
        fit(FunctionTransformer(function), path)
