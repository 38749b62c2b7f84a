"""Weak spots: slices in which the candidate is worse than on the rest of the rows, beyond what looking at many slices explains.

Every cell of every searched slicing is compared with all other rows by its mean loss (log loss; squared error for numbers) in a one-sided
z-test; Holm's step-down correction over all cells that were looked at keeps the chance of even one false alarm at 5 %.
"""

import dataclasses
import math
from collections.abc import Sequence
from statistics import NormalDist

from windtunnel.lifecycle.judging.slices import Slicing
from windtunnel.lifecycle.payload import JsonObject

__all__ = ["ENOUGH", "Weak", "given_up", "weak_spots"]

ENOUGH = 50
"""Rows that a slice must have: a mean of fewer is no evidence, and nothing that a team could act on."""

_LEVEL = 0.05
_WORSE = 1.25  # a crossing is only news if it is this much worse than the wider slice that holds it
_NORMAL = NormalDist()


@dataclasses.dataclass(frozen=True)
class Weak:
    """A slice that is worse than the rest.

    Attributes:
        columns: one or two.
        values: of those.
        rows: in it.
        loss: mean loss in it.
        rest: mean loss of all other rows.
        p_value: corrected for all slices that were looked at.
        figures: the slice's other figures.
    """

    columns: tuple[str, ...]
    values: tuple[str, ...]
    rows: int
    loss: float
    rest: float
    p_value: float
    figures: JsonObject


def weak_spots(slicings: Sequence[Slicing], *, most: int = 20) -> tuple[list[Weak], int]:
    """The weak spots, the one that costs most first, and how many cells were looked at.

    Args:
        slicings: the searched ones, single columns before their crossings.
        most: how many are listed.
    """
    cells = [(slicing.columns, values, figures) for slicing in slicings if not slicing.over for values, figures in slicing.cells().items()]
    totals = {columns: _total(cells, columns) for columns in {columns for columns, _, _ in cells}}
    tested = [
        _against_the_rest(columns, values, figures, totals[columns])
        for columns, values, figures in cells
        if min(figures["rows"], totals[columns][0] - figures["rows"]) >= ENOUGH
    ]
    return _news(_significant(tested))[:most], len(tested)


def _against_the_rest(
    columns: tuple[str, ...], values: tuple[str, ...], figures: dict[str, float], total: tuple[float, float, float]
) -> Weak:
    """A cell with the p-value of its loss being no larger than that of the other rows, tested alone."""
    rows, loss, error = int(figures["rows"]), figures["loss"], figures["loss_error"]
    all_rows, all_loss, all_square = total
    others = all_rows - rows
    # The other rows are all less the cell's own, so no cell needs a second pass.
    rest = (all_loss - rows * loss) / others
    # error^2 * rows is the cell's variance; with loss^2 it is the mean of squares again.
    square = (all_square - rows * (error**2 * rows + loss**2)) / others
    spread = math.sqrt(error**2 + max(square - rest**2, 0.0) / others)
    z = (loss - rest) / spread if spread > 0 else 0.0
    return Weak(columns, values, rows, loss, rest, 1 - _NORMAL.cdf(z), figures)


def _significant(tested: list[Weak]) -> list[Weak]:
    """The cells that are worse than chance makes them, with p-values adjusted for how many were tested (Holm, 1979)."""
    ordered = sorted(tested, key=lambda spot: (spot.p_value, spot.columns, spot.values))
    spots, worst = [], 0.0
    for place, spot in enumerate(ordered):
        # An adjusted p-value is never below the one before it, and behind the first that is too large nothing counts.
        worst = max(worst, min(1.0, spot.p_value * (len(ordered) - place)))
        if worst > _LEVEL:
            break
        spots.append(dataclasses.replace(spot, p_value=worst))
    return spots


def given_up(slicings: Sequence[Slicing]) -> list[str]:
    """The slicings that had too many values to be kept."""
    return [" and ".join(slicing.columns) for slicing in slicings if slicing.over]


def _total(cells: Sequence[tuple[tuple[str, ...], tuple[str, ...], JsonObject]], columns: tuple[str, ...]) -> tuple[float, float, float]:
    rows = loss = square = 0.0
    for named, _, figures in cells:
        if named == columns:
            rows += figures["rows"]
            loss += figures["rows"] * figures["loss"]
            square += figures["rows"] * (figures["loss_error"] ** 2 * figures["rows"] + figures["loss"] ** 2)
    return rows, loss, square


def _news(found: list[Weak]) -> list[Weak]:
    """Without crossings that only repeat a wider weak spot, by what they cost: rows times how much worse."""
    wider = {
        (column, value): spot for spot in found if len(spot.columns) == 1 for column, value in zip(spot.columns, spot.values, strict=True)
    }
    kept = []
    for spot in found:
        parents = [wider[pair] for pair in zip(spot.columns, spot.values, strict=True) if pair in wider] if len(spot.columns) > 1 else []
        if all(spot.loss - spot.rest > _WORSE * (parent.loss - parent.rest) for parent in parents):
            kept.append(spot)
    return sorted(kept, key=lambda spot: -spot.rows * (spot.loss - spot.rest))
