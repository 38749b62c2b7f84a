"""Slices: the same metrics for parts of the rows, by the values of a column or of two.

A slicing is declared by the problem (`Problem.slices`, and every sensitive column) or looked for: all feature columns of few values and all
their crossings. A cell holds a few sums, so thousands of cells cost little; declared slicings hold a small histogram of scores as well, for
the AUC. Numbers are cut at the quantiles of a sample first (`Cuts`).
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.judging.curves import Curve, bin_of
from windtunnel.lifecycle.judging.tallies import confusion_figures
from windtunnel.lifecycle.payload import JsonObject

__all__ = ["LIMIT", "Codes", "Cuts", "Slicing", "cell_stats", "declared_slicings", "encode", "searched_slicings", "wilson"]

LIMIT = 2_000
"""Values of a slicing at most: beyond it the slicing is given up, which is reported."""

MISSING = "(missing)"

_HIST = 512
_REACH = 8.0  # logits: a slice's AUC does not need the far tails
_DISTINCT = 30
_PARTS = 5
_Z = 1.959963984540054


_CROSSED = 20
"""Columns that weak spots are looked for in."""


def declared_slicings(problem: Problem) -> tuple[tuple[str, ...], ...]:
    """The slicings that every model is judged by: each sensitive column, and what the problem declares."""
    return tuple(dict.fromkeys([*((column,) for column in problem.sensitive), *map(tuple, problem.slices)]))


def searched_slicings(features: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The slicings in which the candidate's weak spots are looked for: the first 20 features, alone and by twos.

    Example:
        >>> searched_slicings(["age", "sex"])
        (('age',), ('sex',), ('age', 'sex'))
    """
    columns = features[:_CROSSED]
    return (*((column,) for column in columns), *itertools.combinations(columns, 2))


@dataclasses.dataclass(frozen=True)
class Cuts:
    """How a column becomes slices: by its values, or for numbers of many values by parts between edges.

    Attributes:
        column: which.
        edges: inner edges, ascending; empty to slice by value.
    """

    column: str
    edges: tuple[float, ...] = ()

    @classmethod
    def of(cls, column: str, sample: pa.ChunkedArray | pa.Array) -> "Cuts":
        """Cuts at the fifths of a sample's values, if it is a number of more than 30 of them."""
        kind = sample.type.value_type if pa.types.is_dictionary(sample.type) else sample.type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
            return cls(column)
        values = pc.cast(sample, pa.float64()).drop_null().to_numpy()
        values = values[np.isfinite(values)]
        if len(np.unique(values)) <= _DISTINCT:
            return cls(column)
        edges = np.unique(np.quantile(values, [i / _PARTS for i in range(1, _PARTS)], method="nearest"))
        return cls(column, tuple(float(edge) for edge in edges))


@dataclasses.dataclass(frozen=True)
class Codes:
    """A column of a batch as whole numbers and what they stand for."""

    codes: np.ndarray
    values: list[str]


