"""Manifests for clusters that serve models themselves: written when a version is promoted, applied by the team."""

import hashlib
import json
import re
from pathlib import Path

import fsspec
import yaml

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.payload import JsonObject

__all__ = ["kserve_manifest", "label_value", "plain_manifests", "resource_name", "sagemaker_manifest", "write_manifests"]


def write_manifests(problem: Problem, version: str, uri: str, settings: Settings) -> list[str]:
    """Write a version's manifests under the artifact root, as ``serving.manifests`` of the problem says; answers their paths.

    KServe's and the plain ones are YAML for ``kubectl apply``, SageMaker's the three requests as JSON. The same version again writes
    the same.
    """
    wanted = problem.serving.manifests
    if wanted is None:
        return []
    texts = {
        "kserve.yaml": _yaml([kserve_manifest(problem.name, version, uri, wanted.image, namespace=wanted.namespace)]),
        "kubernetes.yaml": _yaml(plain_manifests(problem.name, version, uri, wanted.image, namespace=wanted.namespace)),
    }
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


def _yaml(parts: list[dict[str, object]]) -> str:
    """Resources as documents of one file, without references from one part to another."""
    return yaml.safe_dump_all(json.loads(json.dumps(parts)), sort_keys=False)


def kserve_manifest(
    model: str, version: str, uri: str, image: str, *, namespace: str = "default", canary_percent: int | None = None
) -> JsonObject:
    """An InferenceService that serves a bundle by our server's image; to be applied by the team, not by us.

    KServe's storage initializer puts the bundle under ``/mnt/models``; its standard deployment mode lets a container have a second port,
    for gRPC. The token comes from the secret ``NAME-token`` (`plain_manifests` says how to make it): without it the pod does not start.

    Example:
        >>> kserve_manifest("churn", "3", "s3://models/churn/3", "registry/windtunnel-server:0.1")["kind"]
        'InferenceService'
    """
    container = _container("kserve-container", model, version, "/mnt/models", image)
    container["env"].append({"name": "STORAGE_URI", "value": uri})
    predictor: dict[str, object] = {"containers": [container], "securityContext": _POD, "volumes": _VOLUMES, **_ENDING}
    if canary_percent is not None:
        predictor["canaryTrafficPercent"] = canary_percent
    metadata = _metadata(model, version, namespace) | {"annotations": {"serving.kserve.io/deploymentMode": "Standard"}}
    return {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": metadata, "spec": {"predictor": predictor}}


def plain_manifests(
    model: str, version: str, uri: str, image: str, *, namespace: str = "default", replicas: tuple[int, int] = (2, 10)
) -> list[JsonObject]:
    """A Deployment, a Service and a HorizontalPodAutoscaler that serve a bundle on any Kubernetes.

    The server fetches the bundle itself; a path is taken from the volume claim ``NAME-models``. The token is made once, by
    ``kubectl create secret generic NAME-token --from-literal=token=...``.

    Args:
        model: the model.
        version: its version.
        uri: of the bundle.
        image: of our server.
        namespace: of all three.
        replicas: least and most pods.

    Example:
        >>> [part["kind"] for part in plain_manifests("churn", "3", "s3://models/churn/3", "registry/windtunnel-server:0.1")]
        ['Deployment', 'Service', 'HorizontalPodAutoscaler']
    """
    name, metadata = resource_name(model), _metadata(model, version, namespace)
    container, volumes = _container("server", model, version, uri, image), list(_VOLUMES)
    if "://" not in uri:
        volumes.append({"name": "models", "persistentVolumeClaim": {"claimName": f"{name}-models", "readOnly": True}})
        container["volumeMounts"] = [*container["volumeMounts"], {"name": "models", "mountPath": uri, "readOnly": True}]
    selector = {"app.kubernetes.io/name": name}
    pod = {
        "metadata": {"labels": metadata["labels"]},
        "spec": {"containers": [container], "securityContext": _POD, "volumes": volumes, **_ENDING},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": replicas[0],
            "selector": {"matchLabels": selector},
            # No pod goes before its successor is ready.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": pod,
        },
    }
    ports = [{"name": port["name"], "port": port["containerPort"], "targetPort": port["name"]} for port in _PORTS]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": selector, "ports": ports}}
    utilization = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata,
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": replicas[0],
            "maxReplicas": replicas[1],
            "metrics": [utilization],
        },
    }
    return [deployment, service, scaler]


_USER = 50_000
"""The user of docker/server/Dockerfile."""

