"""The last step of a plan: what turns features into scores."""

import dataclasses
import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.serving.compiler.plan import Row, Step, Value, as_matrix, product, refuse, register
from windtunnel.serving.compiler.steps import finite

if TYPE_CHECKING:
    from windtunnel.serving.compiler.gtil import Ensemble

__all__ = ["Calibrate", "Constant", "Linear", "Mean", "Trees"]

_FLOAT32_MAX = float(np.finfo(np.float32).max)


@register
class Trees(Step):
    """A tree ensemble, run by treelite's GTIL.

    Attributes:
        model: treelite's own serialised form.
        single: whether features are rounded to float32 first, as scikit-learn's forests do.
        null: whether null is allowed.
        infinite: whether infinity is too.
        pair: whether the one output is the probability of the second of two classes.
        margin: whether raw sums are the output.
        softmax: whether outputs are turned into probabilities here: treelite does that in single precision.
        path: for an isolation forest, the average path length that depths are measured by; 0 for others.
    """

    model: bytes
    single: bool
    null: bool
    pair: bool
    softmax: bool = False
    path: float = 0.0
    margin: bool = False
    infinite: bool = False
    loaded: Any = dataclasses.field(default=None, init=False, repr=False, compare=False)

    def run(self, value: Value) -> Value:
        """The score matrix."""
        ensemble = self._ensemble()
        x = within(as_matrix(value), single=self.single, null=self.null, infinite=self.infinite)
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
        if not self.infinite and not math.isfinite(np.add.reduce(x)):  # nothing to look for in a sum that is finite
            finite(x, "the model", null=self.null)
        if self.single:
            packed = _rounded(x).tobytes()
        found = ensemble.one(packed)
        return [1.0 - found[0], found[0]] if self.pair and len(found) == 1 else found

    def _ensemble(self) -> "Ensemble":
        if self.loaded is None:
            from windtunnel.serving.compiler.gtil import Ensemble

            self.loaded = Ensemble(self.model, margin=self.margin or self.softmax or self.path > 0)
        found: Ensemble = self.loaded
        return found


def within(x: np.ndarray, *, single: bool, null: bool, infinite: bool) -> np.ndarray:
    """A matrix that trees may see: without what they refuse, and rounded to single precision where they were trained so.

    Raises:
        InvalidInputError: a value that scikit-learn refuses.
    """
    if not infinite:
        finite(x, "the model", null=null)
    return _rounded(x) if single else x


def _rounded(x: np.ndarray) -> np.ndarray:
    if x.size and np.nanmax(np.abs(x), initial=0.0) > _FLOAT32_MAX:
        raise refuse("a value is too large for the model")
    return x.astype(np.float32).astype(np.float64)


def linked(z: np.ndarray, link: str) -> np.ndarray:
    """The sums of trees as scores: ``identity``, ``exp``, ``softmax`` or ``logistic`` (one output, two classes)."""
    if link == "identity":
        return z
    if link == "exp":
        return np.asarray(np.exp(z))
    if link == "softmax":
        return _softmax(z)
    yes = _expit_many(z[:, -1:])
    return np.hstack([1.0 - yes, yes])


@register
class Linear(Step):
    """A linear model: a dot product and a link.

    Attributes:
        coefficients: outputs x features.
        intercept: one an output.
        link: ``identity``, ``exp``, ``logistic`` (one output, two classes), ``softmax``, ``each`` (a logistic for each class, shared out)
            or ``huber`` (SGDClassifier's modified_huber).
    """

    coefficients: np.ndarray
    intercept: np.ndarray
    link: str

    def run(self, value: Value) -> Value:
        """The score matrix."""
        x = finite(as_matrix(value), "the model", null=False)
        z = product(x, self.coefficients) + self.intercept
        if self.link == "identity":
            return z
        if self.link == "exp":
            return np.exp(z)
        if self.link == "logistic":
            yes = expit(z[0, 0]) if len(z) == 1 else _expit_many(z[:, 0])
            return np.array([[1.0 - yes, yes]]) if len(z) == 1 else np.column_stack([1.0 - yes, yes])
        if self.link == "softmax":
            return _softmax(z)
        found = _expit_many(z) if self.link == "each" else (np.clip(z, -1.0, 1.0) + 1.0) / 2.0
        if found.shape[1] == 1:
            return np.hstack([1.0 - found, found])
        return _shared(found)


@register
class Constant(Step):
    """The same scores for every row."""

    values: np.ndarray

    def run(self, value: Value) -> Value:
        """Those scores."""
        count = len(value) if isinstance(value, np.ndarray) else len(value[0])
        return np.tile(self.values, (count, 1))


@register
class Mean(Step):
    """The weighted mean of the scores of several models: voting, bagging, calibration by folds."""

    members: list[Step]
    weights: list[float]

    def run(self, value: Value) -> Value:
        """The mean."""
        found = [as_matrix(member.run(value)) for member in self.members]
        return np.asarray(np.average(np.stack(found), axis=0, weights=self.weights))

    def one(self, row: Row) -> Row:
        """The mean for one row."""
        found = [member.one(row) for member in self.members]
        return list(np.average(np.array(found), axis=0, weights=self.weights).tolist())


@register
class Calibrate(Step):
    """CalibratedClassifierCV: probabilities from a model's distances (or its own probabilities), by class.

    Attributes:
        margin: gives the distances, one column (for the second of two classes) or one a class.
        method: ``sigmoid`` or ``isotonic``.
        maps: for each column, slope and offset of the sigmoid, or the thresholds of the isotonic steps.
    """

    margin: Step
    method: str
    maps: list[Any]

    def run(self, value: Value) -> Value:
        """The probabilities of each class."""
        margins = as_matrix(self.margin.run(value))
        if len(self.maps) == 1:
            margins = margins[:, -1:]
        found = np.column_stack([self._mapped(margins[:, place], known) for place, known in enumerate(self.maps)])
        if found.shape[1] == 1:
            return np.hstack([1.0 - found, found])
        found = _shared(found)
        # As scikit-learn has it: rounding stays below one.
        found[(found > 1.0) & (found <= 1.0 + 1e-5)] = 1.0
        return found

    def _mapped(self, margins: np.ndarray, known: Any) -> np.ndarray:
        if self.method == "sigmoid":
            return _expit_many(-(known[0] * margins + known[1]))
        low, high = known[0][0], known[0][-1]
        return np.asarray(np.interp(np.clip(margins, low, high), known[0], known[1]))


def _shared(found: np.ndarray) -> np.ndarray:
    """Weights of classes as shares; rows that no class wants are shared evenly."""
    total = found.sum(axis=1, keepdims=True)
    return np.divide(found, total, out=np.full_like(found, 1.0 / found.shape[1]), where=total != 0)


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def expit(z: float) -> float:
    """The logistic function of one number."""
    e = float(np.exp(-abs(z)))  # numpy's, which math's differs from by a last bit: one row is to get what many get
    return 1.0 / (1.0 + e) if z >= 0 else e / (1.0 + e)


def _expit_many(z: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0 / (1.0 + e), e / (1.0 + e))
