"""Packaging: a candidate's bundle is copied, compiled, and smoke-tested in a clean process, under load, before anything sees it."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from windtunnel.lifecycle.contract.errors import ConfigurationError, GateError, IntegrityError, JobError, WindtunnelError
from windtunnel.lifecycle.contract.fingerprint import code_version, fingerprint
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import CandidateRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.artifacts import Stage, local_copy
from windtunnel.lifecycle.model import bundle
from windtunnel.lifecycle.payload import JsonMapping, JsonObject

__all__ = ["Package", "package"]

_TIMEOUT = 300.0
_ATTEMPTS = 3
_BUSY = 1.5
_OF_THE_MOMENT = ("latency_ms", "slowdown", "load_seconds", "under_load")
"""What the smoke test measures that is no function of the bundle."""

_ERRORS: dict[str, type[WindtunnelError]] = {kind.__name__: kind for kind in (ConfigurationError, GateError, IntegrityError)}


@dataclasses.dataclass(frozen=True)
class Package:
    """A bundle made ready to serve.

    Attributes:
        uri: its folder.
        digest: its digest: another than the candidate's, because the plan is part of it.
        report: what the smoke test measured.
    """

    uri: str
    digest: str
    report: JsonObject


def package(problem: Problem, candidate: CandidateRef, settings: Settings) -> Package:
    """Copy, compile and smoke-test a candidate; the same one is packaged once, and measured each time.

    How quick it is depends on the machine and the moment, so no figure of that is kept: it is measured now, beside a calibration of this
    machine at this moment, and again before it is called too slow.

    Raises:
        GateError: a sample is answered differently, or a limit is not met.
        IntegrityError: the candidate's bundle is not the one that was trained.
    """
    serving = problem.serving
    # The size is judged once, while it is packaged, so its limit is part of the key; latencies are measured each time.
    stage = Stage(settings, problem.name, "deploy", fingerprint(candidate.digest, code_version(), serving.size_mb))
    known, first = stage.result(), None
    if known is None:
        with stage.writing() as folder:
            with local_copy(candidate.uri) as source:
                bundle.read(source, candidate.digest)
                shutil.copytree(source, folder, dirs_exist_ok=True)
            (folder / "result.json").unlink(missing_ok=True)
            report = _smoke(folder, candidate.digest, serving.latency_p99_ms, compiling=True)
            _within_limits(problem, report)
            first = {name: report.pop(name) for name in _OF_THE_MOMENT if name in report}
            stage.finish(folder, {"digest": report["digest"], "report": report})
        known = stage.result() or {}
    timed = _measured(problem, Package(stage.uri, known["digest"], known["report"]), first)
    return Package(uri=stage.uri, digest=known["digest"], report=known["report"] | timed)


def _measured(problem: Problem, ready: Package, first: JsonObject | None) -> JsonObject:
    """The figures of the moment, of the first attempt in which no limit was exceeded.

    Raises:
        GateError: a limit was exceeded in every attempt; says by how much, and how busy the machine was.
    """
    too_slow = ""
    for attempt in range(1, _ATTEMPTS + 1):
        if first is None:
            with local_copy(ready.uri) as folder:
                report = _smoke(folder, ready.digest, problem.serving.latency_p99_ms)
            first = {name: report[name] for name in _OF_THE_MOMENT if name in report}
        too_slow = _too_slow(problem, first)
        if not too_slow:
            return first | {"attempts": attempt}
        # One busy second is no verdict: the next attempt measures anew.
        first = None
    raise GateError(f"{problem.name}: {too_slow}, in each of {_ATTEMPTS} attempts", hint="a smaller model, or a larger limit")


def _smoke(folder: Path, digest: str, limit_ms: float, *, compiling: bool = False) -> JsonObject:
    """Check and measure a bundle in a process of its own, which cannot import the training environment; compile it first if asked to."""
    command = [sys.executable, "-m", "windtunnel.serving.front.smoke", str(folder), "--digest", digest, "--load-p99-ms", str(limit_ms)]
    command += ["--compile"] if compiling else []
    # A bundle that needs the training environment must fail here, not on the server.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "MLFLOW", "PYTHONPATH"))}
    # As on the server, where requests run beside each other and one thread each is quickest.
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False, env=environment)
        # The last line: what imports print stands before it.
        found: JsonObject = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired as error:
        raise GateError(f"the smoke test did not end within {_TIMEOUT:g} s") from error
    except (ValueError, IndexError) as error:
        raise JobError(f"the smoke test ended without a result (status {done.returncode}): {done.stderr.strip()[-500:]}") from error
    if "error" in found:
        raise _ERRORS.get(found["error"]["type"], GateError)(found["error"]["message"], hint=found["error"]["hint"])
    return found


def _too_slow(problem: Problem, figures: JsonMapping) -> str:
    """Which limit is exceeded by more than this machine was slowed down, in words; empty if none is."""
    slowdown = max(float(figures.get("slowdown") or 1.0), 1.0)
    limits = [("p99", problem.serving.latency_p99_ms, "serving.latency_p99_ms")]
    limits += [
        (gate.metric.removeprefix("latency_").removesuffix("_ms"), gate.at_most, f"the gate on {gate.metric}")
        for gate in problem.gates
        if gate.metric.startswith("latency_") and gate.at_most is not None
    ]
    loaded = figures.get("under_load") or {}
    sources = [("one row", figures["latency_ms"]), (f"a request of {loaded.get('clients', 0)} clients at once", loaded)]
    for name, limit, field in limits:
        for what, measured in sources:
            value = measured.get(name, 0.0)
            if value / slowdown > limit:
                text = f"{what} takes {value:.2f} ms ({name}) but {field} is {limit:g}"
                return f"{text}; the machine was {slowdown:.1f} times slower than it can be" if slowdown > _BUSY else text
    return ""


def _within_limits(problem: Problem, report: JsonMapping) -> None:
    if report["size_mb"] > problem.serving.size_mb:
        raise GateError(f"{problem.name}: the bundle has {report['size_mb']:.1f} MB but serving.size_mb is {problem.serving.size_mb:g}")
    if report["foreign"]:
        raise GateError(f"{problem.name}: serving it imports {report['foreign']}, which a server does not have")
