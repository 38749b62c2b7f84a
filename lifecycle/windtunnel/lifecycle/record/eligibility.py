"""Why a version may not become the champion, and the entry that says so."""

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.record.champion import Champion
from windtunnel.lifecycle.record.ledger import Entry, Ledger

__all__ = ["refusal_of", "refuse"]


def refusal_of(context: RunContext, cutoff: str, version: str, present: Champion | None, ledger: Ledger) -> str | None:
    """Why a version of this cut-off may not become the champion by this run, or None."""
    return _of_run(context) or _of_history(context, version, ledger) or _of_time(cutoff, version, present)


def _of_run(context: RunContext) -> str | None:
    """What the kind of run forbids, whatever the version."""
    run = context.run
    if run.counterfactual:
        return "a counterfactual run never changes what is in production"
    if run.run_type == "backfill":
        return "a backfill never changes what is in production"
    if context.promotion == "never":
        return "promotion is 'never' for this " + ("run" if context.problem.approval.promotion != "never" else "problem")
    return None


def _of_history(context: RunContext, version: str, ledger: Ledger) -> str | None:
    """A version that was rolled back from stays out, for the reason that was given then."""
    for entry in ledger.entries(context.problem, ("rollback",)):
        if str(entry.payload.get("from")) == version:
            return f"version {version} was rolled back: {entry.payload['reason']}"
    return None


def _of_time(cutoff: str, version: str, present: Champion | None) -> str | None:
    """Models are ordered by their data cut-off, never by when they were trained."""
    # Cut-offs are ISO, so their order as text is their order in time.
    if present is None or present.version == version or cutoff >= present.cutoff:
        return None
    return f"its data ends at {cutoff}, but the champion, version {present.version}, has data up to {present.cutoff}"


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
        # A retry writes no second refusal; another run, or another champion to be refused beside, does.
        key=f"promotion:{registration.hash[:16]}:{present.entry[:16] if present else ''}:{context.run.dag_id}:{context.run.run_id}",
    )
