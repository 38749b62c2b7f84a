"""Validate: the suite and the limits that data must meet before anything is learned from it."""

import datetime as dt
from typing import TYPE_CHECKING, Any

from windtunnel.lifecycle.contract.errors import ValidationFailedError
from windtunnel.lifecycle.contract.stages import stage
from windtunnel.operators.base import StageOperator
from windtunnel.operators.telling.links import artifact_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.context import RunContext
    from windtunnel.lifecycle.contract.references import Reference, SnapshotRef, StatisticsRef, ValidationRef

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

    stage = "validate"

    def __init__(self, *, snapshot: object, statistics: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.snapshot = snapshot
        self.statistics = statistics

    def run_stage(self, context: "Context", work: "RunContext") -> "Reference":
        """Validate; the link leads to the result also when the data failed."""
        self._look_again(context, work)
        try:
            result: ValidationRef = self.do(work)
        except ValidationFailedError as error:
            self.link = artifact_url(work.settings, str(error.details.get("docs", "")))
            raise
        self.link = artifact_url(work.settings, result.docs)
        context["ti"].xcom_push(key="snapshot", value=result.snapshot)
        return result

    def _look_again(self, context: "Context", work: "RunContext") -> None:
        """Take the snapshot as the source is now, if this very data has stopped the run before."""
        from windtunnel.beam_jobs.expectations import stopped
        from windtunnel.lifecycle.contract.window import Window
        from windtunnel.lifecycle.record.baseline_data import champion_statistics

        given = self.references()
        snapshot: SnapshotRef = given["snapshot"]
        statistics: StatisticsRef | None = given["statistics"]
        if not stopped(self.problem, snapshot, statistics, work.settings) or (context.get("params") or {}).get("data_version"):
            return  # a version that somebody asked for stays as it is
        window = Window(dt.date.fromisoformat(snapshot.start), dt.date.fromisoformat(snapshot.end))
        fresh: SnapshotRef = stage("ingest").function()(work, window=window)
        if fresh.fingerprint == snapshot.fingerprint:
            return
        self.log.info("this data stopped the run before, and its source has changed since: it was ingested again: %s", fresh)
        self.snapshot = fresh.to_dict()
        if statistics is not None:
            reference = champion_statistics(work.settings, self.problem.name, before=fresh.end)
            self.statistics = stage("profile").function()(work, snapshot=fresh, reference=reference).to_dict()
