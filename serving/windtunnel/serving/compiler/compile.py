"""From a fitted scikit-learn pipeline to a `Plan`.

What has no compiler is refused with `NotCompilableError`, and the engine then runs the pipeline itself. What compiles counts only once
`windtunnel.serving.compiler.gate` has shown that both answer the same.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from windtunnel.lifecycle.contract.seams.transformers import TRANSFORMERS
from windtunnel.lifecycle.learning import scikit
from windtunnel.lifecycle.model.bundle import Bundle
from windtunnel.serving.compiler import curves, estimators, learners, masks, steps, texts
from windtunnel.serving.compiler.plan import NotCompilableError, Plan, Step

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["Compiler", "NotCompilableError", "compile_pipeline"]


def _before_trees(chain: list[Step], trees: estimators.Trees, before: "list[BaseEstimator]", width: int) -> tuple[list[Step], Step]:
    """The steps before trees, which take their input as a mask where that does, and the trees themselves."""
    if any(getattr(part, "sparse_output_", False) for part in before):
        trees.null = False  # scikit-learn's trees take null in dense matrices only
    features, last = masks.masked(steps.Chain(chain) if chain else None, trees, width)
    return ([] if features is None else [features]), last


def compile_pipeline(pipeline: "BaseEstimator", bundle: Bundle) -> Plan:
    """The plan of a fitted pipeline.

    Raises:
        NotCompilableError: names the part that has no compiler.
    """
    special = [column.name for column in bundle.inputs if column.type in {"date", "timestamp", "decimal"}]
    if special:
        raise NotCompilableError(f"inputs {special} are dates, times or decimals, which a plan does not compute with")
    *before, model = [part for _, part in pipeline.steps] if hasattr(pipeline, "steps") else [pipeline]
    compiler = Compiler(bundle)
    chain: list[Step] = [compiler.transformer(part) for part in before if part is not None and part != "passthrough"]
    last: Step = learners.estimator(model, bundle.task)
    width = max(1, compiler.width, int(getattr(model, "n_features_in_", 1)))
    if isinstance(last, estimators.Trees):
        chain, last = _before_trees(chain, last, before, int(model.n_features_in_))
    return Plan(inputs=[column.name for column in bundle.inputs], step=steps.Chain([*chain, last]), width=width)


class Compiler:
    """Compiles parts; `width` is the widest matrix that any of them makes."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.width = 1

    def transformer(self, part: "BaseEstimator") -> Step:
        """The step of one fitted transformer.

        Raises:
            NotCompilableError: there is no compiler for it.
        """
        row = TRANSFORMERS.of(type(part))
        if row is None or not row.compile:
            raise NotCompilableError(f"{type(part).__module__}.{type(part).__name__} has no compiler")
        step: Step = row.part("compile")(self, part)
        widths = [getattr(step, "width", 1), getattr(part, "n_features_in_", 1)]
        self.width = max(self.width, *(int(width) for width in widths if isinstance(width, int)))
        return step


def column_transformer(compiler: Compiler, part: "BaseEstimator") -> Step:
    """Each branch on its columns, beside each other."""
    branches: list[Step] = []
    weights = part.transformer_weights or {}
    for name, fitted, _ in part.transformers_:
        places = scikit.input_places(part, name)
        if (isinstance(fitted, str) and fitted == "drop") or not places:
            continue
        chain: list[Step] = [steps.Select(places)]
        if not isinstance(fitted, str):
            chain.append(compiler.transformer(fitted))
        if weights.get(name) is not None:
            chain.append(steps.Affine(mul=float(weights[name]), label=""))
        branches.append(steps.Chain(chain))
    return _union(branches)


def feature_union(compiler: Compiler, part: "BaseEstimator") -> Step:
    """Each branch on all columns, beside each other."""
    branches: list[Step] = []
    for name, fitted in part.transformer_list:
        if isinstance(fitted, str) and fitted == "drop":
            continue
        chain: list[Step] = [] if isinstance(fitted, str) else [compiler.transformer(fitted)]
        weight = (part.transformer_weights or {}).get(name)
        if weight is not None:
            chain.append(steps.Affine(mul=float(weight), label=""))
        branches.append(steps.Chain(chain))
    return _union(branches)


def _union(branches: list[Step]) -> Step:
    if not branches:
        raise NotCompilableError("a ColumnTransformer or FeatureUnion that keeps no column")
    return branches[0] if len(branches) == 1 else steps.Union(branches)


def pipeline(compiler: Compiler, part: "BaseEstimator") -> Step:
    """One step after the other."""
    return steps.Chain([compiler.transformer(step) for _, step in part.steps if step is not None and step != "passthrough"])


def standard(_: Compiler, part: "BaseEstimator") -> Step:
    """StandardScaler."""
    return steps.Affine(sub=part.mean_ if part.with_mean else None, div=part.scale_ if part.with_std else None, label="StandardScaler")


