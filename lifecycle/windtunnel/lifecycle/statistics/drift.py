"""How far one set of data is from another, from their statistics alone.

A column has drifted when the difference is both certain (its p-value survives Benjamini and Hochberg's false-discovery rate over all
columns) and large (population stability index, or the largest change of a category's share). Either alone is not enough: in a big table
everything differs significantly, in a small one anything can differ a lot by chance.

What a figure leaves out is compared beside it: NaN is missing as null is, infinity has a share of its own, and a column of another kind of
type (numbers that became texts) has drifted whatever its values.
"""

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from windtunnel.lifecycle.payload import JsonObject
from windtunnel.lifecycle.statistics import ColumnStatistics, TableStatistics
from windtunnel.lifecycle.statistics.summary import bin_shares, finite_counts, quantiles

__all__ = ["ALPHA", "ColumnDrift", "adjusted", "answer_drift", "compare", "label_shift"]

ALPHA = 0.05
"""The false-discovery rate over the columns of a comparison."""

_FEW = 20
_CATEGORIES = 1000
_FLOOR = 1e-4
_MISSING = 0.05
_CURVE = 200


@dataclasses.dataclass
class ColumnDrift:
    """How far a column moved from a reference.

    Attributes:
        kind: ``number``, ``category``, or ``text`` for texts of too many different values.
        psi: population stability index: under 0.1 little, over 0.25 much.
        jensen_shannon: Jensen-Shannon divergence in bits, 0 to 1.
        l_infinity: the largest change of a bin's or category's share.
        ks: Kolmogorov and Smirnov's distance (numbers).
        wasserstein: the earth mover's distance in standard deviations of the reference (numbers).
        cramers_v: Cramér's V of category against data set.
        p_value: of the test that suits the kind: Kolmogorov-Smirnov, or chi-square; for text: of its lengths.
        q_value: the p-value after Benjamini and Hochberg.
        missing: the change of the share of nulls and NaN, and its p-value.
        infinite: the same for infinities; empty where there are none.
        types: the type before and now, where they are of different kinds.
        new: categories that the reference lacks, with their share now.
        lost: categories that are gone, with the share they had.
        drifted: certain and large.
        reasons: why, for people.
        approximate: whether sketches were compared: distances are then within their rank error.
    """

    kind: str
    psi: float | None = None
    jensen_shannon: float | None = None
    l_infinity: float | None = None
    ks: float | None = None
    wasserstein: float | None = None
    cramers_v: float | None = None
    p_value: float | None = None
    q_value: float | None = None
    missing: dict[str, float] = dataclasses.field(default_factory=dict)
    infinite: dict[str, float] = dataclasses.field(default_factory=dict)
    types: list[str] = dataclasses.field(default_factory=list)
    new: list[list[Any]] = dataclasses.field(default_factory=list)
    lost: list[list[object]] = dataclasses.field(default_factory=list)
    drifted: bool = False
    reasons: list[str] = dataclasses.field(default_factory=list)
    approximate: bool = False

    def to_dict(self) -> JsonObject:
        """Plain data."""
        return dataclasses.asdict(self)


