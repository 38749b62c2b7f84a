"""Profile: statistics of the snapshot, and how far it drifted."""

from typing import TYPE_CHECKING, Any

from windtunnel.lifecycle.payload import JsonObject
from windtunnel.operators.base import StageOperator
from windtunnel.operators.telling.links import artifact_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.context import RunContext
    from windtunnel.lifecycle.contract.references import Reference, SnapshotRef

__all__ = ["ProfileOperator"]


class ProfileOperator(StageOperator):
    """Statistics of every column of the snapshot, compared with those that the champion was trained on.

    Args:
        problem: a problem, or the path of its file.
        snapshot: the snapshot reference (``ingest.output``).
        **kwargs: what every Airflow operator takes.
    """

    stage = "profile"

    def __init__(self, *, snapshot: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.snapshot = snapshot
        self.compared_with: dict[str, object] | None = None

    def run_stage(self, context: "Context", work: "RunContext") -> "Reference":
        """Profile, with the champion's statistics as the reference where there is one."""
        from windtunnel.lifecycle.record.baseline_data import champion_statistics

        snapshot: SnapshotRef = self.references()["snapshot"]
        reference = champion_statistics(work.settings, self.problem.name, before=snapshot.end)
        self.compared_with = reference.to_dict() if reference else None
        statistics: Reference = self.do(work, reference=reference)
        self.link = artifact_url(work.settings, statistics.to_dict()["report"])
        return statistics

    def extra_inputs(self, context: "Context") -> JsonObject:
        """What it was compared with: a replay must compare with the same."""
        return {"reference": self.compared_with}
