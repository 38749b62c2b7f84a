"""Simple baselines: what a candidate has to be better than to be worth its trouble.

================== ============================ ==========================================================================
kind               tasks                        answers
================== ============================ ==========================================================================
``prior``          classes                      the share of each class among the training rows
``single_feature`` classes, regression          the mean label of the row's cell of the one column that tells most alone
``logistic``       classes                      logistic regression on all columns
``mean, median``   regression                   always the same number
``previous``       regression                   the mean label of the newest earlier day on which one was known (of the same group)
``linear``         regression                   ridge regression on all columns
================== ============================ ==========================================================================

They are fitted on a bounded sample of training rows, or for ``previous`` on the days' means, and scored in the same pass as the models.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.contract.errors import DataError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.seams.baselines import BASELINES, default_baseline
from windtunnel.lifecycle.data.frames import to_frame
from windtunnel.lifecycle.data.rows import DAY
from windtunnel.lifecycle.judging.slices import Cuts, encode
from windtunnel.lifecycle.model import answers
from windtunnel.lifecycle.model.bundle import Bundle

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = [
    "CLOSED",
    "Baseline",
    "DayMeans",
    "fit",
    "fit_linear",
    "fit_mean",
    "fit_median",
    "fit_single_feature",
    "kind_of",
]

CLOSED = "prior"
"""The kind that needs no scoring: its figures follow from counts."""

_CELLS = 20
_SMOOTH = 20.0  # rows of the overall share that each cell is mixed with, so that a rare value says little
_DAY_BITS = 21  # days since 1970 take fewer


class Baseline(Protocol):
    """Scores rows as a model does; small, and able to travel to workers."""

    @property
    def what(self) -> str:
        """What it does, in words."""

    def scores(self, rows: pa.RecordBatch) -> np.ndarray:
        """Answers as `windtunnel.lifecycle.model.answers.scores` gives them, one row each."""


def kind_of(problem: Problem) -> str:
    """The kind that a problem asks for, or the task's own."""
    return problem.baseline.kind or default_baseline(problem.task)


@dataclasses.dataclass(frozen=True)
class Constant:
    """Always the same answer."""

    value: tuple[float, ...]
    what: str

    def scores(self, rows: pa.RecordBatch) -> np.ndarray:
        """The value, once a row."""
        return np.tile(np.array(self.value), (rows.num_rows, 1))


@dataclasses.dataclass(frozen=True)
class SingleFeature:
    """A table: a column's value, or the twentieth that it falls into, to the mean label of the training rows there."""

    cuts: Cuts
    cells: Mapping[str, tuple[float, ...]]
    otherwise: tuple[float, ...]
    what: str

    def scores(self, rows: pa.RecordBatch) -> np.ndarray:
        """Look up each row's cell."""
        coded = encode(self.cuts, rows.column(self.cuts.column))
        table = np.array([self.cells.get(value, self.otherwise) for value in coded.values])  # noqa: PD011 - no frame
        return np.asarray(table[coded.codes])


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A linear model over all columns."""

    pipeline: "BaseEstimator"
    task: str
    dtypes: Mapping[str, str]
    columns: tuple[int, ...]
    width: int
    what: str

    def scores(self, rows: pa.RecordBatch) -> np.ndarray:
        """The pipeline's answers, its classes put in the model's order."""
        found = answers.scores(self.pipeline, self.task, _frame(rows, self.dtypes))
        if self.task == "regression":
            return found
        # A class that no sampled row had keeps probability 0: the pipeline has no column for it.
        placed = np.zeros((len(found), self.width))
        placed[:, list(self.columns)] = found
        return placed


@dataclasses.dataclass(frozen=True)
class Previous:
    """The newest known mean label of a row's group."""

    group: tuple[str, ...]
    places: Mapping[tuple[str, ...], int]
    keys: np.ndarray  # group and day in one number, ascending
    means: np.ndarray
    otherwise: float
    delay: int
    what: str

    def scores(self, rows: pa.RecordBatch) -> np.ndarray:
        """Look up the newest day before each row's day, less the label's delay."""
        day = rows.column(DAY).cast(pa.int32()).to_numpy(zero_copy_only=False).astype(np.int64) - 1 - self.delay
        parts = [_texts(rows.column(column)) for column in self.group]
        place = np.array([self.places.get(key, -1) for key in zip(*parts, strict=True)] if parts else [0] * rows.num_rows, dtype=np.int64)
        index = np.searchsorted(self.keys, (place << _DAY_BITS) + day, side="right") - 1
        # -1 says that every known day is later; as an index it would read the last one.
        held = np.maximum(index, 0)
        # The entry in front may be the last day of the group before.
        known = (index >= 0) & (place >= 0) & (self.keys[held] >> _DAY_BITS == place)
        return np.where(known, self.means[held], self.otherwise).reshape(-1, 1)


