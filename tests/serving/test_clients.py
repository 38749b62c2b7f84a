"""Clients that teams have, as processes of their own and as they are by default; each must get the same answers."""

import gzip
import http.client
import json
import os
import random
import shutil
import socket
import subprocess
import threading
import time
import zlib
from pathlib import Path

import httpx
import numpy as np
import pytest
from serving_models import TOKEN

from windtunnel.serving.compiler.engine import Engine

CLIENTS = Path(__file__).parent / "clients"
REQUESTS = 6


@pytest.fixture
def server(serve, bundles):
    return serve("--preload", f"flight_delays=1={bundles['one']}", "--grpc-port", "0", "--timeout", "5")


@pytest.fixture
def wanted(bundles, rows):
    return Engine.load(bundles["one"]).predict_rows(rows[:3])


def run(*command, **more):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=240, **more)


def answers(done):
    assert done.returncode == 0, done.stdout + done.stderr
    found = [line.partition(" ") for line in done.stdout.strip().splitlines()]
    assert [status for status, _, _ in found] == ["200"] * REQUESTS, found
    return [json.loads(body)["predictions"] for _, _, body in found]


PROGRAMS = {
    "java": lambda: ["java", CLIENTS / "Client.java"],
    "go": lambda: ["go", "run", CLIENTS / "client.go"],
    "node": lambda: ["node", CLIENTS / "client.mjs"],
}


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_clients_of_other_languages(server, rows, wanted, program):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not on this machine; .ci/run installs it where it can")
    body = json.dumps({"rows": rows[:3]})
    done = run(*PROGRAMS[program](), f"{server.url}/v1/models/flight_delays/predict", TOKEN, body, REQUESTS)
    assert answers(done) == [wanted] * REQUESTS


CURL = {
    "as it is": [],
    "HTTP/1.0": ["--http1.0"],
    "HTTP/1.0 kept": ["--http1.0", "--header", "Connection: keep-alive"],
    "chunks": ["--header", "Transfer-Encoding: chunked"],
    "100-continue": ["--header", "Expect: 100-continue"],
    "h2c offered": ["--http2"],
    "closing": ["--header", "Connection: close"],
}


@pytest.mark.parametrize("how", CURL)
def test_curl(server, rows, wanted, how):
    url = f"{server.url}/v1/models/flight_delays/predict"
    asked = ["--silent", "--show-error", "--max-time", "20", "--header", f"Authorization: Bearer {TOKEN}", *CURL[how]]
    done = run("curl", *asked, "--data-binary", json.dumps({"rows": rows[:3]}), url, url)  # twice, over one connection where that may be
    found = [json.loads(part + "}")["predictions"] for part in done.stdout.split("]}")[:-1] for part in [part + "]"]]
    assert found == [wanted] * 2, done.stdout + done.stderr
    head = run("curl", *asked[:4], "--head", f"{server.url}/v2/health/live").stdout
    assert "200 OK" in head
    options = run("curl", *asked[:6], "--include", "--request", "OPTIONS", url).stdout
    assert "204" in options.split("\r\n")[0]
    assert "allow: OPTIONS, POST" in options


