"""The server's OpenAPI document, made from the models that are loaded, and a page of it that opens without a network."""

import html
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any, Protocol
from urllib.parse import quote

from windtunnel.lifecycle.model.bundle import Input
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.serving.compiler.engine import Engine
from windtunnel.serving.front.v2 import DATATYPES, datatype_of
from windtunnel.serving.routing.models import Served

__all__ = ["Described", "Schema", "document", "page"]

_SCHEMAS: dict[str, dict[str, object]] = {
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
    "409": "Somebody else changed it meanwhile",
    "413": "Too many bytes or rows",
    "415": "A media type or content coding that is not known here",
    "422": "The values do not fit the model: the fields are named",
    "503": "Too busy, or the log cannot be written: try again after Retry-After seconds",
    "504": "The request took too long",
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


Schema = Callable[[Sequence[Input]], dict[str, Any]]
"""The JSON Schema of a body, for a model's inputs."""

OBJECT: JsonMapping = {"type": "object"}
LIST: JsonMapping = {"type": "array", "items": OBJECT}
TEXT: JsonMapping = {"type": "string"}
PLAIN: Mapping[str, object] = {"type": "object", "required": ["predictions"], "properties": {"predictions": {"type": "array", "items": {}}}}
PREDICTIONS: JsonMapping = {
    "type": "object",
    "required": ["id", "model", "version", "route", "predictions"],
    "properties": {
        **{name: {"type": "string"} for name in ("id", "model", "version", "route")},
        "predictions": {"type": "array", "items": {"type": "object"}},
    },
}


class Described(Protocol):
    """A route, as far as the document is concerned: a row of `windtunnel.serving.front.http.routes`."""

    @property
    def name(self) -> str:
        """Of the operation."""

    @property
    def method(self) -> str:
        """HTTP's."""

    @property
    def path(self) -> str:
        """With ``{model}`` and ``{version}``."""

    @property
    def about(self) -> str:
        """What it is for."""

    @property
    def open(self) -> bool:
        """Whether it asks for no token."""

    @property
    def body(self) -> Schema | None:
        """The schema of its body."""

    @property
    def answer(self) -> JsonMapping:
        """The schema of its answer."""

    @property
    def needs(self) -> str:
        """The serving option of a model without which it is not there."""


def document(rows: Iterable[Described], served: Mapping[str, Served]) -> JsonObject:
    """The OpenAPI 3.1 document of what is served now.

    Args:
        rows: the table of routes.
        served: the models that are to be described.
    """
    paths: JsonObject = {}
    for row in rows:
        for model, engine in _of(row, served):
            path = row.path.replace("{model}", quote(model))
            paths.setdefault(path, {})[row.method.lower()] = _operation(row, model, engine.bundle.inputs if engine else [])
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


def _of(row: Described, served: Mapping[str, Served]) -> Iterator[tuple[str, Engine | None]]:
    """The models that a row is described for, each with the engine that answers; a row without a model once."""
    if "{model}" not in row.path:
        yield "", None
        return
    for name, model in served.items():
        if not model.engines:
            continue
        engine = model.engines[model.route.choose("")[1]]
        if not row.needs or engine.bundle.options.get(row.needs):
            yield name, engine


def _operation(row: Described, model: str, inputs: Sequence[Input]) -> JsonObject:
    """One operation; its name is unique over models, so that generated clients have one function each."""
    error = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    kind = "text/plain" if row.answer is TEXT else "application/json"
    responses: dict[str, object] = {"200": {"description": "OK", "content": {kind: {"schema": dict(row.answer)}}}}
    responses |= {code: {"description": text, **error} for code, text in _TEXTS.items()}
    found: JsonObject = {"operationId": f"{row.name}_{model}" if model else row.name, "summary": row.about, "responses": responses}
    if model:
        found["tags"] = [model]
    if row.open:
        found["security"] = []
        responses["503"] = {"description": "Not ready", "content": {kind: {"schema": {}}}}
    if row.body is not None:
        schema = row.body(inputs)
        found["requestBody"] = {
            "required": bool(schema.get("required") or schema.get("minProperties")),
            "content": {"application/json": {"schema": schema}},
        }
    found["parameters"] = _parameters(row)
    return found


def _parameters(row: Described) -> list[JsonObject]:
    text: JsonObject = {"type": "string"}
    found: list[JsonObject] = []
    if "{version}" in row.path:
        found.append({"name": "version", "in": "path", "required": True, "schema": {**text, "minLength": 1}, "description": "Or a label"})
    if row.answer in (PREDICTIONS, PLAIN) or row.body is tensors:
        found += [
            {"name": name, "in": "header", "required": False, "schema": text, "description": about} for name, about in _HEADERS.items()
        ]
    return found


def rows(inputs: Sequence[Input]) -> dict[str, Any]:
    """``{"rows": [...]}``."""
    return {"type": "object", "required": ["rows"], "properties": {"rows": _row_list(inputs)}}


def instances(inputs: Sequence[Input]) -> JsonObject:
    """KServe's ``{"instances": [...]}``."""
    return {"type": "object", "required": ["instances"], "properties": {"instances": _row_list(inputs)}}


def invocations(inputs: Sequence[Input]) -> JsonObject:
    """MLflow's forms: generated clients get the two that have types of their own."""
    names = [column.name for column in inputs]
    columns = {"type": "array", "items": {"type": "string", "enum": names}, "minItems": len(names), "maxItems": len(names)}
    data = {"type": "array", "minItems": 1, "items": _row_of(inputs)}
    split = {"type": "object", "required": ["columns", "data"], "properties": {"columns": columns, "data": data}}
    forms = {"dataframe_records": _row_list(inputs), "dataframe_split": split, "instances": LIST, "inputs": OBJECT}
    return {"type": "object", "properties": forms, "minProperties": 1, "maxProperties": 1, "additionalProperties": False}


def _row_of(inputs: Sequence[Input]) -> dict[str, object]:
    """A row as a list of values; ``items`` as false would say its length too, but generators of clients cannot read that."""
    entries = [_nullable(column) for column in inputs]
    return {"type": "array", "prefixItems": entries, "minItems": len(entries), "maxItems": len(entries)}


def _row_list(inputs: Sequence[Input]) -> dict[str, object]:
    properties = {column.name: _nullable(column) for column in inputs}
    row = {"type": "object", "properties": properties, "required": [column.name for column in inputs if column.required]}
    return {"type": "array", "minItems": 1, "maxItems": 100, "items": row}


def _nullable(column: Input) -> JsonObject:
    schema = _SCHEMAS.get(column.type, {})
    return schema if column.required else {"anyOf": [schema, {"type": "null"}]}


def tensors(inputs: Sequence[Input]) -> dict[str, object]:
    """The Open Inference Protocol's request."""
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"type": "string", "enum": [column.name for column in inputs]},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
            "datatype": {"type": "string", "enum": ["BYTES", *DATATYPES]},
            "data": {"type": "array", "items": {}},
        },
    }
    example = [{"name": column.name, "shape": [1], "datatype": datatype_of(column), "data": [None]} for column in inputs]
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {"id": {"type": "string"}, "inputs": {"type": "array", "minItems": 1, "items": tensor}},
        "examples": [{"inputs": example}],
    }


