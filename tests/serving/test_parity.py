"""The compiled plan answers as scikit-learn does, on real and on adversarial rows; what it cannot, it leaves to scikit-learn."""

import math
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import serving_models
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import (
    LogisticRegression,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    TweedieRegressor,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
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
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from windtunnel.lifecycle.contract.errors import GateError, IntegrityError
from windtunnel.lifecycle.model import answers, bundle
from windtunnel.serving.base.batch import from_rows
from windtunnel.serving.base.values import InvalidInputError
from windtunnel.serving.compiler import compile as compiler
from windtunnel.serving.compiler.engine import Engine
from windtunnel.serving.compiler.frame import frame_of
from windtunnel.serving.compiler.gate import adversarial_rows, compile_bundle, parity

NUM, CAT = serving_models.NUMERIC, serving_models.CATEGORICAL


def fit(features, model, frame, y, path, task="binary", classes=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = Pipeline([("features", features), ("model", model)]).fit(frame, y)
    if classes is None and task in {"binary", "multiclass"}:
        classes = [str(name) for name in model.classes_]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pipeline, serving_models.write(path, pipeline, frame, task=task, classes=classes, samples=64)


def flights(*, holes=True, rows=1500):
    frame = serving_models.flights(rows, 3)[NUM + CAT + ["arr_delay"]].copy()
    if holes:
        generator = np.random.default_rng(0)
        frame.loc[generator.random(len(frame)) < 0.05, "dep_delay"] = np.nan
        frame.loc[generator.random(len(frame)) < 0.05, "carrier"] = None
        frame["distance"] = frame["distance"].astype("float64")
        frame.loc[generator.random(len(frame)) < 0.05, "distance"] = np.nan
    return frame[NUM + CAT], (frame["arr_delay"] > 15).astype("int8")


IMPUTE = SimpleImputer(strategy="mean")
NUMERIC = {
    "standard": StandardScaler(),
    "standard of nulls": make_pipeline(StandardScaler(), IMPUTE),
    "min-max clipped": make_pipeline(IMPUTE, MinMaxScaler(clip=True)),
    "max-abs": make_pipeline(IMPUTE, MaxAbsScaler()),
    "robust": make_pipeline(SimpleImputer(strategy="median", add_indicator=True), RobustScaler()),
    "constant": SimpleImputer(strategy="constant", fill_value=-1, add_indicator=True),
    "marked": make_pipeline(IMPUTE, SimpleImputer(missing_values=0, strategy="most_frequent")),
    "normalizer": make_pipeline(IMPUTE, Normalizer("l2")),
    "normalizer max": make_pipeline(IMPUTE, Normalizer("max")),
    "binarizer": make_pipeline(IMPUTE, Binarizer(threshold=3.0)),
    "bins": make_pipeline(IMPUTE, KBinsDiscretizer(5, strategy="quantile", quantile_method="averaged_inverted_cdf")),
    "bins ordinal": make_pipeline(IMPUTE, KBinsDiscretizer(4, encode="ordinal", strategy="uniform")),
    "quantiles": make_pipeline(IMPUTE, QuantileTransformer(n_quantiles=100)),
    "quantiles normal": QuantileTransformer(n_quantiles=50, output_distribution="normal"),
    "power": make_pipeline(IMPUTE, PowerTransformer()),
    "power box-cox": make_pipeline(IMPUTE, MinMaxScaler((1, 2)), PowerTransformer(method="box-cox")),
    "polynomial": make_pipeline(IMPUTE, StandardScaler(), PolynomialFeatures(2)),
    "interactions": make_pipeline(IMPUTE, StandardScaler(), PolynomialFeatures(3, interaction_only=True, include_bias=False)),
    "splines": make_pipeline(IMPUTE, SplineTransformer(n_knots=4, extrapolation="constant")),
    "splines linear": make_pipeline(IMPUTE, SplineTransformer(degree=2, extrapolation="linear", include_bias=False)),
    "splines periodic": make_pipeline(IMPUTE, SplineTransformer(n_knots=4, extrapolation="periodic")),
    "splines strict": make_pipeline(IMPUTE, SplineTransformer(n_knots=3, extrapolation="error")),
    "log": make_pipeline(IMPUTE, MinMaxScaler(clip=True), FunctionTransformer(np.log1p)),
    "identity": FunctionTransformer(),
    "union": FeatureUnion(
        [("scaled", make_pipeline(IMPUTE, StandardScaler())), ("missing", MissingIndicator(features="all"))],
        transformer_weights={"scaled": 2.0},
    ),
    "variance": make_pipeline(IMPUTE, VarianceThreshold(1.0)),
    "best": make_pipeline(IMPUTE, SelectKBest(k=2)),
    "pca": make_pipeline(IMPUTE, StandardScaler(), PCA(2, whiten=True)),
    "svd": make_pipeline(IMPUTE, TruncatedSVD(2)),
    "pass": "passthrough",
}
CATEGORIES = {
    "one-hot": OneHotEncoder(handle_unknown="ignore"),
    "one-hot dropped": OneHotEncoder(handle_unknown="ignore", drop="first"),
    "one-hot infrequent": OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=60),
    "one-hot most": OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=4, sparse_output=False),
    "one-hot strict": OneHotEncoder(handle_unknown="error"),
    "imputed": make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore", drop="if_binary")),
    "filled": make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(handle_unknown="ignore")),
    "ordinal": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2),
    "ordinal strict": OrdinalEncoder(),
    "ordinal rare": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, min_frequency=40),
    "target": TargetEncoder(random_state=0),
}


