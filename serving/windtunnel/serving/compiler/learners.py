"""The fitted estimator at the end of a pipeline as steps of a plan: trees, linear models, and models made of other models."""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.lifecycle.contract.seams.learners import learner_of
from windtunnel.lifecycle.learning import scikit
from windtunnel.serving.compiler import estimators, steps
from windtunnel.serving.compiler.plan import NotCompilableError, Step

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["estimator", "linear", "trees"]


def estimator(part: "BaseEstimator", task: str) -> Step:
    """The step of a fitted estimator, which gives the score matrix of `windtunnel.lifecycle.model.answers`.

    Raises:
        NotCompilableError: there is no compiler for it.
    """
    learner = learner_of(type(part))
    if learner is not None and learner.compile:
        step: Step = learner.part("compile")(part, task)
        return step
    name = type(part).__name__
    if not type(part).__module__.startswith("sklearn."):
        raise NotCompilableError(f"{type(part).__module__}.{name} has no compiler")
    if name in _TREES:
        return trees(part, task)
    if name in _SINGLE:
        return _single(part, task)
    if name in _LINEAR:
        return linear(part, task)
    compiler = _OTHERS.get(name)
    if compiler is None:
        raise NotCompilableError(f"estimator {name} has no compiler")
    return compiler(part, task)


_TREES = {
    "HistGradientBoostingClassifier",
    "HistGradientBoostingRegressor",
    "RandomForestClassifier",
    "RandomForestRegressor",
    "ExtraTreesClassifier",
    "ExtraTreesRegressor",
    "GradientBoostingClassifier",
    "GradientBoostingRegressor",
    "IsolationForest",
}
_SINGLE = {
    "DecisionTreeClassifier": "RandomForestClassifier",
    "DecisionTreeRegressor": "RandomForestRegressor",
    "ExtraTreeClassifier": "ExtraTreesClassifier",
    "ExtraTreeRegressor": "ExtraTreesRegressor",
}
"""Single trees are forests of one."""

_LINEAR = {
    "LogisticRegression",
    "LogisticRegressionCV",
    "LinearRegression",
    "Ridge",
    "RidgeCV",
    "Lasso",
    "LassoCV",
    "ElasticNet",
    "ElasticNetCV",
    "HuberRegressor",
    "BayesianRidge",
    "LinearSVR",
    "SGDRegressor",
    "SGDClassifier",
    "PoissonRegressor",
    "GammaRegressor",
    "TweedieRegressor",
    "ARDRegression",
    "Lars",
    "LarsCV",
    "LassoLars",
    "LassoLarsCV",
    "LassoLarsIC",
    "OrthogonalMatchingPursuit",
    "QuantileRegressor",
    "TheilSenRegressor",
    "PassiveAggressiveRegressor",
}
_MARGINS = {"LinearSVC", "RidgeClassifier", "RidgeClassifierCV", "SGDClassifier", "Perceptron", "PassiveAggressiveClassifier"}
"""Linear classifiers without probabilities of their own, or used without them: a calibration turns their distances into some."""


def trees(part: "BaseEstimator", task: str) -> estimators.Trees:
    """A tree ensemble, by treelite.

    Raises:
        NotCompilableError: there is no plan that answers as it does.
    """
    import treelite.sklearn

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = treelite.sklearn.import_model(part)
    except Exception as error:  # treelite raises its own kinds for whatever it cannot express
        raise NotCompilableError(f"treelite cannot take {type(part).__name__}: {error}") from error
    name = type(part).__name__
    if name == "IsolationForest" and task != "anomaly":
        raise NotCompilableError("an IsolationForest answers anomaly tasks only")
    pair = name.endswith("Classifier") and len(part.classes_) == 2  # two classes
    null = name.startswith("Hist") or bool(part.__sklearn_tags__().input_tags.allow_nan and _missing_seen(part))
    softmax = "GradientBoosting" in name and name.endswith("Classifier") and not pair
    path = _path_length(part) if name == "IsolationForest" else 0.0
    return estimators.Trees(
        model=bytes(model.serialize_bytes()),
        single=not name.startswith("Hist"),
        null=null,
        pair=pair,
        softmax=softmax,
        path=path,
        infinite=name.startswith("Hist"),
    )


def _path_length(part: "BaseEstimator") -> float:
    """The average path length of an isolation tree over its sample of rows: what scikit-learn measures depths by."""
    count = int(part.max_samples_)
    if count <= 1:
        raise NotCompilableError("an IsolationForest of single rows has no compiler")
    return 1.0 if count == 2 else 2.0 * (np.log(count - 1.0) + np.euler_gamma) - 2.0 * (count - 1.0) / count  # the formula


def _missing_seen(part: "BaseEstimator") -> bool:
    """Whether a forest takes null at prediction: scikit-learn asks its first tree whether training had any."""
    trees = getattr(part, "estimators_", None)
    if trees is None or not len(trees):
        return False
    first = trees[0] if not isinstance(trees[0], np.ndarray) else trees[0][0]
    return scikit.takes_missing(first)


def linear(part: "BaseEstimator", task: str) -> Step:
    """A linear model.

    Raises:
        NotCompilableError: there is no plan that answers as it does.
    """
    coefficients = np.atleast_2d(np.asarray(part.coef_, dtype=np.float64))
    intercept = np.broadcast_to(np.asarray(part.intercept_, dtype=np.float64).ravel(), (len(coefficients),)).copy()
    if task == "regression" and len(coefficients) != 1:
        raise NotCompilableError("a regression with several outputs has no compiler")
    return estimators.Linear(coefficients=coefficients, intercept=intercept, link=_link(part, len(coefficients)))


