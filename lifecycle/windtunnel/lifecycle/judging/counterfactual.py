"""What would have been champion on each day, had runs come in the order of their data.

A counterfactual run (``{"counterfactual": true}`` in its conf, usually of a whole backfill) trains like any other, but is judged against
who would have been champion then, and leaves one entry of kind ``counterfactual`` in the ledger instead of a version: the registry, its
aliases, the model server and what the ledger says about production stay as they are.

Such runs come in any order and side by side. A candidate that was judged before the day in front of it had run is therefore judged again
(`stale` names it) where the problem's gates look at the champion; the answer is the same whatever the order.
"""

import dataclasses
from collections.abc import Sequence

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import CandidateRef, EvaluationRef, VersionRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.lifecycle.record.champion import Champion
from windtunnel.lifecycle.record.ledger import DECISIVE, Entry, Ledger

__all__ = ["KIND", "Day", "answer", "champion_before", "note", "series", "stale"]

KIND = "counterfactual"
"""The kind of their entries in the ledger."""

_ALIAS = f"{KIND}-"


@dataclasses.dataclass(frozen=True)
class Day:
    """What is known of one data cut-off.

    Attributes:
        cutoff: the data cut-off, ISO.
        entry: the newest that the ledger has of it: a counterfactual, else a promotion, else a registration.
        approved: whether it would have been let through.
        was_champion: whether a version of this cut-off was in production.
    """

    cutoff: str
    entry: Entry
    approved: bool
    was_champion: bool

    @property
    def candidate(self) -> str:
        """The candidate's fingerprint."""
        return str(self.entry.payload["fingerprint"])

    @property
    def champion(self) -> Champion:
        """As what the next day is judged against."""
        payload = self.entry.payload
        return Champion(
            version=str(payload.get("version") or f"as of {self.cutoff}"),
            semantic=str(payload.get("semantic") or ""),
            cutoff=self.cutoff,
            uri=str(payload["uri"]),
            digest=str(payload["digest"]),
            metric=str(payload["metric"]),
            value=payload["value"],
            entry=self.entry.hash,
            fingerprint=self.candidate,
            run_id=str(payload.get("run_id") or ""),
        )


def _append_news(context: RunContext, payload: JsonMapping) -> None:
    """Append a judgement, unless the last one of the same data cut-off says the same."""
    ledger = Ledger(context.settings)
    with ledger.lock(f"{KIND}:{context.problem.name}"):
        known = [entry for entry in ledger.entries(context.problem, (KIND,)) if entry.payload["cutoff"] == payload["cutoff"]]
        compared = ("fingerprint", "judged_against", "approved", "reasons")
        # Only the newest counts: a judgement that comes back to an older one is news again.
        if not known or any(known[-1].payload[name] != payload[name] for name in compared):
            ledger.append(context.problem, KIND, payload, context.run)


def series(settings: Settings, problem: str) -> list[Day]:
    """Every data cut-off that the ledger knows something of, oldest first.

    Versions that were rolled back do not count.
    """
    entries = Ledger(settings).entries(problem, ("register", KIND, *DECISIVE))
    been = {str(entry.payload["cutoff"]) for entry in entries if entry.kind in DECISIVE}
    decisive = sorted(_decisive(entries).items())
    return [Day(cutoff, entry, bool(entry.payload.get("approved", True)), cutoff in been) for cutoff, entry in decisive]


_RANK = {"register": 0, **dict.fromkeys(DECISIVE, 1), KIND: 2}
"""What counts more of a data cut-off: a counterfactual judgement more than a promotion, and that more than a registration."""


def _decisive(entries: Sequence[Entry]) -> dict[str, Entry]:
    """The entry that counts of each data cut-off, the latest of equal ones; versions that were rolled back are left out."""
    left = {str(entry.payload["from"]) for entry in entries if entry.kind == "rollback"}
    best: dict[str, Entry] = {}
    for entry in entries:
        if entry.kind != KIND and str(entry.payload["version"]) in left:
            continue
        cutoff = str(entry.payload["cutoff"])
        if cutoff not in best or _RANK[entry.kind] >= _RANK[best[cutoff].kind]:
            best[cutoff] = entry
    return best


