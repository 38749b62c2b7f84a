"""What each stage does, as one call: a context, references and options in, the next reference out.

Operators call these, and so does ``windtunnel replay`` (with the functions ending in ``_again`` where a replay must look elsewhere):
`windtunnel.lifecycle.contract.stages` names them. What a stage needs is imported when it is called, because each needs other libraries.
"""

import dataclasses
import datetime as dt
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.references import (
    BalanceRef,
    CandidateRef,
    DecisionRef,
    DeploymentRef,
    EvaluationRef,
    FeaturesRef,
    FeedbackRef,
    LookupRef,
    MonitorRef,
    SnapshotRef,
    StatisticsRef,
    TrialsRef,
    ValidationRef,
    VersionRef,
)
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.payload import JsonMapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.lifecycle.record.manifest import StageRecord

__all__ = [
    "Past",
    "approve",
    "balance",
    "deploy",
    "evaluate",
    "evaluate_again",
    "feedback",
    "ingest",
    "ingest_again",
    "monitor",
    "predict",
    "preprocess",
    "profile",
    "profile_again",
    "register",
    "remedied",
    "train",
    "tune",
    "validate",
    "validate_again",
]

log = logging.getLogger("windtunnel.stages")


def ingest(context: RunContext, *, window: Window, data_version: str = "") -> SnapshotRef:
    """Ingest the days of a window that the table lacks or whose source has changed; or pin the version that is asked for."""
    from windtunnel.beam_jobs import ingest as job
    from windtunnel.beam_jobs.job import Progress
    from windtunnel.lifecycle.data.pins import pin

    if data_version:
        return pin(context.problem, window, context.settings, data_version)
    return job.ingest(context.problem, window, context.settings, Progress("ingest"))


def profile(context: RunContext, *, snapshot: SnapshotRef, reference: StatisticsRef | None = None) -> StatisticsRef:
    """Statistics of a snapshot, compared with a reference where there is one."""
    from windtunnel.beam_jobs import profile as job
    from windtunnel.beam_jobs.job import Progress

    return job.profile(context.problem, snapshot, context.settings, Progress("profile", snapshot.rows), reference)


def validate(context: RunContext, *, snapshot: SnapshotRef, statistics: StatisticsRef | None = None) -> ValidationRef:
    """Ask the suite's questions of a snapshot, and keep the limits."""
    from windtunnel.beam_jobs import expectations
    from windtunnel.beam_jobs.job import Progress

    return expectations.validate(context.problem, snapshot, statistics, context.settings, Progress("validate", snapshot.rows))


def balance(context: RunContext, *, validation: ValidationRef, remedy: str, by: str, reason: str) -> BalanceRef:  # noqa: ARG001 - a stage's form
    """What is done about unbalanced classes, as it was chosen."""
    return BalanceRef(remedy=remedy, by=by, reason=reason)


def preprocess(context: RunContext, *, snapshot: SnapshotRef) -> FeaturesRef:
    """Fit the preprocessor, and write the training shards."""
    from windtunnel.beam_jobs import features
    from windtunnel.beam_jobs.job import Progress

    return features.preprocess(context.problem, snapshot, context.settings, Progress("preprocess", snapshot.rows))


def tune(context: RunContext, *, features: FeaturesRef, balance: BalanceRef | None = None, trials: int | None = None) -> TrialsRef:
    """Search the parameters; `trials` at most, the problem's budget if None."""
    from windtunnel.lifecycle.learning import tuning

    return tuning.tune(remedied(context, balance)[0].problem, features, context.settings, trials)


def train(
    context: RunContext,
    *,
    snapshot: SnapshotRef,
    features: FeaturesRef,
    trials: TrialsRef | None = None,
    balance: BalanceRef | None = None,
    parameters: "Mapping[str, Any] | None" = None,
) -> CandidateRef:
    """Train with the parameters that won; `parameters` go before those of the search and of the problem."""
    from windtunnel.lifecycle.learning import training

    context, chosen = remedied(context, balance)
    if parameters:
        model = context.problem.model
        context = context.with_problem(
            context.problem.model_copy(
                update={"model": model.model_copy(update={"parameters": {**model.parameters, **parameters}})},
            )
        )
        if trials is not None:
            trials = dataclasses.replace(trials, best={name: value for name, value in trials.best.items() if name not in parameters})
    return training.train(context, snapshot, features, trials, chosen)


