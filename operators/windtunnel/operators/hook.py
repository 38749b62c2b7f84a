"""The hook for users' own tasks: the model server by its connection, and what Windtunnel knows of a problem."""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import BaseHook

from windtunnel.lifecycle.contract.errors import ConfigurationError, UnavailableError, WindtunnelError
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.operators.settings import SERVER_CONNECTION, airflow_settings

__all__ = ["WindtunnelHook"]


class WindtunnelHook(BaseHook):
    """Ask the model server, the ledger and the tables from a task of your own.

    Args:
        windtunnel_conn_id: a connection of type ``windtunnel``: the model server's URL is its host, the bearer token its password. Without
            such a connection ``server_url`` of section ``[windtunnel]`` is asked, without a token.
        **kwargs: what every hook takes.

    Example, in a TaskFlow task:

    .. code-block:: python

        @task
        def desks() -> list[float]:
            return [answer["probability"] for answer in WindtunnelHook().predict("flight_delays", rows)]
    """

    conn_name_attr = "windtunnel_conn_id"
    default_conn_name = SERVER_CONNECTION
    conn_type = "windtunnel"
    hook_name = "Windtunnel model server"

    def __init__(self, windtunnel_conn_id: str = SERVER_CONNECTION, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.windtunnel_conn_id = windtunnel_conn_id

    def get_conn(self) -> Settings:
        """Where things are and which servers are ours: what the functions of `windtunnel.lifecycle` take."""
        return airflow_settings(server=True, connection=self.windtunnel_conn_id)

    def predict(self, model: str, rows: Sequence[Mapping[str, object]], version: str = "") -> list[JsonObject]:
        """The model server's answers to rows, in their order.

        Args:
            model: the problem's name.
            rows: raw columns by name.
            version: a version that is loaded; empty for the one in production.

        Raises:
            ConfigurationError: there is no server or no version in production, or the server refuses.
            UnavailableError: it is out of reach.
        """
        from windtunnel.lifecycle.record.champion import champion
        from windtunnel.lifecycle.release.targets import ServerTarget

        settings = self.get_conn()
        target = ServerTarget(settings.need("server_url"), settings.server_token)
        if not version:
            present = champion(settings, model)
            if present is None:
                raise ConfigurationError(f"{model!r} has no version in production", hint="name a version, or train one first")
            version = present.version
        return list(target.predict(model, version, [dict(row) for row in rows]))

    def champion(self, problem: str) -> JsonObject | None:
        """The version in production as the ledger says: version, cutoff, uri, digest, metric, value, ...; None if there is none."""
        import dataclasses

        from windtunnel.lifecycle.record.champion import champion

        present = champion(self.get_conn(), problem)
        return dataclasses.asdict(present) if present else None

    def ledger(self, problem: str, kinds: Sequence[str] = ()) -> list[dict[str, object]]:
        """The ledger's entries about a problem, oldest first, as plain data."""
        import dataclasses

        from windtunnel.lifecycle.record.ledger import Ledger

        return [dataclasses.asdict(entry) for entry in Ledger(self.get_conn()).entries(problem, tuple(kinds))]

    def test_connection(self) -> tuple[bool, str]:
        """What the button *Test* of the connection's form does: the server must be there, and know us."""
        from windtunnel.lifecycle.release.targets import ServerTarget

        try:
            settings = self.get_conn()
            models = ServerTarget(settings.need("server_url"), settings.server_token, attempts=1).models()
        except UnavailableError as error:
            return False, f"out of reach: {error.message}"
        except WindtunnelError as error:
            return False, str(error)
        return True, f"the model server answers; models: {', '.join(models) or 'none yet'}"
