"""The registry: MLflow holds the versions, the ledger holds the decisions about them, and MLflow's aliases follow the ledger.

MLflow sets an alias whoever asks and keeps no history, so nothing here trusts an alias: who is champion is the newest promotion or rollback
in the ledger, written by compare-and-set; the alias is set afterwards and can be put right at any time (`repair`).
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import ConfigurationError, ConflictError, GateError, IntegrityError, UnavailableError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import CandidateRef, DecisionRef, EvaluationRef, VersionRef
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.artifacts import local_copy, read_text
from windtunnel.lifecycle.model import bundle as bundles
from windtunnel.lifecycle.record import tracking, versions
from windtunnel.lifecycle.record.ledger import DECISIVE, Entry, Ledger

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = [
    "Champion",
    "Promotion",
    "champion",
    "champion_of_entry",
    "client",
    "judged_against",
    "promote",
    "register",
    "registered",
    "repair",
    "rollback",
]

T = TypeVar("T")

TAG = "windtunnel."
"""What the names of our tags in MLflow begin with."""


@dataclasses.dataclass(frozen=True)
class Champion:
    """The version in production, as the ledger says.

    Attributes:
        version: the number in MLflow.
        semantic: its semantic version.
        cutoff: its data cut-off, ISO.
        uri: its bundle.
        digest: the bundle's digest.
        metric: the main metric's name.
        value: what it was worth when it was evaluated.
        entry: the ledger entry that made it champion: the ``expect`` of the next promotion.
        fingerprint: the candidate's.
        run_id: the candidate's MLflow run.
    """

    version: str
    semantic: str
    cutoff: str
    uri: str
    digest: str
    metric: str
    value: float | None
    entry: str
    fingerprint: str = ""
    run_id: str = ""


@dataclasses.dataclass(frozen=True)
class Promotion:
    """The answer of `promote`: whether the version is champion now, and why (not)."""

    promoted: bool
    reason: str
    entry: Entry
    previous: Champion | None = None


def client(settings: Settings) -> "MlflowClient":
    """MLflow's client for the tracking and registry server of the settings."""
    return tracking.client(settings.need("tracking_uri"))


def champion(settings: Settings, problem_name: str) -> Champion | None:
    """The version in production, or None; no server but the ledger's database is asked."""
    if not Ledger.configured(settings):
        return None
    return _champion(Ledger(settings), problem_name)


def champion_of_entry(settings: Settings, entry: str) -> Champion:
    """The champion that a promotion or rollback of the past made.

    Raises:
        IntegrityError: the ledger has no such entry.
    """
    found = Ledger(settings).entry(entry)
    if found is not None and found.kind in {"counterfactual", "register"}:  # who would have been champion
        payload = {"version": f"as of {found.payload['cutoff']}", "semantic": "", **found.payload}
        return _as_champion(dataclasses.replace(found, payload=payload))
    if found is None or found.kind not in DECISIVE:
        raise IntegrityError(f"the ledger has no promotion {entry[:12]}", hint="is this the ledger that the run was recorded with?")
    return _as_champion(found)


def judged_against(settings: Settings, problem_name: str, version: Champion) -> Champion | None:
    """The champion that a version was judged against when it was registered last; None if there was none then."""
    entry = str(_registration(Ledger(settings), problem_name, version.version).payload["judged_against"])
    return champion_of_entry(settings, entry) if entry else None


def registered(settings: Settings, problem_name: str) -> dict[str, Entry]:
    """Every registered version of a problem: version -> its entry in the ledger."""
    return {str(entry.payload["version"]): entry for entry in Ledger(settings).entries(problem_name, ("register",))}


def register(context: RunContext, candidate: CandidateRef, evaluation: EvaluationRef, decision: DecisionRef) -> VersionRef:
    """Register an approved candidate as a version; the same candidate again, also from another run at the same time, is the same version.

    A run that may not promote (a backfill, or ``promotion: never``) and a run whose data cut-off is older than the champion's get the
    alias ``asof-CUTOFF``, and the ledger says why; others get ``challenger``.

    Raises:
        GateError: it was not approved.
        UnavailableError: MLflow is out of reach.
    """
    ledger = Ledger(context.settings)
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
    with ledger.lock(f"register:{context.problem.name}"):
        entry, new = _register(context, candidate, evaluation, decision, ledger)
    alias, why = _alias(context, candidate, ledger, entry)
    version = str(entry.payload["version"])
    if not _asof_only_moves_back(alias, ledger, context.problem.name, entry):
        _calling(lambda: client(context.settings).set_registered_model_alias(context.problem.name, alias, version))
    return VersionRef(
        model=context.problem.name,
        version=version,
        semantic=str(entry.payload["semantic"]),
        alias=alias,
        cutoff=candidate.cutoff,
        new=new,
        reason="; ".join(filter(None, [str(entry.payload["reason"]), why])),
    )


