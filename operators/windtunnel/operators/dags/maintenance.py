"""The maintenance DAG: housekeeping of every problem of a folder, one task a problem."""

import datetime as dt
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from windtunnel.operators.dags.folders import problems_of
from windtunnel.operators.dags.housekeeping import HousekeepingOperator

__all__ = ["MAINTENANCE", "register_maintenance"]

MAINTENANCE = "windtunnel_maintenance"


def register_maintenance(folder: str | Path, namespace: MutableMapping[str, Any], schedule: str | None = "30 3 * * *") -> None:
    """Make the DAG ``windtunnel_maintenance`` in a DAG file's globals; a problem file that is wrong has no task in it.

    Args:
        folder: the folder of problem files; relative to the calling DAG file.
        namespace: ``globals()`` of the DAG file.
        schedule: cron; None for only by hand.
    """
    with DAG(
        dag_id=MAINTENANCE,
        schedule=schedule,
        start_date=dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        catchup=False,
        max_active_runs=1,
        tags=["windtunnel"],
        doc_md="Removes what nobody needs any more, by `retention` in the problem files.",
    ) as dag:
        for problem in problems_of(folder, namespace):
            HousekeepingOperator(task_id=problem.name, problem=problem)
    namespace[f"dag_{MAINTENANCE}"] = dag
