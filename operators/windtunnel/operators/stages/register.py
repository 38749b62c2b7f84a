"""Register: a version with its lineage."""

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.operators.base import StageOperator, run_of
from windtunnel.operators.telling.links import ModelVersionLink, page_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.references import Reference
    from windtunnel.lifecycle.contract.settings import Settings

__all__ = ["RegisterOperator"]


class RegisterOperator(StageOperator):
    """Register an approved candidate in MLflow; a candidate that was not approved is not registered, and what follows is skipped.

    A counterfactual run registers nothing: the ledger keeps what would have become of its candidate.

    Args:
        problem: a problem, or the path of its file.
        candidate: the candidate reference (``train.output``).
        evaluation: the evaluation reference (``evaluate.output``).
        decision: the decision reference (``approve.output``).
        **kwargs: what every Airflow operator takes.
    """

    template_fields = ("candidate", "evaluation", "decision")
    operator_extra_links = (ModelVersionLink(),)

    def __init__(self, *, candidate: Any, evaluation: Any, decision: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.candidate = candidate
        self.evaluation = evaluation
        self.decision = decision

    def run_stage(self, context: "Context", settings: "Settings") -> "Reference":
        """Register; the same candidate again is the same version."""
        from windtunnel.lifecycle.contract.references import CandidateRef, DecisionRef, EvaluationRef
        from windtunnel.lifecycle.record.registry import register
        from windtunnel.lifecycle.record.tracking import version_url

        self.given(candidate=self.candidate, evaluation=self.evaluation, decision=self.decision)
        decision, run = DecisionRef.from_dict(self.decision), run_of(context)
        if run.counterfactual:
            from windtunnel.beam_jobs.evaluate import settle

            given = CandidateRef.from_dict(self.candidate), EvaluationRef.from_dict(self.evaluation)
            self.link = page_url("models", self.problem.name)
            return settle(RunContext(self.problem, settings, run), *given, decision)
        if not decision.approved:
            raise AirflowSkipException(f"not approved by {decision.by}: {decision.reason}")
        version = register(
            RunContext(self.problem, settings, run),
            CandidateRef.from_dict(self.candidate),
            EvaluationRef.from_dict(self.evaluation),
            decision,
        )
        self.link = version_url(settings, version.model, version.version)
        return version