def min_max(_: Compiler, part: "BaseEstimator") -> Step:
    """MinMaxScaler."""
    low, high = part.feature_range if part.clip else (None, None)
    return steps.Affine(mul=part.scale_, add=part.min_, low=low, high=high, label="MinMaxScaler")


def max_abs(_: Compiler, part: "BaseEstimator") -> Step:
    """MaxAbsScaler."""
    clipped = getattr(part, "clip", False)
    return steps.Affine(div=part.scale_, low=-1.0 if clipped else None, high=1.0 if clipped else None, label="MaxAbsScaler")


def robust(_: Compiler, part: "BaseEstimator") -> Step:
    """RobustScaler."""
    return steps.Affine(
        sub=part.center_ if part.with_centering else None, div=part.scale_ if part.with_scaling else None, label="RobustScaler"
    )


def imputer(_: Compiler, part: "BaseEstimator") -> Step:
    """SimpleImputer."""
    missing = _mark(part.missing_values)
    text = any(isinstance(fill, str) for fill in part.statistics_.tolist())
    fills = [_mark(fill) for fill in part.statistics_.tolist()]
    keep = [
        i for i, fill in enumerate(fills) if part.keep_empty_features or not (fill is None or (isinstance(fill, float) and np.isnan(fill)))
    ]
    indicators = [int(place) for place in part.indicator_.features_] if part.add_indicator else []
    return steps.Fill(fills=fills, keep=keep, missing=missing, indicators=indicators, text=text)


def indicator(_: Compiler, part: "BaseEstimator") -> Step:
    """MissingIndicator."""
    return steps.Indicate(places=[int(place) for place in part.features_], missing=_mark(part.missing_values))


def _mark(value: Any) -> Any:
    """A fill or a missing mark as plain data; pandas.NA and None are both null."""
    if value is None or value is pd.NA:
        return None
    if isinstance(value, str):
        return value
    return float(value)


def one_hot(_: Compiler, part: "BaseEstimator") -> Step:
    """OneHotEncoder."""
    tables, nulls, unknowns = [], [], []
    start = 0
    for place, width in enumerate(scikit.widths(part)):
        outputs = _probe(part, place)[:, start : start + width]
        filled = outputs.any(axis=1)
        columns = np.where(filled, outputs.argmax(axis=1) + start, -1)
        table, null = _table(part.categories_[place], columns.tolist())
        unknown = {"error": -2, "ignore": -1}.get(part.handle_unknown)
        if unknown is None:
            infrequent = part.infrequent_categories_[place] if scikit.groups_infrequent(part) else None
            unknown = -1 if infrequent is None else int(columns[list(part.categories_[place]).index(infrequent[0])])
        tables.append(table)
        nulls.append(unknown if null is None else null)
        unknowns.append(unknown)
        start += width
    return steps.OneHot(tables=tables, nulls=nulls, unknown=unknowns, width=start)


def ordinal(_: Compiler, part: "BaseEstimator") -> Step:
    """OrdinalEncoder."""
    return _looks(part, 1, float(part.unknown_value) if part.handle_unknown == "use_encoded_value" else None)


def target(_: Compiler, part: "BaseEstimator") -> Step:
    """TargetEncoder."""
    if part.target_type_ == "multiclass":
        width = len(part.classes_)
        return _looks(part, width, np.asarray(part.target_mean_, dtype=np.float64))
    return _looks(part, 1, float(part.target_mean_))


def _looks(part: "BaseEstimator", width: int, unknown: Any) -> Step:
    tables, outputs, nulls, unknowns = [], [], [], []
    for place, categories in enumerate(part.categories_):
        values = _probe(part, place)[:, place * width : (place + 1) * width]
        table, null = _table(categories, list(range(len(categories))))
        other = -2 if unknown is None else len(categories)
        if unknown is not None:
            values = np.vstack([values, np.broadcast_to(np.asarray(unknown, dtype=np.float64), (1, width))])
        tables.append(table)
        outputs.append(np.ascontiguousarray(values, dtype=np.float64))
        nulls.append(other if null is None else null)
        unknowns.append(other)
    return steps.Look(tables=tables, outputs=outputs, nulls=nulls, unknown=unknowns)


def _probe(part: "BaseEstimator", place: int) -> np.ndarray:
    """What an encoder itself makes of each category of one column, the other columns held at their first category."""
    categories = part.categories_[place]
    names = getattr(part, "feature_names_in_", None)
    columns = {}
    for index, known in enumerate(part.categories_):
        values = np.asarray(categories) if index == place else np.repeat(np.asarray(known)[:1], len(categories))
        columns[index if names is None else names[index]] = pd.Series(values)
    frame = pd.DataFrame(columns)
    output = part.transform(frame if names is not None else frame.to_numpy())
    if hasattr(output, "toarray"):
        output = output.toarray()
    return np.asarray(output, dtype=np.float64)


