"""Balance: what is done about unbalanced classes, by the problem's rule or by a person."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import BalanceRef, ValidationRef
from windtunnel.operators.base import RETRY_POLICY, problem_of, run_of
from windtunnel.operators.settings import airflow_settings
from windtunnel.operators.telling.links import DataDocsLink, artifact_url

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["BalanceOperator"]

_TITLES = {
    "none": "Go on as it is",
    "weights": "Class weights in the loss",
    "downsample": "The same number of each class",
}


class BalanceOperator(HITLOperator):
    """Choose a remedy for unbalanced classes: the problem's own, or, where its ``model.class_balance`` is ``ask``, a person's.

    A person is asked only if a class is rarer than ``model.ask_below``. A backfill never waits, and when nobody answers in time
    ``model.unanswered`` is done. The choice is handed to tuning and training, which keep it with the model.

    Args:
        problem: a problem, or the path of its file.
        validation: the validation reference (``validate.output``), which has the classes' numbers.
        **kwargs: what `HITLOperator` takes, such as notifiers.
    """

    template_fields = ("validation", "subject", "body")
    operator_extra_links = (DataDocsLink(),)

    def __init__(self, *, problem: Problem | Mapping[str, Any] | str | Path, validation: Any, **kwargs: Any) -> None:
        problem = problem_of(problem)
        kwargs.setdefault("retry_policy", RETRY_POLICY)
        kwargs.setdefault("subject", f"The classes of {problem.title or problem.name} are unbalanced: what shall be done?")
        kwargs.setdefault("options", list(_TITLES.values()))
        kwargs.setdefault("defaults", [_TITLES[problem.model.unanswered]])
        kwargs.setdefault("response_timeout", dt.timedelta(hours=problem.approval.timeout_hours))
        if problem.approval.approvers:
            kwargs.setdefault("assigned_users", [{"id": name, "name": name} for name in problem.approval.approvers])
        super().__init__(**kwargs)
        self.problem = problem
        self.validation = validation
        self.link = ""

    def execute(self, context: "Context") -> Any:
        """Choose, or ask."""
        from windtunnel.lifecycle.quality.balance import remedies, shares

        validation = ValidationRef.from_dict(self.validation)
        self.link = artifact_url(airflow_settings(), validation.docs)
        model, labels = self.problem.model, validation.labels
        if model.class_balance != "ask":
            return self._record(context, model.class_balance, "the problem's rule", f"model.class_balance is {model.class_balance}")
        rarest = min(shares(labels).values(), default=1.0)
        if rarest >= model.ask_below:
            return self._record(context, "none", "the problem's rule", f"the rarest class has {rarest:.1%}: no less than model.ask_below")
        if run_of(context).run_type == "backfill":
            return self._record(context, model.unanswered, "the problem's rule", "nobody is asked in a backfill")
        counts = "\n".join(f"- class {name}: {count:,} rows ({shares(labels)[name]:.1%})" for name, count in sorted(labels.items()))
        effects = "\n".join(f"- **{_TITLES[remedy.name]}**: {remedy.effect}" for remedy in remedies(labels))
        self.body = f"{counts}\n\nWhat each choice would do:\n\n{effects}\n\n[The data]({self.link})"
        self.log.info("waiting for a person; the data: %s", self.link)
        return super().execute(context)

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> Any:
        """Take the answer."""
        if "error" in event:
            return super().execute_complete(context, event)
        self.link = artifact_url(airflow_settings(), ValidationRef.from_dict(self.validation).docs)
        title = event["chosen_options"][0]
        person = event.get("responded_by_user") or {}
        by = str(person.get("name") or person.get("id") or "") if isinstance(person, Mapping) else str(person)
        reason = "chosen in Airflow" if by else f"by default: no answer within {self.response_timeout}"
        answer = self._record(context, next(name for name, said in _TITLES.items() if said == title), by or "nobody", reason)
        super().execute_complete(context, event)
        return answer

    def _record(self, context: "Context", remedy: str, by: str, reason: str) -> dict[str, Any]:
        from windtunnel.lifecycle.record.manifest import record

        chosen = BalanceRef(remedy=remedy, by=by, reason=reason)
        record(
            RunContext(self.problem, airflow_settings(), run_of(context)),
            self.task_id,
            {"validation": ValidationRef.from_dict(self.validation)},
            chosen,
        )
        self.log.info("%s", chosen)
        return chosen.to_dict()
