"""What of scikit-learn is only there under private names: nobody else imports or calls one of them.

Fitting over chunks and compiling for prediction must agree with scikit-learn to the last bit, so they use its own parts where it has no
public way to them. A release of scikit-learn that renames one is met here; the bound on scikit-learn in pyproject.toml belongs to it.

Functions import what they need when they are called: a model server that only compiles does not pay for what only fitting needs.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse
    from sklearn.base import BaseEstimator
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import VotingClassifier, VotingRegressor
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer
    from sklearn.linear_model import TweedieRegressor
    from sklearn.pipeline import FeatureUnion, Pipeline
    from sklearn.preprocessing import (
        KBinsDiscretizer,
        OneHotEncoder,
        PowerTransformer,
        QuantileTransformer,
        SplineTransformer,
        TargetEncoder,
    )
    from sklearn.tree import DecisionTreeClassifier

    Table: TypeAlias = np.ndarray | scipy.sparse.spmatrix | pd.DataFrame
    """What a transformer takes and gives."""
    Part: TypeAlias = tuple[str, BaseEstimator | str, object, float | None]
    """A part of a composition: its name, itself or "passthrough", its columns, its weight."""


# Any estimator.


def check_parameters(estimator: "BaseEstimator") -> None:
    """What ``fit`` says first of the values of parameters; nothing where an estimator declares no rules.

    Raises:
        ValueError: a value that scikit-learn does not take.
    """
    if hasattr(estimator, "_parameter_constraints"):
        estimator._validate_params()


def weight_requested(estimator: "BaseEstimator") -> bool:
    """Whether ``set_fit_request(sample_weight=True)`` was said of it."""
    request = getattr(estimator, "_metadata_request", None)
    return request is not None and bool(request.fit.requests.get("sample_weight"))


def in_container(made: "Table", template: "Table", estimator: "BaseEstimator") -> "Table":
    """The answer of a ``transform`` in the container that ``set_output`` asked for, with the index of the template."""
    from sklearn.utils._set_output import _wrap_data_with_container

    return _wrap_data_with_container("transform", made, template, estimator)


def output_container(estimator: "BaseEstimator") -> str:
    """The container that ``set_output`` asked for."""
    from sklearn.utils._set_output import _get_output_config

    return str(_get_output_config("transform", estimator)["dense"])


# Tables.


def take_columns(table: "Table", columns: object) -> "Table":
    """Columns by name, place, slice or mask, as ColumnTransformer picks them."""
    from sklearn.utils import _safe_indexing

    return _safe_indexing(table, columns, axis=1)


def column_places(table: "Table", columns: object) -> list[int]:
    """The places of columns that are named, counted, sliced or masked."""
    from sklearn.utils._indexing import _get_column_indices

    return list(_get_column_indices(table, columns))


def missing_mask(values: np.ndarray, missing: object) -> np.ndarray:
    """Where a value is the one that means missing, NaN too."""
    from sklearn.utils._mask import _get_mask

    return np.asarray(_get_mask(values, missing))


def is_nan(value: object) -> bool:
    """Whether a value of any type is a NaN number."""
    from sklearn.utils._missing import is_scalar_nan

    return bool(is_scalar_nan(value))


def least(values: Sequence[object]) -> object:
    """The least of values of any types: texts before numbers where they do not compare."""
    from sklearn.impute._base import _safe_min

    return _safe_min(values)


def constant_features(variance: np.ndarray, mean: np.ndarray, rows: int | np.ndarray) -> np.ndarray:
    """Columns whose variance is no more than what rounding leaves of a constant."""
    from sklearn.preprocessing._data import _is_constant_feature

    return _is_constant_feature(variance, mean, rows)


def nonzero_scale(scale: np.ndarray, constant: np.ndarray | None = None) -> np.ndarray:
    """The scale with 1 in the place of zeros."""
    from sklearn.preprocessing._data import _handle_zeros_in_scale

    return np.asarray(_handle_zeros_in_scale(scale, copy=False, constant_mask=constant))


# Compositions.


def check_steps(pipeline: "Pipeline") -> None:
    """Refuse what cannot be a step."""
    pipeline._validate_steps()


def begin_columns(transformer: "ColumnTransformer", head: "Table") -> list["Part"]:
    """Resolve the columns of an unfitted ColumnTransformer on a first piece of its input; its parts, without those of no columns."""
    # In the order of ``fit_transform``: callables are resolved before the remainder is what nobody took.
    transformer._validate_transformers()
    transformer._validate_column_callables(head)
    transformer._validate_remainder(head)
    return list(transformer._iter(fitted=False, column_as_labels=False, skip_drop=True, skip_empty_columns=True))


def end_columns(transformer: "ColumnTransformer", parts: Sequence["BaseEstimator"], pieces: Sequence["Table"] | None = None) -> None:
    """Put the fitted parts in, and remember which columns of the output, of which a first piece is given, are whose."""
    # First: the columns of the output are counted along the fitted parts.
    transformer._update_fitted_transformers(list(parts))
    if pieces is not None:
        transformer._validate_output(pieces)
        transformer._record_output_indices(pieces)


def fitted_parts(transformer: "ColumnTransformer") -> list[tuple[str, "BaseEstimator", str | list[str], float | None]]:
    """The parts of a fitted ColumnTransformer with the names of their columns."""
    return list(transformer._iter(fitted=True, column_as_labels=True, skip_drop=True, skip_empty_columns=True))


def input_places(transformer: "ColumnTransformer", name: str) -> list[int]:
    """The places of the columns that a part of a fitted ColumnTransformer takes."""
    return [int(place) for place in transformer._transformer_to_input_indices.get(name, [])]


def begin_union(union: "FeatureUnion") -> list[tuple[str, "BaseEstimator", float | None]]:
    """The parts of an unfitted FeatureUnion, which were checked."""
    union._validate_transformers()
    union._validate_transformer_weights()
    return list(union._iter())


def end_union(union: "FeatureUnion", parts: Sequence["BaseEstimator"]) -> None:
    """Put the fitted parts in."""
    union._update_transformer_list(list(parts))


def side_by_side(fitted: "ColumnTransformer | FeatureUnion", pieces: Sequence["Table"], rows: int) -> "Table":
    """What the parts gave, put together as a composition's own ``transform`` does it, before `in_container`."""
    from sklearn.compose import ColumnTransformer

    return fitted._hstack(pieces, n_samples=rows) if isinstance(fitted, ColumnTransformer) else fitted._hstack(pieces)


