"""A person's decision about a candidate: what is asked, what an answer needs, when enough people have answered, and what waits.

Every question and every answer is in the ledger (``question``, ``vote``) before the ``decision`` that follows from them.
"""

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import CandidateRef, EvaluationRef
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.record.ledger import Entry, Ledger
from windtunnel.lifecycle.release.changes import changes_of

__all__ = ["APPROVE", "CHANGES", "REJECT", "Decision", "Vote", "ask", "cast", "decide", "explain", "lacks", "remaining", "waiting"]

APPROVE, REJECT, CHANGES = "Approve", "Reject", "Ask for changes"


@dataclasses.dataclass(frozen=True)
class Vote:
    """One person's answer."""

    by: str
    choice: str
    comment: str = ""


@dataclasses.dataclass(frozen=True)
class Decision:
    """What came of the answers.

    Attributes:
        approved: whether the candidate goes on.
        outcome: ``approved``, ``rejected`` or ``changes asked for``.
        by: who, in the order of their answers.
        reason: their words.
        overridden: reasons of soft gates that were not met and are approved all the same.
    """

    approved: bool
    outcome: str
    by: str
    reason: str
    overridden: list[str] = dataclasses.field(default_factory=list)


def explain(context: RunContext, candidate: CandidateRef, evaluation: EvaluationRef) -> str:
    """What a person needs beside the figures, as Markdown: why the run was started, what is new, and what each answer brings about."""
    approval, run = context.problem.approval, context.run
    who = {"scheduled": "by its schedule"}.get(run.run_type, f"({run.run_type})")
    lines = ["**Why now**", "", f"- started {f'by {run.by}' if run.by else who}: {run.reason or 'no reason was given'}"]
    lines += ["", "**What differs from the champion**", "", *(f"- {line}" for line in changes_of(context, candidate))]
    silence = "approved" if approval.default == "approve" and evaluation.passed else "rejected"
    after = "it is registered and goes into production, after its smoke test and canary"
    override = "" if evaluation.passed else " A comment is needed, because gates are not met; it is recorded that they were overridden."
    lines += [
        "",
        "**What happens**",
        "",
        f"- *Approve*: {after}; {_people(context)}.{override}",
        "- *Reject*: nothing changes in production. A comment is needed.",
        "- *Ask for changes*: nothing changes in production, and the ledger keeps what is asked for. A comment is needed.",
        f"- no answer within {approval.timeout_hours:g} hours: it is {silence}.",
        "- an answer without the comment that it needs is asked for again.",
    ]
    return "\n".join(lines)


def _people(context: RunContext) -> str:
    approval, run = context.problem.approval, context.run
    enough = f"{approval.needed} different people must approve" if approval.needed > 1 else "one person's approval is enough"
    return f"{enough}; {run.by}, who started the run, cannot be the only one" if approval.second_person and run.by else enough


def ask(context: RunContext, candidate: CandidateRef, evaluation: EvaluationRef, link: str) -> Entry:
    """Write down that a decision waits, until when, and for whom."""
    approval = context.problem.approval
    until = dt.datetime.now(dt.UTC) + dt.timedelta(hours=approval.timeout_hours)
    payload = {
        "candidate": candidate.fingerprint,
        "cutoff": candidate.cutoff,
        "evaluation": evaluation.fingerprint,
        "metric": evaluation.metric,
        "value": evaluation.value,
        "passed": evaluation.passed,
        "report": link,
        "until": until.isoformat(timespec="seconds"),
        "people": [*approval.approvers, *approval.deputies],
        "needed": approval.needed,
    }
    return Ledger(context.settings).append(context.problem, "question", payload, context.run)


def remaining(context: RunContext, candidate: CandidateRef) -> dt.timedelta:
    """How long the newest question about a candidate of this run may still wait."""
    mine = [entry for entry in _questions(context) if entry.payload["candidate"] == candidate.fingerprint]
    if not mine:
        return dt.timedelta(hours=context.problem.approval.timeout_hours)
    return max(dt.datetime.fromisoformat(mine[-1].payload["until"]) - dt.datetime.now(dt.UTC), dt.timedelta())


