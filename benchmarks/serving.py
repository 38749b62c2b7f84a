"""Our server beside ``mlflow models serve``: the same pipeline, the same rows, the same clients, in one run.

python benchmarks/serving.py [--seconds 5] [--clients 1,8,32] [--skip-mlflow]

Each server runs in processes of its own; CPU is what its process tree used (user and system), divided by the requests it answered.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

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
            self.wanted = end + 4 + int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
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


def request(path, body):
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer bench\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def measure(name, process, port, requests, clients, seconds):
    found = []
    uvloop.run(load(port, requests, 2, 1.0))
    for count in clients:
        before = cpu(process.pid)
        taken, failed = uvloop.run(load(port, requests, count, seconds))
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
            urllib.request.urlopen(url, timeout=2).read()
        except OSError:
            assert process.poll() is None, "the server ended"
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"{url} does not answer")


def ours(folder, rows, clients, seconds, name, root):
    from windtunnel.lifecycle import bundle

    port = free()
    process = subprocess.Popen(
        [sys.executable, "-m", "windtunnel.serving.server", "--home", str(root / name.replace(" ", "-")), "--port", str(port)],
        env=ENVIRONMENT,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait(f"http://127.0.0.1:{port}/v2/health/ready", process)
        body = {"parameters": {"uri": str(folder), "digest": bundle.read(folder).digest, "version": "1", "labels": ["champion"]}}
        call = urllib.request.Request(
            f"http://127.0.0.1:{port}/v2/repository/models/m/load", json.dumps(body).encode(), {"Authorization": "Bearer bench"}
        )
        urllib.request.urlopen(call).read()
        return measure(name, process, port, [request("/v1/models/m/predict", {"rows": [row]}) for row in rows], clients, seconds)
    finally:
        process.terminate()
        process.wait()


def theirs(pipeline, rows, clients, seconds, root):
    import mlflow.sklearn

    from windtunnel.lifecycle.bundle import TRUSTED

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
        )
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
    given = parser.parse_args()
    clients = [int(count) for count in given.clients.split(",")]
    root = Path(tempfile.mkdtemp(prefix="wt-serving-"))
    from windtunnel.serving.gate import compile_bundle

    pipeline, frame = serving_models.flight_pipeline("trees", iterations=100)
    rows = serving_models.rows_of(frame.head(200))
    for name in ("plan", "pipeline"):
        serving_models.write(root / name, pipeline, frame)
    compile_bundle(root / "plan")
    found = ours(root / "plan", rows, clients, given.seconds, "windtunnel plan", root)
    found += ours(root / "pipeline", rows, clients, given.seconds, "windtunnel fallback", root)
    if not given.skip_mlflow:
        found += theirs(pipeline, rows, clients, given.seconds, root)
    print("| server | clients | requests | failed | CPU ms a request | p50 ms | p99 ms | memory MB |\n|---|---|---|---|---|---|---|---|")
    for row in found:
        print("| {server} | {clients} | {requests} | {failed} | {cpu_ms:.3f} | {p50_ms:.2f} | {p99_ms:.2f} | {rss_mb:.0f} |".format(**row))


if __name__ == "__main__":
    main()
