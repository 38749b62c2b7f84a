"""Validate: the suite and the limits that data must meet before anything is learned from it."""

import datetime as dt
from typing import TYPE_CHECKING, Any

from windtunnel.lifecycle.contract.errors import ValidationFailedError
from windtunnel.operators.base import StageOperator, problem_of
from windtunnel.operators.telling.alerts import alerts_of
from windtunnel.operators.telling.links import DataDocsLink, artifact_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.references import Reference, SnapshotRef, StatisticsRef
    from windtunnel.lifecycle.contract.settings import Settings

__all__ = ["ValidateOperator"]


class ValidateOperator(StageOperator):
    """Run the problem's Great Expectations suite over the snapshot; a suite that is not met stops the run and alerts once.

    Cleared after it stopped the run, the task looks at the source again: mended days are ingested, so that clearing this task alone goes
    on. The snapshot that goes on (also without rows that were set aside in quarantine) is the XCom ``snapshot``:
    ``validate.output["snapshot"]`` is what later stages should be given.

    Args:
        problem: a problem, or the path of its file.
        snapshot: the snapshot reference (``ingest.output``).
        statistics: the statistics reference (``profile.output``), for limits on drift and balance; None for the suite alone.
        **kwargs: what every Airflow operator takes. ``on_failure_callback`` is the problem's ``alerts`` if not given.
    """

    template_fields = ("snapshot", "statistics")
    operator_extra_links = (DataDocsLink(),)

    def __init__(self, *, problem: Any, snapshot: Any, statistics: Any = None, **kwargs: Any) -> None:
        problem = problem_of(problem)
        if problem.alerts:
            kwargs.setdefault("on_failure_callback", alerts_of(problem))
        super().__init__(problem=problem, **kwargs)
        self.snapshot = snapshot
        self.statistics = statistics

    def run_stage(self, context: "Context", settings: "Settings") -> "Reference":
        """Validate; the link leads to the result also when the data failed."""
        from windtunnel.beam_jobs.expectations import stopped, validate
        from windtunnel.beam_jobs.job import Progress
        from windtunnel.lifecycle.contract.references import SnapshotRef, StatisticsRef

        self.given(snapshot=self.snapshot)
        snapshot = SnapshotRef.from_dict(self.snapshot)
        statistics = StatisticsRef.from_dict(self.statistics) if self.statistics else None
        if stopped(self.problem, snapshot, statistics, settings):
            snapshot, statistics = self._look_again(context, settings, snapshot, statistics)
        try:
            result = validate(self.problem, snapshot, statistics, settings, Progress("validate", snapshot.rows))
        except ValidationFailedError as error:
            self.link = artifact_url(settings, str(error.details.get("docs", "")))
            raise
        self.link = artifact_url(settings, result.docs)
        context["ti"].xcom_push(key="snapshot", value=result.snapshot)
        return result

    def _look_again(
        self, context: "Context", settings: "Settings", snapshot: "SnapshotRef", statistics: "StatisticsRef | None"
    ) -> "tuple[SnapshotRef, StatisticsRef | None]":
        """The snapshot as the source is now, after this very data has stopped the run once."""
        from windtunnel.beam_jobs.ingest import ingest
        from windtunnel.beam_jobs.job import Progress
        from windtunnel.beam_jobs.profile import profile
        from windtunnel.lifecycle.contract.window import Window
        from windtunnel.lifecycle.record.baseline_data import champion_statistics

        if (context.get("params") or {}).get("data_version"):
            return snapshot, statistics  # a version that somebody asked for stays as it is
        window = Window(dt.date.fromisoformat(snapshot.start), dt.date.fromisoformat(snapshot.end))
        fresh = ingest(self.problem, window, settings, Progress("ingest"))
        if fresh.fingerprint == snapshot.fingerprint:
            return snapshot, statistics
        self.log.info("this data stopped the run before, and its source has changed since: it was ingested again: %s", fresh)
        if statistics is not None:
            reference = champion_statistics(settings, self.problem.name, before=fresh.end)
            statistics = profile(self.problem, fresh, settings, Progress("profile", fresh.rows), reference)
        self.snapshot, self.statistics = fresh.to_dict(), statistics.to_dict() if statistics else None
        return fresh, statistics
