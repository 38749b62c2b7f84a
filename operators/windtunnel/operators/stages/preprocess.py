"""Preprocess: an ordinary scikit-learn preprocessor, fitted and applied over any amount of data."""

from typing import TYPE_CHECKING, Any

from windtunnel.operators.base import StageOperator
from windtunnel.operators.telling.links import artifact_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.context import RunContext
    from windtunnel.lifecycle.contract.references import FeaturesRef, Reference

__all__ = ["PreprocessOperator"]


class PreprocessOperator(StageOperator):
    """Fit the problem's preprocessor on the training rows and write the training shards.

    Args:
        problem: a problem, or the path of its file.
        snapshot: the snapshot reference (``ingest.output``).
        **kwargs: what every Airflow operator takes.
    """

    stage = "preprocess"

    def __init__(self, *, snapshot: object, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.snapshot = snapshot

    def run_stage(self, context: "Context", work: "RunContext") -> "Reference":
        """Fit, transform, write."""
        features: FeaturesRef = self.do(work)
        self.link = artifact_url(work.settings, f"{features.uri}/features.html")
        return features
