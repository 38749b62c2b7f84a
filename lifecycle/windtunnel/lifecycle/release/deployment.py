"""Deployment: a version goes into production step by step, each step in the ledger, or it is said why not.

1. *May it?* A backfilled or late run, and a problem whose approval says never, touch nothing.
2. *Package*: the candidate's bundle is copied, compiled, and smoke-tested in a clean process that cannot import the training environment:
   it answers the samples as training did, within the limits of latency and size, with several clients at once.
3. *Push*: the server loads it beside the champion; it answers the samples there too. Doing it twice is harmless.
4. *Canary*: where the problem asks for one, it takes a share of the traffic for a while; errors, latency, answers that moved away from the
   champion's, or a KPI that is worse end it, and it is taken out (`windtunnel.lifecycle.release.canary`).
5. *Promote*: the registry decides by compare-and-set; then the label champion moves, atomically on the server; further places that the
   problem names get the version, and manifests are written.

A failure after the push takes the version out again; the champion keeps serving all the while.
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import ConfigurationError, GateError, IntegrityError, UnavailableError, WindtunnelError
from windtunnel.lifecycle.contract.fingerprint import fingerprint
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import CandidateRef, DeploymentRef, VersionRef
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.artifacts import local_copy
from windtunnel.lifecycle.model import answers, bundle
from windtunnel.lifecycle.record.champion import champion
from windtunnel.lifecycle.record.ledger import Ledger
from windtunnel.lifecycle.record.promotion import promote
from windtunnel.lifecycle.release.canary import bake
from windtunnel.lifecycle.release.manifests import write_manifests
from windtunnel.lifecycle.release.packaging import Package, package
from windtunnel.lifecycle.release.targets import Router, Target, router, target_of

__all__ = ["Package", "deploy", "package", "serve_champion"]

log = logging.getLogger("windtunnel.deployment")


def deploy(context: RunContext, candidate: CandidateRef, version: VersionRef) -> DeploymentRef:
    """Put a version into production, if it may be.

    Args:
        context: its problem's ``serving`` section has the limits, the canary's share and bake time; its settings' ``server_url`` says where
            to (see `windtunnel.lifecycle.release.targets.target_of`).
        candidate: the bundle.
        version: what the registry calls it.

    Raises:
        GateError: it does not pass the smoke test, or did badly as a canary; nothing of it is left in production.
        UnavailableError: the server is out of reach; a retry goes on where this ended.
        ConflictError: another version was promoted meanwhile.
    """
    ledger = Ledger(context.settings)
    steps = _Steps(ledger, context.problem, version, candidate, context.run)
    refusal = _refusal(context, version)
    if refusal:
        steps.note("refused", reason=refusal)
        return _reference(version, context.settings.server_url, refusal)
    target = target_of(context.settings)
    for url in context.problem.serving.targets:
        target_of(context.settings, url)  # what is no place is said before anything is done
    try:
        ready = package(context.problem, candidate, context.settings)
    except (GateError, IntegrityError, ConfigurationError) as error:
        steps.note("smoke test failed", reason=error.message)
        raise
    steps.note("smoke test passed", digest=ready.digest, report=ready.report)
    # One deployment of a problem at a time: labels must follow the order of the promotions.
    with ledger.lock(f"deploy:{context.problem.name}"):
        return _push(context, version, ready, target, steps)


def serve_champion(settings: Settings, problem: Problem | str) -> bool:
    """Make the server answer with the version that the ledger calls champion; whether anything had to change.

    After a rollback this is all that is left to do: a version that is still loaded only gets its label back.

    Raises:
        ConfigurationError: the problem has no champion.
        UnavailableError: the server is out of reach.
    """
    name = problem if isinstance(problem, str) else problem.name
    present = champion(settings, name)
    if present is None:
        raise ConfigurationError(f"{name} has no champion to serve", hint="train and approve a version first")
    target = target_of(settings)
    routing = router(target)
    if routing is not None:
        loaded = routing.versions(name)
        if present.version in loaded:
            labels = loaded[present.version]["labels"]
            # A route may be left from a canary that was killed; it would go on sharing out the traffic.
            if "champion" in labels and not routing.route(name)["route"]:
                return False
            routing.label(name, present.version, ["champion"], {})
            return True
    uri, digest = present.uri, present.digest
    if not isinstance(problem, str):
        candidate = CandidateRef(name, uri, digest, present.run_id, present.fingerprint, present.cutoff)
        ready = package(problem, candidate, settings)
        uri, digest = ready.uri, ready.digest
    target.push(name, present.version, uri, digest, ["champion"], {})
    return True


# Inside -----------------------------------------------------------------------------------------------------------------------------


class _Steps:
    """Writes the steps of one deployment to the ledger, each once for one attempt of it."""

    def __init__(self, ledger: Ledger, problem: Problem, version: VersionRef, candidate: CandidateRef, run: Run) -> None:
        self._ledger, self._problem, self._version, self._run = ledger, problem, version, run
        self._candidate = candidate

    def note(self, step: str, **facts: object) -> None:
        """One step, with what is known of it; the same step of the same version and run is noted once."""
        payload = {"step": step, "version": self._version.version, "cutoff": self._version.cutoff, "candidate": self._candidate.fingerprint}
        # Without a run id there is no retry that could be told from another call.
        key = f"deploy:{self._version.version}:{self._run.run_id}:{step}:{fingerprint(facts.get('reason', ''))}" if self._run.run_id else ""
        self._ledger.append(self._problem.name, "deployment", {**payload, **facts}, self._run, key=key)
        log.info(
            "%s version %s: %s%s", self._problem.name, self._version.version, step, f": {facts['reason']}" if "reason" in facts else ""
        )


def _refusal(context: RunContext, version: VersionRef) -> str:
    if context.run.run_type == "backfill":
        return "a backfill never touches production"
    if context.run.counterfactual:
        return "a counterfactual run never touches production"
    if not context.run.may_promote:
        return "this run was started with promotion: never"
    if context.problem.approval.promotion == "never":
        return "the problem's approval.promotion is never"
    if version.alias.startswith("asof-"):
        return f"the version is registered as {version.alias} only: {version.reason or 'it does not go to production'}"
    return ""


def _reference(version: VersionRef, url: str, reason: str, *, deployed: bool = False) -> DeploymentRef:
    return DeploymentRef(
        model=version.model,
        version=version.version,
        alias="champion" if deployed else version.alias,
        url=f"{url.rstrip('/')}/v2/models/{version.model}" if url else "",
        deployed=deployed,
        reason=reason,
    )


def _push(context: RunContext, version: VersionRef, ready: Package, target: Target, steps: _Steps) -> DeploymentRef:
    model, routing = context.problem.name, router(target)
    try:
        # A retry after the promotion must not make the champion a challenger again.
        already = routing is not None and "champion" in routing.versions(model).get(version.version, {}).get("labels", [])
        if not already:
            target.push(model, version.version, ready.uri, ready.digest, ["challenger"])
    except UnavailableError as error:
        steps.note("out of reach", reason=error.message)
        raise
    facts: dict[str, object] = {"package": ready.uri, "digest": ready.digest, "report": ready.report}
    with _taken_out_on_failure(target, model, version.version, steps, already=already):
        if routing is not None:
            _answers_as_trained(routing, model, version.version, ready)
            steps.note("pushed", digest=ready.digest, url=target.url)
            if not already and context.problem.serving.canary_share > 0:
                facts["canary"] = bake(context.problem, routing, version.version, steps.note)
        promotion = promote(context, version, facts)
    if not promotion.promoted:
        _take_out(target, model, version.version)
        steps.note("refused", reason=promotion.reason)
        return _reference(version, target.url, promotion.reason)
    # The ledger goes first: killed before this line, a retry finds the promotion there and moves the label.
    target.label(model, version.version, ["champion"], {}, drop=["canary", "challenger"])
    steps.note("deployed", url=target.url, digest=ready.digest)
    _push_elsewhere(context, version.version, ready, steps)
    return _reference(version, target.url, promotion.reason, deployed=True)


def _push_elsewhere(context: RunContext, version: str, ready: Package, steps: "_Steps") -> None:
    """The further places that the problem names get the champion too, and its manifests are written.

    Raises:
        UnavailableError: one is out of reach; the version is champion already, and a retry goes on here.
        ConfigurationError: one refuses.
    """
    for url in context.problem.serving.targets:
        target = target_of(context.settings, url)
        target.push(context.problem.name, version, ready.uri, ready.digest, ["champion"])
        steps.note(f"pushed to {target.url}", digest=ready.digest, target=url)
    written = write_manifests(context.problem, version, ready.uri, context.settings)
    if written:
        steps.note("manifests written", paths=written)


@contextlib.contextmanager
def _taken_out_on_failure(target: Target, model: str, version: str, steps: _Steps, *, already: bool) -> Iterator[None]:
    try:
        yield
    except WindtunnelError as error:
        if not already:
            # What went wrong first is what must be reported; the next attempt pushes over what is left.
            with contextlib.suppress(WindtunnelError):
                _take_out(target, model, version)
        steps.note("out of reach" if isinstance(error, UnavailableError) else "rolled back", reason=error.message)
        raise


def _take_out(target: Target, model: str, version: str) -> None:
    """Leave the champion alone with the traffic, and unload the other."""
    routing = router(target)
    if routing is None:
        return
    labels = routing.route(model)["labels"]
    # It has the label already: whatever failed since, the champion itself stays.
    if labels.get("champion") == version:
        return
    # The route first: unloaded first, the version would still be sent requests.
    if "champion" in labels:
        routing.label(model, labels["champion"], ["champion"], {})
    routing.unload(model, version)


def _answers_as_trained(target: Router, model: str, version: str, ready: Package) -> None:
    """The server must answer the samples as the training environment did.

    Raises:
        GateError: it does not.
    """
    with local_copy(ready.uri) as folder:
        samples = bundle.read_samples(folder)
    rows, expected = samples.get("inputs", []), samples.get("outputs", [])
    if not rows:
        return
    for row, wanted, found in zip(rows, expected, target.predict(model, version, rows), strict=True):
        if isinstance(wanted, Mapping) and not answers.same(found, wanted):
            raise GateError(f"the server answers {found} where training answered {wanted}, for {row!r}")
