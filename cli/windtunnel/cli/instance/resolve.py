"""Which instance a command is about: one answer for all commands.

1. ``--home DIR``: the embedded instance there;
2. settings in the environment: ``AIRFLOW__WINDTUNNEL__*`` (as ``windtunnel env`` prints them), or section ``[windtunnel]`` of the file that
   ``AIRFLOW_CONFIG`` names or that lies in ``AIRFLOW_HOME``;
3. ``WINDTUNNEL_HOME``: the embedded instance there;
4. the embedded instance ``.windtunnel`` of this folder or of the nearest folder above it.

An instance's settings are taken whole: only what names no place (``runner``, ``workers``, ...) is mixed with the environment's.
"""

import argparse
import configparser
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from windtunnel.cli.instance.environment import loopback_without_proxy
from windtunnel.cli.instance.instance import Instance
from windtunnel.cli.instance.layout import HOME_VARIABLE, home_folder
from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.settings import PREFIX, Settings

__all__ = ["add_home", "command_settings", "resolve_settings"]

_PLACES = ("catalog_uri", "ledger_uri", "artifacts", "warehouse", "tracking_uri", "server_url")
"""Settings that say where an instance is: one of them in the environment means that the environment is meant."""

_HOME_HELP = f"the instance's folder (default: the settings in the environment, {HOME_VARIABLE}, or .windtunnel here or in a folder above)"


def add_home(parser: argparse.ArgumentParser) -> None:
    """The option ``--home`` of a command that asks an instance."""
    parser.add_argument("--home", metavar="DIR", help=_HOME_HELP)


def command_settings(arguments: argparse.Namespace) -> Settings:
    """The settings of the instance that a command is about."""
    return resolve_settings(getattr(arguments, "home", None))


def resolve_settings(home: str | Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of the instance that is meant (see the module's text for the order).

    Args:
        home: the folder of an embedded instance; it goes before everything.
        environment: instead of this process's.

    Raises:
        ConfigurationError: there is none; the message says where was looked and what to do.

    Example:
        >>> resolve_settings(environment={"AIRFLOW__WINDTUNNEL__ARTIFACTS": "/data/artifacts"}).artifacts
        '/data/artifacts'
    """
    environment = os.environ if environment is None else environment
    around = _of_environment(environment)
    if home is None and any(getattr(around, name) for name in _PLACES):
        return around
    folder = home_folder(home, environment)
    instance = Instance(folder)
    if not instance.is_known:
        raise ConfigurationError(
            f"no instance in {folder}, and no settings {PREFIX}* in the environment",
            hint="start one with `windtunnel up`, or name its folder: --home DIR",
            home=str(folder),
        )
    os.environ.update(loopback_without_proxy())
    return _overlaid(instance.settings(), around)


def _of_environment(environment: Mapping[str, str]) -> Settings:
    """What variables and Airflow's configuration file say; a variable goes before the file."""
    file = environment.get("AIRFLOW_CONFIG") or (
        str(Path(environment["AIRFLOW_HOME"], "airflow.cfg")) if environment.get("AIRFLOW_HOME") else ""
    )
    values = {f"{PREFIX}{name.upper()}": value for name, value in _section(file).items() if value}
    variables = {name: value for name, value in environment.items() if name.startswith(PREFIX) and value}
    settings = Settings.from_environment({**values, **variables})
    # Clients of the model server alone know it by these, as `windtunnel env` exports them.
    url, token = environment.get("WINDTUNNEL_SERVER_URL", ""), environment.get("WINDTUNNEL_TOKEN", "")
    return dataclasses.replace(settings, server_url=url or settings.server_url, server_token=settings.server_token or token)


def _section(file: str) -> dict[str, str]:
    if not file or not Path(file).is_file():
        return {}
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(file, encoding="utf-8")
    except (configparser.Error, OSError, ValueError) as error:
        raise ConfigurationError(f"{file}: cannot be read as Airflow's configuration: {error}") from error
    return dict(parser["windtunnel"]) if "windtunnel" in parser else {}


def _overlaid(settings: Settings, around: Settings) -> Settings:
    default = Settings()
    asked = {
        field.name: getattr(around, field.name)
        for field in dataclasses.fields(Settings)
        if field.name not in {*_PLACES, "server_token"} and getattr(around, field.name) != getattr(default, field.name)
    }
    return dataclasses.replace(settings, **asked)
