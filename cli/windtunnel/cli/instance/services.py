"""The services of an instance: how each is started, and how one sees that it is well."""

import hashlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.cli.instance.environment import KNOBS, SHELL
from windtunnel.cli.instance.layout import Layout
from windtunnel.cli.instance.ports import LOOPBACK
from windtunnel.lifecycle.contract import calls
from windtunnel.lifecycle.contract.errors import WindtunnelError
from windtunnel.lifecycle.contract.fingerprint import fingerprint

if TYPE_CHECKING:
    from windtunnel.lifecycle.payload import JsonObject

__all__ = ["AIRFLOW", "SERVICES", "Service", "airflow_health", "answers", "definitions"]

AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer")
SERVICES = ("postgres", "mlflow", "server", *AIRFLOW)

# What Airflow calls its parts in its health report.
_REPORTED = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}


@dataclass(frozen=True)
class Service:
    """A program to run.

    Attributes:
        name: as in ``windtunnel logs NAME``.
        command: program and arguments.
        environment: what it needs beside the caller's environment.
        url: answers with status 200 when the service is well; empty if it has none.
        code: of our packages that the service keeps loaded, the digest.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    url: str = ""
    code: str = ""

    @property
    def fingerprint(self) -> str:
        """Changes when a running process must be replaced; knobs, which differ between shells, do not count."""
        environment = {name: value for name, value in self.environment.items() if name not in KNOBS and name not in SHELL}
        return fingerprint({"command": list(self.command), "environment": environment, "code": self.code})


def definitions(layout: Layout, ports: Mapping[str, int], environment: Mapping[str, str], mlflow_database: str) -> dict[str, Service]:
    """All services but PostgreSQL."""
    airflow = (sys.executable, "-m", "airflow")
    # Tasks speak to the execution API, which is built when it is first asked: four seconds that no task should wait.
    api = _url(ports["airflow"], "/execution/health")
    mlflow = (
        *(sys.executable, "-m", "mlflow", "server"),
        *("--host", LOOPBACK, "--port", str(ports["mlflow"]), "--workers", "1"),
        *("--artifacts-destination", str(layout.mlflow)),
    )
    server = (
        *(sys.executable, "-m", "windtunnel.serving"),
        *("--home", str(layout.server), "--host", LOOPBACK),
        *("--port", str(ports["server"]), "--grpc-port", str(ports["server_grpc"])),
    )
    loaded = _code("plugins", "operators")
    found = [
        Service("mlflow", mlflow, {**environment, "MLFLOW_BACKEND_STORE_URI": mlflow_database}, _url(ports["mlflow"], "/health")),
        Service("server", server, environment, _url(ports["server"], "/v2/health/live"), _code("serving")),
        Service("api-server", (*airflow, "api-server"), environment, api, loaded),
        Service("scheduler", (sys.executable, "-m", "windtunnel.cli.instance.scheduler"), environment, code=loaded),
        Service("dag-processor", (*airflow, "dag-processor"), environment, code=loaded),
        Service("triggerer", (*airflow, "triggerer", "--skip-serve-logs"), environment, code=loaded),
    ]
    return {service.name: service for service in found}


def answers(url: str, timeout: float = 10.0) -> bool:
    """Whether a GET gives status 200."""
    try:
        return calls.call(url, patience=timeout).status_code == HTTPStatus.OK
    except WindtunnelError:
        return False


def airflow_health(port: int, started: Mapping[str, float], timeout: float = 5.0) -> dict[str, bool]:
    """Which parts of Airflow are well, as the api-server reports them; all are not while it does not answer.

    Args:
        port: of the api-server.
        started: when each part was started (seconds since 1970): an earlier heartbeat is of a process that is gone.
        timeout: seconds to wait for the report.
    """
    try:
        answer = calls.call(_url(port, "/api/v2/monitor/health"), patience=timeout)
        report: JsonObject = {} if answer.is_error else answer.json()
    except (WindtunnelError, ValueError):
        return dict.fromkeys(AIRFLOW, False)
    well = {"api-server": report.get("metadatabase", {}).get("status") == "healthy"}
    for name, reported in _REPORTED.items():
        part = report.get(reported) or {}
        beat = part.get(f"latest_{reported}_heartbeat")
        fresh = beat is not None and datetime.fromisoformat(beat).timestamp() >= started.get(name, 0.0)
        well[name] = part.get("status") == "healthy" and fresh
    return well


def _code(*packages: str) -> str:
    """Changes with the source of our packages: a process that has them loaded must then be replaced."""
    digest = hashlib.sha256(metadata.version("windtunnel").encode())
    for package in packages:
        spec = importlib.util.find_spec(f"windtunnel.{package}")
        for folder in sorted((spec and spec.submodule_search_locations) or []):
            for file in sorted(Path(folder).rglob("*.py")):
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _url(port: int, path: str) -> str:
    return f"http://{LOOPBACK}:{port}{path}"