@pytest.mark.parametrize("name", NUMERIC)
def test_numeric_transformers(name, tmp_path):
    frame, y = flights()
    part = NUMERIC[name]
    features = ColumnTransformer([("numbers", part, NUM), ("rest", CATEGORIES["one-hot"], CAT)], sparse_threshold=0)
    pipeline, described = fit(features, HistGradientBoostingClassifier(max_iter=8), frame, y, tmp_path / "b")
    check(pipeline, described, frame)


@pytest.mark.parametrize("name", CATEGORIES)
def test_category_encoders(name, tmp_path):
    frame, y = flights()
    features = ColumnTransformer([("numbers", "passthrough", NUM), ("rest", CATEGORIES[name], CAT)], sparse_threshold=0)
    pipeline, described = fit(features, HistGradientBoostingClassifier(max_iter=8), frame, y, tmp_path / "b")
    check(pipeline, described, frame)


def check(pipeline, described, frame, count=300):
    plan = compiler.compile_pipeline(pipeline, described)
    rows = serving_models.rows_of(frame.head(400))
    found = parity(plan, pipeline, described, [*rows, *adversarial_rows(described.inputs, rows, count)])
    assert found.rows > 200
    return found


MODELS = {
    "boosting": (HistGradientBoostingClassifier(max_iter=5), "binary"),
    "gradient": (GradientBoostingClassifier(n_estimators=5), "binary"),
    "forest": (RandomForestClassifier(8, random_state=0), "binary"),
    "logistic": (LogisticRegression(max_iter=300), "binary"),
    "sgd": (SGDClassifier(loss="log_loss"), "binary"),
    "sgd three classes": (SGDClassifier(loss="log_loss"), "multiclass"),
    "sgd huber": (SGDClassifier(loss="modified_huber"), "binary"),
    "sgd huber three classes": (SGDClassifier(loss="modified_huber"), "multiclass"),
    "tree": (DecisionTreeClassifier(max_depth=4, random_state=0), "binary"),
    "calibrated distances": (CalibratedClassifierCV(LinearSVC(), cv=2), "binary"),
    "calibrated steps": (CalibratedClassifierCV(HistGradientBoostingClassifier(max_iter=3), method="isotonic", cv=2), "binary"),
    "calibrated classes": (CalibratedClassifierCV(RidgeClassifier(), cv=2), "multiclass"),
    "bagging": (BaggingClassifier(DecisionTreeClassifier(max_depth=3), n_estimators=3, max_features=0.7, random_state=0), "binary"),
    "voting": (
        VotingClassifier(
            [("a", LogisticRegression(max_iter=300)), ("b", HistGradientBoostingClassifier(max_iter=3))], voting="soft", weights=[2, 1]
        ),
        "multiclass",
    ),
    "dummy": (DummyClassifier(), "multiclass"),
    "tree regression": (DecisionTreeRegressor(max_depth=4, random_state=0), "regression"),
    "voting regression": (VotingRegressor([("a", Ridge()), ("b", HistGradientBoostingRegressor(max_iter=3))]), "regression"),
    "quantile": (QuantileRegressor(alpha=0.1), "regression"),
    "tweedie": (TweedieRegressor(power=1.5), "regression"),
    "three classes": (HistGradientBoostingClassifier(max_iter=5), "multiclass"),
    "three classes linear": (LogisticRegression(max_iter=300), "multiclass"),
    "three classes forest": (RandomForestClassifier(8, random_state=0), "multiclass"),
    "regression": (HistGradientBoostingRegressor(max_iter=5), "regression"),
    "regression poisson": (HistGradientBoostingRegressor(max_iter=5, loss="poisson"), "regression"),
    "forest regression": (RandomForestRegressor(5), "regression"),
    "extra trees": (ExtraTreesRegressor(5), "regression"),
    "ridge": (Ridge(), "regression"),
    "poisson": (PoissonRegressor(), "regression"),
    "anomaly": (IsolationForest(n_estimators=10, random_state=0), "anomaly"),
}


