"""Approve: a person sees the report and decides, or the problem's rule does."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import CandidateRef, DecisionRef, EvaluationRef
from windtunnel.operators.base import RETRY_POLICY, problem_of, run_of
from windtunnel.operators.settings import airflow_settings
from windtunnel.operators.telling.alerts import Alert
from windtunnel.operators.telling.links import DecisionLink, artifact_url

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

__all__ = ["ApproveOperator"]

_APPROVE, _REJECT, _CHANGES = "Approve", "Reject", "Ask for changes"


class ApproveOperator(HITLOperator):
    """Decide on a candidate: automatically when the problem (or the run's form) says so, else by a person in Airflow's UI.

    Who decided what, on which evidence, is in the ledger before anything follows from it. A backfill never waits: it decides by the
    gates. When nobody answers in time the problem's default is taken.

    Args:
        problem: a problem, or the path of its file.
        candidate: the candidate reference (``train.output``).
        evaluation: the evaluation reference (``evaluate.output``).
        **kwargs: what `HITLOperator` takes; ``notifiers`` are the problem's ``approval.notifiers`` if not given.
    """

    template_fields = ("candidate", "evaluation", "subject", "body")
    operator_extra_links = (DecisionLink(),)

    def __init__(self, *, problem: Problem | Mapping[str, Any] | str | Path, candidate: Any, evaluation: Any, **kwargs: Any) -> None:
        problem = problem_of(problem)
        approval = problem.approval
        kwargs.setdefault("retry_policy", RETRY_POLICY)
        kwargs.setdefault("subject", f"May the new model for {problem.title or problem.name} go into production?")
        kwargs.setdefault("options", [_APPROVE, _REJECT, _CHANGES])
        kwargs.setdefault("defaults", [_APPROVE if approval.default == "approve" else _REJECT])
        kwargs.setdefault("response_timeout", dt.timedelta(hours=approval.timeout_hours))
        if approval.approvers:
            kwargs.setdefault("assigned_users", [{"id": name, "name": name} for name in approval.approvers])
        if approval.notifiers:
            kwargs.setdefault("notifiers", [Alert(notifier=entry.notifier, options=entry.options) for entry in approval.notifiers])
        super().__init__(**kwargs)
        self.problem = problem
        self.candidate = candidate
        self.evaluation = evaluation
        self.link = ""

    def execute(self, context: "Context") -> Any:
        """Decide, or ask."""
        settings = airflow_settings()
        evaluation = EvaluationRef.from_dict(self.evaluation)
        run = run_of(context)
        self.link = artifact_url(settings, evaluation.report)
        promotion = run.promotion or self.problem.approval.promotion
        if promotion == "ask" and run.run_type != "backfill" and not run.counterfactual:
            from windtunnel.lifecycle.judging.evaluation import approval_body

            self.body = approval_body(evaluation, self.link)
            self.log.info("waiting for a person; the report: %s", self.link)
            return super().execute(context)
        how = "automatic in a backfill" if run.run_type == "backfill" else f"automatic: promotion is {promotion}"
        if run.counterfactual:
            how = "counterfactual: nothing follows from it"
        verdict = "every gate passed" if evaluation.passed else "gates failed: " + "; ".join(evaluation.reasons)
        return self._record(context, approved=evaluation.passed, by="the problem's rule", reason=f"{verdict} ({how})")

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> Any:
        """Take the answer; the ledger has it before anything follows from it."""
        if "error" in event:
            return super().execute_complete(context, event)
        self.link = artifact_url(airflow_settings(), EvaluationRef.from_dict(self.evaluation).report)
        chosen = event["chosen_options"][0]
        person = event.get("responded_by_user") or {}
        by = str(person.get("name") or person.get("id") or "") if isinstance(person, Mapping) else str(person)
        reason = {_APPROVE: "approved", _REJECT: "rejected", _CHANGES: "changes asked for"}.get(chosen, chosen)
        if not by:
            by, reason = "nobody", f"{reason} by default: no answer within {self.response_timeout}"
        answer = self._record(context, approved=chosen == _APPROVE, by=by, reason=reason)
        super().execute_complete(context, event)
        return answer

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> "OperatorLineage[Any, Any]":  # noqa: ARG002 - the provider's signature
        """The model and the evaluation that were decided about; asked for by Airflow's OpenLineage provider where it is on."""
        from windtunnel.operators.telling.openlineage import lineage_of

        return lineage_of(self.problem, airflow_settings(), [self.candidate, self.evaluation], None)

    def _record(self, context: "Context", *, approved: bool, by: str, reason: str) -> dict[str, Any]:
        from windtunnel.lifecycle.record.ledger import Ledger
        from windtunnel.lifecycle.record.manifest import record

        settings, run = airflow_settings(), run_of(context)
        candidate, evaluation = CandidateRef.from_dict(self.candidate), EvaluationRef.from_dict(self.evaluation)
        entry = Ledger(settings).append(
            self.problem.name,
            "decision",
            {
                "approved": approved,
                "by": by,
                "reason": reason,
                "candidate": candidate.fingerprint,
                "digest": candidate.digest,
                "cutoff": candidate.cutoff,
                "evidence": {"evaluation": evaluation.fingerprint, evaluation.metric: evaluation.value, "report": evaluation.report},
            },
            run,
        )
        decision = DecisionRef(approved=approved, by=by, reason=reason, entry=entry.hash)
        record(RunContext(self.problem, settings, run), self.task_id, {"candidate": candidate, "evaluation": evaluation}, decision)
        self.log.info("%s", decision)
        return decision.to_dict()
