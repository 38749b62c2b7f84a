"""Mergeable tallies of truth beside prediction, one a task, from which every usual metric and its interval follow.

A tally's size does not grow with rows, and merging tallies in any order gives the same. Rows are dealt into `GROUPS` groups; leaving out
one group at a time (the delete-a-group jackknife) gives a standard error for any metric, and, because the groups are the same rows for
every model, for the difference between two models as well.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np

from windtunnel.lifecycle.contract.errors import DataError
from windtunnel.lifecycle.judging.curves import LIMIT, Curve, Scores, bin_of

__all__ = ["GROUPS", "MAIN", "Binary", "Multiclass", "Regression", "Spread", "Tally", "tally"]

GROUPS = 20
_BINS = 2048  # of a group's scores: only for the standard error
_LEAST = 8192  # distinct scores of a class that are kept
_CLASS_BINS = 1024  # of each class's scores against the rest
_CALIBRATION = 20
_Z = 1.959963984540054  # 95 %
_QUANTILES = (0.1, 0.5, 0.9)
_TINY = 1e-15
_ERRORS = 128  # bins of absolute errors, eight to the octave

MAIN = {"binary": "auc", "anomaly": "auc", "multiclass": "macro_f1", "regression": "rmse"}
"""The metric that a task is judged by."""


class Tally(Protocol):
    """What each task's tally can do."""

    rows: int

    def add(self, truth: np.ndarray, answer: np.ndarray, group: np.ndarray) -> None:
        """Count rows: their truth, the model's answer (`windtunnel.lifecycle.model.answers.scores`), and the group of each."""

    def merge(self, other: Self) -> None:
        """Take in another tally."""

    def figures(self, without: int | None = None) -> dict[str, float]:
        """Every metric, of all rows or without one group."""


def tally(task: str, classes: Sequence[str], threshold: float) -> "Binary | Multiclass | Regression":
    """An empty tally for a task."""
    if task == "regression":
        return Regression()
    if task == "multiclass":
        return Multiclass(list(classes))
    return Binary(threshold, probability=task == "binary")


@dataclasses.dataclass(frozen=True)
class Spread:
    """A tally's figures: of all rows, and without each group in turn. Computed once, it answers for every metric.

    Example:
        >>> counted = Regression()
        >>> counted.add(np.arange(40.0), np.arange(40.0) + np.tile([1.0, 3.0], 20), np.arange(40) % GROUPS)
        >>> spread = Spread.of(counted)
        >>> low, high = spread.interval("mae")
        >>> low < spread.figures["mae"] < high
        True
    """

    figures: dict[str, float]
    without: list[dict[str, float]]

    @classmethod
    def of(cls, counted: Tally) -> "Spread":
        """The figures of a tally."""
        return cls(counted.figures(), [counted.figures(group) for group in range(GROUPS)])

    def interval(self, metric: str) -> tuple[float, float]:
        """The 95 % interval of a metric; NaN where there are too few rows for one."""
        return _jackknife(self.figures.get(metric, math.nan), [left.get(metric, math.nan) for left in self.without])

    def difference(self, other: "Spread", metric: str) -> tuple[float, float, float]:
        """How much more of a metric this model has than another on the same rows: difference, and its 95 % interval (paired)."""
        value = self.figures.get(metric, math.nan) - other.figures.get(metric, math.nan)
        pairs = zip(self.without, other.without, strict=True)
        return value, *_jackknife(value, [one.get(metric, math.nan) - two.get(metric, math.nan) for one, two in pairs])


def _jackknife(value: float, without: Sequence[float]) -> tuple[float, float]:
    left = np.array(without)
    left = left[np.isfinite(left)]
    if len(left) < 2 or not math.isfinite(value):  # a spread needs two
        return math.nan, math.nan
    # Any two of these figures share all groups but two, so they vary too little: the factor makes up for it.
    error = math.sqrt((len(left) - 1) / len(left) * float(((left - left.mean()) ** 2).sum()))
    return value - _Z * error, value + _Z * error


