"""Predict: a snapshot scored by a model, as a Beam job."""

from typing import TYPE_CHECKING, Any

from windtunnel.operators.base import StageOperator
from windtunnel.operators.links import PredictionsLink, page_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.references import Reference
    from windtunnel.lifecycle.settings import Settings

__all__ = ["PredictOperator"]


class PredictOperator(StageOperator):
    """Score a snapshot with a bundle, into the problem's table of predictions: the same engine and numbers as online.

    Args:
        problem: a problem, or the path of its file.
        snapshot: the snapshot reference (``ingest.output``).
        model: the URI of a bundle (templated); empty means the champion's.
        **kwargs: what every Airflow operator takes.
    """

    template_fields = ("snapshot", "model")
    operator_extra_links = (PredictionsLink(),)

    def __init__(self, *, snapshot: Any, model: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.snapshot = snapshot
        self.model = model

    def run_stage(self, context: "Context", settings: "Settings") -> "Reference":  # noqa: ARG002
        """Score."""
        from windtunnel.beam_jobs.job import Progress
        from windtunnel.beam_jobs.predict import predict
        from windtunnel.lifecycle.errors import ConfigurationError
        from windtunnel.lifecycle.references import SnapshotRef
        from windtunnel.lifecycle.registry import champion

        self.given(snapshot=self.snapshot)
        snapshot = SnapshotRef.from_dict(self.snapshot)
        model = self.model
        if not model:
            current = champion(settings, self.problem.name)
            if current is None:
                raise ConfigurationError(
                    f"problem {self.problem.name!r} has no champion to predict with", hint="train one first, or name a model"
                )
            model = current.uri
        predictions = predict(self.problem, model, snapshot, settings, Progress("predict", snapshot.rows))
        self.link = page_url("data", self.problem.name, str(predictions.snapshot_id), predictions.start, predictions.end)
        return predictions
