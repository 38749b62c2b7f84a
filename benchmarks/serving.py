"""Our server beside ``mlflow models serve``: the same pipeline, the same rows, the same clients, in one run.

python benchmarks/serving.py [--seconds 5] [--clients 1,8,32] [--skip-mlflow] [--only compare|swaps|sync|batches|protocols] [--peers DIR]

DIR has an environment for each peer, by name: ``fastapi`` (fastapi, uvicorn), ``litserve``, ``bentoml``, ``ray`` (ray[serve]), ``mlserver``
(mlserver, mlserver-sklearn), each with the scikit-learn and pandas of this one.

Each server runs in processes of its own; CPU is what its process tree used (user and system), divided by the requests it answered.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import uvloop
from serving_load import ENVIRONMENT, beside_batches, each, free, load, load_of, many, measure, request, server, serving_models, wait
from serving_protocols import PROTOCOLS, peers, protocols


def ours(folder, rows, clients, seconds, name, root, *arguments):
    with server(name, root, *arguments) as (process, port, call):
        call("load", **load_of(folder, "1"))
        return measure(name, process, port, each(rows, PROTOCOLS["own route"]), clients, seconds)


def batches(folder, rows, seconds, root):
    """Requests of 1, 100 and 10,000 rows, by rows and by tensors, and single rows beside a client of batches."""
    with server("batches", root) as (process, port, call):
        call("load", **load_of(folder, "1"))
        for count in (1, 100, 10_000):
            for name, protocol in (("rows", "own route"), ("tensors", "v2 JSON")):
                measure(f"{count} rows as {name}", process, port, many(rows, PROTOCOLS[protocol], count), [1], seconds)
        own = PROTOCOLS["own route"]
        beside_batches(port, each(rows, own), many(rows, own, 10_000), seconds)


def swaps(folders, rows, root):
    """Swaps of two kinds under the load of 8 clients: the label moves to a loaded version, and a version is loaded as champion."""
    requests = each(rows, PROTOCOLS["own route"])
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
