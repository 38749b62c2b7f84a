"""Packaging: a candidate's bundle is copied, compiled, and smoke-tested in a clean process, under load, before anything sees it."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from windtunnel.lifecycle.contract.errors import ConfigurationError, GateError, IntegrityError, JobError, WindtunnelError
from windtunnel.lifecycle.contract.fingerprint import code_version, fingerprint
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import CandidateRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.artifacts import Stage, local_copy
from windtunnel.lifecycle.model import bundle

__all__ = ["Package", "package"]

_TIMEOUT = 300.0
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
    report: dict[str, Any]


def package(problem: Problem, candidate: CandidateRef, settings: Settings) -> Package:
    """Copy, compile and smoke-test a candidate; the same one is packaged once.

    Raises:
        GateError: a sample is answered differently, or a limit is not met.
        IntegrityError: the candidate's bundle is not the one that was trained.
    """
    serving = problem.serving
    stage = Stage(settings, problem.name, "deploy", fingerprint(candidate.digest, code_version(), serving.latency_p99_ms, serving.size_mb))
    known = stage.result()
    if known is None:
        with stage.writing() as folder:
            with local_copy(candidate.uri) as source:
                bundle.read(source, candidate.digest)
                shutil.copytree(source, folder, dirs_exist_ok=True)
            (folder / "result.json").unlink(missing_ok=True)
            report = _smoke(folder, candidate.digest, serving.latency_p99_ms)
            _within_limits(problem, report)
            stage.finish(folder, {"digest": report["digest"], "report": report})
        known = stage.result() or {}
    return Package(uri=stage.uri, digest=known["digest"], report=known["report"])


def _smoke(folder: Path, digest: str, limit_ms: float) -> dict[str, Any]:
    """Compile and check a bundle in a process of its own, which cannot import the training environment."""
    command = [
        sys.executable,
        "-m",
        "windtunnel.serving.front.smoke",
        str(folder),
        "--digest",
        digest,
        "--compile",
        "--load-p99-ms",
        str(limit_ms),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "MLFLOW", "PYTHONPATH"))}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False, env=environment)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired as error:
        raise GateError(f"the smoke test did not end within {_TIMEOUT:g} s") from error
    except (ValueError, IndexError) as error:
        raise JobError(f"the smoke test ended without a result (status {done.returncode}): {done.stderr.strip()[-500:]}") from error
    if "error" in found:
        raise _ERRORS.get(found["error"]["type"], GateError)(found["error"]["message"], hint=found["error"]["hint"])
    return found


def _within_limits(problem: Problem, report: Mapping[str, Any]) -> None:
    limit = problem.serving.latency_p99_ms
    loaded = report.get("under_load") or {}
    for what, figures in (("one row", report["latency_ms"]), (f"a request of {loaded.get('clients', 0)} clients at once", loaded)):
        if figures.get("p99", 0.0) > limit:
            raise GateError(
                f"{problem.name}: {what} takes {figures['p99']:.2f} ms (p99) but serving.latency_p99_ms is {limit:g}",
                hint="a smaller model, or a larger limit",
            )
    if report["size_mb"] > problem.serving.size_mb:
        raise GateError(f"{problem.name}: the bundle has {report['size_mb']:.1f} MB but serving.size_mb is {problem.serving.size_mb:g}")
    if report["foreign"]:
        raise GateError(f"{problem.name}: serving it imports {report['foreign']}, which a server does not have")
