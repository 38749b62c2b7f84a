"""Explanations: what each column contributed to an answer, against a typical row of the training data.

The contributions are Shapley values of the game "these columns as they were sent, the others as in the typical row": they add up to the
answer's score less the typical row's, whatever the model is, and for a linear one they are its terms. Up to seven columns they are exact;
beyond, they are the mean over sixteen orders of the columns, fixed ones and their reverses, which adds up exactly too. See Lundberg, Lee,
"A Unified Approach to Interpreting Model Predictions" (2017, arXiv:1705.07874); Mitchell, Cooper, Frank, Holmes, "Sampling Permutations
for Shapley Value Estimation" (2022, arXiv:2104.12199).

The model needs ``serving.explain`` in its problem file: then training keeps the typical row in the bundle.
"""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from windtunnel.lifecycle.payload import JsonObject
from windtunnel.serving.base.batch import from_rows
from windtunnel.serving.base.values import InvalidInputError, invalid
from windtunnel.serving.compiler.engine import Engine

__all__ = ["MAX_ROWS", "explain"]

MAX_ROWS = 100
"""Rows of one request that asks for explanations."""

_EXACT = 7
_ORDERS = 8
_CLOSE = 1e-6


def explain(engine: Engine, rows: Sequence[Mapping[str, Any]], scores: np.ndarray) -> list[JsonObject]:
    """The explanation of each row.

    Args:
        engine: the version that answered.
        rows: as they were sent.
        scores: the score matrix that it answered.

    Returns:
        ``base``, the typical row's score, and ``contributions``, column -> number; base and contributions add up to the answer: the score
        of a binary model or an anomaly, the answered class's probability (multiclass), the predicted number.

    Raises:
        InvalidInputError: the model does not explain itself, or there are too many rows.
    """
    typical = _typical(engine)
    if len(rows) > MAX_ROWS:
        raise _refused(f"{len(rows)} rows in a request for explanations; at most {MAX_ROWS}")
    names = [column.name for column in engine.bundle.inputs]
    masks, weights = _coalitions(len(names))
    found = []
    for row, score in zip(rows, scores, strict=True):
        place = int(score.argmax()) if engine.bundle.task == "multiclass" else -1
        mixed = [{name: row.get(name) if inside else typical.get(name) for name, inside in zip(names, mask, strict=True)} for mask in masks]
        worth = engine.scores(from_rows(engine.bundle.inputs, mixed))[:, place]
        contributions = weights @ worth
        if abs(worth[0] + contributions.sum() - score[place]) > _CLOSE * max(1.0, abs(float(score[place]))):
            raise _refused("this answer was computed beforehand and looked up by key: send the whole row, with another key or none")
        found.append({"base": float(worth[0]), "contributions": dict(zip(names, contributions.tolist(), strict=True))})
    return found


def _typical(engine: Engine) -> Mapping[str, object]:
    """The row that explanations compare with.

    Raises:
        InvalidInputError: the model has none.
    """
    typical = engine.bundle.options.get("baseline")
    if not engine.bundle.options.get("explain") or not isinstance(typical, Mapping):
        raise _refused("this version does not explain its answers: set serving.explain in the problem file and train again")
    return typical


def _coalitions(width: int) -> tuple[list[tuple[bool, ...]], np.ndarray]:
    """Which columns are as sent, a mask a coalition (the first has none), and the weights that turn their scores into contributions."""
    return _all_coalitions(width) if width <= _EXACT else _drawn_coalitions(width)


def _all_coalitions(width: int) -> tuple[list[tuple[bool, ...]], np.ndarray]:
    """Every coalition, with the weights of the exact Shapley values."""
    masks = [tuple(bool(number >> place & 1) for place in range(width)) for number in range(1 << width)]
    weights = np.zeros((width, len(masks)))
    for number, mask in enumerate(masks):
        for place in range(width):
            if not mask[place]:
                share = 1 / (width * math.comb(width - 1, sum(mask)))
                weights[place, number] -= share
                weights[place, number | 1 << place] += share
    return masks, weights


def _drawn_coalitions(width: int) -> tuple[list[tuple[bool, ...]], np.ndarray]:
    """The coalitions that fixed orders of the columns go through, with the weights of a mean over these orders."""
    generator = random.Random(0)  # the same orders for every row, no secret
    orders = [generator.sample(range(width), width) for _ in range(_ORDERS)]
    orders += [order[::-1] for order in orders]
    known: dict[tuple[bool, ...], int] = {(False,) * width: 0}
    steps: list[tuple[int, int, int]] = []
    for order in orders:
        inside = [False] * width
        before = 0
        for place in order:
            inside[place] = True
            after = known.setdefault(tuple(inside), len(known))
            steps.append((place, before, after))
            before = after
    weights = np.zeros((width, len(known)))
    for place, before, after in steps:
        weights[place, before] -= 1 / len(orders)
        weights[place, after] += 1 / len(orders)
    return list(known), weights


def _refused(text: str) -> InvalidInputError:
    return invalid([{"row": 0, "field": "explain", "message": text}])