def promote(
    context: RunContext,
    version: VersionRef,
    evidence: Mapping[str, Any] | None = None,
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
    entry = _registration(ledger, context.problem.name, version.version)
    present = _champion(ledger, context.problem.name)
    head = present.entry if present else ""
    if present and present.version == version.version:
        repair(context.settings, context.problem.name)
        newest = ledger.entries(context.problem, DECISIVE, limit=1)[0]
        return Promotion(promoted=True, reason="it is the champion already", entry=newest, previous=None)
    refusal = _refusal(context, str(entry.payload["cutoff"]), version.version, present, ledger)
    if refusal:
        return Promotion(promoted=False, reason=refusal, entry=_refuse(context, ledger, entry, refusal, present), previous=present)
    judged = str(entry.payload.get("judged_against", "")) if expect is None else expect
    if judged != head:
        _refuse(context, ledger, entry, "another version was promoted since it was evaluated", present)
        raise ConflictError(
            f"{context.problem.name}: version {version.version} was judged against {_champion_at(ledger, judged)}, but "
            f"{_champion_at(ledger, head)} is champion now",
            hint="evaluate it against the present champion and register it again: the decision is then made anew",
            expected=judged,
            found=head,
        )
    made = ledger.append(
        context.problem,
        "promotion",
        {
            **{name: entry.payload[name] for name in _IDENTITY},
            "previous": present.version if present else None,
            "evidence": [h for h in [*entry.payload["evidence"], entry.hash] if h],
            "facts": dict(evidence or {}),
        },
        context.run,
        expect=head,
    )
    _set_champion(context.settings, context.problem.name)
    return Promotion(promoted=True, reason="it passed and has the newest data", entry=made, previous=present)


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
    present = _champion(ledger, problem_name)
    if present is None:
        raise ConfigurationError(f"{problem_name} has no champion, so there is nothing to roll back")
    history = [entry for entry in ledger.entries(problem_name, DECISIVE) if entry.payload["version"] != present.version]
    if to is not None:
        history = [entry for entry in history if str(entry.payload["version"]) == str(to)]
    else:  # a version that was rolled back from is no place to go back to
        left = {str(entry.payload.get("from")) for entry in ledger.entries(problem_name, ("rollback",))}
        history = [entry for entry in history if str(entry.payload["version"]) not in left]
    if not history:
        been = sorted({str(e.payload["version"]) for e in ledger.entries(problem_name, DECISIVE)} - {present.version})
        wanted = f"version {to} was never champion of {problem_name}" if to else f"{problem_name} had no other champion"
        raise ConfigurationError(wanted, hint=f"earlier champions: {', '.join(been) or 'none'}")
    target = history[-1]
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
        expect=present.entry,
    )
    _set_champion(settings, problem_name)
    return _as_champion(made)


def repair(settings: Settings, problem_name: str) -> bool:
    """Set MLflow's alias ``champion`` to what the ledger says; answers whether it was wrong."""
    present = champion(settings, problem_name)
    if present is None:
        return False
    held = _calling(lambda: client(settings).get_registered_model(problem_name)).aliases.get("champion")
    if str(held) == present.version:
        return False
    _set_champion(settings, problem_name)
    return True


# Inside -----------------------------------------------------------------------------------------------------------------------------

_IDENTITY = ("version", "semantic", "cutoff", "uri", "digest", "fingerprint", "run_id", "metric", "value", "approved_by")


def _register(
    context: RunContext,
    candidate: CandidateRef,
    evaluation: EvaluationRef,
    decision: DecisionRef,
    ledger: Ledger,
) -> tuple[Entry, bool]:
    """The registration's entry, and whether the version is new; called under the lock."""
    judged = _judged_against(evaluation)
    earlier = [entry for entry in ledger.entries(context.problem, ("register",)) if entry.payload["fingerprint"] == candidate.fingerprint]
    for entry in earlier:
        if entry.payload["judged_against"] == judged:
            return entry, False
    history = ledger.entries(context.problem, ("register",))
    with local_copy(candidate.uri) as folder:
        bundle = bundles.read(folder, candidate.digest, names=[])
    signature, recipe = versions.signature_of(context.problem, bundle), versions.recipe_of(context.problem, bundle)
    if earlier:  # known, and judged anew against another champion
        first = earlier[0].payload
        version, semantic, reason = str(first["version"]), str(first["semantic"]), str(first["reason"])
    else:
        highest = max(history, key=lambda entry: versions.Semantic.parse(entry.payload["semantic"]), default=None)
        before = (highest.payload["signature"], highest.payload["recipe"]) if highest else None
        chosen, reason = versions.next_version(highest.payload["semantic"] if highest else None, before, (signature, recipe))
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
    }
    return ledger.append(context.problem, "register", payload, context.run, key=f"{candidate.fingerprint}:{judged[:16]}"), not earlier


