"""One-dimensional k-means on distinct values with counts, in the very steps that scikit-learn's KMeans takes on all rows."""

import numpy as np

__all__ = ["centers_of"]

_ROUNDS = 300
_TOLERANCE = 1e-4


def centers_of(values: np.ndarray, counts: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The centres that Lloyd's algorithm ends with, begun at `start`.

    A cluster that runs empty is moved to the single row that is farthest from its centre, as scikit-learn does it.

    Example:
        >>> centers_of(np.array([0.0, 1.0, 9.0]), np.array([1, 1, 2]), np.array([2.0, 8.0])).tolist()
        [0.5, 9.0]
    """
    n = counts.sum()
    mean = np.dot(counts, values) / n
    # About the mean, as scikit-learn's KMeans goes, for the sake of the digits.
    x = values - mean
    limit = _TOLERANCE * (np.dot(counts, x * x) / n - (np.dot(counts, x) / n) ** 2)
    centers = start - mean
    labels = np.full(len(x), -1)
    for _ in range(_ROUNDS):
        # Without the square of x, which is the same for all centres.
        found = np.argmin(centers * centers - 2.0 * x[:, None] * centers, axis=1)
        weight = np.bincount(found, weights=counts, minlength=len(centers))
        total = np.bincount(found, weights=counts * x, minlength=len(centers))
        empty = np.flatnonzero(weight == 0)
        if len(empty):
            _relocate(x, counts, centers, found, weight, total, empty)
        moved = np.where(weight > 0, total / np.where(weight > 0, weight, 1), centers)
        shift = ((moved - centers) ** 2).sum()
        centers = moved
        if np.array_equal(found, labels) or shift <= limit:
            break
        labels = found
    return centers + mean


def _relocate(
    x: np.ndarray, counts: np.ndarray, centers: np.ndarray, labels: np.ndarray, weight: np.ndarray, total: np.ndarray, empty: np.ndarray
) -> None:
    far = np.argsort(-((x - centers[labels]) ** 2), kind="stable")
    # A value's rows move one by one, but never more of them than there are empty clusters.
    rows = np.repeat(far, np.minimum(counts[far], len(empty)))[: len(empty)]
    for cluster, row in zip(empty, rows, strict=False):
        old = labels[row]
        total[old] -= x[row]
        weight[old] -= 1
        total[cluster], weight[cluster] = x[row], 1