def compare(
    reference: TableStatistics, current: TableStatistics, *, limit: float = 0.25, alpha: float = ALPHA, ignore: Collection[str] = ()
) -> JsonObject:
    """How far `current` is from `reference`, column by column.

    Args:
        reference: the statistics of what is taken as normal.
        current: the statistics of what is looked at.
        limit: the population stability index from which a difference is large; a category's share may change by 0.4 of it.
        alpha: the false-discovery rate.
        ignore: columns that are measured but never drift, such as dates.

    Returns:
        ``{"rows": [n, m], "columns": {name: ColumnDrift as plain data}, "drifted": [names], "new_columns": [...], "lost_columns": [...]}``.

    Example:
        >>> import pyarrow as pa
        >>> before, after = TableStatistics(), TableStatistics()
        >>> before.add_batch(pa.record_batch({"y": ["a"] * 500 + ["b"] * 500}))
        >>> after.add_batch(pa.record_batch({"y": ["a"] * 700 + ["b"] * 300}))
        >>> compare(before, after)["drifted"], compare(before, before)["drifted"]
        (['y'], [])
    """
    shared = [name for name in reference.columns if name in current.columns]
    found = {name: _column(reference.columns[name], current.columns[name]) for name in shared}
    # Before any column is judged: a q-value depends on how many tests there were in all.
    _adjust(found.values())
    for name, drift in found.items():
        if name not in ignore:
            _judge(drift, limit, alpha)
    return {
        "rows": [reference.rows, current.rows],
        "columns": {name: drift.to_dict() for name, drift in found.items()},
        "drifted": [name for name, drift in found.items() if drift.drifted],
        "new_columns": _only(current, reference),
        "lost_columns": _only(reference, current),
        "limit": limit,
        "alpha": alpha,
    }


def _adjust(drifts: Collection[ColumnDrift]) -> None:
    """The q-values of all tests of a comparison together."""
    shares = [share for drift in drifts for share in (drift.missing, drift.infinite) if share]
    tested = [(drift, drift.p_value) for drift in drifts if drift.p_value is not None]
    q_values = adjusted([p_value for _, p_value in tested] + [share["p_value"] for share in shares])
    # The q-values of the columns come first, those of their missing and infinite shares behind them.
    for (drift, _), q in zip(tested, q_values, strict=False):
        drift.q_value = q
    for share, q in zip(shares, q_values[len(tested) :], strict=True):
        share["q_value"] = q


def label_shift(reference: Mapping[str, int], current: Mapping[str, int], limit: float = 0.1, alpha: float = ALPHA) -> JsonObject:
    """Whether the shares of the classes changed, by more than the limit and more than chance.

    Example:
        >>> label_shift({"0": 500, "1": 500}, {"0": 700, "1": 300})["shifted"]
        True
        >>> label_shift({"0": 500, "1": 500}, {"0": 520, "1": 480})["shifted"]
        False
    """
    classes = sorted({*reference, *current})
    before = np.array([reference.get(name, 0) for name in classes], dtype=float)
    after = np.array([current.get(name, 0) for name in classes], dtype=float)
    if not before.sum() or not after.sum():
        return {"shifted": False, "change": 0.0, "p_value": 1.0, "shares": {}}
    p, q = before / before.sum(), after / after.sum()
    change = float(np.abs(p - q).max())
    p_value, _ = _chi_square(before, after)
    # A change of exactly the limit counts: 0.6 - 0.5 is a little less than 0.1 in binary.
    certain = p_value <= alpha and (change >= limit or math.isclose(change, limit, abs_tol=1e-9))
    shares = {name: [float(a), float(b)] for name, a, b in zip(classes, p, q, strict=True)}
    return {"shifted": bool(certain), "change": change, "p_value": p_value, "limit": limit, "shares": shares}


def answer_drift(reference: Mapping[str, float], current: Mapping[str, float], limit: float = 0.25, alpha: float = 0.001) -> JsonObject:
    """Whether answers moved between classes or ranges, by more than the limit and more than chance.

    Neighbouring ranges are joined until each holds a twentieth of all, so that few answers make no large index.

    Returns:
        ``psi`` (population stability index), ``p_value``, ``drifted``.

    Example:
        >>> answer_drift({"0.10": 500, "0.90": 500}, {"0.10": 900, "0.90": 100})["drifted"]
        True
    """
    names = sorted({*reference, *current})
    whole = sum(reference.values()) + sum(current.values())
    if not sum(reference.values()) or not sum(current.values()):
        return {"psi": 0.0, "p_value": 1.0, "drifted": False}
    bins: list[list[float]] = [[0.0, 0.0]]
    for name in names:
        # Judged by both sets together, so that the bins are the same whichever of them is called the reference.
        if sum(bins[-1]) >= whole / 20:
            bins.append([0.0, 0.0])
        bins[-1][0] += reference.get(name, 0.0)
        bins[-1][1] += current.get(name, 0.0)
    before, after = np.array(bins).T
    psi, (p_value, _) = _psi(before / before.sum(), after / after.sum()), _chi_square(before, after)
    return {"psi": psi, "p_value": p_value, "drifted": bool(p_value <= alpha and psi >= limit)}