def evaluate(context: RunContext, *, snapshot: SnapshotRef, candidate: CandidateRef) -> EvaluationRef:
    """Judge a candidate beside champion and baseline (in a counterfactual run: who would have been), and tell MLflow."""
    from windtunnel.beam_jobs import evaluate as job
    from windtunnel.beam_jobs.job import Progress
    from windtunnel.lifecycle.record.tracking import log_evaluation

    judge = job.would_evaluate if context.run.counterfactual else job.evaluate
    evaluation = judge(context.problem, candidate, snapshot, context.settings, Progress("evaluate", snapshot.rows))
    log_evaluation(context.settings, candidate, evaluation)
    return evaluation


def approve(
    context: RunContext,
    *,
    candidate: CandidateRef,
    evaluation: EvaluationRef,
    approved: bool,
    by: str,
    reason: str,
    at: str = "",
    more: JsonMapping | None = None,
) -> DecisionRef:
    """Write a decision into the ledger, before anything follows from it; the same answer (`at` says which) of a run is written once.

    Args:
        context: the run.
        candidate: about which.
        evaluation: on which evidence.
        approved: whether it goes on.
        by: who decided.
        reason: their words.
        at: which answer of them.
        more: further facts, such as the gates that were overridden.
    """
    from windtunnel.lifecycle.record.ledger import Ledger

    entry = Ledger(context.settings).append(
        context.problem.name,
        "decision",
        {
            "approved": approved,
            "by": by,
            "reason": reason,
            "candidate": candidate.fingerprint,
            "digest": candidate.digest,
            "cutoff": candidate.cutoff,
            "evidence": {"evaluation": evaluation.fingerprint, evaluation.metric: evaluation.value, "report": evaluation.report},
            **(more or {}),
        },
        context.run,
        key=f"decision:{candidate.fingerprint}:{evaluation.fingerprint}:{context.run.dag_id}:{context.run.run_id}:{by}:{at}"
        # Outside of a run nothing tells a repeated answer from a second one.
        if context.run.run_id
        else "",
    )
    return DecisionRef(approved=approved, by=by, reason=reason, entry=entry.hash)


def register(context: RunContext, *, candidate: CandidateRef, evaluation: EvaluationRef, decision: DecisionRef) -> VersionRef:
    """Register an approved candidate; of a counterfactual one the ledger keeps what would have become of it."""
    from windtunnel.lifecycle.record import registration

    if context.run.counterfactual:
        from windtunnel.beam_jobs.evaluate import settle

        return settle(context, candidate, evaluation, decision)
    return registration.register(context, candidate, evaluation, decision)


def deploy(context: RunContext, *, candidate: CandidateRef, version: VersionRef) -> DeploymentRef:
    """Deploy; where another version was promoted since the evaluation, judge against that one and decide anew."""
    from windtunnel.lifecycle.contract.errors import ConflictError
    from windtunnel.lifecycle.release import deployment

    try:
        return deployment.deploy(context, candidate, version)
    except ConflictError as error:
        from windtunnel.beam_jobs.evaluate import judge_again

        log.info("%s", error)
        return deployment.deploy(context, candidate, judge_again(context, version))


def monitor(context: RunContext, *, window: Window) -> MonitorRef:
    """Look at the champion as it was at the end of a window."""
    from windtunnel.beam_jobs import monitor as job
    from windtunnel.beam_jobs.job import Progress

    return job.monitor(context, window, Progress("monitor"))


def feedback(context: RunContext, *, window: Window) -> FeedbackRef:
    """Join the predictions of a window with the truth that is known by now."""
    from windtunnel.beam_jobs import feedback as job
    from windtunnel.beam_jobs.job import Progress

    return job.feedback(context.problem, window, context.settings, Progress("feedback"))


