"""How strongly columns tell each other, from a uniform sample of rows: leaks of the label, and proxies of sensitive columns.

One measure for every pair, from 0 (nothing) to 1 (one decides the other): Cramér's V between categories, twice the distance of the area
under the curve from a half between a number and two classes, the correlation ratio between a number and more classes, and Spearman's
rank correlation between numbers; each without the bias that small samples give. The sampling error is about ``1 / sqrt(rows)``.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.statistics.column import family_of, numbers_of
from windtunnel.lifecycle.statistics.counting.values import flat

__all__ = ["association", "associations"]

_FEW = 20
_LARGEST = 1000


def associations(table: pa.Table, columns: list[str], target: pa.Array | str) -> dict[str, float]:
    """The association of each column with a target, the strongest first; columns that say nothing measurable are left out.

    Example:
        >>> table = pa.table({"a": [0, 0, 1, 1] * 50, "b": ["x", "y"] * 100, "t": [False, False, True, True] * 50})
        >>> associations(table, ["a", "b"], "t")
        {'a': 1.0, 'b': 0.0}
    """
    wanted = flat(table.column(target)) if isinstance(target, str) else target
    found = {name: association(flat(table.column(name)), wanted) for name in columns if name != target and name in table.schema.names}
    return dict(sorted(((name, value) for name, value in found.items() if value is not None), key=lambda entry: -entry[1]))


def association(left: pa.Array, right: pa.Array) -> float | None:
    """How strongly two columns tell each other, over rows where both are there; None where it cannot be said."""
    there = pc.and_(left.is_valid(), right.is_valid())
    left, right = left.filter(there), right.filter(there)
    if len(left) < _FEW or family_of(left.type) == "other" or family_of(right.type) == "other":
        return None
    one, two = _codes(left), _codes(right)
    if one is not None and two is not None:
        return _cramers_v(one, two)
    if two is not None:
        return _of_number_and_class(left, two)
    if one is not None:
        return _of_number_and_class(right, one)
    if not (_is_number(left) and _is_number(right)):
        return None
    return abs(_correlation(_ranks(numbers_of(left)), _ranks(numbers_of(right))))


def _of_number_and_class(numbers: pa.Array, codes: np.ndarray) -> float | None:
    if not _is_number(numbers):
        return None
    ranks = _ranks(numbers_of(numbers))
    return _two_classes(ranks, codes) if codes.max() == 1 else _correlation_ratio(ranks, codes)


def _is_number(values: pa.Array) -> bool:
    return family_of(values.type) in {"number", "date", "time"}


def _codes(values: pa.Array) -> np.ndarray | None:
    """Class numbers of a column of classes; None for numbers and for texts that hardly recur."""
    encoded = values.dictionary_encode()
    size = len(encoded.dictionary)
    if size > (_FEW if _is_number(values) else min(_LARGEST, max(len(values) // 5, 2))):
        return None
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False))


def _ranks(numbers: np.ndarray) -> np.ndarray:
    _, back, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    # Equal values share the mean of their ranks, which Spearman's correlation and the area under the curve both ask for.
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2.0)[back])


def _correlation(left: np.ndarray, right: np.ndarray) -> float:
    # corrcoef would divide by zero and answer NaN.
    if left.std() == 0 or right.std() == 0:
        return 0.0
    return float(np.corrcoef(left, right)[0, 1])


def _two_classes(ranks: np.ndarray, codes: np.ndarray) -> float:
    positive = int((codes == 1).sum())
    negative = len(codes) - positive
    area = (ranks[codes == 1].sum() - positive * (positive + 1) / 2) / (positive * negative)
    return float(abs(2 * area - 1))


def _correlation_ratio(ranks: np.ndarray, codes: np.ndarray) -> float:
    counts = np.bincount(codes)
    means = np.bincount(codes, weights=ranks) / np.maximum(counts, 1)
    total = float(((ranks - ranks.mean()) ** 2).sum())
    if total == 0:
        return 0.0
    between = float((counts * (means - ranks.mean()) ** 2).sum())
    # Chance alone gives classes of few rows different means: what it gives on average is taken off, which may leave less than nothing.
    share = 1 - (1 - between / total) * (len(ranks) - 1) / max(len(ranks) - len(counts), 1)
    return float(np.sqrt(max(share, 0.0)))


def _cramers_v(left: np.ndarray, right: np.ndarray) -> float:
    rows, columns = int(left.max()) + 1, int(right.max()) + 1
    if min(rows, columns) < 2:  # a constant tells nothing
        return 0.0
    table = np.bincount(left * columns + right, minlength=rows * columns).reshape(rows, columns).astype(float)
    n = table.sum()
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / n
    # Bergsma's correction: independent columns of many categories would look associated in a small sample.
    phi = max(0.0, float(((table - expected) ** 2 / expected).sum()) / n - (rows - 1) * (columns - 1) / (n - 1))
    width = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1))
    return round(float(min(np.sqrt(phi / max(width - 1, 1e-12)), 1.0)), 12)
