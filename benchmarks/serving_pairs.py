"""The server of an earlier state and of this one, side by side: the same bundle, the same requests, in turns.

python benchmarks/serving_pairs.py --before CHECKOUT [--program windtunnel.serving] [--compiler windtunnel.serving.compiler.gate]
                                   [--pairs 7] [--seconds 3]

CHECKOUT is a clone at the earlier state with a `.venv` of its own (`make setup`). Both servers are up all the while, one is asked at a
time, and who begins changes from pair to pair. CPU is what the server's process tree used until it was quiet again, by the requests it
answered.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import uvloop
from serving_load import cpu, load, load_of, request, server, serving_models, tensors_of

BATCH = 1000
SHIPPING = ("--log-age", "1")  # what is logged while they are asked is shipped before CPU is read


def settled(pid):
    """CPU seconds of a process tree once it does (nearly) nothing: what requests left behind, as the log's shipping, is theirs too."""
    time.sleep(1.5)  # the log's file is closed after a second
    used = cpu(pid)
    for _ in range(20):
        time.sleep(0.5)
        now = cpu(pid)
        if now - used < 0.02:
            return now
        used = now
    return used


def ask(process, port, requests, seconds):
    """CPU ms and p50 ms of a request, from one client."""
    before = settled(process.pid)
    taken, failed = uvloop.run(load(port, requests, 1, seconds))
    assert not failed, failed[:3]
    return (settled(process.pid) - before) / len(taken) * 1000, float(np.median(taken)) * 1000


def pairs(servers, cases, count, seconds):
    """Measurements by case, each of (before, after)."""
    for process, port, _ in servers:
        for requests in cases.values():
            ask(process, port, requests, 1)
    found = {name: [] for name in cases}
    for number in range(count):
        for name, requests in cases.items():
            order = servers if number % 2 else servers[::-1]
            figures = {id(one): ask(one[0], one[1], requests, seconds) for one in order}
            found[name].append([figures[id(one)] for one in servers])
            print(json.dumps({"pair": number, "what": name, "before, after": found[name][-1]}), flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--program", default="windtunnel.serving", help="the module that starts the earlier server")
    parser.add_argument("--compiler", default="windtunnel.serving.compiler.gate", help="the earlier module with `compile_bundle`")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3)
    given = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="wt-pairs-"))
    pipeline, frame = serving_models.flight_pipeline("trees", iterations=100)
    rows = serving_models.rows_of(frame.head(200))
    for name in ("before", "after"):
        serving_models.write(root / name, pipeline, frame)
    python = str(given.before / ".venv/bin/python")
    for program, module, name in ((python, given.compiler, "before"), (sys.executable, "windtunnel.serving.compiler.gate", "after")):
        code = f"import pathlib, sys; from {module} import compile_bundle; print(compile_bundle(pathlib.Path(sys.argv[1])))"
        subprocess.run([program, "-c", code, str(root / name)], check=True)
    many = list(itertools.islice(itertools.cycle(rows), BATCH))
    cases = {
        "1 row, own route": [request("/v1/models/m/predict", {"rows": [row]}) for row in rows],
        "1 row, v2 JSON": [request("/v2/models/m/infer", tensors_of([row])) for row in rows],
        f"{BATCH:,} rows, own route": [request("/v1/models/m/predict", {"rows": many})],
        f"{BATCH:,} rows, v2 JSON": [request("/v2/models/m/infer", tensors_of(many))],
    }
    earlier = (python, "-m", given.program)
    with server("home-before", root, *SHIPPING, program=earlier) as before, server("home-after", root, *SHIPPING) as after:
        before[2]("load", **load_of(root / "before", "1"))
        after[2]("load", **load_of(root / "after", "1"))
        found = pairs([before, after], cases, given.pairs, given.seconds)
    print("| request | CPU ms before | after | ratio | p50 ms before | after | ratio |\n|---|---|---|---|---|---|---|")
    for name, measured in found.items():
        cells = []
        for what in (0, 1):
            one, two = ([pair[side][what] for pair in measured] for side in (0, 1))
            ratio = statistics.median(b / a for a, b in zip(one, two, strict=True))
            cells += [f"{statistics.median(one):.3f}", f"{statistics.median(two):.3f}", f"{ratio:.2f}"]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
