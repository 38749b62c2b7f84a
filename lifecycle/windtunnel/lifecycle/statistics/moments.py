"""Count, mean and spread of numbers, mergeable without loss of digits."""

import dataclasses
import math
from typing import Any

import numpy as np

__all__ = ["Moments"]


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
                delta = np.float64(other.mean) - np.float64(self.mean)
                crossed = 3 * delta * (n * np.float64(other.m2) - m * np.float64(self.m2)) / total
                self.m3 = float(self.m3 + other.m3 + delta**3 * n * m * (n - m) / total**2 + crossed) if n else other.m3
                self.m2 = float(self.m2 + other.m2 + delta**2 * n * m / total) if n else other.m2
                self.mean = float(self.mean + delta * m / total) if n else other.mean
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
        if self.count < 3 or self.m2 <= 0:  # noqa: PLR2004 - a shape needs three points
            return None
        return (self.m3 / self.count) / (self.m2 / self.count) ** 1.5

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)
