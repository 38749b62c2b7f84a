"""What a pass over the data gathers: the one class that an extension writes."""

import abc
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.beam_jobs.features.tallies.streams import Chunk, Stream

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["Accumulator", "Gatherer", "Request"]


class Accumulator(abc.ABC):
    """Fits one class of estimator from chunks of rows.

    A worker makes one for a range of rows and calls `accumulate` for each chunk; accumulators of different ranges are merged, in the
    order of the rows; the last one is finished. It must be picklable, and two ways of cutting the rows must give the same answer:
    `windtunnel.beam_jobs.features.testing.AccumulatorConformance` checks that.

    A package registers a subclass in the row of its transformer (`windtunnel.lifecycle.contract.seams.transformers`), by an entry point
    that is named by the estimator's class:

    .. code-block:: toml

        [project.entry-points."windtunnel.transformers"]
        "my_package.scalers.RangeScaler" = "my_package.rows:RANGE_SCALER"

    Args:
        estimator: a clone of the unfitted estimator; `finish` may fit and return it.
    """

    def __init__(self, estimator: "BaseEstimator") -> None:
        self.estimator = estimator

    @abc.abstractmethod
    def accumulate(self, X: Any, y: np.ndarray | None = None, sample_weight: np.ndarray | None = None) -> None:
        """Take in a chunk, exactly as scikit-learn would hand the rows to ``estimator.fit``."""

    @abc.abstractmethod
    def merge(self, other: Any) -> None:
        """Take in what another accumulator of the same class gathered from later rows."""

    @abc.abstractmethod
    def finish(self) -> Any:
        """The fitted estimator, equal to ``estimator.fit`` on all rows."""


class Gatherer(abc.ABC):
    """What a request carries to the workers: gathers over chunks of one stream. Internal; extensions write an `Accumulator`."""

    @abc.abstractmethod
    def gather(self, stream: Stream, chunk: Chunk) -> None:
        """Take in a chunk of the stream."""

    @abc.abstractmethod
    def merge(self, other: Any) -> None:
        """Take in what was gathered from later rows."""

    def join(self, other: Any) -> None:  # noqa: B027 - most have nothing to add
        """Serve another request of the same key, too, before anything is gathered."""


class Request:
    """One thing that a fit needs from a pass.

    Args:
        key: requests with the same key are the same.
        stream: what is read.
        gatherer: an empty one; workers copy it.
        positions: whether it needs the rows' places in the whole data.
    """

    def __init__(self, key: object, stream: Stream, gatherer: Gatherer, *, positions: bool = False) -> None:
        self.key, self.stream, self.gatherer, self.positions = key, stream, gatherer, positions
