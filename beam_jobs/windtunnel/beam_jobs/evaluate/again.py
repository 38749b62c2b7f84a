"""Deciding anew: what to do when another version became champion between a candidate's evaluation and its promotion."""

from windtunnel.beam_jobs.evaluate.evaluating import evaluate
from windtunnel.beam_jobs.job import Progress
from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import GateError
from windtunnel.lifecycle.contract.references import CandidateRef, DecisionRef, EvaluationRef, SnapshotRef, VersionRef
from windtunnel.lifecycle.judging.evaluation import load
from windtunnel.lifecycle.record.champion import registered
from windtunnel.lifecycle.record.ledger import Ledger
from windtunnel.lifecycle.record.registration import register

__all__ = ["judge_again"]


def judge_again(context: RunContext, version: VersionRef, progress: Progress | None = None) -> VersionRef:
    """Evaluate a registered version against the present champion, on the same rows as before, and register the outcome.

    Call it when `windtunnel.lifecycle.record.promotion.promote` (or a deployment) raises ``ConflictError``, then promote once more. An
    earlier approval, by a person or by rule, stays good only if every gate passes against the present champion too.

    Raises:
        GateError: it does not pass any more; the ledger says so.
    """
    ledger = Ledger(context.settings)
    entry = registered(context.settings, context.problem.name)[version.version]
    known = entry.payload
    before = load(EvaluationRef.from_dict(known["evaluation"]))
    candidate = CandidateRef.from_dict(before["reference"])
    evaluation = evaluate(
        context.problem, candidate, SnapshotRef.from_dict(before["snapshot"]), context.settings, progress or Progress("evaluate")
    )
    found = load(evaluation)["champion"]
    against = f"version {found['version']}" if found else "no champion"
    reason = f"judged anew against {against}; approved before by {known['approved_by']}"
    if not evaluation.passed:
        failed = "; ".join(line for line in evaluation.reasons if line.startswith("FAILED"))
        reason = f"judged anew against {against}: {failed}"
    decided = ledger.append(
        context.problem,
        "decision",
        {"approved": evaluation.passed, "by": known["approved_by"], "reason": reason, "candidate": candidate.fingerprint, "anew": True},
        context.run,
        key=f"anew:{evaluation.fingerprint}",
    )
    if not evaluation.passed:
        raise GateError(f"{context.problem.name}: version {version.version} is not promoted: {reason}", hint="train on newer data")
    decision = DecisionRef(approved=True, by=str(known["approved_by"]), reason=reason, entry=decided.hash)
    return register(context, candidate, evaluation, decision)