class DayMeans:
    """Sums of the label by group and day, for `Previous`.

    Args:
        group: columns; none for all rows together.
        limit: more cells than these are refused.
    """

    def __init__(self, group: Sequence[str], limit: int = 1_000_000) -> None:
        self.group, self.limit = tuple(group), limit
        self.sums: dict[tuple[tuple[str, ...], int], tuple[float, int]] = {}

    def add(self, rows: pa.RecordBatch, label: pa.Array) -> None:
        """Count rows that have a label."""
        columns = {name: pa.array(_texts(rows.column(name)), pa.string()) for name in self.group}
        table = pa.table({**columns, DAY: rows.column(DAY).cast(pa.int32()), "y": label}).filter(pc.is_valid(label))
        grouped = table.group_by([*self.group, DAY]).aggregate([("y", "sum"), ("y", "count")])
        for entry in grouped.to_pylist():
            key = (tuple(entry[name] for name in self.group), entry[DAY])
            total, count = self.sums.get(key, (0.0, 0))
            self.sums[key] = (total + entry["y_sum"], count + entry["y_count"])
        if len(self.sums) > self.limit:
            raise DataError(
                f"the baseline 'previous' by {', '.join(self.group)} has more than {self.limit:,} groups and days",
                hint="choose baseline.group columns of fewer values",
            )

    def baseline(self, delay: int) -> Previous:
        """What was counted, ready to answer."""
        places = {key: index for index, key in enumerate(sorted({group for group, _ in self.sums}))}
        found = sorted(((places[group] << _DAY_BITS) + day, total / count) for (group, day), (total, count) in self.sums.items())
        rows = sum(count for _, count in self.sums.values())
        overall = sum(total for total, _ in self.sums.values()) / max(rows, 1)
        whose = f" of the same {', '.join(self.group)}" if self.group else ""
        keys, means = (np.array([entry[i] for entry in found]) for i in range(2))
        what = f"the mean label{whose} on the newest earlier day on which one was known"
        return Previous(self.group, places, keys.astype(np.int64), means, overall, delay, what)


def fit(problem: Problem, bundle: Bundle, rows: pa.Table, label: pa.Array) -> Baseline:
    """Fit a baseline on training rows; not for ``prior`` and ``previous``.

    Args:
        problem: says which kind.
        bundle: the candidate's manifest: its columns and classes.
        rows: training rows with labels, a bounded sample.
        label: theirs.

    Raises:
        DataError: there are no training rows to fit on.
    """
    kind = kind_of(problem)
    if not rows.num_rows:
        raise DataError(f"the baseline {kind!r} has no training row to learn from", hint="widen the window")
    fitted: Baseline = BASELINES[kind].part("fit")(problem, bundle, rows, label)
    return fitted


def fit_mean(_problem: Problem, _bundle: Bundle, _rows: pa.Table, label: pa.Array) -> Baseline:
    """Always the training rows' mean."""
    return _constant("mean", float(np.mean(_numbers(label))))


def fit_median(_problem: Problem, _bundle: Bundle, _rows: pa.Table, label: pa.Array) -> Baseline:
    """Always the training rows' median."""
    return _constant("median", float(np.median(_numbers(label))))


def fit_single_feature(problem: Problem, bundle: Bundle, rows: pa.Table, label: pa.Array) -> Baseline:
    """The mean label by the one column that tells most alone."""
    return _single(problem, bundle, rows, _target(problem, bundle, label))


def fit_linear(problem: Problem, bundle: Bundle, rows: pa.Table, label: pa.Array) -> Baseline:
    """Logistic or ridge regression on all columns."""
    target = _target(problem, bundle, label)
    truth = target[:, 0] if problem.task == "regression" else target.argmax(axis=1)
    return _linear(problem, bundle, rows, truth, target.shape[1])


def _constant(kind: str, value: float) -> Constant:
    return Constant((value,), f"always {value:.4g}, the training rows' {kind}")


def _numbers(label: pa.Array) -> np.ndarray:
    return np.asarray(label.to_numpy(zero_copy_only=False), dtype=np.float64)


def _target(problem: Problem, bundle: Bundle, label: pa.Array) -> np.ndarray:
    """A number a row, or for classes one column a class that is 1 where it is the row's."""
    if problem.task == "regression":
        return _numbers(label).reshape(-1, 1)
    known = [str(name) for name in bundle.classes] if problem.task == "multiclass" else ["0", "1"]
    place = {name: index for index, name in enumerate(known)}
    names = [str(value) for value in label.to_pylist()]
    target = np.zeros((len(names), len(known)))
    for row, name in enumerate(names):
        if name in place:
            target[row, place[name]] = 1.0
    return target


