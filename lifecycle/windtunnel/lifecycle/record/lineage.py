"""Lineage, both ways: from a version to all that it was made from, and from a snapshot or a day of data to the versions it went into.

Everything is read from the ledger's registrations, which carry the bundle's own lineage, so one query answers.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.expiry import expired
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.lifecycle.record import manifest
from windtunnel.lifecycle.record.ledger import DECISIVE, Entry, Ledger
from windtunnel.lifecycle.record.manifest import StageRecord

__all__ = ["Lineage", "models_of", "of_version"]


@dataclasses.dataclass(frozen=True)
class Lineage:
    """Where a version comes from, and what became of it.

    Attributes:
        problem: whose.
        version: its number in MLflow.
        semantic: its semantic version, and why that.
        cutoff: its data cut-off.
        data: table, snapshot, window and fingerprint.
        code: versions of libraries, parameters, fingerprints of features and problem.
        run: MLflow's run and Airflow's run.
        people: who owns the problem, who triggered the run and who approved the version.
        sources: format and place of the raw rows, and how many were good and how many quarantined; empty if the run left no manifest.
        suite: the Great Expectations suite, how many expectations were evaluated and not met; empty likewise.
        evidence: the ledger entries about it, oldest first.
        periods: when it was in production: pairs of ISO times, the last may be open.
        expired: what it left behind and housekeeping removed, a line each: when, and by which rule.
    """

    problem: str
    version: str
    semantic: str
    cutoff: str
    data: JsonObject
    code: JsonObject
    run: dict[str, object]
    people: dict[str, str]
    sources: JsonObject
    suite: JsonObject
    evidence: list[Entry]
    periods: list[tuple[str, str | None]]
    expired: list[str] = dataclasses.field(default_factory=list)


_DATA = ("table", "snapshot_id", "start", "end", "snapshot")


def of_version(settings: Settings, problem: str, version: str = "") -> Lineage:
    """The lineage of a version; the champion's if none is given.

    Raises:
        ConfigurationError: there is no such version.
    """
    ledger = Ledger(settings)
    everything = ledger.entries(problem)
    decisive = [entry for entry in everything if entry.kind in DECISIVE]
    wanted = version or _newest_version(decisive)
    # The first one: later ones only say that the same version was judged anew.
    first = _first_registration(problem, everything, wanted)
    lineage = first.payload.get("lineage") or {}
    stages = _stages(settings, problem, str(first.run.get("run_id", "")))
    owner, sources, suite = _before_training(stages)
    about = [entry for entry in everything if _about(entry, wanted, first.payload["fingerprint"])]
    return Lineage(
        problem=problem,
        version=wanted,
        semantic=f"{first.payload['semantic']} ({first.payload['reason']})",
        cutoff=str(first.payload["cutoff"]),
        data={name: lineage.get(name) for name in _DATA},
        code=_without(lineage, _DATA),
        run={"mlflow": first.payload["run_id"], "airflow": first.run.get("run_id"), "dag": first.run.get("dag_id")},
        people={"owner": owner, "triggered": str(first.run.get("by") or ""), "approved": str(first.payload["approved_by"])},
        sources=sources,
        suite=suite,
        evidence=about,
        periods=_periods(decisive, wanted),
        expired=_expired(settings, problem, first.payload),
    )


def _newest_version(decisive: Sequence[Entry]) -> str:
    return str(decisive[-1].payload["version"]) if decisive else ""


def _first_registration(problem: str, entries: Sequence[Entry], version: str) -> Entry:
    registrations = [entry for entry in entries if entry.kind == "register"]
    for entry in registrations:
        if str(entry.payload["version"]) == version:
            return entry
    # By length first: versions are numbers in text, and 10 comes after 9.
    known = sorted({str(entry.payload["version"]) for entry in registrations}, key=lambda text: (len(text), text))
    raise ConfigurationError(
        f"{problem} has no registered version {version}" if version else f"{problem} has no champion",
        hint=f"registered: {', '.join(known) or 'none'}",
    )


def models_of(settings: Settings, problem: str = "", *, snapshot: str = "", day: str = "") -> list[JsonObject]:
    """The versions that a snapshot, or the rows of a day, went into.

    Args:
        settings: where the ledger is.
        problem: only this problem's; empty for all.
        snapshot: an Iceberg snapshot id, or a snapshot's fingerprint.
        day: an ISO date: versions whose training window holds it.
    """
    found = []
    for entry in Ledger(settings).entries(problem or None, ("register",)):
        lineage = entry.payload.get("lineage") or {}
        if snapshot and snapshot not in {str(lineage.get("snapshot_id")), str(lineage.get("snapshot"))}:
            continue
        # Without a window nothing fits: every date is below "9".
        if day and not str(lineage.get("start", "9")) <= day < str(lineage.get("end", "")):
            continue
        known = {name: entry.payload[name] for name in ("version", "semantic", "cutoff", "digest")}
        row = {"problem": entry.problem, **known, "snapshot_id": lineage.get("snapshot_id")}
        # A version that was registered again is still one version.
        if row not in found:
            found.append(row)
    return found


def _without(values: JsonMapping, names: Sequence[str]) -> JsonObject:
    return {name: value for name, value in values.items() if name not in names}


def _expired(settings: Settings, problem: str, payload: JsonMapping) -> list[str]:
    if not settings.artifacts:
        return []
    number = (payload.get("lineage") or {}).get("snapshot_id")
    places = {
        "bundle": str(payload["uri"]),
        "evaluation": str((payload.get("evaluation") or {}).get("uri") or ""),
        "data version": settings.artifact_path(problem, "snapshots", str(number)),
    }
    notes = {what: expired(place) for what, place in places.items() if place}
    return [f"its {what} expired on {str(note['at'])[:10]} by the rule {note['rule']}" for what, note in notes.items() if note]


def _stages(settings: Settings, problem: str, run_id: str) -> Mapping[str, StageRecord]:
    try:
        return manifest.load(settings, problem, run_id).stages if settings.artifacts else {}
    except ConfigurationError:
        return {}


def _before_training(stages: Mapping[str, StageRecord]) -> tuple[str, JsonObject, JsonObject]:
    """Owner, sources and suite, as the version's own run recorded them."""
    owner, sources, suite = "", dict[str, Any](), dict[str, Any]()
    if "ingest" in stages:
        record = stages["ingest"]
        owner = str(record.problem.get("owner", ""))
        given = record.problem.get("source") or {}
        sources = {name: given[name] for name in ("format", "path", "table", "query", "connection", "generator") if given.get(name)}
        sources |= {"rows": record.output.get("rows"), "quarantined": record.output.get("quarantined")}
    if "validate" in stages:
        record = stages["validate"]
        found = {name: record.output.get(name) for name in ("success", "evaluated", "unsuccessful", "docs")}
        suite = {"suite": record.problem.get("suite") or "none", **found}
    return owner, sources, suite


def _about(entry: Entry, version: str, candidate: str) -> bool:
    payload = entry.payload
    return str(payload.get("version")) == version or str(payload.get("from")) == version or payload.get("candidate") == candidate


def _periods(decisive: list[Entry], version: str) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    for entry, after in zip(decisive, [*decisive[1:], None], strict=True):
        if str(entry.payload["version"]) == version:
            found.append((entry.at, after.at if after else None))
    return found