class Binary:
    """Yes or no, with a score; anomalies too.

    Args:
        threshold: the score from which the answer is yes.
        probability: whether scores are probabilities; log loss, Brier score and calibration need that.
    """

    def __init__(self, threshold: float = 0.5, *, probability: bool = True) -> None:
        self.threshold, self.probability = threshold, probability
        self.rows = 0
        self.scores = Scores(probability=probability)
        self.hist = np.zeros((GROUPS, 2, _BINS), dtype=np.int64)
        self.confusion = np.zeros((GROUPS, 2, 2), dtype=np.int64)
        self.sums = np.zeros((GROUPS, 2))  # log loss, squared error
        self.calibration = np.zeros((GROUPS, _CALIBRATION, 3))  # rows, sum of scores, positives

    def add(self, truth: np.ndarray, answer: np.ndarray, group: np.ndarray) -> None:
        """Count rows; the last column of `answer` is the score of yes."""
        score = _finite(answer.reshape(len(truth), -1)[:, -1])
        truth = truth.astype(np.int64)
        self.rows += len(truth)
        self.scores.add(truth, score)
        cell = group * 2 + truth
        self.hist += _count(cell * _BINS + bin_of(score, _BINS, probability=self.probability), self.hist.shape)
        self.confusion += _count(cell * 2 + (score >= self.threshold), self.confusion.shape)
        if not self.probability:
            return
        held = np.clip(score, _TINY, 1 - _TINY)
        loss = -np.log(np.where(truth == 1, held, 1 - held))
        self.sums[:, 0] += np.bincount(group, loss, GROUPS)
        self.sums[:, 1] += np.bincount(group, (score - truth) ** 2, GROUPS)
        # A score of exactly 1 belongs into the last bin.
        cell = group * _CALIBRATION + np.minimum((score * _CALIBRATION).astype(np.int64), _CALIBRATION - 1)
        size = GROUPS * _CALIBRATION
        for column, weights in enumerate((None, score, truth)):
            self.calibration[:, :, column] += np.bincount(cell, weights, size).reshape(GROUPS, _CALIBRATION)

    def merge(self, other: "Binary") -> None:
        """Take in another tally."""
        self.rows += other.rows
        self.scores.merge(other.scores)
        for name in ("hist", "confusion", "sums", "calibration"):
            getattr(self, name)[...] += getattr(other, name)

    def figures(self, without: int | None = None) -> dict[str, float]:
        """Every metric."""
        if without is None:
            curve = self.scores.curve()
        else:
            hist = _sum(self.hist, without)
            curve = Curve(np.arange(_BINS) / _BINS, hist[0], hist[1])
        found = confusion_figures(_sum(self.confusion, without))
        found |= {"auc": curve.auc, "pr_auc": curve.average_precision, "ks": curve.ks}
        if self.probability:
            loss, squared = _sum(self.sums, without).tolist()
            rows = max(float(_sum(self.confusion, without).sum()), 1.0)
            calibration = _sum(self.calibration, without)
            found |= {"log_loss": loss / rows, "brier": squared / rows}
            found["ece"] = float(np.abs(calibration[:, 1] - calibration[:, 2]).sum() / rows)
        return found


def confusion_figures(confusion: np.ndarray) -> dict[str, float]:
    """The metrics of a 2 x 2 matrix ``[truth, answer]``; NaN where a denominator is nothing."""
    (tn, fp), (fn, tp) = confusion.astype(float).tolist()
    rows = tn + fp + fn + tp
    precision, recall, specificity = _ratio(tp, tp + fp), _ratio(tp, tp + fn), _ratio(tn, tn + fp)
    return {
        "accuracy": _ratio(tp + tn, rows),
        "balanced_accuracy": (recall + specificity) / 2,
        "precision": precision,
        "recall": recall,
        "specificity": specificity,
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "mcc": _ratio(tp * tn - fp * fn, math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))),
        "false_positive_rate": _ratio(fp, tn + fp),
        "selection_rate": _ratio(tp + fp, rows),
        "prevalence": _ratio(tp + fn, rows),
    }


