"""The manifest of a run: for each stage, what went in, what came out, and the environment it ran in.

Operators write it (`record`), one small file a stage, so that stages of one run never write the same file; ``windtunnel replay`` and
``windtunnel diff`` read it (`load`).

.. code-block:: text

    <artifacts>/<problem>/runs/<name of the run>/<stage>.json
"""

import dataclasses
import datetime as dt
import hashlib
import json
import platform
import re
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import fsspec

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.fingerprint import canonical, code_version, fingerprint
from windtunnel.lifecycle.contract.references import Reference
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.stages import LOOP
from windtunnel.lifecycle.payload import JsonObject

__all__ = ["STAGES", "Manifest", "StageRecord", "environment", "find", "folder", "load", "record", "runs"]

STAGES = LOOP
"""The stages of a retraining run, in order."""

_LIBRARIES = ("apache-beam", "numpy", "pandas", "pyarrow", "scikit-learn", "great-expectations", "mlflow", "optuna", "skops", "treelite")


@dataclasses.dataclass(frozen=True)
class StageRecord:
    """What one stage did in one run.

    Attributes:
        stage: its name.
        inputs: name -> a reference as plain data, a fingerprint, or a parameter.
        output: the reference it handed on, as plain data.
        environment: Python, platform and library versions.
        run: who ran it.
        at: when it ended, ISO UTC.
        problem: the problem file's content at the time.
        kind: which of our stages it is, where the task was called otherwise; empty: as `stage` says.
    """

    stage: str
    inputs: dict[str, Any]
    output: JsonObject
    environment: dict[str, str]
    run: JsonObject
    at: str
    problem: JsonObject
    kind: str = ""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of what it left behind."""
        return str(self.output.get("fingerprint") or fingerprint(self.output))


@dataclasses.dataclass(frozen=True)
class Manifest:
    """All that is known of a run."""

    problem: str
    run_id: str
    stages: dict[str, StageRecord]

    @property
    def ordered(self) -> list[StageRecord]:
        """The stages, in the order of a retraining run; unknown ones after them."""
        order = {name: number for number, name in enumerate(STAGES)}
        return sorted(self.stages.values(), key=lambda entry: (order.get(entry.kind or entry.stage, len(order)), entry.stage))


def record(context: RunContext, stage: str, inputs: Mapping[str, Any], output: Reference, *, kind: str = "") -> None:
    """Write down what a stage did; a retry writes the same file again.

    Args:
        context: the run, whose it is, and where artefacts are.
        stage: one of `STAGES`, or another word.
        inputs: name -> `Reference`, window, fingerprint or parameter: everything that the output depends on besides code and the problem
            file. Give references as they are: ``{"snapshot": snapshot, "trials": trials}``.
        output: what the stage hands on.
        kind: which of our stages it is, where a DAG calls its task otherwise.
    """
    entry = StageRecord(
        stage=stage,
        inputs={name: _plain(value) for name, value in inputs.items()},
        output=output.to_dict(),
        environment=environment(),
        run=context.run.to_dict(),
        at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        # With the folder, which model_dump() leaves out: a replay imports the functions that lie there.
        problem={**context.problem.model_dump(mode="json", by_alias=True), "directory": context.problem.directory},
        kind=kind,
    )
    uri = f"{folder(context.settings, context.problem.name, context.run.run_id)}/{stage}.json"
    filesystem, path = fsspec.core.url_to_fs(uri)
    filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    body = json.dumps(dataclasses.asdict(entry), sort_keys=True, indent=1, default=str).encode()
    # Named by its content, so that two attempts at once do not write into one file; load() does not see a .tmp.
    temporary = f"{path}.{fingerprint(body.decode(), context.run.run_id)[:8]}.tmp"
    filesystem.pipe_file(temporary, body)
    filesystem.mv(temporary, path)


def load(settings: Settings, problem: str, run_id: str) -> Manifest:
    """The manifest of a run.

    Raises:
        ConfigurationError: nothing is known of it.
    """
    filesystem, path = fsspec.core.url_to_fs(folder(settings, problem, run_id))
    found = sorted(filesystem.glob(f"{path}/*.json")) if filesystem.exists(path) else []
    if not found:
        known = runs(settings, problem)
        raise ConfigurationError(
            f"nothing is recorded of run {run_id!r} of {problem}",
            hint=f"recorded runs: {', '.join(known[-10:])}" if known else f"no run of {problem} was recorded in {settings.artifacts}",
        )
    stages = {}
    for name in found:
        values = json.loads(filesystem.cat_file(name))
        stages[values["stage"]] = StageRecord(**values)
    return Manifest(problem, run_id, stages)


def find(settings: Settings, run_id: str, problem: str = "") -> Manifest:
    """The manifest of a run of whichever problem; the beginning of a run id will do if it names one run.

    Raises:
        ConfigurationError: no run or several match.
    """
    recorded = _recorded(settings, problem)
    chosen = _meant(recorded, run_id)
    if len(chosen) == 1:
        return load(settings, *chosen[0])
    what = "several runs begin" if chosen else "no run begins"
    known = [f"{name}: {known}" for name, known in (chosen or recorded)]
    raise ConfigurationError(f"{what} with {run_id!r}", hint="; ".join(known[-10:]) or f"no run is recorded in {settings.artifacts}")


def _meant(recorded: list[tuple[str, str]], run_id: str) -> list[tuple[str, str]]:
    """The runs whose id begins so; a run whose whole id was given is meant, also where other ids begin with it."""
    whole = [run for run in recorded if run[1] == run_id]
    return whole or [run for run in recorded if run[1].startswith(run_id)]


def _recorded(settings: Settings, problem: str) -> list[tuple[str, str]]:
    """Problem and run id of every run that has a manifest, of one problem or of all."""
    if problem:
        return [(problem, known) for known in runs(settings, problem)]
    filesystem, root = fsspec.core.url_to_fs(settings.need("artifacts"))
    names = sorted({path.split("/")[-2] for path in filesystem.glob(f"{root.rstrip('/')}/*/runs")})
    return [(name, known) for name in names for known in runs(settings, name)]


def runs(settings: Settings, problem: str) -> list[str]:
    """The run ids that have a manifest, oldest first by their first stage."""
    filesystem, path = fsspec.core.url_to_fs(settings.artifact_path(problem, "runs"))
    if not filesystem.exists(path):
        return []
    first: dict[str, str] = {}
    for name in filesystem.glob(f"{path}/*/*.json"):
        values = json.loads(filesystem.cat_file(name))
        # From the file, not from the folder's name, in which characters of the run id were replaced.
        run_id = values["run"]["run_id"]
        first[run_id] = min(first.get(run_id, values["at"]), values["at"])
    return sorted(first, key=lambda run_id: (first[run_id], run_id))


def folder(settings: Settings, problem: str, run_id: str) -> str:
    """Where a run's manifest is: run ids hold characters that paths may not, so they are made safe and told apart by a digest."""
    safe = re.sub(r"[^\w.-]+", "_", run_id)[:80]
    return settings.artifact_path(problem, "runs", f"{safe}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}")


def environment() -> dict[str, str]:
    """What a stage ran on, as far as it can change a result."""
    found = {"python": platform.python_version(), "platform": f"{sys.platform} {platform.machine()}", "windtunnel": code_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _plain(value: object) -> Any:
    if hasattr(value, "to_dict"):
        return value.to_dict()
    return json.loads(canonical(value))
