"""Profile: statistics of the snapshot, and how far it drifted."""

from typing import TYPE_CHECKING, Any

from windtunnel.operators.base import StageOperator
from windtunnel.operators.telling.links import StatisticsLink, artifact_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.references import Reference
    from windtunnel.lifecycle.contract.settings import Settings

__all__ = ["ProfileOperator"]


class ProfileOperator(StageOperator):
    """Statistics of every column of the snapshot, compared with those that the champion was trained on.

    Args:
        problem: a problem, or the path of its file.
        snapshot: the snapshot reference (``ingest.output``).
        **kwargs: what every Airflow operator takes.
    """

    template_fields = ("snapshot",)
    operator_extra_links = (StatisticsLink(),)

    def __init__(self, *, snapshot: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.snapshot = snapshot
        self.reference: dict[str, Any] | None = None

    def run_stage(self, context: "Context", settings: "Settings") -> "Reference":  # noqa: ARG002
        """Profile, with the champion's statistics as the reference where there is one."""
        from windtunnel.beam_jobs.job import Progress
        from windtunnel.beam_jobs.profile import profile
        from windtunnel.lifecycle.contract.references import SnapshotRef
        from windtunnel.lifecycle.record.baseline_data import champion_statistics

        self.given(snapshot=self.snapshot)
        snapshot = SnapshotRef.from_dict(self.snapshot)
        reference = champion_statistics(settings, self.problem.name, before=snapshot.end)
        self.reference = reference.to_dict() if reference else None
        statistics = profile(self.problem, snapshot, settings, Progress("profile", snapshot.rows), reference)
        self.link = artifact_url(settings, statistics.report)
        return statistics

    def parameters(self, context: "Context") -> dict[str, Any]:  # noqa: ARG002
        """What it was compared with: a replay must compare with the same."""
        return {"reference": self.reference}
