"""Monitor: is the live model still fit?"""

from typing import TYPE_CHECKING

from windtunnel.operators.base import StageOperator
from windtunnel.operators.telling.alerts import raise_alarm
from windtunnel.operators.telling.links import artifact_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.context import RunContext
    from windtunnel.lifecycle.contract.references import MonitorRef, Reference

__all__ = ["MonitorOperator"]


class MonitorOperator(StageOperator):
    """Look at the champion: staleness, drift of live inputs, quality on labelled predictions, latency; alert with reasons.

    Args:
        problem: a problem, or the path of its file.
        **kwargs: what every Airflow operator takes.
    """

    stage = "monitor"
    server = True

    def run_stage(self, context: "Context", work: "RunContext") -> "Reference":
        """Look."""
        seen: MonitorRef = self.do(work, window=self.window(context))
        self.link = artifact_url(work.settings, seen.report)
        if seen.alerts:
            for alert in seen.alerts:
                self.log.warning("%s", alert)
            raise_alarm(self.problem, context, "; ".join(seen.alerts))
        return seen