def _link(part: "BaseEstimator", outputs: int) -> str:
    """How a linear model's sums become its answer."""
    name = type(part).__name__
    if name in {"LogisticRegression", "LogisticRegressionCV"}:
        return "logistic" if outputs == 1 else "softmax"
    if name in {"PoissonRegressor", "GammaRegressor", "TweedieRegressor"}:
        return "exp" if scikit.log_link(part) else "identity"
    if name != "SGDClassifier":
        return "identity"
    if part.loss not in {"log_loss", "modified_huber"}:
        raise NotCompilableError(f"SGDClassifier with loss {part.loss!r} has no probabilities")
    if part.loss == "modified_huber":
        return "huber"
    return "logistic" if outputs == 1 else "each"


def _single(part: "BaseEstimator", task: str) -> Step:
    from sklearn import ensemble

    name = type(part).__name__
    if part.n_outputs_ != 1:
        raise NotCompilableError("a tree with several outputs has no compiler")
    forest = getattr(ensemble, _SINGLE[name])(1)
    forest.estimators_, forest.n_outputs_, forest.n_features_in_ = [part], 1, part.n_features_in_
    if name.endswith("Classifier"):
        forest.classes_, forest.n_classes_ = part.classes_, part.n_classes_
    return trees(forest, task)


def _constant(part: "BaseEstimator", task: str) -> Step:
    """A dummy: what it says of any row."""
    if type(part).__name__ == "DummyClassifier" and part.strategy in {"stratified", "uniform"}:
        raise NotCompilableError(f"a DummyClassifier with strategy {part.strategy!r}, which answers by chance, has no compiler")
    nothing = np.zeros((1, 1))
    values = part.predict(nothing) if task == "regression" else part.predict_proba(nothing)
    return estimators.Constant(values=np.asarray(values, dtype=np.float64).reshape(-1))


def _voting(part: "BaseEstimator", task: str) -> Step:
    if getattr(part, "voting", "soft") != "soft":
        raise NotCompilableError("a VotingClassifier that counts votes has no probabilities")
    return estimators.Mean(members=[_member(member, task) for member in part.estimators_], weights=scikit.member_weights(part))


def _bagging(part: "BaseEstimator", task: str) -> Step:
    members: list[Step] = []
    for member, features in zip(part.estimators_, part.estimators_features_, strict=True):
        if task != "regression" and (not hasattr(member, "predict_proba") or len(member.classes_) != len(part.classes_)):
            raise NotCompilableError("a BaggingClassifier whose members have no probabilities of all classes has no compiler")
        members.append(steps.Chain([steps.Select([int(place) for place in features]), _member(member, task)]))
    return estimators.Mean(members=members, weights=[1.0] * len(members))


def _calibrated(part: "BaseEstimator", task: str) -> Step:
    members: list[Step] = []
    for fitted in part.calibrated_classifiers_:
        if fitted.method not in {"sigmoid", "isotonic"} or len(fitted.classes) != len(part.classes_):
            raise NotCompilableError(f"a CalibratedClassifierCV with method {fitted.method!r} has no compiler")
        margin = _margin(fitted.estimator, task)
        maps = [
            [float(one.a_), float(one.b_)] if fitted.method == "sigmoid" else [one.X_thresholds_.tolist(), one.y_thresholds_.tolist()]
            for one in fitted.calibrators
        ]
        members.append(estimators.Calibrate(margin=margin, method=fitted.method, maps=maps))
    return estimators.Mean(members=members, weights=[1.0] * len(members))


def _margin(part: "BaseEstimator", task: str) -> Step:
    """What a calibration starts from: the distances of a linear model, else probabilities (of the second of two classes)."""
    name = type(part).__name__
    if name in _MARGINS or name in {"LogisticRegression", "LogisticRegressionCV"}:
        return _distances(part)
    if hasattr(part, "decision_function"):
        return _raw(part, task)
    return _member(part, task)


def _distances(part: "BaseEstimator") -> Step:
    coefficients = np.atleast_2d(np.asarray(part.coef_, dtype=np.float64))
    intercept = np.broadcast_to(np.asarray(part.intercept_, dtype=np.float64).ravel(), (len(coefficients),)).copy()
    return estimators.Linear(coefficients=coefficients, intercept=intercept, link="identity")


def _raw(part: "BaseEstimator", task: str) -> Step:
    """The raw sums of boosted trees."""
    if "GradientBoosting" not in type(part).__name__:
        raise NotCompilableError(f"the distances of {type(part).__name__} have no compiler")
    step = trees(part, task)
    return estimators.Trees(model=step.model, single=step.single, null=step.null, pair=False, margin=True, infinite=step.infinite)


def _member(part: "BaseEstimator", task: str) -> Step:
    """A member of another model: an estimator, or a pipeline whose last step is one."""
    if type(part).__name__ == "Pipeline":
        raise NotCompilableError("a pipeline within a model has no compiler")
    return estimator(part, task)


_OTHERS: dict[str, Callable[[Any, str], Step]] = {
    "DummyClassifier": _constant,
    "DummyRegressor": _constant,
    "VotingClassifier": _voting,
    "VotingRegressor": _voting,
    "BaggingClassifier": _bagging,
    "BaggingRegressor": _bagging,
    "CalibratedClassifierCV": _calibrated,
}