def _column(before: ColumnStatistics, after: ColumnStatistics) -> ColumnDrift:
    kind = _kind(before, after)
    drift = ColumnDrift(kind, approximate=not (before.exact and after.exact))
    drift.missing = _share(before, after, _absent(before), _absent(after))
    drift.infinite = _infinite(before, after)
    drift.types = _types(before, after)
    if not before.count or not after.count or kind == "other":
        return drift
    if kind == "number":
        _numbers(drift, before, after)
    # Kolmogorov and Smirnov's p-value is too large where values tie, so numbers of few values are tested as categories too.
    if kind == "category" or (kind == "number" and _few(before, after)):
        _categories(drift, before, after)
    if kind == "text":
        _lengths(drift, before, after)
    return drift


def _kind(before: ColumnStatistics, after: ColumnStatistics) -> str:
    families = {before.family, after.family}
    if "other" in families or len(families) > 1:
        return "other"
    if families <= {"number", "date", "time"}:
        return "number"
    if families == {"bool"} or (_categorical(before) and _categorical(after)):
        return "category"
    return "text"


def _categorical(column: ColumnStatistics) -> bool:
    """Texts that recur; names and sentences that hardly do have no stable shares to compare."""
    return column.exact and (len(column.values) <= _FEW or (len(column.values) <= _CATEGORIES and len(column.values) <= column.count / 5))


def _few(before: ColumnStatistics, after: ColumnStatistics) -> bool:
    return before.exact and after.exact and max(len(before.values), len(after.values)) <= _FEW


def _infinite(before: ColumnStatistics, after: ColumnStatistics) -> dict[str, float]:
    """The change of the share of infinities; nothing where there are none."""
    was, now = (column.measured().infinites if column.family == "number" else 0 for column in (before, after))
    return _share(before, after, was, now) if was or now else {}


def _types(before: ColumnStatistics, after: ColumnStatistics) -> list[str]:
    """Both types, if they are of different kinds; a column without any value has none."""
    void = not before.count or not after.count
    alike = before.family == after.family and (before.family != "other" or before.type == after.type)
    return [] if void or alike else [str(before.type), str(after.type)]


def _absent(column: ColumnStatistics) -> int:
    """Rows without a value: null, or not a number."""
    return column.nulls + (column.measured().nans if column.family == "number" else 0)


def _share(before: ColumnStatistics, after: ColumnStatistics, was_rows: int, now_rows: int) -> dict[str, float]:
    """How the share of some rows changed, and how likely chance alone does that."""
    n, m = max(before.rows, 1), max(after.rows, 1)
    was, now = was_rows / n, now_rows / m
    # The two-proportion z-test: under the null hypothesis both shares are one, estimated from all rows.
    pooled = (was_rows + now_rows) / (n + m)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    p_value = math.erfc(abs(now - was) / spread / math.sqrt(2)) if spread > 0 else 1.0
    return {"before": was, "after": now, "change": now - was, "p_value": p_value}


def _distances(before: ColumnStatistics, after: ColumnStatistics) -> tuple[float, float | None]:
    """The largest difference of the distributions (Kolmogorov-Smirnov), and the area between them (Wasserstein) in standard deviations."""
    points = _points(before, after)
    spans = np.diff(points)
    # Both functions are steps: between two points the gap is the one at the left of them.
    gaps = np.abs(_cdf(before, points) - _cdf(after, points))
    area = float(np.dot(gaps[:-1], spans)) if len(spans) else 0.0
    spread = math.sqrt(before.measured().variance or 0.0)
    unmoved = 0.0 if area == 0 else None  # in a column that had one value a distance has no measure
    return float(gaps.max()) if len(gaps) else 0.0, area / spread if spread > 0 else unmoved


