"""The Open Inference Protocol with raw bytes, for one plain row: the JSON part, which a client sends again and again, is read once.

Where texts differ in length the sizes in the JSON part differ, so even then there are few such parts.
"""

import struct
from typing import Any, Self

from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.serving.base import quickjson
from windtunnel.serving.base.values import InvalidInputError
from windtunnel.serving.front import v2
from windtunnel.serving.front.http.plain_forms import Form, tensors_head
from windtunnel.serving.routing.lane import Lane

__all__ = ["Layout", "RawTensors"]

_MOST_LAYOUTS = 512
_PACKED = {
    "BOOL": "?",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP32": "f",
    "FP64": "d",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
}
_LENGTH = 4
"""Bytes of the length before a text."""


class Layout:
    """What the bytes behind a JSON part are, and which outputs are wanted how.

    Args:
        request: a request with that JSON part.
        sizes: the bytes of each tensor.
    """

    def __init__(self, request: v2.Request, sizes: list[int]) -> None:
        self.outputs, self.binary = request.outputs, request.binary
        self._columns = [(tensor.name, tensor.datatype == "BYTES") for tensor in request.inputs]
        parts = [
            f"I{size - _LENGTH}s" if tensor.datatype == "BYTES" else _PACKED[tensor.datatype]
            for tensor, size in zip(request.inputs, sizes, strict=True)
        ]
        # the protocol's bytes are little-endian; with < nothing is aligned, so no gaps are between them
        self._bytes = struct.Struct("<" + "".join(parts))

    @classmethod
    def of(cls, head: bytes, raw: bytes) -> Self | None:
        """The layout of a JSON part; None where it is not that of one row, all of raw bytes, without an id.

        Args:
            head: the JSON part.
            raw: some bytes that came with it.
        """
        try:
            request = v2.parse_http(head + raw, str(len(head)).encode())
            sizes = [entry["parameters"]["binary_data_size"] for entry in quickjson.loads(head)["inputs"]]
        except (InvalidInputError, KeyError, TypeError):
            return None
        alone = all(tensor.width == len(tensor.values) == 1 and tensor.datatype in {"BYTES", *_PACKED} for tensor in request.inputs)
        once = len({tensor.name for tensor in request.inputs}) == len(request.inputs)
        return cls(request, sizes) if alone and once and not request.id else None

    def row(self, raw: bytes) -> dict[str, Any] | None:
        """The row of some bytes; None where they are not as the layout has it, or a number is none."""
        if len(raw) != self._bytes.size:
            return None
        values, row = iter(self._bytes.unpack(raw)), {}
        try:
            for name, is_text in self._columns:
                value = next(values)
                if is_text:
                    text = next(values)
                    row[name] = text.decode()
                    odd = value != len(text)
                else:
                    row[name] = value
                    odd = value - value != 0  # infinite, or NaN
                if odd:
                    return None
        except UnicodeDecodeError:
            return None
        return row


class RawTensors(Form):
    """The protocol's requests whose JSON part has one length.

    Args:
        lane: the version that answers.
        length: of the JSON part.
    """

    def __init__(self, lane: Lane, length: int) -> None:
        super().__init__(lane)
        self._length = length
        self._layouts: dict[bytes, Layout | None] = {}
        self._layout: Layout | None = None
        self._kinds = v2.outputs_of(lane.engine)
        self._names = set(lane.engine.schema.names)
        self._about = tensors_head(lane)

    def read(self, body: bytes) -> JsonObject | None:
        """The row of the bytes behind the JSON part."""
        head, raw = body[: self._length], body[self._length :]
        layout = self._layouts[head] if head in self._layouts else self._learn(head, raw)
        self._layout = layout
        row = None if layout is None else layout.row(raw)
        return row if row is not None and row.keys() <= self._names else None

    def _learn(self, head: bytes, raw: bytes) -> Layout | None:
        if len(self._layouts) >= _MOST_LAYOUTS:
            self._layouts.clear()
        layout = Layout.of(head, raw)
        known = set(self.lane.engine.outputs)
        self._layouts[head] = layout if layout is not None and set(layout.outputs) <= known else None
        return self._layouts[head]

    def write(self, found: JsonMapping, text: bytes, identity: bytes) -> tuple[bytes, bytes]:
        """One tensor of one value an output, as the layout of the row that was just read has it."""
        layout = self._layout
        assert layout is not None  # a row was read
        entries, blobs = [], []
        for name, value in found.items():
            if layout.outputs and name not in layout.outputs:
                continue
            binary = layout.outputs.get(name, layout.binary)
            kind = self._kinds[name]
            if binary:
                blobs.append(v2.raw_tensor(kind, [value]))
            part = b'"parameters":{"binary_data_size":%d}' % len(blobs[-1]) if binary else b'"data":[%b]' % quickjson.encode(value)
            entries.append(b'{"name":"%b","datatype":"%b","shape":[1],%b}' % (name.encode(), kind.encode(), part))
        head = b'{"id":%b,%b,"outputs":[%b]}' % (identity, self._about, b",".join(entries))
        if not blobs:
            return head, b"application/json"
        return head + b"".join(blobs), b"application/octet-stream\r\ninference-header-content-length: %d" % len(head)
