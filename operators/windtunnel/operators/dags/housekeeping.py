"""Housekeeping: what nobody needs any more goes, by the rules of the problem file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.payload import JsonMapping
from windtunnel.operators.base import RETRY_POLICY, problem_of
from windtunnel.operators.settings import airflow_settings

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["HousekeepingOperator"]


class HousekeepingOperator(BaseOperator):
    """Remove artefacts, shards, snapshots, left-over files, quarantine, prediction logs, MLflow runs and server copies by their rules.

    Safe beside running tasks, and when it is killed: the next one goes on. It hands on the figures, a row a kind.

    Args:
        problem: a problem, or the path of its file; its ``retention`` has the rules.
        dry_run: only say what would go.
        **kwargs: what `BaseOperator` takes.
    """

    def __init__(self, *, problem: Problem | JsonMapping | str | Path, dry_run: bool = False, **kwargs: Any) -> None:
        kwargs.setdefault("retry_policy", RETRY_POLICY)
        super().__init__(**kwargs)
        self.problem = problem_of(problem)
        self.dry = dry_run

    def execute(self, context: "Context") -> list[dict[str, object]]:
        """Remove it, and say what was freed.

        Raises:
            JobError: some kind of thing could not be looked after; a retry looks again.
        """
        from windtunnel.lifecycle.contract.errors import JobError
        from windtunnel.lifecycle.keeping.housekeeping import housekeep

        outcome = housekeep(self.problem, airflow_settings(server=True), dry=self.dry)
        for row in outcome.freed:
            self.log.info("%s", row)
        if outcome.failed:
            raise JobError(f"{self.problem.name}: not looked after: {'; '.join(f'{kind}: {why}' for kind, why in outcome.failed.items())}")
        return [{"kind": row.kind, "rule": row.rule, "count": row.count, "bytes": row.size, "kept": row.kept} for row in outcome.freed]