@pytest.mark.parametrize("name", MODELS)
def test_models(name, tmp_path):
    model, task = MODELS[name]
    frame, _ = flights()
    delays = serving_models.flights(1500, 3)["arr_delay"]
    y = {
        "binary": (delays > 15).astype("int8"),
        "multiclass": pd.cut(delays, [-1e9, 0, 15, 1e9], labels=["early", "on time", "late"]).astype("str"),
        "regression": delays.clip(lower=0),
        "anomaly": None,
    }[task]
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    features = ColumnTransformer([("numbers", numbers, NUM), ("rest", CATEGORIES["one-hot"], CAT)], sparse_threshold=0)
    pipeline, described = fit(features, model, frame, y, tmp_path / "b", task)
    found = check(pipeline, described, frame)
    assert found.difference <= 1e-9


@pytest.mark.parametrize(
    "vectorizer",
    [
        TfidfVectorizer(),
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, stop_words="english", strip_accents="unicode"),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3), max_features=300),
        TfidfVectorizer(analyzer="char", ngram_range=(1, 2), norm="l1", strip_accents="ascii", use_idf=False),
        HashingVectorizer(n_features=256, ngram_range=(1, 2)),
        make_pipeline(HashingVectorizer(n_features=64, norm=None, alternate_sign=False), TfidfTransformer(sublinear_tf=True)),
        make_pipeline(CountVectorizer(max_features=200), TfidfTransformer(norm="l1", use_idf=False)),
        CountVectorizer(lowercase=False, binary=True, token_pattern=r"\w+"),
    ],
)
def test_text(vectorizer, tmp_path, shared_data):
    path = shared_data / "sms_spam" / "sms.tsv"
    table = pd.read_csv(path, sep="\t", header=None, names=["label", "message"], quoting=3, on_bad_lines="skip").dropna().head(600)
    frame = pd.DataFrame({"message": table["message"].astype("str"), "length": table["message"].str.len().astype("int64")}).reset_index(
        drop=True
    )
    y = (table["label"] == "spam").astype("int8").to_numpy()
    features = ColumnTransformer([("text", vectorizer, "message"), ("length", StandardScaler(), ["length"])])
    pipeline, described = fit(features, LogisticRegression(max_iter=500), frame, y, tmp_path / "b")
    plan = compiler.compile_pipeline(pipeline, described)
    odd = [
        "",
        " ",
        "a",
        "FREE  entry!!",
        "ÀÉ naïve Straße",
        "日本語 テキスト",
        "\U0001f600 ok",
        "İstanbul",
        "a\u0000b c",
        "x" * 3000,
        "tab\tnew\nline  two",
    ]
    rows = serving_models.rows_of(frame.head(200)) + [{"message": text, "length": len(text)} for text in odd]
    found = parity(plan, pipeline, described, rows)
    assert found.rows == len(rows)
    # Null text is refused by both.
    assert parity(plan, pipeline, described, [{"message": None, "length": 3}]).refused == 1


