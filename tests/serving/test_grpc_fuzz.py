"""Random and malformed gRPC messages: every one is answered with a status of the server's own making, and nothing is kept of it."""

import logging
import os
import random

import grpc
import psutil
import pytest

from windtunnel.serving.compiler.engine import Engine
from windtunnel.serving.protocol import open_inference_pb2 as pb

REQUESTS = int(os.environ.get("WINDTUNNEL_FUZZ", "1500"))
SERVICE = "/inference.GRPCInferenceService"
METHODS = [method.name for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods]
ALLOWED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
}
NAMES = ["flight_delays", "", "nothing", "a" * 5000, "../..", "\u00e9\u65e5", "\x00"]
KINDS = ["FP64", "FP32", "FP16", "INT64", "INT8", "UINT64", "BOOL", "BYTES", "FP99", "", "bytes"]


def good(rows):
    request = pb.ModelInferRequest(model_name="flight_delays", id="g")
    for name, value in rows[0].items():
        tensor = request.inputs.add(name=name, datatype="BYTES" if isinstance(value, str) else "FP64", shape=[1])
        if isinstance(value, str):
            tensor.contents.bytes_contents.append(value.encode())
        else:
            tensor.contents.fp64_contents.append(value)
    return request


def spoilt(rng, request):  # noqa: PLR0912 - one branch a kind of damage
    """The request with one to three things in it that are otherwise."""
    found = pb.ModelInferRequest()
    found.CopyFrom(request)
    for _ in range(rng.randrange(1, 4)):
        tensor = rng.choice(found.inputs) if found.inputs else found.inputs.add()
        match rng.randrange(12):
            case 0:
                found.model_name = rng.choice(NAMES)
            case 1:
                found.model_version = rng.choice(["1", "champion", "2", "\x00", "9" * 400])
            case 2:
                found.id = rng.choice(["", "x" * 300, "a\nb", "\u00e9"])
            case 3:
                tensor.name = rng.choice([*NAMES, "dep_delay", "carrier"])
            case 4:
                tensor.datatype = rng.choice(KINDS)
            case 5:
                del tensor.shape[:]
                tensor.shape.extend(rng.choice([[], [0], [-1], [2], [1, 1], [1, 2], [2**62], [1, 1, 1]]))
            case 6:
                tensor.contents.Clear()
            case 7:
                getattr(tensor.contents, rng.choice(["fp64_contents", "int64_contents"])).append(rng.randrange(-(2**31), 2**31))
            case 8:
                tensor.contents.bytes_contents.append(rng.choice([b"\xff\xfe", b"", b"x" * 4000, "\u65e5".encode()]))
            case 9:
                tensor.contents.fp64_contents.append(rng.choice([float("nan"), float("inf"), -float("inf"), 1e308, -0.0]))
            case 10:
                sent = [b"", b"\x00", rng.randbytes(8), b"\xff\xff\xff\xffabc", b"\x02\x00\x00\x00UA", rng.randbytes(rng.randrange(40))]
                found.raw_input_contents.extend(rng.choice(sent) for _ in range(rng.choice([1, len(found.inputs), 9])))
            case _:
                found.outputs.add(name=rng.choice(["score", "prediction", "nothing", ""]))
                del found.inputs[rng.randrange(len(found.inputs)) :]
    return found


def plain(message):
    return message if isinstance(message, bytes) else message.SerializeToString()


@pytest.mark.slow
def test_malformed_grpc(serve, bundles, rows):
    server = serve("--grpc-port", "0", "--preload", f"flight_delays=1={bundles['one']}")
    rng = random.Random(2)
    request = good(rows)
    seen = {}
    with grpc.insecure_channel(server.grpc) as channel:
        calls = {name: channel.unary_unary(f"{SERVICE}/{name}", request_serializer=plain) for name in [*METHODS, "NoSuchMethod"]}

        def send(name, message, token="only-for-tests"):
            metadata = [("authorization", f"Bearer {token}"), ("x-windtunnel-key", rng.choice(["", "k", "x" * 2000]))]
            try:
                calls[name](message, metadata=metadata, timeout=20)
                code, text = grpc.StatusCode.OK, ""
            except grpc.RpcError as error:
                code, text = error.code(), error.details()
            seen[code] = seen.get(code, 0) + 1
            return code, text

        def many(count):
            for number in range(count):
                allowed = ALLOWED
                match number % 8:
                    case 0:  # bytes that are no message, or not this one
                        raw = bytearray(request.SerializeToString())
                        for _ in range(rng.randrange(1, 6)):
                            raw[rng.randrange(len(raw))] = rng.randrange(256)
                        name, message = "ModelInfer", bytes(raw[: rng.randrange(1, len(raw) + 1)])
                    case 1:
                        name, message = rng.choice([m for m in METHODS if "Unload" not in m]), rng.randbytes(rng.randrange(60))
                    case 2:
                        name, message, allowed = "NoSuchMethod", rng.randbytes(5), {grpc.StatusCode.UNIMPLEMENTED}
                    case _:
                        name, message = "ModelInfer", spoilt(rng, request)
                code, text = send(name, message)
                assert code in allowed, (name, message, text)
                assert "the server failed" not in text

        many(REQUESTS // 3)
        worker = psutil.Process(server.workers()[0])
        before = worker.memory_info().rss
        many(REQUESTS - REQUESTS // 3)
        after = worker.memory_info().rss
        assert send("ModelInfer", request)[0] == grpc.StatusCode.OK
    assert {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND} <= set(seen)
    assert after - before < 20e6 + 500 * REQUESTS, (before, after)
    assert server.predict(rows)["predictions"] == Engine.load(bundles["one"]).predict_rows(rows)
    assert "Traceback" not in (server.home / "out.txt").read_text()
    figures = {"requests": REQUESTS, "codes": {code.name: count for code, count in seen.items()}, "rss_mb": (before / 1e6, after / 1e6)}
    logging.getLogger("fuzz").info("%s", figures)