# Encoders.


def group_infrequent(encoder: "OneHotEncoder", rows: int, counts: Callable[[], list[np.ndarray]]) -> None:
    """Group a fitted encoder's infrequent categories by the true counts of its categories, which are asked for only where it groups."""
    encoder._check_infrequent_enabled()
    if encoder._infrequent_enabled:
        encoder._fit_infrequent_category_mapping(rows, counts(), getattr(encoder, "_missing_indices", {}))


def groups_infrequent(encoder: "OneHotEncoder") -> bool:
    """Whether a fitted encoder groups infrequent categories."""
    return bool(getattr(encoder, "_infrequent_enabled", False))


def settle_widths(encoder: "OneHotEncoder") -> list[int]:
    """Decide what is dropped once categories are known; how many features each column becomes."""
    # Before the widths, which are the numbers of categories less what is dropped.
    encoder._set_drop_idx()
    encoder._n_features_outs = encoder._compute_n_features_outs()
    return widths(encoder)


def widths(encoder: "OneHotEncoder") -> list[int]:
    """How many features each column of a fitted encoder becomes."""
    return [int(width) for width in encoder._n_features_outs]


def begin_target(encoder: "TargetEncoder", categories: "Table") -> None:
    """Learn the categories alone, without encodings."""
    encoder._fit(categories, handle_unknown="ignore", ensure_all_finite="allow-nan")


def target_places(encoder: "TargetEncoder", table: "Table") -> tuple[np.ndarray, np.ndarray]:
    """The place of each value among the categories of its column, and whether it is known; an unknown one has place 0."""
    places, known = encoder._transform(table, handle_unknown="ignore", ensure_all_finite="allow-nan")
    return places, known


