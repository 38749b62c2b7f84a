"""LabelBinarizer and LabelEncoder: the classes are the distinct values."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from windtunnel.beam_jobs.features.fitting.engine import Context, Fit
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.tallies.streams import Apply, Pick, Source, Stream
from windtunnel.lifecycle.contract.errors import ConfigurationError

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["labels"]


def labels(context: Context, estimator: "BaseEstimator", stream: Stream, where: str) -> Fit:
    """Fitted by scikit-learn itself on the distinct labels; of a table with one column, that column is the labels."""
    head = context.peek(stream)
    if isinstance(head, pd.DataFrame):
        if head.shape[1] != 1:
            raise ConfigurationError(
                f"{where}: a {type(estimator).__name__} takes one column of labels but is given {head.shape[1]}: {list(head.columns)}",
                hint="name it: options columns=[...]",
            )
        name = head.columns[0]
        stream = stream.then(Pick(name, [name] if isinstance(stream.step, Source) else None))
    summary = yield from context.summary(stream)
    summary.need_complete()
    with quiet():
        distinct = summary.surrogate()
        counts = summary.column(0)[1]
        if summary.rows > len(counts):  # the kind of target is inferred from there being repeats
            distinct = pd.concat([distinct, distinct[:1]]) if isinstance(distinct, pd.Series) else np.concatenate([distinct, distinct[:1]])
        return estimator.fit(distinct), stream.then(Apply(estimator)), None
