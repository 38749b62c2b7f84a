"""What strangers send that is nearly right: each gets an answer that says what is wrong, and the next client its own."""

import concurrent.futures
import json
import socket
import struct

import grpc
import numpy as np
import pytest
from serving_models import TOKEN
from test_clients import ask

from windtunnel.serving.compiler.engine import Engine
from windtunnel.serving.front.http.framing import head_of
from windtunnel.serving.front.http.wire import Connections
from windtunnel.serving.protocol import open_inference_pb2 as pb

PREDICT = b"/v1/models/flight_delays/predict"
INFER = b"/v2/models/flight_delays/infer"
TOKEN_LINE = b"Authorization: Bearer " + TOKEN.encode()


@pytest.fixture
def server(serve, bundles):
    return serve("--preload", f"flight_delays=1={bundles['one']}", "--grpc-port", "0", "--timeout", "5")


def request(body, *headers, path=PREDICT, method=b"POST", host=(b"Host: x",)):
    lines = [method + b" " + path + b" HTTP/1.1", *host, TOKEN_LINE, b"Connection: close", *headers]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body)]) + b"\r\n\r\n" + body


def tensors_of(row, **spoilt):
    tensors = {}
    for name, value in row.items():
        datatype = "BYTES" if isinstance(value, str) else "INT64" if isinstance(value, int) else "FP64"
        tensors[name] = {"name": name, "shape": [1], "datatype": datatype, "data": [value]}
    for name, more in spoilt.items():
        tensors[name].update(more)
    return json.dumps({"inputs": list(tensors.values())}).encode()


def cases(row):
    """Name -> bytes, the status that they get and a word of the error."""
    body, split = json.dumps({"rows": [row]}).encode(), {"columns": list(row), "data": [list(row.values())]}
    kind = b"Content-Type: application/json"

    def indexed(index):
        text = json.dumps({"dataframe_split": split | {"index": index}}).encode()
        return request(text, kind, path=b"/invocations")

    def by_head(length):
        return request(tensors_of(row), b"Inference-Header-Content-Length: " + length, path=INFER)

    found = {
        "as it should be": (request(body), 200, ""),
        "no host": (request(body, host=()), 400, "Host"),
        "two hosts": (request(body, b"Host: y"), 400, "Host"),
        "two tokens": (request(body, TOKEN_LINE), 400, "Authorization"),
        "two types": (request(body, kind, b"Content-Type: text/csv", path=b"/invocations"), 400, "Content-Type"),
        "two codings": (request(body, b"Content-Encoding: gzip", b"Content-Encoding: identity"), 400, "Content-Encoding"),
        "two other headers": (request(body, b"X-A: 1", b"X-A: 2"), 200, ""),
        "two equal lengths": (request(body, b"Content-Length: %d" % len(body)), 400, "Content-Length"),
        "folded": (request(body, b"X-A: b\r\n c"), 400, "whitespace"),
        "a whole URL": (request(body, path=b"http://x" + PREDICT), 200, ""),
        "percents": (request(body, path=PREDICT.replace(b"f", b"%66")), 200, ""),
        "all of the server": (request(b"", method=b"OPTIONS", path=b"*"), 204, ""),
        "a star": (request(b"", method=b"GET", path=b"*"), 404, "no such route"),
        "digits": (request(body.replace(b'"month": 5', b'"month": ' + b"9" * 9000)), 422, "digits"),
        "depth": (request(b'{"rows":' + b"[" * 100_000), 400, "JSON"),
        "head's length of many digits": (by_head(b"9" * 5000), 422, "JSON part"),
        "head's length beyond the body": (by_head(b"9999"), 422, "JSON part"),
        "an index as long as the rows": (indexed(["a"]), 200, ""),
        "an index that is longer": (indexed([1, 2]), 422, "index"),
        "an index that is none": (indexed(3), 422, "index"),
    }
    for datatype, value, status in (
        ("INT8", 127, 200),
        ("INT8", 128, 422),
        ("INT16", -32_769, 422),
        ("UINT8", -1, 422),
        ("UINT64", -1, 422),
        ("BOOL", 1, 422),
        ("FP16", 70_000.0, 422),
        ("INT64", 1 << 63, 422),
    ):
        spoilt = tensors_of(row, month={"datatype": datatype, "data": [value]})
        found[f"{value} as {datatype}"] = request(spoilt, path=INFER), status, "" if status == 200 else "month"
    return found


def test_http_that_is_nearly_right(server, rows):
    wanted = server.predict(rows[:1])["predictions"]
    for name, (sent, status, word) in cases(rows[0] | {"month": 5}).items():
        answer = ask(server, sent)
        assert answer, (name, (server.home / "out.txt").read_text()[-2000:])
        assert int(answer.split()[1]) == status, (name, answer[:300])
        if status not in {200, 204}:
            assert word in json.loads(answer.partition(b"\r\n\r\n")[2])["error"], (name, answer)
    assert server.predict(rows[:1])["predictions"] == wanted
    assert "Traceback" not in (server.home / "out.txt").read_text()


