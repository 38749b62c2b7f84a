"""Evaluate: what a candidate is worth, beside the champion and a simple baseline on the same rows."""

from typing import TYPE_CHECKING, Any

from windtunnel.operators.base import StageOperator, run_of
from windtunnel.operators.telling.links import ReportLink, artifact_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.references import Reference
    from windtunnel.lifecycle.contract.settings import Settings

__all__ = ["EvaluateOperator"]


class EvaluateOperator(StageOperator):
    """Score the candidate on the held-out rows and give the verdict of the problem's gates.

    Args:
        problem: a problem, or the path of its file.
        snapshot: the snapshot reference (``ingest.output``).
        candidate: the candidate reference (``train.output``).
        **kwargs: what every Airflow operator takes.
    """

    template_fields = ("snapshot", "candidate")
    operator_extra_links = (ReportLink(),)

    def __init__(self, *, snapshot: Any, candidate: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.snapshot = snapshot
        self.candidate = candidate

    def run_stage(self, context: "Context", settings: "Settings") -> "Reference":
        """Evaluate, and put the figures beside the training run."""
        from windtunnel.beam_jobs.evaluate import evaluate, would_evaluate
        from windtunnel.beam_jobs.job import Progress
        from windtunnel.lifecycle.contract.references import CandidateRef, SnapshotRef
        from windtunnel.lifecycle.record.tracking import log_evaluation

        self.given(snapshot=self.snapshot, candidate=self.candidate)
        snapshot, candidate = SnapshotRef.from_dict(self.snapshot), CandidateRef.from_dict(self.candidate)
        progress = Progress("evaluate", snapshot.rows)
        if run_of(context).counterfactual:
            evaluation = would_evaluate(self.problem, candidate, snapshot, settings, progress)
        else:
            evaluation = evaluate(self.problem, candidate, snapshot, settings, progress)
        self.link = artifact_url(settings, evaluation.report)
        log_evaluation(settings, candidate, evaluation)
        return evaluation
