"""Asset events: what happened to a problem's data and model, and nothing that did not happen.

The assets of a problem, by name and URI:

=================  =============================  ==============================================================================
``NAME.examples``  ``windtunnel://NAME/examples``  its table of examples changed; extra: snapshot, rows, cut-off, run type
``NAME.model``     ``windtunnel://NAME/model``     it has a new champion; extra: version, cut-off, run type
``NAME.backfill``  ``windtunnel://NAME/backfill``  a backfill changed its table of examples; extra as of ``NAME.examples``
=================  =============================  ==============================================================================

Tasks declare one asset alias, ``NAME``, and name the asset when something happened: an outlet that is an asset itself has an event whenever
its task succeeds, also in a backfill.
"""

import datetime as dt
from typing import TYPE_CHECKING

from airflow.sdk import Asset, AssetAlias

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.payload import JsonObject

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windtunnel.lifecycle.contract.context import RunContext
    from windtunnel.lifecycle.contract.references import SnapshotRef

__all__ = ["asset", "examples_changed", "model_promoted", "outlet"]

_GROUP = "windtunnel"


def asset(problem: str, what: str) -> Asset:
    """An asset of a problem: ``examples``, ``model`` or ``backfill``.

    Example:
        >>> asset("churn", "model").uri
        'windtunnel://churn/model'
    """
    return Asset(name=f"{problem}.{what}", uri=f"windtunnel://{problem}/{what}", group=_GROUP)


def outlet(problem: Problem) -> AssetAlias:
    """What a task declares as its outlet."""
    return AssetAlias(name=problem.name, group=_GROUP)


def examples_changed(context: "Context", work: "RunContext", snapshot: "SnapshotRef") -> None:
    """Tell that the table of examples changed, if it did since the run began; a run that found nothing new tells nothing."""
    from windtunnel.lifecycle.data.tables import existing

    table = existing(work.settings, snapshot.table)
    version = table.snapshot_by_id(snapshot.snapshot_id) if table is not None else None
    began = getattr(context.get("dag_run"), "start_date", None)
    if version is None or (began is not None and dt.datetime.fromtimestamp(version.timestamp_ms / 1000, dt.UTC) < began):
        return
    what = "backfill" if work.run.run_type == "backfill" else "examples"
    figures = {"snapshot": str(snapshot.snapshot_id), "rows": snapshot.rows, "quarantined": snapshot.quarantined}
    _tell(context, work, what, {**figures, "start": snapshot.start, "cutoff": snapshot.end})


def model_promoted(context: "Context", work: "RunContext", deployment: JsonObject) -> None:
    """Tell that there is a new champion, if it became so by this run: a version that was champion before is no news."""
    from windtunnel.lifecycle.record.ledger import Ledger

    promotions = Ledger(work.settings).entries(work.problem.name, ("promotion",))
    mine = [entry for entry in promotions if str(entry.payload["version"]) == deployment["version"]]
    if not mine or (mine[-1].run.get("dag_id"), mine[-1].run.get("run_id")) != (work.run.dag_id, work.run.run_id):
        return
    payload = mine[-1].payload
    figures = {name: payload.get(name) for name in ("version", "semantic", "cutoff", "metric", "value")}
    _tell(context, work, "model", {**figures, "url": deployment["url"]})


def _tell(context: "Context", work: "RunContext", what: str, extra: JsonObject) -> None:
    events = context.get("outlet_events")
    alias = outlet(work.problem)
    if events is not None and alias in getattr(context.get("task"), "outlets", [alias]):  # a DAG may give its tasks other outlets
        events[alias].add(asset(work.problem.name, what), extra={**extra, "run_type": work.run.run_type, "run_id": work.run.run_id})
