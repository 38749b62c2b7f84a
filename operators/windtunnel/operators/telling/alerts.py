"""Telling people: the problem's notifiers, called once when a task has failed for good, or when the monitor sees something."""

import dataclasses
import html
import importlib
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

from windtunnel.lifecycle.contract.problem import Alert, Problem
from windtunnel.lifecycle.contract.seams.notifiers import notifier_path, question_options
from windtunnel.lifecycle.payload import JsonMapping

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

__all__ = ["LogNotifier", "ProblemNotifier", "Question", "alerts_of", "deadline_missed", "notifiers_of", "raise_alarm"]

log = logging.getLogger(__name__)


def alerts_of(problem: Problem) -> list["ProblemNotifier"]:
    """What to pass as ``on_failure_callback``: Airflow calls it when a task has failed, not when it will be retried."""
    return notifiers_of(problem.alerts)


def notifiers_of(alerts: Sequence[Alert]) -> list["ProblemNotifier"]:
    """The notifiers that a part of a problem file names."""
    return [ProblemNotifier(notifier=alert.notifier, options=alert.options) for alert in alerts]


def raise_alarm(problem: Problem, context: "Context", text: str) -> None:
    """Tell the problem's people of something that is no failure of a task; their templates find it as ``exception``."""
    told: Any = {**context, "exception": text}
    for alert in alerts_of(problem):
        alert.notify(told)


def deadline_missed(problem: str, alerts: Sequence[JsonMapping], context: "Context | None" = None) -> None:
    """Tell the problem's people of a retraining that is not done by its deadline; Airflow calls it in a worker."""
    run: Any = (context or {}).get("dag_run") or {}
    names = run if isinstance(run, Mapping) else vars(run)
    run_id = names.get("run_id") or names.get("dag_run_id") or ""
    told: Any = {"dag": None, **(context or {}), "exception": f"the retraining of {problem} is not done by its deadline: run {run_id}"}
    for alert in alerts:
        ProblemNotifier(notifier=str(alert["notifier"]), options=alert.get("options")).notify(told)


@dataclasses.dataclass(frozen=True)
class Question:
    """What people are asked, for templates: ``{{ question.subject }}``, ``{{ question.body }}`` (Markdown) and ``{{ question.html }}``."""

    subject: str
    body: str

    @property
    def html(self) -> str:
        """The text for a mail."""
        return f'<pre style="white-space: pre-wrap">{html.escape(self.body)}</pre>'

    def __str__(self) -> str:
        return f"{self.subject}\n\n{self.body}"


class ProblemNotifier(BaseNotifier):
    """Any notifier by its short name or its import path; imported when there is something to tell, not when the DAG is parsed.

    Args:
        notifier: a name of the registry of notifiers, or the import path of a ``BaseNotifier``.
        options: its arguments; its own templated fields are rendered with the task's context, where ``exception`` says what happened, or
            what is asked.
    """

    question: Question | None = None
    """What people are asked, where they are."""

    template_fields: Sequence[str] = ()

    def __init__(self, *, notifier: str, options: Mapping[str, object] | None = None) -> None:
        super().__init__()
        self.notifier = notifier
        self.options = dict(options or {})

    def notify(self, context: "Context") -> None:
        """Tell; what goes wrong with it is logged, and hides neither the failure nor the other alerts."""
        try:
            module, _, name = notifier_path(self.notifier).rpartition(".")
            told: Any = context
            options = self.options
            if self.question is not None:
                told = {**context, "question": self.question, "exception": str(self.question)}
                options = question_options(self.notifier) | options
            getattr(importlib.import_module(module), name)(**options)(told)
        except Exception:
            log.exception("the alert %s could not be given", self.notifier)


class LogNotifier(BaseNotifier):
    """Writes a line into the task's log: where nobody is to be told, but somebody may look.

    Args:
        message: the line; templates are rendered with the task's context.
    """

    template_fields: Sequence[str] = ("message",)

    def __init__(self, message: str = "{{ exception }}") -> None:
        super().__init__()
        self.message = message

    def notify(self, context: "Context") -> None:
        """Log it."""
        log.warning("%s", self.message)
