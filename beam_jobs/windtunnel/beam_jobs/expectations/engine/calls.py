"""Calling Great Expectations' own metric functions on a frame of ours.

`Calls` wraps one frame: a chunk's rows, or distinct rows. Whatever a metric needs that depends on rows (conditions, mapped values) is
worked out on that same frame, once.
"""

import dataclasses
import re
import warnings
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from great_expectations.core.batch import BatchMarkers
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.registry import get_metric_provider
from great_expectations.validator.metric_configuration import MetricConfiguration

from windtunnel.lifecycle.payload import JsonObject

__all__ = ["CONDITION", "MAP", "Calls", "FrameEngine", "Later", "MetricFailure", "MetricId", "bare", "domain_columns", "mentions_index"]

CONDITION = ".condition"
MAP = ".map"
MetricId: TypeAlias = tuple[str, str, str]
"""What Great Expectations tells metrics apart by: name, domain, values."""
_BATCH = "frame"


class FrameEngine(PandasExecutionEngine):
    """GX's pandas engine over whichever frame `look_at` was given last."""

    def look_at(self, frame: pd.DataFrame) -> None:
        """Make a frame the one batch."""
        self.load_batch_data(_BATCH, frame)

    def get_domain_records(self, domain_kwargs: dict[str, object]) -> pd.DataFrame:
        """The rows of a domain, of that frame, whichever batch it names."""
        return super().get_domain_records({**domain_kwargs, "batch_id": _BATCH})

    def get_batch_data_and_markers(self, batch_spec: object) -> tuple[Any, BatchMarkers]:
        """Not for use: frames come by `look_at`."""
        return super().get_batch_data_and_markers(batch_spec)


@dataclasses.dataclass(frozen=True)
class Later:
    """Stands for a metric that has a value a row: worked out frame by frame.

    Attributes:
        metric: what GX asked for.
        needs: the metrics that it depends on, by name.
    """

    metric: MetricConfiguration
    needs: Mapping[str, Any]


class MetricFailure(Exception):  # it carries a failure of GX's to where GX wants it
    """A metric function of GX's raised."""

    def __init__(self, metric: MetricConfiguration, error: Exception) -> None:
        self.metric, self.error = metric, error
        super().__init__(str(error))


class Calls:
    """Metrics of one frame.

    Args:
        engine: the engine to call with.
        frame: the rows.
        instead: values for metrics that are known otherwise, by their id.
    """

    def __init__(self, engine: FrameEngine, frame: pd.DataFrame, instead: Mapping[MetricId, Any] | None = None) -> None:
        self.engine = engine
        self.frame = frame
        self._known: dict[MetricId, Any] = dict(instead or {})

    def value(self, metric: MetricConfiguration, needs: Mapping[str, object]) -> Any:
        """A metric's value on this frame.

        Raises:
            MetricFailure: the metric's function raised; says which metric of those that were needed.
        """
        if metric.id in self._known:
            return self._known[metric.id]
        ready = {name: self.value(need.metric, need.needs) if isinstance(need, Later) else need for name, need in needs.items()}
        self.engine.look_at(self.frame)
        provider, function = get_metric_provider(metric_name=metric.metric_name, execution_engine=self.engine)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = function(
                    cls=provider,
                    execution_engine=self.engine,
                    metric_domain_kwargs=metric.metric_domain_kwargs,
                    metric_value_kwargs=metric.metric_value_kwargs,
                    metrics=ready,
                    runtime_configuration={},
                )
        except Exception as error:
            raise MetricFailure(metric, error) from error
        self._known[metric.id] = found
        return found

    def domain(self, kwargs: Mapping[str, Any]) -> pd.DataFrame:
        """The rows that a metric's domain is about: row condition and ``ignore_row_if`` applied."""
        self.engine.look_at(self.frame)
        return self.engine.get_domain_records(dict(kwargs))

    def unexpected(self, condition: Later) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """For a frame numbered from 0: the places of the rows that a condition looked at, and which of them it did not like."""
        mask, _, _ = self.value(condition.metric, condition.needs)
        np.count_nonzero(mask)  # raises where GX's own count would
        bad = np.asarray(mask).astype(bool)
        places = mask.index.to_numpy() if isinstance(mask, pd.Series) else np.arange(len(bad))
        return places, bad


def bare(kwargs: Mapping[str, Any]) -> JsonObject:
    """Domain keyword arguments without the batch, as a key."""
    return {name: value for name, value in kwargs.items() if name != "batch_id" and value is not None}


def named_columns(kwargs: Mapping[str, Any]) -> list[Any]:
    """The columns that the arguments of a metric's domain name."""
    single = [kwargs[key] for key in ("column", "column_A", "column_B") if kwargs.get(key) is not None]
    return [*single, *(kwargs.get("column_list") or [])]


def domain_columns(metric: MetricConfiguration, columns: list[str]) -> list[str] | None:
    """The columns, of those there are, that a metric looks at; None if it may look at any.

    A row condition is text or an object of GX's: every column whose name occurs in it counts as looked at.
    """
    kwargs = metric.metric_domain_kwargs
    named = named_columns(kwargs)
    condition = kwargs.get("row_condition")
    if not named and not condition and metric.metric_name != "table.row_count":
        return None
    text = repr(condition) if condition else ""
    wanted = set(map(str, named))
    return [name for name in columns if name in wanted or (text and name in text)]


def mentions_index(metric: MetricConfiguration, columns: list[str]) -> bool:
    """Whether a row condition looks at the row's place, or at variables of the caller."""
    text = repr(metric.metric_domain_kwargs.get("row_condition") or "")
    # The longest first: a short name cut out of a long one would leave text that looks like something else.
    for name in sorted(columns, key=len, reverse=True):
        text = text.replace(name, "")
    return bool(re.search(r"\bindex\b|\bilevel_|@|\.(shift|cum\w+|rank|mean|max|min|sum|std|median|duplicated|quantile|diff)\b", text))
