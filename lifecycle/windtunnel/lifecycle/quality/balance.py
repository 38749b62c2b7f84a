"""Class balance: shares, how far they moved, and the remedies for imbalance that the field uses.

The remedies are functions of labels alone, so that whoever trains (or fits weights, or picks rows) can call them: `remedies` says which
there are and what each would do with these classes.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from windtunnel.lifecycle.contract.errors import ConfigurationError

__all__ = ["Remedy", "class_weights", "downsample", "remedies", "sample_weights", "shares", "shift"]


def shares(counts: Mapping[str, float]) -> dict[str, float]:
    """Each class's share.

    Example:
        >>> shares({"0": 3, "1": 1})
        {'0': 0.75, '1': 0.25}
    """
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()} if total else {}


def shift(counts: Mapping[str, float], reference: Mapping[str, float]) -> tuple[str, float]:
    """The class whose share moved most, and by how much.

    Example:
        >>> shift({"0": 1, "1": 3}, {"0": 3, "1": 1})
        ('0', 0.5)
    """
    now, before = shares(counts), shares(reference)
    moved = {name: abs(now.get(name, 0.0) - before.get(name, 0.0)) for name in sorted({*now, *before})}
    if not moved:
        return "", 0.0
    worst = max(moved, key=lambda name: moved[name])
    return worst, moved[worst]


@dataclasses.dataclass(frozen=True)
class Remedy:
    """One way to go on with unbalanced classes.

    Attributes:
        name: as `Problem.model.class_balance` has it: ``none``, ``weights`` or ``downsample``.
        title: for a person who chooses.
        effect: what it would do with these classes.
    """

    name: str
    title: str
    effect: str


def remedies(counts: Mapping[str, int]) -> list[Remedy]:
    """The remedies, and what each would do.

    Example:
        >>> [remedy.name for remedy in remedies({"0": 900, "1": 100})]
        ['none', 'weights', 'downsample']
    """
    present = {name: count for name, count in counts.items() if count}
    total, least = sum(present.values()), min(present.values(), default=0)
    weights = class_weights(present)
    heaviest = max(weights, key=lambda name: weights[name], default="")
    return [
        Remedy("none", "go on as it is", f"{total:,} rows, the classes as they are"),
        Remedy(
            "weights", "class weights in the loss", f"{total:,} rows; a row of class {heaviest} counts {weights.get(heaviest, 1):.2f} times"
        ),
        Remedy("downsample", "the same number of each class", f"{least * len(present):,} rows, {least:,} of each class"),
    ]


def class_weights(counts: Mapping[str, int]) -> dict[str, float]:
    """Weights that give every class the same say: rows / (classes * rows of the class), as scikit-learn's ``balanced``.

    Example:
        >>> class_weights({"0": 3, "1": 1})
        {'0': 0.6666666666666666, '1': 2.0}
    """
    present = {name: count for name, count in counts.items() if count}
    total = sum(present.values())
    return {name: total / (len(present) * count) for name, count in present.items()}


def sample_weights(labels: np.ndarray) -> npt.NDArray[np.float64]:
    """A weight for each row, by `class_weights`."""
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return (len(labels) / (len(classes) * counts))[codes]


def downsample(labels: np.ndarray, seed: int = 0) -> npt.NDArray[np.intp]:
    """The places of rows to keep so that every class has as many as the rarest: in order, the same for the same seed.

    Raises:
        ConfigurationError: there is nothing to balance.
    """
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        raise ConfigurationError(f"there is {len(classes)} class: nothing to balance", hint="choose `none`")
    random = np.random.default_rng(seed)
    kept = [random.choice(np.flatnonzero(labels == name), counts.min(), replace=False) for name in classes]
    return np.sort(np.concatenate(kept))
