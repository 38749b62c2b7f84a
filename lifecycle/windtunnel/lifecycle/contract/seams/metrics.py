"""Metrics by name: which way each is better, and whose it is."""

import dataclasses
from typing import Literal

from windtunnel.lifecycle.contract.seams.registry import Registry, Row, part

__all__ = ["METRICS", "MetricRow", "lower_is_better", "metrics_of"]

Needs = Literal["", "costs", "kpi", "sensitive", "objectives"]

_BINARY, _SCORED, _CLASSES, _NUMBER = ("binary",), ("binary", "anomaly"), ("binary", "multiclass", "anomaly"), ("regression",)
_ALL = ("binary", "multiclass", "regression", "anomaly")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricRow(Row):
    """One figure of an evaluation.

    Attributes:
        tasks: whose figure it is.
        lower: whether less is better.
        needs: a part of the problem without which it is not computed.
        compute: ``function(truth, prediction) -> float``: a package's own, called on a bounded sample of held-out rows as a KPI is; the
            prediction is a class, the truth's kind of number, or the probability of yes.
    """

    tasks: tuple[str, ...]
    lower: bool = False
    needs: Needs = ""
    compute: str = part("")


def _named(names: str, tasks: tuple[str, ...], *, lower: bool = False, needs: Needs = "") -> list[MetricRow]:
    return [MetricRow(name=name, tasks=tasks, lower=lower, needs=needs) for name in names.split()]


def _rows() -> list[MetricRow]:
    rates = ("demographic_parity", "equal_opportunity", "false_positive_rate", "equalized_odds")
    return [
        *_named("auc pr_auc accuracy balanced_accuracy", _CLASSES),
        *_named("ks precision recall specificity f1 mcc false_positive_rate selection_rate prevalence", _SCORED),
        *_named("log_loss brier ece", (*_BINARY, "multiclass"), lower=True),
        *_named("macro_f1 weighted_f1 macro_precision macro_recall", ("multiclass",)),
        *_named("rmse mse mae bias median_ae p90_ae quantile_loss_10 quantile_loss_50 quantile_loss_90", _NUMBER, lower=True),
        *_named("r2 mean_truth", _NUMBER),
        *_named("latency_p50_ms latency_p99_ms size_mb", _ALL, lower=True),
        *_named("kpi", _ALL, needs="kpi"),
        *_named("objective", _ALL, needs="objectives"),
        *_named("expected_cost", _SCORED, lower=True, needs="costs"),
        *_named(" ".join(f"{name}_difference" for name in rates), _SCORED, lower=True, needs="sensitive"),
        *_named(" ".join(f"{name}_ratio" for name in rates), _SCORED, needs="sensitive"),
        *_named("accuracy_difference", _CLASSES, lower=True, needs="sensitive"),
        *_named("accuracy_ratio", _CLASSES, needs="sensitive"),
        *_named("rmse_difference mae_difference bias_difference", _NUMBER, lower=True, needs="sensitive"),
        *_named("worst_group_auc", _SCORED, needs="sensitive"),
        *_named("worst_group_accuracy", _CLASSES, needs="sensitive"),
        *_named("worst_group_precision worst_group_recall worst_group_f1", _SCORED, needs="sensitive"),
        *_named("worst_group_macro_f1", ("multiclass",), needs="sensitive"),
        *_named("worst_group_log_loss", (*_BINARY, "multiclass"), lower=True, needs="sensitive"),
        *_named("worst_group_rmse worst_group_mae", _NUMBER, lower=True, needs="sensitive"),
    ]


METRICS = Registry("metrics", "a metric", MetricRow, _rows())
"""All that an evaluation may hold."""


def lower_is_better(metric: str) -> bool:
    """Whether less of a metric is better; of a name that no row has, more is.

    Example:
        >>> lower_is_better("rmse"), lower_is_better("auc"), lower_is_better("quantile_loss_90")
        (True, False, True)
    """
    row = METRICS.get(metric)
    return row is not None and row.lower


def metrics_of(task: str) -> dict[str, MetricRow]:
    """Name -> row of the metrics of a task.

    Example:
        >>> "auc" in metrics_of("binary"), "auc" in metrics_of("regression")
        (True, False)
    """
    return {row.name: row for row in METRICS if task in row.tasks}
