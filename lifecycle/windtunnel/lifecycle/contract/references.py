"""What stages hand each other: small frozen references (ids, URIs, fingerprints, a few figures), never data.

Each one turns into plain data for XCom and back: ``Reference.from_dict(reference.to_dict()) == reference``.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Self

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.payload import JsonMapping, JsonObject

__all__ = [
    "BalanceRef",
    "CandidateRef",
    "DecisionRef",
    "DeploymentRef",
    "EvaluationRef",
    "FeaturesRef",
    "FeedbackRef",
    "LookupRef",
    "MonitorRef",
    "Reference",
    "SnapshotRef",
    "StatisticsRef",
    "TrialsRef",
    "ValidationRef",
    "VersionRef",
    "of_kind",
]


@dataclasses.dataclass(frozen=True)
class Reference:
    """Base of all references: plain data there and back."""

    kind: ClassVar[str] = "reference"

    def to_dict(self) -> JsonObject:
        """Plain data, with the kind."""
        return {"kind": self.kind, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, values: JsonMapping) -> Self:
        """The reference that `to_dict` wrote.

        Raises:
            ConfigurationError: it is of another kind, or lacks a field.
        """
        if not isinstance(values, Mapping) or values.get("kind") != cls.kind:
            raise ConfigurationError(f"expected a {cls.kind} reference but got {values!r}")
        names = {field.name for field in dataclasses.fields(cls)}
        try:
            # Fields that are not known here are passed over: the reference may come from a later state of the project.
            return cls(**{key: value for key, value in values.items() if key in names})
        except TypeError as error:
            raise ConfigurationError(f"a {cls.kind} reference is incomplete: {error}") from error


@dataclasses.dataclass(frozen=True)
class SnapshotRef(Reference):
    """An immutable version of a table, and the window of it that a run is about.

    Attributes:
        table: the Iceberg table, ``namespace.name``.
        snapshot_id: its snapshot.
        start: the window's first day, ISO; the rows are those with ``start <= event_date < end``.
        end: the day after its last, ISO: the data cut-off.
        rows: good rows in the window.
        quarantined: rows of the window that did not fit.
        fingerprint: of the content (sources, schema, code), whichever snapshot holds it.
    """

    kind: ClassVar[str] = "snapshot"
    table: str
    snapshot_id: int
    start: str
    end: str
    rows: int
    quarantined: int
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class StatisticsRef(Reference):
    """Statistics of a snapshot: where they are, where the report is, how far they drifted."""

    kind: ClassVar[str] = "statistics"
    uri: str
    report: str
    rows: int
    fingerprint: str
    drifted: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class ValidationRef(Reference):
    """The outcome of a suite over a snapshot; ``docs`` is a page of Data Docs.

    Attributes:
        success: nothing critical was not met.
        evaluated: how many questions were asked.
        unsuccessful: how many of them were not met: warnings.
        uri: the result.
        docs: the page.
        fingerprint: of what it was worked out from.
        remedy: what the problem does about unbalanced classes: its ``model.class_balance``.
        labels: rows of each class, for whoever chooses a remedy.
        snapshot: the snapshot reference that goes on: without the rows that were set aside in quarantine.
        warnings: what was not met, a line each, the first few.
    """

    kind: ClassVar[str] = "validation"
    success: bool
    evaluated: int
    unsuccessful: int
    uri: str
    docs: str
    fingerprint: str
    remedy: str = "none"
    labels: dict[str, int] = dataclasses.field(default_factory=dict)
    snapshot: JsonObject = dataclasses.field(default_factory=dict)
    warnings: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class BalanceRef(Reference):
    """What is done about unbalanced classes: ``none``, ``weights`` or ``downsample``; who chose it, and why."""

    kind: ClassVar[str] = "balance"
    remedy: str
    by: str
    reason: str


@dataclasses.dataclass(frozen=True)
class FeaturesRef(Reference):
    """A fitted preprocessor and the training shards it wrote."""

    kind: ClassVar[str] = "features"
    uri: str
    fingerprint: str
    rows: dict[str, int]
    width: int


@dataclasses.dataclass(frozen=True)
class TrialsRef(Reference):
    """A search: the parameters that won."""

    kind: ClassVar[str] = "trials"
    best: JsonObject
    metric: str
    value: float
    trials: int
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class CandidateRef(Reference):
    """A trained model: a bundle (a folder with model.json) and its MLflow run."""

    kind: ClassVar[str] = "candidate"
    problem: str
    uri: str
    digest: str
    run_id: str
    fingerprint: str
    cutoff: str


@dataclasses.dataclass(frozen=True)
class EvaluationRef(Reference):
    """What a candidate is worth: the main metric beside the baseline's and the champion's, and the verdict of the gates."""

    kind: ClassVar[str] = "evaluation"
    uri: str
    report: str
    metric: str
    value: float
    baseline: float
    champion: float | None
    passed: bool
    reasons: list[str]
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class DecisionRef(Reference):
    """Approved, or not; by whom."""

    kind: ClassVar[str] = "decision"
    approved: bool
    by: str
    reason: str
    entry: str


@dataclasses.dataclass(frozen=True)
class VersionRef(Reference):
    """A registered model version."""

    kind: ClassVar[str] = "version"
    model: str
    version: str
    semantic: str
    alias: str
    cutoff: str
    new: bool
    reason: str


@dataclasses.dataclass(frozen=True)
class DeploymentRef(Reference):
    """Where a version is served; ``deployed`` is false when it was refused or not wanted, for the reason given."""

    kind: ClassVar[str] = "deployment"
    model: str
    version: str
    alias: str
    url: str
    deployed: bool
    reason: str


@dataclasses.dataclass(frozen=True)
class MonitorRef(Reference):
    """What the monitor saw of the champion.

    Attributes:
        report: an HTML page.
        alerts: what is wrong: figure, limit, what to do.
        reasons: those of them that training again would mend.
        figures: every figure by name, such as ``champion.age_days`` or ``drift.distance``.
        fingerprint: of the champion, the data and the figures.
    """

    kind: ClassVar[str] = "monitor"
    report: str
    alerts: list[str]
    reasons: list[str]
    figures: dict[str, float]
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class FeedbackRef(Reference):
    """Predictions beside the truth that is known by now.

    Attributes:
        report: an HTML page.
        table: the Iceberg table that the joined rows are in.
        joined: predictions of the window whose truth is known.
        waiting: predictions of the window whose truth is not known yet.
        figures: live metrics and counts by name.
        fingerprint: of the predictions, truth, labels and window that went into it.
    """

    kind: ClassVar[str] = "feedback"
    report: str
    table: str
    joined: int
    waiting: int
    figures: dict[str, float]
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class LookupRef(Reference):
    """Precomputed answers, for the model server to look up by key.

    Attributes:
        uri: the folder of the file.
        digest: the SHA-256 of the file.
        rows: how many answers.
        served: whether the model server was told of it.
        fingerprint: of the snapshot, the model and the key.
    """

    kind: ClassVar[str] = "lookup"
    uri: str
    digest: str
    rows: int
    served: bool
    fingerprint: str


def of_kind(kind: str) -> type[Reference]:
    """The class of the references of a kind.

    Raises:
        ConfigurationError: there is no such kind.

    Example:
        >>> of_kind("features").__name__
        'FeaturesRef'
    """
    known = {each.kind: each for each in Reference.__subclasses__()}
    if kind not in known:
        raise ConfigurationError(f"there are no {kind!r} references", hint=f"kinds: {', '.join(sorted(known))}")
    return known[kind]