def ask(server, *parts):
    """What comes back for some bytes until the server closes, or is silent for some seconds."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=8.0) as connection:
        for part in parts:
            connection.sendall(part)
        found = b""
        try:
            while part := connection.recv(65536):
                found += part
        except TimeoutError:
            pass
    return found


def request(body, *headers, version=b"1.1", path=b"/v1/models/flight_delays/predict"):
    lines = [b"POST " + path + b" HTTP/" + version, b"Host: x", b"Authorization: Bearer " + TOKEN.encode(), *headers]
    return b"\r\n".join(lines) + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def test_content_codings(server, rows, wanted):
    body = json.dumps({"rows": rows[:3]}).encode()
    raw = zlib.compressobj(wbits=-15)
    good = {
        b"gzip": gzip.compress(body),
        b"x-gzip": gzip.compress(body[:9]) + gzip.compress(body[9:]),
        b"deflate": zlib.compress(body),
        b"Deflate": raw.compress(body) + raw.flush(),
        b"identity": body,
    }
    for coding, sent in good.items():
        answer = ask(server, request(sent, b"Content-Encoding: " + coding, b"Connection: close"))
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["predictions"] == wanted, (coding, answer)
    bad = {
        b"br": (body, 415),
        b"gzip, gzip": (gzip.compress(gzip.compress(body)), 415),
        b"gzip": (body, 400),
        b"deflate": (b"\x00" * 50, 400),
        b" gzip": (gzip.compress(body)[:-9], 400),
        b"gzip ": (gzip.compress(b" " * 50_000_000), 413),
        b"x-gzip": (gzip.compress(b"") * 5000, 400),
    }
    for coding, (sent, status) in bad.items():
        answer = ask(server, request(sent, b"Content-Encoding: " + coding, b"Connection: close"))
        assert int(answer.split()[1]) == status, (coding, answer[:200])
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


def test_heads_and_bodies_have_limits(server, rows):
    import psutil

    before = psutil.Process(server.workers()[0]).memory_info().rss
    head = b"POST /v1/models/flight_delays/predict HTTP/1.1\r\nHost: x\r\n"
    endless = b"x" * 4_000_000
    cases = [
        (b"GET /" + endless, 414),
        (head + b"X-Long: " + endless, 431),
        (head + b"X: y\r\n" * 100_000, 431),
        (head + b"X: y\r\n" * 300 + b"\r\n", 431),
        (head + b"Content-Length: 9999999\r\n\r\n" + endless, 413),
        (head + b"Content-Length: 3000000\r\n\r\n" + endless, 401),
        (head + b"Transfer-Encoding: chunked\r\n\r\n" + b"5\r\nabcde\r\n" * 9, 401),
        (head + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (head + b"Expect: a miracle\r\nContent-Length: 3\r\n\r\n", 417),
        (request(b"{}", version=b"2.0"), 505),
        (head + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (head + b"Content-Length : 3\r\n\r\nabc", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100 + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    ]
    for sent, status in cases:
        answer = ask(server, sent)
        assert int(answer.split()[1]) == status, (sent[:80], answer[:200])
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        assert b"connection: close" in answer
    token = b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
    chunked = head + token + b"Transfer-Encoding: chunked\r\n\r\n"
    for chunks in (b"x\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"-3\r\nabc\r\n", b"3\nabc\n0\n\n", b"0x3\r\nabc\r\n0\r\n\r\n", b"5;" + endless):
        answer = ask(server, chunked + chunks)
        assert answer.split()[1] in {b"400", b"408"}, (chunks[:40], answer[:200]) if answer else (chunks[:40], "nothing")
    assert ask(server, chunked + b"400000\r\n" + endless + b"x" * 194_304 + b"\r\n0\r\n\r\n").split()[1] == b"413"
    assert psutil.Process(server.workers()[0]).memory_info().rss - before < 60e6
    assert server.predict(rows[:1])


def test_connections_have_a_limit(serve, bundles, rows):
    server = serve("--preload", f"flight_delays=1={bundles['one']}", "--max-connections", "5")
    host, port = server.url.removeprefix("http://").split(":")
    held = [socket.create_connection((host, int(port))) for _ in range(5)]
    time.sleep(0.2)
    answer = ask(server, b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.split()[1] == b"503", answer
    for connection in held:
        connection.close()
    server.wait(lambda: server.call("/v2/health/live")[0] == 200)


class Gone(Exception):
    """The server is gone, and says so."""


class Kept:
    """Python's own client: keeps its connection, and looks at it only when it asks again."""

    def __init__(self, url):
        self.connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)

    def ask(self, body):
        try:
            self.connection.request("POST", PREDICT, body, {"Authorization": f"Bearer {TOKEN}"})
        except ConnectionRefusedError as error:
            raise Gone from error
        answer = self.connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("connection")

    def pause(self):
        time.sleep(0.005)


class Fresh(Kept):
    """A connection for each request."""

    def __init__(self, url):
        self.url = url

    def ask(self, body):
        super().__init__(self.url)
        try:
            return super().ask(body)
        finally:
            self.connection.close()


