"""Evaluate: what a candidate is worth, beside the champion and a simple baseline on the same rows."""

from typing import TYPE_CHECKING, Any

from windtunnel.operators.base import StageOperator
from windtunnel.operators.telling.links import artifact_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.context import RunContext
    from windtunnel.lifecycle.contract.references import EvaluationRef, Reference

__all__ = ["EvaluateOperator"]


class EvaluateOperator(StageOperator):
    """Score the candidate on the held-out rows and give the verdict of the problem's gates.

    Args:
        problem: a problem, or the path of its file.
        snapshot: the snapshot reference (``ingest.output``).
        candidate: the candidate reference (``train.output``).
        **kwargs: what every Airflow operator takes.
    """

    stage = "evaluate"

    def __init__(self, *, snapshot: Any, candidate: object, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.snapshot = snapshot
        self.candidate = candidate

    def run_stage(self, context: "Context", work: "RunContext") -> "Reference":
        """Evaluate, and put the figures beside the training run."""
        evaluation: EvaluationRef = self.do(work)
        self.link = artifact_url(work.settings, evaluation.report)
        if not evaluation.passed:
            failed = [line for line in evaluation.reasons if line.startswith("FAILED")]
            self.log.warning("the candidate does not pass its gates: %s", "; ".join(failed or evaluation.reasons))
        return evaluation
