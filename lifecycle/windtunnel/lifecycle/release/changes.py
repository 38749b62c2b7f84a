"""What is new about a candidate, beside the champion: data, recipe, parameters."""

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.references import CandidateRef
from windtunnel.lifecycle.data.artifacts import local_copy
from windtunnel.lifecycle.model import bundle as bundles
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.lifecycle.record import versions
from windtunnel.lifecycle.record.champion import champion, registered

__all__ = ["changes_of"]


def changes_of(context: RunContext, candidate: CandidateRef) -> list[str]:
    """What differs from the champion, a line each; one line where nothing does, or there is no champion."""
    present = champion(context.settings, context.problem.name)
    if present is None:
        return ["there is no champion yet: this would be the first"]
    if present.fingerprint == candidate.fingerprint:
        return [f"nothing differs: it is the champion, version {present.version}, trained again from the same inputs"]
    entry = registered(context.settings, context.problem.name).get(present.version)
    if entry is None:
        return [f"the ledger has no registration of the champion, version {present.version}"]
    with local_copy(candidate.uri) as folder:
        bundle = bundles.read(folder, candidate.digest, names=[])
    known, lineage = entry.payload, entry.payload.get("lineage") or {}
    found = []
    if candidate.cutoff != present.cutoff:
        found.append(f"data up to {candidate.cutoff} instead of {present.cutoff}")
    elif lineage.get("snapshot") != bundle.lineage.get("snapshot"):
        found.append(f"other rows up to the same day, {candidate.cutoff}")
    pairs = (
        (known["signature"], versions.signature_of(context.problem, bundle)),
        (versions.without_searched(known["recipe"], context.problem), versions.recipe_of(context.problem, bundle)),
        (_parameters(lineage), _parameters(bundle.lineage)),
    )
    for before, now in pairs:
        found += versions.differences(before, now)
    return list(dict.fromkeys(found)) or [f"nothing differs from version {present.version}: the same rows and the same recipe"]


def _parameters(lineage: JsonMapping) -> JsonObject:
    return dict(lineage.get("parameters") or {})
