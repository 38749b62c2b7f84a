"""Whether a split is stratified: training and test rows must have like shares of classes, as a whole and within each sensitive group.

A split by a hash of a key is drawn by chance, one by time is not drawn at all: neither is stratified by construction, so it is checked.
A difference counts only if it is both larger than the limit and beyond chance (a false-discovery rate over all groups).
"""

import dataclasses
from collections.abc import Mapping, Sequence

from windtunnel.lifecycle.payload import JsonObject
from windtunnel.lifecycle.statistics.drift import ALPHA, adjusted, label_shift

__all__ = ["Balance", "stratified", "unbalanced"]

_LEAST = 50  # labelled rows of each split below which shares say nothing

Counts = Mapping[str, Mapping[str, int]]
"""Rows by split and label."""


@dataclasses.dataclass(frozen=True)
class Balance:
    """How alike the splits are, as a whole or in one group.

    Attributes:
        of: ``labels``, the classes among a group's rows; or ``rows``, a group's share of all rows.
        group: such as ``sex=F``; empty for all rows.
        name: the class, or the group, whose share differs most.
        train: its share of the training rows.
        test: its share of the test rows.
        rows: labelled rows of the two splits.
        q_value: how likely chance alone does this, after Benjamini and Hochberg.
        balanced: not both certain and larger than the limit.
    """

    of: str
    group: str
    name: str
    train: float
    test: float
    rows: tuple[int, int]
    q_value: float
    balanced: bool

    def to_dict(self) -> JsonObject:
        """Plain data."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        what = f"class {self.name}" if self.of == "labels" else self.name
        where = f" of {self.group}" if self.group and self.of == "labels" else ""
        return f"{what}{where} is {self.train:.1%} of training rows and {self.test:.1%} of test rows"


def stratified(labels: Counts, groups: Mapping[str, Counts], limit: float, alpha: float = ALPHA) -> list[Balance]:
    """Compare the splits.

    Args:
        labels: of all rows, with the splits ``train`` and ``test``; nothing is said without both.
        groups: of the rows of each value of each sensitive column, named as ``column=value``.
        limit: the largest difference of a share.
        alpha: the false-discovery rate.

    Returns:
        one entry for all rows, and two for each group with enough rows, the largest difference first.

    Example:
        >>> found = stratified({"train": {"0": 800, "1": 200}, "test": {"0": 100, "1": 100}}, {}, limit=0.1)
        >>> str(found[0]), found[0].balanced
        ('class 0 is 80.0% of training rows and 50.0% of test rows', False)
    """
    asked = _comparisons(labels, groups)
    # Chance is judged below, over all comparisons together: with 1.0 only the size of each difference counts here.
    shifts = [label_shift(train, test, limit, alpha=1.0) for _, _, train, test in asked]
    q_values = adjusted([shift["p_value"] for shift in shifts])
    found = []
    for (of, group, train, test), shift, q in zip(asked, shifts, q_values, strict=True):
        shares = shift["shares"]
        name = group if of == "rows" else max(shares, key=lambda key: abs(shares[key][0] - shares[key][1]))
        sizes = (sum(train.values()), sum(test.values()))
        found.append(Balance(of, group, name, shares[name][0], shares[name][1], sizes, q, balanced=not (shift["shifted"] and q <= alpha)))
    return sorted(found, key=lambda entry: (entry.group != "", -abs(entry.train - entry.test)))


def _comparisons(labels: Counts, groups: Mapping[str, Counts]) -> list[tuple[str, str, Mapping[str, int], Mapping[str, int]]]:
    """What is compared, in which group, and the counts of the training and of the test rows; only where rows are enough."""
    rows = [sum(labels.get(split, {}).values()) for split in ("train", "test")]
    if min(rows) < _LEAST:
        return []
    asked: list[tuple[str, str, Mapping[str, int], Mapping[str, int]]] = [("labels", "", labels["train"], labels["test"])]
    for name, counts in groups.items():
        train, test = (counts.get(split, {}) for split in ("train", "test"))
        mine = [sum(part.values()) for part in (train, test)]
        if sum(mine) >= _LEAST:
            left, right = ({name: n, "the others": total - n} for n, total in zip(mine, rows, strict=True))
            asked.append(("rows", name, left, right))
        if min(mine) >= _LEAST:
            asked.append(("labels", name, train, test))
    return asked


def unbalanced(found: Sequence[Balance]) -> list[Balance]:
    """Those that are not."""
    return [entry for entry in found if not entry.balanced]
