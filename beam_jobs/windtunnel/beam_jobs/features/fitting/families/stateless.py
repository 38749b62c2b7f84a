"""Estimators that learn nothing from the rows but their shape and names: fitted on the first few rows."""

from typing import Any

import numpy as np
from sklearn.preprocessing import Binarizer, Normalizer, PolynomialFeatures

from windtunnel.beam_jobs.features.fitting.engine import Context, Fit
from windtunnel.beam_jobs.features.fitting.registry import identity_map
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.tallies.moments import stand_in
from windtunnel.beam_jobs.features.tallies.streams import Stream

_CHECKED = (Normalizer, Binarizer, PolynomialFeatures)
"""They refuse NaN and infinity when they are fitted."""


def elementwise(fitted: Any) -> list[int] | None:
    """A numpy ufunc works on each entry alone."""
    plain = isinstance(fitted.func, np.ufunc) or fitted.func is None
    return identity_map(fitted) if plain and not fitted.kw_args and hasattr(fitted, "n_features_in_") else None


def stateless(context: Context, estimator: Any, stream: Stream, where: str) -> Fit:
    """On the first few rows, as nothing is learnt; but what scikit-learn refuses in any row is refused, where tallies show it."""
    head = context.peek(stream)
    with quiet():
        estimator.fit(head)
    if (isinstance(estimator, _CHECKED) or getattr(estimator, "validate", False)) and context.countable(stream):
        moments = yield from context.moments(stream)
        with quiet():
            estimator.fit(stand_in(moments, head))
    return estimator
