"""Manifests for clusters that serve models themselves: written when a version is promoted, applied by the team."""

import json
from pathlib import Path
from typing import Any

import fsspec
import yaml

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings

__all__ = ["kserve_manifest", "sagemaker_manifest", "write_manifests"]


def write_manifests(problem: Problem, version: str, uri: str, settings: Settings) -> list[str]:
    """Write a version's manifests under the artifact root, as ``serving.manifests`` of the problem says; answers their paths.

    KServe's is YAML for ``kubectl apply``, SageMaker's the three requests as JSON. The same version again writes the same.
    """
    wanted = problem.serving.manifests
    if wanted is None:
        return []
    texts = {"kserve.yaml": yaml.safe_dump(kserve_manifest(problem.name, version, uri, wanted.image, namespace=wanted.namespace))}
    if wanted.role is not None:
        found = sagemaker_manifest(problem.name, version, uri, wanted.image, wanted.role, instance=wanted.instance)
        texts["sagemaker.json"] = json.dumps(found, indent=1)
    written = []
    for name, text in texts.items():
        path = settings.artifact_path(problem.name, "manifests", version, name)
        filesystem, place = fsspec.core.url_to_fs(path if "://" in path else str(Path(path)))
        filesystem.makedirs(place.rpartition("/")[0], exist_ok=True)
        filesystem.pipe_file(place, text.encode())
        written.append(path)
    return written


def kserve_manifest(
    model: str, version: str, uri: str, image: str, *, namespace: str = "default", canary_percent: int | None = None
) -> dict[str, Any]:
    """An InferenceService that serves a bundle by our server's image; to be applied by the team, not by us.

    Example:
        >>> kserve_manifest("churn", "3", "s3://models/churn/3", "registry/windtunnel-server:0.1")["kind"]
        'InferenceService'
    """
    container = {
        "name": "kserve-container",
        "image": image,
        "args": ["--home", "/var/lib/windtunnel", "--host", "0.0.0.0", "--port", "8080", "--preload", f"{model}={version}=/mnt/models"],  # noqa: S104 - within a pod
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        "env": [{"name": "STORAGE_URI", "value": uri}],
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": 8080}},
        "livenessProbe": {"httpGet": {"path": "/v2/health/live", "port": 8080}},
    }
    predictor: dict[str, Any] = {"containers": [container]}
    if canary_percent is not None:
        predictor["canaryTrafficPercent"] = canary_percent
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": model.replace("_", "-"), "namespace": namespace, "labels": {"windtunnel/version": version}},
        "spec": {"predictor": predictor},
    }


def sagemaker_manifest(model: str, version: str, uri: str, image: str, role: str, *, instance: str = "ml.c6i.large") -> dict[str, Any]:
    """The three requests that create a SageMaker endpoint (``create_model``, ``create_endpoint_config``, ``create_endpoint``).

    Our server's image, started with ``serve``, answers as SageMaker wants it: ``/ping`` and ``/invocations`` on port 8080, with the bundle
    that SageMaker puts under ``/opt/ml/model``.
    """
    name = f"{model.replace('_', '-')}-{version}"
    variant = {
        "VariantName": "champion",
        "ModelName": name,
        "InstanceType": instance,
        "InitialInstanceCount": 1,
        "InitialVariantWeight": 1.0,
    }
    container = {
        "Image": image,
        "ModelDataSource": {"S3DataSource": {"S3Uri": uri.rstrip("/") + "/", "S3DataType": "S3Prefix", "CompressionType": "None"}},
        "Environment": {"WINDTUNNEL_MODEL": model, "WINDTUNNEL_VERSION": version},
    }
    return {
        "create_model": {"ModelName": name, "ExecutionRoleArn": role, "PrimaryContainer": container},
        "create_endpoint_config": {"EndpointConfigName": name, "ProductionVariants": [variant]},
        "create_endpoint": {"EndpointName": model.replace("_", "-"), "EndpointConfigName": name},
    }
