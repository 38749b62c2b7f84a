"""The list of stages: one row a stage, and all that is made of stages is made from it or checked against it.

Operators take their templated fields, link, colour and docs from their row; the retraining DAG is wired by what each row takes and gives;
``windtunnel replay`` computes what a row says can be computed again; OpenLineage names a row's data sets; the provider's metadata and the
table in the README are written from it. Rows name modules as text, so reading the list imports nothing.

A new stage is a row here, a function in `windtunnel.beam_jobs.stages`, an operator in ``windtunnel.operators.stages`` and a link; the
conformance tests (``tests/operators/test_conformance.py``) then run over it.
"""

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

__all__ = ["LOOP", "STAGES", "Stage", "resolve", "stage", "stages_table"]

Group = Literal["data", "learning", "decision", "live"]


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of a model's life.

    Attributes:
        name: what it is called in logs, manifests and DAGs.
        leaves: what it leaves behind: a line of the README's table.
        takes: argument -> kind of the reference that it is; in the order of the operator's templated fields.
        gives: the kind of the reference that it hands on.
        link: the class in `windtunnel.operators.telling.links` of the button that leads to something worth looking at.
        group: the part of the retraining DAG it is drawn in; ``live`` is outside of it.
        color: its colour in the grid.
        optional: arguments of `takes` that may be missing.
        options: templated arguments that are no references.
        hands_on: kind -> the XCom key under which the stage hands on a changed reference of that kind.
        reads: data sets that it reads beside what its references name: ``source`` or a table of the problem.
        writes: tables of the problem that it writes beside what its reference names.
        replayed: how ``windtunnel replay`` computes it again: a function of `windtunnel.beam_jobs.stages`; empty where it cannot be.
        not_replayed: why not, where it cannot be.
        asks: it may wait for a person.
        when: only in a DAG whose problem asks for it: see `windtunnel.operators.dags.factory`.
    """

    name: str
    leaves: str
    takes: Mapping[str, str]
    gives: str
    link: str
    group: Group
    color: str
    optional: frozenset[str] = frozenset()
    options: tuple[str, ...] = ()
    hands_on: Mapping[str, str] = dataclasses.field(default_factory=dict)
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    replayed: str = ""
    not_replayed: str = ""
    asks: bool = False
    when: str = ""

    @property
    def operator(self) -> str:
        """The name of its operator, in `windtunnel.operators`."""
        return f"{self.name.capitalize()}Operator"

    @property
    def module(self) -> str:
        """The module of its operator."""
        return f"windtunnel.operators.stages.{self.name}"

    @property
    def run(self) -> str:
        """The function that does it: ``module:function``, called with a `RunContext`, its references and its options by name."""
        return f"windtunnel.beam_jobs.stages:{self.name}"

    @property
    def template_fields(self) -> tuple[str, ...]:
        """The operator's templated fields."""
        return (*self.takes, *self.options)

    def function(self, name: str = "") -> Callable[..., Any]:
        """The function that does it (or another of that module), imported now."""
        module, _, own = self.run.partition(":")
        return resolve(f"{module}:{name or own}")


_DECISION = "a decision is not taken again: the ledger has it"
_LIVE = "it looks at what the model server was asked until now: what it saw then is in its report"

