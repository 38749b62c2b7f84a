"""The steps of a plan that bend or combine numbers: power and quantile maps, splines, polynomials, projections."""

from typing import Any

import numpy as np

from windtunnel.serving.compiler.plan import Step, Value, as_matrix, refuse, register
from windtunnel.serving.compiler.steps import finite

__all__ = ["FUNCTIONS", "Apply", "Normalize", "Polynomial", "Power", "Project", "Quantiles", "Splines", "Threshold"]

FUNCTIONS = {
    name: getattr(np, name)
    for name in ("log", "log1p", "log2", "log10", "exp", "expm1", "sqrt", "cbrt", "square", "abs", "absolute", "sin", "cos", "tanh", "sign")
}
"""The functions that a FunctionTransformer may have: numpy's own, by name."""


@register
class Apply(Step):
    """FunctionTransformer with one of `FUNCTIONS`."""

    function: str

    def run(self, value: Value) -> Value:
        """The function of each value."""
        return np.asarray(FUNCTIONS[self.function](as_matrix(value)))


@register
class Threshold(Step):
    """Binarizer."""

    above: float

    def run(self, value: Value) -> Value:
        """1.0 above the threshold."""
        return (finite(as_matrix(value), "Binarizer", null=False) > self.above).astype(np.float64)


@register
class Normalize(Step):
    """Normalizer: each row by its own norm."""

    norm: str

    def run(self, value: Value) -> Value:
        """Rows of norm one; rows of zeros stay."""
        x = finite(as_matrix(value), "Normalizer", null=False)
        if self.norm == "l1":
            norms = np.abs(x).sum(axis=1)
        elif self.norm == "l2":
            norms = np.sqrt(np.einsum("ij,ij->i", x, x))
        else:
            norms = np.abs(x).max(axis=1)
        # As scikit-learn has it: a norm that is next to nothing counts as one.
        norms = np.where(norms < 10 * np.finfo(np.float64).eps, 1.0, norms)
        return x / norms[:, None]


@register
class Power(Step):
    """PowerTransformer, without the scaling that may follow it."""

    lambdas: list[float]
    method: str

    def run(self, value: Value) -> Value:
        """The transformed values."""
        x = finite(as_matrix(value), "PowerTransformer").copy()
        # a comparison with NaN is false: null passes, as it does in scikit-learn
        if self.method == "box-cox" and (x <= 0).any():
            raise refuse("the Box-Cox transformation takes positive numbers only")
        for index, power in enumerate(self.lambdas):
            x[:, index] = _box_cox(x[:, index], power) if self.method == "box-cox" else _yeo_johnson(x[:, index], power)
        return x


def _box_cox(x: np.ndarray, power: float) -> np.ndarray:
    return np.asarray(np.log(x) if power == 0 else np.expm1(power * np.log(x)) / power)


def _yeo_johnson(x: np.ndarray, power: float) -> np.ndarray:
    out = x.copy()
    positive, negative = x >= 0, x < 0
    # as scipy and scikit-learn have it: so near to the limit the quotient below is 0 / 0
    if abs(power) < np.spacing(1.0):
        out[positive] = np.log1p(x[positive])
    else:
        out[positive] = np.expm1(power * np.log1p(x[positive])) / power
    if abs(power - 2) > np.spacing(1.0):
        out[negative] = -np.expm1((2 - power) * np.log1p(-x[negative])) / (2 - power)
    else:
        out[negative] = -np.log1p(-x[negative])
    return out


