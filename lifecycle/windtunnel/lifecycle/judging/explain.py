"""Why a model answers as it does: permutation importance, partial dependence, what-if, and Shapley values by sampling.

All of them look at the model from outside, by asking it about changed rows, so they work for any bundle, over its raw columns. They are
computed on a bounded sample of the held-out rows.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["Change", "Importance", "importance", "partial_dependence", "shapley", "what_if"]

Answer = Callable[[pd.DataFrame], np.ndarray]
"""Rows -> one number each: the score of yes, the predicted value, or the probability of one class."""

Loss = Callable[[np.ndarray], float]
"""Answers -> how wrong they are."""

_GRID = 12


@dataclasses.dataclass(frozen=True)
class Importance:
    """How much worse the model gets when a column is shuffled: mean and standard deviation over repeats."""

    column: str
    mean: float
    std: float


def importance(
    answer: Callable[[pd.DataFrame], np.ndarray], loss: Loss, frame: pd.DataFrame, *, repeats: int = 3, seed: int = 0
) -> list[Importance]:
    """Permutation importance of every column, the most important first.

    Args:
        answer: rows -> answers, one row each.
        loss: answers (in the order of `frame`) -> how wrong the model is on the rows; less is better.
        frame: the rows.
        repeats: shuffles of each column.
        seed: of the shuffles.
    """
    generator = np.random.default_rng(seed)
    base = loss(answer(frame))
    # All repeats in one call: a call of a pipeline costs a good deal by itself, however few the rows.
    several = pd.concat([frame] * repeats, ignore_index=True)
    found = []
    for column in frame.columns:
        order = np.concatenate([generator.permutation(len(frame)) for _ in range(repeats)])
        shuffled = several.assign(**{column: frame[column].take(order).reset_index(drop=True)})
        worse = [loss(part) - base for part in np.split(answer(shuffled), repeats)]
        found.append(Importance(str(column), float(np.mean(worse)), float(np.std(worse))))
    return sorted(found, key=lambda entry: -entry.mean)


def partial_dependence(answer: Answer, frame: pd.DataFrame, column: str) -> list[tuple[object, float]]:
    """The mean answer when every row has the same value in a column, for its frequent values or quantiles."""
    values = _values(frame[column])
    if not values:
        return []
    several = pd.concat([frame] * len(values), ignore_index=True)
    same = pd.Series([value for value in values for _ in range(len(frame))]).astype(frame[column].dtype)
    means = answer(several.assign(**{column: same})).reshape(len(values), len(frame)).mean(axis=1)
    return list(zip(values, means.tolist(), strict=True))


@dataclasses.dataclass(frozen=True)
class Change:
    """A change of one example that flips its answer: column -> (before, after), and the answer's score then."""

    columns: dict[str, tuple[object, object]]
    score: float


def what_if(
    answer: Answer, row: pd.DataFrame, reference: pd.DataFrame, threshold: float, *, fixed: Sequence[str] = (), most: int = 3
) -> list[Change]:
    """The nearest changes that flip the answer to one example.

    Single columns are tried first, then pairs; among changes of equally many columns those come first that move least, measured in
    spreads of the column (a category counts as one).

    Args:
        answer: the model.
        row: one row.
        reference: rows to take values from: a change never invents a value.
        threshold: where the answer flips.
        fixed: columns that cannot change, such as age.
        most: how many changes are given.
    """
    before = bool(answer(row)[0] >= threshold)
    moves = _moves(row, reference, fixed)
    singles: list[tuple[Move, ...]] = [(move,) for move in moves]
    changes = _flips(answer, row, singles, threshold, before=before)
    if not changes:  # pairs, of the moves that alone come nearest to the threshold
        scores = _scores(answer, row, singles)
        nearest = np.argsort(scores if before else -scores, kind="stable")[:_NEAR]
        changes = _flips(answer, row, _pairs([moves[i] for i in nearest]), threshold, before=before)
    return changes[:most]


_NEAR = 40
"""Moves that are tried in pairs."""

Move = tuple[str, Any, float]
"""A column, its new value, and how far that is from the old one."""


