"""Load by mixed clients, batches and slow connections, with swaps, loads, killed workers, a damaged log and a full disk: what was answered
is in the log, once, and is right.

``WINDTUNNEL_LOAD_SECONDS=300`` runs it for the five minutes that a release is tested for.
"""

import contextlib
import http.client
import json
import logging
import os
import random
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
from collections import Counter

import numpy as np
import pyarrow.dataset as ds
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from serving_models import TOKEN
from tritonclient.utils import InferenceServerException

from windtunnel.serving.base import log
from windtunnel.serving.compiler.engine import Engine

SECONDS = float(os.environ.get("WINDTUNNEL_LOAD_SECONDS", "20"))
MODEL = "flight_delays"


@pytest.fixture
def small_disk(short_path):
    """A file system of 3 MB for the log; needs the right to mount one."""
    folder = short_path / "home" / "log"
    folder.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, check=False)
    yield folder if done.returncode == 0 else None
    if done.returncode == 0:
        subprocess.run(["umount", "-l", str(folder)], check=False)


class RefusedError(Exception):
    """Answered, but with an error."""


# Ways to ask: each answers the version, where the protocol says it, and one prediction a row as text.


def own(server, name, rows):
    status, body = server.call(f"/v1/models/{MODEL}/predict", {"rows": rows}, X_Request_Id=name)
    if status != 200:
        raise RefusedError(status, body)
    return body["version"], [row["prediction"] for row in body["predictions"]]


def plain(path, form):
    def ask(server, name, rows):
        status, body = server.call(path, {form: rows}, X_Request_Id=name, Content_Type="application/json")
        if status != 200:
            raise RefusedError(status, body)
        return None, [str(value) for value in body["predictions"]]

    return ask


def tensors(server, name, rows):
    inputs = []
    for column, value in rows[0].items():
        kind = "BYTES" if isinstance(value, str) else "FP64"
        inputs.append({"name": column, "shape": [len(rows)], "datatype": kind, "data": [row[column] for row in rows]})
    status, body = server.call(f"/v2/models/{MODEL}/infer", {"id": name, "inputs": inputs})
    if status != 200:
        raise RefusedError(status, body)
    return body["model_version"], next(output["data"] for output in body["outputs"] if output["name"] == "prediction")


def triton(module):
    def ask(server, name, rows):
        inputs = []
        for column, value in rows[0].items():
            text = isinstance(value, str)
            tensor = module.InferInput(column, [len(rows)], "BYTES" if text else "FP64")
            values = [np.nan if row[column] is None else row[column] for row in rows]
            tensor.set_data_from_numpy(np.array(values, dtype=np.object_ if text else np.float64))
            inputs.append(tensor)
        over_grpc = module is triton_grpc
        address = server.grpc if over_grpc else server.url.removeprefix("http://")
        header = {"authorization" if over_grpc else "Authorization": f"Bearer {TOKEN}"}
        with module.InferenceServerClient(address) as client:
            try:
                found = client.infer(MODEL, inputs, request_id=name, headers=header)
            except InferenceServerException as error:
                status = str(error.status())
                if "503" in status or ("UNAVAILABLE" in status and "retry" not in status and "log" in str(error)):
                    raise RefusedError(503, {"error": error.message()}) from error
                if "UNAVAILABLE" in status:
                    raise OSError(str(error)) from error
                raise RefusedError(status, {"error": error.message()}) from error
        said = found.get_response()
        version = said.model_version if over_grpc else said["model_version"]
        return version, [value.decode() for value in found.as_numpy("prediction").tolist()]

    return ask


WAYS = {
    "own": own,
    "v1": plain(f"/v1/models/{MODEL}:predict", "instances"),
    "mlflow": plain(f"/models/{MODEL}/invocations", "dataframe_records"),
    "v2": tensors,
    "binary": triton(triton_http),
    "grpc": triton(triton_grpc),
}
BROKEN = (OSError, urllib.error.URLError, ValueError, http.client.HTTPException)


class Load:
    """Clients that ask until they are told to stop, and what they were told.

    Args:
        server: who is asked.
        rows: what is asked.
        wanted: version -> the right answer to each row.
    """

    def __init__(self, server, rows, wanted):
        self.server, self.rows, self.wanted = server, rows, wanted
        self.stop = threading.Event()
        self.asked, self.answered = {}, {}
        self.wrong, self.refused, self.broken = [], [], []

    def one(self, way, name, places):
        """Ask once; what is answered must be right for the version that answered, or for any where the protocol does not say which."""
        self.asked[name] = places
        try:
            version, said = WAYS[way](self.server, name, [self.rows[place] for place in places])
        except RefusedError as error:
            self.refused.append(error.args)
            return
        except BROKEN as error:
            self.broken.append((name, repr(error)))
            return
        self.answered[name] = said
        versions = [version] if version else self.wanted
        if said not in [[self.wanted[each][place] for place in places] for each in versions]:
            self.wrong.append((name, version, places, said))

    def singles(self, way):
        count = 0
        while not self.stop.is_set():
            self.one(way, f"{way}-{count}", [count % len(self.rows)])
            count += 1

    def batches(self, way):
        """Each of other rows in another order: every row has to get its own answer back."""
        generator, count = random.Random(way), 0
        while not self.stop.is_set():
            size = generator.choice([2, 40, 1000, 6000])
            self.one(way, f"{way}-batch-{count}", [generator.randrange(len(self.rows)) for _ in range(size)])
            count += 1
            self.stop.wait(0.2)

    def dawdle(self):
        """Connections that begin a request and never end it, or end it byte by byte."""
        address = urllib.parse.urlsplit(self.server.url)
        while not self.stop.is_set():
            with contextlib.suppress(OSError), socket.create_connection((address.hostname, address.port), timeout=2) as slow:
                slow.sendall(f"POST /v1/models/{MODEL}/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{".encode())
                for _ in range(5):
                    if self.stop.wait(0.2):
                        return
                    slow.sendall(b" ")

    def threads(self):
        found = [threading.Thread(target=self.singles, args=(way,)) for way in WAYS]
        return [
            *found,
            *(threading.Thread(target=self.batches, args=(way,)) for way in ("own", "grpc")),
            threading.Thread(target=self.dawdle),
        ]


