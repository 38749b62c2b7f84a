"""The one table of routes, and what is made from it."""

import json
import re
from pathlib import Path

import pytest
import serving_models

from windtunnel.serving.front.http.routes import TABLE, Asks, markdown

ROOT = Path(__file__).parents[2]


def test_the_documentation_has_the_table():
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    assert markdown() == text.split("<!-- routes:", 1)[1].split("-->\n", 1)[1].split("\n<!-- /routes", 1)[0]


def test_each_row_is_answered_one_way_and_has_a_name_of_its_own():
    assert all((row.endpoint is None) != (row.codec is None) for row in TABLE)
    assert len({row.name for row in TABLE}) == len(TABLE)
    assert len({(row.method, row.path) for row in TABLE}) == len(TABLE)


def test_openapi_describes_every_route_and_nobody_gets_in_without_a_token(serve, bundles, rows):
    server = serve("--preload", f"flight_delays=1={bundles['one']}")
    status, document = server.call("/openapi.json")
    assert status == 200
    described = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    names = [operation["operationId"] for operations in document["paths"].values() for operation in operations.values()]
    assert len(set(names)) == len(names)
    for row in TABLE:
        path = row.path.replace("{model}", "flight_delays")
        assert row.needs or (row.method, path) in described, row
        asked = re.sub(r"\{version\}", "1", path)
        body = b"{}" if row.method in {"POST", "PUT"} else None
        status, _ = server.call(asked, body, token="", method=row.method) if "ping" not in path else (200, "")
        assert status in ({200, 503} if row.asks is Asks.NOTHING else {401}), row
        assert server.call(asked, body, method="DELETE")[0] == 405, row
    page = server.call("/docs")[1].decode()
    assert all(path in page for _, path in described)


@pytest.mark.parametrize("path", ["/nothing", "/v1/models", "/v2/models/nothing/ready", "/v1/models/nothing:predict"])
def test_errors_are_json_by_whatever_method(serve, short_path, path):
    server = serve()
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "BREW"):
        if (path, method) != ("/v1/models", "GET"):
            status, body = server.call(path, b"" if method != "GET" else None, method=method)
            assert status in {400, 404, 405}, (method, status)
            assert body["error"]


def test_a_token_of_one_model_sees_only_that_model(serve, tmp_path, rows):
    import hashlib

    for name in ("shop", "secret"):
        serving_models.flight_bundle(tmp_path / name, "linear", problem=name)
    tokens = {hashlib.sha256(b"shop").hexdigest(): {"name": "shop", "models": ["shop", "later"]}}
    (tmp_path / "tokens.json").write_text(json.dumps(tokens))
    preloads = [part for name in ("shop", "secret") for part in ("--preload", f"{name}=1={tmp_path / name}")]
    server = serve("--tokens", str(tmp_path / "tokens.json"), *preloads)
    server.predict(rows[:1], model="secret")
    server.predict(rows[:1], model="shop")
    for path in ("/metrics", "/openapi.json", "/docs", "/v2/repository/index", "/v1/models", "/v2/models/stats"):
        status, body = server.call(path, token="shop")
        seen = body.decode() if isinstance(body, bytes) else json.dumps(body)
        assert (status, "shop" in seen, "secret" in seen) == (200, True, False), path
    for path in ("/v2/models/secret", "/v2/models/secret/stats", "/v2/models/secret/config", "/v1/models/secret"):
        assert server.call(path, token="shop")[0] == 403
    # Hints too: the model that is not there yet names those of the caller only.
    for path, body in (("/v1/models/later/predict", {"rows": rows[:1]}), ("/v2/models/later", None)):
        status, answer = server.call(path, body, token="shop")
        assert (status, "secret" in answer["error"], "shop" in answer["error"]) == (404, False, True), answer
    assert "secret" in server.call("/metrics")[1].decode()