def test_adults_with_every_column_by_type(tmp_path, shared_data):
    frame = pd.read_parquet(shared_data / "adult" / "adult_train.parquet").head(1500)
    label = frame.columns[-1]
    y = (frame.pop(label).astype(str).str.contains(">50K")).astype("int8")
    for name in frame.columns:
        if frame[name].dtype.kind not in "if":
            frame[name] = frame[name].astype("str")
    features = ColumnTransformer(
        [
            ("numbers", StandardScaler(), make_column_selector(dtype_include="number")),
            ("rest", OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
        ]
    )
    pipeline, described = fit(features, LogisticRegression(max_iter=1000), frame, y, tmp_path / "b")
    check(pipeline, described, frame)


def test_what_has_no_compiler_is_left_to_scikit_learn(tmp_path):
    frame, y = flights(holes=False)
    pipeline, _ = fit(serving_models.features(), KNeighborsClassifier(3), frame, y, tmp_path / "b")
    found = compile_bundle(tmp_path / "b")
    assert (found["engine"], "KNeighborsClassifier has no compiler" in found["reason"]) == ("pipeline", True)
    engine = Engine.load(tmp_path / "b", found["digest"])
    rows = serving_models.rows_of(frame.head(50))
    assert np.allclose([row["score"] for row in engine.predict_rows(rows)], pipeline.predict_proba(frame.head(50))[:, 1])
    with pytest.raises(InvalidInputError):
        engine.predict_rows([{"dep_delay": "x"}])


def test_hashing_is_left_to_scikit_learn(tmp_path):
    frame, y = flights(holes=False)
    features = ColumnTransformer([("text", HashingVectorizer(), "dest"), ("numbers", "passthrough", NUM)])
    fit(features, LogisticRegression(max_iter=50), frame, y, tmp_path / "b")
    assert compile_bundle(tmp_path / "b")["engine"] == "pipeline"


def test_the_gate_stops_a_plan_that_differs(tmp_path):
    frame, y = flights(holes=False)
    pipeline, described = fit(serving_models.features(), LogisticRegression(max_iter=200), frame, y, tmp_path / "b")
    plan = compiler.compile_pipeline(pipeline, described)
    plan.step.steps[-1].coefficients = plan.step.steps[-1].coefficients * 1.0001
    with pytest.raises(GateError, match="differs from scikit-learn"):
        parity(plan, pipeline, described, serving_models.rows_of(frame.head(20)))


def test_a_damaged_plan_is_refused(tmp_path):
    serving_models.flight_bundle(tmp_path / "b", "linear")
    (tmp_path / "b" / "plan" / "plan.json").write_text('{"format": 1}')
    with pytest.raises(IntegrityError, match="differs from the digest"):
        Engine.load(tmp_path / "b")
    sealed = bundle.seal(tmp_path / "b", bundle.read(tmp_path / "b", names=[]))
    with pytest.raises(IntegrityError, match="not a plan"):
        Engine.load(tmp_path / "b", sealed.digest)


def test_batches_and_rows_give_the_same_numbers(tmp_path):
    frame, _ = flights(holes=False)
    serving_models.flight_bundle(tmp_path / "b", "trees", iterations=5, abstain_below=0.7)
    engine = Engine.load(tmp_path / "b")
    batch = pa.RecordBatch.from_pandas(frame, preserve_index=False)
    coded = batch.set_column(batch.schema.names.index("carrier"), "carrier", batch.column("carrier").dictionary_encode())
    found = engine.predict(batch)
    assert found.equals(engine.predict(coded))
    one_by_one = [engine.predict_rows([row])[0] for row in serving_models.rows_of(frame.head(100))]
    assert found.slice(0, 100).to_pylist() == one_by_one
    assert set(found.column("decision").to_pylist()) == {"model", answers.PERSON}
    assert engine.predict(batch.slice(0, 0)).num_rows == 0
    with pytest.raises(InvalidInputError, match="'carrier' is missing"):
        engine.predict(batch.drop_columns(["carrier"]))


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    frame, y = flights(holes=False)
    path = tmp_path_factory.mktemp("linear") / "b"
    pipeline, described = fit(serving_models.features(), LogisticRegression(max_iter=200), frame, y, path)
    return pipeline, described, compiler.compile_pipeline(pipeline, described)


ROW = st.fixed_dictionaries(
    {},
    optional={
        "dep_delay": st.one_of(st.none(), st.floats(), st.integers()),
        "sched_dep_time": st.one_of(st.none(), st.integers(), st.floats()),
        "distance": st.one_of(st.none(), st.integers(-(2**31), 2**31)),
        "carrier": st.one_of(st.none(), st.text(), st.sampled_from(["UA", "AA", "DL"])),
        "origin": st.one_of(st.none(), st.text(max_size=3), st.binary(), st.booleans()),
    },
)


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=3))
def test_any_row_is_answered_as_scikit_learn_does_or_refused(linear, rows):
    pipeline, described, plan = linear
    try:
        columns = from_rows(described.inputs, rows)
    except InvalidInputError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            wanted = answers.scores(pipeline, "binary", frame_of(described, columns))
        except ValueError:
            with pytest.raises(InvalidInputError):
                plan.run(columns)
            return
    found = plan.run(columns)
    assert np.allclose(found, wanted, rtol=1e-9, atol=1e-9)
    assert all(math.isfinite(value) for value in found.ravel())