STAGES: tuple[Stage, ...] = (
    Stage(
        "ingest",
        "a **snapshot**: an immutable version of the table; rows that do not fit are in quarantine, with the reason",
        takes={},
        gives="snapshot",
        link="DataVersionLink",
        group="data",
        color="#d5e8d4",
        options=("data_version",),
        reads=("source",),
        writes=("quarantine",),
        replayed="ingest_again",
    ),
    Stage(
        "profile",
        "**statistics** and a report, drift against the reference",
        takes={"snapshot": "snapshot"},
        gives="statistics",
        link="StatisticsLink",
        group="data",
        color="#dae8fc",
        replayed="profile_again",
    ),
    Stage(
        "validate",
        "the result of the **suite**, with Data Docs; a suite that is not met stops the run",
        takes={"snapshot": "snapshot", "statistics": "statistics"},
        gives="validation",
        link="DataDocsLink",
        group="data",
        color="#dbe7f5",
        optional=frozenset({"statistics"}),
        hands_on={"snapshot": "snapshot"},
        replayed="validate_again",
    ),
    Stage(
        "balance",
        "only with `class_balance: ask`: what is done about unbalanced classes, chosen by a person",
        takes={"validation": "validation"},
        gives="balance",
        link="DataDocsLink",
        group="data",
        color="#fff2cc",
        not_replayed=_DECISION,
        asks=True,
        when="class_balance",
    ),
    Stage(
        "preprocess",
        "**features**: a fitted scikit-learn preprocessor and training shards",
        takes={"snapshot": "snapshot"},
        gives="features",
        link="FeaturesLink",
        group="learning",
        color="#e1d5e7",
        replayed="preprocess",
    ),
    Stage(
        "tune",
        "the trials, inside a budget that a person confirmed",
        takes={"features": "features", "balance": "balance"},
        gives="trials",
        link="TrialsLink",
        group="learning",
        color="#e8d8f0",
        optional=frozenset({"balance"}),
        options=("trials",),
        not_replayed="a search by several workers is not deterministic: the recorded winner is trained again",
    ),
    Stage(
        "train",
        "a **candidate**: a bundle of data, and a run in MLflow",
        takes={"snapshot": "snapshot", "features": "features", "trials": "trials", "balance": "balance"},
        gives="candidate",
        link="MlflowRunLink",
        group="learning",
        color="#d9c8ea",
        optional=frozenset({"trials", "balance"}),
        options=("parameters",),
        replayed="train",
    ),
    Stage(
        "evaluate",
        "a report: metrics, slices, gates, beside the champion and a simple baseline on the same rows",
        takes={"snapshot": "snapshot", "candidate": "candidate"},
        gives="evaluation",
        link="ReportLink",
        group="learning",
        color="#cdb9e3",
        replayed="evaluate_again",
    ),
    Stage(
        "approve",
        "a decision, in the **ledger**, by a person in Airflow or by the problem's rule",
        takes={"candidate": "candidate", "evaluation": "evaluation"},
        gives="decision",
        link="DecisionLink",
        group="decision",
        color="#ffe6b3",
        not_replayed=_DECISION,
        asks=True,
    ),
    Stage(
        "register",
        "a **challenger**: a version in MLflow with its lineage",
        takes={"candidate": "candidate", "evaluation": "evaluation", "decision": "decision"},
        gives="version",
        link="ModelVersionLink",
        group="decision",
        color="#ffd9a0",
        not_replayed=_DECISION,
    ),
    Stage(
        "deploy",
        "the **champion**, served",
        takes={"candidate": "candidate", "version": "version"},
        gives="deployment",
        link="EndpointLink",
        group="decision",
        color="#f8c98c",
        not_replayed=_DECISION,
    ),
    Stage(
        "monitor",
        "alerts, and reasons to retrain",
        takes={},
        gives="monitor",
        link="MonitorLink",
        group="live",
        color="#f8cecc",
        reads=("predictions", "feedback", "examples"),
        not_replayed=_LIVE,
    ),
    Stage(
        "feedback",
        "predictions joined with the truth that came later",
        takes={},
        gives="feedback",
        link="FeedbackLink",
        group="live",
        color="#f5b7b1",
        reads=("predictions", "examples", "labels"),
        not_replayed=_LIVE,
    ),
    Stage(
        "predict",
        "**predictions** of a snapshot, or precomputed answers for the model server; only in DAGs of your own",
        takes={"snapshot": "snapshot"},
        gives="snapshot",
        link="PredictionsLink",
        group="live",
        color="#fadbd8",
        options=("model",),
        not_replayed="it is no part of a retraining: the same snapshot and model give the same rows at any time",
    ),
)
"""Every stage; those of a retraining run first, in its order."""

LOOP: tuple[str, ...] = tuple(row.name for row in STAGES if row.group != "live")
"""The stages of a retraining run, in order."""

_BY_NAME = {row.name: row for row in STAGES}


def stage(name: str) -> Stage:
    """The row of a stage.

    Raises:
        KeyError: there is none of that name.

    Example:
        >>> stage("train").takes["features"], stage("train").operator
        ('features', 'TrainOperator')
    """
    return _BY_NAME[name]


def stages_table() -> str:
    """The table of stages, as the README has it (Markdown)."""
    rows = [f"| {row.name} | `{row.operator}` | {row.leaves} |" for row in STAGES]
    return "\n".join(["| stage | operator | leaves behind |", "|---|---|---|", *rows])


def resolve(name: str) -> Any:
    """What ``module:attribute`` names, imported now."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
