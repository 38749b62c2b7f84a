"""Our server beside ``mlflow models serve``: the same pipeline, the same rows, the same clients, in one run.

python benchmarks/serving.py [--seconds 5] [--clients 1,8,32] [--skip-mlflow] [--only compare|swaps|sync|batches|protocols] [--peers DIR]

DIR has an environment for each peer, by name: ``fastapi`` (fastapi, uvicorn), ``litserve``, ``bentoml``, ``ray`` (ray[serve]), ``mlserver``
(mlserver, mlserver-sklearn), each with the scikit-learn and pandas of this one.

Each server runs in processes of its own; CPU is what its process tree used (user and system), divided by the requests it answered.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "serving"))
import serving_models

ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "WINDTUNNEL_TOKEN": "bench",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu(pid):
    total = 0.0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            times = process.cpu_times()
            total += times.user + times.system
        except psutil.Error:
            continue
    return total


def rss(pid):
    return sum(p.memory_info().rss for p in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]) / 2**20


class Client(asyncio.Protocol):
    """One connection that asks again as soon as it is answered; as light as a client in Python can be, and the same for all servers."""

    def __init__(self, loop, requests, start, taken, failed):
        self.loop, self.requests, self.place, self.taken, self.failed = loop, requests, start, taken, failed
        self.done = loop.create_future()
        self.ends, self.buffer, self.wanted = 0.0, b"", 0
        self.transport, self.began = None, 0.0

    def connection_made(self, transport):
        self.transport = transport
        self.ask()

    def ask(self):
        self.place += 1
        self.buffer, self.wanted = b"", 0
        self.began = time.perf_counter()
        self.transport.write(self.requests[self.place % len(self.requests)])

    def data_received(self, data):
        self.buffer += data
        if not self.wanted:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            lower = self.buffer[:end].lower()
            if b"content-length:" in lower:
                self.wanted = end + 4 + int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
            elif not self.buffer.endswith(b"\r\n0\r\n\r\n"):  # in chunks
                return
        if len(self.buffer) < self.wanted:
            return
        now = time.perf_counter()
        self.taken.append(now - self.began)
        if not self.buffer.startswith(b"HTTP/1.1 200"):
            self.failed.append(self.buffer[:40])
        if now >= self.ends:
            self.transport.close()
        else:
            self.ask()

    def connection_lost(self, _):
        if not self.done.done():
            self.done.set_result(time.perf_counter() >= self.ends)


async def one(loop, port, requests, ends, taken, failed, start):
    while time.perf_counter() < ends:  # a server may close a connection; then there is the next
        client = Client(loop, requests, start, taken, failed)
        client.ends = ends
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)
        await client.done


async def load(port, requests, clients, seconds):
    taken, failed = [], []
    ends = time.perf_counter() + seconds
    loop = asyncio.get_running_loop()
    await asyncio.gather(*(one(loop, port, requests, ends, taken, failed, n * 7) for n in range(clients)))
    return taken, failed


def request(path, body, *lines):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer bench\r\n"
    head += "".join(f"{line}\r\n" for line in lines or ["Content-Type: application/json"]) + f"Content-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def settle(home):
    """Wait until the log of what was answered is Parquet, so that its cost is counted where it belongs."""
    for _ in range(100):
        if home is None or not any((home / "log").glob("*/*.jsonl")):
            return
        time.sleep(0.1)


def measure(name, process, port, requests, clients, seconds, home=None, load=load):
    found = []
    uvloop.run(load(port, requests, 2, 1.0))
    for count in clients:
        settle(home)
        before = cpu(process.pid)
        taken, failed = uvloop.run(load(port, requests, count, seconds))
        settle(home)
        used = cpu(process.pid) - before
        ms = np.array(taken) * 1000
        p50, p99 = (float(np.percentile(ms, q, method="higher")) for q in (50, 99))
        row = {"server": name, "clients": count, "requests": len(taken), "failed": len(failed), "cpu_ms": used / len(taken) * 1000}
        found.append(row | {"p50_ms": p50, "p99_ms": p99, "rss_mb": rss(process.pid)})
        print(json.dumps(found[-1]), flush=True)
    return found


def wait(url, process, seconds=180):
    for _ in range(seconds * 10):
        try:
            httpx.get(url, timeout=2)
        except httpx.HTTPError:
            assert process.poll() is None, "the server ended"
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"{url} does not answer")


OURS = (sys.executable, "-m", "windtunnel.serving")


@contextlib.contextmanager
def server(name, root, *arguments, program=OURS):
    """One of ours, with a home of its own: its process, its port, and a call of its repository."""
    port = free()
    process = subprocess.Popen(
        [
            *program,
            "--home",
            str(root / name.replace(" ", "-")),
            "--port",
            str(port),
            *arguments,
        ],
        env=ENVIRONMENT,
        stderr=subprocess.DEVNULL,
    )

    def call(action, **parameters):
        url = f"http://127.0.0.1:{port}/v2/repository/models/m/{action}"
        answer = httpx.post(url, json={"parameters": parameters}, headers={"Authorization": "Bearer bench"}, timeout=60)
        return answer.raise_for_status().json()

    try:
        wait(f"http://127.0.0.1:{port}/v2/health/ready", process)
        yield process, port, call
    finally:
        process.terminate()
        process.wait()


def load_of(folder, version):
    from windtunnel.lifecycle.model import bundle

    return {"uri": str(folder), "digest": bundle.read(folder).digest, "version": version, "labels": ["champion"]}


def ours(folder, rows, clients, seconds, name, root, *arguments):
    with server(name, root, *arguments) as (process, port, call):
        call("load", **load_of(folder, "1"))
        return measure(name, process, port, [request("/v1/models/m/predict", {"rows": [row]}) for row in rows], clients, seconds)


async def beside(port, single, batch, seconds):
    """Eight clients of single rows with as many clients of batches as there are bodies: how long each request took."""
    alone, together, failed = [], [], []
    ends = time.perf_counter() + seconds
    loop = asyncio.get_running_loop()
    waiting = [one(loop, port, single, ends, alone, failed, n * 7) for n in range(8)]
    await asyncio.gather(*waiting, *(one(loop, port, [body], ends, together, failed, 0) for body in batch))
    return alone, together, failed


def batches(folder, rows, seconds, root):
    """Requests of 1, 100 and 10,000 rows, by rows and by tensors, and single rows beside a client of batches."""
    single = [request("/v1/models/m/predict", {"rows": [row]}) for row in rows]
    with server("batches", root) as (process, port, call):
        call("load", **load_of(folder, "1"))
        for count in (1, 100, 10_000):
            many = list(itertools.islice(itertools.cycle(rows), count))
            for name, body in (
                ("rows", request("/v1/models/m/predict", {"rows": many})),
                ("tensors", request("/v2/models/m/infer", tensors_of(many))),
            ):
                measure(f"{count} rows as {name}", process, port, [body], [1], seconds)
        many = request("/v1/models/m/predict", {"rows": list(itertools.islice(itertools.cycle(rows), 10_000))})
        for batch in ([], [many]):
            alone, together, failed = uvloop.run(beside(port, single, batch, seconds))
            p50, p99 = (float(np.percentile(np.array(alone) * 1000, q, method="higher")) for q in (50, 99))
            figures = {"batch_clients": len(batch), "single_requests": len(alone), "p50_ms": p50, "p99_ms": p99, "failed": len(failed)}
            print(json.dumps(figures | {"batches": len(together), "batch_p50_ms": float(np.median(together or [0])) * 1000}), flush=True)


def tensors_of(rows):
    kinds = {float: "FP64", int: "INT64", str: "BYTES"}
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    # A column with a null has to say it as NaN.
    return {
        "inputs": [
            {"name": name, "shape": [len(rows)], "datatype": kinds.get(type(values[0]), "FP64"), "data": values}
            for name, values in columns.items()
        ]
    }


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


def each(rows, made):
    return [made([row]) for row in rows]


def many(rows, made, count):
    return [made(list(itertools.islice(itertools.cycle(rows), count)))]


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
        batch = many(rows, PROTOCOLS["own route"], 10_000)
        for beside_it in ([], batch):
            alone, together, failed = uvloop.run(beside(port, each(rows, PROTOCOLS["own route"]), beside_it, 2 * seconds))
            p50, p99 = (float(np.percentile(np.array(alone) * 1000, q, method="higher")) for q in (50, 99))
            figures = {"batch_clients": len(beside_it), "batches": len(together), "single": len(alone), "failed": len(failed)}
            print(json.dumps(figures | {"p50_ms": p50, "p99_ms": p99}), flush=True)
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


def swaps(folders, rows, root):
    """Swaps of two kinds under the load of 8 clients: the label moves to a loaded version, and a version is loaded as champion."""
    requests = [request("/v1/models/m/predict", {"rows": [row]}) for row in rows]
    taken = {"label": [], "load": []}
    with server("swaps", root, "--workers", "2") as (_, port, call):
        both = [load_of(folder, str(number)) for number, folder in enumerate(folders)]
        for one in both:
            call("load", **one)
        done = threading.Event()

        def swap():
            for number in itertools.count():
                if done.wait(0.5):
                    return
                began = time.perf_counter()
                if number % 4 == 3:
                    call("load", **(both[number // 4 % 2] | {"version": f"new-{number}"}))
                    taken["load"].append(time.perf_counter() - began)
                else:
                    call("label", version=str(number % 2), labels=["champion"])
                    taken["label"].append(time.perf_counter() - began)

        swapping = threading.Thread(target=swap)
        swapping.start()
        answered, failed = uvloop.run(load(port, requests, 8, 12))
        done.set()
        swapping.join()
    for kind, seconds in taken.items():
        print(f"{kind}: {len(seconds)} swaps, median {np.median(seconds):.3f} s, slowest {max(seconds):.3f} s")
    print(f"{len(answered)} requests meanwhile, {len(failed)} failed, p99 {np.percentile(answered, 99) * 1000:.1f} ms")


def theirs(pipeline, rows, clients, seconds, root):
    import mlflow.sklearn

    from windtunnel.lifecycle.model.bundle import TRUSTED

    path = root / "mlflow-model"
    mlflow.sklearn.save_model(
        pipeline,
        str(path),
        serialization_format="skops",
        skops_trusted_types=list(TRUSTED),
        pip_requirements=["scikit-learn"],
        input_example=None,
    )
    port = free()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        str(path),
        "-p",
        str(port),
        "-h",
        "127.0.0.1",
        "--env-manager",
        "local",
        "--workers",
        "1",
    ]
    process = subprocess.Popen(
        command,
        env=ENVIRONMENT | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait(f"http://127.0.0.1:{port}/ping", process)
        return measure(
            "mlflow models serve", process, port, [request("/invocations", {"dataframe_records": [row]}) for row in rows], clients, seconds
        ) + measure("mlflow models serve, 10,000 rows", process, port, many(rows, PROTOCOLS["/invocations"], 10_000), [1], seconds)
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.terminate()
        process.terminate()
        process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--skip-mlflow", action="store_true")
    parser.add_argument("--only", choices=["compare", "swaps", "sync", "batches", "protocols"], help="a part of it")
    parser.add_argument("--peers", type=Path, help="a folder of environments of other servers")
    given = parser.parse_args()
    clients = [int(count) for count in given.clients.split(",")]
    root = Path(tempfile.mkdtemp(prefix="wt-serving-"))
    from windtunnel.serving.compiler.gate import compile_bundle

    pipeline, frame = serving_models.flight_pipeline("trees", iterations=100)
    rows = serving_models.rows_of(frame.head(200))
    for name in ("plan", "pipeline"):
        serving_models.write(root / name, pipeline, frame)
    compile_bundle(root / "plan")
    if given.only in {None, "swaps"}:
        serving_models.flight_bundle(root / "other", "linear")
        swaps([root / "plan", root / "other"], rows, root)
    if given.only in {None, "batches"}:
        batches(root / "plan", rows, given.seconds, root)
    found = []
    if given.only in {None, "protocols"}:
        found += protocols(root / "plan", rows, clients, given.seconds, root)
        if given.peers is not None:
            found += peers(pipeline, rows, clients, given.seconds, root, given.peers.resolve())
        if given.only is not None and not given.skip_mlflow:
            found += theirs(pipeline, rows, clients, given.seconds, root)
    if given.only in {None, "compare"}:
        found += ours(root / "plan", rows, clients, given.seconds, "windtunnel plan", root)
        found += ours(root / "pipeline", rows, clients, given.seconds, "windtunnel fallback", root)
        if not given.skip_mlflow:
            found += theirs(pipeline, rows, clients, given.seconds, root)
    if given.only in {None, "sync"}:
        for policy in ("none", "line"):
            found += ours(root / "plan", rows, clients, given.seconds, f"windtunnel --log-sync {policy}", root, "--log-sync", policy)
    print("| server | clients | requests | failed | CPU ms a request | p50 ms | p99 ms | memory MB |\n|---|---|---|---|---|---|---|---|")
    for row in found:
        print("| {server} | {clients} | {requests} | {failed} | {cpu_ms:.3f} | {p50_ms:.2f} | {p99_ms:.2f} | {rss_mb:.0f} |".format(**row))


if __name__ == "__main__":
    main()
