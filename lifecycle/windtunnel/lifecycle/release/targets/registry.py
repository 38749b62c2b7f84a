"""MLflow's registry: aliases follow; the bundle itself is in the run's artefacts already."""

from collections.abc import Sequence
from typing import Any, ClassVar

from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.payload import JsonMapping

__all__ = ["MlflowTarget", "mlflow_target"]


def mlflow_target(_url: str, settings: Settings, _token: str) -> "MlflowTarget":
    """The target of ``mlflow:``: the registry of the setting ``tracking_uri``."""
    return MlflowTarget(settings.need("tracking_uri"))


class MlflowTarget:
    """MLflow's registry.

    Args:
        uri: the tracking server.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, uri: str) -> None:
        self.url = uri

    def push(self, model: str, version: str, folder: str, digest: str, labels: Sequence[str], route: JsonMapping | None = None) -> Any:
        """Note the compiled bundle's digest on the version, and set the aliases."""
        self._client().set_model_version_tag(model, version, "windtunnel.served_digest", digest)
        self._client().set_model_version_tag(model, version, "windtunnel.served_from", folder)
        return self.label(model, version, labels, route)

    def label(
        self,
        model: str,
        version: str,
        labels: Sequence[str],
        route: JsonMapping | None = None,  # it has no routes
        *,
        drop: Sequence[str] = (),  # a promotion moves the registry's aliases itself
    ) -> Any:
        """Set the aliases."""
        for label in labels:
            self._client().set_registered_model_alias(model, label, version)

    def _client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.url, registry_uri=self.url)
