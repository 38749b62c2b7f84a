"""What is generated for clusters, checked field by field as they would, and its command run as they run it: by another user."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from serving_models import TOKEN

from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.release.manifests import kserve_manifest, label_value, plain_manifests, resource_name, write_manifests

ROOT = Path(__file__).parents[2]
IMAGE = "registry.example/windtunnel-server:0.1"
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi)?")
# The fields that Kubernetes' API has at these places, of those that a manifest of ours may use: strict decoding refuses all others.
FIELDS = {
    "": {"apiVersion", "kind", "metadata", "spec"},
    "metadata": {"name", "namespace", "labels", "annotations"},
    "container": {
        "name", "image", "args", "command", "ports", "env", "resources", "securityContext", "volumeMounts", "startupProbe",
        "readinessProbe", "livenessProbe",
    },
    "pod": {"containers", "securityContext", "volumes", "terminationGracePeriodSeconds"},
    "pod security": {"runAsNonRoot", "runAsUser", "runAsGroup", "fsGroup", "seccompProfile"},
    "container security": {"allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"},
    "probe": {"httpGet", "periodSeconds", "failureThreshold"},
}  # fmt: skip


def known(place, found):
    assert set(found) <= FIELDS[place], (place, set(found) - FIELDS[place])


def check_metadata(found):
    known("metadata", found)
    assert LABEL.fullmatch(found["name"]), found["name"]
    assert LABEL.fullmatch(found["namespace"])
    for name, value in found["labels"].items():
        assert re.fullmatch(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name)
        assert VALUE.fullmatch(value), value
        assert len(value) <= 63


def check_pod(pod):
    known("pod", {name: value for name, value in pod.items() if name != "canaryTrafficPercent"})
    known("pod security", pod["securityContext"])
    (container,) = pod["containers"]
    known("container", container)
    known("container security", container["securityContext"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        known("probe", container[probe])
        assert container[probe]["httpGet"]["port"] in {port["name"] for port in container["ports"]}
    for port in container["ports"]:
        assert re.fullmatch(r"[a-z0-9-]{1,15}", port["name"])
        assert 1024 <= port["containerPort"] < 65536, "a user without privileges may not bind a lower one"
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    for amounts in container["resources"].values():
        assert all(QUANTITY.fullmatch(amount) for amount in amounts.values())
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    (token,) = [entry for entry in container["env"] if entry["name"] == "WINDTUNNEL_TOKEN"]
    assert LABEL.fullmatch(token["valueFrom"]["secretKeyRef"]["name"])
    home = container["args"][container["args"].index("--home") + 1]
    assert home in {mount["mountPath"] for mount in container["volumeMounts"]}, "the root of the file system is read-only"
    assert str(pod["securityContext"]["runAsUser"]) in (ROOT / "docker" / "server" / "Dockerfile").read_text()
    assert "--grpc-port" in container["args"]


NAMES = ["flight_delays", "Flights.EU", "1st_model", "x" * 200, "a.b-c_d", "_", "\u00e9t\u00e9"]


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize("version", ["3", "1.0.0+build.7", "-", "v" * 100])
def test_the_manifests_are_ones_that_a_cluster_takes(model, version):
    served = kserve_manifest(model, version, "s3://models/3", IMAGE, canary_percent=10)
    deployment, service, scaler = plain_manifests(model, version, "s3://models/3", IMAGE)
    for resource in (served, deployment, service, scaler):
        known("", resource)
        check_metadata(resource["metadata"])
        assert resource == yaml.safe_load(yaml.safe_dump(resource))
    check_pod(served["spec"]["predictor"])
    check_pod(deployment["spec"]["template"]["spec"])
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert service["spec"]["selector"] == selector
    assert "windtunnel/version" not in selector, "a selector cannot be changed: the next version has another"
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


PROBLEM = {
    "name": "flight_delays",
    "owner": "o",
    "task": "regression",
    "source": {"format": "csv", "path": "x"},
    "columns": {"x": "float64", "y": "float64"},
    "label": {"column": "y"},
    "features": {"numeric": ["x"]},
    "serving": {"manifests": {"image": IMAGE, "namespace": "models"}},
}
PREDICTOR = {
    "canaryTrafficPercent": range(101),
    "containerConcurrency": range(1 << 31),
    "maxReplicas": range(1 << 31),
    "minReplicas": range(1 << 31),
    "timeout": range(1 << 31),
}
"""What KServe's v1beta1 predictor has beside the fields of a pod, of those that are numbers."""


def validate(resource):
    """By the schemas of Kubernetes' API, strictly: a field that it does not know is refused. KServe's predictor is a pod with some more."""
    if resource["kind"] != "InferenceService":
        kubernetes_validate.validate(resource, "1.34", strict=True)
        return
    assert resource["apiVersion"] == "serving.kserve.io/v1beta1"
    assert set(resource["spec"]) <= {"predictor", "transformer", "explainer"}
    predictor = resource["spec"]["predictor"]
    for name, allowed in PREDICTOR.items():
        assert predictor.get(name, 1) in allowed
    pod = {name: value for name, value in predictor.items() if name not in PREDICTOR}
    validate({"apiVersion": "v1", "kind": "Pod", "metadata": resource["metadata"], "spec": pod})


