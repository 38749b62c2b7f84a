"""What differs between two runs, and why: a change of anything changes everything after it, and this names where it began."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from windtunnel.lifecycle.payload import JsonObject
from windtunnel.lifecycle.record.manifest import Manifest, StageRecord

__all__ = ["Difference", "StageComparison", "compare", "differences"]

_PLACES = frozenset({"uri", "report", "docs", "run_id", "url", "entry", "new", "version", "snapshot_id", "reasons"})
"""Fields of references that say where something is, or say in words what other fields say in figures."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """One thing that differs.

    Attributes:
        kind: ``data``, ``code``, ``parameters``, ``environment`` or ``upstream``.
        what: its name, such as ``features.numeric``.
        before: its value in the first run.
        after: its value in the second.
    """

    kind: str
    what: str
    before: Any
    after: Any

    def __str__(self) -> str:
        changed = f": {_short(self.before)} -> {_short(self.after)}" if (self.before, self.after) != ("", "") else ""
        return f"{self.kind}: {self.what}{changed}"


@dataclasses.dataclass(frozen=True)
class StageComparison:
    """One stage of two runs.

    Attributes:
        stage: its name.
        same: whether it left the same behind.
        before: its fingerprint in the first run, or empty if it did not run.
        after: and in the second.
        causes: what differs in what went in.
        outcome: figures that differ in what came out.
    """

    stage: str
    same: bool
    before: str
    after: str
    causes: list[Difference]
    outcome: list[Difference]


def compare(before: Manifest, after: Manifest) -> list[StageComparison]:
    """Every stage of two runs, in order."""
    found: list[StageComparison] = []
    differing: set[str] = set()
    for name in dict.fromkeys(record.stage for run in (before, after) for record in run.ordered):
        one, other = before.stages.get(name), after.stages.get(name)
        if one is None or other is None:  # a stage that only one of the runs had
            found.append(StageComparison(name, False, one.fingerprint if one else "", other.fingerprint if other else "", [], []))
            continue
        compared = _compared(one, other, frozenset(differing))
        found.append(compared)
        if not compared.same:
            # Both: the next stage of each run names what its own run left.
            differing |= {one.fingerprint, other.fingerprint}
    return found


def _compared(one: StageRecord, other: StageRecord, upstream: frozenset[str]) -> StageComparison:
    outcome = _fields(_content(one.output), _content(other.output), "outcome")
    same = one.fingerprint == other.fingerprint and not outcome
    causes = [] if same else differences(one, other, upstream)
    return StageComparison(one.stage, same, one.fingerprint, other.fingerprint, causes, outcome)


def differences(one: StageRecord, other: StageRecord, upstream: frozenset[str] = frozenset()) -> list[Difference]:
    """What differs in what went into a stage: its inputs, the problem file, the code and the libraries.

    Args:
        one: the stage in the first run.
        other: in the second.
        upstream: fingerprints of earlier stages that differ: an input with one of them is a consequence, not a cause.
    """
    found: list[Difference] = []
    for name in sorted(set(one.inputs) | set(other.inputs)):
        found += _input_differences(name, one.inputs.get(name), other.inputs.get(name), upstream)
    # The folder is another on every machine, and nothing depends on it.
    here, there = ({key: value for key, value in record.problem.items() if key != "directory"} for record in (one, other))
    found += _fields(here, there, "parameters", "problem")
    for name in sorted(set(one.environment) | set(other.environment)):
        a, b = one.environment.get(name), other.environment.get(name)
        if a != b:
            found.append(Difference("code" if name == "windtunnel" else "environment", name, a, b))
    return found


def _input_differences(name: str, a: Any, b: Any, upstream: frozenset[str]) -> list[Difference]:
    """What differs in one input: a reference to what another stage left, a group of parameters, or a single value."""
    if not (isinstance(a, Mapping) and isinstance(b, Mapping)):
        return [Difference("parameters", name, a, b)] if a != b else []
    # References say their kind, windows their start; what has neither is a group of parameters.
    if "kind" not in a:
        return _fields(a, b, "data" if "start" in a else "parameters", name)
    if _content(a) == _content(b):
        return []
    consequence = {str(a.get("fingerprint")), str(b.get("fingerprint"))} & upstream
    # Data comes in by the snapshot: a difference there that no stage before it explains is one of the data.
    kind = "data" if a["kind"] == "snapshot" and not consequence else "upstream"
    return [Difference(kind, name, a.get("fingerprint"), b.get("fingerprint"))]


def _content(reference: Mapping[str, object]) -> JsonObject:
    return {key: value for key, value in reference.items() if key not in _PLACES}


def _fields(one: Mapping[str, object], other: Mapping[str, object], kind: str, where: str = "") -> list[Difference]:
    found: list[Difference] = []
    for name in sorted(set(one) | set(other)):
        path = f"{where}.{name}" if where else name
        a, b = one.get(name), other.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += _fields(a, b, kind, path)
        elif a != b:
            found.append(Difference(kind, path, a, b))
    return found


def _short(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # a line's worth
