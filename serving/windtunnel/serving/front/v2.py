"""The Open Inference Protocol v2 as data: requests and answers as tensors, metadata of servers and models.

HTTP bodies may carry tensors as JSON or, by the protocol's binary extension, as raw bytes after the JSON; tritonclient uses the latter.
"""

import dataclasses
import struct
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from windtunnel.lifecycle.model.bundle import Input
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.serving.base import quickjson
from windtunnel.serving.base.batch import Named, from_matrix, from_tensors
from windtunnel.serving.base.values import Schema, invalid
from windtunnel.serving.compiler.engine import Engine
from windtunnel.serving.compiler.explain import explain
from windtunnel.serving.routing.answer import Answer
from windtunnel.serving.routing.models import Served
from windtunnel.serving.routing.service import MAX_ROWS

__all__ = [
    "Request",
    "Tensor",
    "bytes_tensor",
    "index",
    "model_metadata",
    "parse_http",
    "raw_tensor",
    "response_http",
    "server_metadata",
    "statistics",
    "tensors",
]

DATATYPES: dict[str, str] = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""The protocol's numeric types as numpy's; BYTES is apart."""

MOST_DIGITS = 12
"""Digits of the length of a request's JSON part at most."""

_LONGEST_ID = 200  # what fits a log line
_OF_KIND = {"string": "BYTES", "bool": "BOOL", "int64": "INT64", "float64": "FP64", "floats": "FP64"}
_OF_TYPE = {"bool": "BOOL", "int32": "INT32", "int64": "INT64", "float32": "FP32", "float64": "FP64"}


@dataclasses.dataclass(slots=True)
class Tensor:
    """One input as it came.

    Attributes:
        name: the column, or whatever a matrix is called.
        datatype: the protocol's.
        values: row by row, all of them in one line.
        width: values of a row: more than one is a matrix.
    """

    name: str
    datatype: str
    values: list[Any] | np.ndarray
    width: int = 1


@dataclasses.dataclass(slots=True)
class Request:
    """A request for inference.

    Attributes:
        id: the client's id for it, or nothing.
        inputs: the input tensors.
        outputs: the outputs that are wanted -> whether as raw bytes; empty wants all.
        binary: whether outputs are raw bytes unless said otherwise.
    """

    id: str
    inputs: list[Tensor]
    outputs: dict[str, bool]
    binary: bool = False

    def batch(self, schema: Callable[[], Schema]) -> Named:
        """The rows: of one tensor a column, or of one matrix whose columns are the inputs in the model's order.

        Args:
            schema: what the model takes; asked for only where a matrix is there.

        Raises:
            InvalidInputError: names the tensor that is there twice, or has another number of rows.
        """
        if len(self.inputs) == 1 and self.inputs[0].width > 1:
            batch = _matrix(self.inputs[0], schema())
        else:
            for tensor in self.inputs:
                if tensor.width > 1:
                    raise _bad(tensor.name, "must have shape [rows] or [rows, 1] beside other tensors: one a column")
            batch = from_tensors((tensor.name, tensor.values) for tensor in self.inputs)
        if not batch.count:
            raise _bad(self.inputs[0].name, "has no rows")
        return batch


def _matrix(tensor: Tensor, schema: Schema) -> Named:
    """A matrix's columns by the model's names."""
    values, width = tensor.values, tensor.width
    if isinstance(values, np.ndarray):
        return from_matrix(schema, values.reshape(-1, width), tensor.name)
    return from_matrix(schema, [values[start : start + width] for start in range(0, len(values), width)], tensor.name)


def parse_http(raw: bytes, header_length: bytes | None) -> Request:
    """The request of an HTTP body.

    Raises:
        InvalidInputError: says which part is not as the protocol has it.
    """
    rest = b""
    if header_length is not None:
        if not header_length.isdigit() or len(header_length) > MOST_DIGITS or int(header_length) > len(raw):
            raise _bad("Inference-Header-Content-Length", "must be the length of the JSON part")
        raw, rest = raw[: int(header_length)], raw[int(header_length) :]
    body = _parsed(raw)
    inputs = []
    for entry in body["inputs"]:
        tensor, rest = _tensor(entry, rest)
        inputs.append(tensor)
    if rest:
        raise _bad("body", f"has {len(rest)} bytes after the last tensor")
    identity = body.get("id", "")
    if not isinstance(identity, str) or len(identity) > _LONGEST_ID:
        raise _bad("id", f"must be a text of at most {_LONGEST_ID} characters")
    binary = bool(_parameters(body).get("binary_data_output", False))
    return Request(identity, inputs, _outputs(body, binary=binary), binary)


