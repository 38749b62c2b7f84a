"""How often each score came with a yes and with a no: all that ranking metrics need, mergeable, and bounded in memory.

Every distinct score is kept, so that metrics are exact, until there are more than `LIMIT` of them; then scores are counted in `BINS`
bins of their logit, and `Scores.auc_error` states what that can cost. Whether that happens depends on the scores alone, not on the order
in which they came or were merged.
"""

import math
from typing import NamedTuple

import numpy as np

__all__ = ["BINS", "LIMIT", "Curve", "Scores", "bin_of"]

LIMIT = 131_072
BINS = 65_536
_REACH = 16.0  # logits: probabilities from 1e-7 to 1 - 1e-7


def bin_of(score: np.ndarray, bins: int, *, probability: bool = True, reach: float = _REACH) -> np.ndarray:
    """The bin of each score: bins of equal width in the logit, so that rare positives are resolved as finely as common ones.

    Scores that are not probabilities (anomaly scores) are first squeezed into (0, 1) by a monotone function.
    """
    if not probability:
        return np.clip(((score / (1.0 + np.abs(score))) + 1.0) * (bins / 2), 0, bins - 1).astype(np.int64)
    low = 1.0 / (1.0 + math.exp(reach))
    # 0 and 1 have no logit.
    held = np.clip(score, low, 1.0 - low)
    logit = np.log(held / (1.0 - held))
    return np.clip((logit + reach) * (bins / (2 * reach)), 0, bins - 1).astype(np.int64)


def _middle(index: np.ndarray, bins: int, *, probability: bool, reach: float = _REACH) -> np.ndarray:
    if not probability:
        squeezed = (index + 0.5) / (bins / 2) - 1.0
        return squeezed / (1.0 - np.abs(squeezed))
    return 1.0 / (1.0 + np.exp(-((index + 0.5) * (2 * reach / bins) - reach)))


class Curve(NamedTuple):
    """Distinct scores, ascending, and how many negatives and positives had each."""

    scores: np.ndarray
    negatives: np.ndarray
    positives: np.ndarray

    @property
    def auc(self) -> float:
        """The area under the ROC curve; NaN with one class only."""
        total_n, total_p = float(self.negatives.sum()), float(self.positives.sum())
        if not total_n or not total_p:
            return math.nan
        # The Mann-Whitney statistic: a pair of equal scores counts half.
        below = np.cumsum(self.negatives) - self.negatives
        return float((self.positives * (below + 0.5 * self.negatives)).sum() / (total_n * total_p))

    @property
    def auc_variance(self) -> float:
        """DeLong's variance of the AUC."""
        total_n, total_p = float(self.negatives.sum()), float(self.positives.sum())
        if total_n < 2 or total_p < 2:  # a variance needs two
            return math.nan
        auc = self.auc
        above = total_p - np.cumsum(self.positives)
        # How much of the other class each score beats: its mean over a class is the AUC, its spread what DeLong sums up.
        of_positive = (np.cumsum(self.negatives) - 0.5 * self.negatives) / total_n
        of_negative = (above + 0.5 * self.positives) / total_p
        spread_p = float((self.positives * (of_positive - auc) ** 2).sum()) / (total_p - 1)
        spread_n = float((self.negatives * (of_negative - auc) ** 2).sum()) / (total_n - 1)
        return spread_p / total_p + spread_n / total_n

    @property
    def average_precision(self) -> float:
        """The area under the precision-recall curve as average precision; NaN without a positive."""
        total = float(self.positives.sum())
        if not total:
            return math.nan
        # From the highest score down, as a threshold falls.
        hits = np.cumsum(self.positives[::-1])
        seen = hits + np.cumsum(self.negatives[::-1])
        precision = np.divide(hits, seen, out=np.zeros(len(hits)), where=seen > 0)
        return float((precision * self.positives[::-1]).sum() / total)

    @property
    def ks(self) -> float:
        """The Kolmogorov-Smirnov distance between the scores of positives and negatives."""
        total_n, total_p = float(self.negatives.sum()), float(self.positives.sum())
        if not total_n or not total_p:
            return math.nan
        return float(np.abs(np.cumsum(self.negatives) / total_n - np.cumsum(self.positives) / total_p).max())

    def at_thresholds(self) -> tuple[np.ndarray, np.ndarray]:
        """False and true positives when everything from each score upwards is called positive."""
        return np.cumsum(self.negatives[::-1])[::-1], np.cumsum(self.positives[::-1])[::-1]

    def thinned(self, points: int = 200) -> list[tuple[float, float, float, float]]:
        """At most so many (threshold, false-positive rate, true-positive rate, precision) points, for pictures."""
        false, true = self.at_thresholds()
        if not len(false):
            return []
        # Of few scores several places round to the same one.
        keep = np.unique(np.linspace(0, len(false) - 1, points).round().astype(int))
        total_n, total_p = max(float(self.negatives.sum()), 1.0), max(float(self.positives.sum()), 1.0)
        return [
            (float(self.scores[i]), float(false[i] / total_n), float(true[i] / total_p), float(true[i] / max(true[i] + false[i], 1)))
            for i in keep
        ]


