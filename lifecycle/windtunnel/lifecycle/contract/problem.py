"""A problem: what a team registers, in one YAML file, for Windtunnel to keep a model fit for it.

The file is a contract with a published JSON Schema (`json_schema`); a wrong one is a `ProblemError` that names the file, the field and
the allowed values, which Airflow shows as an import error of that file alone.
"""

import datetime as dt
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from windtunnel.lifecycle.contract.alert import Alert
from windtunnel.lifecycle.contract.errors import ProblemError
from windtunnel.lifecycle.contract.fingerprint import fingerprint
from windtunnel.lifecycle.contract.problem_errors import explain

__all__ = [
    "Alert",
    "Approval",
    "Budget",
    "ColumnType",
    "Costs",
    "EventTime",
    "Features",
    "Gate",
    "Kpi",
    "Label",
    "Limits",
    "Lookup",
    "Manifests",
    "Model",
    "Monitoring",
    "Positive",
    "Problem",
    "Serving",
    "Source",
    "Splits",
    "Task",
    "Windows",
    "json_schema",
    "load",
    "parse",
]

Task = Literal["binary", "multiclass", "regression", "anomaly"]
ColumnType = Literal["bool", "int32", "int64", "float32", "float64", "string", "date", "timestamp", "decimal"]
Promotion = Literal["auto", "ask", "never"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
DottedName = Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")]
Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Kpi(_Part):
    """The business figure that the model is for."""

    name: str = Field(description="what people call it")
    description: str = Field("", description="what it means")
    function: DottedName | None = Field(None, description="module:function(truth, prediction) -> float, larger is better")


class Source(_Part):
    """Where raw rows come from."""

    format: Literal["csv", "parquet", "jsonl", "arrow", "iceberg", "sql", "python"]
    path: str = Field("", description="path or URL; {landing} and the window's {day}, {year}, {month}, {dom} are filled in; globs too")
    table: str = Field("", description="format iceberg or sql: the table")
    query: str = Field("", description="format sql: a query; {start} and {end} are filled in with the window's bounds")
    connection: str = Field("", description="format sql: an Airflow connection id")
    generator: DottedName | None = Field(None, description="format python: module:function(start, end) -> iterable of Arrow batches")
    options: dict[str, Any] = Field(default_factory=dict, description="reader options: delimiter, encoding, nulls, decimal_point, ...")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed = {"iceberg": self.table, "sql": self.table or self.query, "python": self.generator}.get(self.format, self.path)
        if not needed:
            field = {"iceberg": "table", "sql": "table or query", "python": "generator"}.get(self.format, "path")
            raise ValueError(f"a source of format {self.format!r} needs {field}")
        return self


class EventTime(_Part):
    """The columns that say when a row happened: one timestamp or date column, or year, month and day."""

    column: str | None = Field(None, description="a timestamp or date column")
    year: str | None = Field(None, description="a column of years, with month and day")
    month: str | None = Field(None, description="a column of months, 1 to 12")
    day: str | None = Field(None, description="a column of days of the month")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.column is None) == (None in {self.year, self.month, self.day}):
            raise ValueError("give either column, or all of year, month and day")
        return self


class Positive(_Part):
    """Which label values are the positive class of a binary task: give exactly one."""

    above: float | None = None
    at_least: float | None = None
    equals: str | int | bool | None = None
    not_equals: str | int | bool | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in (self.above, self.at_least, self.equals, self.not_equals)) != 1:
            raise ValueError("give exactly one of above, at_least, equals, not_equals")
        return self


class Label(_Part):
    """What is predicted."""

    column: str = Field(description="the column that holds the truth")
    positive: Positive | None = Field(None, description="binary: how the column becomes a yes or a no")
    delay_days: int = Field(0, ge=0, description="a row's label is known this many days after its event; a run does not see it earlier")
    classes: list[str] | None = Field(None, description="multiclass: the allowed values")


class Features(_Part):
    """The columns that a model may see, and how they become numbers."""

    numeric: list[str] = Field(default_factory=list, description="imputed and standardised")
    categorical: list[str] = Field(default_factory=list, description="one column a category")
    text: list[str] = Field(default_factory=list, description="TF-IDF of words")
    transformer: DottedName | None = Field(None, description="module:function() that returns any ColumnTransformer or Pipeline")
    scale: bool = Field(True, description="standardise numeric columns")
    impute: Literal["mean", "median", "most_frequent", "none"] = Field("median", description="what fills missing numbers")
    min_frequency: int | None = Field(None, ge=1, description="rarer categories are one 'infrequent' column")
    max_categories: int | None = Field(None, ge=2, description="at most so many columns a categorical feature")

    @property
    def columns(self) -> list[str]:
        """All feature columns, in order."""
        return [*self.numeric, *self.categorical, *self.text]