def _only(one: TableStatistics, other: TableStatistics) -> list[str]:
    """The columns of one table that the other lacks."""
    return [name for name in one.columns if name not in other.columns]


def _numbers(drift: ColumnDrift, before: ColumnStatistics, after: ColumnStatistics) -> None:
    deciles = np.unique(quantiles(before, tuple(i / 10 for i in range(11))))
    if not len(deciles) or not (after.measured().count and before.measured().count):
        return
    inner = deciles[1:-1] if len(deciles) > 2 else deciles[:1]  # two edges make one bin
    edges = np.concatenate([[-np.finfo(np.float64).max], inner, [np.finfo(np.float64).max]])
    p, q = bin_shares(before, edges), bin_shares(after, edges)
    drift.psi, drift.jensen_shannon, drift.l_infinity = _psi(p, q), _jensen_shannon(p, q), float(np.abs(p - q).max())
    drift.ks, drift.wasserstein = _distances(before, after)
    n, m = before.measured().count, after.measured().count
    drift.p_value = _kolmogorov(drift.ks * math.sqrt(n * m / (n + m)))


def _points(before: ColumnStatistics, after: ColumnStatistics) -> np.ndarray:
    """Where the two distributions step: every value while exact, a fine grid of quantiles for sketches."""
    ranks = tuple(i / _CURVE for i in range(_CURVE + 1))
    found = [finite_counts(column)[0] if column.exact else np.asarray(quantiles(column, ranks)) for column in (before, after)]
    return np.unique(np.concatenate(found))


def _cdf(column: ColumnStatistics, points: np.ndarray) -> np.ndarray:
    if column.exact:
        numbers, counts = finite_counts(column)
        ends = np.concatenate([[0], np.cumsum(counts)]) / max(int(counts.sum()), 1)
        return ends[np.searchsorted(numbers, points, side="right")]
    return column.quantile.cdf(points) if column.quantile is not None else np.zeros(len(points))


def _categories(drift: ColumnDrift, before: ColumnStatistics, after: ColumnStatistics) -> None:
    was, now = _values_of(before), _values_of(after)
    names = list({**was, **now})
    first = np.array([was.get(name, 0) for name in names], dtype=float)
    second = np.array([now.get(name, 0) for name in names], dtype=float)
    if not first.sum() or not second.sum():
        return
    p, q = first / first.sum(), second / second.sum()
    drift.l_infinity = float(np.abs(p - q).max())
    drift.psi, drift.jensen_shannon = _psi(p, q), _jensen_shannon(p, q)
    p_value, drift.cramers_v = _chi_square(first, second)
    drift.p_value = p_value
    order = np.argsort(-q)
    drift.new = [[_plain(names[i]), float(q[i])] for i in order if names[i] not in was][:20]
    order = np.argsort(-p)
    drift.lost = [[_plain(names[i]), float(p[i])] for i in order if names[i] not in now][:20]


def _values_of(column: ColumnStatistics) -> dict[object, int]:
    """Each value with its number; NaN is no value."""
    counted = zip(column.values.to_pylist(), column.counts.tolist(), strict=True)
    return {value: count for value, count in counted if value == value}  # only NaN differs from itself


def _lengths(drift: ColumnDrift, before: ColumnStatistics, after: ColumnStatistics) -> None:
    """Texts that hardly recur are compared by their lengths (Welch's test, Cohen's d as the size of the effect)."""
    a, b = before.measured(), after.measured()
    spread = math.sqrt(((a.variance or 0.0) + (b.variance or 0.0)) / 2)
    error = math.sqrt((a.variance or 0.0) / max(a.count, 1) + (b.variance or 0.0) / max(b.count, 1))
    difference = b.mean - a.mean
    drift.wasserstein = abs(difference) / spread if spread > 0 else (0.0 if difference == 0 else None)
    drift.p_value = math.erfc(abs(difference) / error / math.sqrt(2)) if error > 0 else (1.0 if difference == 0 else 0.0)


