"""Baselines: the simple models that a candidate is judged beside."""

import dataclasses

from windtunnel.lifecycle.contract.seams.registry import Registry, Row, part

__all__ = ["BASELINES", "BaselineRow", "default_baseline"]

_CLASSES = ("binary", "multiclass")
_HERE = "windtunnel.lifecycle.judging.baselines"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaselineRow(Row):
    """One kind of baseline.

    Attributes:
        tasks: what it can stand in for.
        fit: ``function(problem, bundle, rows, label) -> BaselineRow`` of `windtunnel.lifecycle.judging.baselines`, on a bounded sample of
            training rows; empty for the two that need none: ``prior`` follows from counts, ``previous`` from the means of days.
    """

    tasks: tuple[str, ...]
    fit: str = part("")


BASELINES = Registry(
    "baselines",
    "a baseline",
    BaselineRow,
    [
        BaselineRow(name="prior", summary="the share of each class among the training rows", tasks=(*_CLASSES, "anomaly")),
        BaselineRow(
            name="single_feature",
            summary="the mean label of the row's cell of the one column that tells most alone",
            tasks=(*_CLASSES, "regression"),
            fit=f"{_HERE}:fit_single_feature",
        ),
        BaselineRow(name="logistic", summary="logistic regression on all columns", tasks=_CLASSES, fit=f"{_HERE}:fit_linear"),
        BaselineRow(name="mean", summary="always the training rows' mean", tasks=("regression",), fit=f"{_HERE}:fit_mean"),
        BaselineRow(name="median", summary="always the training rows' median", tasks=("regression",), fit=f"{_HERE}:fit_median"),
        BaselineRow(name="previous", summary="the mean label of the newest earlier day on which one was known", tasks=("regression",)),
        BaselineRow(name="linear", summary="ridge regression on all columns", tasks=("regression",), fit=f"{_HERE}:fit_linear"),
    ],
)
"""All kinds."""


def default_baseline(task: str) -> str:
    """The kind that a problem has which names none.

    Example:
        >>> default_baseline("binary"), default_baseline("regression")
        ('prior', 'mean')
    """
    return "mean" if task == "regression" else "prior"