class Pooled:
    """A pool, with pauses longer than the server lingers."""

    def __init__(self, url):
        self.client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10, trust_env=False)

    def ask(self, body):
        try:
            answer = self.client.post(PREDICT, content=body)
        except httpx.ConnectError as error:
            self.client.close()
            raise Gone from error
        return answer.status_code, answer.headers.get("connection")

    def pause(self):
        time.sleep(random.uniform(0.0, 1.5))


PREDICT = "/v1/models/flight_delays/predict"
STOPS = int(os.environ.get("WINDTUNNEL_STOPS", "1"))  # 20 were tried: benchmarks/serving.md


def test_nobody_is_reset_when_the_server_stops(serve, bundles, rows):
    body, said, broken = json.dumps({"rows": rows[:1]}), [], []

    def ask(client, server):
        while True:
            try:
                said.append(client.ask(body))
            except Gone:
                return
            except (OSError, http.client.HTTPException, httpx.HTTPError) as error:
                broken.append((type(client).__name__, repr(error)))
                if server.process.poll() is not None:
                    return
            client.pause()

    for number in range(STOPS):
        server = serve(
            "--preload", f"flight_delays=1={bundles['one']}", "--workers", "2", "--drain", str(0.5 * (number % 2)), home=f"home{number}"
        )
        clients = [kind(server.url) for kind in (Kept, Fresh, Pooled) for _ in range(4)]
        threads = [threading.Thread(target=ask, args=(client, server)) for client in clients]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        server.stop()
        for thread in threads:
            thread.join()
    assert not broken
    assert {status for status, _ in said} == {200}
    assert sum(header == "close" for _, header in said) >= 4 * STOPS


