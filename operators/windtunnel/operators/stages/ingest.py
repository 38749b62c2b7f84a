"""Ingest: new rows of the window become a version of the table."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Connection

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.operators.base import StageOperator, problem_of
from windtunnel.operators.telling import events
from windtunnel.operators.telling.links import page_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.context import RunContext
    from windtunnel.lifecycle.contract.references import Reference, SnapshotRef

__all__ = ["IngestOperator"]


class IngestOperator(StageOperator):
    """Ingest the days of the run's window that the table lacks or whose source has changed.

    Rows are typed by the problem's schema; those that do not fit go to the quarantine table with the reason. Returns a snapshot
    reference. The asset ``NAME.examples`` has an event when the table changed, ``NAME.backfill`` when a backfill changed it.

    Args:
        problem: a problem, or the path of its file.
        data_version: use this snapshot of the table as it is instead of looking at the source (templated).
        **kwargs: what every Airflow operator takes.
    """

    stage = "ingest"

    def __init__(
        self,
        *,
        problem: Problem | Mapping[str, Any] | str | Path,
        data_version: str = "{{ params.get('data_version') or '' }}",
        **kwargs: Any,
    ) -> None:
        problem = problem_of(problem)
        kwargs.setdefault("outlets", [events.outlet(problem)])
        super().__init__(problem=problem, **kwargs)
        self.data_version = data_version

    def run_stage(self, context: "Context", work: "RunContext") -> "Reference":
        """Ingest, or pin the version that was asked for."""
        self._hand_over_connection()
        snapshot: SnapshotRef = self.do(work, window=self.window(context), data_version=str(self.data_version))
        self.link = page_url("data", self.problem.name, str(snapshot.snapshot_id), snapshot.start, snapshot.end)
        if not self.data_version:
            events.examples_changed(context, work, snapshot)
        return snapshot

    def _hand_over_connection(self) -> None:
        """Put the source's connection where the job looks for it: in this task's environment, wherever Airflow keeps it."""
        name = self.problem.source.connection
        variable = f"AIRFLOW_CONN_{name.upper()}"
        if name and variable not in os.environ:
            os.environ[variable] = Connection.get(name).get_uri()

    def extra_inputs(self, context: "Context") -> dict[str, Any]:
        """The window."""
        return {"window": self.window(context).to_dict()}