def _parsed(raw: bytes) -> JsonObject:
    """A request's JSON part, which has inputs."""
    try:
        body = quickjson.strict(raw)
    except quickjson.NotStrictError as error:
        raise _bad(error.field, error.text) from error
    except (ValueError, RecursionError) as error:
        raise _bad("body", f"is not JSON: {error}") from error
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), list) or not body["inputs"]:
        raise _bad("inputs", "must be a list of at least one tensor")
    return body


def _outputs(body: JsonMapping, *, binary: bool) -> dict[str, bool]:
    """The outputs that are wanted -> whether as raw bytes."""
    entries = body.get("outputs", [])
    if not isinstance(entries, list):
        raise _bad("outputs", "must be a list")
    outputs = {}
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise _bad("outputs", "must have a name each")
        parameters = _parameters(entry)
        if parameters.get("classification"):
            raise _bad("outputs", "cannot be classified by the server: class names are the output 'prediction'")
        outputs[entry["name"]] = bool(parameters.get("binary_data", binary))
    return outputs


def _tensor(entry: Any, rest: bytes) -> tuple[Tensor, bytes]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise _bad("inputs", "must have a name each")
    name, datatype, shape = entry["name"], entry.get("datatype"), entry.get("shape")
    count, width = shape_of(name, datatype, shape)
    size = entry.get("parameters") and _parameters(entry).get("binary_data_size")
    if size is not None:
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
            raise _bad(name, f"says binary_data_size {size!r} but {len(rest)} bytes follow")
        return Tensor(name, str(datatype), raw_values(name, str(datatype), rest[:size], count * width), width), rest[size:]
    data = entry.get("data")
    if not isinstance(data, list):
        raise _bad(name, "must have data, a list")
    values = _flat(data)
    if len(values) != count * width:
        raise _bad(name, f"has {len(values)} values for shape {shape}")
    check_range(name, str(datatype), values)
    return Tensor(name, str(datatype), values, width), rest


def shape_of(name: str, datatype: object, shape: object) -> tuple[int, int]:
    """The rows and columns of a tensor by its shape, ``[rows]`` or ``[rows, columns]``.

    Raises:
        InvalidInputError: it has another type or shape.
    """
    if not isinstance(datatype, str) or (datatype != "BYTES" and datatype not in DATATYPES):
        raise _bad(name, f"has datatype {datatype!r}; there are BYTES, {', '.join(DATATYPES)}")
    sizes = shape if isinstance(shape, list) else []
    if len(sizes) not in {1, 2} or not all(type(size) is int and size >= 0 for size in sizes):
        raise _bad(name, f"must have shape [rows] or [rows, columns] but has {shape!r}")
    return sizes[0], sizes[1] if len(sizes) > 1 else 1


_RANGES = {"INT8": (-(1 << 7), 1 << 7), "INT16": (-(1 << 15), 1 << 15), "INT32": (-(1 << 31), 1 << 31), "UINT8": (0, 1 << 8),
           "UINT16": (0, 1 << 16), "UINT32": (0, 1 << 32), "UINT64": (0, 1 << 64), "FP16": (-65504.0, 65504.1)}  # fmt: skip
"""What the narrower datatypes hold: from, and up to but without; the widest are looked at when values become columns."""


def check_range(name: str, datatype: str, values: Sequence[object]) -> None:
    """Refuse values that are none of the tensor's datatype, where they were not sent in its own bytes.

    Raises:
        InvalidInputError: names the first.
    """
    if datatype != "BOOL" and datatype not in _RANGES:
        return
    for value in values:
        if value is not None and not _is_of(datatype, value):
            raise _bad(name, f"has {value!r}, which is no {datatype}")


def _is_of(datatype: str, value: object) -> bool:
    """Whether a value is one of a datatype; what is no number at all is left to the column."""
    if datatype == "BOOL":
        return type(value) is bool
    low, high = _RANGES[datatype]
    return not isinstance(value, int | float) or value != value or low <= value < high


