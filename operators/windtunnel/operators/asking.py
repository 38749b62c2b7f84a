"""What the operators share that may wait for a person: they defer, so that waiting takes no worker."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk.configuration import conf

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.operators.base import Staged, problem_of, with_defaults
from windtunnel.operators.settings import airflow_settings
from windtunnel.operators.telling.alerts import ProblemNotifier, Question
from windtunnel.operators.telling.links import artifact_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.context import RunContext

__all__ = ["AskingOperator"]


class AskingOperator(Staged, HITLOperator):
    """A stage that may wait for a person's answer in Airflow's UI, mail or API.

    Args:
        problem: a problem, or the path of its file; its ``approval`` says who may answer and how long is waited.
        **kwargs: what `HITLOperator` takes.
    """

    template_fields = ("subject", "body")

    def __init__(self, *, problem: Problem | Mapping[str, object] | str | Path, **kwargs: Any) -> None:
        problem = problem_of(problem)
        approval = problem.approval
        with_defaults(self.row, problem, kwargs)
        kwargs.setdefault("response_timeout", dt.timedelta(hours=approval.timeout_hours))
        if approval.approvers:
            kwargs.setdefault("assigned_users", [{"id": name, "name": name} for name in approval.approvers])
        super().__init__(**kwargs)
        self.problem = problem
        self.link = ""
        self.result = None

    def ask(self, context: "Context", body: str, *, again: str = "") -> Any:
        """Wait for a person, with this text (Markdown) above the answers; notifiers tell people the same, and where to answer.

        Args:
            context: the task's.
            body: what is asked.
            again: why the question is put again, for the subject of what notifiers say; empty the first time.
        """
        self.body = body
        subject = f"{again}: {self.subject}" if again else str(self.subject)
        question = Question(subject, f"{body}\n\nAnswer here: {self._answer_url(context)}")
        for notifier in self.notifiers:
            if isinstance(notifier, ProblemNotifier):
                notifier.question = question
        self.log.info("waiting for a person: %s", self.link)
        return HITLOperator.execute(self, context)

    def _answer_url(self, context: "Context") -> str:
        """The page of Airflow's where this question is answered."""
        base = conf.get("api", "base_url", fallback="") or "/"
        return str(self.generate_link_to_ui(task_instance=context["task_instance"], base_url=base))

    def record(self, context: "Context", work: "RunContext", **choice: Any) -> JsonObject:
        """Write down what was chosen, by whom and why, before anything follows from it."""
        return self.finish(context, work, self.do(work, **choice))

    def show(self, uri: str) -> None:
        """Link to the artefact that the question is about."""
        self.link = artifact_url(airflow_settings(), uri)

    @staticmethod
    def person(event: JsonMapping) -> str:
        """Who answered; empty if nobody did."""
        person = event.get("responded_by_user") or {}
        return str(person.get("name") or person.get("id") or "") if isinstance(person, Mapping) else str(person)
