"""Who is told: a part of the problem file."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Alert"]


class Alert(BaseModel):
    """Who is told (when data stops a run, when a decision waits): a notifier of Airflow's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    notifier: str = Field(
        pattern=r"^[A-Za-z_][\w]*(\.[A-Za-z_]\w*)*$",
        description="log, smtp, slack, ..., or the import path of a BaseNotifier",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="its arguments; its templated ones may use {{ exception }}, {{ dag_run.run_id }}, ..."
    )
