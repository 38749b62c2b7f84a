"""Random tables of awkward columns and random transformers for them; each case is its seed."""

import datetime as dt
import decimal
import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, VarianceThreshold, chi2, f_classif, f_regression
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.model_selection import KFold
from sklearn.pipeline import FeatureUnion, Pipeline
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

WORDS = [
    "free",
    "cash",
    "now",
    "안녕",
    "세상",
    "über",
    "café",
    "cafe\u0301",
    "Straße",
    "the",
    "and",
    "x1",
    "👍🏽",
    "win",
    "ÀÉ",
    "नमस्ते",
    "a",
]
NAMES = [
    "a",
    "b",
    "ä",
    "東京",
    "",
    " ",
    "b ",
    "NULL",
    "nan",
    "None",
    "Ω",
    "e\u0301",
    "é",
    "0",
    "1.0",
    "-",
    "long " * 9,
    "👩‍👩‍👧",
    "\u200b",
    "A",
]


class Maker:
    """One case: its tables and its transformer."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.rows = int(self.pick([1, 2, 3, 7, 30, 90, 211, 400], [0.04, 0.03, 0.03, 0.1, 0.2, 0.3, 0.2, 0.1]))
        self.nasty = self.chance(0.3)
        self.kinds = {}
        self.single = False
        self.table = self.make_table(self.rows)
        self.unseen = self.make_table(int(self.pick([1, 5, 40])), unseen=True)

    def chance(self, share):
        return bool(self.random.random() < share)

    def pick(self, values, p=None):
        return values[int(self.random.choice(len(values), p=p))]

    def some(self, values, least=1, most=4):
        most = min(most, len(values))
        if most < least:
            return list(values)
        return [values[i] for i in self.random.permutation(len(values))[: self.random.integers(least, most + 1)]]

    # tables

    def make_table(self, rows, *, unseen=False):
        makers = {
            "n": self.number,
            "m": self.number,
            "p": self.positive,
            "i": self.whole,
            "c": self.category,
            "d": self.category,
            "t": self.text,
            "u": self.text,
            "z": self.odd,
        }
        arrays = {}
        for name, make in makers.items():
            many = 2 if name in "nc" else 1
            for k in range(many):
                key = f"{name}{k or ''}"
                kind = self.kinds.get(key)
                array, kind = make(rows, kind, unseen)
                self.kinds[key] = kind
                arrays[key] = array
        arrays["y"] = pa.array(self.random.integers(0, 2, rows))
        arrays["g"] = pa.array(self.random.normal(size=rows))
        arrays["k"] = pa.array([["no", "yes", "ja"][i] for i in self.random.integers(0, 3, rows)])
        arrays["w"] = pa.array(self.random.integers(0, 4, rows).astype(float) + 0.25)
        return pa.table(arrays)

    def number(self, rows, kind, unseen):
        kinds = ["normal", "gaps", "skewed", "few", "large", "f32", "f32gaps", "tiny", "repeats"]
        nasty = ["constant", "zeros", "null", "inf", "negzero", "onegap", "bool", "huge"]
        kind = kind or self.pick(kinds + (nasty if self.nasty else []))
        self.single |= kind.startswith("f32")
        r = self.random
        x = r.normal(3, 2, rows)
        made = {
            "gaps": lambda: np.where(r.random(rows) < 0.3, np.nan, x),
            "skewed": lambda: r.lognormal(1, 1.5, rows),
            "few": lambda: r.choice([0.0, 1.0, 2.5], rows),
            "repeats": lambda: np.round(x, 1),
            "large": lambda: 1e5 + r.normal(size=rows),
            "f32": lambda: x.astype(np.float32),
            "f32gaps": lambda: np.where(r.random(rows) < 0.2, np.nan, x).astype(np.float32),
            "tiny": lambda: x * 1e-12,
            "huge": lambda: x * 1e150,
            "constant": lambda: np.full(rows, 7.1 if not unseen else 3.0),
            "zeros": lambda: np.zeros(rows),
            "null": lambda: np.full(rows, np.nan),
            "inf": lambda: np.where(r.random(rows) < 0.2, np.inf, x),
            "negzero": lambda: r.choice([0.0, -0.0, 1.0], rows),
            "onegap": lambda: np.where(np.arange(rows) == 0, np.nan, x),
            "bool": lambda: x > 3,
        }.get(kind, lambda: x)()
        if unseen and self.chance(0.3) and made.dtype.kind == "f" and rows:
            made[r.integers(rows)] = self.pick([0.0, np.nan, np.inf, -1e6])
        mask = np.isnan(made) if made.dtype.kind == "f" and self.chance(0.7) else None
        return pa.array(made, mask=mask), kind

    def positive(self, rows, kind, unseen):
        x = (
            self.random.lognormal(0, 1, rows)
            if kind == "l" or (kind is None and self.chance(0.5))
            else self.random.integers(1, 9, rows) * 1.0
        )
        return pa.array(x), kind or ("l" if len(np.unique(x)) > 9 else "i")

    def whole(self, rows, kind, unseen):
        kind = kind or self.pick(["int64", "int8", "uint8", "int32", "gaps", "uint64"] + (["big", "one"] if self.nasty else []))
        low, high = (0, 100) if kind.startswith("u") else (-5, 30)
        values = self.random.integers(low, high, rows)
        if kind == "big":
            return pa.array(values + 2**40), kind
        if kind == "one":
            return pa.array(np.full(rows, 4 + unseen)), kind
        if kind == "gaps":
            return pa.array(values, mask=self.random.random(rows) < 0.3), kind
        return pa.array(values.astype(kind)), kind

    def category(self, rows, kind, unseen):
        kinds = ["plain", "gaps", "unicode", "late", "dictionary", "rare", "largestr"]
        nasty = ["null", "constant", "gapdict", "empty", "many", "boolgaps"]
        kind = kind or self.pick(kinds + (nasty if self.nasty else []))
        r = self.random
        names = NAMES if kind in {"unicode", "empty"} else NAMES[:4]
        values = np.array([names[i] for i in np.minimum(r.geometric(0.35, rows) - 1, len(names) - 1)], dtype=object)
        if unseen and rows and kind != "boolgaps":
            values[r.integers(rows)] = "never seen"
        gap = r.random(rows) < 0.25
        if kind in {"gaps", "gapdict"} or (unseen and self.chance(0.2)):
            values[gap] = None
        if kind == "late":
            values[-max(1, rows // 9) :] = "late 遅"
        if kind == "null":
            return pa.array([None] * rows, pa.string()), kind
        if kind == "constant":
            values[:] = "only" if not unseen else "other"
        if kind == "many":
            values = np.array([f"id {i}" for i in range(rows)], dtype=object)
        if kind == "boolgaps":
            return pa.array([None if g else bool(v) for g, v in zip(gap, r.integers(0, 2, rows), strict=True)], pa.bool_()), kind
        array = pa.array(values.tolist(), pa.large_string() if kind == "largestr" else pa.string())
        return (array.dictionary_encode() if kind in {"dictionary", "gapdict"} else array), kind

    def text(self, rows, kind, unseen):
        kind = kind or self.pick(["plain", "plain", "short"] + (["gaps", "blank"] if self.nasty else []))
        words = [*WORDS, "unheard"] if unseen else WORDS
        values = [
            " ".join(words[i] for i in self.random.integers(0, len(words), self.random.integers(0 if kind != "plain" else 1, 6)))
            for _ in range(rows)
        ]
        if kind == "gaps":
            values = [None if self.chance(0.2) else value for value in values]
        if kind == "blank":
            values = ["" for _ in values]
        return pa.array(values, pa.string()), kind

    def odd(self, rows, kind, unseen):
        day, zoned = dt.datetime(2024, 1, 1, 3), dt.datetime(2024, 1, 1, 3, tzinfo=dt.UTC)  # noqa: DTZ001 - times without a zone, too
        makers = {
            "date": (lambda i: dt.date(2024, 1, 1 + i), pa.date32()),
            "decimal": (lambda i: decimal.Decimal(i) / 4, pa.decimal128(9, 2)),
            "timestamp": (lambda i: day + dt.timedelta(i), pa.timestamp("us")),
            "fine": (lambda i: day + dt.timedelta(i), pa.timestamp("ns")),
            "tz": (lambda i: zoned + dt.timedelta(i), pa.timestamp("us", "UTC")),
            "duration": (lambda i: dt.timedelta(hours=i), pa.duration("us")),
            "bool": (lambda i: i > 2, pa.bool_()),
            "binary": (lambda i: b"ab"[: i % 3], pa.binary()),
            "time": (dt.time, pa.time64("us")),
            "f16": (np.float16, pa.float16()),
            "none": (lambda _: None, pa.null()),
        }
        kind = kind or self.pick([(name, gaps) for name in makers for gaps in (False, True) if name != "f16" or not gaps])
        make, made = makers[kind[0]]
        gaps = self.random.random(rows) < (0.2 if kind[1] else 0)
        return pa.array([None if gap else make(int(i)) for i, gap in zip(self.random.integers(0, 6, rows), gaps, strict=True)], made), kind

    def write(self, table, folder):
        """Cut at random places into files and row groups."""
        cuts = sorted({0, table.num_rows, *self.random.integers(0, table.num_rows + 1, self.random.integers(0, 4)).tolist()})
        for i, (start, end) in enumerate(itertools.pairwise(cuts)):
            part = table.slice(start, end - start)
            pq.write_table(
                part,
                Path(folder, f"part-{i}.parquet"),
                row_group_size=max(1, int(self.random.integers(1, end - start + 1)), (end - start) // 5),
            )
        return str(folder)

    # transformers

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
                lambda: PowerTransformer(method="yeo-johnson", standardize=b(0.7)),
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
            ]
        )()

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

    def numeric(self):  # noqa: PLR0911 - one return a kind of chain
        """Something for columns of numbers."""
        route = self.random.integers(9)
        if route <= 1:
            return self.steps(self.scaler)
        if route == 2:
            return self.steps(self.imputer)
        if route == 3:
            return MissingIndicator(
                features=self.pick(["missing-only", "all"]), sparse=self.pick(["auto", True, False]), error_on_new=self.chance(0.5)
            )
        if route == 4:
            return self.steps(self.imputer, self.scaler)
        if route == 5:
            return self.steps(self.imputer, self.shaper)
        if route == 6:
            return self.steps(self.imputer, self.scaler, self.shaper)
        if route == 7:
            return FeatureUnion(
                [("a", self.numeric()), ("b", self.pick([self.numeric(), "passthrough", "drop"]))],
                transformer_weights=self.pick([None, {"a": 2.0}]),
            )
        return self.steps(self.imputer, self.encoder)

    def categorical(self):
        """Something for columns of categories."""
        route = self.random.integers(6)

        def fill():
            return SimpleImputer(
                strategy=self.pick(["most_frequent", "constant"]),
                fill_value=self.pick(["?", "a"]),
                add_indicator=self.chance(0.15),
                keep_empty_features=self.chance(0.6),
            )

        if route <= 1:
            return self.steps(self.encoder)
        if route == 2:
            return self.steps(fill, self.encoder)
        if route == 3:
            return self.steps(fill, self.encoder, self.scaler)
        if route == 4:
            return self.steps(self.ordinal, self.shaper)
        return self.steps(
            self.encoder,
            lambda: self.pick([TruncatedSVD(2, random_state=self.seed()), SelectKBest(chi2, k=2), MaxAbsScaler(), VarianceThreshold()]),
        )

    def wordy(self):
        """Something for one column of texts."""
        route = self.random.integers(4)
        if route <= 1:
            return self.vectorizer()
        if route == 2:
            return self.steps(CountVectorizer, lambda: TfidfTransformer(norm=self.pick(["l1", "l2"]), sublinear_tf=self.chance(0.4)))
        after = [
            TruncatedSVD(2, random_state=self.seed()),
            SelectKBest(chi2, k=3),
            Normalizer(),
            MaxAbsScaler(),
            StandardScaler(with_mean=False),
            VarianceThreshold(1e-3),
        ]
        return self.steps(self.vectorizer, lambda: self.pick(after))

    def anything(self):
        """Something for columns of odd types."""
        return self.pick(
            [self.one_hot, self.ordinal, lambda: MissingIndicator(features="all", missing_values=self.pick([np.nan, None])), self.encoder]
        )()

    def columns(self, names):
        """A way to name columns."""
        route = self.random.integers(6)
        places = [self.inputs.index(name) for name in names]
        if route == 0:
            return places
        if route == 1:
            mask = np.zeros(len(self.inputs), dtype=bool)
            mask[places] = True
            return mask.tolist()
        if route == 2 and places == list(range(min(places), max(places) + 1)):
            return slice(min(places), max(places) + 1)
        if route == 3:
            return Named(names)
        return names

    def column_transformer(self, depth=0):
        """The whole."""
        parts = []
        numbers = [name for name in self.inputs if name[0] in "nmpi"]
        categories = [name for name in self.inputs if name[0] in "cdi"]
        for k in range(int(self.random.integers(1, 5))):
            route = self.random.integers(12)
            if route <= 4:
                parts.append((f"n{k}", self.numeric(), self.columns(self.some(numbers))))
            elif route <= 7:
                parts.append((f"c{k}", self.categorical(), self.columns(self.some(categories, 1, 3))))
            elif route == 8:
                parts.append((f"t{k}", self.wordy(), self.pick(["t", "u", self.inputs.index("t")])))
            elif route == 9:
                parts.append((f"z{k}", self.anything(), ["z"]))
            elif route == 10:
                parts.append((f"p{k}", self.pick(["passthrough", "drop"]), self.columns(self.some(numbers))))
            elif depth == 0:
                selector = self.pick(
                    [
                        make_column_selector(dtype_include=np.number),
                        make_column_selector(pattern="^[nmp]"),
                        make_column_selector(dtype_include="int64"),
                    ]
                )
                parts.append((f"s{k}", self.numeric(), selector))
        if self.chance(0.05):
            parts.append(("none", StandardScaler(), []))
        remainder = "drop"
        if self.chance(0.08):
            remainder = self.pick(["passthrough", self.ordinal()])
        made = ColumnTransformer(
            parts,
            remainder=remainder,
            sparse_threshold=self.pick([0.3, 0.3, 0, 1.0]),
            verbose_feature_names_out=self.chance(0.8),
            transformer_weights=self.pick([None, None, None, {parts[0][0]: 0.5} if parts else None]),
        )
        if self.chance(0.2) and not any("Vectorizer" in repr(part) for _, part, _ in parts):
            made.set_output(transform="pandas")
        return made

    def transformer(self):
        """A ColumnTransformer, mostly; or a Pipeline or a FeatureUnion of it, or a single step."""
        self.inputs = [name for name in self.table.column_names if name not in {"y", "g", "k", "w"}]
        route = self.random.integers(12)
        whole = self.column_transformer()
        if route == 0:
            return Pipeline([("all", whole), ("then", self.pick([self.scaler, self.shaper])())])
        if route == 1:
            return FeatureUnion([("one", whole), ("two", self.column_transformer())])
        if route == 2:
            inner = self.column_transformer(1)
            return ColumnTransformer([("inner", inner, self.inputs), ("n", self.numeric(), ["n"])])
        if route == 3:
            names = [name for name in self.inputs if name[0] in "nmp"]
            self.inputs = names
            return self.numeric()
        if route == 4:
            self.inputs = ["c", "d"]
            return self.categorical()
        return whole


class Named:
    """A column selector of our own."""

    def __init__(self, names):
        self.names = names

    def __call__(self, frame):
        return [name for name in frame.columns if name in self.names]


def square(x):
    return x * x
