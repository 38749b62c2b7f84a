"""What ``airflow providers`` and ``airflow config`` know of Windtunnel.

Airflow reads this at the start of every process, so it imports nothing but the standard library and the list of stages.
"""

from importlib import metadata
from typing import Any

from windtunnel.lifecycle.contract.stages import STAGES
from windtunnel.lifecycle.payload import JsonObject

__all__ = ["get_provider_info"]

_OPTIONS: dict[str, tuple[str, str]] = {
    "catalog_uri": ("The Iceberg catalog: a SQLAlchemy URL (SQL catalog) or an http(s) URL (REST catalog).", ""),
    "warehouse": ("Where the catalog keeps data files: a path, or a URL that fsspec knows.", ""),
    "artifacts": ("Where statistics, reports, features and model bundles are kept: a path, or a URL that fsspec knows.", ""),
    "tracking_uri": ("MLflow's tracking and registry server.", ""),
    "ledger_uri": ("The database of the ledger of decisions, a SQLAlchemy URL; empty means the catalog's.", ""),
    "server_url": ("The model server's base URL, where the connection windtunnel_server does not say it.", ""),
    "server_log": ("The folder or URL where the model server ships its prediction log as Parquet: its home's folder predictions.", ""),
    "landing": ("The folder or URL where sources land: fills {landing} in the paths of problem files.", ""),
    "runner": ("The Beam runner: in-process, or any name that Beam knows.", "in-process"),
    "runner_options": ("Options for that runner, as on a command line.", ""),
    "workers": ("Processes of the in-process runner.", "1"),
    "preload": (
        "Modules that `python -m windtunnel.cli.instance.scheduler` imports before it starts, separated by commas; none for none.",
        "",
    ),
}


_LABEL = "Windtunnel"

_CONNECTION: dict[str, Any] = {
    "connection-type": "windtunnel",
    "hook-class-name": "windtunnel.operators.hook.WindtunnelHook",
    "hook-name": "Windtunnel model server",
    "ui-field-behaviour": {
        "hidden-fields": ["login", "extra"],
        "relabeling": {"host": "Server", "password": "Bearer token", "schema": "Scheme"},
        "placeholders": {"host": "127.0.0.1, or https://models.example.org", "port": "8600", "schema": "http"},
    },
}
"""The form of a connection of ours, shown without importing the hook."""


def get_provider_info() -> JsonObject:
    """Airflow's provider metadata (schema ``provider_info.schema.json``)."""
    version = metadata.version("windtunnel")
    modules = [row.module for row in STAGES] + ["windtunnel.operators.stages.retrain", "windtunnel.operators.dags.housekeeping"]
    return {
        "package-name": "windtunnel",
        "name": _LABEL,
        "description": "Schedules the whole life of a machine-learning model as ordinary DAGs.",
        "versions": [version],
        "integrations": [{"integration-name": _LABEL, "tags": ["software"]}],
        "operators": [{"integration-name": _LABEL, "python-modules": modules}],
        "hooks": [{"integration-name": _LABEL, "python-modules": ["windtunnel.operators.hook"]}],
        "connection-types": [_CONNECTION],
        "extra-links": sorted({f"windtunnel.operators.telling.links.{row.link}" for row in STAGES}),
        "notifications": ["windtunnel.operators.telling.alerts.ProblemNotifier", "windtunnel.operators.telling.alerts.LogNotifier"],
        "asset-uris": [{"schemes": ["windtunnel"], "handler": None}],
        "plugins": [{"name": "windtunnel", "plugin-class": "windtunnel.plugins.plugin.WindtunnelPlugin"}],
        "config": {
            "windtunnel": {
                "description": "Where Windtunnel keeps things, and which servers it uses.",
                "options": {
                    name: {
                        "description": description,
                        "version_added": "0.1.0",
                        "type": "integer" if name == "workers" else "string",
                        "example": None,
                        "default": default,
                        **({"sensitive": True} if name in {"catalog_uri", "ledger_uri"} else {}),
                    }
                    for name, (description, default) in _OPTIONS.items()
                },
            }
        },
    }
