"""Count, mean and spread of numbers, mergeable without loss of digits."""

import dataclasses
import math
import warnings
from typing import TypeVar

import numpy as np

from windtunnel.lifecycle.payload import JsonObject

__all__ = ["Moments", "TableMoments", "joined"]

Figure = TypeVar("Figure", float, np.ndarray)


def joined(n: Figure, mean: Figure, m2: Figure, other_n: Figure, other_mean: Figure, other_m2: Figure) -> tuple[Figure, Figure]:
    """Mean and summed squared distances of two parts that both have numbers (Chan, Golub and LeVeque).

    Example:
        >>> joined(1.0, 1.0, 0.0, 1.0, 3.0, 0.0)
        (2.0, 2.0)
    """
    total = n + other_n
    delta = other_mean - mean
    return mean + delta * other_n / total, m2 + other_m2 + delta * delta * n * other_n / total


@dataclasses.dataclass
class Moments:
    """Moments of finite numbers, and how many were not finite, zero or negative.

    Attributes:
        count: finite numbers.
        mean: their mean.
        m2: the sum of squared distances from it.
        m3: the sum of cubed distances from it.
        low: the smallest.
        high: the largest.
        zeros: how many are zero.
        negatives: how many are below zero.
        nans: how many are not a number.
        infinites: how many are infinite.
    """

    count: int = 0
    mean: float = 0.0
    m2: float = 0.0
    m3: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    zeros: int = 0
    negatives: int = 0
    nans: int = 0
    infinites: int = 0

    @classmethod
    def of(cls, numbers: np.ndarray, weights: np.ndarray | None = None) -> "Moments":
        """The moments of numbers, each as often as its weight says.

        Example:
            >>> found = Moments.of(np.array([1.0, 2.0]), np.array([3, 1]))
            >>> found.mean, found.variance
            (1.25, 0.25)
        """
        finite = np.isfinite(numbers)
        nans = infinites = 0
        if not finite.all():
            odd = np.isnan(numbers)
            size = np.ones(len(numbers), dtype=np.int64) if weights is None else weights
            nans, infinites = int(size[odd].sum()), int(size[~finite & ~odd].sum())
            numbers, weights = numbers[finite], None if weights is None else weights[finite]
        if not len(numbers):
            return cls(nans=nans, infinites=infinites)
        low, high = float(numbers.min()), float(numbers.max())
        zeros = int(np.count_nonzero(numbers == 0) if weights is None else weights[numbers == 0].sum())
        negatives = 0
        if low < 0:
            negatives = int(np.count_nonzero(numbers < 0) if weights is None else weights[numbers < 0].sum())
        count = len(numbers) if weights is None else int(weights.sum())
        with np.errstate(over="ignore", invalid="ignore"):  # numbers near the end of the range: the spread is then infinite, and said so
            if weights is None:
                mean = float(numbers.mean())
                # In two passes over the batch: squares less the square of the sum would cancel where the mean is large beside the spread.
                distance = numbers - mean
                square = distance * distance
                m2 = float(square.sum())
                np.multiply(square, distance, out=square)  # not np.dot: its threads wait busily for one another
                m3 = float(square.sum())
            else:
                mean = float((numbers * weights).sum(dtype=np.longdouble) / count)
                distance = numbers - mean
                square = distance * distance
                square *= weights
                m2 = float(square.sum())
                square *= distance
                m3 = float(square.sum())
        return cls(count, mean, m2, m3, low, high, zeros, negatives, nans, infinites)

    def merge(self, other: "Moments") -> None:
        """Add another's numbers (Chan, Golub and LeVeque; Pébay for the third moment)."""
        n, m = self.count, other.count
        if m:
            total = n + m
            with np.errstate(over="ignore", invalid="ignore"):
                # As NumPy's floats, which overflow to infinity: Python's own raise an error when they are cubed.
                delta = np.float64(other.mean) - np.float64(self.mean)
                mean, m2 = joined(
                    float(n), np.float64(self.mean), np.float64(self.m2), float(m), np.float64(other.mean), np.float64(other.m2)
                )
                crossed = 3 * delta * (n * np.float64(other.m2) - m * np.float64(self.m2)) / total
                self.m3 = float(self.m3 + other.m3 + delta**3 * n * m * (n - m) / total**2 + crossed) if n else other.m3
                # Merged into nothing, the other's figures stay as they are, to the last digit.
                self.m2, self.mean = (float(m2), float(mean)) if n else (other.m2, other.mean)
            self.count = total
            self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.zeros += other.zeros
        self.negatives += other.negatives
        self.nans += other.nans
        self.infinites += other.infinites

    @property
    def variance(self) -> float | None:
        """The sample's variance (n - 1); None for fewer than two numbers."""
        return self.m2 / (self.count - 1) if self.count > 1 else None

    @property
    def skewness(self) -> float | None:
        """The third standardised moment; None where nothing varies."""
        if self.count < 3 or self.m2 <= 0:  # a shape needs three points
            return None
        return (self.m3 / self.count) / (self.m2 / self.count) ** 1.5

    def to_dict(self) -> JsonObject:
        """Plain data."""
        return dataclasses.asdict(self)


class TableMoments:
    """Of each column of a table at once, NaN left out and infinities not; rows may have weights.

    Attributes:
        rows: rows, NaN included.
        n: how many are not NaN; with weights: their sum.
        mean: their mean.
        m2: their summed squared deviations from it.
        low: the least.
        high: the greatest.
    """

    def __init__(self, rows: int, n: np.ndarray, mean: np.ndarray, m2: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        self.rows, self.n, self.mean, self.m2, self.low, self.high = rows, n, mean, m2, low, high

    @classmethod
    def of(cls, table: np.ndarray, weight: np.ndarray | None = None) -> "TableMoments":
        """The moments of the columns of numbers, each row as often as its weight says.

        Example:
            >>> found = TableMoments.of(np.array([[1.0, np.nan], [3.0, 5.0]]))
            >>> found.n.tolist(), found.mean.tolist(), found.m2.tolist()
            ([2.0, 1.0], [2.0, 5.0], [2.0, 0.0])
        """
        null = np.isnan(table)
        some = bool(null.any())
        w = np.ones(len(table)) if weight is None else weight
        n = w @ ~null if some or weight is not None else np.full(table.shape[1], float(len(table)))
        filled = np.where(null, 0.0, table) if some else table
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (filled.sum(axis=0) if weight is None else w @ filled) / n
            away = table - mean
            if some:
                away[null] = 0.0
            m2 = np.einsum("ij,ij->j", away, away) if weight is None else w @ (away * away)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a column without numbers has no least one
            low, high = np.nanmin(table, axis=0), np.nanmax(table, axis=0)
        return cls(len(table), n, np.where(n > 0, mean, np.nan), np.where(n > 0, m2, 0.0), low, high)

    @property
    def variance(self) -> np.ndarray:
        """The population variance; NaN where there is no value."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.m2 / self.n)

    def merge(self, other: "TableMoments") -> None:
        """Add another's rows."""
        both = (self.n > 0) & (other.n > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean, m2 = joined(self.n, self.mean, self.m2, other.n, other.mean, other.m2)
        self.mean = np.where(both, mean, np.where(self.n > 0, self.mean, other.mean))
        self.m2 = np.where(both, m2, self.m2 + other.m2)
        self.rows, self.n = self.rows + other.rows, self.n + other.n
        # fmin passes over NaN, which stands for a column without any number.
        self.low, self.high = np.fmin(self.low, other.low), np.fmax(self.high, other.high)
