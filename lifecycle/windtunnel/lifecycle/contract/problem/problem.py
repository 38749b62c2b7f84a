"""The problem itself: all of its sections, and what must fit between them."""

import datetime as dt
import functools
from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from windtunnel.lifecycle.contract.alert import Alert
from windtunnel.lifecycle.contract.fingerprint import fingerprint
from windtunnel.lifecycle.contract.problem.dividing import Splits, Windows
from windtunnel.lifecycle.contract.problem.features import Features
from windtunnel.lifecycle.contract.problem.gates import Approval, Gate, Limits
from windtunnel.lifecycle.contract.problem.label import Label
from windtunnel.lifecycle.contract.problem.model import Baseline, Budget, Explanations, Model
from windtunnel.lifecycle.contract.problem.monitoring import Monitoring, Retention
from windtunnel.lifecycle.contract.problem.parts import ColumnType, Name, Part, Task
from windtunnel.lifecycle.contract.problem.scheduling import AssetSchedule, DagOptions, Timezone
from windtunnel.lifecycle.contract.problem.serving import Serving
from windtunnel.lifecycle.contract.problem.source import EventTime, Source
from windtunnel.lifecycle.contract.problem.worth import Costs, Kpi

__all__ = ["Problem"]


class Problem(Part):
    """A problem, as its file says it.

    Example:
        >>> from windtunnel.lifecycle.contract.problem import parse
        >>> problem = parse({
        ...     "name": "churn", "owner": "crm@example.org", "task": "binary",
        ...     "source": {"format": "csv", "path": "/data/churn.csv"},
        ...     "columns": {"tenure": "int64", "plan": "string", "churned": "string"},
        ...     "label": {"column": "churned", "positive": {"equals": "Yes"}},
        ...     "features": {"numeric": ["tenure"], "categorical": ["plan"]},
        ... })
        >>> problem.features.columns
        ['tenure', 'plan']
    """

    name: Name = Field(description="the problem's and its DAG's name: small letters, digits and underscores")
    owner: str = Field(min_length=1, description="who answers for it; the DAG's owner")
    title: str = Field("", description="one line for people")
    description: str = Field("", description="what it is about; shown in the DAG's docs and in reports")
    kpi: Kpi | None = Field(None, description="the business figure")
    task: Task = Field(description="what kind of answer is learned")
    source: Source = Field(description="where raw rows come from")
    columns: dict[str, ColumnType] = Field(description="the pinned schema: name -> type; what else a source has is dropped")
    optional_columns: list[str] = Field(default_factory=list, description="columns that a source may lack: filled with null")
    event_time: EventTime | None = Field(None, description="when a row happened; without it every row belongs to the window")
    keys: list[str] = Field(default_factory=list, description="columns that together name a row")
    sensitive: list[str] = Field(default_factory=list, description="columns that must not be discriminated by or logged")
    label: Label = Field(description="what is predicted")
    features: Features = Field(description="what a model may see")
    slices: list[list[str]] = Field(default_factory=list, description="columns, or crossings of two, to look into")
    splits: Splits = Field(default_factory=Splits, description="how rows are divided")
    windows: Windows = Field(default_factory=Windows, description="which time a run is about")
    model: Model = Field(default_factory=Model, description="what learns")
    budget: Budget = Field(default_factory=Budget, description="what a search and a training may cost")
    baseline: Baseline = Field(default_factory=Baseline, description="the simple model that a candidate is judged beside")
    explanations: Explanations = Field(default_factory=Explanations, description="what is explained beyond the usual")
    gates: list[Gate] = Field(default_factory=list, description="conditions on a candidate")
    costs: Costs | None = Field(None, description="binary: gives the expected cost, and the threshold where it is least")
    objectives: dict[str, float] = Field(
        default_factory=dict, description="metric -> weight: combined into the metric 'objective'; may change without retraining"
    )
    limits: Limits = Field(default_factory=Limits, description="what data may look like before a run stops")
    approval: Approval = Field(default_factory=Approval, description="who lets a model through")
    serving: Serving = Field(default_factory=Serving, description="how the model is served")
    monitoring: Monitoring = Field(default_factory=Monitoring, description="when a live model is no longer fit")
    alerts: list[Alert] = Field(default_factory=list, description="who is told, once, when a stage failed or the monitor sees something")
    retention: Retention = Field(default_factory=Retention, description="how long things are kept that nobody needs any more")
    first_suite: Literal["go_on", "stop"] = Field(
        "go_on", description="without a suite the run proposes one: go on with it, or stop until a person has reviewed it"
    )
    suite: str | None = Field(None, description="the Great Expectations suite, a JSON file beside the problem file")
    timezone: Timezone = Field("UTC", description="of schedules, and of the days that a run's cut-off ends")
    schedule: str | AssetSchedule | None = Field(
        None, description="cron of the retraining DAG, or {assets: [...]}; None: by hand and by backfill only"
    )
    start_date: dt.date = Field(dt.date(2024, 1, 1), description="the schedule's first day")
    dag: DagOptions = Field(default_factory=DagOptions, description="Airflow's own options: time-outs, retries, pool, access, ...")
    tags: list[str] = Field(default_factory=list, description="the DAG's tags")
    # Left out of what is stored and fingerprinted: the same file in another folder is the same problem.
    directory: str = Field("", exclude=True, description="the folder of the problem file; filled in by load()")

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, values: object) -> object:
        if isinstance(values, Mapping) and isinstance(values.get("baseline"), str):
            values = {**values, "baseline": {"kind": values["baseline"]}}
        if isinstance(values, Mapping) and isinstance(values.get("slices"), list):
            return {**values, "slices": [[entry] if isinstance(entry, str) else entry for entry in values["slices"]]}
        return values

    # Works on a frozen model: the value goes into __dict__, past pydantic's own __setattr__.
    @functools.cached_property
    def fingerprint(self) -> str:
        """The fingerprint of everything that the file says."""
        return fingerprint(self)

    def part_fingerprint(self, *parts: str) -> str:
        """The fingerprint of some parts only: what one stage depends on."""
        return fingerprint({part: getattr(self, part) for part in parts})

    @property
    def split_columns(self) -> list[str]:
        """The columns whose hash says which split a row is in; none for a split by time."""
        if self.splits.by == "row":
            # Sorted: the same columns in another order draw the same split.
            return sorted(self.columns)
        return list(self.splits.key or self.keys) if self.splits.by == "key" else []

    @property
    def redacted(self) -> list[str]:
        """The columns that the prediction log leaves out: those of ``serving.redact``, and every sensitive one."""
        return list(dict.fromkeys([*self.serving.redact, *self.sensitive]))