_HOME = "/var/lib/windtunnel"
_PORTS = [{"name": "http", "containerPort": 8080, "protocol": "TCP"}, {"name": "grpc", "containerPort": 8081, "protocol": "TCP"}]
_DRAIN = 5
_ENDING = {"terminationGracePeriodSeconds": 30}  # longer than the server drains, or Kubernetes would kill it in the middle
_POD = {
    "runAsNonRoot": True,
    "runAsUser": _USER,
    "runAsGroup": _USER,
    "fsGroup": _USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_VOLUMES = [{"name": "home", "emptyDir": {"sizeLimit": "4Gi"}}, {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}]
_LONGEST_NAME = 50  # what is put behind it must fit into 63, too
_LONGEST_LABEL = 63


def _container(name: str, model: str, version: str, place: str, image: str) -> JsonObject:
    """The server's container: its home and /tmp are all that it may write to."""
    http, grpc = (port["containerPort"] for port in _PORTS)
    options = ["--host", "0.0.0.0", "--port", str(http), "--grpc-port", str(grpc), "--drain", str(_DRAIN)]  # noqa: S104 - within a pod
    key = {"secretKeyRef": {"name": f"{resource_name(model)}-token", "key": "token"}}

    def probe(path: str, **more: int) -> dict[str, object]:
        return {"httpGet": {"path": f"/v2/health/{path}", "port": "http"}, **more}

    return {
        "name": name,
        "image": image,
        "args": ["--home", _HOME, *options, "--preload", f"{model}={version}={place}"],
        "ports": _PORTS,
        "env": [{"name": "WINDTUNNEL_TOKEN", "valueFrom": key}],
        "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "home", "mountPath": _HOME}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - of the pod
        # Two minutes to fetch and load the bundle; until then liveness is not asked about.
        "startupProbe": probe("live", periodSeconds=2, failureThreshold=60),
        "readinessProbe": probe("ready", periodSeconds=5),
        "livenessProbe": probe("live", periodSeconds=10),
    }


def _metadata(model: str, version: str, namespace: str) -> dict[str, object]:
    labels = {
        "app.kubernetes.io/name": resource_name(model),
        "app.kubernetes.io/managed-by": "windtunnel",
        "windtunnel/version": label_value(version),
    }
    return {"name": resource_name(model), "namespace": namespace, "labels": labels}


def resource_name(model: str) -> str:
    """A model's name as Kubernetes names things: lower-case letters, digits and dashes; where more had to change, with a digest behind.

    Example:
        >>> resource_name("flight_delays"), resource_name("Flights.EU")
        ('flight-delays', 'flights-eu-ff8ed1')
    """
    plain = re.sub("[^a-z0-9]+", "-", model.lower()).strip("-")
    name = plain if plain[:1].isalpha() else f"m-{plain}".strip("-")
    if name == model.replace("_", "-") and len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 7].rstrip('-')}-{hashlib.sha256(model.encode()).hexdigest()[:6]}"


def label_value(text: str) -> str:
    """A text as the value of a label.

    Example:
        >>> label_value("1.0.0+build 7"), label_value("-")
        ('1.0.0_build_7', '')
    """
    return re.sub("[^A-Za-z0-9._-]", "_", text)[:_LONGEST_LABEL].strip("._-")


def sagemaker_manifest(model: str, version: str, uri: str, image: str, role: str, *, instance: str = "ml.c6i.large") -> dict[str, object]:
    """The three requests that create a SageMaker endpoint (``create_model``, ``create_endpoint_config``, ``create_endpoint``).

    Our server's image, started with ``serve``, answers as SageMaker wants it: ``/ping`` and ``/invocations`` on port 8080, with the bundle
    that SageMaker puts under ``/opt/ml/model``.
    """
    name = f"{resource_name(model)}-{re.sub('[^A-Za-z0-9]+', '-', version).strip('-')}"[:_LONGEST_LABEL].rstrip("-")
    variant = {
        "VariantName": "champion",
        "ModelName": name,
        "InstanceType": instance,
        "InitialInstanceCount": 1,
        "InitialVariantWeight": 1.0,
    }
    container = {
        "Image": image,
        # With the slash: a prefix without it would match bundles whose names go on behind it.
        "ModelDataSource": {"S3DataSource": {"S3Uri": uri.rstrip("/") + "/", "S3DataType": "S3Prefix", "CompressionType": "None"}},
        "Environment": {"WINDTUNNEL_MODEL": model, "WINDTUNNEL_VERSION": version},
    }
    return {
        "create_model": {"ModelName": name, "ExecutionRoleArn": role, "PrimaryContainer": container},
        "create_endpoint_config": {"EndpointConfigName": name, "ProductionVariants": [variant]},
        "create_endpoint": {"EndpointName": resource_name(model), "EndpointConfigName": name},
    }
