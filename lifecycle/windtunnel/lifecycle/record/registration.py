"""Registering: an approved candidate becomes a version in MLflow, and the ledger says on which evidence."""

import dataclasses

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import GateError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import CandidateRef, DecisionRef, EvaluationRef, VersionRef
from windtunnel.lifecycle.data.artifacts import local_copy
from windtunnel.lifecycle.model import bundle as bundles
from windtunnel.lifecycle.record import versions
from windtunnel.lifecycle.record.champion import Champion, present_champion
from windtunnel.lifecycle.record.eligibility import refusal_of, refuse
from windtunnel.lifecycle.record.evidence import hard_failures, judged_against
from windtunnel.lifecycle.record.ledger import Entry, Ledger
from windtunnel.lifecycle.record.tracking import TAG, calling, client

__all__ = ["register"]

_COMPARED = 8
"""Registrations that a new version is numbered beside."""


def register(context: RunContext, candidate: CandidateRef, evaluation: EvaluationRef, decision: DecisionRef) -> VersionRef:
    """Register an approved candidate as a version; the same candidate again, also from another run at the same time, is the same version.

    A run that may not promote (a backfill, or ``promotion: never``) and a run whose data cut-off is older than the champion's get the
    alias ``asof-CUTOFF``, and the ledger says why; others get ``challenger``.

    Raises:
        GateError: it was not approved.
        UnavailableError: MLflow is out of reach.
    """
    ledger = Ledger(context.settings)
    hard = hard_failures(evaluation) if decision.approved and not evaluation.passed else []
    if hard:
        decision = dataclasses.replace(decision, approved=False, reason=f"hard gates are not met: {'; '.join(hard)}")
    if not decision.approved:
        ledger.append(
            context.problem,
            "refusal",
            {"what": "register", "candidate": candidate.to_dict(), "reason": decision.reason, "evidence": [decision.entry]},
            context.run,
            key=f"register:{candidate.fingerprint}:{decision.entry}",
        )
        raise GateError(
            f"{context.problem.name}: the candidate of {candidate.cutoff} was not approved by {decision.by}: {decision.reason}",
            hint="train a better one, or change the gates or the approval in the problem file",
            candidate=candidate.fingerprint,
        )
    # Without it two runs of one candidate would both find no version, and make two.
    with ledger.lock(f"register:{context.problem.name}"):
        entry, new = _register(context, candidate, evaluation, decision, ledger)
    alias, why = _alias(context, candidate, ledger, entry)
    version = str(entry.payload["version"])
    if not _asof_only_moves_back(alias, context, ledger, entry):
        calling(lambda: client(context.settings).set_registered_model_alias(context.problem.name, alias, version))
    return VersionRef(
        model=context.problem.name,
        version=version,
        semantic=str(entry.payload["semantic"]),
        alias=alias,
        cutoff=candidate.cutoff,
        new=new,
        reason="; ".join(filter(None, [str(entry.payload["reason"]), why])),
    )


def _register(
    context: RunContext,
    candidate: CandidateRef,
    evaluation: EvaluationRef,
    decision: DecisionRef,
    ledger: Ledger,
) -> tuple[Entry, bool]:
    """The registration's entry, and whether the version is new; called under the lock."""
    judged = judged_against(evaluation)
    earlier = ledger.keyed(context.problem, "register", candidate.fingerprint)
    for entry in earlier:
        if entry.payload["judged_against"] == judged:
            return entry, False
    with local_copy(candidate.uri) as folder:
        bundle = bundles.read(folder, candidate.digest, names=[])
    signature, recipe = versions.signature_of(context.problem, bundle), versions.recipe_of(context.problem, bundle)
    if earlier:  # known, and judged anew against another champion
        first = earlier[0].payload
        version, semantic, reason = str(first["version"]), str(first["semantic"]), str(first["reason"])
    else:
        bound = _bound(context, candidate, present_champion(ledger, context.problem.name))
        chosen, reason = versions.number(_recent(context, ledger), candidate.cutoff, (signature, recipe), context.problem, bound=bound)
        semantic = str(chosen)
        version = _create_version(context, candidate, semantic, reason)
    payload = {
        "version": version,
        "semantic": semantic,
        "reason": reason,
        "cutoff": candidate.cutoff,
        "uri": candidate.uri,
        "digest": candidate.digest,
        "fingerprint": candidate.fingerprint,
        "run_id": candidate.run_id,
        "metric": evaluation.metric,
        "value": evaluation.value,
        "approved_by": decision.by,
        "evaluation": evaluation.to_dict(),
        "judged_against": judged,
        "evidence": [h for h in (_evaluation_entry(ledger, context.problem, evaluation), decision.entry) if h],
        "lineage": bundle.lineage,
        "signature": signature,
        "recipe": recipe,
        "newest_cutoff": max(_newest_cutoff(context, ledger), "" if context.run.run_type == "backfill" else candidate.cutoff),
    }
    # With whom it was judged against: judged anew, the same version gets another entry; a retry gets this one.
    return ledger.append(context.problem, "register", payload, context.run, key=f"{candidate.fingerprint}:{judged[:16]}"), not earlier


