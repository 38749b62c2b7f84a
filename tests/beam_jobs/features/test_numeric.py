"""Numeric steps against scikit-learn's own fits, on awkward columns."""

import numpy as np
import pytest
from parity import check, numbers, write
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_selection import (
    GenericUnivariateSelect,
    SelectKBest,
    SelectPercentile,
    VarianceThreshold,
    chi2,
    f_classif,
    f_regression,
)
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)

from windtunnel.beam_jobs.features import fit

ALL = numbers()
FULL = ALL.drop(columns="gaps")
EMPTY = ALL.assign(empty=np.nan)
SOLID = FULL[["normal", "whole", "skewed", "few"]]

SCALERS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    StandardScaler(with_mean=False, with_std=False),
    MinMaxScaler(feature_range=(-1, 2), clip=True),
    MaxAbsScaler(),
    RobustScaler(),
    RobustScaler(unit_variance=True, quantile_range=(10, 80)),
    RobustScaler(with_centering=False),
    QuantileTransformer(n_quantiles=50),
    QuantileTransformer(output_distribution="normal", subsample=None),
    QuantileTransformer(n_quantiles=50, subsample=100, random_state=5),
    PowerTransformer(),
]


@pytest.mark.parametrize("step", SCALERS, ids=repr)
def test_scalers(step):
    check(step, ALL)


@pytest.mark.parametrize("step", [StandardScaler(), MinMaxScaler(), MaxAbsScaler(), RobustScaler()], ids=repr)
def test_scalers_with_an_empty_column(step):
    check(step, EMPTY)


@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent", "constant"])
def test_imputer(strategy):
    for keep in (False, True):
        for indicator in (False, True):
            check(SimpleImputer(strategy=strategy, keep_empty_features=keep, add_indicator=indicator), EMPTY)
    check(SimpleImputer(strategy=strategy, missing_values=0), ALL.fillna(0).astype(int))
    check(make_pipeline(SimpleImputer(strategy=strategy), StandardScaler(), MinMaxScaler()), EMPTY)


@pytest.mark.parametrize("features", ["missing-only", "all"])
def test_missing_indicator(features):
    check(MissingIndicator(features=features), EMPTY)


@pytest.mark.parametrize("strategy", ["uniform", "quantile", "kmeans"])
@pytest.mark.parametrize("encode", ["onehot", "onehot-dense", "ordinal"])
def test_bins(strategy, encode):
    check(KBinsDiscretizer(4, strategy=strategy, encode=encode, subsample=None), FULL)
    check(KBinsDiscretizer(4, strategy=strategy, encode=encode, subsample=100, random_state=3), FULL)


@pytest.mark.parametrize("method", ["linear", "inverted_cdf", "averaged_inverted_cdf", "hazen", "weibull", "median_unbiased"])
def test_bins_by_every_kind_of_quantile(method):
    check(KBinsDiscretizer(4, strategy="quantile", quantile_method=method, encode="ordinal", subsample=None), FULL)


@pytest.mark.parametrize(
    "step",
    [
        SplineTransformer(),
        SplineTransformer(knots="quantile", n_knots=4, extrapolation="linear"),
        SplineTransformer(n_knots=6, extrapolation="periodic", include_bias=False),
    ],
    ids=repr,
)
def test_splines(step):
    check(step, FULL[["normal", "skewed", "whole"]])


def test_splines_with_gaps_and_with_given_knots():
    check(SplineTransformer(handle_missing="zeros", knots="quantile"), ALL[["normal", "gaps"]])
    check(SplineTransformer(knots=np.array([[0.0, 0], [1, 2], [3, 4]])), ALL[["normal", "skewed"]])


def test_power():
    check(PowerTransformer("box-cox", standardize=False), ALL[["skewed"]])


@pytest.mark.parametrize("step", [Normalizer("l1"), Binarizer(threshold=0.5), PolynomialFeatures(2, interaction_only=True)], ids=repr)
def test_stateless(step):
    check(step, FULL)


@pytest.mark.parametrize("n_components", [None, 2, 0.9, "mle"])
@pytest.mark.parametrize("solver", ["auto", "full", "covariance_eigh"])
def test_pca_of_few_rows_is_scikit_learns_own(n_components, solver):
    check(PCA(n_components, whiten=n_components == 2, svd_solver=solver), SOLID)


def test_randomized_decompositions_of_few_rows_are_scikit_learns_own():
    check(PCA(2, svd_solver="randomized", random_state=1), SOLID)
    check(TruncatedSVD(2, random_state=1), SOLID)
    check(TruncatedSVD(2, algorithm="arpack", random_state=1), SOLID)


