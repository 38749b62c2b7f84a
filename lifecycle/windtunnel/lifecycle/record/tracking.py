"""MLflow: how it is asked; an experiment a problem, a run a candidate, with its metrics and its lineage."""

import functools
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from windtunnel.lifecycle.contract.errors import UnavailableError
from windtunnel.lifecycle.contract.references import CandidateRef, EvaluationRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.payload import JsonObject

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["TAG", "calling", "client", "experiment", "log_data", "log_evaluation", "run_url", "version_url"]


T = TypeVar("T")

TAG = "windtunnel."
"""What the names of our tags in MLflow begin with."""


_CLASSIC = {"mlflow.experimentKind": "custom_model_development"}
"""What makes MLflow's UI show runs, metrics and models of an experiment, not traces of prompts."""


def client(settings: Settings) -> "MlflowClient":
    """A client of the settings' tracking server and registry, with usage statistics off."""
    return _client(settings.need("tracking_uri"))


@functools.cache
def _client(tracking_uri: str) -> "MlflowClient":
    # Before the import below: MLflow starts its telemetry while it is imported.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # A server that is down is Airflow's to retry, with a message, not ours to wait for in silence.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def calling(call: Callable[[], T]) -> T:
    """The answer of MLflow; a connection that fails is an `UnavailableError`, which a retry can help."""
    from mlflow.exceptions import MlflowException

    try:
        return call()
    except (OSError, MlflowException) as error:
        code = getattr(error, "error_code", "")
        # INTERNAL_ERROR is also the code of MLflow's client for a server that does not answer at all.
        if isinstance(error, MlflowException) and code not in {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}:
            raise
        raise UnavailableError(f"MLflow is out of reach: {error}", hint="`windtunnel status` says whether it runs") from error


def experiment(settings: Settings, problem: str) -> str:
    """The id of a problem's experiment; made on first use, by whichever worker is first.

    Raises:
        UnavailableError: MLflow does not answer.
    """
    from mlflow.exceptions import MlflowException

    uri = settings.need("tracking_uri")
    try:
        found = client(settings).get_experiment_by_name(problem)
        if found is None:
            try:
                return str(client(settings).create_experiment(problem, tags=_CLASSIC))
            except MlflowException:  # another worker made it in between
                found = client(settings).get_experiment_by_name(problem)
        if found is not None and "mlflow.experimentKind" not in found.tags:  # made by an earlier release, or by hand
            for name, value in _CLASSIC.items():
                client(settings).set_experiment_tag(found.experiment_id, name, value)
    except MlflowException as error:
        raise UnavailableError(f"MLflow at {uri} does not answer: {error}", hint="is the server up? `windtunnel status` tells") from error
    if found is None:
        raise UnavailableError(f"MLflow at {uri} has no experiment {problem!r} and does not make one")
    return str(found.experiment_id)


def log_data(settings: Settings, run_id: str, table: str, snapshot_id: str, content: str) -> None:
    """Name the version of the data that a run learned from, as one of MLflow's datasets.

    Args:
        settings: where MLflow is.
        run_id: the run.
        table: the Iceberg table.
        snapshot_id: its version.
        content: the fingerprint of the rows, which is the dataset's digest.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"table": table, "snapshot_id": snapshot_id})
    # MLflow refuses a dataset's digest of more than 36 characters.
    dataset = Dataset(name=table, digest=content[:36], source_type="iceberg", source=source)
    context = InputTag("mlflow.data.context", "training")
    client(settings).log_inputs(run_id, [DatasetInput(dataset, [context])])


def log_evaluation(settings: Settings, candidate: CandidateRef, evaluation: EvaluationRef) -> None:
    """Put a candidate's figures and report beside its training run."""
    mlflow = client(settings)
    for name, value in {evaluation.metric: evaluation.value, f"baseline_{evaluation.metric}": evaluation.baseline}.items():
        mlflow.log_metric(candidate.run_id, name, float(value))
    mlflow.set_tag(candidate.run_id, "windtunnel.passed", str(evaluation.passed).lower())
    mlflow.set_tag(candidate.run_id, "windtunnel.evaluation", evaluation.fingerprint)
    # log_artifact() uploads local files only; a report elsewhere stays where it is.
    if "://" not in evaluation.report:
        mlflow.log_artifact(candidate.run_id, evaluation.report)


def run_url(settings: Settings, problem: str, run_id: str) -> str:
    """The page of a run."""
    return f"{settings.tracking_uri.rstrip('/')}/#/experiments/{experiment(settings, problem)}/runs/{run_id}"


def version_url(settings: Settings, model: str, version: str) -> str:
    """The page of a registered version."""
    return f"{settings.tracking_uri.rstrip('/')}/#/models/{model}/versions/{version}"


def tags_of(values: JsonObject) -> dict[str, str]:
    """Tags of ours, under one prefix."""
    return {f"{TAG}{name}": str(value) for name, value in values.items() if value not in (None, "")}
