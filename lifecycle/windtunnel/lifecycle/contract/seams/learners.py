"""Learners: the families of models that a problem file can name."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from windtunnel.lifecycle.contract.naming import imported
from windtunnel.lifecycle.contract.seams.registry import Registry, Row, part

__all__ = ["LEARNERS", "LearnerRow", "learner_of"]

_COMPILE = "windtunnel.serving.compiler.learners"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnerRow(Row):
    """One family of models.

    Attributes:
        estimators: task -> ``module:Class`` of a scikit-learn estimator; the tasks that are not here it cannot learn.
        defaults: task -> parameters that its estimator has unless the problem says otherwise.
        trusted: types, beyond skops' own defaults, that its fitted objects hold: bundles may hold them then.
        compile: ``function(fitted, task) -> Step`` of a serving plan; without it the estimator itself answers.
    """

    estimators: Mapping[str, str]
    defaults: Mapping[str, Mapping[str, object]] = dataclasses.field(default_factory=dict)
    trusted: tuple[str, ...] = ()
    compile: str = part("")

    @property
    def tasks(self) -> list[str]:
        """What it can learn."""
        return list(self.estimators)

    def estimator(self, task: str) -> Any:
        """Its class of estimator for a task that it can learn.

        Raises:
            ConfigurationError: it cannot be imported.
        """
        return imported(self.estimators[task], f"learner {self.name!r}, task {task},")


def _classes(classifier: str, regressor: str) -> dict[str, str]:
    return {"binary": classifier, "multiclass": classifier, "regression": regressor}


_MANY = {"max_iter": 1000}  # scikit-learn's own 100 steps end too early on columns of unlike scale

LEARNERS = Registry(
    "learners",
    "a learner",
    LearnerRow,
    [
        LearnerRow(
            name="hist_gradient_boosting",
            summary="trees, each mending what the ones before got wrong, on binned columns",
            estimators=_classes("sklearn.ensemble:HistGradientBoostingClassifier", "sklearn.ensemble:HistGradientBoostingRegressor"),
            compile=f"{_COMPILE}:trees",
        ),
        LearnerRow(
            name="random_forest",
            summary="the mean of many trees, each grown on other rows",
            estimators=_classes("sklearn.ensemble:RandomForestClassifier", "sklearn.ensemble:RandomForestRegressor"),
            compile=f"{_COMPILE}:trees",
        ),
        LearnerRow(
            name="linear",
            summary="logistic or ridge regression",
            estimators=_classes("sklearn.linear_model:LogisticRegression", "sklearn.linear_model:Ridge"),
            defaults={"binary": _MANY, "multiclass": _MANY},
            compile=f"{_COMPILE}:linear",
        ),
        LearnerRow(
            name="isolation_forest",
            summary="how few random cuts it takes to single a row out",
            estimators={"anomaly": "sklearn.ensemble:IsolationForest"},
            compile=f"{_COMPILE}:trees",
        ),
    ],
)
"""All families."""


def learner_of(kind: type) -> LearnerRow | None:
    """The family that a class of estimator belongs to, or None; only modules of classes that are called the same are imported."""
    for name in LEARNERS.names:
        row = LEARNERS[name]
        named = [where for where in row.estimators.values() if where.rpartition(":")[2] == kind.__qualname__]
        if any(imported(where) is kind for where in named):
            return row
    return None
