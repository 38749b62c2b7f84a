"""When a live model is no longer fit, and how long what it leaves behind is kept."""

from pydantic import Field

from windtunnel.lifecycle.contract.problem.parts import Part

__all__ = ["Monitoring", "Retention"]


class Monitoring(Part):
    """When a live model is no longer fit."""

    schedule: str | None = Field(None, description="cron; None: only by hand")
    stale_days: int = Field(14, ge=1, description="oldest data cut-off of a fit champion, in days before the newest data")
    drift: float = Field(0.25, ge=0, description="largest population stability index of a live feature")
    retrain: bool = Field(False, description="start a retraining run when there is a reason")


class Retention(Part):
    """How long things are kept that nobody needs any more; `windtunnel gc` and the maintenance DAG remove them.

    What the champion, the champion before it, a challenger, a version with an alias, a waiting decision or a run within the replay horizon
    needs stays, whatever its age.
    """

    versions: int = Field(5, ge=1, description="newest registered versions that stay whole, with all they were made from")
    replay_days: float = Field(30, ge=1, description="runs younger than this can be replayed: all they used stays")
    artifacts_days: float = Field(90, ge=1, description="statistics, reports, results and bundles")
    shards_days: float = Field(14, ge=1, description="training shards, the largest of all")
    snapshots_days: float = Field(90, ge=1, description="versions of the tables; the newest stays")
    quarantine_days: float = Field(180, ge=1, description="rows in quarantine, by their day")
    predictions_days: float = Field(365, ge=1, description="logged predictions, by their day")
    runs_days: float = Field(180, ge=1, description="runs and models in MLflow")
