"""What learns: scikit-learn estimators by a problem's ``model`` section."""

import contextlib
import importlib
from typing import Any

import numpy as np

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.quality.balance import downsample, sample_weights

__all__ = ["dense_only", "estimator", "evened", "one_thread", "resolve", "weighted"]


def estimator(problem: Problem, parameters: dict[str, Any]) -> Any:
    """A fresh estimator for a problem, with these parameters over the problem's own.

    Raises:
        ConfigurationError: the family does not fit the task, or a parameter is unknown to it.
    """
    from sklearn import ensemble, linear_model

    model = problem.model
    wanted = {"random_state": model.seed, **model.parameters, **parameters}
    regression = problem.task == "regression"
    if model.estimator is not None:
        return resolve(model.estimator, "model.estimator")(**model.parameters, **parameters)
    if (model.family == "isolation_forest") != (problem.task == "anomaly"):
        raise ConfigurationError(
            f"model.family {model.family!r} cannot learn a task of {problem.task!r}",
            hint="isolation_forest is for anomaly and nothing else; hist_gradient_boosting, random_forest and linear are for the others",
        )
    kinds: dict[str, Any] = {
        "hist_gradient_boosting": ensemble.HistGradientBoostingRegressor if regression else ensemble.HistGradientBoostingClassifier,
        "random_forest": ensemble.RandomForestRegressor if regression else ensemble.RandomForestClassifier,
        "linear": linear_model.Ridge if regression else linear_model.LogisticRegression,
        "isolation_forest": ensemble.IsolationForest,
    }
    kind = kinds[model.family]
    if model.class_balance == "weights" and problem.task in {"binary", "multiclass"}:
        wanted.setdefault("class_weight", "balanced")
    if model.family == "linear" and not regression:
        wanted.setdefault("max_iter", 1000)
    known = kind().get_params()
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise ConfigurationError(f"{kind.__name__} has no parameters {unknown}", hint=f"known ones: {', '.join(sorted(known))}")
    return kind(**wanted)


def dense_only(model: Any) -> bool:
    """Whether an estimator refuses sparse input."""
    from sklearn.utils import get_tags

    return not get_tags(model).input_tags.sparse


def evened(problem: Problem, x: Any, y: np.ndarray) -> tuple[Any, np.ndarray]:
    """The rows to learn from: as many of each class where the problem's remedy is ``downsample``, else all."""
    if problem.model.class_balance != "downsample":
        return x, y
    keep = downsample(y, problem.model.seed)
    return x[keep], y[keep]


def weighted(problem: Problem, model: Any, y: np.ndarray) -> dict[str, Any]:
    """What to pass to ``fit`` where the remedy is ``weights`` and the estimator has no ``class_weight`` of its own.

    Raises:
        ConfigurationError: the estimator can be told neither.
    """
    if problem.model.class_balance != "weights" or problem.task not in {"binary", "multiclass"}:
        return {}
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


def resolve(name: str, field: str) -> Any:
    """What ``module:attribute`` names.

    Raises:
        ConfigurationError: there is no such thing; says which field named it.
    """
    module, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"{field} names {name!r}, which cannot be imported: {error}", hint="write module:function") from error
    return found
