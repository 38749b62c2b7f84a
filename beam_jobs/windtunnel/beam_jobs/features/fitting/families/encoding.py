"""OneHotEncoder and OrdinalEncoder: categories are the distinct values, the infrequent ones follow from their counts."""

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse

from windtunnel.beam_jobs.features.fitting.engine import Context, Fit
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.tallies.streams import Stream
from windtunnel.beam_jobs.features.tallies.summary import Summary
from windtunnel.lifecycle.learning import scikit

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator


def _counted(categories: np.ndarray, values: object, counts: np.ndarray) -> np.ndarray:
    """How often each category occurs."""
    # No dictionary finds NaN, which equals nothing, so it has a name; the tuples keep a text "nan" apart from it.
    held = {("nan" if scikit.is_nan(value) else (value,)): count for value, count in zip(_plain(values), counts.tolist(), strict=True)}
    return np.array([held.get("nan" if scikit.is_nan(value) else (value,), 0) for value in _plain(categories)], dtype=np.int64)


def _plain(values: Any) -> list[Any]:
    return [value.item() if hasattr(value, "item") else value for value in np.asarray(values)]


def _fit_on_distinct(estimator: "BaseEstimator", summary: Summary, *, applied: bool) -> None:
    """Fit on the distinct values, then group the infrequent ones by their true counts."""
    summary.need_complete()
    limits = {"min_frequency": estimator.min_frequency, "max_categories": estimator.max_categories}
    surrogate = summary.surrogate()
    with quiet():
        if not summary.has_times_missing:  # where categories are counted, scikit-learn tells one NaT from another
            estimator.set_params(min_frequency=None, max_categories=None)
        estimator.fit(surrogate)
        estimator.set_params(**limits)
        scikit.group_infrequent(
            estimator, summary.rows, lambda: [_counted(found, *summary.column(i)) for i, found in enumerate(estimator.categories_)]
        )
        if applied and estimator.handle_unknown == "error" and summary.has_times_missing:
            estimator.transform(surrogate)  # refuses: a missing time equals no category


def one_hot(context: Context, estimator: "BaseEstimator", stream: Stream, where: str) -> Fit:
    """Answers how many entries it stores, too: that decides whether a ColumnTransformer is sparse."""
    summary = yield from context.summary(stream)
    limited = estimator.min_frequency is not None or estimator.max_categories is not None
    summary = summary.each_null(context.options.each_null, "mM" if limited else "m")
    _fit_on_distinct(estimator, summary, applied=where != context.last)
    widths = scikit.settle_widths(estimator)
    if not estimator.sparse_output:
        return estimator
    with quiet():
        encoded = scipy.sparse.csc_matrix(estimator.transform(summary.surrogate()))
    stored, start = 0, 0
    for i, width in enumerate(widths):
        counts = summary.column(i)[1]
        # The rows below are repeats that only fill the stand-in up.
        entries = encoded[:, start : start + width].tocsr().getnnz(axis=1)[: len(counts)]
        stored += int(np.dot(entries, counts))
        start += width
    return estimator, None, stored


def ordinal(context: Context, estimator: "BaseEstimator", stream: Stream, where: str) -> Fit:
    """Categories, and the infrequent ones grouped."""
    summary = yield from context.summary(stream)
    limited = estimator.min_frequency is not None or estimator.max_categories is not None
    summary = summary.each_null(context.options.each_null, "mM" if limited else "m")
    _fit_on_distinct(estimator, summary, applied=where != context.last)
    return estimator