class Splits(_Part):
    """How rows are divided: by a stable hash of a key, which never crosses splits, or by time."""

    by: Literal["key", "time"] = Field("key", description="a stable hash of a key, or the event time")
    key: list[str] = Field(default_factory=list, description="by key: these columns; empty means the problem's keys")
    test: Share = Field(0.2, description="by key: the share of keys; by time: the newest share of the window's days")
    salt: str = Field("", description="another text draws another split")


class Windows(_Part):
    """Which time a run is about."""

    train_days: int = Field(28, ge=1, description="how many days a model learns from")
    history_start: dt.date | None = Field(None, description="no data before this day")
    history_end: dt.date | None = Field(None, description="no data on or after this day: a closed history")


class Model(_Part):
    """What learns."""

    family: Literal["hist_gradient_boosting", "random_forest", "linear", "isolation_forest"] = Field(
        "hist_gradient_boosting", description="linear is logistic or ridge regression; isolation_forest is for anomaly"
    )
    estimator: DottedName | None = Field(None, description="module:function(**parameters) that returns a scikit-learn estimator")
    parameters: dict[str, Any] = Field(default_factory=dict, description="of the estimator")
    search: dict[str, Any] = Field(default_factory=dict, description="name: [choices] or {low, high, log}")
    class_balance: Literal["none", "weights", "downsample", "ask"] = Field(
        "none", description="weights: in the loss; downsample: as many rows of each class; ask: a person chooses in Airflow"
    )
    ask_below: Share = Field(0.2, description="class_balance ask: a person is asked when a class has a smaller share than this")
    unanswered: Literal["none", "weights", "downsample"] = Field(
        "none", description="class_balance ask: what is done in backfills, and when nobody answered within approval.timeout_hours"
    )
    seed: int = Field(0, description="of everything random")


class Budget(_Part):
    """What a search and a training may cost."""

    trials: int = Field(4, ge=0, description="parameter sets that are tried")
    seconds: int = Field(600, ge=1, description="no trial starts after so many seconds")
    memory_mb: int = Field(2048, ge=64, description="of training; more rows than fit are sampled, and it is said")


class Gate(_Part):
    """One condition on a candidate: exactly one bound."""

    metric: str = Field(description="a metric of the evaluation report")
    at_least: float | None = None
    at_most: float | None = None
    above_baseline_by: float | None = None
    above_champion_by: float | None = None
    slices: bool = Field(False, description="must hold in every declared slice with enough rows")

    @model_validator(mode="after")
    def _one(self) -> Self:
        bounds = (self.at_least, self.at_most, self.above_baseline_by, self.above_champion_by)
        if sum(bound is not None for bound in bounds) != 1:
            raise ValueError("give exactly one of at_least, at_most, above_baseline_by, above_champion_by")
        return self


class Costs(_Part):
    """What each kind of answer of a binary model costs, in any one unit; what earns is negative."""

    false_positive: float = 0.0
    false_negative: float = 0.0
    true_positive: float = 0.0
    true_negative: float = 0.0


class Baseline(_Part):
    """The simple model that a candidate is judged beside; short form: the kind alone."""

    kind: Literal["prior", "single_feature", "logistic", "mean", "median", "previous", "linear"] | None = Field(
        None, description="classes: prior (default), single_feature, logistic; regression: mean (default), median, previous, linear, ..."
    )
    group: list[str] = Field(default_factory=list, description="previous: whose previous value, such as the shop's")


_BASELINES = {
    "binary": ("prior", "single_feature", "logistic"),
    "multiclass": ("prior", "single_feature", "logistic"),
    "regression": ("mean", "median", "previous", "linear", "single_feature"),
    "anomaly": ("prior",),
}


class Explanations(_Part):
    """What is explained beyond importance, partial dependence and what-if."""

    shap: bool = Field(False, description="SHAP values by the library shap, which the extra 'explain' installs")
    rows: int = Field(200, ge=10, le=2000, description="held-out rows that they are computed for")


class Approval(_Part):
    """Who lets a model through."""

    promotion: Promotion = Field("ask", description="auto: every gate passed is enough; ask: a person decides; never: no promotion")
    approvers: list[str] = Field(default_factory=list, description="names of those who may decide; empty: everybody who may run the DAG")
    timeout_hours: float = Field(72, gt=0, description="how long a person is waited for")
    default: Literal["approve", "reject"] = Field("reject", description="what is taken when nobody answered")
    notifiers: list[Alert] = Field(default_factory=list, description="who is told that a decision waits")


