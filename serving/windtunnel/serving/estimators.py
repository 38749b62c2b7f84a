"""The last step of a plan: what turns features into scores."""

import dataclasses
import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.serving.plan import Row, Step, Value, as_matrix, refuse, register
from windtunnel.serving.steps import finite

if TYPE_CHECKING:
    from windtunnel.serving.gtil import Ensemble

__all__ = ["Linear", "Trees"]

_FLOAT32_MAX = float(np.finfo(np.float32).max)


@register
class Trees(Step):
    """A tree ensemble, run by treelite's GTIL.

    Attributes:
        model: treelite's own serialised form.
        single: whether features are rounded to float32 first, as scikit-learn's forests do.
        null: whether null is allowed.
        pair: whether the one output is the probability of the second of two classes.
        softmax: whether outputs are turned into probabilities here: treelite does that in single precision.
        path: for an isolation forest, the average path length that depths are measured by; 0 for others.
    """

    model: bytes
    single: bool
    null: bool
    pair: bool
    softmax: bool = False
    path: float = 0.0
    loaded: Any = dataclasses.field(default=None, init=False, repr=False, compare=False)

    def run(self, value: Value) -> Value:
        """The score matrix."""
        ensemble = self._ensemble()
        x = finite(as_matrix(value), "the model", null=self.null)
        if self.single:
            x = self._rounded(x)
        found = ensemble.many(x)
        if self.path > 0:
            return np.exp2(-found / self.path)
        if self.softmax:
            return _softmax(found)
        return np.hstack([1.0 - found, found]) if self.pair and found.shape[1] == 1 else found

    def one(self, row: Row) -> Row:
        """The scores of one row."""
        if self.path > 0 or self.softmax:
            return super().one(row)
        ensemble = self._ensemble()
        try:
            packed = struct.pack(f"{len(row)}d", *row)
        except struct.error as error:
            raise refuse("text where the model needs numbers") from error
        x = np.frombuffer(packed)
        if not math.isfinite(np.add.reduce(x)):  # nothing to look for in a sum that is finite
            finite(x, "the model", null=self.null)
        if self.single:
            packed = self._rounded(x).tobytes()
        found = ensemble.one(packed)
        return [1.0 - found[0], found[0]] if self.pair and len(found) == 1 else found

    def _ensemble(self) -> "Ensemble":
        if self.loaded is None:
            from windtunnel.serving.gtil import Ensemble

            self.loaded = Ensemble(self.model, margin=self.softmax or self.path > 0)
        found: Ensemble = self.loaded
        return found

    def _rounded(self, x: np.ndarray) -> np.ndarray:
        if x.size and np.nanmax(np.abs(x), initial=0.0) > _FLOAT32_MAX:
            raise refuse("a value is too large for the model")
        return x.astype(np.float32).astype(np.float64)


@register
class Linear(Step):
    """A linear model: a dot product and a link.

    Attributes:
        coefficients: outputs x features.
        intercept: one an output.
        link: ``identity``, ``exp``, ``logistic`` (one output, two classes) or ``softmax``.
    """

    coefficients: np.ndarray
    intercept: np.ndarray
    link: str

    def run(self, value: Value) -> Value:
        """The score matrix."""
        x = finite(as_matrix(value), "the model", null=False)
        z = x @ self.coefficients.T + self.intercept
        if self.link == "identity":
            return z
        if self.link == "exp":
            return np.exp(z)
        if self.link == "logistic":
            yes = _expit(z[0, 0]) if len(z) == 1 else _expit_many(z[:, 0])
            return np.array([[1.0 - yes, yes]]) if len(z) == 1 else np.column_stack([1.0 - yes, yes])
        return _softmax(z)


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def _expit(z: float) -> float:
    return 1.0 / (1.0 + math.exp(-z)) if z >= 0 else math.exp(z) / (1.0 + math.exp(z))


def _expit_many(z: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0 / (1.0 + e), e / (1.0 + e))
