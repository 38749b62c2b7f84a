"""Random single steps: what scikit-learn has for numbers, categories and texts, with parameters of any kind."""

import numpy as np
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.feature_selection import GenericUnivariateSelect, SelectKBest, VarianceThreshold, chi2, f_classif, f_regression
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline
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
from sweep_tables import Tables


class Steps(Tables):
    """The steps of a case."""

    def seed(self):
        return int(self.random.integers(0, 1000))

    def scaler(self):
        b = self.chance
        return self.pick(
            [
                lambda: StandardScaler(with_mean=b(0.8), with_std=b(0.8)),
                lambda: MinMaxScaler(feature_range=self.pick([(0, 1), (-1, 2)]), clip=b(0.3)),
                MaxAbsScaler,
                lambda: RobustScaler(
                    with_centering=b(0.8),
                    with_scaling=b(0.8),
                    quantile_range=self.pick([(25.0, 75.0), (10.0, 95.0), (0, 100)]),
                    unit_variance=b(0.3),
                ),
                lambda: Normalizer(norm=self.pick(["l1", "l2", "max"])),
                lambda: Binarizer(threshold=self.pick([0.0, 1.5])),
                lambda: VarianceThreshold(threshold=self.pick([0.0, 0.0, 0.5])),
            ]
        )()

    def shaper(self):
        b = self.chance
        return self.pick(
            [
                lambda: KBinsDiscretizer(
                    n_bins=int(self.random.integers(2, 7)),
                    encode=self.pick(["onehot", "onehot-dense", "ordinal"]),
                    strategy=self.pick(["uniform", "quantile", "kmeans"]),
                    quantile_method=self.pick(["linear", "averaged_inverted_cdf", "inverted_cdf", "hazen", "median_unbiased"]),
                    subsample=self.pick([None, 200_000, 20]),
                    dtype=self.pick([None, None, np.float32]),
                    random_state=self.seed(),
                ),
                lambda: QuantileTransformer(
                    n_quantiles=int(self.pick([3, 10, 50, 1000])),
                    output_distribution=self.pick(["uniform", "normal"]),
                    subsample=self.pick([None, 10_000, 60]),
                    random_state=self.seed(),
                ),
                lambda: PowerTransformer(method=self.pick(["yeo-johnson"] * 4 + ["box-cox"]), standardize=b(0.7)),
                lambda: PolynomialFeatures(
                    degree=self.pick([2, 3, (1, 2)]), interaction_only=b(0.3), include_bias=b(0.5), order=self.pick(["C", "F"])
                ),
                lambda: SplineTransformer(
                    n_knots=int(self.random.integers(2, 6)),
                    degree=int(self.random.integers(0, 4)),
                    knots=self.pick(["uniform", "quantile"]),
                    extrapolation=self.pick(["constant", "linear", "continue", "error", "periodic"]),
                    include_bias=b(0.7),
                    sparse_output=b(0.3),
                    handle_missing=self.pick(["error", "zeros"]),
                ),
                lambda: FunctionTransformer(
                    self.pick([np.log1p, np.abs, np.sign, None, square]), feature_names_out=self.pick([None, "one-to-one"])
                ),
                lambda: PCA(
                    n_components=self.pick([None, 1, 2, 0.9]),
                    whiten=b(0.3),
                    svd_solver=self.pick(["auto", "full", "covariance_eigh"]),
                    random_state=self.seed(),
                ),
                lambda: TruncatedSVD(n_components=1, algorithm=self.pick(["arpack", "randomized"]), random_state=self.seed()),
                lambda: SelectKBest(self.pick([f_classif, f_regression, chi2]), k=self.pick([1, 2, "all"])),
                self.selector,
            ]
        )()

    def selector(self):
        mode, param = self.pick([("percentile", 50), ("k_best", 1), ("fpr", 0.3), ("fdr", 0.5), ("fwe", 0.5)])
        return GenericUnivariateSelect(self.pick([f_classif, f_regression, chi2]), mode=mode, param=param)

    def imputer(self, strategies=("mean", "median", "most_frequent", "constant")):
        strategy = self.pick(list(strategies))
        return SimpleImputer(
            strategy=strategy,
            add_indicator=self.chance(0.3),
            keep_empty_features=self.chance(0.5),
            fill_value=self.pick([None, 0, -1.5]) if strategy == "constant" else None,
        )

    def encoder(self):
        b = self.chance
        return self.pick(
            [
                self.one_hot,
                self.one_hot,
                self.ordinal,
                lambda: (
                    TargetEncoder(
                        smooth=self.pick(["auto", 1.0, 0.0]), cv=self.pick([2, 3, KFold(3)]), shuffle=True, random_state=self.seed()
                    )
                    if b(0.5)
                    else self.ordinal()
                ),
            ]
        )()

    def limits(self):
        return {"min_frequency": self.pick([None, None, 2, 10, 0.1]), "max_categories": self.pick([None, None, 1, 2, 3])}

    def one_hot(self):
        drop = self.pick([None, None, "first", "if_binary"])
        return OneHotEncoder(
            drop=drop,
            handle_unknown=self.pick(["error", "ignore", "infrequent_if_exist", "warn"]),
            sparse_output=self.chance(0.5),
            dtype=self.pick([np.float64, np.float32, np.int32]),
            **self.limits(),
        )

    def ordinal(self):
        unknown = self.pick(
            [
                {},
                {"handle_unknown": "use_encoded_value", "unknown_value": -1},
                {"handle_unknown": "use_encoded_value", "unknown_value": np.nan},
            ]
        )
        return OrdinalEncoder(
            encoded_missing_value=self.pick([np.nan, np.nan, -2]),
            dtype=self.pick([np.float64, np.float64, np.float32]),
            **unknown,
            **self.limits(),
        )

    def vectorizer(self):
        common = {
            "analyzer": self.pick(["word", "word", "char", "char_wb"]),
            "ngram_range": self.pick([(1, 1), (1, 2), (2, 3)]),
            "lowercase": self.chance(0.7),
            "strip_accents": self.pick([None, None, "unicode", "ascii"]),
            "stop_words": self.pick([None, None, "english", ["free"]]),
            "binary": self.chance(0.3),
        }
        learnt = {
            "min_df": self.pick([1, 1, 2, 0.05]),
            "max_df": self.pick([1.0, 1.0, 0.8, 50]),
            "max_features": self.pick([None, None, 5]),
        }
        if self.chance(0.15):
            learnt = {"vocabulary": ["free", "cash", "안녕", "zz"]}
        return self.pick(
            [
                lambda: CountVectorizer(**common, **learnt, dtype=self.pick([np.int64, np.float32])),
                lambda: TfidfVectorizer(
                    **common,
                    **learnt,
                    norm=self.pick(["l2", "l1", None]),
                    use_idf=self.chance(0.8),
                    smooth_idf=self.chance(0.8),
                    sublinear_tf=self.chance(0.3),
                ),
                lambda: HashingVectorizer(
                    **common, n_features=int(self.pick([8, 64])), alternate_sign=self.chance(0.5), norm=self.pick(["l2", None])
                ),
            ]
        )()

    def steps(self, *makers):
        made = [make() for make in makers]
        if len(made) == 1 and self.chance(0.6):
            return made[0]
        pipe = Pipeline([(f"s{i}", step) for i, step in enumerate(made)])
        if self.chance(0.1):
            pipe.steps.insert(int(self.random.integers(len(made) + 1)), ("same", "passthrough"))
        return pipe

    def hasher(self):
        return Pipeline(
            [
                ("box", FunctionTransformer(boxed)),
                (
                    "hash",
                    FeatureHasher(
                        int(self.pick([4, 16])),
                        input_type="string",
                        alternate_sign=self.chance(0.5),
                        dtype=self.pick([np.float64, np.float32]),
                    ),
                ),
            ]
        )


def boxed(texts):
    """Each text as its words."""
    return [str(text).split() for text in texts]


def square(x):
    return x * x