def _create_version(context: RunContext, candidate: CandidateRef, semantic: str, reason: str) -> str:
    from mlflow.exceptions import MlflowException

    mlflow = client(context.settings)
    try:
        _calling(
            lambda: mlflow.create_registered_model(context.problem.name, description=context.problem.title or context.problem.description)
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    query = f"name = '{context.problem.name}' and tags.`{TAG}fingerprint` = '{candidate.fingerprint}'"
    found = _calling(lambda: mlflow.search_model_versions(query))
    if found:  # made by a run that was killed before it could write the ledger
        return str(min(int(version.version) for version in found))
    made = _calling(
        lambda: mlflow.create_model_version(
            context.problem.name,
            source=f"runs:/{candidate.run_id}/bundle" if candidate.run_id else candidate.uri,
            run_id=candidate.run_id or None,
            description=f"{semantic} ({reason}), data cut-off {candidate.cutoff}",
            tags={
                f"{TAG}fingerprint": candidate.fingerprint,
                f"{TAG}cutoff": candidate.cutoff,
                f"{TAG}digest": candidate.digest,
                f"{TAG}bundle": candidate.uri,
                f"{TAG}semantic": semantic,
                f"{TAG}reason": reason,
            },
        )
    )
    return str(made.version)


def _alias(context: RunContext, candidate: CandidateRef, ledger: Ledger, entry: Entry) -> tuple[str, str]:
    present = _champion(ledger, context.problem.name)
    if present and present.version == entry.payload["version"]:
        return "champion", ""
    refusal = _refusal(context, candidate.cutoff, str(entry.payload["version"]), present, ledger)
    if refusal is None:
        return "challenger", ""
    _refuse(context, ledger, entry, refusal, present)
    return f"asof-{candidate.cutoff}", refusal


def _refusal(context: RunContext, cutoff: str, version: str, present: Champion | None, ledger: Ledger) -> str | None:
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


def _refuse(context: RunContext, ledger: Ledger, registration: Entry, reason: str, present: Champion | None) -> Entry:
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


def _asof_only_moves_back(alias: str, ledger: Ledger, name: str, entry: Entry) -> bool:
    """Whether setting ``challenger`` would replace a challenger of newer data by this older one."""
    if alias != "challenger":
        return alias == "champion"
    newest = max((str(e.payload["cutoff"]) for e in ledger.entries(name, ("register",)) if e.run.get("run_type") != "backfill"), default="")
    return str(entry.payload["cutoff"]) < newest


def _champion(ledger: Ledger, problem_name: str) -> Champion | None:
    newest = ledger.entries(problem_name, DECISIVE, limit=1)
    if not newest:
        return None
    return _as_champion(newest[0])


def _as_champion(entry: Entry) -> Champion:
    names = {field.name for field in dataclasses.fields(Champion)}
    return Champion(**{key: value for key, value in entry.payload.items() if key in names}, entry=entry.hash)


def _champion_at(ledger: Ledger, entry: str) -> str:
    found = ledger.entry(entry) if entry else None
    return f"version {found.payload['version']}" if found else "no champion"


def _registration(ledger: Ledger, name: str, version: str) -> Entry:
    found = [entry for entry in ledger.entries(name, ("register",)) if str(entry.payload["version"]) == str(version)]
    if not found:
        raise ConfigurationError(f"{name} has no registered version {version} in the ledger", hint="register it first")
    return found[-1]


def _judged_against(evaluation: EvaluationRef) -> str:
    try:
        found = json.loads(read_text(f"{evaluation.uri}/evaluation.json"))
    except (OSError, json.JSONDecodeError) as error:
        raise UnavailableError(f"the evaluation at {evaluation.uri} cannot be read: {error}") from error
    return str((found.get("champion") or {}).get("entry") or "")


def _evaluation_entry(ledger: Ledger, problem: Problem, evaluation: EvaluationRef) -> str:
    found = ledger.entries(problem, ("evaluation",), key=evaluation.fingerprint)
    return found[-1].hash if found else ""


def _set_champion(settings: Settings, name: str) -> None:
    """Let the alias follow the ledger; under a lock, or a slow loser's write could come after the winner's."""
    mlflow, ledger = client(settings), Ledger(settings)
    with ledger.lock(f"alias:{name}"):
        present = _champion(ledger, name)
        if present is not None:
            version = present.version
            _calling(lambda: mlflow.set_registered_model_alias(name, "champion", version))
            _calling(lambda: mlflow.set_model_version_tag(name, version, f"{TAG}was_champion", "true"))


def _calling(call: Callable[[], T]) -> T:
    """The answer of MLflow; a connection that fails is an `UnavailableError`, which a retry can help."""
    from mlflow.exceptions import MlflowException

    try:
        return call()
    except (OSError, MlflowException) as error:
        code = getattr(error, "error_code", "")
        if isinstance(error, MlflowException) and code not in {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}:
            raise
        raise UnavailableError(f"MLflow is out of reach: {error}", hint="`windtunnel status` says whether it runs") from error