def _table(categories: Any, places: list[int]) -> tuple[dict[object, int], int | None]:
    """Category -> place as plain data, and the place of null if it is a category."""
    table: dict[object, int] = {}
    null: int | None = None
    for category, place in zip(np.asarray(categories).tolist(), places, strict=True):
        if category is None or category is pd.NA or (isinstance(category, float) and category != category):  # NaN
            null = int(place)
        elif isinstance(category, str):
            table[category] = int(place)
        elif isinstance(category, bool | int | float) and abs(category) <= 1 << 53:
            table[float(category)] = int(place)
        else:
            raise NotCompilableError(f"a category {category!r} is neither text nor a number that is exact as float64")
    return table, null


def bins(_: Compiler, part: "BaseEstimator") -> Step:
    """KBinsDiscretizer."""
    return steps.Bins(edges=[np.asarray(edges, dtype=np.float64) for edges in part.bin_edges_], one_hot=part.encode != "ordinal")


def support(_: Compiler, part: "BaseEstimator") -> Step:
    """Whatever keeps some columns."""
    allows = bool(part.__sklearn_tags__().input_tags.allow_nan)
    return steps.Take(places=np.flatnonzero(part.get_support()).tolist(), refuse_null=not allows)


def text(_: Compiler, part: "BaseEstimator") -> Step:
    """CountVectorizer and TfidfVectorizer."""
    try:
        return texts.from_vectorizer(part)
    except ValueError as error:
        raise NotCompilableError(str(error)) from error


def hashed(_: Compiler, part: "BaseEstimator") -> Step:
    """HashingVectorizer."""
    try:
        return texts.from_hashing(part)
    except ValueError as error:
        raise NotCompilableError(str(error)) from error


def weighted(_: Compiler, part: "BaseEstimator") -> Step:
    """TfidfTransformer."""
    return texts.Weigh(
        sublinear=bool(part.sublinear_tf), idf=np.asarray(part.idf_, dtype=np.float64) if part.use_idf else None, norm=part.norm
    )


def function(_: Compiler, part: "BaseEstimator") -> Step:
    """FunctionTransformer with a function of numpy's that a plan has."""
    if part.func is None:
        return steps.Chain([])
    name = getattr(part.func, "__name__", "")
    if curves.FUNCTIONS.get(name) is not part.func or part.kw_args or part.validate:
        raise NotCompilableError(f"FunctionTransformer with {part.func!r} has no compiler")
    return curves.Apply(function=name)


def power(_: Compiler, part: "BaseEstimator") -> Step:
    """PowerTransformer."""
    step = curves.Power(lambdas=[float(value) for value in part.lambdas_], method=part.method)
    if not part.standardize:
        return step
    scaler = scikit.power_scaler(part)
    return steps.Chain([step, steps.Affine(sub=scaler.mean_, div=scaler.scale_, label="PowerTransformer")])


def quantile(_: Compiler, part: "BaseEstimator") -> Step:
    """QuantileTransformer."""
    normal = part.output_distribution == "normal"
    return curves.Quantiles(quantiles=np.asarray(part.quantiles_), references=np.asarray(part.references_), normal=normal)


def polynomial(_: Compiler, part: "BaseEstimator") -> Step:
    """PolynomialFeatures."""
    return curves.Polynomial(factors=[[column for column, power in enumerate(row) for _ in range(power)] for row in part.powers_.tolist()])


def splines(_: Compiler, part: "BaseEstimator") -> Step:
    """SplineTransformer."""
    if getattr(part, "handle_missing", "error") != "error":
        raise NotCompilableError(f"SplineTransformer with handle_missing {part.handle_missing!r} has no compiler")
    return curves.Splines(
        knots=[np.asarray(spline.t) for spline in part.bsplines_],
        coefficients=[np.asarray(spline.c) for spline in part.bsplines_],
        degree=int(part.degree),
        extrapolation=part.extrapolation,
        bias=bool(part.include_bias),
    )


def pca(_: Compiler, part: "BaseEstimator") -> Step:
    """PCA and IncrementalPCA."""
    scale = None
    if part.whiten:
        scale = np.sqrt(part.explained_variance_)
        scale[scale < np.finfo(scale.dtype).eps] = np.finfo(scale.dtype).eps
    # As scikit-learn does it: the mean is projected too, and taken away afterwards.
    mean = None if part.mean_ is None else np.asarray(part.mean_ @ part.components_.T)
    return curves.Project(components=np.asarray(part.components_), mean=mean, scale=scale)


def normalizer(_: Compiler, part: "BaseEstimator") -> Step:
    """Normalizer."""
    return curves.Normalize(norm=part.norm)


def binarizer(_: Compiler, part: "BaseEstimator") -> Step:
    """Binarizer."""
    return curves.Threshold(above=float(part.threshold))


def svd(_: Compiler, part: "BaseEstimator") -> Step:
    """TruncatedSVD."""
    return curves.Project(components=np.asarray(part.components_))