def champion_before(settings: Settings, problem: str, cutoff: str) -> Champion | None:
    """Who would have been champion just before a data cut-off, as far as is known now; None if nobody."""
    # Strictly before: run again, a day would else be judged against its own candidate.
    earlier = [day for day in series(settings, problem) if day.cutoff < cutoff and day.approved]
    return earlier[-1].champion if earlier else None


def note(
    context: RunContext,
    candidate: CandidateRef,
    evaluation: EvaluationRef,
    *,
    approved: bool,
    judged_against: Champion | None,
    decision: str = "",
) -> VersionRef:
    """Write down what would have become of a candidate; the same judgement again is not written again.

    Args:
        context: the counterfactual run, whose it is, and where the ledger is.
        candidate: the trained model.
        evaluation: its judgement, against `judged_against`.
        approved: whether it would have been let through.
        judged_against: who would have been champion before it; None if nobody.
        decision: the hash of the decision's entry.

    Returns:
        a reference that names no version: there is none.
    """
    against = judged_against.fingerprint if judged_against else ""
    payload: JsonObject = {
        **{name: getattr(candidate, name) for name in ("cutoff", "uri", "digest", "fingerprint", "run_id")},
        "metric": evaluation.metric,
        "value": evaluation.value,
        "approved": approved,
        "reasons": evaluation.reasons,
        "evaluation": evaluation.to_dict(),
        "judged_against": against,
        "before": judged_against.cutoff if judged_against else None,
        "evidence": [decision] if decision else [],
    }
    _append_news(context, payload)
    what = "would have become champion" if approved else "would not have been let through"
    return VersionRef(
        model=context.problem.name,
        version=f"as of {candidate.cutoff}",
        semantic="",
        alias=f"{_ALIAS}{candidate.cutoff}",
        cutoff=candidate.cutoff,
        new=False,
        reason=f"counterfactual: {what}; nothing was registered",
    )


def stale(settings: Settings, problem: Problem) -> tuple[Day, Champion | None] | None:
    """The first counterfactual that was judged against somebody else than who would have been champion before it, and that one.

    None if there is none, or if no gate of the problem looks at the champion: then it makes no difference.
    """
    if not any(gate.above_champion_by is not None for gate in problem.gates):
        return None
    before: Champion | None = None
    for day in series(settings, problem.name):
        against = before.fingerprint if before else ""
        if day.entry.kind == KIND and day.entry.payload["judged_against"] != against:
            return day, before
        before = day.champion if day.approved else before
    return None


def answer(settings: Settings, problem: str) -> list[JsonObject]:
    """For each data cut-off, oldest first: what was judged, and who would have been champion from then on.

    Returns:
        rows with ``cutoff``, ``champion`` (the cut-off of who would have been champion from this day on, or None), ``approved``,
        ``version`` (None for counterfactual candidates), ``metric``, ``value``, ``was_champion``, ``run_type``, ``source`` (the kind of the
        entry), ``reasons`` (what failed), ``candidate``.
    """
    present: str | None = None
    found = []
    for day in series(settings, problem):
        payload = day.entry.payload
        present = day.cutoff if day.approved else present
        found.append(
            {
                "cutoff": day.cutoff,
                "champion": present,
                "approved": day.approved,
                "version": payload.get("version"),
                "semantic": payload.get("semantic"),
                "metric": payload["metric"],
                "value": payload["value"],
                "was_champion": day.was_champion,
                "run_type": day.entry.run.get("run_type"),
                "source": day.entry.kind,
                "reasons": [line for line in payload.get("reasons", []) if line.startswith("FAILED")],
                "candidate": day.candidate,
            }
        )
    return found