def raw_values(name: str, datatype: str, raw: bytes, count: int) -> list[object] | np.ndarray:
    """The values of a tensor's raw bytes; BYTES are texts, and must be UTF-8."""
    values: list[Any] | np.ndarray
    if datatype == "BYTES":
        values = _raw_texts(name, raw)
    else:
        dtype = np.dtype(DATATYPES[datatype])
        if len(raw) % dtype.itemsize:
            raise _bad(name, f"has {len(raw)} bytes, which is no multiple of {dtype.itemsize}")
        values = np.frombuffer(raw, dtype=dtype)
    if len(values) != count:
        raise _bad(name, f"has {len(values)} values where its shape has {count}")
    return values


def _raw_texts(name: str, raw: bytes) -> list[object]:
    """Texts, each behind its length."""
    values: list[Any] = []
    place = 0
    while place < len(raw):
        if place + 4 > len(raw):
            raise _bad(name, "ends within the length of a text")
        (length,) = struct.unpack_from("<I", raw, place)
        place += 4
        if place + length > len(raw):
            raise _bad(name, "ends within a text")
        values.append(decode(name, raw[place : place + length]))
        place += length
    return values


def decode(name: str, value: bytes) -> str:
    """A text of a BYTES tensor: an encoder would silently take bytes for an unknown category."""
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise _bad(name, f"is not UTF-8: {error}") from error


EXPLANATION = "contributions"
"""The output that a request may name beside the model's own: each row's explanation, as JSON text."""


def tensors(answer: Answer, request: Request) -> list[tuple[str, str, list[int], Any]]:
    """The outputs of an answer as ``(name, datatype, shape, values)``, those that the request names or all.

    Raises:
        InvalidInputError: an output is wanted that the model has not.
    """
    columns = dict(answer.columns)
    wanted = request.outputs
    if EXPLANATION in wanted:
        columns[EXPLANATION] = [
            quickjson.dumps(entry).decode()
            for entry in explain(answer.engine, request.batch(lambda: answer.engine.schema).rows(), answer.scores)
        ]
    unknown = sorted(set(wanted) - set(columns))
    if unknown:
        raise _bad(unknown[0], f"is not an output; outputs: {', '.join(columns)}")
    found = []
    for name, values in columns.items():
        if wanted and name not in wanted:
            continue
        datatype = _OF_KIND[answer.engine.outputs.get(name, "string")]
        shape = list(values.shape) if isinstance(values, np.ndarray) else [len(values)]
        found.append((name, datatype, shape, values))
    return found


def raw_tensor(datatype: str, values: Any) -> bytes:
    """The raw bytes of an output tensor."""
    return bytes_tensor(values) if datatype == "BYTES" else np.ascontiguousarray(values, dtype=DATATYPES[datatype]).tobytes()


def bytes_tensor(values: Sequence[str]) -> bytes:
    """Texts as the raw bytes of a BYTES tensor."""
    return b"".join(struct.pack("<I", len(encoded)) + encoded for encoded in (value.encode() for value in values))


def outputs_of(engine: Engine) -> dict[str, str]:
    """The outputs of an engine -> their datatypes."""
    return {name: _OF_KIND[kind] for name, kind in engine.outputs.items()}


def guessed(answer: Answer) -> dict[str, str]:
    """The parameter that says what an answer was guessed from, as JSON text; nothing where nothing was."""
    return {"guesses": quickjson.dumps(answer.guesses.to_dict()).decode()} if answer.guesses else {}