def test_the_covariance_route(monkeypatch):
    monkeypatch.setattr("windtunnel.beam_jobs.features.tallies.rows.GATHER_BYTES", 0)
    for n_components in (None, 2, 0.9, "mle"):
        check(PCA(n_components, whiten=True, svd_solver="covariance_eigh"), SOLID)
    check(TruncatedSVD(2, algorithm="arpack", random_state=1), SOLID, attributes=False)


def test_iterative_steps_from_distinct_values(monkeypatch):
    monkeypatch.setattr("windtunnel.beam_jobs.features.tallies.rows.GATHER_BYTES", 0)
    check(KBinsDiscretizer(4, strategy="kmeans", encode="ordinal", subsample=None), FULL)
    check(PowerTransformer(), FULL[["normal", "skewed", "constant"]], tolerance=1e-5)
    check(PowerTransformer("box-cox"), ALL[["skewed"]], tolerance=1e-5)


def test_variance_threshold():
    check(VarianceThreshold(), ALL)
    check(VarianceThreshold(1.5), FULL)


@pytest.mark.parametrize("select", [SelectKBest, SelectPercentile])
@pytest.mark.parametrize(("score", "label"), [(chi2, "two"), (chi2, "three"), (f_classif, "three"), (f_regression, "number")])
def test_selection(select, score, label):
    random = np.random.default_rng(3)
    y = {
        "two": random.integers(0, 2, len(ALL)),
        "three": random.choice(["a", "b", "c"], len(ALL)),
        "number": ALL["normal"] * 2 + random.normal(size=len(ALL)),
    }[label]
    frame = SOLID.abs().assign(y=y)
    check(select(score, k=2) if select is SelectKBest else select(score, percentile=50), frame, y="y")


@pytest.mark.parametrize(("mode", "param"), [("fwe", 1e-5), ("fdr", 0.1), ("fpr", 0.1), ("percentile", 50), ("k_best", 2)])
def test_generic_selection(mode, param):
    for score in (f_classif, chi2, f_regression):
        check(GenericUnivariateSelect(score, mode=mode, param=param), SOLID.abs().assign(y=ALL["normal"] > 3), y="y")


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_regression_scores_of_next_to_no_rows(rows):
    frame = SOLID[["whole", "few"]].assign(fixed=2.0, y=np.array([1, 4, 2] * 71)[: len(SOLID)]).head(rows)
    check(SelectKBest(f_regression, k="all"), frame, y="y", files=1, groups=1)


def test_a_constant_column_is_never_the_best(tmp_path):
    frame = SOLID.assign(fixed=-5.199337582, y=ALL["normal"] > 3)  # scikit-learn scores what rounding leaves of it: 0 or more
    fitted = fit(SelectKBest(f_classif, k=2), write(frame, tmp_path), {"label": "y"})
    theirs = SelectKBest(f_classif, k=2).fit(SOLID, frame["y"])
    assert np.isnan(fitted.scores_[-1])
    np.testing.assert_allclose(fitted.scores_[:-1], theirs.scores_, rtol=1e-9)
    assert list(fitted.get_feature_names_out()) == list(theirs.get_feature_names_out())


BEYOND = numbers(1500)


@pytest.mark.parametrize(
    "step",
    [
        StandardScaler(),
        RobustScaler(),
        make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
        SimpleImputer(strategy="most_frequent"),
        make_pipeline(SimpleImputer(), RobustScaler(), MinMaxScaler()),
        QuantileTransformer(n_quantiles=30, subsample=None),
        VarianceThreshold(0.01),
        FeatureUnion([("moments", StandardScaler()), ("order", RobustScaler())]),
    ],
    ids=repr,
)
def test_columns_beyond_the_limit_spill_and_stay_exact(step, monkeypatch):
    monkeypatch.setattr("windtunnel.beam_jobs.features.data.BIN_ROWS", 300)
    check(step, BEYOND, options={"distinct_limit": 50})


def test_float32_sums_are_ours_in_double():
    frame = ALL[["normal", "whole"]].astype({"normal": "float32", "whole": "int8"})
    for step in (
        StandardScaler(),
        MinMaxScaler(),
        RobustScaler(),
        QuantileTransformer(n_quantiles=20),
        KBinsDiscretizer(3, encode="ordinal"),
    ):
        check(step, frame[["normal"]])
        check(step, frame[["whole"]])
    check(SimpleImputer(), frame[["normal"]], tolerance=1e-6)
