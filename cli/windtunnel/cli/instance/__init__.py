"""The embedded instance: PostgreSQL, Airflow, MLflow and the model server, under one folder."""

from windtunnel.cli.instance.instance import Instance

__all__ = ["Instance"]
