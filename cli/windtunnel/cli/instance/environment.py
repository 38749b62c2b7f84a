"""The environment variables that make Airflow, MLflow and our own commands work against one instance."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.cli.instance.credentials import Credentials
from windtunnel.cli.instance.layout import HOME_VARIABLE, Layout
from windtunnel.cli.instance.ports import LOOPBACK
from windtunnel.lifecycle.contract.settings import PREFIX, Settings

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

__all__ = ["ADMIN", "KNOBS", "OFFLINE", "SHELL", "instance_environment", "loopback_without_proxy", "settings_of"]

ADMIN = "admin"

# Nothing phones home.
OFFLINE = {
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "DO_NOT_TRACK": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "SCARF_ANALYTICS": "false",
}

# Tuned for a machine of few cores and short tasks; whoever sets one of these in the shell keeps the own value.
KNOBS = {
    "AIRFLOW__API__WORKERS": "1",
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__PARALLELISM": "8",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "15",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
    "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
    "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "True",
    "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    # Tasks run side by side, and libraries that are loaded before a fork must not have started threads.
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}

# Merged with what the shell says, so different between shells.
SHELL = ("PATH", "no_proxy", "NO_PROXY")


def settings_of(layout: Layout, ports: Mapping[str, int], database: "URL", token: str = "") -> Settings:
    """The settings of section ``[windtunnel]`` for an instance."""
    return Settings(
        catalog_uri=_render(database, "catalog"),
        warehouse=str(layout.warehouse),
        artifacts=str(layout.artifacts),
        tracking_uri=f"http://{LOOPBACK}:{ports['mlflow']}",
        ledger_uri=_render(database, "catalog"),
        server_url=f"http://{LOOPBACK}:{ports['server']}",
        server_token=token,
        server_log=str(layout.server / "predictions"),
        landing=str(layout.landing),
    )


def instance_environment(layout: Layout, ports: Mapping[str, int], database: "URL", credentials: Credentials, dags: Path) -> dict[str, str]:
    """Everything that has one value only for this instance; knobs come apart from it, see `KNOBS`.

    The model server's token is no Airflow setting (``airflow config`` shows those): it sits in the connection ``windtunnel_server``.
    """
    airflow = f"http://{LOOPBACK}:{ports['airflow']}"
    settings = settings_of(layout, ports, database)
    names = ("catalog_uri", "warehouse", "artifacts", "tracking_uri", "ledger_uri", "server_url", "server_log", "landing")
    bundle = [{"name": "windtunnel", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {"path": str(dags)}}]
    connection = {
        "conn_type": "http",
        "host": settings.server_url,
        "password": credentials.token,
        "extra": {"grpc": f"{LOOPBACK}:{ports['server_grpc']}"},
    }
    return {
        **OFFLINE,
        HOME_VARIABLE: str(layout.home),
        "AIRFLOW_HOME": str(layout.airflow),
        "AIRFLOW__API_AUTH__JWT_SECRET": credentials.jwt_secret,
        "AIRFLOW__API__BASE_URL": airflow,
        "AIRFLOW__API__HOST": LOOPBACK,
        "AIRFLOW__API__PORT": str(ports["airflow"]),
        "AIRFLOW__API__SECRET_KEY": credentials.session_key,
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{airflow}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__FERNET_KEY": credentials.fernet_key,
        # else whoever reaches the port is an admin, without a password
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(layout.airflow / "passwords.json"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundle),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": _render(database, "airflow"),
        **{f"{PREFIX}{name.upper()}": str(getattr(settings, name)) for name in names},
        "AIRFLOW_CONN_WINDTUNNEL_SERVER": json.dumps(connection),
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "WINDTUNNEL_SERVER_URL": settings.server_url,
        "WINDTUNNEL_SERVER_GRPC": f"{LOOPBACK}:{ports['server_grpc']}",
        "WINDTUNNEL_TOKEN": credentials.token,
        "PATH": _path(),
        **loopback_without_proxy(),
    }


def loopback_without_proxy() -> dict[str, str]:
    """``no_proxy`` with the loopback interface: a proxy for the world outside cannot reach our services."""
    known = [host.strip() for host in (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").split(",") if host.strip()]
    value = ",".join([*known, *(host for host in (LOOPBACK, "localhost") if host not in known and "*" not in known)])
    return {"no_proxy": value, "NO_PROXY": value}


def _path() -> str:
    """``PATH`` with the folder of this Python's commands first."""
    own = str(Path(sys.executable).parent)
    others = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder and folder != own]
    return os.pathsep.join([own, *others])


def _render(database: "URL", name: str) -> str:
    url, mark, query = database.set(database=name).render_as_string(hide_password=False).partition("?")
    # SQLAlchemy escapes the slashes of a socket's folder; libpq, Airflow and MLflow take both, people read this one.
    return url + mark + query.replace("%2F", "/")
