"""What learns: scikit-learn estimators by a problem's ``model`` section."""

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.naming import imported, unknown
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.seams.learners import LEARNERS, LearnerRow
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.lifecycle.quality.balance import downsample, sample_weights

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["dense_only", "estimator", "evened", "one_thread", "weighted"]


def estimator(problem: Problem, parameters: dict[str, object]) -> "BaseEstimator":
    """A fresh estimator for a problem, with these parameters over the problem's own.

    Raises:
        ConfigurationError: the family does not fit the task, or a parameter is unknown to it.
    """
    model = problem.model
    if model.estimator is not None:
        return _own_estimator(problem, parameters)
    learner = LEARNERS[model.family]
    if problem.task not in learner.estimators:
        able = [name for name in LEARNERS.names if problem.task in LEARNERS[name].estimators]
        raise ConfigurationError(
            f"model.family {model.family!r} cannot learn a task of {problem.task!r}", hint=f"families that can: {', '.join(able)}"
        )
    kind = learner.estimator(problem.task)
    known = set(kind().get_params())
    defaults = {name: value for name, value in _defaults(problem, learner).items() if name in known}  # not every learner has a seed
    wanted = {**defaults, **model.parameters, **parameters}
    strange = sorted(set(wanted) - known)
    if strange:
        problems = "; ".join(unknown(name, f"a parameter of {kind.__name__}", known) for name in strange)
        raise ConfigurationError(f"model.parameters or model.search: {problems}", parameters=strange)
    return kind(**wanted)


def _defaults(problem: Problem, learner: LearnerRow) -> JsonObject:
    values = {**learner.defaults.get(problem.task, {}), "random_state": problem.model.seed}
    if problem.model.class_balance == "weights" and problem.task in {"binary", "multiclass"}:
        values["class_weight"] = "balanced"
    return values


def _own_estimator(problem: Problem, parameters: dict[str, object]) -> "BaseEstimator":
    name = str(problem.model.estimator)
    make = imported(name, "model.estimator", problem.directory)
    try:
        own = make(**{**problem.model.parameters, **parameters})
    except TypeError as error:
        raise ConfigurationError(
            f"model.estimator {name!r} does not take the parameters of model.parameters and model.search: {error}",
            hint="they are passed by name",
        ) from error
    if not hasattr(own, "fit") or not hasattr(own, "predict"):
        raise ConfigurationError(
            f"model.estimator {name!r} returned a {type(own).__name__}, which is no estimator", hint="it needs fit and predict"
        )
    return own


def dense_only(model: "BaseEstimator") -> bool:
    """Whether an estimator refuses sparse input."""
    from sklearn.utils import get_tags

    return not get_tags(model).input_tags.sparse


def evened(problem: Problem, x: Any, y: np.ndarray) -> tuple[Any, np.ndarray]:
    """The rows to learn from: as many of each class where the problem's remedy is ``downsample``, else all."""
    if problem.model.class_balance != "downsample":
        return x, y
    keep = downsample(y, problem.model.seed)
    return x[keep], y[keep]


def weighted(problem: Problem, model: "BaseEstimator", y: np.ndarray) -> JsonObject:
    """What to pass to ``fit`` where the remedy is ``weights`` and the estimator has no ``class_weight`` of its own.

    Raises:
        ConfigurationError: the estimator can be told neither.
    """
    if problem.model.class_balance != "weights" or problem.task not in {"binary", "multiclass"}:
        return {}
    # It weights classes itself; with weights of rows on top they would count twice.
    if model.get_params(deep=False).get("class_weight") is not None:
        return {}
    from sklearn.utils.validation import has_fit_parameter

    if not has_fit_parameter(model, "sample_weight"):
        raise ConfigurationError(
            f"{type(model).__name__} takes neither class_weight nor sample_weight: its loss cannot be weighted",
            hint="choose downsample in model.class_balance, or an estimator that takes weights",
        )
    return {"sample_weight": sample_weights(y)}


def one_thread() -> contextlib.AbstractContextManager[Any]:
    """Numeric libraries on one thread: Airflow runs tasks side by side, and spinning threads of one starve the others.

    Environment variables would come too late where the libraries were loaded before the task was forked.
    """
    from threadpoolctl import threadpool_limits

    limits: contextlib.AbstractContextManager[Any] = threadpool_limits(limits=1)
    return limits