def put_encodings(
    encoder: "TargetEncoder", out: np.ndarray, places: np.ndarray, unknown: np.ndarray, encodings: list[np.ndarray], mean: np.ndarray
) -> None:
    """Write the encodings of all rows of places into ``out``, the mean where a value is unknown."""
    encoder._transform_X_ordinal(out, places, unknown, slice(None), encodings, mean)


# Bins, curves, components.


def bins(estimator: "KBinsDiscretizer", width: int) -> np.ndarray:
    """How many bins each column is to have."""
    return np.asarray(estimator._validate_n_bins(width))


def set_bin_encoder(estimator: "KBinsDiscretizer", encoder: "OneHotEncoder") -> None:
    """The fitted encoder of the numbers of bins."""
    estimator._encoder = encoder


def quantile_input(estimator: "QuantileTransformer", table: "Table") -> "Table":
    """A table as ``fit`` of a QuantileTransformer reads it."""
    return estimator._check_inputs(table, in_fit=True, copy=False)


def power_input(estimator: "PowerTransformer", table: "Table") -> np.ndarray:
    """A table as ``fit`` of a PowerTransformer reads it."""
    return np.asarray(estimator._check_input(table, in_fit=True, check_positive=True))


def power_scaler(estimator: "PowerTransformer") -> "BaseEstimator":
    """The StandardScaler that a fitted PowerTransformer keeps to itself."""
    return estimator._scaler


def set_power_scaler(estimator: "PowerTransformer", scaler: "BaseEstimator") -> None:
    """The fitted scaler of what a PowerTransformer made."""
    estimator._scaler = scaler


@contextlib.contextmanager
def base_knots(estimator: "SplineTransformer", knots: np.ndarray) -> Iterator[None]:
    """Let ``fit`` use these base knots: those of all rows, not of the rows that it is given."""
    estimator._get_base_knot_positions = lambda *_, **__: knots
    try:
        yield
    finally:
        del estimator._get_base_knot_positions  # the class's own method is seen again


def likely_dimension(spectrum: np.ndarray, rows: int) -> int:
    """Minka's choice of how many components there are, from the eigenvalues of the covariance (``n_components="mle"``)."""
    from sklearn.decomposition._pca import _infer_dimension

    return int(_infer_dimension(spectrum, rows))


def set_solver(estimator: "BaseEstimator", solver: str) -> None:
    """The solver that a PCA's ``svd_solver="auto"`` meant."""
    estimator._fit_svd_solver = solver


# Texts.


def check_vectorizer(estimator: "CountVectorizer") -> None:
    """What ``fit`` of a vectorizer checks, in its order."""
    estimator._validate_ngram_range()
    estimator._warn_for_unused_params()
    estimator._validate_vocabulary()


def set_weighting(estimator: "TfidfVectorizer", weighting: "TfidfTransformer") -> None:
    """Check a TfidfVectorizer, and give it its weighting of terms."""
    estimator._check_params()
    estimator._tfidf = weighting


def weighting_of(estimator: "TfidfVectorizer") -> "TfidfTransformer":
    """The weighting of terms that a TfidfVectorizer keeps to itself."""
    return estimator._tfidf


# Learners.


def log_link(model: "TweedieRegressor") -> bool:
    """Whether a generalised linear model's sums are logarithms of its answers."""
    # By its name: the class itself is in one more private module.
    return type(model._base_loss.link).__name__ == "LogLink"


def member_weights(model: "VotingClassifier | VotingRegressor") -> list[float]:
    """The weights of the members that are there, those that were dropped left out."""
    weights = model._weights_not_none
    return [1.0] * len(model.estimators_) if weights is None else [float(weight) for weight in weights]


def takes_missing(tree: "DecisionTreeClassifier") -> bool:
    """Whether a fitted tree knows what to do with NaN."""
    # The table is any: scikit-learn looks only whether it is sparse.
    return bool(getattr(tree, "_support_missing_values", lambda _x: False)(np.array([[np.nan]])))