def encode(cuts: Cuts, column: pa.Array | pa.ChunkedArray) -> Codes:
    """A batch's column as codes."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if cuts.edges:
        numbers = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
        codes = np.searchsorted(np.array(cuts.edges), numbers, side="right")
        marks = [f"{edge:g}" for edge in cuts.edges]
        ranges = [f"< {marks[0]}", *(f"{a} to < {b}" for a, b in itertools.pairwise(marks)), f">= {marks[-1]}", MISSING]
        # searchsorted puts NaN behind the last edge, where it would count as the largest value.
        return Codes(np.where(np.isnan(numbers), len(ranges) - 1, codes), ranges)
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    values = [MISSING if value is None else str(value) for value in encoded.dictionary.to_pylist()]
    return Codes(pc.fill_null(encoded.indices, len(values)).to_numpy(zero_copy_only=False).astype(np.int64), [*values, MISSING])


def cell_stats(task: str, truth: np.ndarray, answer: np.ndarray, threshold: float, classes: Sequence[str]) -> np.ndarray:
    """What a slice adds up of each row, as a matrix: columns as `columns_of` names them."""
    ones = np.ones(len(truth))
    if task == "regression":
        error = answer.reshape(len(truth), -1)[:, 0] - truth
        return np.stack([ones, error**2, error**4, error, np.abs(error)], axis=1)
    if task == "multiclass":
        place = {name: index for index, name in enumerate(classes)}
        index = np.array([place.get(str(name), -1) for name in truth.tolist()], dtype=np.int64)
        chosen = np.where(index >= 0, np.clip(answer[np.arange(len(index)), index], 1e-15, 1), 1e-15)
        loss = -np.log(chosen)
        return np.stack([ones, loss, loss**2, (answer.argmax(axis=1) == index).astype(float)], axis=1)
    score, truth = answer.reshape(len(truth), -1)[:, -1], truth.astype(float)
    said = (score >= threshold).astype(float)
    if task == "binary":
        held = np.clip(score, 1e-15, 1 - 1e-15)
        loss = -np.log(np.where(truth == 1, held, 1 - held))
    else:
        loss = (said - truth) ** 2
    return np.stack([ones, loss, loss**2, truth, said, truth * said, score], axis=1)


def wilson(hits: float, rows: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share.

    Example:
        >>> tuple(round(bound, 3) for bound in wilson(8, 10))
        (0.49, 0.943)
    """
    if not rows:
        return math.nan, math.nan
    share, z2 = hits / rows, _Z**2
    middle = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    reach = _Z / (1 + z2 / rows) * math.sqrt(share * (1 - share) / rows + z2 / (4 * rows**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


class Slicing:
    """The mergeable sums of every cell of one column, or of two crossed.

    Args:
        columns: one or two.
        task: says what is summed.
        histogram: whether to keep scores, for the AUC of each cell.
    """

    def __init__(self, columns: Sequence[str], task: str, *, histogram: bool = False) -> None:
        self.columns = tuple(columns)
        self.task = task
        self.histogram = histogram and task in {"binary", "anomaly"}
        self.over = False
        self.place: dict[tuple[str, ...], int] = {}
        self.sums = np.zeros((0, {"regression": 5, "multiclass": 4}.get(task, 7)))
        self.hist = np.zeros((0, 2, _HIST), dtype=np.int32)

    def add(self, codes: Mapping[str, Codes], stats: np.ndarray) -> None:
        """Count the rows of a batch."""
        if self.over:
            return
        cell, names = _cells([codes[column] for column in self.columns])
        # Counting into every possible cell beats sorting, unless there are more cells than rows.
        held, local = np.unique(cell, return_inverse=True) if len(names) > len(cell) else _dense(cell, len(names))
        sums = np.stack([np.bincount(local, stats[:, i], len(held)) for i in range(stats.shape[1])], axis=1)
        hist = None
        if self.histogram:
            index = bin_of(stats[:, 6], _HIST, probability=self.task == "binary", reach=_REACH)
            flat = (local * 2 + stats[:, 3].astype(np.int64)) * _HIST + index
            hist = np.bincount(flat, minlength=len(held) * 2 * _HIST).reshape(len(held), 2, _HIST)
        self._join([names[i] for i in held.tolist()], sums, hist)

    def merge(self, other: "Slicing") -> None:
        """Take in another count."""
        # Who gave up saw too many values, and together there are at least as many: the order of merging does not matter.
        if self.over or other.over:
            self._give_up()
            return
        self._join(list(other.place), other.sums, other.hist if self.histogram else None)

    def cells(self) -> dict[tuple[str, ...], JsonObject]:
        """Each cell's figures, with intervals for some of them under ``NAME_interval``."""
        return {
            key: _figures(self.task, self.sums[row], self.hist[row] if self.histogram else None)
            for key, row in sorted(self.place.items())
            if self.sums[row, 0] > 0
        }

    def _join(self, names: list[tuple[str, ...]], sums: np.ndarray, hist: np.ndarray | None) -> None:
        fresh = [name for name in names if name not in self.place]
        if len(self.place) + len(fresh) > LIMIT:
            self._give_up()
            return
        for name in fresh:
            self.place[name] = len(self.place)
        if fresh:
            self.sums = np.concatenate([self.sums, np.zeros((len(fresh), self.sums.shape[1]))])
            if self.histogram:
                self.hist = np.concatenate([self.hist, np.zeros((len(fresh), 2, _HIST), dtype=np.int32)])
        rows = np.array([self.place[name] for name in names], dtype=np.int64)
        self.sums[rows] += sums
        if hist is not None:
            self.hist[rows] += hist.astype(np.int32)

    def _give_up(self) -> None:
        self.over = True
        self.place = {}
        self.sums, self.hist = self.sums[:0], self.hist[:0]


def _cells(parts: Sequence[Codes]) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    cell = parts[0].codes
    names = [(value,) for value in parts[0].values]
    crossed: list[tuple[str, ...]] = list(names)
    for part in parts[1:]:
        cell = cell * len(part.values) + part.codes
        crossed = [(*name, value) for name in crossed for value in part.values]
    return cell, crossed


def _dense(cell: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    held = np.flatnonzero(np.bincount(cell, minlength=size))
    place = np.zeros(size, dtype=np.int64)
    place[held] = np.arange(len(held))
    return held, place[cell]


def _figures(task: str, sums: np.ndarray, hist: np.ndarray | None) -> JsonObject:
    # A regression's loss is its squared error, so its columns begin with rows, loss, loss squared as well.
    rows, loss, loss2 = sums[:3].tolist()
    mean = loss / rows
    error = math.sqrt(max(loss2 / rows - mean**2, 0) / rows)
    found: JsonObject = {"rows": int(rows), "loss": mean, "loss_error": error}
    if task == "regression":
        found |= {"rmse": math.sqrt(mean), "mse": mean, "bias": sums[3] / rows, "mae": sums[4] / rows}
        found["rmse_interval"] = [math.sqrt(max(mean - _Z * error, 0)), math.sqrt(mean + _Z * error)]
        return found
    if task == "multiclass":
        return found | {
            "log_loss": mean,
            "accuracy": sums[3] / rows,
            "accuracy_interval": list(wilson(sums[3], rows)),
        }
    yes, said, both = sums[3:6].tolist()
    confusion = np.array([[rows - yes - said + both, said - both], [yes - both, both]])
    found |= {"confusion": confusion.tolist(), **confusion_figures(confusion), "mean_score": sums[6] / rows}
    if task == "binary":
        found["log_loss"] = mean
    for name, hits, of in (
        ("accuracy", rows - yes - said + 2 * both, rows),
        ("precision", both, said),
        ("recall", both, yes),
        ("selection_rate", said, rows),
        ("false_positive_rate", said - both, rows - yes),
    ):
        found[f"{name}_interval"] = list(wilson(hits, of))
    if hist is not None:
        # Ranks are all that these figures need, so the bins' numbers do for scores.
        curve = Curve(np.arange(_HIST) / _HIST, hist[0].astype(float), hist[1].astype(float))
        # The variance is NaN with fewer than two rows of a class, and the comparison is then false.
        reach = _Z * math.sqrt(curve.auc_variance) if curve.auc_variance >= 0 else math.nan
        found["auc"] = curve.auc
        found["auc_interval"] = [max(curve.auc - reach, 0.0), min(curve.auc + reach, 1.0)]
        found["pr_auc"] = curve.average_precision
    return found
