"""Whatever is sent, the server answers with a status of its own making, never with a 500, and goes on."""

import asyncio
import json
import os
import random

import pytest
import schemathesis
import serving_models
from hypothesis import HealthCheck, given, settings

from windtunnel.lifecycle.model import bundle
from windtunnel.serving.base.log import PredictionLog
from windtunnel.serving.base.metrics import Metrics
from windtunnel.serving.front.access import Access
from windtunnel.serving.front.http.application import Application
from windtunnel.serving.routing.models import Models
from windtunnel.serving.routing.service import Service
from windtunnel.serving.routing.store import Store

REQUESTS = int(os.environ.get("WINDTUNNEL_FUZZ", "1500"))


@pytest.fixture(scope="module")
def application(tmp_path_factory):
    """The real application in this process, so that thousands of requests take seconds."""
    root = tmp_path_factory.mktemp("fuzz")
    written = serving_models.flight_bundle(root / "b", "linear")
    runner = asyncio.Runner()
    models = Models(Store(root / "home"), 0)
    service = Service(models, PredictionLog(root / "home" / "log", 0), Metrics(root / "metrics", 0))
    runner.run(models.load("flight_delays", str(root / "b"), written.digest, "1", ["champion"]))
    application = Application(service, Access.of(""))
    service.ready = True
    yield application, runner, bundle.read_samples(root / "b")["inputs"]
    runner.close()


def call(application, runner, method, path, body=b"", headers=()):
    """One request through ASGI; anything that escapes the application fails the test."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode("utf-8", "surrogateescape"), "headers": list(headers)}
    runner.run(application(scope, receive, send))
    return sent[0]["status"], sent[1]["body"]


def spoil(rng, value):
    """A JSON value with something else in one place of it."""
    odd = [
        None,
        True,
        -1,
        0,
        1e308,
        10**400,
        "x",
        "",
        "\ud800",
        [],
        {},
        [[]],
        {"a": 1},
        "\u0000",
        1.5,
        float("nan"),
        float("inf"),
        "9" * 500,
    ]
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: spoil(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        return [*value[:place], spoil(rng, value[place]), *value[place + 1 :]]
    return rng.choice(odd)


def test_spoilt_requests(application):
    app, runner, rows = application
    rng = random.Random(0)
    tensors = {
        "id": "a",
        "inputs": [
            {"name": n, "shape": [1], "datatype": "BYTES" if isinstance(v, str) else "FP64", "data": [v]} for n, v in rows[0].items()
        ],
    }
    tensors["outputs"] = [{"name": "score", "parameters": {"binary_data": False}}]
    load = {"parameters": {"uri": "/nowhere", "digest": "ab", "version": "1", "labels": ["a"], "route": {"arms": {"a": 1}, "shadow": []}}}
    bodies = {
        "/v1/models/flight_delays/predict": {"rows": rows[:2]},
        "/v1/models/flight_delays/explain": {"rows": rows[:1]},
        "/v2/models/flight_delays/rewards": {"rewards": {"1/champion": [3, 1.0, 1.0]}},
        "/v2/models/flight_delays/infer": tensors,
        "/v2/models/flight_delays/versions/1/infer": tensors,
        "/v2/repository/models/flight_delays/label": {"parameters": {"version": "2", "labels": ["a"], "route": {"arms": {"champion": 1}}}},
        "/v2/repository/models/flight_delays/load": load,
    }
    seen = set()
    for number in range(REQUESTS):
        path = rng.choice(list(bodies))
        body = json.dumps(spoil(rng, bodies[path])).encode()
        if number % 5 == 0:  # damage the bytes too
            place = rng.randrange(len(body) + 1)
            body = body[:place] + rng.randbytes(rng.randrange(4)) + body[place + rng.randrange(3) :]
        headers = [(b"content-length", str(len(body)).encode())]
        if number % 7 == 0:
            headers.append((b"inference-header-content-length", rng.choice([b"5", b"x", b"-1", b"999999", str(len(body) // 2).encode()])))
        status, answer = call(app, runner, "POST", path, body, headers)
        assert status in {200, 400, 404, 413, 422, 503}, (path, body, answer)
        if status != 200:  # an answer may be raw bytes
            assert json.loads(answer)["error"]
        seen.add(status)
    assert {200, 400, 422} <= seen
    status, answer = call(app, runner, "POST", "/v1/models/flight_delays/predict", json.dumps({"rows": rows}).encode())
    assert status == 200


def test_odd_paths_and_methods(application):
    app, runner, _ = application
    rng = random.Random(1)
    parts = [
        "v1",
        "v2",
        "models",
        "flight_delays",
        "..",
        "%00",
        "%2F",
        "é",
        "versions",
        "1",
        "infer",
        "ready",
        "repository",
        "index",
        "",
        "a" * 3000,
        "metrics",
    ]
    for _ in range(REQUESTS // 3):
        path = "/" + "/".join(rng.choice(parts) for _ in range(rng.randrange(7)))
        status, _ = call(app, runner, rng.choice(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "X"]), path, b"{}")
        assert status in {200, 204, 400, 404, 405, 422}, path


def test_schemathesis(application):
    app, runner, _ = application
    status, document = call(app, runner, "GET", "/openapi.json")
    assert status == 200
    schema = schemathesis.openapi.from_dict(json.loads(document))
    cases = [operation.ok() for operation in schema.get_all_operations()]
    assert len(cases) > 8
    for operation in cases:
        _check(app, runner, operation)


def _check(app, runner, operation):
    allowed = {int(code) for code in operation.definition.raw["responses"]}

    @settings(max_examples=max(5, REQUESTS // 100), deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy())
    def check(case):
        body = b"" if isinstance(case.body, schemathesis.core.NotSet) else json.dumps(case.body).encode()
        headers = [(name.lower().encode(), str(value).encode("latin-1", "replace")) for name, value in (case.headers or {}).items()]
        status, _ = call(app, runner, case.method, case.formatted_path, body, headers)
        assert status in allowed, (case.method, case.formatted_path, body, status)

    check()
