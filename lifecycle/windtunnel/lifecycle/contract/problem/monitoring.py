"""When a live model is no longer fit."""

from pydantic import Field

from windtunnel.lifecycle.contract.problem.parts import Part

__all__ = ["Monitoring"]


class Monitoring(Part):
    """When a live model is no longer fit."""

    schedule: str | None = Field(None, description="cron; None: only by hand")
    stale_days: int = Field(14, ge=1, description="oldest data cut-off of a fit champion, in days before the newest data")
    drift: float = Field(0.25, ge=0, description="largest population stability index of a live feature")
    retrain: bool = Field(False, description="start a retraining run when there is a reason")
