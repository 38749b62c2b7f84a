"""Notifiers: short names for those whom Airflow's own providers bring, for alerts in a problem file."""

import dataclasses

from windtunnel.lifecycle.contract.seams.registry import Registry, Row

__all__ = ["NOTIFIERS", "NotifierRow", "notifier_path", "question_options"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NotifierRow(Row):
    """One short name.

    Attributes:
        path: the dotted import path of a ``BaseNotifier``.
        package: what must be installed for it.
        question: options, with templates, that carry the question where people are asked and the problem file says nothing else.
    """

    path: str
    package: str = ""
    question: tuple[tuple[str, str], ...] = ()


def _provider(name: str, path: str, summary: str, **question: str) -> NotifierRow:
    package = f"apache-airflow-providers-{name}"
    return NotifierRow(name=name, path=f"airflow.providers.{path}", package=package, summary=summary, question=tuple(question.items()))


NOTIFIERS = Registry(
    "notifiers",
    "a notifier",
    NotifierRow,
    [
        NotifierRow(name="log", path="windtunnel.operators.telling.alerts.LogNotifier", summary="a line in the task's log"),
        _provider(
            "smtp",
            "smtp.notifications.smtp.SmtpNotifier",
            "a mail",
            subject="{{ question.subject }}",
            html_content="{{ question.html }}",
        ),
        _provider("slack", "slack.notifications.slack.SlackNotifier", "a message in a Slack channel", text="{{ exception }}"),
        _provider("discord", "discord.notifications.discord.DiscordNotifier", "a message in a Discord channel", text="{{ exception }}"),
        _provider("pagerduty", "pagerduty.notifications.pagerduty.PagerdutyNotifier", "a PagerDuty event"),
        _provider("opsgenie", "opsgenie.notifications.opsgenie.OpsgenieNotifier", "an Opsgenie alert"),
    ],
)
"""All short names; any import path serves too."""


def notifier_path(name: str) -> str:
    """The import path that a problem file's ``notifier`` means: a short name's, or itself.

    Example:
        >>> notifier_path("smtp")
        'airflow.providers.smtp.notifications.smtp.SmtpNotifier'
        >>> notifier_path("ours.alerts.Pager")
        'ours.alerts.Pager'
    """
    return name if "." in name else NOTIFIERS[name].path


def question_options(name: str) -> dict[str, str]:
    """What carries a question to people by this notifier, named by its short name or its import path.

    Example:
        >>> question_options("smtp")["subject"]
        '{{ question.subject }}'
        >>> question_options("airflow.providers.smtp.notifications.smtp.SmtpNotifier") == question_options("smtp")
        True
    """
    path = notifier_path(name)
    return next((dict(row.question) for row in NOTIFIERS if row.path == path), {})