@register
class Quantiles(Step):
    """QuantileTransformer.

    Attributes:
        quantiles: references x features.
        references: between 0 and 1.
        normal: whether the output is normal instead of uniform.
    """

    quantiles: np.ndarray
    references: np.ndarray
    normal: bool

    def run(self, value: Value) -> Value:
        """The share of training values below each value, or the normal score of it."""
        x = finite(as_matrix(value), "QuantileTransformer")
        out = np.empty_like(x)
        for index in range(x.shape[1]):
            out[:, index] = self._column(x[:, index], self.quantiles[:, index])
        return out

    def _column(self, column: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
        low, high = quantiles[0], quantiles[-1]
        out = column.copy()
        there = ~np.isnan(column)
        values = column[there]
        # The mean of the map from below and from above: equal quantiles become the middle of their shares.
        below = np.interp(values, quantiles, self.references)
        above = -np.interp(-values, -quantiles[::-1], -self.references[::-1])
        out[there] = 0.5 * (below + above)
        if self.normal:
            with np.errstate(invalid="ignore"):
                # scikit-learn's own threshold (BOUNDS_THRESHOLD): another one would put values near the edge elsewhere
                out[column - 1e-7 < low] = 0.0
                out[column + 1e-7 > high] = 1.0
            from scipy.special import ndtri

            # the ends would be infinite: scikit-learn clips to these scores
            out[there] = np.clip(ndtri(out[there]), ndtri(1e-7 - np.spacing(1.0)), ndtri(1.0 - (1e-7 - np.spacing(1.0))))
            return out
        out[column == high] = 1.0
        out[column == low] = 0.0
        return out


@register
class Polynomial(Step):
    """PolynomialFeatures: products of powers of the columns.

    Attributes:
        factors: for each output, the columns that are multiplied, each as often as its power says.
    """

    factors: list[list[int]]

    def run(self, value: Value) -> Value:
        """The products."""
        x = finite(as_matrix(value), "PolynomialFeatures", null=False)
        out = np.ones((len(x), len(self.factors)))
        for index, columns in enumerate(self.factors):
            for column in columns:
                out[:, index] *= x[:, column]
        return out


@register
class Splines(Step):
    """SplineTransformer.

    Attributes:
        knots: for each column, the knots with those beyond the boundaries.
        coefficients: for each column, of the B-splines.
        degree: of the polynomials.
        extrapolation: ``constant``, ``continue``, ``linear``, ``periodic`` or ``error`` beyond the boundaries.
        bias: whether the last spline of each column is kept.
    """

    knots: list[np.ndarray]
    coefficients: list[np.ndarray]
    degree: int
    extrapolation: str
    bias: bool

    def run(self, value: Value) -> Value:
        """The splines' values."""
        from scipy.interpolate import BSpline

        x = finite(as_matrix(value), "SplineTransformer", null=False)
        found = []
        for index, (knots, coefficients) in enumerate(zip(self.knots, self.coefficients, strict=True)):
            spline = BSpline.construct_fast(knots, coefficients, self.degree, extrapolate=self.extrapolation == "continue")
            values = self._column(spline, x[:, index])
            found.append(values if self.bias else values[:, :-1])
        return np.hstack(found)

    def _column(self, spline: Any, x: np.ndarray) -> np.ndarray:
        if self.extrapolation == "continue":
            return np.asarray(spline(x))
        count = spline.c.shape[1]
        low, high = spline.t[self.degree], spline.t[-self.degree - 1]
        if self.extrapolation == "periodic":
            return np.asarray(spline(low + (x - low) % (high - low)))
        if self.extrapolation == "error" and ((x < low) | (x > high)).any():
            raise refuse("a value beyond the knots of the model's splines, which were told to refuse it")
        inside = (x >= low) & (x <= high)
        out = np.zeros((len(x), count))
        out[inside] = spline(x[inside])
        below, above = x < low, x > high
        # at the boundary only `degree` splines differ from zero: the others stay 0 beyond it too
        edges, slopes = spline(np.array([low, high])), spline(np.array([low, high]), nu=1)
        degree = max(self.degree, 1) if self.extrapolation == "linear" else self.degree
        if below.any():
            out[np.ix_(below, range(degree))] = edges[0, :degree]
            if self.extrapolation == "linear":
                out[np.ix_(below, range(degree))] += (x[below, None] - low) * slopes[0, :degree]
        if above.any():
            out[np.ix_(above, range(count - degree, count))] = edges[1, count - degree :]
            if self.extrapolation == "linear":
                out[np.ix_(above, range(count - degree, count))] += (x[above, None] - high) * slopes[1, count - degree :]
        return out


@register
class Project(Step):
    """PCA and TruncatedSVD: a projection, after taking a mean away and before dividing by scales."""

    components: np.ndarray
    mean: Any = None
    scale: Any = None

    def run(self, value: Value) -> Value:
        """The coordinates."""
        # As scikit-learn multiplies, by BLAS: what follows may be a tree whose threshold lies within a last bit.
        out = finite(as_matrix(value), "a projection", null=False) @ self.components.T
        if self.mean is not None:
            out = out - self.mean
        return out if self.scale is None else out / self.scale