class Multiclass:
    """One of several classes, with a probability of each.

    Args:
        classes: their names, in the order of the probabilities.
    """

    def __init__(self, classes: list[str]) -> None:
        self.classes = classes
        self.rows = self.unknown = 0
        size = len(classes)
        self.confusion = np.zeros((GROUPS, size, size), dtype=np.int64)
        self.sums = np.zeros((GROUPS, 2))  # log loss, Brier
        self.hist = np.zeros((GROUPS, size, 2, _CLASS_BINS), dtype=np.int64)  # one class against the rest
        self.scores = [Scores(limit=max(_LEAST, LIMIT // max(size, 1))) for _ in classes]
        self.calibration = np.zeros((GROUPS, _CALIBRATION, 3))  # of the answer: rows, sum of its probability, right ones

    def add(self, truth: np.ndarray, answer: np.ndarray, group: np.ndarray) -> None:
        """Count rows; truth is class names, of which those that the model does not know are counted as wrong in `unknown` only."""
        place = {name: index for index, name in enumerate(self.classes)}
        index = np.array([place.get(str(name), -1) for name in truth.tolist()], dtype=np.int64)
        known = index >= 0
        self.unknown += int((~known).sum())
        index, answer, group = index[known], _finite(answer[known]), group[known]
        self.rows += len(index)
        size = len(self.classes)
        self.confusion += _count((group * size + index) * size + answer.argmax(axis=1), self.confusion.shape)
        chosen = np.clip(answer[np.arange(len(index)), index], _TINY, 1)
        target = np.zeros_like(answer)
        target[np.arange(len(index)), index] = 1
        self.sums[:, 0] += np.bincount(group, -np.log(chosen), GROUPS)
        self.sums[:, 1] += np.bincount(group, ((answer - target) ** 2).sum(axis=1), GROUPS)
        for column in range(size):
            cell = (group * 2 + (index == column)) * _CLASS_BINS + bin_of(answer[:, column], _CLASS_BINS)
            self.hist[:, column] += _count(cell, (GROUPS, 2, _CLASS_BINS))
            self.scores[column].add((index == column).astype(np.int64), answer[:, column])
        said = answer.argmax(axis=1)
        sure = np.clip(answer[np.arange(len(index)), said], 0, 1)
        cell = group * _CALIBRATION + np.minimum((sure * _CALIBRATION).astype(np.int64), _CALIBRATION - 1)
        for place_of, weights in enumerate((None, sure, (said == index).astype(float))):
            self.calibration[:, :, place_of] += np.bincount(cell, weights, GROUPS * _CALIBRATION).reshape(GROUPS, _CALIBRATION)

    def merge(self, other: "Multiclass") -> None:
        """Take in another tally."""
        self.rows += other.rows
        self.unknown += other.unknown
        for mine, theirs in zip(self.scores, other.scores, strict=True):
            mine.merge(theirs)
        for name in ("confusion", "sums", "hist", "calibration"):
            getattr(self, name)[...] += getattr(other, name)

    def figures(self, without: int | None = None) -> dict[str, float]:
        """Every metric; AUC and PR-AUC are means over the classes, each against the rest."""
        confusion = _sum(self.confusion, without).astype(float)
        right, truth, said = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
        rows = confusion.sum()
        # As in scikit-learn, a class that neither truth nor answers have does not count.
        there = (truth + said) > 0
        f1 = np.divide(2 * right, truth + said, out=np.zeros(len(right)), where=there)
        recall = np.divide(right, truth, out=np.zeros(len(right)), where=truth > 0)
        precision = np.divide(right, said, out=np.zeros(len(right)), where=said > 0)
        loss, squared = _sum(self.sums, without).tolist()
        figures = {
            "accuracy": _ratio(right.sum(), rows),
            "macro_f1": _mean(f1[there]),
            "weighted_f1": _ratio((f1 * truth).sum(), rows),
            "macro_precision": _mean(precision[there]),
            "macro_recall": _mean(recall[there]),
            "balanced_accuracy": _mean(recall[truth > 0]),
            "log_loss": _ratio(loss, rows),
            "brier": _ratio(squared, rows),
        }
        if without is None:
            curves = [scores.curve() for scores in self.scores]
        else:
            curves = [Curve(np.arange(_CLASS_BINS) / _CLASS_BINS, hist[0], hist[1]) for hist in _sum(self.hist, without)]
        for name, values in (("auc", [c.auc for c in curves]), ("pr_auc", [c.average_precision for c in curves])):
            figures[name] = _mean(np.array([value for value in values if math.isfinite(value)]))
        calibration = _sum(self.calibration, without)
        figures["ece"] = _ratio(float(np.abs(calibration[:, 1] - calibration[:, 2]).sum()), rows)
        return figures


class Regression:
    """A number. Means and squared deviations are merged by Chan's formula, so that large values do not cancel."""

    _NAMES = ("error", "absolute", "squared", "truth", *(f"quantile_loss_{round(q * 100)}" for q in _QUANTILES))

    def __init__(self) -> None:
        self.rows = 0
        self.count: np.ndarray = np.zeros(GROUPS)
        self.mean: np.ndarray = np.zeros((GROUPS, len(self._NAMES)))
        self.spread: np.ndarray = np.zeros(GROUPS)  # of the truth: sum of squared deviations from the group's mean
        self.errors: np.ndarray = np.zeros((GROUPS, _ERRORS), dtype=np.int64)

    def add(self, truth: np.ndarray, answer: np.ndarray, group: np.ndarray) -> None:
        """Count rows."""
        predicted, truth = _finite(answer.reshape(len(truth), -1)[:, 0]), truth.astype(np.float64)
        error = predicted - truth
        # Pinball loss; the error is predicted less true, so the signs are turned round.
        losses = [np.maximum(-q * error, (1 - q) * error) for q in _QUANTILES]
        columns = (error, np.abs(error), error**2, truth, *losses)
        other = Regression()
        other.rows = len(truth)
        other.count = np.bincount(group, minlength=GROUPS).astype(float)
        some = np.maximum(other.count, 1)
        other.mean = np.stack([np.bincount(group, column, GROUPS) / some for column in columns], axis=1)
        other.spread = np.bincount(group, (truth - other.mean[group, 3]) ** 2, GROUPS)
        place = np.clip(np.round(8 * np.log2(np.maximum(np.abs(error), 2.0**-8))) + 64, 0, _ERRORS - 1).astype(np.int64)
        other.errors = _count(group * _ERRORS + place, self.errors.shape)
        self.merge(other)

    def merge(self, other: "Regression") -> None:
        """Take in another tally."""
        total = self.count + other.count
        share = np.divide(other.count, total, out=np.zeros(GROUPS), where=total > 0)
        gap = other.mean - self.mean
        self.spread = self.spread + other.spread + gap[:, 3] ** 2 * self.count * share
        self.mean = self.mean + gap * share[:, None]
        self.count, self.rows = total, self.rows + other.rows
        self.errors = self.errors + other.errors

    def figures(self, without: int | None = None) -> dict[str, float]:
        """Every metric."""
        held = np.arange(GROUPS) != (-1 if without is None else without)
        rows = float(self.count[held].sum())
        if not rows:
            return dict.fromkeys(("rmse", "mae", "r2"), math.nan)
        mean = (self.mean[held] * self.count[held, None]).sum(axis=0) / rows
        spread = float(self.spread[held].sum() + (self.count[held] * (self.mean[held, 3] - mean[3]) ** 2).sum())
        found = dict(zip(self._NAMES, mean.tolist(), strict=True))
        errors = np.cumsum(self.errors[held].sum(axis=0))
        median, ninth = (float(2.0 ** ((np.searchsorted(errors, share * rows) - 64) / 8)) for share in (0.5, 0.9))
        return {
            "rmse": math.sqrt(found["squared"]),
            "mse": found["squared"],
            "mae": found["absolute"],
            "r2": 1 - found["squared"] * rows / spread if spread > 0 else math.nan,
            "bias": found["error"],
            "median_ae": median,
            "p90_ae": ninth,
            "mean_truth": found["truth"],
            **{name: value for name, value in found.items() if name.startswith("quantile_loss")},
        }

    def against(self, constant: float) -> dict[str, float]:
        """What always answering `constant` would have been worth on these rows."""
        rows = float(self.count.sum())
        if not rows:
            return {}
        mean = float((self.mean[:, 3] * self.count).sum() / rows)
        spread = float(self.spread.sum() + (self.count * (self.mean[:, 3] - mean) ** 2).sum())
        squared = spread / rows + (mean - constant) ** 2
        return {
            "rmse": math.sqrt(squared),
            "mse": squared,
            "r2": 1 - squared * rows / spread if spread else math.nan,
            "bias": constant - mean,
        }


def _finite(answer: np.ndarray) -> np.ndarray:
    if not np.isfinite(answer).all():
        raise DataError(
            f"the model answered {int((~np.isfinite(answer)).sum())} of {answer.size} values with NaN or infinity",
            hint="look at the rows with missing values: the pipeline should impute them",
        )
    return answer


def _sum(array: np.ndarray, without: int | None) -> np.ndarray:
    total = array.sum(axis=0)
    return total if without is None else total - array[without]


def _count(cells: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.bincount(cells, minlength=math.prod(shape)).reshape(shape)


def _mean(values: np.ndarray) -> float:
    """The mean; NaN of nothing."""
    return float(values.mean()) if len(values) else math.nan


def _ratio(top: float, bottom: float) -> float:
    return float(top) / float(bottom) if bottom else math.nan
