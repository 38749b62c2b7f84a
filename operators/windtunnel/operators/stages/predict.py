"""Predict: a snapshot scored by a model, as a Beam job."""

from typing import TYPE_CHECKING, Any

from windtunnel.operators.base import StageOperator
from windtunnel.operators.telling.links import PredictionsLink, page_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.references import Reference, SnapshotRef
    from windtunnel.lifecycle.contract.settings import Settings

__all__ = ["PredictOperator"]


class PredictOperator(StageOperator):
    """Score a snapshot with a bundle, into the problem's table of predictions: the same engine and numbers as online.

    With ``lookup`` the answers are computed for the model server instead: it looks them up by key (the problem's ``serving.lookup``)
    and answers with them while they are fresh.

    Args:
        problem: a problem, or the path of its file.
        snapshot: the snapshot reference (``ingest.output``).
        model: the URI of a bundle (templated); empty means the champion's.
        lookup: precompute answers for the model server.
        **kwargs: what every Airflow operator takes.
    """

    template_fields = ("snapshot", "model")
    operator_extra_links = (PredictionsLink(),)
    server = True

    def __init__(self, *, snapshot: Any, model: str = "", lookup: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lookup = lookup
        self.snapshot = snapshot
        self.model = model

    def run_stage(self, context: "Context", settings: "Settings") -> "Reference":  # noqa: ARG002
        """Score."""
        from windtunnel.beam_jobs.job import Progress
        from windtunnel.beam_jobs.predict import predict
        from windtunnel.lifecycle.contract.errors import ConfigurationError
        from windtunnel.lifecycle.contract.references import SnapshotRef
        from windtunnel.lifecycle.record.registry import champion

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
        if self.lookup:
            return self._precompute(model, snapshot, settings)
        predictions = predict(self.problem, model, snapshot, settings, Progress("predict", snapshot.rows))
        self.link = page_url("data", self.problem.name, str(predictions.snapshot_id), predictions.start, predictions.end)
        return predictions

    def _precompute(self, model: str, snapshot: "SnapshotRef", settings: "Settings") -> "Reference":
        """Answers for the model server, which is told of them where the settings name one."""
        import dataclasses

        from windtunnel.beam_jobs.job import Progress
        from windtunnel.beam_jobs.predict import precompute
        from windtunnel.lifecycle.release.targets import lookups, target_of

        found = precompute(self.problem, model, snapshot, settings, Progress("predict", snapshot.rows))
        target = lookups(target_of(settings)) if settings.server_url else None
        if target is None:
            return found
        target.look_up(self.problem.name, found.uri, found.digest)
        return dataclasses.replace(found, served=True)
