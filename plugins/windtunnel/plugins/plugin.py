"""The Airflow plugin."""

from airflow.plugins_manager import AirflowPlugin

__all__ = ["WindtunnelPlugin"]


class WindtunnelPlugin(AirflowPlugin):
    """What Airflow's UI shows of Windtunnel."""

    name = "windtunnel"
