"""What must stay, whatever its age: all that a version in use, a waiting decision, a running task or a replay may ask for.

The roots are

- the champion, and who was champion before it, which a rollback may need;
- the challenger and every version with an alias (``asof-DATE``) in MLflow;
- the newest versions, as many as ``retention.versions`` says;
- candidates whose decision waits;
- every run of which a stage ended within ``retention.replay_days``: that covers runs that are under way.

From each the ledger's entries and the run's manifest lead to everything that went in and came out.
"""

import dataclasses
import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Any

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.lifecycle.record import manifest
from windtunnel.lifecycle.record.champion import aliases
from windtunnel.lifecycle.record.ledger import DECISIVE, Entry, Ledger
from windtunnel.lifecycle.release.decisions import waiting

__all__ = ["Needs", "needs_of"]


@dataclasses.dataclass
class Needs:
    """What must stay.

    Attributes:
        versions: numbers of versions that are in use.
        artefacts: ``STAGE/FINGERPRINT`` below the problem's folder.
        snapshots: ``(table, snapshot id)``.
        runs: MLflow's run ids.
    """

    versions: set[str] = dataclasses.field(default_factory=set)
    artefacts: set[str] = dataclasses.field(default_factory=set)
    snapshots: set[tuple[str, int]] = dataclasses.field(default_factory=set)
    runs: set[str] = dataclasses.field(default_factory=set)

    def add(self, values: Any, root: str) -> None:
        """Take in whatever some plain data names.

        Args:
            values: a ledger entry's payload, a manifest's inputs or outputs.
            root: the problem's folder of artefacts.
        """
        for found in _nested(values):
            if "snapshot_id" in found and "table" in found:
                self.snapshots.add((str(found["table"]), int(found["snapshot_id"] or 0)))
            for name, value in found.items():
                if isinstance(value, str) and value:
                    self._add_text(name, value, root)

    def _add_text(self, name: str, value: str, root: str) -> None:
        if name == "run_id":
            self.runs.add(value)
        elif value.startswith(f"{root}/"):
            self.artefacts.add("/".join(value.removeprefix(f"{root}/").split("/")[:2]))
        elif name in {"fingerprint", "candidate", "evaluation"}:
            # A fingerprint does not say whose it is, so it is kept for every stage.
            self.artefacts |= {f"{stage}/{value}" for stage in _STAGES}


_STAGES = ("profile", "validate", "preprocess", "tune", "train", "evaluate", "deploy", "predict")


def needs_of(problem: Problem, settings: Settings, now: dt.datetime) -> Needs:
    """What a problem still needs.

    Raises:
        UnavailableError: the ledger or MLflow is out of reach: then nobody knows, and nothing may go.
    """
    ledger, found, root = Ledger(settings), Needs(), settings.artifact_path(problem.name)
    registrations = ledger.entries(problem, ("register",))
    found.versions = _in_use(problem, settings, ledger, registrations)
    # A waiting candidate is not registered yet: its question, and its run's manifest, say what it needs.
    mine = [*(e for e in registrations if str(e.payload["version"]) in found.versions), *waiting(ledger, problem.name)]
    for entry in [*mine, *_about(ledger, problem, found.versions)]:
        found.add(entry.payload, root)
    runs = {str(entry.run.get("run_id") or "") for entry in mine}
    since = (now - dt.timedelta(days=problem.retention.replay_days)).isoformat()
    _add_manifests(found, problem, settings, runs, since)
    return found


def _add_manifests(found: Needs, problem: Problem, settings: Settings, runs: set[str], since: str) -> None:
    """What went in and came out of these runs, and of all of which a stage ended since."""
    root = settings.artifact_path(problem.name)
    for run_id in manifest.runs(settings, problem.name):
        known = manifest.load(settings, problem.name, run_id)
        if run_id in runs or max(stage.at for stage in known.stages.values()) >= since:
            for stage in known.stages.values():
                found.add([stage.inputs, stage.output], root)


def _in_use(problem: Problem, settings: Settings, ledger: Ledger, registrations: list[Entry]) -> set[str]:
    decisive = [str(entry.payload["version"]) for entry in ledger.entries(problem, DECISIVE)]
    newest = [str(entry.payload["version"]) for entry in registrations]
    last = list(dict.fromkeys(reversed(newest)))[: problem.retention.versions]
    before = list(dict.fromkeys(reversed(decisive)))[:2]
    return {*last, *before, *(set(aliases(settings, problem.name).values()) if registrations else ())}


def _about(ledger: Ledger, problem: Problem, versions: Iterable[str]) -> list[Entry]:
    entries = ledger.entries(problem, ("promotion", "rollback", "deployment"))
    return [entry for entry in entries if str(entry.payload.get("version")) in set(versions)]


def _nested(values: Any) -> Iterator[JsonObject]:
    if isinstance(values, dict):
        yield values
        for value in values.values():
            yield from _nested(value)
    elif isinstance(values, list):
        for value in values:
            yield from _nested(value)
