"""Places that a model is pushed to, each for real: a directory, MLflow, an endpoint of somebody else's; and manifests."""

import gzip
import http.server
import io
import json
import os
import shutil
import tarfile
import threading
from pathlib import Path

import botocore.session
import botocore.validate
import pytest
import yaml

from windtunnel.lifecycle.contract.errors import ConfigurationError, UnavailableError
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.model import bundle
from windtunnel.lifecycle.release.manifests import kserve_manifest, sagemaker_manifest, write_manifests
from windtunnel.lifecycle.release.targets import DirectoryTarget, EndpointTarget, MlflowTarget, target_of

MANIFESTS = {"image": "registry.example.org/windtunnel-server:1", "role": "arn:aws:iam::123456789012:role/models", "namespace": "models"}
PROBLEM = {
    "name": "flight_delays",
    "owner": "o",
    "task": "regression",
    "source": {"format": "csv", "path": "x"},
    "columns": {"x": "float64", "y": "float64"},
    "label": {"column": "y"},
    "features": {"numeric": ["x"]},
}


class Endpoint(http.server.BaseHTTPRequestHandler):
    """Takes what is PUT; busy at first if it is told to."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        status = self.server.answers.pop(0) if self.server.answers else 201
        self.server.got.append((self.path, dict(self.headers), body) if status == 201 else (self.path, status, None))
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint(monkeypatch):
    monkeypatch.setattr("windtunnel.lifecycle.contract.calls.PAUSE", 0.01)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        server.got, server.answers = [], []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_an_endpoint_gets_the_bundle_and_its_label(endpoint, bundles, tmp_path):
    url = f"http://127.0.0.1:{endpoint.server_port}/deployer"
    target = target_of(Settings(server_url=f"put+{url}", server_token="secret"))
    assert isinstance(target, EndpointTarget)
    digest = bundle.read(bundles["one"]).digest
    endpoint.answers = [503]
    for _ in range(2):
        target.push("flight_delays", "7", str(bundles["one"]), digest, ["champion"])
    busy, first, label, again, _ = endpoint.got
    assert busy == ("/deployer/flight_delays/7", 503, None)
    path, headers, body = first
    assert path == "/deployer/flight_delays/7"
    assert headers["X-Windtunnel-Digest"] == digest
    assert headers["Authorization"] == "Bearer secret"
    assert again[2] == body, "the same bundle is the same bytes"
    assert (label[0], json.loads(label[2])["version"]) == ("/deployer/flight_delays/labels/champion", "7")
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(body))) as archive:
        archive.extractall(tmp_path, filter="data")
    assert bundle.read(tmp_path).digest == digest
    endpoint.answers = [403]
    with pytest.raises(ConfigurationError, match="403"):
        target.push("flight_delays", "7", str(bundles["one"]), digest, [])
    endpoint.answers = [503] * 9
    with pytest.raises(UnavailableError, match="503"):
        target.label("flight_delays", "7", ["champion"])
    # The model server's token is not for others.
    endpoint.answers.clear()
    target_of(Settings(server_token="secret"), f"put+{url}").label("m", "1", ["champion"])
    assert "Authorization" not in endpoint.got[-1][1]


def test_mlflow_gets_the_alias_and_the_digest(bundles, tmp_path, empty_mlflow):
    from mlflow import MlflowClient

    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri, registry_uri=uri)
    client.create_registered_model("flight_delays")
    version = client.create_model_version("flight_delays", str(bundles["one"])).version
    target = target_of(Settings(server_url="mlflow:", tracking_uri=uri))
    assert isinstance(target, MlflowTarget)
    digest = bundle.read(bundles["one"]).digest
    for _ in range(2):
        target.push("flight_delays", str(version), str(bundles["one"]), digest, ["champion"])
    found = client.get_model_version_by_alias("flight_delays", "champion")
    assert str(found.version) == str(version)
    assert (found.tags["windtunnel.served_digest"], found.tags["windtunnel.served_from"]) == (digest, str(bundles["one"]))


def test_a_directory_gets_whole_bundles_only(bundles, tmp_path):
    from windtunnel.lifecycle.contract.errors import IntegrityError

    target = target_of(Settings(server_url=f"file://{tmp_path}/place"))
    assert isinstance(target, DirectoryTarget)
    digest = bundle.read(bundles["one"]).digest
    with pytest.raises(IntegrityError):
        target.push("m", "1", str(bundles["one"]), "0" * 64, ["champion"])
    assert not (tmp_path / "place" / "m" / "1").exists()
    for _ in range(2):
        target.push("m", "1", str(bundles["one"]), digest, ["champion"])
    with pytest.raises(IntegrityError):
        target.push("m", "1", str(bundles["two"]), bundle.read(bundles["two"]).digest, ["champion"])
    assert sorted(path.name for path in (tmp_path / "place" / "m").iterdir()) == ["1", "labels.json"]


def test_what_is_no_place_is_named():
    with pytest.raises(ConfigurationError, match=r"serving\.targets: 'ftp:' is not the scheme .* 'ftp://x'"):
        target_of(Settings(), "ftp://x")
    with pytest.raises(ConfigurationError, match="server_url: 'ftp:' is not the scheme"):
        target_of(Settings(server_url="ftp://x"))


def test_sagemaker_s_requests_are_what_its_api_takes():
    model = botocore.session.get_session().get_service_model("sagemaker")
    made = sagemaker_manifest("flight_delays", "3", "s3://models/flight_delays/3", MANIFESTS["image"], MANIFESTS["role"])
    for name, parameters in made.items():
        operation = "".join(part.title() for part in name.split("_"))
        report = botocore.validate.ParamValidator().validate(parameters, model.operation_model(operation).input_shape)
        assert not report.has_errors(), report.generate_report()
    broken = made["create_model"] | {"PrimaryContainer": {"Image": 3}}
    assert botocore.validate.ParamValidator().validate(broken, model.operation_model("CreateModel").input_shape).has_errors()


def test_kserve_s_manifest_has_what_an_inference_service_needs():
    made = kserve_manifest("flight_delays", "3", "s3://models/flight_delays/3", MANIFESTS["image"], canary_percent=10)
    assert (made["apiVersion"], made["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert made["metadata"]["name"].replace("-", "").isalnum(), "a DNS label"
    (container,) = made["spec"]["predictor"]["containers"]
    assert container["name"] == "kserve-container", "the name by which KServe finds the container that serves"
    assert {"name": "STORAGE_URI", "value": "s3://models/flight_delays/3"} in container["env"]
    assert made["spec"]["predictor"]["canaryTrafficPercent"] == 10
    arguments = container["args"]
    assert arguments[arguments.index("--port") + 1] == str(container["ports"][0]["containerPort"])
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"


def test_manifests_are_written_once_a_version(tmp_path):
    problem = parse({**PROBLEM, "serving": {"manifests": MANIFESTS}})
    settings = Settings(artifacts=str(tmp_path / "a"))
    written = write_manifests(problem, "3", "s3://models/3", settings)
    assert [Path(path).name for path in written] == ["kserve.yaml", "kubernetes.yaml", "sagemaker.json"]
    texts = [Path(path).read_bytes() for path in written]
    assert yaml.safe_load(texts[0])["metadata"]["namespace"] == "models"
    assert json.loads(texts[2])["create_model"]["ExecutionRoleArn"] == MANIFESTS["role"]
    assert write_manifests(problem, "3", "s3://models/3", settings) == written
    assert [Path(path).read_bytes() for path in written] == texts
    assert write_manifests(parse(PROBLEM), "3", "s3://models/3", settings) == []
    only = parse({**PROBLEM, "serving": {"manifests": {"image": "x"}}})
    assert len(write_manifests(only, "4", "s3://models/4", settings)) == 2


def test_the_image_s_server_speaks_sagemaker(serve, bundles, rows, monkeypatch):
    monkeypatch.setitem(os.environ, "SM_MODEL_DIR", str(bundles["one"]))
    monkeypatch.setitem(os.environ, "SAGEMAKER_BIND_TO_PORT", "0")
    monkeypatch.setitem(os.environ, "WINDTUNNEL_MODEL", "flight_delays")
    monkeypatch.setitem(os.environ, "WINDTUNNEL_VERSION", "3")
    server = serve("serve", token="")
    assert server.call("/ping")[0] == 200
    status, body = server.call("/invocations", {"rows": rows[:2]})
    assert (status, body["version"], len(body["predictions"])) == (200, "3", 2)
    server.load(bundles["two"], "1", ["champion"], model="other")
    assert server.call("/invocations", {"rows": rows[:1]})[0] == 404


def test_housekeeping_unloads_what_no_label_and_no_rule_asks_for(serve, bundles, rows, tmp_path):
    """The champion, the one before it and the newest versions stay; the server removes its copies of the others."""
    from windtunnel.lifecycle.contract.run import Run
    from windtunnel.lifecycle.keeping.housekeeping import housekeep
    from windtunnel.lifecycle.record.ledger import Ledger

    server = serve()
    settings = Settings(
        ledger_uri=f"sqlite:///{tmp_path}/ledger.db", artifacts=str(tmp_path / "a"), server_url=server.url, server_token=server.token
    )
    target, digest = target_of(settings), bundle.read(bundles["one"]).digest
    for version in ("1", "2", "3", "4"):
        target.push("flight_delays", version, str(bundles["one"]), digest, ["champion"] if version == "4" else [], {})
        payload = {"version": version, "cutoff": f"2013-01-0{version}", "fingerprint": version, "run_id": ""}
        Ledger(settings).append("flight_delays", "promotion", payload, Run())
    problem = parse({**PROBLEM, "keys": ["x"], "retention": {"versions": 1}})
    dry = housekeep(problem, settings, dry=True)
    assert [row.names for row in dry.freed if row.kind == "server copies"] == [("1", "2")]
    assert set(target.versions("flight_delays")) == {"1", "2", "3", "4"}
    outcome = housekeep(problem, settings)
    assert not outcome.failed
    assert set(target.versions("flight_delays")) == {"3", "4"}
    assert server.call("/v1/models/flight_delays/predict", {"rows": rows[:1]})[0] == 200
    assert not [row for row in housekeep(problem, settings).freed if row.kind == "server copies" and row.count]
