"""Validate: the suite and the limits that data must meet before anything is learned from it."""

from typing import TYPE_CHECKING, Any

from windtunnel.lifecycle.errors import ValidationFailedError
from windtunnel.operators.base import StageOperator
from windtunnel.operators.links import DataDocsLink, artifact_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.references import Reference
    from windtunnel.lifecycle.settings import Settings

__all__ = ["ValidateOperator"]


class ValidateOperator(StageOperator):
    """Run the problem's Great Expectations suite over the snapshot; a suite that is not met stops the run.

    Args:
        problem: a problem, or the path of its file.
        snapshot: the snapshot reference (``ingest.output``).
        statistics: the statistics reference (``profile.output``), for limits on drift and balance; None for the suite alone.
        **kwargs: what every Airflow operator takes.
    """

    template_fields = ("snapshot", "statistics")
    operator_extra_links = (DataDocsLink(),)

    def __init__(self, *, snapshot: Any, statistics: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.snapshot = snapshot
        self.statistics = statistics

    def run_stage(self, context: "Context", settings: "Settings") -> "Reference":  # noqa: ARG002
        """Validate; the link leads to the result also when the data failed."""
        from windtunnel.beam_jobs.expectations import validate
        from windtunnel.beam_jobs.job import Progress
        from windtunnel.lifecycle.references import SnapshotRef, StatisticsRef

        self.given(snapshot=self.snapshot)
        snapshot = SnapshotRef.from_dict(self.snapshot)
        statistics = StatisticsRef.from_dict(self.statistics) if self.statistics else None
        try:
            result = validate(self.problem, snapshot, statistics, settings, Progress("validate", snapshot.rows))
        except ValidationFailedError as error:
            self.link = artifact_url(settings, str(error.details.get("docs", "")))
            raise
        self.link = artifact_url(settings, result.docs)
        return result
