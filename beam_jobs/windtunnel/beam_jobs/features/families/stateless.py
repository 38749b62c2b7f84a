"""Estimators that learn nothing from the rows but their shape and names: fitted on the first few rows."""

from typing import Any

import numpy as np
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.preprocessing import Binarizer, FunctionTransformer, Normalizer, PolynomialFeatures

from windtunnel.beam_jobs.features.engine import Context, Fit
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.registry import family, identity_map, maps
from windtunnel.beam_jobs.features.streams import Stream

maps(Binarizer)(identity_map)


@maps(FunctionTransformer)
def elementwise(fitted: Any) -> list[int] | None:
    """A numpy ufunc works on each entry alone."""
    plain = isinstance(fitted.func, np.ufunc) or fitted.func is None
    return identity_map(fitted) if plain and not fitted.kw_args and hasattr(fitted, "n_features_in_") else None


@family(Normalizer, Binarizer, PolynomialFeatures, FunctionTransformer, HashingVectorizer, FeatureHasher)
def stateless(context: Context, estimator: Any, stream: Stream, where: str) -> Fit:
    """No pass at all."""
    with quiet():
        estimator.fit(context.peek(stream))
    return estimator
    yield []  # a coroutine like the others, which never asks