class Scores:
    """The mergeable count of scores of two classes.

    Attributes:
        values: the distinct scores, ascending, or None once they are counted in bins.
        counts: of each value or bin, negatives and positives.

    Example:
        >>> scores = Scores()
        >>> scores.add(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
        >>> scores.curve().auc
        0.75
    """

    def __init__(self, *, probability: bool = True, limit: int = LIMIT) -> None:
        self.probability = probability
        self.limit = limit
        self.values: np.ndarray | None = np.empty(0)
        self.counts = np.zeros((2, 0), dtype=np.int64)

    @property
    def exact(self) -> bool:
        """Whether every distinct score is still kept."""
        return self.values is not None

    def add(self, truth: np.ndarray, score: np.ndarray) -> None:
        """Count rows: `truth` is 0 or 1."""
        if self.values is None:
            index = bin_of(score, BINS, probability=self.probability) + truth.astype(np.int64) * BINS
            self.counts += np.bincount(index, minlength=2 * BINS).reshape(2, BINS)
            return
        values, place = np.unique(score, return_inverse=True)
        counts = np.bincount(place + truth.astype(np.int64) * len(values), minlength=2 * len(values)).reshape(2, len(values))
        self._join(values, counts)

    def merge(self, other: "Scores") -> None:
        """Take in another count."""
        # Three ways: both exact, one of them in bins already, or both.
        if other.values is not None:
            if self.values is None:
                self.counts += _binned(other.values, other.counts, probability=self.probability)
            else:
                self._join(other.values, other.counts)
            return
        if self.values is not None:
            self.counts = _binned(self.values, self.counts, probability=self.probability)
            self.values = None
        self.counts = self.counts + other.counts

    def curve(self) -> Curve:
        """The curve of all that was counted."""
        if self.values is not None:
            return Curve(self.values, self.counts[0], self.counts[1])
        held = np.flatnonzero(self.counts.sum(axis=0))
        return Curve(_middle(held, BINS, probability=self.probability), self.counts[0, held], self.counts[1, held])

    @property
    def auc_error(self) -> float:
        """By how much the AUC can differ from that of the scores as they were: half the share of pairs that fell into one bin."""
        totals = self.counts.sum(axis=1).astype(float)
        if self.exact or not totals.all():
            return 0.0
        return float((self.counts[0].astype(float) * self.counts[1]).sum() / (2 * totals[0] * totals[1]))

    def _join(self, values: np.ndarray, counts: np.ndarray) -> None:
        assert self.values is not None  # only called while exact
        both, place = np.unique(np.concatenate([self.values, values]), return_inverse=True)
        total = np.zeros((2, len(both)), dtype=np.int64)
        split = len(self.values)
        # The places of one side never repeat, so plain assignment and += reach each cell once.
        total[:, place[:split]] = self.counts
        total[:, place[split:]] += counts
        self.values, self.counts = both, total
        if len(both) > self.limit:
            self.counts = _binned(both, total, probability=self.probability)
            self.values = None


def _binned(values: np.ndarray, counts: np.ndarray, *, probability: bool) -> np.ndarray:
    total = np.zeros((2, BINS), dtype=np.int64)
    if len(values):
        index = bin_of(values, BINS, probability=probability)
        for row in range(2):
            # Not += by index: several scores fall into one bin, and it would count the last of them only.
            np.add.at(total[row], index, counts[row])
    return total
