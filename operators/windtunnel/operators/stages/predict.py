"""Predict: a snapshot scored by a model, as a Beam job."""

from typing import TYPE_CHECKING, Any

from windtunnel.lifecycle.contract.references import SnapshotRef
from windtunnel.operators.base import StageOperator
from windtunnel.operators.telling.links import page_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.context import RunContext
    from windtunnel.lifecycle.contract.references import Reference

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

    stage = "predict"
    server = True

    def __init__(self, *, snapshot: object, model: str = "", lookup: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.snapshot = snapshot
        self.model = model
        self.lookup = lookup

    def run_stage(self, context: "Context", work: "RunContext") -> "Reference":
        """Score."""
        answers: Reference = self.do(work, model=self.model, lookup=self.lookup)
        if isinstance(answers, SnapshotRef):
            self.link = page_url("data", self.problem.name, str(answers.snapshot_id), answers.start, answers.end)
        return answers