def response_http(answer: Answer, request: Request) -> tuple[bytes, int | None]:
    """The HTTP body of an answer, and the length of its JSON part where raw bytes follow."""
    outputs, blobs = [], []
    for name, datatype, shape, values in tensors(answer, request):
        entry: JsonObject = {"name": name, "datatype": datatype, "shape": shape}
        if request.outputs.get(name, request.binary):
            blob = raw_tensor(datatype, values)
            entry["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            entry["data"] = values.ravel().tolist() if isinstance(values, np.ndarray) else values
        outputs.append(entry)
    body = {
        "id": answer.id,
        "model_name": answer.model,
        "model_version": answer.version,
        "parameters": {"route": answer.route} | guessed(answer),
        "outputs": outputs,
    }
    text = quickjson.dumps(body)
    return (text + b"".join(blobs), len(text)) if blobs else (text, None)


def server_metadata() -> JsonObject:
    """``GET /v2``."""
    return {
        "name": "windtunnel",
        "version": metadata.version("windtunnel"),
        "extensions": ["binary_tensor_data", "model_configuration", "model_repository", "statistics"],
    }


def model_metadata(served: Served, wanted: str = "") -> JsonObject:
    """``GET /v2/models/{model}``: its versions, labels, inputs and outputs.

    Raises:
        Unknown: there is no such version.
    """
    version = served.route.named(wanted)[1] if wanted else served.route.choose("")[1]
    engine = served.engines[version]
    bundle = engine.bundle
    outputs: list[JsonObject] = []
    for name, kind in engine.outputs.items():
        shape = [-1, len(bundle.classes)] if kind == "floats" else [-1]
        outputs.append({"name": name, "datatype": _OF_KIND[kind], "shape": shape})
    return {
        "name": served.name,
        "versions": list(served.engines),
        "platform": f"windtunnel_{engine.kind}",
        "inputs": [{"name": column.name, "datatype": datatype_of(column), "shape": [-1]} for column in bundle.inputs],
        "outputs": outputs,
        "parameters": {
            "version": version,
            "labels": dict(served.route.labels),
            "problem": bundle.problem,
            "task": bundle.task,
            "classes": engine.classes,
            "threshold": bundle.threshold,
            "cutoff": bundle.cutoff,
            "digest": bundle.digest,
            "required": [column.name for column in bundle.inputs if column.required],
        },
    }


def model_config(served: Served, wanted: str = "") -> dict[str, object]:
    """``GET /v2/models/{model}/config``: the same in the form of Triton's model configuration.

    Raises:
        Unknown: there is no such version.
    """
    about = model_metadata(served, wanted)
    return {
        "name": about["name"],
        "platform": about["platform"],
        "backend": "windtunnel",
        "version_policy": {"all": {}},
        "max_batch_size": MAX_ROWS,
        "input": [_config_of(entry) for entry in about["inputs"]],
        "output": [_config_of(entry) for entry in about["outputs"]],
        "parameters": {name: {"string_value": str(value)} for name, value in about["parameters"].items()},
    }


def _config_of(entry: JsonMapping) -> JsonObject:
    """A tensor's entry without its dimension of rows, which a configuration leaves out."""
    # the protocol's BYTES is TYPE_STRING in Triton's configuration
    datatype = "STRING" if entry["datatype"] == "BYTES" else entry["datatype"]
    return {"name": entry["name"], "data_type": f"TYPE_{datatype}", "dims": entry["shape"][1:] or [1]}


def statistics(served: Served, totals: Mapping[str, JsonMapping], wanted: str = "") -> list[JsonObject]:
    """The protocol's statistics of each version, or of one: inferences are rows, executions requests.

    Args:
        served: the model.
        totals: ``version/route`` -> figures, from `windtunnel.serving.base.metrics`.
        wanted: a version or a label.

    Raises:
        Unknown: there is no such version.
    """
    versions = [served.route.named(wanted)[1]] if wanted else list(served.engines)
    found = []
    for version in versions:
        figures = [entry for arm, entry in totals.items() if arm.rpartition("/")[0] == version]
        requests, rows, errors = (int(sum(entry[name] for entry in figures)) for name in ("requests", "rows", "errors"))
        success = {"count": requests, "ns": int(sum(entry["seconds"] for entry in figures) * 1e9)}
        stats = {"success": success, "fail": {"count": errors, "ns": 0}}
        found.append(
            {"name": served.name, "version": version, "inference_count": rows, "execution_count": requests, "inference_stats": stats}
        )
    return found


def datatype_of(column: Input) -> str:
    """The protocol's type of an input."""
    return _OF_TYPE.get(column.type, "BYTES")


def index(state: JsonMapping, served: Mapping[str, Served]) -> list[JsonObject]:
    """``POST /v2/repository/index``."""
    found = []
    for name, model in state["models"].items():
        for version, entry in model["versions"].items():
            ready = name in served and version in served[name].engines
            labels = [label for label, target in model["labels"].items() if target == version]
            about = {"name": name, "version": version, "state": "READY" if ready else "UNAVAILABLE"}
            found.append(about | {"reason": "" if ready else "it is not loaded", "labels": labels, "digest": entry["digest"]})
    return found


def _parameters(entry: JsonMapping) -> Mapping[str, object]:
    found = entry.get("parameters") or {}
    if not isinstance(found, dict):
        raise _bad("parameters", "must be an object")
    return found


def _flat(data: list[object]) -> list[object]:
    if not any(isinstance(value, list) for value in data):
        return data
    found: list[Any] = []
    for value in data:
        found += value if isinstance(value, list) else [value]
    return found


def _bad(field: str, text: str) -> Exception:
    return invalid([{"row": 0, "field": field, "message": text}])