def _moves(row: pd.DataFrame, reference: pd.DataFrame, fixed: Sequence[str]) -> list[Move]:
    """Every move of one column to a value that the reference has."""
    moves = []
    for column in (str(name) for name in row.columns if name not in fixed):
        old = row[column].iloc[0]
        moves += [(column, value, _distance(reference[column], old, value)) for value in _values(reference[column])]
    return [move for move in moves if move[2] > 0]


def _pairs(moves: Sequence[Move]) -> list[tuple[Move, ...]]:
    """Every two moves of different columns."""
    return [pair for pair in itertools.combinations(moves, 2) if pair[0][0] != pair[1][0]]


def shapley(answer: Answer, row: pd.DataFrame, reference: pd.DataFrame, *, samples: int = 50, seed: int = 0) -> dict[str, float]:
    """Shapley values of one answer, by sampled orders of its columns against sampled rows (Strumbelj and Kononenko, 2014).

    They add up to the answer minus the mean answer over the rows that were sampled; the largest first.
    """
    generator = np.random.default_rng(seed)
    columns = [str(column) for column in row.columns]
    mine = [row[column].iloc[0] for column in columns]
    orders, steps = [], []
    for _ in range(samples):
        order = generator.permutation(len(columns)).tolist()
        current = reference.iloc[int(generator.integers(len(reference)))][columns].tolist()
        steps.append(list(current))
        for column in order:
            current[column] = mine[column]
            steps.append(list(current))
        orders.append(order)
    scores = answer(pd.DataFrame(steps, columns=columns).astype(dict(row.dtypes))).reshape(samples, len(columns) + 1)
    total = np.zeros(len(columns))
    for order, scored in zip(orders, scores, strict=True):
        # An order names each column once, so += by index reaches each.
        total[order] += np.diff(scored)
    values = dict(zip(columns, (total / samples).tolist(), strict=True))
    return dict(sorted(values.items(), key=lambda entry: -abs(entry[1])))


def _values(column: pd.Series) -> list[object]:
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        held = column.dropna()
        # Values that rows have: a change must not invent one, and whole numbers stay whole.
        return sorted(set(held.quantile(np.linspace(0.02, 0.98, _GRID), interpolation="nearest").tolist()))
    return [value for value in column.value_counts().index[:_GRID].tolist() if value is not None]


def _distance(column: pd.Series, before: Any, after: Any) -> float:
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        if pd.isna(before):
            return 1.0
        spread = float(column.std()) or 1.0
        return abs(float(after) - float(before)) / spread
    return float(before != after)


def _changed(row: pd.DataFrame, moves: Sequence[Sequence[tuple[str, Any, float]]]) -> pd.DataFrame:
    frame = pd.concat([row] * len(moves), ignore_index=True)
    values = {column: frame[column].astype(object).tolist() for column in frame.columns}
    for place, move in enumerate(moves):
        for column, value, _ in move:
            values[column][place] = value
    return pd.DataFrame(values, columns=list(row.columns)).astype(dict(row.dtypes))


def _scores(answer: Answer, row: pd.DataFrame, moves: Sequence[Sequence[tuple[str, object, float]]]) -> np.ndarray:
    return answer(_changed(row, moves)) if moves else np.empty(0)


def _flips(
    answer: Answer, row: pd.DataFrame, moves: Sequence[tuple[tuple[str, Any, float], ...]], threshold: float, *, before: bool
) -> list[Change]:
    scores = _scores(answer, row, moves)
    flipped = [
        (sum(step[2] for step in move), float(score), move)
        for move, score in zip(moves, scores.tolist(), strict=True)
        if bool(score >= threshold) != before
    ]
    # Ties by text: values of different columns do not compare.
    flipped.sort(key=lambda entry: (entry[0], str(entry[2])))
    found, seen = [], set[tuple[str, ...]]()
    for _, score, move in flipped:
        names = tuple(sorted(step[0] for step in move))
        if names not in seen:  # of several values of the same column the nearest
            seen.add(names)
            found.append(Change({column: (row[column].iloc[0], value) for column, value, _ in move}, score))
    return found