def lacks(vote: Vote, evaluation: EvaluationRef) -> str:
    """What an answer lacks to count, in words; empty if nothing."""
    if vote.comment.strip():
        return ""
    if vote.choice in {REJECT, CHANGES}:
        return f"{vote.choice!r} needs a comment that says why"
    return "" if evaluation.passed else "approving although gates are not met needs a comment that says why"


def cast(context: RunContext, candidate: CandidateRef, evaluation: EvaluationRef, vote: Vote) -> list[Vote]:
    """Write an answer down; gives all of them about this evaluation in this run, the newest of each person."""
    ledger = Ledger(context.settings)
    payload = {**dataclasses.asdict(vote), "candidate": candidate.fingerprint, "evaluation": evaluation.fingerprint}
    # Without a key: a person may answer again, and then the newest answer counts.
    ledger.append(context.problem, "vote", payload, context.run)
    found: dict[str, Vote] = {}
    for entry in ledger.entries(context.problem, ("vote",)):
        same = entry.payload["candidate"] == candidate.fingerprint and entry.payload["evaluation"] == evaluation.fingerprint
        if same and entry.run.get("run_id") == context.run.run_id:
            found[entry.payload["by"]] = Vote(entry.payload["by"], entry.payload["choice"], entry.payload["comment"])
    return list(found.values())


def decide(problem: Problem, run: Run, evaluation: EvaluationRef, votes: Sequence[Vote]) -> Decision | None:
    """What follows from the answers so far; None while more people must approve.

    Example:
        >>> from windtunnel.lifecycle.contract.problem import Approval, Problem
        >>> two = Problem.model_construct(approval=Approval(needed=2))
        >>> good = EvaluationRef("", "", "auc", 0.9, 0.5, None, True, [], "")
        >>> decide(two, Run(), good, [Vote("ada", "Approve")]) is None
        True
        >>> decide(two, Run(), good, [Vote("ada", "Approve"), Vote("bob", "Approve", "fine")]).reason
        'approved: fine (bob)'
    """
    against = [vote for vote in votes if vote.choice != APPROVE]
    # One objection decides at once; nobody else need be waited for.
    if against:
        outcome = "rejected" if REJECT in {vote.choice for vote in against} else "changes asked for"
        return Decision(False, outcome, _names(against), _words(outcome, against))
    if not _enough(problem, run, votes):
        return None
    overridden = [] if evaluation.passed else list(evaluation.reasons)
    return Decision(True, "approved", _names(votes), _words("approved", votes), overridden)


def _enough(problem: Problem, run: Run, votes: Sequence[Vote]) -> bool:
    """Whether so many approved, and, where that is asked for, not only who started the run."""
    alone = problem.approval.second_person and {vote.by for vote in votes} <= {run.by}
    return len(votes) >= problem.approval.needed and not alone


def _names(votes: Sequence[Vote]) -> str:
    return ", ".join(vote.by for vote in votes)


def _words(outcome: str, votes: Sequence[Vote]) -> str:
    said = [f"{vote.comment.strip()} ({vote.by})" for vote in votes if vote.comment.strip()]
    return f"{outcome}: {'; '.join(said)}" if said else outcome


def waiting(ledger: Ledger, problem: str) -> list[Entry]:
    """The questions about a problem's candidates that nobody has decided and whose time is not up."""
    decided = {(entry.run.get("run_id"), entry.payload.get("candidate")) for entry in ledger.entries(problem, ("decision",))}
    now = dt.datetime.now(dt.UTC).isoformat()
    newest: dict[Any, Entry] = {}
    for entry in ledger.entries(problem, ("question",)):
        newest[entry.run.get("run_id"), entry.payload["candidate"]] = entry
    return [entry for key, entry in newest.items() if key not in decided and str(entry.payload["until"]) > now]


def _questions(context: RunContext) -> list[Entry]:
    entries = Ledger(context.settings).entries(context.problem, ("question",))
    return [entry for entry in entries if entry.run.get("run_id") == context.run.run_id]
