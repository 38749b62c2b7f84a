"""Feedback: predictions meet the truth that came later."""

from typing import TYPE_CHECKING

from windtunnel.operators.base import StageOperator
from windtunnel.operators.telling.links import artifact_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.context import RunContext
    from windtunnel.lifecycle.contract.references import FeedbackRef, Reference

__all__ = ["FeedbackOperator"]


class FeedbackOperator(StageOperator):
    """Join the predictions of the window with the labels that are known by now, and with labels that people gave.

    A model server that compares versions is told what their answers turned out to be worth.

    Args:
        problem: a problem, or the path of its file.
        **kwargs: what every Airflow operator takes.
    """

    stage = "feedback"
    server = True

    def run_stage(self, context: "Context", work: "RunContext") -> "Reference":
        """Join."""
        seen: FeedbackRef = self.do(work, window=self.window(context))
        self.link = artifact_url(work.settings, seen.report)
        return seen
