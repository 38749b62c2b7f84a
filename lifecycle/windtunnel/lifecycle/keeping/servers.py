"""MLflow's runs and the model server's copies that nobody needs any more."""

import datetime as dt
import functools
from typing import TYPE_CHECKING, Any

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.keeping.needs import Needs
from windtunnel.lifecycle.keeping.report import Freed
from windtunnel.lifecycle.record.tracking import TAG, calling, client
from windtunnel.lifecycle.release.targets import ServerTarget, target_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["expire_copies", "expire_runs"]

_PAGE = 200


def expire_runs(problem: Problem, settings: Settings, needs: Needs, now: dt.datetime, *, dry: bool) -> list[Freed]:
    """Remove the artefacts of old runs from MLflow, then the runs; a version made from one is tagged as expired."""
    if not settings.tracking_uri:
        return []
    mlflow = client(settings)
    rule = f"retention.runs_days = {problem.retention.runs_days:g}"
    limit = int((now - dt.timedelta(days=problem.retention.runs_days)).timestamp() * 1000)
    experiment = calling(lambda: mlflow.get_experiment_by_name(problem.name))
    if experiment is None:
        return []
    old = calling(
        lambda: mlflow.search_runs([experiment.experiment_id], filter_string=f"attributes.start_time < {limit}", max_results=_PAGE)
    )
    needed = _runs_of_versions(mlflow, problem.name, needs)
    gone, size, kept = [], 0, 0
    for run in old:
        run_id = str(run.info.run_id)
        if run_id in needed or run_id in needs.runs or run.info.status == "RUNNING":
            kept += 1
            continue
        gone.append(run_id)
        size += calling(functools.partial(_size, mlflow, run_id, ""))
        if not dry:
            _remove(mlflow, settings, problem.name, run, rule, now)
    return [Freed("MLflow runs", rule, len(gone), size, kept, tuple(gone))]


def expire_copies(problem: Problem, settings: Settings, needs: Needs, *, dry: bool) -> list[Freed]:
    """Unload versions that no label and no rule asks for; the server then removes its copies."""
    if not settings.server_url.startswith(("http://", "https://")):
        return []
    target = target_of(settings)
    assert isinstance(target, ServerTarget)  # an http(s) URL is one
    if problem.name not in target.models():
        return []
    loaded = target.versions(problem.name)
    idle = [version for version, about in loaded.items() if not about["labels"] and version not in needs.versions]
    if not dry:
        for version in idle:
            target.unload(problem.name, version)
    rule = f"retention.versions = {problem.retention.versions}"
    return [Freed("server copies", rule, len(idle), 0, len(loaded) - len(idle), tuple(idle))]


def _runs_of_versions(mlflow: "MlflowClient", name: str, needs: Needs) -> set[str]:
    versions = calling(lambda: mlflow.search_model_versions(f"name = '{name}'"))
    return {str(version.run_id) for version in versions if str(version.version) in needs.versions and version.run_id}


def _size(mlflow: "MlflowClient", run_id: str, path: str) -> int:
    entries = mlflow.list_artifacts(run_id, path or None)
    return sum(_size(mlflow, run_id, entry.path) if entry.is_dir else int(entry.file_size or 0) for entry in entries)


def _remove(mlflow: "MlflowClient", settings: Settings, name: str, run: Any, rule: str, now: dt.datetime) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    run_id = str(run.info.run_id)
    for version in calling(lambda: mlflow.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")):
        text = f"on {now.date()} by the rule {rule}"
        calling(functools.partial(mlflow.set_model_version_tag, name, version.version, f"{TAG}expired", text))
    # MLflow's client deletes no artefacts, and a deleted run keeps its own until MLflow's own garbage collection.
    repository = get_artifact_repository(run.info.artifact_uri, tracking_uri=settings.tracking_uri, registry_uri=settings.tracking_uri)
    for folder in ("bundle", "model"):
        if calling(functools.partial(mlflow.list_artifacts, run_id, folder)):
            calling(functools.partial(repository.delete_artifacts, folder))
    # The run last: killed before, the next call finds it again.
    calling(lambda: mlflow.delete_run(run_id))