def test_mlflow_s_protocol(server, bundles, rows):
    """A caller of ``mlflow models serve`` changes its URL and nothing else."""
    import pandas as pd

    columns = list(rows[0])
    data = [[row[name] for name in columns] for row in rows]
    frame = pd.DataFrame(data, columns=columns)
    wanted = [int(answer["prediction"]) for answer in Engine.load(bundles["one"]).predict_rows(rows)]
    bodies = [
        {"dataframe_split": {"columns": columns, "data": data}},
        {"dataframe_split": {"index": list(range(len(data))), "columns": columns[::-1], "data": [row[::-1] for row in data]}},
        {"dataframe_records": rows},
        {"instances": rows},
        {"instances": data},
        {"inputs": {name: [row[name] for row in rows] for name in columns}},
        {"inputs": {name: [[row[name]] for row in rows] for name in columns}},
        {"inputs": data},
    ]
    for path in ("/invocations", "/models/flight_delays/invocations"):
        for body in bodies:
            status, answer = server.call(path, body, Content_Type="application/json")
            assert (status, answer["predictions"]) == (200, wanted), (body.keys(), answer)
        for kind in ("text/csv", "text/csv; charset=utf-8"):
            status, answer = server.call(path, frame.to_csv(index=False).encode(), Content_Type=kind)
            assert (status, answer["predictions"]) == (200, wanted), answer
    for path in ("/ping", "/health", "/version", "/models/flight_delays/ping", "/models/flight_delays/version"):
        assert run("curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "-H", f"Authorization: Bearer {TOKEN}",
                   server.url + path).stdout == "200"  # fmt: skip
    for body, status in [
        ({}, 422),
        ({"instances": rows, "inputs": rows}, 422),
        ({"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}, 422),
        ({"dataframe_split": {"columns": columns, "data": [[1]]}}, 422),
        ({"instances": [[1, 2]]}, 422),
        ({"inputs": {"a": [1], "b": [1, 2]}}, 422),
        ({"dataframe_records": []}, 422),
        ([1], 422),
    ]:
        assert server.call("/invocations", body)[0] == status, body
    assert server.call("/invocations", b"a,b\n1\n", Content_Type="text/csv")[0] == 422
    assert server.call("/invocations", b"<a/>", Content_Type="application/xml")[0] == 415
    server.load(bundles["two"], "1", ["champion"], model="other")
    assert server.call("/invocations", bodies[0])[0] == 404, "which of them?"
    assert server.call("/invocations", bodies[0], X_Windtunnel_Model="other")[0] == 200
    assert server.call("/models/other/invocations", bodies[0])[0] == 200


def test_kserve_s_first_protocol(server, bundles, rows):
    wanted = [int(answer["prediction"]) for answer in Engine.load(bundles["one"]).predict_rows(rows)]
    for instances in (rows, [list(row.values()) for row in rows]):
        assert server.call("/v1/models/flight_delays:predict", {"instances": instances}) == (200, {"predictions": wanted})
    server.load(bundles["two"], "1", ["champion"], model="other")
    assert server.call("/v1/models/other:predict", {"instances": rows})[0] == 200
    assert set(server.call("/v1/models")[1]["models"]) == {"flight_delays", "other"}
    assert server.call("/v1/models/other") == (200, {"name": "other", "ready": True})
    assert server.call("/v1/models/none")[0] == 404
    assert server.call("/v1/models/other:predict", {"instances": 3})[0] == 422


def test_json_is_json(server, rows):
    row = json.dumps(rows[0])
    path = "/v1/models/flight_delays/predict"
    twice = b'{"rows": [%s, {"month": 1, "month" :2}]}' % row.encode()
    status, body = server.call(path, twice)
    assert (status, body["problems"]) == (422, [{"row": 1, "field": "month", "message": "is there twice in one object"}])
    for text in ('{"rows": [{"dep_delay": Infinity}]}', f'{{"rows": [{row}], "x": -Infinity}}', '{"rows": [{"other": Infinity}]}'):
        status, body = server.call(path, text.encode())
        assert (status, "Infinity" in body["error"], "column" in body["error"]) == (422, True, True), body
    for coding in ("utf-16", "utf-16-le", "utf-32"):
        assert server.call(path, f'{{"rows": [{row}]}}'.encode(coding))[0] == 422
    assert server.call(path, f'\ufeff{{"rows": [{row}]}}'.encode())[0] == 200
    missing = json.dumps({"rows": [{**rows[0], "dep_delay": float("nan")}]}).encode()  # what Python's clients write for a missing number
    null = json.dumps({"rows": [{**rows[0], "dep_delay": None}]}).encode()
    assert server.call(path, missing)[1]["predictions"] == server.call(path, null)[1]["predictions"]
    tensor = '{"name": "month", "shape": [1], "shape": [1], "datatype": "INT64", "data": [1]}'
    assert server.call("/v2/models/flight_delays/infer", f'{{"inputs": [{tensor}]}}'.encode())[0] == 422


def tensors(triton, rows, *, binary=True):
    found = []
    for name, value in rows[0].items():
        text = isinstance(value, str)
        tensor = triton.InferInput(name, [len(rows), 1], "BYTES" if text else "FP64")
        values = np.array([[row[name]] for row in rows], dtype=np.object_ if text else np.float64)
        tensor.set_data_from_numpy(values, **({"binary_data": binary} if triton.__name__.endswith("http") else {}))
        found.append(tensor)
    return found


def test_tritonclient_over_http_with_all_options(server, rows, wanted):
    import tritonclient.http as triton

    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    # The client writes into the headers that it is given.
    token = {"Authorization": f"Bearer {TOKEN}"}
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("flight_delays", "1", headers=dict(token))
    assert client.get_model_config("flight_delays", headers=dict(token))["name"] == "flight_delays"
    assert client.get_model_metadata("flight_delays", "champion", headers=dict(token))["inputs"]
    assert client.get_inference_statistics(headers=dict(token))["model_stats"]
    assert client.get_inference_statistics("flight_delays", headers=dict(token))["model_stats"]
    assert client.get_model_repository_index(headers=dict(token))[0]["state"] == "READY"
    client.load_model("flight_delays", headers=dict(token))
    scores = [answer["score"] for answer in wanted]
    for compress in (None, "gzip", "deflate"):
        for binary in (True, False):
            found = client.infer(
                "flight_delays",
                tensors(triton, rows[:3], binary=binary),
                model_version="1",
                outputs=[triton.InferRequestedOutput("score", binary_data=binary), triton.InferRequestedOutput("prediction")],
                request_id="r1",
                priority=1,
                timeout=5_000_000,
                headers=dict(token),
                query_params={"a": 1},
                request_compression_algorithm=compress,
                response_compression_algorithm=compress,
                parameters={"mine": "x"},
            )
            assert found.as_numpy("score").tolist() == scores
            assert found.get_response()["id"] == "r1"
    asynchronous = client.async_infer("flight_delays", tensors(triton, rows[:3]), headers=dict(token))
    assert asynchronous.get_result().as_numpy("score").tolist() == scores
    client.close()


def test_tritonclient_over_grpc_with_all_options(server, rows, wanted):
    import queue

    import tritonclient.grpc as triton

    client = triton.InferenceServerClient(server.grpc)
    token = {"authorization": f"Bearer {TOKEN}"}
    assert client.is_server_live()
    assert client.is_model_ready("flight_delays", headers=token)
    assert client.get_model_config("flight_delays", headers=token).config.max_batch_size == 10_000
    assert client.get_model_repository_index(headers=token).models[0].state == "READY"
    client.load_model("flight_delays", headers=token)
    scores = [answer["score"] for answer in wanted]
    for compress in (None, "gzip", "deflate"):
        found = client.infer(
            "flight_delays",
            tensors(triton, rows[:3]),
            outputs=[triton.InferRequestedOutput("score")],
            request_id="g1",
            priority=1,
            timeout=5_000_000,
            client_timeout=20,
            headers=token,
            compression_algorithm=compress,
            parameters={"mine": "x"},
        )
        assert found.as_numpy("score").tolist() == scores
    come = queue.Queue()
    client.start_stream(callback=lambda result, error: come.put((result, error)), headers=token)
    client.async_stream_infer("flight_delays", tensors(triton, rows[:3]), request_id="s1")
    client.async_stream_infer("nothing", tensors(triton, rows[:3]), request_id="s2")
    client.async_stream_infer("flight_delays", tensors(triton, rows[1:3]), request_id="s3")
    seen = [come.get(timeout=20) for _ in range(3)]
    client.stop_stream()
    assert seen[0][0].as_numpy("score").tolist() == scores
    assert "nothing" in str(seen[1][1])
    assert seen[2][0].as_numpy("score").tolist() == scores[1:]
    client.close()


def test_one_matrix_of_all_columns(serve, tmp_path):
    import serving_models
    import tritonclient.grpc as grpc_triton
    import tritonclient.http as http_triton
    from sklearn.linear_model import LogisticRegression

    frame = serving_models.flights(500)[["distance", "month", "hour"]].astype("float64")
    model = LogisticRegression(max_iter=500).fit(frame, serving_models.flights(500)["arr_delay"] > 15)
    serving_models.write(tmp_path / "b", model, frame, classes=["False", "True"])
    server = serve("--preload", f"m=1={tmp_path / 'b'}", "--grpc-port", "0")
    matrix = frame.to_numpy()[:4].astype(np.float32)
    wanted = model.predict_proba(frame.head(4).astype(np.float32).astype(np.float64))[:, 1]
    for triton, where in ((http_triton, server.url.removeprefix("http://")), (grpc_triton, server.grpc)):
        client = triton.InferenceServerClient(where)
        tensor = triton.InferInput("input-0", list(matrix.shape), "FP32")
        tensor.set_data_from_numpy(matrix)
        found = client.infer("m", [tensor], headers={"authorization": f"Bearer {TOKEN}"})
        np.testing.assert_allclose(found.as_numpy("score"), wanted, rtol=1e-9)
        client.close()
    body = {"inputs": [{"name": "x", "shape": [4, 3], "datatype": "FP64", "data": matrix.astype(float).tolist()}]}
    status, answer = server.call("/v2/models/m/infer", body)
    assert status == 200
    (score,) = [output["data"] for output in answer["outputs"] if output["name"] == "score"]
    np.testing.assert_allclose(score, wanted, rtol=1e-9)
    body["inputs"][0]["shape"] = [6, 2]
    status, answer = server.call("/v2/models/m/infer", body)
    assert (status, "distance" in answer["error"]) == (422, True)
    assert server.call("/v1/models/m:predict", {"instances": matrix.astype(float).tolist()})[1]["predictions"] == [
        bool(label) for label in model.predict(frame.head(4))
    ]
