"""Load by single rows, batches and slow connections, with swaps, rollbacks, killed workers and a full log disk: what was answered is in the
log, once, and is right.

``WINDTUNNEL_LOAD_SECONDS=300`` runs it for the five minutes that a release is tested for.
"""

import contextlib
import http.client
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

import pytest
from test_server import shipped_ids

from windtunnel.serving.compiler.engine import Engine

SECONDS = float(os.environ.get("WINDTUNNEL_LOAD_SECONDS", "20"))


@pytest.fixture
def small_disk(short_path):
    """A file system of 3 MB for the log; needs the right to mount one."""
    folder = short_path / "home" / "log"
    folder.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, check=False)
    yield folder if done.returncode == 0 else None
    if done.returncode == 0:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.mark.slow
def test_swaps_kills_and_a_full_disk_under_load(small_disk, serve, bundles, rows):  # noqa: PLR0915 - one story
    server = serve("--workers", "2", "--log-age", "0.5")
    wanted = {}
    for version, name in (("1", "one"), ("2", "two")):
        server.load(bundles[name], version, ["champion"])
        engine = Engine.load(bundles[name])
        # One by one, as they are asked: BLAS may round a product of many rows otherwise in the last digit.
        wanted[version] = [engine.predict_rows([row])[0] for row in rows]
    answered, wrong, refused, broken = [], [], [], []
    stop = threading.Event()

    def ask(number):
        count = 0
        while not stop.is_set():
            place, name = count % len(rows), f"{number}-{count}"
            count += 1
            try:
                status, body = server.call("/v1/models/flight_delays/predict", {"rows": [rows[place]]}, X_Request_Id=name)
            except (OSError, urllib.error.URLError, ValueError):
                broken.append(name)
                continue
            if status == 200:
                answered.append(name)
                if body["predictions"][0] != wanted[body["version"]][place]:
                    wrong.append((name, body))
            else:
                refused.append((status, body))

    def ask_many(number):
        """Batches, each of other rows in another order: every row has to get its own answer back."""
        generator, count = random.Random(number), 0
        while not stop.is_set():
            name = f"batch-{number}-{count}"
            count += 1
            places = [generator.randrange(len(rows)) for _ in range(generator.choice([2, 40, 1000, 6000]))]
            try:
                status, body = server.call(
                    "/v1/models/flight_delays/predict", {"rows": [rows[place] for place in places]}, X_Request_Id=name
                )
            except (OSError, urllib.error.URLError, ValueError, http.client.HTTPException):
                broken.append(name)
                continue
            if status != 200:
                refused.append((status, body))
                continue
            answered.append(name)
            shipped_rows[name] = len(places)
            if [row["prediction"] for row in body["predictions"]] != [wanted[body["version"]][place]["prediction"] for place in places]:
                wrong.append((name, body["version"]))
            time.sleep(0.2)

    def dawdle():
        """Connections that begin a request and never end it, or end it byte by byte."""
        address = urllib.parse.urlsplit(server.url)
        while not stop.is_set():
            with contextlib.suppress(OSError), socket.create_connection((address.hostname, address.port), timeout=2) as slow:
                slow.sendall(b"POST /v1/models/flight_delays/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
                for _ in range(5):
                    if stop.wait(0.2):
                        return
                    slow.sendall(b" ")

    shipped_rows: dict[str, int] = {}
    asking = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    asking += [threading.Thread(target=ask_many, args=(number,)) for number in range(2)] + [threading.Thread(target=dawdle)]
    for thread in asking:
        thread.start()
    ends, step, swaps = time.monotonic() + SECONDS, 0, []
    try:
        while time.monotonic() < ends:
            time.sleep(1.0)
            step += 1
            if step % 2:
                began = time.monotonic()
                label = {"parameters": {"version": str(1 + step // 2 % 2), "labels": ["champion"]}}
                assert server.call("/v2/repository/models/flight_delays/label", label)[0] == 200
                swaps.append(time.monotonic() - began)
            elif step % 6 == 4:
                os.kill(server.workers()[step // 6 % 2], signal.SIGKILL)
                time.sleep(4.0)  # until it serves again: a swap waits for every worker that is alive
            elif step % 6 == 0 and small_disk is not None:
                ballast = small_disk / "ballast"
                with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:  # large requests may have filled it already
                    while True:
                        file.write(b"0" * 65536)
                time.sleep(1.0)
                ballast.unlink(missing_ok=True)
    finally:
        stop.set()
        for thread in asking:
            thread.join()
    server.stop()
    assert not wrong
    assert len(answered) > 20 * SECONDS / 4
    shipped = Counter(shipped_ids(server))
    assert not set(answered) - set(shipped)
    # An answer of many rows is there with all of them, once.
    assert {name: shipped[name] for name in shipped_rows} == shipped_rows
    assert any(count > 1000 for count in shipped_rows.values())
    assert {status for status, _ in refused} <= {503}, refused[:3]
    if small_disk is not None:
        assert any("log" in body["error"] for _, body in refused)
    figures = {"answered": len(answered), "refused": len(refused), "broken": len(broken), "swaps": len(swaps), "slowest_swap": max(swaps)}
    logging.getLogger("load").info("%s", figures)