def message(row, count=1):
    """A request for inference, with its tensors as raw contents."""
    found = pb.ModelInferRequest(model_name="flight_delays")
    for name, value in row.items():
        found.inputs.add(name=name, shape=[count], datatype="BYTES" if isinstance(value, str) else "FP64")
        raw = struct.pack("<I", len(value)) + value.encode() if isinstance(value, str) else np.float64(value).tobytes()
        found.raw_input_contents.append(raw * count)
    return found


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"POST"])
@pytest.mark.parametrize("path", [b"/v2/health/live", b"/v2/models/flight_delays", b"/nothing", PREDICT])
def test_who_asks_to_close_is_closed_without_a_body_too(method, path):
    for version, more, stays in (
        (b"1.1", b"", True),
        (b"1.1", b"Connection: close\r\n", False),
        (b"1.1", b"Connection: Close\r\nContent-Length: 0\r\n", False),
        (b"1.1", b"Connection: upgrade, close\r\nUpgrade: h2c\r\n", False),
        (b"1.1", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n", True),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: keep-alive\r\n", True),
        (b"1.1", b"Connection: close\r\nContent-Length: 3\r\n", False),
        (b"1.1", b"Content-Length: 3\r\n", True),
    ):
        head = head_of(method + b" " + path + b" HTTP/" + version + b"\r\nHost: x\r\n" + more + b"\r\n")
        assert (head.stays, head.persists, head.method) == (stays, stays and version == b"1.0", method.decode()), (version, more)


def test_a_connection_is_closed_for_who_asks(server):
    host, port = server.url.removeprefix("http://").split(":")
    for method in (b"GET", b"HEAD"):
        with socket.create_connection((host, int(port)), timeout=30.0) as connection:
            connection.sendall(method + b" /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b""
            while part := connection.recv(65536):  # or a timeout: it was left open
                answer += part
        assert b"connection: close" in answer


def test_grpc_that_is_nearly_right(server, bundles, rows):
    metadata = (("authorization", f"Bearer {TOKEN}"),)
    infer = "/inference.GRPCInferenceService/ModelInfer"
    with grpc.insecure_channel(server.grpc, options=[("grpc.max_send_message_length", -1)]) as channel:
        call = channel.unary_unary(infer, pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString)
        stream = channel.stream_stream(
            infer.replace("ModelInfer", "ModelStreamInfer"), pb.ModelInferRequest.SerializeToString, pb.ModelStreamInferResponse.FromString
        )

        def code(request, timeout=10):
            with pytest.raises(grpc.RpcError) as caught:
                call(request, metadata=metadata, timeout=timeout)
            return caught.value.code(), caught.value.details()

        both = message(rows[0])
        both.inputs[0].contents.fp64_contents.append(1.0)
        found = code(both)
        assert (found[0], "send either" in found[1]) == (grpc.StatusCode.INVALID_ARGUMENT, True)
        narrow = message(rows[0])
        del narrow.raw_input_contents[:]
        for entry, value in zip(narrow.inputs, rows[0].values(), strict=True):
            if isinstance(value, str):
                entry.contents.bytes_contents.append(value.encode())
            else:
                entry.datatype = "INT8"
                entry.contents.int_contents.append(300)
        found = code(narrow)
        assert (found[0], "no INT8" in found[1]) == (grpc.StatusCode.INVALID_ARGUMENT, True)
        assert code(message(rows[0], 100_000))[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
        # Deadlines that pass, and streams that are left, keep nobody else waiting.
        large = message(rows[0], 9000)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            codes = list(pool.map(lambda _: code(large, 0.001)[0], range(40)))
        assert set(codes) == {grpc.StatusCode.DEADLINE_EXCEEDED}
        for _ in range(20):
            left = stream(iter([large] * 3), metadata=metadata)
            next(left)
            left.cancel()
        assert len(call(large, metadata=metadata, timeout=20).raw_output_contents) == 2
        answers = list(stream(iter([message(rows[0]), both, message(rows[0])]), metadata=metadata))
        assert [bool(answer.error_message) for answer in answers] == [False, True, False]
    assert server.predict(rows[:1])["predictions"] == Engine.load(bundles["one"]).predict_rows(rows[:1])
    assert "Traceback" not in (server.home / "out.txt").read_text()


def test_heads_are_remembered_within_bounds():
    class Routes:
        def __init__(self):
            self.known = {}

        def target(self, url):
            return None

    connections = Connections(Routes())
    for number in range(5000):
        head = connections.head(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number).head
        assert head.url == b"/%d" % number
    assert len(connections._heads) <= 512
    connections.head(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 4000 + b"\r\n\r\n")
    assert sum(map(len, connections._heads)) < 512 * 100
