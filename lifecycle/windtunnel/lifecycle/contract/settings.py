"""Where things are kept and which servers are ours.

Inside Airflow these are the options of section ``[windtunnel]`` (shown by ``airflow config list --section windtunnel``); outside, the
same environment variables (``AIRFLOW__WINDTUNNEL__CATALOG_URI`` and so on) that ``windtunnel env`` prints.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.payload import JsonMapping, JsonObject

__all__ = ["PREFIX", "Settings"]

PREFIX = "AIRFLOW__WINDTUNNEL__"


@dataclass(frozen=True)
class Settings:
    """The settings that stages and jobs need.

    Attributes:
        catalog_uri: the Iceberg catalog: a SQLAlchemy URL (SQL catalog) or an http(s) URL (REST catalog).
        warehouse: where the catalog keeps data files: a path or a URL that fsspec knows.
        artifacts: where statistics, reports, features and model bundles are kept: a path or a URL that fsspec knows.
        tracking_uri: MLflow's tracking and registry server.
        ledger_uri: the ledger's database, a SQLAlchemy URL; empty means the catalog's.
        server_url: the model server's base URL.
        server_token: the bearer token for it.
        server_log: where the model server ships its prediction log as Parquet (its home's folder ``predictions``): a path or a URL.
        landing: where sources land: fills ``{landing}`` in a problem's paths.
        runner: the Beam runner: ``in-process``, or any name that Beam knows.
        runner_options: options for that runner, as on a command line.
        workers: processes of the in-process runner.
    """

    catalog_uri: str = ""
    warehouse: str = ""
    artifacts: str = ""
    tracking_uri: str = ""
    ledger_uri: str = ""
    server_url: str = ""
    server_token: str = ""
    server_log: str = ""
    landing: str = ""
    runner: str = "in-process"
    runner_options: str = ""
    workers: int = 1

    @classmethod
    def from_mapping(cls, values: JsonMapping) -> Self:
        """Settings from names and values; unknown names are refused."""
        known = {field.name: field for field in fields(cls)}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigurationError(f"unknown settings {unknown}", hint=f"known ones: {', '.join(sorted(known))}")
        try:
            workers = int(values.get("workers", 1))
        except ValueError as error:
            raise ConfigurationError(f"setting workers must be a whole number but got {values['workers']!r}") from error
        return cls(**{**values, "workers": workers})

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Settings from ``AIRFLOW__WINDTUNNEL__*`` variables.

        Example:
            >>> Settings.from_environment({"AIRFLOW__WINDTUNNEL__WORKERS": "2"}).workers
            2
        """
        environment = os.environ if environment is None else environment
        names = {field.name for field in fields(cls)}
        found = {key[len(PREFIX) :].lower(): value for key, value in environment.items() if key.startswith(PREFIX)}
        # Other names with the prefix are options of other parts, such as the scheduler's preload.
        return cls.from_mapping({key: value for key, value in found.items() if key in names})

    def need(self, name: str) -> str:
        """The value of a setting that must not be empty.

        Raises:
            ConfigurationError: says which setting is missing and how to give it.
        """
        value = str(getattr(self, name))
        if not value:
            raise ConfigurationError(
                f"the setting [windtunnel] {name} is empty",
                hint=f"set it in airflow.cfg or as {PREFIX}{name.upper()}; `windtunnel up` sets all of them",
            )
        return value

    def to_dict(self) -> JsonObject:
        """The settings as plain data, for a job's spec."""
        return asdict(self)

    def artifact_path(self, *parts: str) -> str:
        """A place under the artifact root, as one path or URL."""
        root = self.need("artifacts")
        return "/".join([root.rstrip("/"), *parts]) if "://" in root else str(Path(root, *parts))
