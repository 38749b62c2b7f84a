"""gRPC requests for one plain row: a message to the bytes of its answer, without what all of them have in common.

Everything that is not the plain case is left to `windtunnel.serving.front.rpc`, which also says what is wrong.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any

from windtunnel.lifecycle.contract.errors import WindtunnelError
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.serving.base import quickjson
from windtunnel.serving.front import v2
from windtunnel.serving.front.access import Access
from windtunnel.serving.protocol import open_inference_pb2 as pb
from windtunnel.serving.routing.lane import SIMPLE, Lane, Lanes
from windtunnel.serving.routing.service import Service

__all__ = ["CONTENTS", "PlainRows"]

_LENGTH = 4
_RAW: dict[str, Callable[[bytes], tuple[Any, ...]]] = {
    name: struct.Struct(f"<{code}").unpack for name, code in (("BOOL", "?"), ("INT32", "i"), ("INT64", "q"), ("FP32", "f"), ("FP64", "d"))
}
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Datatype -> the field of a tensor's contents that holds its values."""

_PLAIN = {name: CONTENTS[name] for name in (*_RAW, "BYTES")}  # of the narrower ones the values have to be looked at


class PlainRows:
    """Answers plain rows of one worker.

    Args:
        service: what answers.
        access: knows who may do what.
    """

    def __init__(self, service: Service, access: Access) -> None:
        self._service, self._access = service, access
        self._lanes = Lanes(service, "grpc")
        self._common: dict[Lane, tuple[bytes, dict[str, str]]] = {}

    def answer(self, message: Any, metadata: Mapping[str, str], began: float) -> bytes | None:
        """The answer's bytes; None where the request has to go the ordinary way.

        Args:
            message: a ModelInferRequest.
            metadata: of the call.
            began: when it arrived, by `time.perf_counter`.
        """
        lane = self._lane(message, metadata)
        row = None if lane is None else _row(message)
        if lane is None or row is None or len(row) != len(lane.engine.schema.names) or message.outputs:
            return None
        identity = message.id or self._service.new_id()
        found = lane.answer(row, quickjson.encode(identity), began)
        if found is None:
            return None
        head, kinds = self._common_of(lane, found[0])
        values = [v2.raw_tensor(kinds[name], [value]) for name, value in found[0].items()]
        changing = pb.ModelInferResponse(id=identity, raw_output_contents=values)
        return head + bytes(changing.SerializeToString())  # two messages' bytes are those of both in one

    def _lane(self, message: Any, metadata: Mapping[str, str]) -> Lane | None:
        header = metadata.get("authorization")
        caller = self._access.caller(header.encode() if header is not None else None)
        if caller is None or not caller.may(message.model_name):
            return None
        wanted = message.model_version or metadata.get("x-windtunnel-version", "")
        try:
            found = self._service.find(message.model_name, wanted, metadata.get("x-windtunnel-key"))
        except WindtunnelError:
            return None
        lane = self._lanes.of(found, "grpc")
        return lane if lane is not None and lane.engine.bundle.task in SIMPLE else None

    def _common_of(self, lane: Lane, found: JsonMapping) -> tuple[bytes, dict[str, str]]:
        """What all answers of a lane have in common: the bytes of that part, and the outputs' datatypes."""
        common = self._common.get(lane)
        if common is None:
            response = pb.ModelInferResponse(model_name=lane.found[0].name, model_version=lane.found[2])
            response.parameters["route"].string_param = lane.found[1]
            kinds = v2.outputs_of(lane.engine)
            for name in found:
                response.outputs.add(name=name, datatype=kinds[name], shape=[1])
            if len(self._common) >= _MOST_LANES:
                self._common.clear()
            common = self._common[lane] = (response.SerializeToString(), kinds)
        return common


# a swap makes new lanes, and each that is kept here keeps its engine in memory
_MOST_LANES = 64


def _row(message: Any) -> JsonObject | None:
    """The row of a message's tensors; None where it has none of the plain kind."""
    raw = message.raw_input_contents
    if len(message.id) > 200 or (raw and len(raw) != len(message.inputs)):
        return None
    row: dict[str, Any] = {}
    try:
        for place, tensor in enumerate(message.inputs):
            if list(tensor.shape) not in ([1], [1, 1]) or (raw and tensor.HasField("contents")):
                return None
            value = _raw_value(tensor.datatype, raw[place]) if raw else _value(tensor)
            row[tensor.name] = value
            if type(value) is float and value - value != 0.0:  # infinite, or NaN
                return None
    except (KeyError, ValueError, struct.error):
        return None
    # fewer: a tensor is there twice, which the ordinary way refuses by name
    return row if len(row) == len(message.inputs) else None


def _raw_value(datatype: str, raw: bytes) -> Any:
    """The one value of some bytes.

    Raises:
        KeyError, ValueError, struct.error: it is not of a plain kind.
    """
    if datatype == "BYTES":
        if int.from_bytes(raw[:_LENGTH], "little") != len(raw) - _LENGTH:
            raise ValueError
        return raw[_LENGTH:].decode()
    (value,) = _RAW[datatype](raw)
    return value


def _value(tensor: Any) -> Any:
    """The one value of a tensor's contents.

    Raises:
        KeyError, ValueError: it is not of a plain kind.
    """
    (value,) = getattr(tensor.contents, _PLAIN[tensor.datatype])
    return value.decode() if type(value) is bytes else value
