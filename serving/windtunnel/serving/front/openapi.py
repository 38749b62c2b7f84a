"""The server's OpenAPI document, made from the models that are loaded, and a page of it that opens without a network."""

import html
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from windtunnel.lifecycle.model.bundle import Input
from windtunnel.serving.front.v2 import DATATYPES, datatype_of
from windtunnel.serving.routing.models import Served

__all__ = ["document", "page"]

_SCHEMAS: dict[str, dict[str, Any]] = {
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "minimum": -(1 << 31), "maximum": (1 << 31) - 1},
    "int64": {"type": "integer", "minimum": -(1 << 63), "maximum": (1 << 63) - 1},
    "float32": {"type": "number", "minimum": -3.4e38, "maximum": 3.4e38},
    "float64": {"type": "number", "minimum": -1e300, "maximum": 1e300},
    "string": {"type": "string"},
    "date": {"type": "string", "format": "date"},
    "timestamp": {"type": "string", "format": "date-time"},
    "decimal": {"type": "string", "pattern": r"^-?[0-9]{1,20}(\.[0-9]{1,10})?$"},
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string"},
        "problems": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"row": {"type": "integer"}, "field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
_TEXTS = {
    "400": "The body is not JSON",
    "401": "No token, or not one of ours",
    "403": "The token may not do this",
    "404": "There is no such model, version or label",
    "405": "The method is not allowed here",
    "413": "Too many bytes or rows",
    "422": "The values do not fit the model: the fields are named",
    "503": "Too busy, or the log cannot be written: try again after Retry-After seconds",
    "504": "The request took too long",
}

_ABOUT = {
    "": "Versions, labels, inputs and outputs",
    "/ready": "Whether it is ready",
    "/stats": "Requests and seconds by version and route",
    "/route": "Labels and route",
}
_HEADERS = {
    "X-Windtunnel-Version": "A version or a label, whatever the route says",
    "X-Windtunnel-Key": "The same key always gets the same arm",
    "X-Request-Id": "The request's id, for the log",
}
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem}table{border-collapse:collapse;width:100%}"
    "td,th{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #ddd;vertical-align:top}"
)


def document(served: Mapping[str, Served]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of what is served now."""
    paths: dict[str, Any] = {
        "/v2/health/live": {"get": _operation("live", "Whether the process is alive", {"type": "object"}, open_=True)},
        "/v2/health/ready": {"get": _operation("ready", "Whether requests can be answered", {"type": "object"}, open_=True)},
        "/v2": {"get": _operation("server", "The server's name, version and extensions", {"type": "object"})},
        "/v2/repository/index": {"post": _operation("index", "Every version that is loaded", {"type": "array"})},
    }
    for name, model in served.items():
        if not model.engines:
            continue
        engine = model.engines[model.route.choose("")[1]]
        inputs = engine.bundle.inputs
        paths[f"/v1/models/{name}/predict"] = {
            "post": _operation(
                f"predict_{name}",
                f"Answers of {name} for rows as objects",
                {"type": "object", "required": ["id", "model", "version", "route", "predictions"]},
                body=_rows_schema(inputs),
                headers=True,
            )
        }
        if engine.bundle.options.get("explain"):
            paths[f"/v1/models/{name}/explain"] = {
                "post": _operation(
                    f"explain_{name}",
                    f"Answers of {name} with what each column contributed",
                    {"type": "object", "required": ["id", "model", "version", "route", "predictions"]},
                    body=_rows_schema(inputs),
                    headers=True,
                )
            }
        infer = _operation(
            f"infer_{name}", f"Answers of {name} for tensors, one a column", {"type": "object"}, body=_tensors_schema(inputs), headers=True
        )
        paths[f"/v2/models/{name}/infer"] = {"post": infer}
        for part, text in _ABOUT.items():
            operation = _operation(f"model_{name}{part.replace('/', '_')}", f"{text} of {name}", {"type": "object"})
            paths[f"/v2/models/{name}{part}"] = {"get": operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Windtunnel model server", "version": metadata.version("windtunnel")},
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _ERROR},
        },
        "security": [{"token": []}],
    }


def _operation(
    name: str, text: str, answer: Mapping[str, Any], *, body: Mapping[str, Any] | None = None, open_: bool = False, headers: bool = False
) -> dict[str, Any]:
    error = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    responses: dict[str, Any] = {"200": {"description": "OK", "content": {"application/json": {"schema": dict(answer)}}}}
    responses |= {code: {"description": text, **error} for code, text in _TEXTS.items()}
    if open_:
        responses["503"] = {"description": "Not ready", "content": {"application/json": {"schema": {"type": "object"}}}}
    found: dict[str, Any] = {"operationId": name, "summary": text, "responses": responses}
    if open_:
        found["security"] = []
    if body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": dict(body)}}}
    if headers:
        found["parameters"] = [
            {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": text}
            for name, text in _HEADERS.items()
        ]
    return found


def _rows_schema(inputs: list[Input]) -> dict[str, Any]:
    properties = {column.name: _nullable(column) for column in inputs}
    row = {"type": "object", "properties": properties, "required": [column.name for column in inputs if column.required]}
    return {"type": "object", "required": ["rows"], "properties": {"rows": {"type": "array", "minItems": 1, "maxItems": 100, "items": row}}}


def _nullable(column: Input) -> dict[str, Any]:
    schema = _SCHEMAS.get(column.type, {})
    return schema if column.required else {"anyOf": [schema, {"type": "null"}]}


def _tensors_schema(inputs: list[Input]) -> dict[str, Any]:
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"type": "string", "enum": [column.name for column in inputs]},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
            "datatype": {"type": "string", "enum": ["BYTES", *DATATYPES]},
            "data": {"type": "array"},
        },
    }
    example = [{"name": column.name, "shape": [1], "datatype": datatype_of(column), "data": [None]} for column in inputs]
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {"id": {"type": "string"}, "inputs": {"type": "array", "minItems": 1, "items": tensor}},
        "examples": [{"inputs": example}],
    }


def page(served: Mapping[str, Served]) -> bytes:
    """The document as a page to read."""
    rows = [
        _row(f"<code>{method.upper()}</code>", f"<code>{html.escape(path)}</code>", html.escape(operation["summary"]))
        for path, operations in document(served)["paths"].items()
        for method, operation in operations.items()
    ]
    models = []
    for name, model in served.items():
        for version, engine in model.engines.items():
            labels = ", ".join(label for label, target in model.route.labels.items() if target == version)
            inputs = ", ".join(f"{column.name}: {column.type}" for column in engine.bundle.inputs)
            models.append(_row(*map(html.escape, (name, version, labels, engine.kind, engine.bundle.cutoff, inputs))))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Windtunnel model server</title><style>{_STYLE}</style>"
        "<h1>Windtunnel model server</h1><h2>Models</h2><table>"
        "<tr><th>Model<th>Version<th>Labels<th>Engine<th>Data until<th>Inputs</tr>"
        f"{''.join(models)}</table><h2>Routes</h2><table>{''.join(rows)}</table><p><a href=openapi.json>openapi.json</a></p></html>"
    ).encode()


def _row(*cells: str) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
