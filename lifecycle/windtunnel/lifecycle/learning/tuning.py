"""Tuning: a search for parameters inside a budget.

The space is the problem's ``model.search``: lists of choices, or ``{low, high, log}`` ranges. A space of choices no larger than the
budget is searched whole (Optuna's grid sampler); any other by TPE (Bergstra et al., NeurIPS 2011) with a fixed seed, in one process, so
that the same search gives the same answer.
"""

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.lifecycle.contract.errors import ConfigurationError, EmptyWindowError
from windtunnel.lifecycle.contract.fingerprint import code_version, fingerprint
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import FeaturesRef, TrialsRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.artifacts import Stage
from windtunnel.lifecycle.learning.estimators import dense_only, estimator, evened, one_thread, weighted
from windtunnel.lifecycle.learning.shards import load_shards
from windtunnel.lifecycle.pages import page
from windtunnel.lifecycle.payload import JsonObject

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["score_of", "tune"]

_HOLDOUT = 0.25


def tune(problem: Problem, features: FeaturesRef, settings: Settings, trials: int | None = None) -> TrialsRef:
    """The best parameters found on the training shards, a quarter of which is held out to compare them.

    Args:
        problem: its ``model.search`` is the space, its ``budget`` the limit in trials and seconds.
        features: the training shards.
        settings: where results are kept.
        trials: a limit that replaces the budget's; 0 means no search.
    """
    limit = problem.budget.trials if trials is None else trials
    space = problem.model.search if limit else {}
    name = fingerprint(
        features.fingerprint, problem.part_fingerprint("model", "task"), space, limit, problem.budget.seconds, code_version()
    )
    stage = Stage(settings, problem.name, "tune", name)
    known = stage.result()
    if known is not None:
        return TrialsRef.from_dict(known)
    history = _search(problem, features, space, limit) if space else []
    metric = _metric(problem)
    best = max(history, key=lambda trial: trial["value"], default=None)
    found = TrialsRef(
        best=best["parameters"] if best else {},
        metric=metric,
        value=best["value"] if best else 0.0,
        trials=len(history),
        fingerprint=name,
    )
    with stage.writing() as folder:
        (folder / "trials.html").write_text(_report(problem, found, history), encoding="utf-8")
        stage.finish(folder, found.to_dict())
    return found


def _search(problem: Problem, features: FeaturesRef, space: JsonObject, limit: int) -> list[JsonObject]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    x, y = load_shards(features.uri, "train")
    if len(y) < 8:  # fewer rows than that cannot be held out from
        raise EmptyWindowError(f"{len(y)} training rows are too few to search on", hint="widen the window, or set trials to 0")
    held = np.random.default_rng(problem.model.seed).random(len(y)) < _HOLDOUT
    x_train, y_train = x[~held], y[~held]
    if problem.task in {"binary", "multiclass"}:
        # The rows that compare keep their own shares of classes: that is what a model will meet.
        x_train, y_train = evened(problem, x_train, y_train)
    choices = {key: values for key, values in space.items() if isinstance(values, list)}
    whole = len(choices) == len(space) and math.prod(len(values) for values in choices.values()) <= limit
    seed = problem.model.seed
    sampler = optuna.samplers.GridSampler(choices, seed=seed) if whole else optuna.samplers.TPESampler(seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    history: list[JsonObject] = []

    def objective(trial: object) -> float:
        parameters = {key: _suggest(trial, key, values) for key, values in space.items()}
        model = estimator(problem, parameters)
        began = time.perf_counter()
        with one_thread():
            model.fit(_dense(x_train, model), y_train, **weighted(problem, model, y_train))
            value = score_of(problem, model, _dense(x[held], model), y[held])
        history.append({"parameters": parameters, "value": value, "seconds": time.perf_counter() - began})
        return value

    # A grid ends the study by itself once it is searched whole.
    study.optimize(objective, n_trials=limit, timeout=problem.budget.seconds)
    return history


def score_of(problem: Problem, model: "BaseEstimator", x: object, y: np.ndarray) -> float:
    """The figure that a search maximises: AUC (binary, anomaly), accuracy (multiclass), minus RMSE (regression)."""
    from sklearn import metrics

    if problem.task == "regression":
        return -float(metrics.root_mean_squared_error(y, model.predict(x)))
    if problem.task == "multiclass":
        return float(metrics.accuracy_score(y, model.predict(x)))
    scores = -model.score_samples(x) if problem.task == "anomaly" else model.predict_proba(x)[:, -1]
    # Held-out rows of one class cannot rank trials: all are worth the same.
    return float(metrics.roc_auc_score(y, scores)) if len(np.unique(y)) > 1 else 0.5


def _metric(problem: Problem) -> str:
    return {"regression": "negative_rmse", "multiclass": "accuracy"}.get(problem.task, "auc")


def _suggest(trial: Any, name: str, values: Any) -> object:
    if isinstance(values, list):
        return trial.suggest_categorical(name, values)
    try:
        low, high = values["low"], values["high"]
    except (TypeError, KeyError) as error:
        raise ConfigurationError(
            f"model.search.{name} must be a list of choices or {{low, high, log}} but got {values!r}", field=f"model.search.{name}"
        ) from error
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=bool(values.get("log", False)))
    return trial.suggest_float(name, float(low), float(high), log=bool(values.get("log", False)))


def _dense(x: object, model: "BaseEstimator") -> Any:
    return x.toarray() if hasattr(x, "toarray") and dense_only(model) else x


def _report(problem: Problem, found: TrialsRef, history: list[JsonObject]) -> str:
    names = sorted({name for trial in history for name in trial["parameters"]})
    rows = [
        [*(trial["parameters"].get(name) for name in names), trial["value"], trial["seconds"]]
        for trial in sorted(history, key=lambda trial: -trial["value"])
    ]
    body = (
        [page.section("Trials, best first", page.table([*names, found.metric, "seconds"], rows))]
        if rows
        else [page.section("No search", "The problem names no search space, or the budget was 0 trials: its own parameters are used.")]
    )
    return page.render(
        f"Search for {problem.title or problem.name}", body, f"{found.trials} trials, held out: {_HOLDOUT:.0%} of the training rows"
    )
