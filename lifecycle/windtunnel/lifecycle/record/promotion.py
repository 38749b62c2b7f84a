"""Promoting a version and going back to an earlier one: the ledger first, by compare-and-set, then MLflow's alias."""

import dataclasses
from collections.abc import Mapping

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import ConfigurationError, ConflictError
from windtunnel.lifecycle.contract.references import VersionRef
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.record.champion import (
    Champion,
    as_champion,
    follow_ledger,
    present_champion,
    registration,
    repair,
    shown_champion,
)
from windtunnel.lifecycle.record.eligibility import refusal_of, refuse
from windtunnel.lifecycle.record.ledger import DECISIVE, Entry, Ledger

__all__ = ["Promotion", "promote", "rollback"]


@dataclasses.dataclass(frozen=True)
class Promotion:
    """The answer of `promote`: whether the version is champion now, and why (not)."""

    promoted: bool
    reason: str
    entry: Entry
    previous: Champion | None = None


_IDENTITY = ("version", "semantic", "cutoff", "uri", "digest", "fingerprint", "run_id", "metric", "value", "approved_by")


def promote(
    context: RunContext,
    version: VersionRef,
    evidence: Mapping[str, object] | None = None,
    *,
    expect: str | None = None,
) -> Promotion:
    """Make a version the champion, if it may be: the ledger first, by compare-and-set, then MLflow's alias.

    It is refused, with an entry that says why, for a run that may not promote, for a data cut-off older than the champion's, for a version
    that was rolled back from, and where another version of the same cut-off is champion. Doing it twice is doing it once.

    Args:
        context: whose, where, and the run that asks.
        version: which.
        evidence: more facts for the entry, such as the deployment's smoke test.
        expect: the champion's entry that the caller decided against (empty: none); by default the one that the version's evaluation was
            made against, as its registration says.

    Raises:
        ConflictError: another version was promoted since the evaluation; evaluate against it and decide anew.
    """
    ledger = Ledger(context.settings)
    entry = registration(ledger, context.problem.name, version.version)
    present = present_champion(ledger, context.problem.name)
    head = present.entry if present else ""
    if present and present.version == version.version:
        # An attempt that was killed after its entry left the alias where it was.
        repair(context.settings, context.problem.name)
        newest = ledger.entries(context.problem, DECISIVE, limit=1)[0]
        return Promotion(promoted=True, reason="it is the champion already", entry=newest, previous=None)
    refusal = refusal_of(context, str(entry.payload["cutoff"]), version.version, present, ledger)
    if refusal:
        return Promotion(promoted=False, reason=refusal, entry=refuse(context, ledger, entry, refusal, present), previous=present)
    judged = str(entry.payload.get("judged_against", "")) if expect is None else expect
    if judged != head:
        refuse(context, ledger, entry, "another version was promoted since it was evaluated", present)
        raise _overtaken(context, ledger, version, judged, head)
    # What was checked above holds for this head only: a promotion in between makes the append fail.
    made = ledger.append(context.problem, "promotion", _promotion(entry, present, evidence or {}), context.run, expect=head)
    follow_ledger(context.settings, context.problem.name)
    return Promotion(promoted=True, reason="it passed and has the newest data", entry=made, previous=present)


def _promotion(entry: Entry, present: Champion | None, facts: Mapping[str, object]) -> dict[str, object]:
    """What the ledger says of a promotion: who the version is, whom it follows, and on which evidence."""
    return {
        **{name: entry.payload[name] for name in _IDENTITY},
        "previous": present.version if present else None,
        "evidence": [h for h in [*entry.payload["evidence"], entry.hash] if h],
        "facts": dict(facts),
    }


def _overtaken(context: RunContext, ledger: Ledger, version: VersionRef, judged: str, head: str) -> ConflictError:
    """A version that was judged against a champion which is no longer the champion."""
    return ConflictError(
        f"{context.problem.name}: version {version.version} was judged against {shown_champion(ledger, judged)}, but "
        f"{shown_champion(ledger, head)} is champion now",
        hint="evaluate it against the present champion and register it again: the decision is then made anew",
        expected=judged,
        found=head,
    )


def rollback(settings: Settings, problem_name: str, to: str | None = None, *, reason: str, run: Run | None = None) -> Champion:
    """Make an earlier version the champion again, and write down why.

    Args:
        settings: where.
        problem_name: whose.
        to: the version; by default the champion before the present one.
        reason: why; kept for ever.
        run: who.

    Raises:
        ConfigurationError: there is nothing to go back to, or `to` was never champion.
    """
    if not reason.strip():
        raise ConfigurationError("a rollback needs a reason", hint='give one: --reason "precision fell after the schedule change"')
    ledger = Ledger(settings)
    present = present_champion(ledger, problem_name)
    if present is None:
        raise ConfigurationError(f"{problem_name} has no champion, so there is nothing to roll back")
    target = _earlier_champion(ledger, problem_name, present, to)
    made = ledger.append(
        problem_name,
        "rollback",
        {
            **{name: target.payload[name] for name in _IDENTITY},
            "from": present.version,
            "previous": present.version,
            "reason": reason,
            "evidence": [target.hash],
        },
        run or Run(dag_id="windtunnel rollback", reason=reason),
        # Two rollbacks at once must not go back two versions.
        expect=present.entry,
    )
    follow_ledger(settings, problem_name)
    return as_champion(made)


def _earlier_champion(ledger: Ledger, problem_name: str, present: Champion, to: str | None) -> Entry:
    """The entry that made the wanted version the champion, or the champion before the present one."""
    decisive = ledger.entries(problem_name, DECISIVE)
    left = {str(entry.payload.get("from")) for entry in decisive if entry.kind == "rollback"}
    for entry in reversed(decisive):
        version = str(entry.payload["version"])
        # A version that was rolled back from is no place to go back to, unless a person names it.
        wanted_one = version == str(to) if to is not None else version not in left
        if wanted_one and version != present.version:
            return entry
    been = sorted({str(entry.payload["version"]) for entry in decisive} - {present.version})
    message = f"version {to} was never champion of {problem_name}" if to else f"{problem_name} had no other champion"
    raise ConfigurationError(message, hint=f"earlier champions: {', '.join(been) or 'none'}")
