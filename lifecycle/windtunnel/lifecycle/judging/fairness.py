"""Fairness between the groups of a sensitive column, by fairlearn's definitions, with intervals.

For a binary task, over groups with enough rows: demographic parity compares how often the answer is yes, equal opportunity how many of the
true yes are found, equalized odds the worse of true and false positive rates. A difference is the largest minus the smallest group's
figure, a ratio the smallest over the largest. Regression compares errors, multiclass compares accuracy.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from windtunnel.lifecycle.contract.seams.metrics import lower_is_better
from windtunnel.lifecycle.payload import JsonMapping, JsonObject

__all__ = ["ENOUGH", "compare_groups", "worst_groups"]

ENOUGH = 30
"""Rows that a group must have: differences between smaller ones are noise."""

_Z = 1.959963984540054
_WORST = ("auc", "accuracy", "precision", "recall", "f1", "log_loss", "rmse", "mae", "macro_f1")


def compare_groups(task: str, groups: Mapping[str, JsonMapping], *, enough: int = ENOUGH) -> JsonObject:
    """The fairness figures of one sensitive column.

    Args:
        task: the problem's.
        groups: value -> figures, as `windtunnel.lifecycle.judging.slices.Slicing.cells` gives them.
        enough: groups of fewer rows are left out, and named.

    Returns:
        ``figures`` (metric -> value), ``intervals`` (metric -> [low, high]), ``left_out`` (groups that are too small).
    """
    held = {name: figures for name, figures in groups.items() if figures["rows"] >= enough}
    left_out = sorted(set(groups) - set(held))
    figures: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    if len(held) > 1 and task in {"binary", "anomaly"}:
        _binary(held, figures, intervals)
    elif len(held) > 1 and task == "multiclass":
        _spread("accuracy", {name: (f["accuracy"], float(f["rows"])) for name, f in held.items()}, figures, intervals)
    elif len(held) > 1:
        _regression(held, figures, intervals)
    return {"figures": figures, "intervals": intervals, "left_out": left_out}


def _binary(groups: Mapping[str, JsonMapping], figures: dict[str, float], intervals: dict[str, list[float]]) -> None:
    """Each rate with the number of rows that it is a share of: all, those that are positive, those that are not."""
    selected = {name: (f["selection_rate"], float(f["rows"])) for name, f in groups.items()}
    recalled = {name: (f["recall"], float(sum(f["confusion"][1]))) for name, f in groups.items()}
    alarmed = {name: (f["false_positive_rate"], float(sum(f["confusion"][0]))) for name, f in groups.items()}
    right = {name: (f["accuracy"], float(f["rows"])) for name, f in groups.items()}
    for metric, rates in (
        ("demographic_parity", selected),
        ("equal_opportunity", recalled),
        ("false_positive_rate", alarmed),
        ("accuracy", right),
    ):
        _spread(metric, rates, figures, intervals)
    _equalized_odds("difference", max, figures, intervals)
    _equalized_odds("ratio", min, figures, intervals)


def _equalized_odds(kind: str, worse: Callable[..., str], figures: dict[str, float], intervals: dict[str, list[float]]) -> None:
    """Equalized odds are as far apart as the worse of equal opportunity and false positive rate."""
    parts = [part for part in (f"equal_opportunity_{kind}", f"false_positive_rate_{kind}") if part in figures]
    if not parts:
        return
    chosen = worse(parts, key=lambda part: figures[part])
    figures[f"equalized_odds_{kind}"] = figures[chosen]
    if chosen in intervals:
        intervals[f"equalized_odds_{kind}"] = intervals[chosen]


def _regression(groups: Mapping[str, JsonMapping], figures: dict[str, float], intervals: dict[str, list[float]]) -> None:
    for metric in ("rmse", "mae", "bias"):
        errors = [(f[metric], _error(metric, f)) for f in groups.values()]
        (low, low_error), (high, high_error) = min(errors), max(errors)
        # Groups share no rows, so the variances of their figures add up.
        reach = _Z * math.hypot(low_error, high_error)
        figures[f"{metric}_difference"] = high - low
        intervals[f"{metric}_difference"] = [max(high - low - reach, 0.0), high - low + reach]


def worst_groups(columns: Sequence[Mapping[str, Mapping[str, Any]]], *, enough: int = ENOUGH) -> dict[str, float]:
    """``worst_group_METRIC``: each metric in the group, of any sensitive column, where it is worst."""
    found: dict[str, float] = {}
    for groups in columns:
        for figures in groups.values():
            if figures["rows"] < enough:
                continue
            for metric in _WORST:
                value = figures.get(metric)
                if value is None or not math.isfinite(value):
                    continue
                name = f"worst_group_{metric}"
                worse = max if lower_is_better(metric) else min
                found[name] = worse(found.get(name, value), value)
    return found


def _error(metric: str, figures: JsonMapping) -> float:
    """The standard error of a group's rmse, mae or bias, from its mean squared error and the error of that."""
    rows, squared = float(figures["rows"]), float(figures["mse"])
    if metric == "rmse":
        # The delta method: the root's error is that of the square over twice the root.
        return float(figures["loss_error"]) / (2 * math.sqrt(squared)) if squared > 0 else 0.0
    # E[x^2] - E[x]^2 is the variance of |error| and of error alike; rounding may take it below 0.
    return math.sqrt(max(squared - float(figures[metric]) ** 2, 0.0) / rows)


def _spread(metric: str, rates: Mapping[str, tuple[float, float]], figures: dict[str, float], intervals: dict[str, list[float]]) -> None:
    known = {name: (rate, rows) for name, (rate, rows) in rates.items() if math.isfinite(rate) and rows}
    if len(known) < 2:  # a difference needs two
        return
    (low, low_rows), (high, high_rows) = min(known.values()), max(known.values())
    figures[f"{metric}_difference"] = high - low
    # Two independent shares, each with the variance p (1 - p) / n.
    reach = _Z * math.sqrt(low * (1 - low) / low_rows + high * (1 - high) / high_rows)
    intervals[f"{metric}_difference"] = [max(high - low - reach, 0.0), min(high - low + reach, 1.0)]
    if high > 0:
        figures[f"{metric}_ratio"] = low / high
    if low > 0:  # by the logarithm of the ratio, of which the error is known
        reach = _Z * math.sqrt((1 - low) / (low * low_rows) + (1 - high) / (high * high_rows))
        intervals[f"{metric}_ratio"] = [low / high * math.exp(-reach), min(low / high * math.exp(reach), 1.0)]
