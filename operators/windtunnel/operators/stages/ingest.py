"""Ingest: new rows of the window become a version of the table."""

import datetime as dt
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk import Connection
from airflow.sdk.configuration import conf

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.operators.base import StageOperator, problem_of
from windtunnel.operators.telling import events
from windtunnel.operators.telling.links import page_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.context import RunContext
    from windtunnel.lifecycle.contract.references import Reference, SnapshotRef
    from windtunnel.lifecycle.contract.window import Window

__all__ = ["IngestOperator"]


class IngestOperator(StageOperator):
    """Ingest the days of the run's window that the table lacks or whose source has changed.

    Rows are typed by the problem's schema; those that do not fit go to the quarantine table with the reason. Returns a snapshot
    reference. The asset ``NAME.examples`` has an event when the table changed, ``NAME.backfill`` when a backfill changed it.

    Args:
        problem: a problem, or the path of its file.
        data_version: use this snapshot of the table as it is instead of looking at the source (templated).
        deferrable: wait for files (the problem's ``source.wait``) in Airflow's triggerer instead of on a worker; None: as Airflow's option
            ``[operators] default_deferrable`` says. Only where a triggerer runs: without one a deferred task waits for ever.
        **kwargs: what every Airflow operator takes.
    """

    stage = "ingest"

    def __init__(
        self,
        *,
        problem: Problem | Mapping[str, object] | str | Path,
        # get, because Airflow's templates are strict: a DAG without this Param would fail when it is rendered
        data_version: str = "{{ params.get('data_version') or '' }}",
        deferrable: bool | None = None,
        **kwargs: object,
    ) -> None:
        problem = problem_of(problem)
        kwargs.setdefault("outlets", [events.outlet(problem)])
        if problem.source.wait is not None:  # the time to work begins when the files are there
            kwargs.setdefault("execution_timeout", problem.dag.execution_timeout + dt.timedelta(hours=problem.source.wait.until))
        super().__init__(problem=problem, **kwargs)
        self.data_version = data_version
        self.deferrable = deferrable

    def run_stage(self, context: "Context", work: "RunContext") -> "Reference":
        """Ingest, or pin the version that was asked for."""
        self._hand_over_connection()
        if not self.data_version:
            self._wait(self.window(context), work)
        snapshot: SnapshotRef = self.do(work, window=self.window(context), data_version=str(self.data_version))
        self.link = page_url("data", self.problem.name, str(snapshot.snapshot_id), snapshot.start, snapshot.end)
        if not self.data_version:
            events.examples_changed(context, work, snapshot)
        return snapshot

    def _wait(self, window: "Window", work: "RunContext") -> None:
        """Leave the worker while required days lack their files; where that is not wanted, the job waits by itself."""
        wanted = conf.getboolean("operators", "default_deferrable", fallback=False) if self.deferrable is None else self.deferrable
        if self.problem.source.wait is None or not wanted:
            return
        from windtunnel.lifecycle.data.sources.arrival import POLL_SECONDS, lacking_days, waits_until
        from windtunnel.operators.arrival import ArrivalTrigger

        now = dt.datetime.now(dt.UTC)
        lacking, until = lacking_days(self.problem, window, work.settings, now.timestamp()), waits_until(self.problem, window)
        if lacking and now < until:
            self.log.info("waiting until %s for %d days: %s", until, len(lacking), "; ".join(f"{d}: {why}" for d, why in lacking.items()))
            trigger = ArrivalTrigger(self.problem.model_dump(mode="json"), window.to_dict(), work.settings.landing, POLL_SECONDS)
            # leaves by an exception: the task goes on with `execute_complete`, in a new process
            self.defer(trigger=trigger, method_name=self.execute_complete.__name__)

    def execute_complete(self, context: "Context", event: JsonObject) -> JsonObject:
        """Go on where the files have come; where they have not, the job says which and when their time was over."""
        self.log.info("required days that lack files: %s", event["lacking"] or "none")
        return self.execute(context)

    def _hand_over_connection(self) -> None:
        """Put the source's connection where the job looks for it: in this task's environment, wherever Airflow keeps it."""
        name = self.problem.source.connection
        variable = f"AIRFLOW_CONN_{name.upper()}"
        # what the deployment sets there itself goes first
        if name and variable not in os.environ:
            os.environ[variable] = Connection.get(name).get_uri()

    def extra_inputs(self, context: "Context") -> JsonObject:
        """The window."""
        return {"window": self.window(context).to_dict()}
