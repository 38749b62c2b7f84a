"""Why a version may not become the champion, and the entry that says so."""

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.record.champion import Champion
from windtunnel.lifecycle.record.ledger import Entry, Ledger

__all__ = ["refusal_of", "refuse"]


def refusal_of(context: RunContext, cutoff: str, version: str, present: Champion | None, ledger: Ledger) -> str | None:
    """Why a version of this cut-off may not become the champion by this run, or None."""
    if context.run.run_type == "backfill" or context.run.counterfactual:
        return f"a {'counterfactual run' if context.run.counterfactual else 'backfill'} never changes what is in production"
    if context.promotion == "never":
        return "promotion is 'never' for this " + ("run" if context.problem.approval.promotion != "never" else "problem")
    for entry in ledger.entries(context.problem, ("rollback",)):
        if str(entry.payload.get("from")) == version:
            return f"version {version} was rolled back: {entry.payload['reason']}"
    if present is None or present.version == version:
        return None
    if cutoff < present.cutoff:
        return f"its data ends at {cutoff}, but the champion, version {present.version}, has data up to {present.cutoff}"
    return None


def refuse(context: RunContext, ledger: Ledger, registration: Entry, reason: str, present: Champion | None) -> Entry:
    """Write down that a registered version was not promoted, and why."""
    return ledger.append(
        context.problem,
        "refusal",
        {
            "what": "promotion",
            **{name: registration.payload[name] for name in ("version", "semantic", "cutoff", "metric", "value")},
            "reason": reason,
            "champion": present.version if present else None,
            "evidence": [registration.hash],
        },
        context.run,
        key=f"promotion:{registration.hash[:16]}:{present.entry[:16] if present else ''}:{context.run.dag_id}:{context.run.run_id}",
    )
