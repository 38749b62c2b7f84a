"""Who is let in, what they may send, and what the server does when it has too much to do."""

import hashlib
import http.client
import json
import os
import signal
import socket
import ssl
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import serving_models
from certificates import Authority

from windtunnel.lifecycle.model import bundle
from windtunnel.serving.base import log
from windtunnel.serving.compiler.engine import Engine
from windtunnel.serving.protocol import open_inference_pb2 as pb

SERVICE = "/inference.GRPCInferenceService"


def grpc_call(channel, name, request, answer, token="only-for-tests"):
    method = channel.unary_unary(
        f"{SERVICE}/{name}", request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
    )
    return method(request, metadata=[("authorization", f"Bearer {token}")] if token else [], timeout=20)


def ask(url, path, body, context, token="only-for-tests"):
    request = urllib.request.Request(url + path, json.dumps(body).encode() if body is not None else None)
    request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=20, context=context) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_tls_and_clients_with_certificates(tmp_path, bundles, rows, serve):
    authority, other = Authority(tmp_path, "authority"), Authority(tmp_path, "other")
    certificate, key = authority.issue("server")
    client, stranger = authority.issue("client"), other.issue("stranger")
    server = serve(
        "--tls-certificate",
        certificate,
        "--tls-key",
        key,
        "--tls-clients",
        authority.path,
        "--grpc-port",
        "0",
        "--preload",
        f"flight_delays=1={bundles['one']}",
    )
    assert server.url.startswith("https://")

    def context(pair, trusted=authority):
        found = ssl.create_default_context(cafile=trusted.path)
        if pair:
            found.load_cert_chain(*pair)
        return found

    wanted = Engine.load(bundles["one"]).predict_rows(rows[:1])
    good = context(client)
    body = {"rows": rows[:1]}
    server.wait(lambda: ask(server.url, "/v2/health/ready", None, good)[0] == 200)
    status, answer = ask(server.url, "/v1/models/flight_delays/predict", body, good)
    assert (status, answer["predictions"]) == (200, wanted)
    assert ask(server.url, "/v1/models/flight_delays/predict", body, good, token="wrong")[0] == 401
    for bad in (context(None), context(stranger), context(client, other)):
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(server.url, "/v2/health/live", None, bad)
    with pytest.raises(OSError):
        urllib.request.urlopen(server.url.replace("https", "http") + "/v2/health/live", timeout=5)

    def channel(pair, trusted=authority):
        read = [Path(path).read_bytes() for path in (trusted.path, *(reversed(pair) if pair else ()))]
        return grpc.secure_channel(server.grpc, grpc.ssl_channel_credentials(*read))

    with channel(client) as known:
        assert grpc_call(known, "ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse).live
        ready = grpc_call(known, "ModelReady", pb.ModelReadyRequest(name="flight_delays"), pb.ModelReadyResponse)
        assert ready.ready
        with pytest.raises(grpc.RpcError) as caught:
            grpc_call(known, "ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse, token="")
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    for bad in (channel(None), channel(stranger), channel(client, other)):
        with bad, pytest.raises(grpc.RpcError) as caught:
            grpc_call(bad, "ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_tokens_by_model_over_grpc_too(serve, bundles, rows, tmp_path):
    limited = hashlib.sha256(b"shop").hexdigest()
    (tmp_path / "tokens.json").write_text(json.dumps({limited: {"name": "shop", "models": ["flight_delays"]}}))
    server = serve("--tokens", str(tmp_path / "tokens.json"), "--grpc-port", "0")
    server.load(bundles["one"], "1", ["champion"])
    server.load(bundles["one"], "1", ["champion"], model="secret")
    request = pb.ModelInferRequest(model_name="flight_delays")
    for name, value in rows[0].items():
        tensor = request.inputs.add(name=name, datatype="BYTES" if isinstance(value, str) else "FP64", shape=[1])
        getattr(tensor.contents, "bytes_contents" if isinstance(value, str) else "fp64_contents").append(
            value.encode() if isinstance(value, str) else value
        )
    with grpc.insecure_channel(server.grpc) as channel:
        assert grpc_call(channel, "ModelInfer", request, pb.ModelInferResponse, token="shop").model_version == "1"
        request.model_name = "secret"
        refused = [
            ("ModelInfer", request, pb.ModelInferResponse, "shop", grpc.StatusCode.PERMISSION_DENIED),
            ("ModelInfer", request, pb.ModelInferResponse, "wrong", grpc.StatusCode.UNAUTHENTICATED),
            ("ModelMetadata", pb.ModelMetadataRequest(name="secret"), pb.ModelMetadataResponse, "shop", grpc.StatusCode.PERMISSION_DENIED),
            (
                "RepositoryModelUnload",
                pb.RepositoryModelUnloadRequest(model_name="flight_delays"),
                pb.RepositoryModelUnloadResponse,
                "shop",
                grpc.StatusCode.PERMISSION_DENIED,
            ),
        ]
        for name, sent, answer, token, code in refused:
            with pytest.raises(grpc.RpcError) as caught:
                grpc_call(channel, name, sent, answer, token=token)
            assert caught.value.code() == code, name
        huge = pb.ModelInferRequest(model_name="flight_delays", id="x" * 5_000_000)
        with pytest.raises(grpc.RpcError) as caught:
            grpc_call(channel, "ModelInfer", huge, pb.ModelInferResponse)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def connect(server):
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def test_slow_clients_are_cut_off_and_others_are_not(serve, bundles, rows):
    server = serve("--timeout", "1", "--preload", f"flight_delays=1={bundles['one']}")
    body = json.dumps({"rows": rows[:1]}).encode()
    head = b"POST /v1/models/flight_delays/predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer only-for-tests\r\nContent-Length: %d\r\n"
    cases = {
        "nothing": b"",
        "half a head": b"POST /v1/mod",
        "no body": head % len(body) + b"\r\n",
        "half a body": head % len(body) + b"\r\n" + body[:9],
        "half a large body": head % 200_000 + b"\r\n" + b" " * 100_000,
    }
    opened = {name: connect(server) for name in cases}
    for name, connection in opened.items():
        connection.sendall(cases[name])
    # In two pieces, as many clients send it, it is answered.
    with connect(server) as patient:
        patient.sendall(head % len(body) + b"\r\n")
        time.sleep(0.3)
        patient.sendall(body)
        assert patient.recv(65536).startswith(b"HTTP/1.1 200 OK")
    for name, connection in opened.items():
        with connection:
            said = connection.recv(65536)
            assert said == b"" if name == "nothing" else said.split()[1] in {b"408", b"504"}, (name, said)


def test_a_request_may_ask_to_close_and_may_be_pipelined(serve, bundles, rows):
    server = serve("--preload", f"flight_delays=1={bundles['one']}")
    body = json.dumps({"rows": rows[:1]}).encode()
    head = b"POST /v1/models/flight_delays/predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer only-for-tests\r\n"
    whole = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    health = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    odd = head + b"X-Request-Id: a\xe9 b\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    last = head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with connect(server) as connection:
        connection.sendall(whole + health + whole + chunked + odd + last)
        found = b""
        while part := connection.recv(65536):
            found += part
    assert found.count(b"HTTP/1.1 200 OK") == 6, found
    assert found.count(b'"predictions"') == 5
    assert found.lower().count(b"connection: close") == 1
    # An id of the body that may not stand in a header is answered all the same.
    tensors = [{"name": n, "shape": [1], "datatype": "BYTES" if isinstance(v, str) else "FP64", "data": [v]} for n, v in rows[0].items()]
    status, answer = server.call("/v2/models/flight_delays/infer", {"id": "a\r\nb: c\u00e9", "inputs": tensors})
    assert (status, answer["id"]) == (200, "a\r\nb: c\u00e9")


def test_load_is_shed_by_the_age_of_the_queue(serve, bundles, rows):
    server = serve("--max-age", "0.02", "--workers", "1")
    server.load(bundles["slow"], "1", ["champion"])
    body = json.dumps({"rows": rows * 40}).encode()

    def one(_):
        request = urllib.request.Request(server.url + "/v1/models/flight_delays/predict", body)
        request.add_header("Authorization", "Bearer only-for-tests")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, None
        except urllib.error.HTTPError as error:
            return error.code, error.headers["retry-after"]

    with ThreadPoolExecutor(24) as pool:
        found = list(pool.map(one, range(120)))
    assert {status for status, _ in found} == {200, 503}
    assert {after for status, after in found if status == 503} == {"1"}
    time.sleep(0.3)
    assert server.predict(rows[:1])


def test_what_serves_on_while_it_stops(serve, bundles, rows):
    server = serve("--drain", "1.5", "--grpc-port", "0", "--preload", f"flight_delays=1={bundles['one']}")
    with grpc.insecure_channel(server.grpc) as channel:
        assert grpc_call(channel, "ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse).ready
        server.process.send_signal(signal.SIGTERM)
        ends = time.monotonic() + 1.0
        seen = []
        while time.monotonic() < ends:
            seen.append(server.call("/v2/health/ready", token="")[0])
            assert server.call("/v2/health/live", token="")[0] == 200
            assert server.predict(rows[:1])["version"] == "1"
        assert seen[-1] == 503
        assert not grpc_call(channel, "ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse).ready
    assert server.process.wait(timeout=20) == 0


def test_metrics_add_up_over_workers_and_kills(serve, bundles, rows):
    server = serve("--workers", "2", "--preload", f"flight_delays=1={bundles['one']}")

    def counted():
        figures = server.call("/v2/models/flight_delays/stats")[1]["arms"]["1/champion"]
        text = server.call("/metrics")[1].decode()
        label = 'windtunnel_request_seconds_count{model="flight_delays",protocol="json",route="champion",version="1"} '
        assert float(text.split(label)[1].split("\n")[0]) == figures["requests"]
        assert figures["within"]["+Inf"] == figures["requests"]
        assert figures["rows"] == 2 * figures["requests"]
        bounds = [figures["within"][key] for key in sorted(figures["within"], key=float)]
        assert bounds == sorted(bounds)
        return figures

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: server.predict(rows[:2]), range(300)))
    before = counted()
    assert before["requests"] == 300
    assert 0 < before["seconds"] < 60
    for slot in (0, 1):
        server.wait(lambda slot=slot: slot in server.workers())
        old = server.workers()[slot]
        os.kill(old, signal.SIGKILL)
        server.wait(lambda slot=slot, old=old: server.workers()[slot] != old)
    assert counted() == before
    for _ in range(100):
        server.predict(rows[:2])
    assert counted()["requests"] == 400
    shown = [entry for entry in log.entries(server.home / "log") if "shadow" not in entry]
    assert len(shown) <= 400


def test_only_allowed_types_are_loaded(serve, tmp_path):
    """A bundle whose digests are right, but whose pipeline holds what no list of ours allows."""
    import zipfile

    written = serving_models.flight_bundle(tmp_path / "b", "linear", compiled=False)
    path = tmp_path / "b" / "pipeline.skops"
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(entries["schema.json"])
    schema["__class__"], schema["__module__"] = "system", "os"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, json.dumps(schema) if name == "schema.json" else data)
    digest = bundle.seal(tmp_path / "b", written).digest
    server = serve()
    parameters = {"uri": str(tmp_path / "b"), "digest": digest, "version": "1", "labels": ["champion"]}
    status, body = server.call("/v2/repository/models/m/load", {"parameters": parameters})
    assert (status, "os.system" in body["error"]) == (400, True), body
    assert server.call("/v2/models/m")[0] == 404
