"""Approve: a person sees the report and decides, or the problem's rule does."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import EvaluationRef
from windtunnel.operators.asking import AskingOperator
from windtunnel.operators.base import problem_of
from windtunnel.operators.telling.alerts import notifiers_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.context import RunContext

__all__ = ["ApproveOperator"]

_APPROVE, _REJECT, _CHANGES = "Approve", "Reject", "Ask for changes"


class ApproveOperator(AskingOperator):
    """Decide on a candidate: automatically when the problem (or the run's form) says so, else by a person in Airflow's UI.

    Who decided what, on which evidence, is in the ledger before anything follows from it. A backfill never waits: it decides by the
    gates. When nobody answers in time the problem's default is taken.

    Args:
        problem: a problem, or the path of its file.
        candidate: the candidate reference (``train.output``).
        evaluation: the evaluation reference (``evaluate.output``).
        **kwargs: what `HITLOperator` takes; ``notifiers`` are the problem's ``approval.notifiers`` if not given.
    """

    stage = "approve"
    template_fields = ("subject", "body")

    def __init__(self, *, problem: Problem | Mapping[str, Any] | str | Path, candidate: Any, evaluation: Any, **kwargs: Any) -> None:
        problem = problem_of(problem)
        approval = problem.approval
        kwargs.setdefault("subject", f"May the new model for {problem.title or problem.name} go into production?")
        kwargs.setdefault("options", [_APPROVE, _REJECT, _CHANGES])
        kwargs.setdefault("defaults", [_APPROVE if approval.default == "approve" else _REJECT])
        if approval.notifiers:
            kwargs.setdefault("notifiers", notifiers_of(approval.notifiers))
        super().__init__(problem=problem, **kwargs)
        self.candidate = candidate
        self.evaluation = evaluation

    def execute(self, context: "Context") -> Any:
        """Decide, or ask."""
        work = self.begin(context)
        evaluation = EvaluationRef.from_dict(self.evaluation)
        self.show(evaluation.report)
        if work.promotion == "ask" and work.run.run_type != "backfill" and not work.run.counterfactual:
            from windtunnel.lifecycle.judging.evaluation import approval_body

            return self.ask(context, approval_body(evaluation, self.link))
        verdict = "every gate passed" if evaluation.passed else "gates failed: " + "; ".join(evaluation.reasons)
        reason = f"{verdict} ({_how(work)})"
        return self.record(context, work, approved=evaluation.passed, by="the problem's rule", reason=reason)

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> Any:
        """Take the answer; the ledger has it before anything follows from it."""
        if "error" in event:
            return super().execute_complete(context, event)
        self.show(EvaluationRef.from_dict(self.evaluation).report)
        chosen, by = event["chosen_options"][0], self.person(event)
        reason = {_APPROVE: "approved", _REJECT: "rejected", _CHANGES: "changes asked for"}.get(chosen, chosen)
        if not by:
            by, reason = "nobody", f"{reason} by default: no answer within {self.response_timeout}"
        at = str(event.get("responded_at") or "")
        answer = self.record(context, self.begin(context), approved=chosen == _APPROVE, by=by, reason=reason, at=at)
        super().execute_complete(context, event)
        return answer


def _how(work: "RunContext") -> str:
    """Why nobody is asked."""
    if work.run.counterfactual:
        return "counterfactual: nothing follows from it"
    return "automatic in a backfill" if work.run.run_type == "backfill" else f"automatic: promotion is {work.promotion}"
