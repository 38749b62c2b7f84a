"""Transformers: how each is fitted over any amount of data, and how the fitted one is compiled for serving."""

import dataclasses

from windtunnel.lifecycle.contract.seams.classes import ClassRegistry, ClassRow
from windtunnel.lifecycle.contract.seams.registry import part

__all__ = ["TRANSFORMERS", "TransformerRow", "table"]

_FIT = "windtunnel.beam_jobs.features.fitting.families"
_COMPILE = "windtunnel.serving.compiler.compile"
_SAME = "windtunnel.beam_jobs.features.fitting.registry:identity_map"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerRow(ClassRow):
    """One class of transformer, both sides of it.

    Attributes:
        accumulator: a `windtunnel.beam_jobs.features.tallies.accumulator.Accumulator`: how a package's own class is fitted.
        fit: a coroutine over passes that fits it, as in `windtunnel.beam_jobs.features.fitting.families`; ours are written so.
        columns: ``function(fitted) -> list of int or None``: for each output column the one input column that it depends on.
        compile: ``function(compiler, fitted) -> Step`` of a serving plan; without it scikit-learn answers for the model.
        composes: made of other transformers, and fitted by fitting those.
    """

    accumulator: str = part("")
    fit: str = part("")
    columns: str = part("")
    compile: str = part("")
    composes: bool = False


def _row(name: str, fit: str = "", compile: str = "", columns: str = "", *, composes: bool = False) -> TransformerRow:  # noqa: A002 - the field's name
    return TransformerRow(
        name=name,
        fit=f"{_FIT}.{fit}" if fit else "",
        compile=f"{_COMPILE}:{compile}" if compile else "",
        columns=columns if not columns or columns == _SAME else f"{_FIT}.{columns}",
        composes=composes,
    )


def _rows() -> list[TransformerRow]:
    pre, text, chosen = "sklearn.preprocessing", "sklearn.feature_extraction.text", "sklearn.feature_selection"
    univariate = ("SelectKBest", "SelectPercentile", "SelectFpr", "SelectFdr", "SelectFwe", "GenericUnivariateSelect")
    return [
        _row("sklearn.compose.ColumnTransformer", compile="column_transformer", composes=True),
        _row("sklearn.pipeline.FeatureUnion", compile="feature_union", composes=True),
        _row("sklearn.pipeline.Pipeline", compile="pipeline", composes=True),
        _row(f"{pre}.StandardScaler", "scaling:standard", "standard", _SAME),
        _row(f"{pre}.MinMaxScaler", "scaling:extremes", "min_max", _SAME),
        _row(f"{pre}.MaxAbsScaler", "scaling:extremes", "max_abs", _SAME),
        _row(f"{pre}.RobustScaler", "scaling:robust", "robust", _SAME),
        _row(f"{pre}.Normalizer", "stateless:stateless", "normalizer"),
        _row(f"{pre}.Binarizer", "stateless:stateless", "binarizer", _SAME),
        _row("sklearn.impute.SimpleImputer", "imputing:imputer", "imputer", "imputing:kept"),
        _row("sklearn.impute.MissingIndicator", "imputing:indicator", "indicator"),
        _row(f"{pre}.OneHotEncoder", "encoding:one_hot", "one_hot"),
        _row(f"{pre}.OrdinalEncoder", "encoding:ordinal", "ordinal", _SAME),
        _row(f"{pre}.TargetEncoder", "target:target", "target"),
        _row(f"{pre}.LabelBinarizer", "labels:labels"),
        _row(f"{pre}.LabelEncoder", "labels:labels"),
        _row(f"{pre}.KBinsDiscretizer", "binning:bins", "bins", "binning:ordinal_bins"),
        _row(f"{pre}.QuantileTransformer", "binning:quantile", "quantile", _SAME),
        _row(f"{pre}.PowerTransformer", "curves:power", "power", _SAME),
        _row(f"{pre}.SplineTransformer", "curves:spline", "splines"),
        _row(f"{pre}.PolynomialFeatures", "stateless:stateless", "polynomial"),
        _row(f"{pre}.FunctionTransformer", "stateless:stateless", "function", "stateless:elementwise"),
        _row(f"{text}.CountVectorizer", "text:vectorizer", "text"),
        _row(f"{text}.TfidfVectorizer", "text:vectorizer", "text"),
        _row(f"{text}.TfidfTransformer", "text:tfidf", "weighted"),
        _row(f"{text}.HashingVectorizer", "stateless:stateless", "hashed"),
        _row("sklearn.feature_extraction.FeatureHasher", "stateless:stateless"),
        _row("sklearn.decomposition.PCA", "decomposition:pca", "pca"),
        _row("sklearn.decomposition.IncrementalPCA", compile="pca"),
        _row("sklearn.decomposition.TruncatedSVD", "decomposition:svd", "svd"),
        _row(f"{chosen}.VarianceThreshold", "selection:variance", "support"),
        *(_row(f"{chosen}.{name}", "selection:univariate", "support") for name in univariate),
        *(_row(f"{chosen}.{name}", compile="support") for name in ("SelectFromModel", "RFE", "RFECV", "SequentialFeatureSelector")),
    ]


TRANSFORMERS = ClassRegistry("transformers", "a transformer", TransformerRow, _rows())
"""All that is fitted over any amount of data or compiled for serving; what is in no row is fitted on a declared sample only."""


def table() -> str:
    """The rows as a Markdown table: what is fitted over any amount of data, and what is compiled.

    Example:
        >>> print(table().splitlines()[0])
        | transformer | fits over any amount of data | compiles for serving |
    """
    lines = ["| transformer | fits over any amount of data | compiles for serving |", "|---|---|---|"]
    for row in TRANSFORMERS.own:
        module, _, name = row.name.rpartition(".")
        fits = "yes, part by part" if row.composes else "yes" if row.fit or row.accumulator else "on a declared sample"
        lines.append(f"| `{name}` ({module}) | {fits} | {'yes' if row.compile else 'no'} |")
    return "\n".join(lines)
