"""Feedback: predictions meet the truth that came later."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from windtunnel.operators.base import StageOperator
from windtunnel.operators.telling.links import FeedbackLink, artifact_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.references import Reference
    from windtunnel.lifecycle.contract.settings import Settings

__all__ = ["FeedbackOperator"]


class FeedbackOperator(StageOperator):
    """Join the predictions of the window with the labels that are known by now, and with labels that people gave.

    A model server that compares versions is told what their answers turned out to be worth.

    Args:
        problem: a problem, or the path of its file.
        **kwargs: what every Airflow operator takes.
    """

    template_fields: Collection[str] = ()
    operator_extra_links = (FeedbackLink(),)
    server = True

    def run_stage(self, context: "Context", settings: "Settings") -> "Reference":
        """Join."""
        from windtunnel.beam_jobs.feedback import feedback
        from windtunnel.beam_jobs.job import Progress

        found = feedback(self.problem, self.window(context), settings, Progress("feedback"))
        self.link = artifact_url(settings, found.report)
        return found
