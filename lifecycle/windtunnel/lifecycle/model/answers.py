"""What a model answers: one definition for training, judging, batch scoring and the model server.

Every task is scored into one float matrix first (`scores`), then shaped into columns (`columns`):

=============  ==========================================  ===========================================================
task           scores, one row each                        columns
=============  ==========================================  ===========================================================
binary         probability of each of two classes          ``prediction`` (class), ``score`` (of the second class)
multiclass     probability of each class                   ``prediction``, ``score`` (of that class), ``probabilities``
regression     the predicted value                         ``prediction`` (float)
anomaly        how unusual, larger is more so              ``prediction`` (class), ``score``
=============  ==========================================  ===========================================================

Classes have names, which are text: tables, metrics and comparisons know them by these. Clients get them as the label's column has them, by
`typed`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.lifecycle.contract.errors import ConfigurationError, UnsupportedError
from windtunnel.lifecycle.payload import JsonMapping

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["PERSON", "columns", "confidence", "one", "scores", "typed"]

PERSON = "person"
"""The decision of a model that is not confident enough to answer by itself."""

_ANOMALY_CLASSES = ("0", "1")


def scores(pipeline: "BaseEstimator", task: str, frame: Any) -> np.ndarray:
    """The answers of a fitted scikit-learn pipeline as a float64 matrix, one row each.

    An anomaly detector's ``score_samples`` is turned round, so that larger means more unusual; a classifier that was trained on
    labelled anomalies gives the probability of the second class.

    Raises:
        UnsupportedError: a classifier without ``predict_proba``, or a model of several outputs.
    """
    if task == "regression":
        return _one_a_row(np.asarray(pipeline.predict(frame), dtype=np.float64), len(frame), "predict")
    if task == "anomaly" and hasattr(pipeline, "score_samples"):
        return _one_a_row(-np.asarray(pipeline.score_samples(frame), dtype=np.float64), len(frame), "score_samples")
    if not hasattr(pipeline, "predict_proba"):
        raise UnsupportedError(
            f"a {task} model must have predict_proba but {type(pipeline).__name__} has not",
            hint="wrap the estimator in sklearn.calibration.CalibratedClassifierCV",
        )
    found = np.asarray(pipeline.predict_proba(frame), dtype=np.float64)
    if found.ndim != _MATRIX or len(found) != len(frame):
        raise UnsupportedError(f"predict_proba gave an array of shape {found.shape} for {len(frame)} rows", hint=_SEVERAL)
    return found[:, -1:] if task == "anomaly" else found


_MATRIX = 2
_SEVERAL = "a model answers one thing: train a model for each output"


def _one_a_row(found: np.ndarray, count: int, method: str) -> np.ndarray:
    """One number a row as a matrix; several would become the answers of other rows.

    Raises:
        UnsupportedError: there are more, or fewer.
    """
    if found.shape not in {(count,), (count, 1)}:
        raise UnsupportedError(f"{method} gave an array of shape {found.shape} for {count} rows", hint=_SEVERAL)
    return found.reshape(-1, 1)


def outputs_of(pipeline: "BaseEstimator") -> int:
    """How many things a fitted pipeline answers for each row, as far as its last step says.

    Example:
        >>> from sklearn.linear_model import Ridge
        >>> outputs_of(Ridge().fit([[0.0], [1.0]], [[0.0, 1.0], [1.0, 2.0]]))
        2
    """
    last = pipeline.steps[-1][1] if hasattr(pipeline, "steps") else pipeline
    several = getattr(last, "n_outputs_", None)
    if isinstance(several, int):
        return several
    classes = getattr(last, "classes_", None)
    if isinstance(classes, list):  # a classifier of several outputs has a list of classes for each
        return len(classes)
    # A classifier has a row of coefficients for each class, a regressor one for each output.
    if classes is None and np.ndim(getattr(last, "coef_", 0.0)) == _MATRIX:
        return int(np.shape(last.coef_)[0])
    return 1


_TRUTH = {"0": False, "1": True, "false": False, "true": True}
_READERS: dict[str, Callable[[str], Any]] = {
    "bool": lambda name: _TRUTH[name.lower()],
    "int32": int,
    "int64": int,
    "float32": float,
    "float64": float,
}


def typed(names: Sequence[str], kind: str) -> list[Any]:
    """Classes as values of the label's type; the names themselves where that is no type of numbers, or is not known.

    Args:
        names: of the classes.
        kind: the type of the label's column in the problem file, as a bundle keeps it.

    Raises:
        ConfigurationError: a name is no value of that type.

    Example:
        >>> typed(["0", "1"], "int64"), typed(["0", "1"], "bool"), typed(["false", "true"], "bool"), typed(["0", "1"], "")
        ([0, 1], [False, True], [False, True], ['0', '1'])
        >>> typed(["-9007199254740993"], "int64")
        [-9007199254740993]
    """
    reader = _READERS.get(kind, str)
    try:
        values = [reader(name) for name in names]
    except (ValueError, KeyError) as error:
        raise ConfigurationError(
            f"classes {list(names)} cannot be labels of type {kind}", hint="was the bundle changed by hand?"
        ) from error
    # Names that become one value stay names: an answer must tell its classes apart.
    return values if len(set(values)) == len(names) else list(names)


def columns(task: str, classes: Sequence[Any], threshold: float, found: np.ndarray) -> dict[str, Any]:
    """The answer columns of a score matrix: lists of classes, as they are passed, and float arrays.

    Example:
        >>> columns("binary", ["on time", "late"], 0.5, np.array([[0.3, 0.7]]))["prediction"]
        ['late']
    """
    if task == "regression":
        return {"prediction": found[:, 0]}
    if task == "multiclass":
        best = found.argmax(axis=1)
        return {
            "prediction": [classes[i] for i in best.tolist()],
            "score": found[np.arange(len(found)), best],
            "probabilities": found,
        }
    score = found[:, -1]
    no, yes = classes if len(classes) == len(_ANOMALY_CLASSES) else _ANOMALY_CLASSES
    return {"prediction": [yes if positive else no for positive in (score >= threshold).tolist()], "score": score}


def one(task: str, classes: Sequence[Any], threshold: float, found: list[float]) -> dict[str, object]:
    """What `columns` says of a single row, given and answered as plain Python values: a server's most frequent case.

    Example:
        >>> one("binary", ["on time", "late"], 0.5, [0.3, 0.7])
        {'prediction': 'late', 'score': 0.7}
    """
    if task == "regression":
        return {"prediction": found[0]}
    if task == "multiclass":
        # index() takes the first of equal ones, as argmax does.
        score = max(found)
        return {"prediction": classes[found.index(score)], "score": score, "probabilities": found}
    score = found[-1]
    names = classes if len(classes) == len(_ANOMALY_CLASSES) else _ANOMALY_CLASSES
    return {"prediction": names[score >= threshold], "score": score}


def confidence(task: str, found: np.ndarray) -> np.ndarray | None:
    """How sure a classifier is: its largest probability; None where the task has none."""
    return found.max(axis=1) if task in {"binary", "multiclass"} else None


def agreement(ours: JsonMapping, theirs: Mapping[str, object], tolerance: float = 1e-9) -> np.ndarray:
    """Which rows two answers, given by column, agree in: numbers within a tolerance, class names exactly.

    Example:
        >>> agreement({"prediction": ["a", "b"]}, {"prediction": ["a", "a"]}).tolist()
        [True, False]
    """
    one, other = np.asarray(ours["prediction"]), np.asarray(theirs["prediction"])
    if one.dtype.kind == "f" and other.dtype.kind == "f":
        return np.asarray(np.abs(one - other) <= tolerance * np.maximum(1.0, np.maximum(np.abs(one), np.abs(other))))
    return one.astype(str) == other.astype(str)


def same(ours: Mapping[str, object], theirs: Mapping[str, object], tolerance: float = 1e-9) -> bool:
    """Whether two answers of one row agree in every field that both have: numbers within a tolerance, the rest exactly."""
    shared = set(ours) & set(theirs)
    return bool(shared) and all(_close(ours[name], theirs[name], tolerance) for name in shared)


def _close(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(_close(a, b, tolerance) for a, b in zip(one, other, strict=True))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= tolerance * max(1.0, abs(one), abs(other))
    return str(one) == str(other)