def predict(context: RunContext, *, snapshot: SnapshotRef, model: str = "", lookup: bool = False) -> SnapshotRef | LookupRef:
    """Score a snapshot with a bundle, or with the champion; with `lookup`, precompute the model server's answers and tell it of them.

    Raises:
        ConfigurationError: no model is named and there is no champion.
    """
    from windtunnel.beam_jobs import predict as job
    from windtunnel.beam_jobs.job import Progress
    from windtunnel.lifecycle.record.champion import champion
    from windtunnel.lifecycle.release.targets import lookups, target_of

    problem, settings = context.problem, context.settings
    if not model:
        present = champion(settings, problem.name)
        if present is None:
            raise ConfigurationError(f"problem {problem.name!r} has no champion to predict with", hint="train one first, or name a model")
        model = present.uri
    progress = Progress("predict", snapshot.rows)
    if not lookup:
        return job.predict(problem, model, snapshot, settings, progress)
    answers = job.precompute(problem, model, snapshot, settings, progress)
    target = lookups(target_of(settings)) if settings.server_url else None
    if target is None:
        return answers
    target.look_up(problem.name, answers.uri, answers.digest)
    return dataclasses.replace(answers, served=True)


def remedied(context: RunContext, balance: BalanceRef | None) -> tuple[RunContext, BalanceRef]:
    """The context with the remedy for unbalanced classes that was chosen, and the choice; without one, the problem's own.

    A problem whose rule is to ask, in a DAG where nobody is asked, does what it does when nobody answers.
    """
    model = context.problem.model
    own = model.class_balance
    chosen = balance
    if chosen is None and own == "ask":
        chosen = BalanceRef(model.unanswered, "the problem's rule", "nobody was asked")
    elif chosen is None:
        chosen = BalanceRef(own, "the problem's rule", f"model.class_balance is {own}")
    if chosen.remedy == own:
        return context, chosen
    changed = context.problem.model_copy(update={"model": model.model_copy(update={"class_balance": chosen.remedy})})
    return context.with_problem(changed), chosen


# For a replay -------------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Past:
    """What a stage left behind in a recorded run, for doing it again.

    Attributes:
        record: the stage's entry in the run's manifest.
        settings: production's, to read from; the context that a stage gets beside this keeps things apart.
        folder: where things may be kept apart.
    """

    record: "StageRecord"
    settings: Settings
    folder: Path


def ingest_again(context: RunContext, *, past: Past) -> SnapshotRef:
    """The rows of a recorded run again: from their source into a catalog apart, or the version that the run had asked for."""
    window, version = Window.from_dict(past.record.output), str(past.record.inputs.get("data_version") or "")
    if version:
        return ingest(context.with_settings(past.settings), window=window, data_version=version)
    catalog, warehouse = f"sqlite:///{past.folder}/catalog.db", str(past.folder / "warehouse")
    apart = dataclasses.replace(context.settings, catalog_uri=catalog, warehouse=warehouse)
    return ingest(context.with_settings(apart), window=window)


def profile_again(context: RunContext, *, snapshot: SnapshotRef, past: Past) -> StatisticsRef:
    """A recorded profile again, compared with what it was compared with then."""
    kept = past.record.inputs.get("reference")
    return profile(context, snapshot=snapshot, reference=StatisticsRef.from_dict(kept) if kept else None)


def validate_again(context: RunContext, *, snapshot: SnapshotRef, statistics: StatisticsRef | None = None, past: Past) -> ValidationRef:
    """A recorded validation again, with the prediction log as it was then."""
    from windtunnel.beam_jobs import expectations
    from windtunnel.beam_jobs.job import Progress

    known = dt.datetime.fromisoformat(past.record.at)
    progress = Progress("validate", snapshot.rows)
    return expectations.validate(context.problem, snapshot, statistics, context.settings, progress, known=known)


def evaluate_again(context: RunContext, *, snapshot: SnapshotRef, candidate: CandidateRef, past: Past) -> EvaluationRef:
    """A recorded evaluation again, beside the champion of that time; production's ledger says who that was."""
    from windtunnel.beam_jobs import evaluate as job
    from windtunnel.beam_jobs.job import Progress
    from windtunnel.lifecycle.judging.evaluation import load
    from windtunnel.lifecycle.record.champion import champion_of_entry

    before = load(EvaluationRef.from_dict(past.record.output))
    standing = before.get("champion")
    against = champion_of_entry(past.settings, str(standing["entry"])) if standing else None
    progress = Progress("evaluate", snapshot.rows)
    return job.evaluate(context.problem, candidate, snapshot, context.settings, progress, against=against, uses=int(before["uses"]))