class Limits(_Part):
    """What data may look like before a run stops."""

    quarantine_share: Share = Field(0.01, description="largest share of rows that do not fit the schema")
    rows_min: int = Field(1, ge=0, description="rows of a training window")
    label_shift: Share = Field(0.1, description="largest change of a class's share against the reference")
    split_shift: Share = Field(
        0.1, description="largest difference of a class's share between training and test rows, also within each sensitive group"
    )
    drift: float = Field(0.25, ge=0, description="largest population stability index of a feature against the reference")


class Lookup(_Part):
    """Answers that a batch job computed beforehand, found by key; what is not there, or too old, the model answers."""

    key: list[str] = Field(default_factory=list, description="columns of a request that name a row; empty: the problem's keys")
    max_age_hours: float = Field(24.0, gt=0, description="older precomputed answers are not used")


class Manifests(_Part):
    """Manifests that are written when a version is promoted; applying them is the team's own step."""

    image: str = Field(description="the model server's image, as the cluster names it")
    namespace: str = Field("default", description="KServe: the namespace")
    role: str | None = Field(None, description="SageMaker: the execution role's ARN; without it only KServe's is written")
    instance: str = Field("ml.c6i.large", description="SageMaker: the instance type")


class Serving(_Part):
    """How the model is served."""

    threshold: float = Field(0.5, ge=0, le=1, description="the probability from which a binary answer is yes")
    abstain_below: float | None = Field(None, ge=0, le=1, description="confidence under which a person is asked")
    latency_p99_ms: float = Field(100.0, gt=0, description="slower models are not deployed; milliseconds of one request")
    size_mb: float = Field(200.0, gt=0, description="larger bundles are not deployed")
    canary_share: Share = Field(0.0, description="share of requests that a new version gets first; 0: all at once")
    bake_seconds: float = Field(0.0, ge=0, description="how long the canary is watched")
    canary_drift: float = Field(0.25, gt=0, description="largest population stability index of its answers against the champion's")
    sticky: str | None = Field(None, description="the column whose value always gets the same arm")
    bandit: bool = Field(False, description="the canary's share follows what its answers turn out to be worth (Thompson sampling)")
    reward: DottedName | None = Field(None, description="module:function(truth, prediction) -> rewards, 0 to 1; None: whether it was right")
    explain: bool = Field(False, description="answers can be asked for what each column contributed")
    lookup: Lookup | None = Field(None, description="answer from precomputed answers where there are any")
    targets: list[str] = Field(default_factory=list, description="further places for the champion: a directory, mlflow:, put+https://...")
    manifests: Manifests | None = Field(None, description="write manifests for KServe and SageMaker")
    redact: list[str] = Field(default_factory=list, description="columns that the prediction log leaves out, beside the sensitive ones")
    log_sample: Share = Field(1.0, description="share of requests that the prediction log keeps")


class Monitoring(_Part):
    """When a live model is no longer fit."""

    schedule: str | None = Field(None, description="cron; None: only by hand")
    stale_days: int = Field(14, ge=1, description="oldest data cut-off of a fit champion, in days before the newest data")
    drift: float = Field(0.25, ge=0, description="largest population stability index of a live feature")
    retrain: bool = Field(False, description="start a retraining run when there is a reason")