def _judge(drift: ColumnDrift, limit: float, alpha: float) -> None:
    """Say whether a column drifted, and why."""
    if drift.types:
        drift.reasons.append(f"the type was {drift.types[0]} and is {drift.types[1]}")
    if drift.q_value is not None and drift.q_value <= alpha:
        drift.reasons += _large(drift, limit)
    for share, what in ((drift.missing, "nulls"), (drift.infinite, "infinities")):
        if share and share.get("q_value", 1.0) <= alpha and abs(share["change"]) >= max(_MISSING, 0.2 * limit):
            drift.reasons.append(f"the share of {what} changed by {share['change']:+.1%}")
    drift.drifted = bool(drift.reasons)


def _large(drift: ColumnDrift, limit: float) -> list[str]:
    """What of a difference that is certain is large, too."""
    reasons = []
    if drift.psi is not None and drift.psi >= limit:
        reasons.append(f"population stability index {drift.psi:.3g}, limit {limit:.3g}")
    if drift.cramers_v is not None and (drift.l_infinity or 0.0) >= 0.4 * limit:
        reasons.append(f"a category's share changed by {drift.l_infinity:.1%}, limit {0.4 * limit:.1%}")
    if drift.kind == "text" and (drift.wasserstein or 0.0) >= 2 * limit:
        reasons.append(f"texts are {drift.wasserstein:.2g} standard deviations longer or shorter")
    return reasons


def _psi(p: np.ndarray, q: np.ndarray) -> float:
    # A bin that is empty on one side would make the index infinite.
    p, q = np.maximum(p, _FLOOR), np.maximum(q, _FLOOR)
    return float(np.sum((q - p) * np.log(q / p)))


def _jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    middle = (p + q) / 2
    # np.where works both branches out: 0 log 0, which is 0 here, is NaN to NumPy on the way.
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(p > 0, p * np.log2(p / middle), 0.0).sum()
        right = np.where(q > 0, q * np.log2(q / middle), 0.0).sum()
    # Of equal shares rounding may leave a little less than nothing.
    return float(max((left + right) / 2, 0.0))


def _chi_square(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """The p-value of equal shares, rare categories (expected fewer than five) pooled, and Cramér's V without its bias."""
    from scipy.special import chdtrc

    total = first.sum() + second.sum()
    expected = (first + second) * min(first.sum(), second.sum()) / total
    rare = expected < 5  # the usual rule for the test to hold
    table = np.stack([first, second])
    if rare.any():
        table = np.concatenate([table[:, ~rare], table[:, rare].sum(axis=1, keepdims=True)], axis=1)
    table = table[:, table.sum(axis=0) > 0]
    columns = table.shape[1]
    if columns < 2:  # one category cannot differ
        return 1.0, 0.0
    expectation = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / total
    statistic = float(((table - expectation) ** 2 / expectation).sum())
    phi = max(0.0, statistic / total - (columns - 1) / max(total - 1, 1))
    return float(chdtrc(columns - 1, statistic)), math.sqrt(phi)


def _kolmogorov(value: float) -> float:
    from scipy.special import kolmogorov

    return float(kolmogorov(value))


def adjusted(p_values: list[float]) -> list[float]:
    """P-values adjusted after Benjamini and Hochberg: the smallest false-discovery rate at which each would count.

    Example:
        >>> [round(q, 3) for q in adjusted([0.01, 0.04, 0.03])]
        [0.03, 0.04, 0.04]
    """
    if not p_values:
        return []
    values = np.asarray(p_values)
    order = np.argsort(values)
    ranked = values[order] * len(values) / np.arange(1, len(values) + 1)
    # From the largest p-value down: a test must not get a larger q-value than one that is less certain than it.
    q_values = np.minimum.accumulate(ranked[::-1])[::-1]
    found = np.empty_like(values)
    found[order] = np.minimum(q_values, 1.0)
    return [float(value) for value in found]


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool) else str(value)
