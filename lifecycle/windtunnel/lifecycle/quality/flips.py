"""Sources whose labels were flipped: poisoned, mistaken, or wired up wrongly.

A model that never saw a row says how sure it is of the row's class. Among rows of which it is equally sure, sources contradict it equally
often, whatever their share of hard rows; a source whose labels were flipped contradicts it more often everywhere. So errors are counted
within strata of (predicted class, confidence) and compared between the source and all others, with the weights that are most powerful
against a constant share of flips (a Cochran-Mantel-Haenszel test), and what chance does is drawn from the exact distribution of the counts,
since that of a small source is skewed. Holm's correction over the sources keeps the chance of even one false alarm at the level.
"""

import dataclasses
import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

__all__ = ["Flipped", "flipped_sources"]

_STRATA = 20  # of confidence, for each predicted class
_LEAST = 30  # labelled rows of a source below which nothing is said of it
_RAREST = 0.01  # a rate of errors below which none weighs more: single errors would decide
_DRAWS = 100_000
_UNLIKELY = 0.05  # a normal approximation above which nothing is drawn
_NORMAL = NormalDist()


@dataclasses.dataclass(frozen=True)
class Flipped:
    """What the labels of one source look like beside those of all others.

    Attributes:
        source: its name.
        rows: its labelled rows that were looked at.
        share: the estimated share of them that was flipped, beyond what other sources have.
        error: the standard error of that share.
        p_value: one-sided, corrected for the number of sources.
    """

    source: str
    rows: int
    share: float
    error: float
    p_value: float


def flipped_sources(
    codes: npt.NDArray[np.intp],
    probabilities: npt.NDArray[np.float64],
    sources: npt.NDArray[np.str_],
    *,
    level: float = 0.01,
    floor: float = 0.01,
) -> tuple[list[Flipped], list[Flipped]]:
    """The sources whose labels contradict the model beyond chance, the worst first, and all that were looked at.

    Args:
        codes: the label of each row, as a class number.
        probabilities: of each row and class, by a model that was fitted without the row.
        sources: where each row's label is from: a file, a carrier, an annotator.
        level: the chance of naming even one source where labels are equally good in all.
        floor: a share of flips below which nothing is said: real sources are never quite alike.
    """
    strata, wrong = _strata(probabilities), (probabilities.argmax(axis=1) != codes)
    size = int(strata.max()) + 1
    rows, errors = np.bincount(strata, minlength=size), _sum(strata, wrong, size)
    looked = []
    for name in np.unique(sources):
        here = sources == name
        if _LEAST <= here.sum() <= len(sources) - _LEAST:
            mine = np.bincount(strata[here], minlength=size)
            looked.append(_compared(str(name), mine, _sum(strata[here], wrong[here], size), rows, errors))
    looked = _corrected(looked)
    return [entry for entry in looked if entry.p_value <= level and entry.share >= floor], looked


def _sum(strata: npt.NDArray[np.intp], wrong: npt.NDArray[np.bool_], size: int) -> npt.NDArray[np.float64]:
    return np.asarray(np.bincount(strata, weights=wrong, minlength=size), np.float64)


def _strata(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Rows of the same predicted class of which the model is about equally sure."""
    predicted, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    strata = np.zeros(len(predicted), np.intp)
    for place in np.unique(predicted):
        here = predicted == place
        edges = np.unique(np.quantile(sure[here], np.linspace(0, 1, _STRATA + 1)[1:-1]))
        strata[here] = place * _STRATA + np.searchsorted(edges, sure[here], side="right")
    return np.unique(strata, return_inverse=True)[1]


def _compared(
    name: str,
    mine: npt.NDArray[np.intp],
    wrong: np.ndarray,
    rows: npt.NDArray[np.intp],
    errors: np.ndarray,
) -> Flipped:
    others = rows - mine
    # Half an error more, so that a stratum without any has a rate as well.
    usual = (errors + 0.5) / (rows + 1)
    known = np.maximum(usual, _RAREST)
    # Flips of a share s turn an error rate e into e + s (1 - 2 e), of variance e (1 - e): signal over variance weighs best.
    weights = np.maximum(1 - 2 * known, 0) / (known * (1 - known))
    excess = float((weights * (wrong - mine * errors / rows)).sum())
    # Hypergeometric: how many errors a stratum has in all is taken as it is.
    variance = mine * others * errors * (rows - errors) / (rows.astype(float) ** 2 * np.maximum(rows - 1, 1))
    spread = math.sqrt(float((weights**2 * variance).sum()))
    # What a share of 1 would add to the excess: dividing by it makes a share of the excess.
    a_flip = float((weights * mine * others / rows * np.maximum(1 - 2 * usual, 0)).sum())
    if not spread or not a_flip:
        return Flipped(name, int(mine.sum()), 0.0, math.inf, 1.0)
    chance = 1 - _NORMAL.cdf(excess / spread)
    if chance < _UNLIKELY:
        chance = _drawn(weights, float((weights * wrong).sum()), mine, rows, errors)
    return Flipped(name, int(mine.sum()), excess / a_flip, spread / a_flip, chance)


def _drawn(
    weights: npt.NDArray[np.float64],
    seen: float,
    mine: npt.NDArray[np.intp],
    rows: npt.NDArray[np.intp],
    errors: np.ndarray,
) -> float:
    """How often chance alone gives a source at least so much: errors of each stratum are dealt out anew to its rows."""
    random, total = np.random.default_rng(0), np.zeros(_DRAWS)
    for weight, of, among, bad in zip(weights, mine, rows, errors.astype(np.intp), strict=True):
        if weight and bad and of:
            total += weight * random.hypergeometric(bad, among - bad, of, _DRAWS)
    # One more above and below: a p-value that was drawn is never 0 (Phipson and Smyth, 2010).
    return float((1 + np.count_nonzero(total >= seen - 1e-9 * abs(seen))) / (1 + _DRAWS))


def _corrected(looked: list[Flipped]) -> list[Flipped]:
    """Holm's step-down correction, the smallest p-value first."""
    found, worst = [], 0.0
    for place, entry in enumerate(sorted(looked, key=lambda entry: (entry.p_value, entry.source))):
        worst = max(worst, min(1.0, entry.p_value * (len(looked) - place)))
        found.append(dataclasses.replace(entry, p_value=worst))
    return found