def swap(server, step):
    label = {"parameters": {"version": str(1 + step // 2 % 2), "labels": ["champion"]}}
    assert server.call(f"/v2/repository/models/{MODEL}/label", label)[0] == 200


def load_and_unload(server, folder):
    """A version that nobody asks for comes and goes."""
    server.load(folder, "3", [])
    assert server.call(f"/v2/repository/models/{MODEL}/unload", {"parameters": {"version": "3"}})[0] == 200


def damage(server):
    """A closed log file as a power cut may leave it."""
    with contextlib.suppress(OSError):  # the disk is small
        (server.home / "log" / "closed" / f"{time.time_ns()}-9.jsonl").write_bytes(b"\0" * 300 + b"\n" + b'{"id": "half\n')


def fill(disk):
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:  # large requests may have filled it already
        while True:
            file.write(b"0" * 65536)
    time.sleep(1.0)
    ballast.unlink(missing_ok=True)


def disturb(server, bundles, disk, seconds):
    """Everything that happens to a server, one after the other; answers how long each swap took."""
    ends, step, swaps = time.monotonic() + seconds, 0, []
    while time.monotonic() < ends:
        time.sleep(1.0)
        step += 1
        if step % 2:
            began = time.monotonic()
            swap(server, step)
            swaps.append(time.monotonic() - began)
        elif step % 8 == 2:
            load_and_unload(server, bundles["two"])
            damage(server)
        elif step % 8 == 4:
            server.wait(lambda slot=step // 8 % 2: slot in server.workers())
            os.kill(server.workers()[step // 8 % 2], signal.SIGKILL)
            time.sleep(4.0)  # until it serves again: a swap waits for every worker that is alive
        elif step % 8 == 6 and disk is not None:
            fill(disk)
    return swaps


def rows_in_log(server):
    """Every answered row: id, version, row and prediction."""
    files = [str(path) for path in (server.home / "predictions").rglob("*.parquet")]
    table = ds.dataset(files).to_table(["request_id", "version", "row", "prediction"])
    assert not list(log.entries(server.home / "log"))  # all of it is shipped when a server has stopped
    return table.to_pylist()


@pytest.mark.slow
def test_mixed_clients_swaps_kills_and_a_damaged_and_full_log(small_disk, serve, bundles, rows):
    server = serve("--workers", "2", "--log-age", "0.5", "--grpc-port", "0")
    rows = [row for row in rows if None not in row.values()]  # gRPC has no null for texts
    wanted = {}
    for version, name in (("1", "one"), ("2", "two")):
        server.load(bundles[name], version, ["champion"])
        wanted[version] = [answer["prediction"] for answer in Engine.load(bundles[name]).predict_rows(rows)]
    load = Load(server, rows, wanted)
    threads = load.threads()
    for thread in threads:
        thread.start()
    try:
        swaps = disturb(server, bundles, small_disk, SECONDS)
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()
    server.stop()
    figures = {
        "answered": dict(Counter(name.rpartition("-")[0] for name in load.answered)),
        "rows": sum(map(len, load.answered.values())),
        "refused": len(load.refused),
        "broken": len(load.broken),
        "swaps": len(swaps),
        "slowest_swap": max(swaps),
    }
    logging.getLogger("load").warning("%s", json.dumps(figures))
    assert not load.wrong, load.wrong[:2]
    assert {status for status, _ in load.refused} <= {503}, [entry for entry in load.refused if entry[0] != 503][:3]
    assert {name.rpartition("-")[0] for name in load.answered} >= {*WAYS, "own-batch", "grpc-batch"}
    kept: dict[str, dict[int, dict]] = {}
    for row in rows_in_log(server):
        of_request = kept.setdefault(row["request_id"], {})
        assert row["row"] not in of_request, f"{row['request_id']} is there twice"
        of_request[row["row"]] = row
    # An answer is there with all of its rows, and as the client got it.
    for name, said in load.answered.items():
        assert [kept[name][place]["prediction"] for place in range(len(said))] == said
    # What is there is there whole, and right: a request that was broken off may be, but no other.
    for name, of_request in kept.items():
        places = load.asked[name]
        assert [of_request[number]["prediction"] for number in range(len(places))] == [
            wanted[of_request[0]["version"]][place] for place in places
        ]
    assert len(set(kept) - set(load.answered)) <= len(load.broken) + len(load.refused)
    assert list((server.home / "log" / "damaged").iterdir())
    if small_disk is not None:
        assert any("log" in body["error"] for _, body in load.refused)
