"""Trees as masks for a single row: from the inputs' own values to the leaves, without the steps between.

Scaling and filling do not change the order of values, so a tree's threshold behind them is a threshold of the input itself: the largest
float that the steps take to or below it, sought bit by bit, so that each value falls on the same side. A category is looked up once, for
the words of all trees, and not for a code whose words are looked up then.
"""

import dataclasses
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from windtunnel.lifecycle.contract.errors import WindtunnelError
from windtunnel.serving.compiler import steps
from windtunnel.serving.compiler.plan import Row, Step, Strand

__all__ = ["MaskedRow", "Words"]

_LARGEST = int(np.array(np.finfo(np.float64).max).view(np.int64))
"""The largest float's bits as a whole number; in between, floats and their bits have the same order."""

_BITS = 64


@dataclasses.dataclass(frozen=True, slots=True)
class _Column:
    """The words of a column: by the place of a value among thresholds, null last, or by a code."""

    edges: list[float] | None
    words: list[int]

    def word(self, value: float) -> int:
        """The leaves that a value leaves possible, of all trees."""
        if self.edges is None:
            return self.words[int(value)]
        return self.words[bisect_left(self.edges, value) if value == value else -1]


class Words:
    """An ensemble for single rows: the words of all trees are one whole number of Python's.

    Args:
        columns: for each column, its thresholds (None for codes) and the table position x tree.
        leaves: tree x leaf: what is added.
        base: what sums begin with, one an output.

    Attributes:
        columns: the words of each.
    """

    def __init__(self, columns: Sequence[tuple[np.ndarray | None, np.ndarray]], leaves: np.ndarray, base: list[float]) -> None:
        table = columns[0][1]
        self.columns = [
            _Column(None if edges is None else edges.tolist(), [int.from_bytes(words.tobytes(), "little") for words in words_of])
            for edges, words_of in columns
        ]
        self._bytes, self._word = table.itemsize * table.shape[1], table.dtype
        self._ones = int.from_bytes(np.ones(table.shape[1], dtype=table.dtype).tobytes(), "little")
        self._starts = np.arange(0, leaves.size, leaves.shape[1])
        self._leaves = leaves.ravel()
        self._base = base

    def sums(self, remaining: int) -> list[float]:
        """What the leaves add up to, an output each.

        Args:
            remaining: the words of a row's columns, ANDed: one bit is left for each tree.
        """
        # A bit less one is as many bits as there are leaves before it; no word borrows from the next, as none is zero.
        below = np.frombuffer((remaining - self._ones).to_bytes(self._bytes, "little"), self._word)
        values = self._leaves.take(self._starts + np.bitwise_count(below))
        count = len(self._base)
        if count == 1:
            return [values.cumsum().item(-1) + self._base[0]]
        return [values[output::count].cumsum().item(-1) + base for output, base in enumerate(self._base)]


class MaskedRow:
    """An ensemble behind steps that work value by value, as a function of a row of inputs.

    Args:
        words: the ensemble.
        thresholds: for each column of numbers the input's place, its thresholds and the words between them, null last.
        tables: for each column of categories the input's place and category -> word; None is null.
    """

    def __init__(
        self, words: Words, thresholds: list[tuple[int, list[float], list[int]]], tables: list[tuple[int, dict[object, int]]]
    ) -> None:
        self._words = words
        self._thresholds, self._tables = thresholds, tables

    @classmethod
    def of(cls, words: Words, strands: Sequence[Strand]) -> Self | None:
        """The ensemble whose columns are functions of one input each; None where one of them is no such function that is known here."""
        thresholds, tables = [], []
        for column, strand in zip(words.columns, strands, strict=True):
            kinds = [type(step) for step in strand.steps]
            if steps.Look in kinds:
                if not set(kinds[: kinds.index(steps.Look)]) <= {steps.Fill}:
                    return None
                tables.append((strand.place, _table(column, strand)))
            elif column.edges is not None and all(map(_keeps_order, strand.steps)):
                edges = _edges(strand, column.edges)
                thresholds.append((strand.place, edges, [*column.words[:-1], column.word(strand.one(float("nan")))]))
            else:
                return None
        return cls(words, thresholds, tables)

    def sums(self, row: Row) -> list[float] | None:
        """What the leaves add up to; None for a category that is not known, of which the steps know what to say."""
        remaining = -1
        for place, edges, words in self._thresholds:
            value = row[place]
            remaining &= words[bisect_left(edges, value) if value == value else -1]
        for place, table in self._tables:
            value = row[place]
            word = table.get(value if value == value else None)
            if word is None:
                return None
            remaining &= word
        return self._words.sums(remaining)


def _table(column: _Column, strand: Strand) -> dict[object, int]:
    """Category -> word; those that the encoder refuses are left out."""
    look = next(step for step in strand.steps if isinstance(step, steps.Look))
    found: dict[object, int] = {}
    for value in (*look.tables[0], None):
        try:
            found[value] = column.word(float(strand.one(value)))
        except WindtunnelError:
            continue
    return found


def _keeps_order(step: Step) -> bool:
    """Whether a step of one column takes larger numbers to larger ones, or to the same."""
    if isinstance(step, steps.Affine):
        return step.low is None and all(factor is None or factor > 0.0 for factor in (step.div, step.mul))
    return isinstance(step, steps.Fill) and not step.text


def _edges(strand: Strand, edges: Sequence[float]) -> list[float]:
    """For each threshold behind the steps the largest input that they take to or below it; -inf where there is none."""
    low = np.full(len(edges), -_LARGEST - 1, dtype=np.int64)
    high = np.full(len(edges), _LARGEST, dtype=np.int64)
    with np.errstate(all="ignore"):
        for _ in range(_BITS):
            middle = (low | high) - ((low ^ high) >> 1)  # their mean rounded up, without a sum that would be too large
            below = _through(strand, _float_of(middle)) <= edges
            low, high = np.where(below, middle, low), np.where(below, high, middle - 1)
    return [float(value) for value in np.where(low < -_LARGEST, -np.inf, _float_of(low))]


def _through(strand: Strand, values: np.ndarray) -> np.ndarray:
    column: Any = values.reshape(-1, 1)
    for step in strand.steps:
        column = step.run(column)
    return np.asarray(column)[:, 0]


def _float_of(bits: np.ndarray) -> np.ndarray:
    """Whole numbers to floats in the same order: 0 is 0, 1 the smallest above it, -1 the largest below it."""
    size = np.minimum(np.abs(bits), _LARGEST)
    return np.copysign(size.view(np.float64), bits)
