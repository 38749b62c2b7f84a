"""An execution engine for Great Expectations that reads Parquet chunk by chunk.

To GX it is its pandas engine: every metric of pandas is inherited. Only `resolve_metrics` is ours: it puts off what depends on rows,
asks `Questions` for all the rest at once, and remembers what failed, so that GX's retries cost nothing.
"""

import datetime as dt
import logging
from collections.abc import Iterable
from typing import Any

import great_expectations.exceptions as gx_exceptions
from great_expectations.core.batch import BatchData, BatchMarkers
from great_expectations.core.batch_spec import BatchSpec
from great_expectations.validator.metric_configuration import MetricConfiguration

from windtunnel.beam_jobs.expectations.engine.calls import CONDITION, MAP, FrameEngine, Later, MetricFailure, MetricId
from windtunnel.beam_jobs.expectations.engine.questions import Questions

__all__ = ["ArrowBatchData", "ArrowBatchSpec", "ArrowExecutionEngine"]

log = logging.getLogger("windtunnel.expectations")

_NOW = {
    "table.columns",
    "table.column_types",
    "table.column_count",
    "column.descriptive_stats",
    "column.non_null_proportion",
    "column.partition",
    "column.unique_proportion",
    "column_values.match_regex.count",
    "column_values.nonnull.count",
    "column_values.not_match_regex.count",
    "column_values.null.count",
}
"""Metrics that are functions of the schema or of other metrics."""


class ArrowBatchSpec(BatchSpec):
    """Says what a batch is made of, as GX shows it in results; ``data`` is taken out when the batch is loaded."""


class ArrowBatchData(BatchData):
    """A batch: a source and what was found out about it."""

    def __init__(self, engine: "ArrowExecutionEngine", questions: Questions) -> None:
        super().__init__(engine)
        self.questions = questions
        self.failures: dict[MetricId, MetricFailure] = {}


class ArrowExecutionEngine(FrameEngine):
    """GX's pandas engine without the frame.

    Example:
        see `windtunnel.beam_jobs.expectations.engine.datasource`.
    """

    def get_batch_data_and_markers(self, batch_spec: Any) -> tuple[Any, BatchMarkers]:
        """A batch of what an asset of ours names; nothing is read but the files' footers."""
        load = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        return batch_spec.pop("data"), BatchMarkers({"ge_load_time": load})

    def load_batch_data(self, batch_id: str, batch_data: Any) -> None:
        """Make a batch known by its id."""
        if isinstance(batch_data, ArrowBatchData):
            self._batch_manager.save_batch_data(batch_id=batch_id, batch_data=batch_data)
        else:
            super().load_batch_data(batch_id, batch_data)

    def resolve_metrics(
        self,
        metrics_to_resolve: Iterable[MetricConfiguration],
        metrics: dict[MetricId, object] | None = None,
        runtime_configuration: dict[str, object] | None = None,
    ) -> dict[MetricId, object]:
        """The values of metrics; possibly of some first, as GX asks again for the rest."""
        asked = list(metrics_to_resolve)
        if not asked:
            return metrics or {}
        known = metrics if metrics is not None else {}
        batch = self._batch(asked)
        fresh = [metric for metric in asked if metric.id not in batch.failures]
        if not fresh:
            raise _resolution_error(batch, asked[0])
        answers: dict[MetricId, Any] = {}
        later = []
        for metric in fresh:
            needs = self._get_computed_metric_evaluation_dependencies_by_metric_name(metric_to_resolve=metric, metrics=known)
            if metric.metric_name.endswith((CONDITION, MAP)):
                answers[metric.id] = Later(metric, needs)
            elif metric.metric_name in _NOW and not batch.questions.depends_on_rows(metric):
                _answer_now(batch, metric, needs, answers)
            else:
                later.append((metric, needs))
        # GX comes back for the rest with these at hand, and then all that needs rows is asked in one pass.
        if answers or not later:
            return answers
        answers, failures = batch.questions.answer(later)
        batch.failures.update(failures)
        _withdraw(known, set(failures))
        return answers

    def _batch(self, asked: list[MetricConfiguration]) -> ArrowBatchData:
        ids = {metric.metric_domain_kwargs.get("batch_id") for metric in asked} - {None}
        wanted = next(iter(ids), None) or self.batch_manager.active_batch_data_id
        data = self.batch_manager.batch_data_cache.get(wanted) if wanted is not None else None
        if not isinstance(data, ArrowBatchData):
            raise gx_exceptions.ValidationError(f"Unable to find batch with batch_id {wanted}")
        return data


def _resolution_error(batch: ArrowBatchData, metric: MetricConfiguration) -> gx_exceptions.MetricResolutionError:
    """What GX raises of a metric that failed before, with that failure as its cause."""
    failure = batch.failures[metric.id].error
    error = gx_exceptions.MetricResolutionError(message=str(failure), failed_metrics=(metric,))
    error.__cause__ = failure
    return error


def _answer_now(batch: ArrowBatchData, metric: MetricConfiguration, needs: dict[str, Any], answers: dict[MetricId, Any]) -> None:
    """Answer a metric that no row is needed for, or keep why it cannot be."""
    try:
        answers[metric.id] = batch.questions.now(metric, needs)
    except MetricFailure as failure:
        batch.failures[metric.id] = failure


def _withdraw(known: dict[MetricId, object], failed: set[MetricId]) -> None:
    """Take back what was put off and then failed, and what depends on it: GX shall meet the failure where its own engine has it."""
    while failed:
        for metric_id in failed:
            known.pop(metric_id, None)
        failed = {
            metric_id
            for metric_id, value in known.items()
            if isinstance(value, Later) and any(isinstance(n, Later) and n.metric.id not in known for n in value.needs.values())
        }
