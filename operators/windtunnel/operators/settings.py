"""Windtunnel's settings as Airflow knows them: section ``[windtunnel]`` and the connection of the model server."""

import contextlib
import dataclasses

from airflow.sdk import Connection
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowNotFoundException

from windtunnel.lifecycle.contract.settings import Settings

__all__ = ["SECTION", "SERVER_CONNECTION", "airflow_settings"]

SECTION = "windtunnel"
SERVER_CONNECTION = "windtunnel_server"


def airflow_settings(*, server: bool = False, connection: str = SERVER_CONNECTION) -> Settings:
    """The settings of this Airflow.

    Args:
        server: look up the connection ``windtunnel_server`` too (its host is the model server's URL, its password the bearer token):
            secrets stay in connections.
        connection: another connection to look up instead.
    """
    # a token is no setting: `airflow config` shows the section to everybody who may run it
    names = {field.name for field in dataclasses.fields(Settings)} - {"server_token"}
    values = {name: conf.get(SECTION, name, fallback="") for name in sorted(names)}
    settings = Settings.from_mapping({name: value for name, value in values.items() if value})
    if server:
        # the connection need not be there: the section's server_url is then asked without a token
        with contextlib.suppress(AirflowNotFoundException):
            known = Connection.get(connection)
            return dataclasses.replace(settings, server_url=_url(known) or settings.server_url, server_token=known.password or "")
    return settings


def _url(connection: Connection) -> str:
    """A connection's host as a URL, with its schema and port unless the host is one already; empty without a host."""
    host = connection.host or ""
    if not host or "://" in host:
        return host
    return f"{connection.schema or 'http'}://{host}" + (f":{connection.port}" if connection.port else "")
