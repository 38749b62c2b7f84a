"""Estimators that learn nothing from the rows but their shape and names: fitted on the first few rows."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.preprocessing import Binarizer, FunctionTransformer, Normalizer, PolynomialFeatures

from windtunnel.beam_jobs.features.fitting.engine import Context, Fit
from windtunnel.beam_jobs.features.fitting.registry import identity_map
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.tallies.moments import stand_in
from windtunnel.beam_jobs.features.tallies.streams import Stream
from windtunnel.lifecycle.contract.errors import UnsupportedError

_CHECKED = (Normalizer, Binarizer, PolynomialFeatures)
"""They refuse NaN and infinity when they are fitted."""


def elementwise(fitted: BaseEstimator) -> list[int] | None:
    """A numpy ufunc works on each entry alone."""
    plain = isinstance(fitted.func, np.ufunc) or fitted.func is None
    return identity_map(fitted) if plain and not fitted.kw_args and hasattr(fitted, "n_features_in_") else None


def stateless(context: Context, estimator: BaseEstimator, stream: Stream, where: str) -> Fit:
    """On the first few rows, as nothing is learnt; but what scikit-learn refuses in any row is refused, where tallies show it."""
    head = context.peek(stream)
    with quiet():
        estimator.fit(head)
    if isinstance(estimator, FunctionTransformer) and estimator.func is not None and not isinstance(estimator.func, np.ufunc):
        probe_rowwise(estimator, head, where)
    if (isinstance(estimator, _CHECKED) or getattr(estimator, "validate", False)) and context.countable(stream):
        moments = yield from context.moments(stream)
        with quiet():
            estimator.fit(stand_in(moments, head))
    return estimator


def probe_rowwise(fitted: BaseEstimator, head: Any, where: str) -> None:
    """Ask a function about the first rows at once, and in two parts: it is applied to batches, so both must be the same.

    Raises:
        UnsupportedError: they are not; what a row becomes depends on the rows beside it.
    """
    rows = head.shape[0]
    if rows < 2:  # nothing to cut
        return
    with quiet():
        whole = fitted.transform(head)
        for cut in sorted({1, rows // 2}):
            parts = [fitted.transform(part) for part in (_rows(head, 0, cut), _rows(head, cut, rows))]
            if not _alike(whole, parts):
                raise UnsupportedError(
                    f"{where}: the function of this FunctionTransformer does not work row by row: of {rows} rows at once it makes other "
                    f"values than of {cut} and {rows - cut} of them",
                    hint="let it look at one row alone; what is learnt from all rows (means, ranks) belongs into a transformer with a fit",
                )


def _rows(table: Any, low: int, high: int) -> object:
    return table.iloc[low:high] if hasattr(table, "iloc") else table[low:high]


def _numbers(table: Any) -> np.ndarray:
    return np.asarray(table.toarray() if hasattr(table, "toarray") else table)


def _alike(answer: Any, answers: list[Any]) -> bool:
    """Whether an answer is what several ones are together."""
    if not hasattr(answer, "shape"):  # lists, perhaps of lists
        return bool(list(answer) == [row for part in answers for row in part])
    whole, parts = _numbers(answer), [_numbers(part) for part in answers]
    if len(whole) != sum(len(part) for part in parts) or any(part.shape[1:] != whole.shape[1:] for part in parts):
        return False
    return _same(whole, np.concatenate(parts))


def _same(whole: np.ndarray, joined: np.ndarray) -> bool:
    if whole.dtype.kind in "fciub" and joined.dtype.kind in "fciub":
        return bool(np.allclose(whole, joined, rtol=1e-6, atol=1e-12, equal_nan=True))
    return bool(((whole == joined) | ((whole != whole) & (joined != joined))).all())  # only NaN differs from itself