class Problem(_Part):
    """A problem, as its file says it.

    Example:
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
    owner: str = Field(description="who answers for it; the DAG's owner")
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
    alerts: list[Alert] = Field(default_factory=list, description="who is told, once, when validation stops a run")
    first_suite: Literal["go_on", "stop"] = Field(
        "go_on", description="without a suite the run proposes one: go on with it, or stop until a person has reviewed it"
    )
    suite: str | None = Field(None, description="the Great Expectations suite, a JSON file beside the problem file")
    schedule: str | None = Field(None, description="cron of the retraining DAG; None: by hand and by backfill only")
    start_date: dt.date = Field(dt.date(2024, 1, 1), description="the schedule's first day")
    tags: list[str] = Field(default_factory=list, description="the DAG's tags")
    directory: str = Field("", exclude=True, description="the folder of the problem file; filled in by load()")

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and isinstance(values.get("baseline"), str):
            values = {**values, "baseline": {"kind": values["baseline"]}}
        if isinstance(values, Mapping) and isinstance(values.get("slices"), list):
            return {**values, "slices": [[entry] if isinstance(entry, str) else entry for entry in values["slices"]]}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = set(self.columns)
        named = {
            "label.column": [self.label.column],
            "keys": self.keys,
            "sensitive": self.sensitive,
            "optional_columns": self.optional_columns,
            "features": self.features.columns,
            "slices": [column for crossing in self.slices for column in crossing],
            "splits.key": self.splits.key,
            "baseline.group": self.baseline.group,
            "serving.lookup.key": self.serving.lookup.key if self.serving.lookup else [],
            "event_time": [c for c in (self.event_time or EventTime(column="")).model_dump().values() if c],
        }
        for field, columns in named.items():
            for column in columns:
                if column not in known:
                    raise ValueError(f"{field} names column {column!r}, which columns does not declare; declared: {sorted(known)}")
        if self.serving.bandit and self.task == "regression" and self.serving.reward is None:
            raise ValueError("serving.bandit of a regression needs serving.reward: a function that gives rewards from 0 to 1")
        if self.serving.lookup is not None and not (self.serving.lookup.key or self.keys):
            raise ValueError("serving.lookup needs a key: the columns that name a row, in serving.lookup.key or keys")
        if not self.features.columns and self.features.transformer is None:
            raise ValueError("features needs at least one column or a transformer")
        if self.label.column in self.features.columns:
            raise ValueError(f"the label column {self.label.column!r} is among the features: the model would see the answer")
        if self.task == "binary" and self.label.positive is None:
            raise ValueError("a binary task needs label.positive: one of above, at_least, equals, not_equals")
        if self.baseline.kind not in {None, *_BASELINES[self.task]}:
            raise ValueError(
                f"baseline of a {self.task} task must be one of {', '.join(_BASELINES[self.task])} but is {self.baseline.kind}"
            )
        timed = self.event_time is not None or "{" in self.source.path.replace("{landing}", "")
        if self.schedule is not None and not timed:
            raise ValueError("a scheduled problem needs event_time, or a source path with the window's {day}")
        if self.label.delay_days and not timed:
            raise ValueError("label.delay_days needs event_time, or a source path with the window's {day}: it counts from a row's day")
        if self.label.delay_days >= self.windows.train_days:
            raise ValueError(
                f"label.delay_days is {self.label.delay_days}: no label of a window of {self.windows.train_days} days would be known at "
                "its end; make windows.train_days larger"
            )
        return self

    @functools.cached_property
    def fingerprint(self) -> str:
        """The fingerprint of everything that the file says."""
        return fingerprint(self)

    def part_fingerprint(self, *parts: str) -> str:
        """The fingerprint of some parts only: what one stage depends on."""
        return fingerprint({part: getattr(self, part) for part in parts})

    @property
    def redacted(self) -> list[str]:
        """The columns that the prediction log leaves out: those of ``serving.redact``, and every sensitive one."""
        return list(dict.fromkeys([*self.serving.redact, *self.sensitive]))

    @property
    def training_columns(self) -> list[str]:
        """The columns that learning and judging need: features, label, keys, slices, sensitive ones, event time."""
        event = [c for c in (self.event_time.model_dump().values() if self.event_time else []) if c]
        extra = [
            self.label.column,
            *self.baseline.group,
            *self.keys,
            *self.splits.key,
            *self.sensitive,
            *(c for s in self.slices for c in s),
            *event,
        ]
        if self.features.transformer is not None and not self.features.columns:
            return list(self.columns)
        return list(dict.fromkeys([*self.features.columns, *extra]))


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a problem file."""
    return Problem.model_json_schema()


def load(path: str | Path) -> Problem:
    """Read a problem file.

    Raises:
        ProblemError: names the file, the field and what is allowed.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProblemError(f"{path}: cannot be read: {error.strerror}", path=str(path)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ProblemError(f"{path}: is not YAML: {error}", path=str(path)) from error
    return parse(values, path=path)


def parse(values: Any, path: Path | None = None) -> Problem:
    """A problem from plain data, with errors that a person can act on."""
    where = str(path) if path else "problem"
    if not isinstance(values, Mapping):
        raise ProblemError(f"{where}: must be a mapping of fields but is a {type(values).__name__}", path=where)
    given = {**values, "directory": str(path.parent.resolve())} if path else dict(values)
    try:
        return Problem.model_validate(given)
    except ValidationError as error:
        lines, fields = [], []
        for entry in error.errors(include_url=False):
            field = ".".join(str(part) for part in entry["loc"]) or "(the whole file)"
            fields.append(field)
            lines.append(f"{field}: {explain(entry, Problem)}")
        raise ProblemError(f"{where}: " + "; ".join(lines), path=where, fields=fields) from error
