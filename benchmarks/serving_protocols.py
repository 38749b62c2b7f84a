"""Every protocol of ours, and other servers with the same pipeline: a part of `benchmarks/serving.py`."""

import asyncio
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from serving_load import ENVIRONMENT, beside_batches, each, free, load_of, many, measure, request, server, tensors_of


async def grpc_load(port, requests, clients, seconds):
    from grpc import aio

    taken, failed = [], []
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        ends = time.perf_counter() + seconds

        async def ask(place):
            while (began := time.perf_counter()) < ends:
                place += 1
                try:
                    await call(requests[place % len(requests)], metadata=(("authorization", "Bearer bench"),))
                except aio.AioRpcError as error:
                    failed.append(error.code())
                taken.append(time.perf_counter() - began)

        await asyncio.gather(*(ask(number * 7) for number in range(clients)))
    return taken, failed


BARE_GRPC = """
import asyncio, sys, grpc, uvloop
from grpc import aio
async def main():
    async def answer(raw, context):
        return b"x" * 120
    methods = {"ModelInfer": grpc.unary_unary_rpc_method_handler(answer)}
    handler = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods)
    server = aio.server()
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port("127.0.0.1:" + sys.argv[1])
    await server.start()
    await server.wait_for_termination()
uvloop.run(main())
"""


def binary_of(rows):
    """A request of raw bytes: its body, and the length of its JSON part."""
    body, blobs = tensors_of(rows), []
    for entry in body["inputs"]:
        values = entry.pop("data")
        if entry["datatype"] == "BYTES":
            blob = b"".join(struct.pack("<I", len(text)) + text.encode() for text in values)
        else:
            blob = np.array(values, dtype={"FP64": "<f8", "INT64": "<i8"}[entry["datatype"]]).tobytes()
        entry["parameters"] = {"binary_data_size": len(blob)}
        blobs.append(blob)
    head = json.dumps(body | {"parameters": {"binary_data_output": True}}).encode()
    return head + b"".join(blobs), len(head)


def grpc_of(rows):
    from windtunnel.serving.protocol import open_inference_pb2 as pb

    message = pb.ModelInferRequest(model_name="m")
    for entry in tensors_of(rows)["inputs"]:
        message.inputs.add(name=entry["name"], datatype=entry["datatype"], shape=entry["shape"])
        values, kind = entry["data"], entry["datatype"]
        texts = kind == "BYTES" and b"".join(struct.pack("<I", len(text)) + text.encode() for text in values)
        message.raw_input_contents.append(texts or np.array(values, dtype={"FP64": "<f8", "INT64": "<i8"}[kind]).tobytes())
    return message.SerializeToString()


def binary_request(rows):
    data, length = binary_of(rows)
    lines = ["Content-Type: application/octet-stream", f"Inference-Header-Content-Length: {length}"]
    return request("/v2/models/m/infer", data, *lines)


def split_of(rows):
    return {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}


PROTOCOLS = {
    "own route": lambda rows: request("/v1/models/m/predict", {"rows": rows}),
    "v2 JSON": lambda rows: request("/v2/models/m/infer", tensors_of(rows)),
    "v2 binary": binary_request,
    "/invocations": lambda rows: request("/invocations", {"dataframe_split": split_of(rows)}),
}