BROKEN = {
    "a field that is mistyped": lambda pod: pod.update(volume=pod.pop("volumes")),
    "a container's field": lambda pod: pod["containers"][0].update(argz=[]),
    "no container": lambda pod: pod.pop("containers"),
    "a port that is a text": lambda pod: pod["containers"][0]["ports"][0].update(containerPort="8080"),
    "a port without its number": lambda pod: pod["containers"][0]["ports"][0].pop("containerPort"),
    "an environment of numbers": lambda pod: pod["containers"][0]["env"].append({"name": "A", "value": 1}),
    "a security context of another place": lambda pod: pod["securityContext"].update(readOnlyRootFilesystem=True),
    "a probe's field": lambda pod: pod["containers"][0]["readinessProbe"]["httpGet"].update(url="/"),
}


@pytest.mark.parametrize("uri", ["s3://models/3", "/artifacts/m/3"])
def test_the_schemas_of_kubernetes_take_what_is_written(uri, tmp_path):
    written = write_manifests(parse(PROBLEM), "1.0.0+build.7", uri, Settings(artifacts=str(tmp_path / "a")))
    resources = [part for path in written if path.endswith(".yaml") for part in yaml.safe_load_all(Path(path).read_text())]
    assert [part["kind"] for part in resources] == ["InferenceService", "Deployment", "Service", "HorizontalPodAutoscaler"]
    for resource in resources:
        validate(resource)
    validate(kserve_manifest("m", "1", uri, IMAGE, canary_percent=10))


@pytest.mark.parametrize("how", BROKEN)
def test_the_schemas_of_kubernetes_refuse_what_is_broken(how):
    for resource, pod in (
        (served := json.loads(json.dumps(kserve_manifest("m", "1", "s3://m/1", IMAGE))), served["spec"]["predictor"]),
        (deployed := json.loads(json.dumps(plain_manifests("m", "1", "s3://m/1", IMAGE)[0])), deployed["spec"]["template"]["spec"]),
    ):
        validate(resource)
        BROKEN[how](pod)
        with pytest.raises(kubernetes_validate.ValidationError):
            validate(resource)


def test_the_schemas_refuse_broken_services_and_scalers():
    _, service, scaler = json.loads(json.dumps(plain_manifests("m", "1", "s3://m/1", IMAGE)))
    service["spec"]["ports"][0]["port"] = "http"
    scaler["spec"]["maxReplica"] = scaler["spec"].pop("maxReplicas")
    for resource in (service, scaler):
        with pytest.raises(kubernetes_validate.ValidationError):
            validate(resource)


def test_names_of_different_models_stay_different():
    names = [*NAMES, "flights_eu", "Flights_EU", "flights.eu", "x" * 199]
    assert len({resource_name(name) for name in names}) == len(names)
    assert label_value("1.0.0") == "1.0.0"


def test_a_path_is_mounted_where_the_server_looks_for_it():
    deployment, *_ = plain_manifests("m", "1", "/artifacts/m/1", IMAGE)
    pod = deployment["spec"]["template"]["spec"]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts["models"] == "/artifacts/m/1"
    assert pod["containers"][0]["args"][-1] == "m=1=/artifacts/m/1"


def entrypoint():
    """The image's own command, by its Dockerfile."""
    text = (ROOT / "docker" / "server" / "Dockerfile").read_text(encoding="utf-8")
    return json.loads(re.search(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)[1])


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="becoming another user takes root and setpriv")
@pytest.mark.parametrize("kind", ["kserve", "plain"])
def test_the_container_s_own_command_serves_under_its_own_user(kind, bundles, rows, short_path):
    """May read everything, as an image lets it (here by a capability), and write to what the manifest mounts, and nothing else."""
    if kind == "kserve":
        pod = kserve_manifest("flight_delays", "3", "s3://models/3", IMAGE)["spec"]["predictor"]
    else:
        pod = plain_manifests("flight_delays", "3", "/mnt/models", IMAGE)[0]["spec"]["template"]["spec"]
    container, user = pod["containers"][0], pod["securityContext"]["runAsUser"]
    home = short_path / "home"
    home.mkdir()
    os.chown(home, user, user)
    short_path.chmod(0o755)
    ports = {str(port["containerPort"]): str(free_port()) for port in container["ports"]}
    arguments = [ports.get(part, part) for part in container["args"]]
    arguments = [part.replace("/var/lib/windtunnel", str(home)).replace("/mnt/models", str(bundles["one"])) for part in arguments]
    command = [sys.executable if part == "python" else part for part in entrypoint()] + arguments
    inside = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=-all,+dac_read_search"]
    inside += ["--ambient-caps=-all,+dac_read_search", "--bounding-set=-all,+dac_read_search", "--no-new-privs"]
    environment = {"PATH": os.environ["PATH"], "WINDTUNNEL_TOKEN": TOKEN, "PYTHONDONTWRITEBYTECODE": "1"}
    with (short_path / "out.txt").open("wb") as out:
        process = subprocess.Popen([*inside, *command], env=environment, stdout=out, stderr=out)
    try:
        url = f"http://127.0.0.1:{ports['8080']}"
        asked = urllib.request.Request(url + "/v1/models/flight_delays/predict", json.dumps({"rows": rows[:1]}).encode())
        asked.add_header("Authorization", f"Bearer {TOKEN}")
        ends = time.monotonic() + 60
        while True:
            try:
                answer = json.loads(urllib.request.urlopen(asked, timeout=10).read())
                break
            except OSError:
                assert process.poll() is None, (short_path / "out.txt").read_text()
                assert time.monotonic() < ends, (short_path / "out.txt").read_text() + shlex.join(command)
                time.sleep(0.2)
        assert answer["version"] == "3"
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert f"Uid:\t{user}\t{user}" in status
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=40) == 0
    assert {path.stat().st_uid for path in home.rglob("*")} == {user}
    assert list((home / "predictions").rglob("*.parquet"))


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
