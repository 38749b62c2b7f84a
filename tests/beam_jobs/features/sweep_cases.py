"""Random transformers for random tables; each case is its seed."""

import numpy as np
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.feature_selection import SelectKBest, VarianceThreshold, chi2
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    Normalizer,
    PowerTransformer,
    StandardScaler,
)
from sweep_steps import Steps


class Maker(Steps):
    """One case: its tables and its transformer."""

    def numeric(self):
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
        if self.chance(0.1):
            return self.hasher()
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
            elif route == 10 and self.chance(0.3):
                parts.append((f"b{k}", PowerTransformer("box-cox", standardize=self.chance(0.7)), ["p"]))
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
        if self.chance(0.2) and not any(name in repr(part) for name in ("Vectorizer", "Hasher") for _, part, _ in parts):
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