def protocols(folder, rows, clients, seconds, root):
    """Every protocol of ours with one row a request, and batches; gRPC beside a server of gRPC's that does nothing."""
    found = []
    grpc_port = free()
    with server("protocols", root, "--log-age", "1", "--grpc-port", str(grpc_port)) as (process, port, call):
        call("load", **load_of(folder, "1"))
        home = root / "protocols"
        for name, made in PROTOCOLS.items():
            found += measure(f"windtunnel {name}", process, port, each(rows, made), clients, seconds, home)
        found += measure("windtunnel gRPC", process, grpc_port, each(rows, grpc_of), clients, seconds, home, grpc_load)
        for count in (100, 10_000):
            for name, made in PROTOCOLS.items():
                found += measure(f"windtunnel {name}, {count:,} rows", process, port, many(rows, made, count), [1], seconds, home)
            found += measure(
                f"windtunnel gRPC, {count:,} rows", process, grpc_port, many(rows, grpc_of, count), [1], seconds, home, grpc_load
            )
        own = PROTOCOLS["own route"]
        beside_batches(port, each(rows, own), many(rows, own, 10_000), 2 * seconds)
    port = free()
    bare = subprocess.Popen([sys.executable, "-c", BARE_GRPC, str(port)])
    time.sleep(2)
    try:
        found += measure("bare grpc.aio", bare, port, each(rows, grpc_of), clients, seconds, None, grpc_load)
    finally:
        bare.terminate()
        bare.wait()
    return found


def peers(pipeline, rows, clients, seconds, root, environments):
    """Other servers with the same pipeline; one that does not start is said, with the end of what it wrote."""
    import joblib

    model = root / "model.joblib"
    joblib.dump(pipeline, model)
    script = Path(__file__).parent / "serving_peers.py"
    plain, found = (lambda part: request("/predict", {"rows": part})), []
    settings = root / "mlserver"
    settings.mkdir()
    about = {"name": "m", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": str(model), "content_type": "pd"}}
    (settings / "model-settings.json").write_text(json.dumps(about))
    for name in ("fastapi", "litserve", "bentoml", "ray", "mlserver"):
        binaries, port = environments / name / "bin", free()
        if not binaries.exists():
            print(f"{name}: no environment", flush=True)
            continue
        command = [binaries / "python", script, name, port, model]
        made = mlserver_request if name == "mlserver" else plain
        if name == "bentoml":
            command = [binaries / "bentoml", "serve", "serving_peers:Bento", "--host", "127.0.0.1", "--port", port]
        elif name == "mlserver":
            command = [binaries / "mlserver", "start", settings]
            ports = {"http_port": port, "grpc_port": free(), "metrics_port": free(), "host": "127.0.0.1"}
            (settings / "settings.json").write_text(json.dumps(ports))
        environment = ENVIRONMENT | {
            "BENTO_MODEL": str(model) if name == "bentoml" else "",
            "BENTOML_DO_NOT_TRACK": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        if name != "bentoml":
            del environment["BENTO_MODEL"]
        environment["PATH"] = f"{binaries}:{os.environ['PATH']}"
        with (root / f"{name}.out").open("w") as out:
            process = subprocess.Popen([str(part) for part in command], env=environment, cwd=script.parent, stdout=out, stderr=out)
        try:
            answered(port, made(rows[:1]), process)
            found += measure(name, process, port, each(rows, made), clients, seconds)
            found += measure(f"{name}, 10,000 rows", process, port, many(rows, made, 10_000), [1], seconds)
        except (AssertionError, OSError, ZeroDivisionError) as error:
            print(f"{name} did not start or answer: {error}: {(root / f'{name}.out').read_text()[-600:]}", flush=True)
        finally:
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.terminate()
            process.terminate()
            process.wait()
    return found


def mlserver_request(rows):
    body = tensors_of(rows)
    for entry in body["inputs"]:
        entry["shape"] = [len(rows), 1]
        if entry["datatype"] == "BYTES":
            entry["parameters"] = {"content_type": "str"}
    return request("/v2/models/m/infer", body | {"parameters": {"content_type": "pd"}, "outputs": [{"name": "predict_proba"}]})


def answered(port, raw, process, seconds=60):
    """Wait until a server answers a request well."""
    said = b""
    for _ in range(seconds * 5):
        assert process.poll() is None, "the server ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(raw)
            said = connection.recv(65536)
            if said.startswith(b"HTTP/1.1 200"):
                return
        time.sleep(0.2)
    raise AssertionError(said[-300:])
