"""Judging what would have been: against who would have been champion, and again when an earlier day turns up later."""

from windtunnel.beam_jobs.evaluate.evaluating import evaluate
from windtunnel.beam_jobs.job import Progress
from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import CandidateRef, DecisionRef, EvaluationRef, SnapshotRef, VersionRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.judging.counterfactual import champion_before, note, stale
from windtunnel.lifecycle.judging.evaluation import load
from windtunnel.lifecycle.record.champion import Champion, champion_of_entry
from windtunnel.lifecycle.record.ledger import Ledger

__all__ = ["settle", "would_evaluate"]


def would_evaluate(
    problem: Problem, candidate: CandidateRef, snapshot: SnapshotRef, settings: Settings, progress: Progress
) -> EvaluationRef:
    """Judge a candidate against who would have been champion before its data cut-off, as far as is known now.

    The ledger is not told, and the use of the held-out rows is not counted: nothing is decided by it.
    """
    before = champion_before(settings, problem.name, candidate.cutoff)
    return evaluate(problem, candidate, snapshot, settings, progress, against=before, uses=1, remember=False)


def settle(context: RunContext, candidate: CandidateRef, evaluation: EvaluationRef, decision: DecisionRef) -> VersionRef:
    """Write down what would have become of a candidate, and judge those again for which that changes who came before them.

    Of several runs at once the last one to end sees all entries, so what is in the ledger then does not depend on the order of the runs.

    Returns:
        a reference that names no version: nothing was registered.
    """
    against = _against(context.settings, evaluation)
    reference = note(context, candidate, evaluation, approved=decision.approved, judged_against=against, decision=decision.entry)
    with Ledger(context.settings).lock(f"settle:{context.problem.name}"):
        while (found := stale(context.settings, context.problem)) is not None:
            day, before = found
            known = load(EvaluationRef.from_dict(day.entry.payload["evaluation"]))
            again = CandidateRef.from_dict(known["reference"])
            snapshot = SnapshotRef.from_dict(known["snapshot"])
            judged = evaluate(
                context.problem, again, snapshot, context.settings, Progress("evaluate"), against=before, uses=1, remember=False
            )
            note(context, again, judged, approved=judged.passed, judged_against=before)
    return reference


def _against(settings: Settings, evaluation: EvaluationRef) -> Champion | None:
    found = load(evaluation)["champion"]
    return champion_of_entry(settings, str(found["entry"])) if found else None
