"""A rollback in all systems that know who is champion: the ledger decides, MLflow's alias and the model server follow.

Each step can fail alone, and the same call again goes on where the last one ended instead of one version further back: a rollback
counts as finished once the ledger says so (an entry ``deployment`` with the step ``rollback finished``).
"""

import dataclasses
import functools
from collections.abc import Callable

from windtunnel.lifecycle.contract.errors import UnavailableError, WindtunnelError
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.record.champion import Champion, champion, repair
from windtunnel.lifecycle.record.ledger import DECISIVE, Entry, Ledger
from windtunnel.lifecycle.record.promotion import rollback
from windtunnel.lifecycle.release.deployment import serve_champion
from windtunnel.lifecycle.release.targets import target_of

__all__ = ["RolledBack", "roll_back"]

_FINISHED = "rollback finished"


@dataclasses.dataclass(frozen=True)
class RolledBack:
    """What a rollback came to.

    Attributes:
        champion: the version that the ledger calls champion now.
        continued: whether this call only went on with an earlier one.
        done: the systems that agree with the ledger, the ledger first.
        left: system -> why it does not agree yet; the same call again tries it again.
    """

    champion: Champion
    continued: bool
    done: list[str]
    left: dict[str, str]


def roll_back(settings: Settings, problem_name: str, to: str | None = None, *, reason: str, run: Run) -> RolledBack:
    """Make an earlier version the champion, in the ledger, in MLflow, on the model server and wherever else the champion was pushed to.

    Args:
        settings: where the systems are; without ``server_url`` no server is asked.
        problem_name: whose.
        to: the version; by default the champion before the present one.
        reason: why; kept for ever.
        run: who.

    Raises:
        ConfigurationError: there is nothing to go back to, or `to` was never champion.
        UnavailableError: the ledger is out of reach: nothing was changed.
    """
    present = champion(settings, problem_name)
    unfinished = _unfinished(settings, problem_name)
    # Asked again without a version, a rollback that is not finished goes on: a second step back is not what was meant.
    if present is not None and unfinished is not None and to in {None, present.version}:
        outcome = _follow(settings, problem_name, present)
        if outcome.left or outcome.changed:
            return _conclude(settings, problem_name, present, outcome, run, continued=True)
        _finish(settings, problem_name, unfinished, run)  # of an earlier release, which did not write it down
    elif present is not None and to == present.version:
        return _conclude(settings, problem_name, present, _follow(settings, problem_name, present), run, continued=True)
    now = _decided(settings, problem_name, to, reason, run)
    return _conclude(settings, problem_name, now, _follow(settings, problem_name, now), run, continued=False)


# Inside -----------------------------------------------------------------------------------------------------------------------------


def _decided(settings: Settings, name: str, to: str | None, reason: str, run: Run) -> Champion:
    """The champion after the ledger took the decision; that MLflow did not follow is found out again, and said, afterwards."""
    before = champion(settings, name)
    try:
        return rollback(settings, name, to, reason=reason, run=run)
    except UnavailableError:
        now = champion(settings, name)
        if now is None or before is None or now.entry == before.entry:
            raise  # the ledger itself did not take it
        return now


@dataclasses.dataclass
class _Outcome:
    done: list[str] = dataclasses.field(default_factory=lambda: ["ledger"])
    left: dict[str, str] = dataclasses.field(default_factory=dict)
    changed: bool = False

    def take(self, system: str, step: Callable[[], bool]) -> None:
        """Do a step; what goes wrong is kept, and does not hold up the others."""
        try:
            self.changed |= step()
        except WindtunnelError as error:
            self.left[system] = " ".join([error.message, *([f"({error.hint})"] if error.hint else [])])
        else:
            self.done.append(system)


def _follow(settings: Settings, name: str, present: Champion) -> _Outcome:
    """Let the other systems do as the ledger says."""
    outcome = _Outcome()
    if settings.tracking_uri:
        outcome.take("MLflow", lambda: repair(settings, name))
    if settings.server_url:
        outcome.take("model server", lambda: serve_champion(settings, name))
    for url in _elsewhere(settings, name):
        outcome.take(url, functools.partial(_push, settings, url, name, present))
    return outcome


def _push(settings: Settings, url: str, name: str, present: Champion) -> bool:
    uri, digest = _package(settings, name, present)
    target_of(settings, url).push(name, present.version, uri, digest, ["champion"])
    return False  # pushing again is harmless, and nobody can ask these places what they have


def _package(settings: Settings, name: str, present: Champion) -> tuple[str, str]:
    """The compiled bundle that was deployed for a version, as its promotion says; the candidate's own where that is not known."""
    for entry in reversed(Ledger(settings).entries(name, ("promotion",))):
        facts = entry.payload.get("facts") or {}
        if str(entry.payload["version"]) == present.version and facts.get("package"):
            return str(facts["package"]), str(facts["digest"])
    return present.uri, present.digest


def _elsewhere(settings: Settings, name: str) -> list[str]:
    """The further places that the champion was pushed to, as the ledger's deployments say."""
    payloads = (entry.payload for entry in Ledger(settings).entries(name, ("deployment",)))
    return list(dict.fromkeys(str(payload["target"]) for payload in payloads if payload.get("target")))


def _unfinished(settings: Settings, name: str) -> Entry | None:
    """The newest decision, if it is a rollback that nobody said was finished."""
    ledger = Ledger(settings)
    newest = ledger.entries(name, DECISIVE, limit=1)
    if not newest or newest[0].kind != "rollback":
        return None
    finished = (entry.payload for entry in ledger.entries(name, ("deployment",)) if entry.payload.get("step") == _FINISHED)
    return None if any(payload.get("rollback") == newest[0].hash for payload in finished) else newest[0]


def _conclude(settings: Settings, name: str, present: Champion, outcome: _Outcome, run: Run, *, continued: bool) -> RolledBack:
    entry = _unfinished(settings, name)
    if entry is not None and not outcome.left:
        _finish(settings, name, entry, run)
    return RolledBack(present, continued, outcome.done, outcome.left)


def _finish(settings: Settings, name: str, entry: Entry, run: Run) -> None:
    payload = {"step": _FINISHED, "version": entry.payload["version"], "cutoff": entry.payload["cutoff"], "rollback": entry.hash}
    if "fingerprint" in entry.payload:
        payload["candidate"] = entry.payload["fingerprint"]
    Ledger(settings).append(name, "deployment", payload, run, key=f"rollback:{entry.hash}")