def _parameters_of(properties: JsonMapping, *required: str) -> dict[str, object]:
    inner = {"type": "object", "properties": dict(properties), "required": list(required)}
    found: JsonObject = {"type": "object", "properties": {"parameters": inner}}
    return found | {"required": ["parameters"]} if required else found


_NAME = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,200}$"}
_LABELS = {"type": "array", "items": _NAME}
_DIGEST = {"type": "string", "pattern": "^[0-9a-f]{1,64}$"}


def index(_: Sequence[Input]) -> JsonObject:
    """The body of the repository's index."""
    return {"type": "object", "properties": {"ready": {"type": "boolean"}}}


def load(_: Sequence[Input]) -> JsonObject:
    """The body of a load; without parameters it makes sure that what the server knows is loaded."""
    return _parameters_of({"uri": TEXT, "digest": _DIGEST, "version": _NAME, "labels": _LABELS, "route": OBJECT})


def label(_: Sequence[Input]) -> JsonObject:
    """The body of a change of labels."""
    return _parameters_of({"version": _NAME, "labels": _LABELS, "drop": _LABELS, "route": OBJECT}, "version")


def unload(_: Sequence[Input]) -> JsonObject:
    """The body of an unload; without a version all go."""
    return _parameters_of({"version": _NAME})


def lookup(_: Sequence[Input]) -> dict[str, object]:
    """The body that names precomputed answers."""
    return _parameters_of({"uri": TEXT, "digest": _DIGEST}, "uri", "digest")


def route(_: Sequence[Input]) -> JsonObject:
    """The body that replaces a route."""
    weights = {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}}
    properties = {"arms": weights, "sticky": TEXT, "salt": TEXT, "shadow": {"type": "array", "items": TEXT}, "experiment": OBJECT}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def rewards(_: Sequence[Input]) -> JsonObject:
    """The body that says what arms were worth."""
    number = {"type": "number", "minimum": 0}
    return {
        "type": "object",
        "additionalProperties": {"type": "object", "required": ["count", "total"], "properties": {"count": number, "total": number}},
    }


def page(rows: Iterable[Described], served: Mapping[str, Served]) -> str:
    """The document as a page to read."""
    routes = [
        _row(f"<code>{method.upper()}</code>", f"<code>{html.escape(path)}</code>", html.escape(operation["summary"]))
        for path, operations in document(rows, served)["paths"].items()
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
        f"{''.join(models)}</table><h2>Routes</h2><table>{''.join(routes)}</table><p><a href=openapi.json>openapi.json</a></p></html>"
    )


def _row(*cells: str) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
