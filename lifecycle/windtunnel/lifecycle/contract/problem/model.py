"""What learns, what that may cost, and what it is compared with and explained by."""

from typing import Annotated, Any, Literal

from pydantic import Field

from windtunnel.lifecycle.contract.problem.parts import DottedName, Part, Registered, Share
from windtunnel.lifecycle.contract.seams.baselines import BASELINES
from windtunnel.lifecycle.contract.seams.learners import LEARNERS
from windtunnel.lifecycle.payload import JsonObject

__all__ = ["Baseline", "Budget", "Explanations", "Model"]


class Model(Part):
    """What learns."""

    family: Annotated[str, Registered(LEARNERS)] = Field(
        "hist_gradient_boosting", description="linear is logistic or ridge regression; isolation_forest is for anomaly"
    )
    estimator: DottedName | None = Field(None, description="module:function(**parameters) that returns a scikit-learn estimator")
    parameters: dict[str, Any] = Field(default_factory=dict, description="of the estimator")
    search: JsonObject = Field(default_factory=dict, description="name: [choices] or {low, high, log}")
    class_balance: Literal["none", "weights", "downsample", "ask"] = Field(
        "none", description="weights: in the loss; downsample: as many rows of each class; ask: a person chooses in Airflow"
    )
    ask_below: Share = Field(0.2, description="class_balance ask: a person is asked when a class has a smaller share than this")
    unanswered: Literal["none", "weights", "downsample"] = Field(
        "none", description="class_balance ask: what is done in backfills, and when nobody answered within approval.timeout_hours"
    )
    seed: int = Field(0, description="of everything random")


class Budget(Part):
    """What a search and a training may cost."""

    trials: int = Field(4, ge=0, description="parameter sets that are tried")
    seconds: int = Field(600, ge=1, description="no trial starts after so many seconds")
    memory_mb: int = Field(2048, ge=64, description="of training; more rows than fit are sampled, and it is said")


class Baseline(Part):
    """The simple model that a candidate is judged beside; short form: the kind alone."""

    kind: Annotated[str, Registered(BASELINES)] | None = Field(
        None, description="classes: prior (default), single_feature, logistic; regression: mean (default), median, previous, linear, ..."
    )
    group: list[str] = Field(default_factory=list, description="previous: whose previous value, such as the shop's")


class Explanations(Part):
    """What is explained beyond importance, partial dependence and what-if."""

    shap: bool = Field(False, description="SHAP values by the library shap, which the extra 'explain' installs")
    rows: int = Field(200, ge=10, le=2000, description="held-out rows that they are computed for")
