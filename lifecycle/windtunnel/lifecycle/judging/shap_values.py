"""SHAP values of a model's answers by the library shap (the extra ``explain``), added up for each raw column.

Trees and linear models are explained exactly on their own terms (log-odds for classifiers), others by permutations of their features. The
values of all features that one column became, such as the columns of a one-hot encoding, are added up: they are additive.
"""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from windtunnel.lifecycle.contract.errors import UnsupportedError
from windtunnel.lifecycle.model.bundle import Bundle
from windtunnel.lifecycle.payload import JsonObject

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["shap_values"]

_BACKGROUND = 100


def shap_values(bundle: Bundle, pipeline: "BaseEstimator", frame: pd.DataFrame) -> JsonObject:
    """Mean SHAP values of each raw column, the largest first.

    Args:
        bundle: the model's manifest.
        pipeline: a scikit-learn pipeline whose last step is the estimator.
        frame: input rows.

    Returns:
        ``rows``, ``explainer`` (tree, linear or permutation), and ``columns``: ``column``, ``mean_abs``, and ``points``: up to 200 pairs of
        the column's value, where it is a number, and its SHAP value.

    Raises:
        UnsupportedError: the library is not installed, or it cannot explain this model.
    """
    shap = _library()
    if not hasattr(pipeline, "steps") or len(pipeline) < 2:  # features and a model
        raise UnsupportedError("SHAP values need a pipeline of features and a model", hint="end the pipeline with the estimator")
    features, model = pipeline[:-1], pipeline[-1]
    matrix = features.transform(frame)
    matrix = np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=np.float64)
    owners = _owners(features, list(frame.columns), matrix.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind, values = _explained(shap, model, matrix)
    # rows x features, or rows x features x classes
    summed = np.stack([values[:, owners == index].sum(axis=1) for index in range(len(frame.columns))], axis=1)
    if summed.ndim == 3:  # classes: of two, those of yes; of more, how strongly any is moved
        summed = summed[..., -1] if len(bundle.classes) <= 2 else np.abs(summed).mean(axis=2)
    effects = [
        {"column": str(column), "mean_abs": float(np.abs(summed[:, index]).mean()), "points": _points(frame[column], summed[:, index])}
        for index, column in enumerate(frame.columns)
    ]
    return {"rows": len(frame), "explainer": kind, "columns": sorted(effects, key=lambda entry: -entry["mean_abs"])}


def _library() -> Any:
    """The library itself, which imports much and warns of its own dependencies."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import shap
    except ImportError as error:
        raise UnsupportedError(
            "explanations.shap needs the library shap, which is not installed", hint="pip install 'windtunnel[explain]'"
        ) from error
    return shap


def _points(column: pd.Series, effects: np.ndarray) -> list[list[float]]:
    """The first 200 numbers of a column, each with its effect; none of a column of words."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    finite = np.flatnonzero(np.isfinite(numbers))[:200]
    return np.column_stack([numbers[finite], effects[finite]]).tolist()


def _explained(shap: Any, model: "BaseEstimator", matrix: np.ndarray) -> tuple[str, np.ndarray]:
    """How it was explained, and the values."""
    background = matrix[:_BACKGROUND]
    try:
        return "tree", np.asarray(shap.TreeExplainer(model).shap_values(matrix, check_additivity=False))
    except Exception:  # noqa: BLE001, S110 - shap raises what it likes for a model that is no tree; the next one is tried
        pass
    try:
        return "linear", np.asarray(shap.LinearExplainer(model, background).shap_values(matrix))
    except Exception:  # noqa: BLE001, S110 - as above
        pass
    answer = model.predict_proba if hasattr(model, "predict_proba") else getattr(model, "score_samples", model.predict)
    try:
        explainer = shap.PermutationExplainer(answer, background, seed=0)
        # shap refuses fewer evaluations: one walk through the features and back.
        return "permutation", np.asarray(explainer(matrix, max_evals=2 * matrix.shape[1] + 1, silent=True).values)
    except Exception as error:
        raise UnsupportedError(f"shap cannot explain a {type(model).__name__}: {error}") from error


def _owners(features: Any, columns: list[str], width: int) -> np.ndarray:
    """The place of the raw column that each feature came from; -1 where its name does not tell."""
    try:
        names = [str(name) for name in features.get_feature_names_out()]
    except (AttributeError, ValueError, NotImplementedError) as error:
        raise UnsupportedError(f"SHAP values cannot be added up by column: {error}", hint="give the transformer feature names") from error
    # `age_group_x` belongs to age_group, not to age.
    longest = sorted(range(len(columns)), key=lambda index: -len(columns[index]))
    owners = np.full(width, -1)
    for place, name in enumerate(names):
        # ColumnTransformer puts its step's name and two underscores in front.
        bare = name.split("__", 1)[-1]
        for index in longest:
            if bare == columns[index] or bare.startswith(f"{columns[index]}_"):
                owners[place] = index
                break
    return owners
