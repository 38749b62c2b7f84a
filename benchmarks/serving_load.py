"""Clients, servers and measures of the serving benchmarks: one way to start, ask and measure for all of them."""

import asyncio
import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "serving"))
import serving_models  # noqa: F401 - the tests' models, for whoever measures

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


def each(rows, made):
    return [made([row]) for row in rows]


def many(rows, made, count):
    return [made(list(itertools.islice(itertools.cycle(rows), count)))]


async def _beside(port, single, batch, seconds):
    alone, together, failed = [], [], []
    ends = time.perf_counter() + seconds
    loop = asyncio.get_running_loop()
    waiting = [one(loop, port, single, ends, alone, failed, n * 7) for n in range(8)]
    await asyncio.gather(*waiting, *(one(loop, port, [body], ends, together, failed, 0) for body in batch))
    return alone, together, failed


def beside_batches(port, single, batch, seconds):
    """Eight clients of single rows, alone and then with as many clients of batches as there are bodies: how long single rows took."""
    for bodies in ([], batch):
        alone, together, failed = uvloop.run(_beside(port, single, bodies, seconds))
        p50, p99 = (float(np.percentile(np.array(alone) * 1000, q, method="higher")) for q in (50, 99))
        figures = {"batch_clients": len(bodies), "batches": len(together), "single": len(alone), "failed": len(failed)}
        print(json.dumps(figures | {"p50_ms": p50, "p99_ms": p99, "batch_p50_ms": float(np.median(together or [0])) * 1000}), flush=True)
