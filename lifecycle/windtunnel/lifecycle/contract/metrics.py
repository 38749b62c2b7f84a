"""Metrics by name: which way each is better."""

__all__ = ["LOWER", "lower_is_better"]

LOWER = frozenset({"rmse", "mae", "mse", "log_loss", "brier", "ece", "bias", "median_ae", "p90_ae", "expected_cost", "size_mb"})
"""Metrics of which less is better, beside those that `lower_is_better` knows by the end of their name."""


def lower_is_better(metric: str) -> bool:
    """Whether less of a metric is better.

    Example:
        >>> lower_is_better("rmse"), lower_is_better("auc"), lower_is_better("quantile_loss_90")
        (True, False, True)
    """
    name = metric.removeprefix("worst_group_")
    return name in LOWER or name.startswith(("quantile_loss_", "latency_")) or name.endswith(("_difference", "_rate_gap"))
