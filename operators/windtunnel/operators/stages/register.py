"""Register: a version with its lineage."""

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from windtunnel.operators.base import StageOperator
from windtunnel.operators.telling.links import page_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.context import RunContext
    from windtunnel.lifecycle.contract.references import DecisionRef, Reference, VersionRef

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

    stage = "register"

    def __init__(self, *, candidate: object, evaluation: object, decision: object, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.candidate = candidate
        self.evaluation = evaluation
        self.decision = decision

    def run_stage(self, context: "Context", work: "RunContext") -> "Reference":
        """Register; the same candidate again is the same version."""
        from windtunnel.lifecycle.record.tracking import version_url

        decision: DecisionRef = self.references()["decision"]
        if not decision.approved and not work.run.counterfactual:
            self.link = page_url("models", self.problem.name)
            raise AirflowSkipException(f"not approved by {decision.by}: {decision.reason}")
        version: VersionRef = self.do(work)
        self.link = (
            page_url("models", self.problem.name) if work.run.counterfactual else version_url(work.settings, version.model, version.version)
        )
        return version
