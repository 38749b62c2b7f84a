"""Preprocess: an ordinary scikit-learn preprocessor, fitted and applied over any amount of data."""

from typing import TYPE_CHECKING, Any

from windtunnel.operators.base import StageOperator
from windtunnel.operators.telling.links import FeaturesLink, artifact_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.references import Reference
    from windtunnel.lifecycle.contract.settings import Settings

__all__ = ["PreprocessOperator"]


class PreprocessOperator(StageOperator):
    """Fit the problem's preprocessor on the training rows and write the training shards.

    Args:
        problem: a problem, or the path of its file.
        snapshot: the snapshot reference (``ingest.output``).
        **kwargs: what every Airflow operator takes.
    """

    template_fields = ("snapshot",)
    operator_extra_links = (FeaturesLink(),)

    def __init__(self, *, snapshot: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.snapshot = snapshot

    def run_stage(self, context: "Context", settings: "Settings") -> "Reference":  # noqa: ARG002
        """Fit, transform, write."""
        from windtunnel.beam_jobs.features import preprocess
        from windtunnel.beam_jobs.job import Progress
        from windtunnel.lifecycle.contract.references import SnapshotRef

        self.given(snapshot=self.snapshot)
        snapshot = SnapshotRef.from_dict(self.snapshot)
        features = preprocess(self.problem, snapshot, settings, Progress("preprocess", snapshot.rows))
        self.link = artifact_url(settings, f"{features.uri}/features.html")
        return features