def _recent(context: RunContext, ledger: Ledger) -> list[Entry]:
    """The newest registrations, oldest first, and among them one that is no backfill, if there is any.

    What is numbered is compared with these: nothing of this grows with the ledger.
    """
    found: list[Entry] = []
    plain = False
    for entry in ledger.newest_first(context.problem, ("register",)):
        found.append(entry)
        plain = plain or versions.Semantic.parse(str(entry.payload["semantic"])).final
        if plain and len(found) >= _COMPARED:
            break
    return found[::-1]


def _newest_cutoff(context: RunContext, ledger: Ledger) -> str:
    """The newest data cut-off of any registration but a backfill's, as the last registration noted it; empty if there is none."""
    newest = ""
    for entry in ledger.newest_first(context.problem, ("register",)):
        if "newest_cutoff" in entry.payload:
            return max(newest, str(entry.payload["newest_cutoff"]))
        if entry.run.get("run_type") != "backfill":  # written before registrations noted it
            newest = max(newest, str(entry.payload["cutoff"]))
    return newest


def _bound(context: RunContext, candidate: CandidateRef, present: Champion | None) -> str | None:
    """The champion's number where the new version must not look newer than it, or None."""
    late = present is not None and candidate.cutoff < present.cutoff
    if context.run.run_type == "backfill" or context.run.counterfactual or late:
        return present.semantic if present else ""
    return None


def _create_version(context: RunContext, candidate: CandidateRef, semantic: str, reason: str) -> str:
    from mlflow.exceptions import MlflowException

    mlflow = client(context.settings)
    try:
        calling(
            lambda: mlflow.create_registered_model(context.problem.name, description=context.problem.title or context.problem.description)
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    query = f"name = '{context.problem.name}' and tags.`{TAG}fingerprint` = '{candidate.fingerprint}'"
    found = calling(lambda: mlflow.search_model_versions(query))
    if found:  # made by a run that was killed before it could write the ledger
        # Of several, the oldest: every retry chooses the same.
        return str(min(int(version.version) for version in found))
    made = calling(
        lambda: mlflow.create_model_version(
            context.problem.name,
            source=f"runs:/{candidate.run_id}/model" if candidate.run_id else candidate.uri,
            run_id=candidate.run_id or None,
            description=f"{semantic} ({reason}), data cut-off {candidate.cutoff}",
            tags={
                f"{TAG}fingerprint": candidate.fingerprint,
                f"{TAG}cutoff": candidate.cutoff,
                f"{TAG}digest": candidate.digest,
                f"{TAG}semantic": semantic,
                f"{TAG}reason": reason,
            },
        )
    )
    return str(made.version)


def _alias(context: RunContext, candidate: CandidateRef, ledger: Ledger, entry: Entry) -> tuple[str, str]:
    present = present_champion(ledger, context.problem.name)
    if present and present.version == entry.payload["version"]:
        return "champion", ""
    refusal = refusal_of(context, candidate.cutoff, str(entry.payload["version"]), present, ledger)
    if refusal is None:
        return "challenger", ""
    refuse(context, ledger, entry, refusal, present)
    return f"asof-{candidate.cutoff}", refusal


def _asof_only_moves_back(alias: str, context: RunContext, ledger: Ledger, entry: Entry) -> bool:
    """Whether setting ``challenger`` would replace a challenger of newer data by this older one."""
    if alias != "challenger":
        return alias == "champion"
    return str(entry.payload["cutoff"]) < _newest_cutoff(context, ledger)


def _evaluation_entry(ledger: Ledger, problem: Problem, evaluation: EvaluationRef) -> str:
    found = ledger.entries(problem, ("evaluation",), key=evaluation.fingerprint)
    return found[-1].hash if found else ""