def _single(problem: Problem, bundle: Bundle, rows: pa.Table, target: np.ndarray) -> SingleFeature:
    """Each column is tried on the half of the rows that its table was not made from; the best is made again from all of them."""
    even = np.arange(len(target)) % 2 == 0
    tried = []
    for column in bundle.dtypes:
        if column in problem.features.text:
            continue
        cuts = _cuts(column, rows.column(column))
        coded = encode(cuts, rows.column(column))
        halves = []
        for part in (even, ~even):
            table = _cells(coded.codes[part], len(coded.values), target[part])
            halves.append(_loss(problem.task, target[~part], table[coded.codes[~part]]))
        tried.append((float(np.mean(halves)), column, cuts))
    if not tried:
        return SingleFeature(Cuts(""), {}, tuple(target.mean(axis=0)), "no column can be looked at alone")
    _, column, cuts = min(tried, key=lambda entry: (entry[0], entry[1]))
    coded = encode(cuts, rows.column(column))
    table = _cells(coded.codes, len(coded.values), target)
    cells = {value: tuple(table[index].tolist()) for index, value in enumerate(coded.values)}
    return SingleFeature(cuts, cells, tuple(target.mean(axis=0).tolist()), f"the training rows' mean label by {column} alone")


def _cuts(column: str, values: pa.ChunkedArray) -> Cuts:
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        return Cuts(column)
    numbers = pc.cast(values, pa.float64()).drop_null().to_numpy()
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return Cuts(column)
    edges = np.unique(np.quantile(numbers, [i / _CELLS for i in range(1, _CELLS)], method="nearest"))
    return Cuts(column, tuple(edges.tolist()))


def _cells(codes: np.ndarray, size: int, target: np.ndarray) -> np.ndarray:
    """Mean target of each cell, mixed with the overall mean."""
    rows = np.bincount(codes, minlength=size)[:, None] + _SMOOTH
    sums = np.stack([np.bincount(codes, column, size) for column in target.T], axis=1)
    return np.asarray((sums + _SMOOTH * target.mean(axis=0)) / rows)


def _loss(task: str, target: np.ndarray, answer: np.ndarray) -> float:
    if task == "regression":
        return float(((target - answer) ** 2).mean())
    # One training row leaves a half of none, which must not win.
    return float(-np.log(np.clip((target * answer).sum(axis=1), 1e-15, 1)).mean()) if len(target) else math.inf


def _linear(problem: Problem, bundle: Bundle, rows: pa.Table, truth: np.ndarray, width: int) -> Fitted:
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    # One batch: to_batches() follows the chunks, and they were joined.
    frame = _frame(rows.combine_chunks().to_batches()[0], bundle.dtypes)
    numbers, words, texts = _kinds_of_columns(problem, frame)
    # Rare categories share one column, and so do those that only judged rows have.
    encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=50)
    steps: list[Any] = [("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers), ("words", encoder, words)]
    steps += [(f"text_{name}", TfidfVectorizer(max_features=1000), name) for name in texts]
    columns = ColumnTransformer(steps)
    if problem.task == "regression":
        pipeline = Pipeline([("columns", columns), ("model", Ridge())]).fit(frame, truth)
        return Fitted(pipeline, problem.task, dict(bundle.dtypes), (), width, "ridge regression on the same columns")
    if len(np.unique(truth)) < 2:  # nothing to tell apart
        raise DataError("the baseline 'logistic' saw training rows of one class only", hint="widen the window")
    pipeline = Pipeline([("columns", columns), ("model", LogisticRegression(max_iter=200))]).fit(frame, truth)
    classes = tuple(int(value) for value in pipeline[-1].classes_)
    return Fitted(pipeline, problem.task, dict(bundle.dtypes), classes, width, "logistic regression on the same columns")


def _kinds_of_columns(problem: Problem, frame: pd.DataFrame) -> tuple[list[str], list[str], list[str]]:
    """The columns of numbers (without those that are empty), of words that name something, and of texts."""
    numbers = [name for name in frame.columns if frame[name].dtype == np.float64 and frame[name].notna().any()]
    texts = [name for name in problem.features.text if name in frame.columns]
    words = [name for name in frame.columns if frame[name].dtype == object and name not in texts]
    return numbers, words, texts


def _frame(rows: pa.RecordBatch, dtypes: Mapping[str, str]) -> pd.DataFrame:
    """Numbers as float64, everything else as text: a linear model needs no more."""
    frame = to_frame(rows.select(list(dtypes)), dtypes)
    for name in frame.columns:
        numeric = pd.api.types.is_numeric_dtype(frame[name].dtype) or pd.api.types.is_bool_dtype(frame[name].dtype)
        frame[name] = frame[name].astype("float64") if numeric else frame[name].astype(object).where(frame[name].notna(), "").astype(str)
        # pandas 3 makes astype(str) its own string dtype, which `_kinds_of_columns` would not take for words.
        if not numeric:
            frame[name] = frame[name].astype(object)
    return frame


def _texts(column: pa.Array) -> list[str]:
    return ["" if value is None else str(value) for value in column.to_pylist()]
