"""Approve: a person sees the report and decides, or the problem's rule does."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import CandidateRef, EvaluationRef
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.operators.asking import AskingOperator
from windtunnel.operators.base import problem_of
from windtunnel.operators.telling.alerts import notifiers_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.context import RunContext

__all__ = ["ApproveOperator"]

_APPROVE, _REJECT, _CHANGES = "Approve", "Reject", "Ask for changes"
_COMMENT = "comment"


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

    def __init__(self, *, problem: Problem | Mapping[str, object] | str | Path, candidate: Any, evaluation: Any, **kwargs: object) -> None:
        problem = problem_of(problem)
        approval = problem.approval
        kwargs.setdefault("subject", f"May the new model for {problem.title or problem.name} go into production?")
        kwargs.setdefault("options", [_APPROVE, _REJECT, _CHANGES])
        kwargs.setdefault("defaults", [_APPROVE if approval.default == "approve" else _REJECT])
        why = "needed to reject, to ask for changes, and to approve although gates are not met; kept in the ledger"
        kwargs.setdefault("params", {_COMMENT: Param("", type=["null", "string"], title="Comment", description=why, source="task")})
        if approval.approvers:
            people = [*approval.approvers, *approval.deputies]
            kwargs.setdefault("assigned_users", [{"id": name, "name": name} for name in people])
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
        # nobody sits beside a backfill, and nothing follows from a counterfactual
        if work.promotion == "ask" and work.run.run_type != "backfill" and not work.run.counterfactual:
            return self._ask_people(context, work, evaluation)
        verdict = "every gate passed" if evaluation.passed else "gates failed: " + "; ".join(evaluation.reasons)
        reason = f"{verdict} ({_how(work)})"
        return self.record(context, work, approved=evaluation.passed, by="the problem's rule", reason=reason)

    def execute_complete(self, context: "Context", event: JsonObject) -> object:
        """Take the answer; the ledger has it before anything follows from it. What does not decide yet is asked again."""
        if "error" in event:
            return super().execute_complete(context, event)
        from windtunnel.lifecycle.release import decisions

        work = self.begin(context)
        evaluation, candidate = EvaluationRef.from_dict(self.evaluation), CandidateRef.from_dict(self.candidate)
        self.show(evaluation.report)
        by = self.person(event)
        if not by:
            return self._silence(context, event, work)
        comment = (event.get("params_input") or {}).get(_COMMENT)
        vote = decisions.Vote(by, str(event["chosen_options"][0]), str(comment or ""))
        missing = decisions.lacks(vote, evaluation)
        if missing:
            self.log.warning("the answer of %s does not count: %s; asked again", by, missing)
            return self._wait(context, work, f"Asked again, because the answer of {by} does not count ({missing})")
        decision = decisions.decide(self.problem, work.run, evaluation, decisions.cast(work, candidate, evaluation, vote))
        if decision is None:
            self.log.info("%s approved; more people must: asked again", by)
            return self._wait(context, work, f"{by} approved, and more people must")
        more = {"outcome": decision.outcome} | ({"overridden": decision.overridden} if decision.overridden else {})
        at = str(event.get("responded_at") or "")
        answer = self.record(context, work, approved=decision.approved, by=decision.by, reason=decision.reason, at=at, more=more)
        # last: on a rejection it skips what follows, and then nothing could be recorded any more
        super().execute_complete(context, event)
        return answer

    def _ask_people(self, context: "Context", work: "RunContext", evaluation: EvaluationRef) -> Any:
        """Ask, unless a gate that nobody can approve away says no."""
        from windtunnel.lifecycle.record.evidence import hard_failures
        from windtunnel.lifecycle.release import decisions

        hard = [] if evaluation.passed else hard_failures(evaluation)
        if hard:
            reason = f"hard gates are not met, and nobody can approve them away: {'; '.join(hard)}"
            return self.record(context, work, approved=False, by="the problem's rule", reason=reason)
        decisions.ask(work, CandidateRef.from_dict(self.candidate), evaluation, self.link)
        return self._wait(context, work)

    def _wait(self, context: "Context", work: "RunContext", again: str = "") -> Any:
        """Wait for an answer, for as long as is left, and at most until people are to be reminded; `again` says why it is put again."""
        from windtunnel.lifecycle.judging.evaluation import approval_body
        from windtunnel.lifecycle.release import decisions

        candidate, evaluation = CandidateRef.from_dict(self.candidate), EvaluationRef.from_dict(self.evaluation)
        left, remind = decisions.remaining(work, candidate), self.problem.approval.remind_hours
        self.response_timeout = min(left, dt.timedelta(hours=remind)) if remind else left
        body = f"{approval_body(evaluation, self.link)}\n\n{decisions.explain(work, candidate, evaluation)}"
        return self.ask(context, body, again=again)

    def _silence(self, context: "Context", event: JsonObject, work: "RunContext") -> object:
        """Nobody answered: remind people while there is time, then take the default."""
        from windtunnel.lifecycle.release import decisions

        evaluation, candidate = EvaluationRef.from_dict(self.evaluation), CandidateRef.from_dict(self.candidate)
        if self.problem.approval.remind_hours and decisions.remaining(work, candidate) > dt.timedelta():
            self.log.warning("nobody answered yet: reminding")
            return self._wait(context, work, "Reminder")
        # A default cannot give the reason that overriding a gate needs.
        approved = str(event["chosen_options"][0]) == decisions.APPROVE and evaluation.passed
        outcome = "approved" if approved else "rejected"
        reason = f"{outcome} by default: no answer within {dt.timedelta(hours=self.problem.approval.timeout_hours)}"
        at = str(event.get("responded_at") or "")
        answer = self.record(context, work, approved=approved, by="nobody", reason=reason, at=at, more={"outcome": outcome})
        super().execute_complete(context, event)
        return answer


def _how(work: "RunContext") -> str:
    """Why nobody is asked."""
    if work.run.counterfactual:
        return "counterfactual: nothing follows from it"
    return "automatic in a backfill" if work.run.run_type == "backfill" else f"automatic: promotion is {work.promotion}"
