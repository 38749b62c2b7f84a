"""What answers cost: expected cost at a threshold, and the threshold where it is least."""

import dataclasses

import numpy as np

from windtunnel.lifecycle.contract.problem import Costs
from windtunnel.lifecycle.judging.curves import Curve

__all__ = ["CostCurve", "cost_curve", "expected_cost"]


@dataclasses.dataclass(frozen=True)
class CostCurve:
    """Expected cost a row at every threshold.

    Attributes:
        threshold: where it is least: answer yes from this score on (above every score: never).
        cost: the least expected cost a row.
        never: the cost of always answering no.
        always: of always answering yes.
        points: (threshold, cost), for the picture.
    """

    threshold: float
    cost: float
    never: float
    always: float
    points: list[tuple[float, float]]


def expected_cost(confusion: np.ndarray, costs: Costs) -> float:
    """The mean cost of a row, from a 2 x 2 matrix ``[truth, answer]``.

    Example:
        >>> expected_cost(np.array([[8, 1], [1, 0]]), Costs(false_positive=1, false_negative=5))
        0.6
    """
    matrix = np.array([[costs.true_negative, costs.false_positive], [costs.false_negative, costs.true_positive]])
    return float((confusion * matrix).sum() / confusion.sum())


def cost_curve(curve: Curve, costs: Costs) -> CostCurve:
    """The expected cost at every threshold that the scores tell apart."""
    false, true = curve.at_thresholds()
    negatives, positives = float(curve.negatives.sum()), float(curve.positives.sum())
    rows = negatives + positives
    total = (
        costs.false_positive * false
        + costs.true_negative * (negatives - false)
        + costs.true_positive * true
        + costs.false_negative * (positives - true)
    ) / rows
    # No point of the curve says "never yes": that threshold lies above the highest score, so its cost is weighed apart.
    never = (costs.true_negative * negatives + costs.false_negative * positives) / rows
    best = int(total.argmin()) if len(total) else -1
    keep = np.unique(np.linspace(0, len(total) - 1, min(len(total), 200)).round().astype(int)) if len(total) else np.empty(0, dtype=int)
    points = [(float(curve.scores[i]), float(total[i])) for i in keep]
    if best < 0 or never < total[best]:
        return CostCurve(float(np.nextafter(curve.scores[-1], np.inf)) if len(total) else 1.0, never, never, never, points)
    # At the lowest score everything is called yes.
    return CostCurve(float(curve.scores[best]), float(total[best]), never, float(total[0]), points)
