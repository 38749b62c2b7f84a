"""Monitor: is the live model still fit?"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.operators.base import StageOperator, run_of
from windtunnel.operators.telling.links import MonitorLink, artifact_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.references import Reference
    from windtunnel.lifecycle.contract.settings import Settings

__all__ = ["MonitorOperator"]


class MonitorOperator(StageOperator):
    """Look at the champion: staleness, drift of live inputs, quality on labelled predictions, latency; alert with reasons.

    Args:
        problem: a problem, or the path of its file.
        **kwargs: what every Airflow operator takes.
    """

    template_fields: Collection[str] = ()
    operator_extra_links = (MonitorLink(),)
    server = True

    def run_stage(self, context: "Context", settings: "Settings") -> "Reference":
        """Look."""
        from windtunnel.beam_jobs.job import Progress
        from windtunnel.beam_jobs.monitor import monitor

        found = monitor(RunContext(self.problem, settings, run_of(context)), self.window(context), Progress("monitor"))
        self.link = artifact_url(settings, found.report)
        for alert in found.alerts:
            self.log.warning("%s", alert)
        return found
