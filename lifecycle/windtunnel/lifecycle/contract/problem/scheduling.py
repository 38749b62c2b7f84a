"""When a problem's DAGs run and how: what Airflow is told beside the stages."""

import datetime as dt
import zoneinfo
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from windtunnel.lifecycle.contract.problem.parts import Part
from windtunnel.lifecycle.payload import JsonObject

__all__ = ["AssetSchedule", "DagOptions", "Timezone"]

RunType = Literal["scheduled", "manual", "backfill", "asset_triggered"]
_Span = Annotated[dt.timedelta, Field(gt=dt.timedelta(0))]
_HOURS = 24


def _zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("is no time zone of the IANA database, such as UTC or America/New_York") from error
    return name


Timezone = Annotated[str, AfterValidator(_zone)]


class AssetSchedule(Part):
    """A schedule by assets: a run starts when all of them changed, or (with `cron`) also at times."""

    assets: list[Annotated[str, Field(min_length=1)]] = Field(
        min_length=1, description="names, such as other_problem.examples, or URIs, such as s3://lake/raw: a run starts when all changed"
    )
    any: bool = Field(False, description="a run starts when one of them changed")
    cron: str | None = Field(None, description="a run starts at these times too")


class DagOptions(Part):
    """What the problem's DAGs are told of Airflow's own options; what is not said here `register_problems` may say for all problems."""

    catchup: bool = Field(False, description="unpaused, start a run for each interval since start_date that has none")
    max_active_runs: int = Field(4, ge=1, description="runs of the retraining DAG at a time")
    dagrun_timeout: _Span | None = Field(
        None,
        description="a run that takes longer fails, such as 36:00:00; by default a day, and the time that people have to answer",
    )
    execution_timeout: _Span = Field(
        dt.timedelta(hours=6), description="a stage that takes longer fails, such as 02:00:00; not one that waits for a person"
    )
    retries: int = Field(2, ge=0, description="of a stage whose failure a retry can mend")
    pool: str | None = Field(None, description="the pool that stages take their slots from")
    access_control: JsonObject | None = Field(None, description="Airflow's: role -> what it may do with the DAGs")
    owner_links: dict[str, str] | None = Field(None, description="owner -> a URL or mailto: of theirs")
    allowed_run_types: list[RunType] | None = Field(None, min_length=1, description="ways in which a retraining may be started; None: all")
    deadline: _Span | None = Field(
        None, description="the problem's alerts are told of a retraining that is not done so long after it was due, such as 06:00:00"
    )
    default_args: JsonObject = Field(default_factory=dict, description="further arguments of every task")

    def run_timeout(self, waiting_hours: float) -> dt.timedelta:
        """How long a run may take, when people have so many hours to answer in it."""
        return self.dagrun_timeout or dt.timedelta(hours=_HOURS + waiting_hours)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        doubled = sorted({"execution_timeout", "retries", "pool", "owner"} & set(self.default_args))
        if doubled:
            raise ValueError(f"default_args must not have {doubled[0]}: it is a field of its own")
        return self
