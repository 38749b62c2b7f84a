"""Damaged HTTP on real connections, whole and in pieces: a status of the server's own making or a closed connection, and nothing kept."""

import json
import logging
import os
import random
import socket
import time

import psutil
import pytest

from windtunnel.serving.compiler.engine import Engine

REQUESTS = int(os.environ.get("WINDTUNNEL_FUZZ", "1500"))
ALLOWED = {200, 400, 401, 403, 404, 405, 408, 413, 414, 415, 417, 422, 431, 501, 503, 504, 505}
HEADERS = [
    b"Content-Type: application/json",
    b"X-Request-Id: \xff\x01z",
    b"X-Request-Id: " + b"i" * 900,
    b"X-Windtunnel-Version: champion",
    b"X-Windtunnel-Version: 9",
    b"X-Windtunnel-Key: \xc3\xa9",
    b"Expect: 100-continue",
    b"Connection: close",
    b"Connection: upgrade\r\nUpgrade: websocket",
    b"Inference-Header-Content-Length: 7",
    b"Authorization: Basic abc",
    b"Broken",
    b": nothing",
]
PATHS = [b"/v1/models/flight_delays/predict", b"/v2/models/flight_delays/infer", b"/v2/models/flight_delays/versions/1/infer"]
OTHERS = [
    b"/",
    b"/v1/models/%66light_delays/predict",
    b"/v1/models/x/predict?a=b",
    b"*",
    b"http://h/v2",
    b"/" + b"a" * 70_000,
    b"/v2/health/live",
]


def damaged(rng, bodies):
    """Bytes of one request, and whether its head is whole."""
    path = rng.choice(PATHS) if rng.random() < 0.8 else rng.choice(OTHERS)
    body = rng.choice(bodies)
    if rng.random() < 0.5:
        place = rng.randrange(len(body) + 1)
        body = body[:place] + rng.randbytes(rng.randrange(5)) + body[place + rng.randrange(4) :]
    method = rng.choice([b"POST"] * 12 + [b"GET", b"PUT", b"HEAD", b"BREW", b"post"])
    lines = [method + b" " + path + b" " + rng.choice([b"HTTP/1.1"] * 9 + [b"HTTP/1.0", b"HTTP/9"]), b"Host: x"]
    lines += [b"Authorization: Bearer only-for-tests"] * (rng.random() < 0.9) + rng.sample(HEADERS, rng.choice([0, 0, 1, 2]))
    match rng.randrange(12):
        case 0:
            pieces = [body[i : i + 50] for i in range(0, len(body), 50)]
            lines.append(b"Transfer-Encoding: chunked")
            body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        case 1:
            lines.append(b"Content-Length: " + rng.choice([b"-1", b"x", b"99999999999999999999", b"5000000", b"1"]))
        case 2:
            lines.append(b"Transfer-Encoding: chunked\r\nContent-Length: 5")
        case _:
            lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def statuses(raw):
    """The status codes of the answers in what came back."""
    return [int(part[:3]) for part in raw.split(b"HTTP/1.1 ")[1:] if part[:3].isdigit()]


@pytest.mark.slow
def test_damaged_http(serve, bundles, rows):
    server = serve("--timeout", "2", "--preload", f"flight_delays=1={bundles['one']}")
    host, port = server.url.removeprefix("http://").split(":")
    rng = random.Random(4)
    tensors = [{"name": n, "shape": [1], "datatype": "BYTES" if isinstance(v, str) else "FP64", "data": [v]} for n, v in rows[0].items()]
    bodies = [json.dumps(body).encode() for body in ({"rows": rows[:1]}, {"rows": rows}, {"inputs": tensors}, {"rows": []}, {}, [1])]
    seen = {}

    def one(connection):
        sent = damaged(rng, bodies)
        cuts = sorted(rng.randrange(len(sent) + 1) for _ in range(rng.choice([0, 0, 0, 1, 2])))
        connection.settimeout(0.02)
        for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
            connection.sendall(sent[start:end])
        found = b""
        try:
            while part := connection.recv(1 << 20):
                found += part
                if len(found) >= 12 and b"\r\n\r\n" in found:
                    return found, True
        except TimeoutError:
            return found, False
        return found, False

    def many(count):
        connection = socket.create_connection((host, int(port)))
        for _ in range(count):
            try:
                found, goes_on = one(connection)
            except OSError:
                found, goes_on = b"", False
            for status in statuses(found):
                assert status in ALLOWED | {100}, found
                seen[status] = seen.get(status, 0) + 1
            if not goes_on or rng.random() < 0.2:
                connection.close()
                connection = socket.create_connection((host, int(port)))
        connection.close()

    many(REQUESTS // 3)
    worker = psutil.Process(server.workers()[0])
    pid, before = worker.pid, worker.memory_info().rss
    many(REQUESTS - REQUESTS // 3)
    after = worker.memory_info().rss
    assert server.workers() == {0: pid}
    assert {200, 400, 422} <= set(seen)
    assert after - before < 20e6 + 500 * REQUESTS, (before, after)
    ends = time.monotonic() + 10
    while len(worker.net_connections("tcp")) > 3 and time.monotonic() < ends:  # those that were left half-way are closed in time
        time.sleep(0.2)
    assert len(worker.net_connections("tcp")) <= 3
    assert server.predict(rows)["predictions"] == Engine.load(bundles["one"]).predict_rows(rows)
    assert "Traceback" not in (server.home / "out.txt").read_text()
    logging.getLogger("fuzz").info("%s", {"requests": REQUESTS, "codes": seen, "rss_mb": (before / 1e6, after / 1e6)})
