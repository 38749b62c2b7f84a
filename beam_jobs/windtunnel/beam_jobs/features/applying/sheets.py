"""A split as one Arrow file with one record batch, made before its rows are known: a frame with holes that workers fill in place.

A reader maps such a file and has the whole split as one array without a copy. Where each row lies follows from its number alone, so a
bundle that runs twice writes the same bytes to the same place.
"""

import io
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc

__all__ = ["WIDE", "Sheet", "copy", "dense_sheet", "put", "sparse_sheet"]

WIDE = 2**31 - 1
"""Entries that offsets of 32 bits can tell apart."""


class Sheet:
    """Where in a file the values of each part begin.

    Attributes:
        path: the file.
        at: part -> offset in bytes.
    """

    def __init__(self, path: str, at: dict[str, int]) -> None:
        self.path, self.at = path, at


def dense_sheet(path: Path, rows: int, width: int, dtype: str, labels: object) -> Sheet:
    """A frame for ``x: fixed_size_list<dtype>[width]`` and, with `labels`, ``y``.

    Args:
        path: the file, which is made.
        rows: of the split.
        width: features.
        dtype: ``float32`` or ``float64``.
        labels: None for no label, ``float64``, or the classes in order, whose places are then kept as int32.
    """
    kind = pa.from_numpy_dtype(np.dtype(dtype))
    parts = {"x": rows * width * np.dtype(dtype).itemsize, **_label_bytes(rows, labels)}

    def arrays(holes: dict[str, pa.Buffer]) -> dict[str, pa.Array]:
        child = pa.Array.from_buffers(kind, rows * width, [None, holes["x"]])
        x = pa.Array.from_buffers(pa.list_(kind, width), rows, [None], children=[child])
        return {"x": x, **_label_array(rows, labels, holes)}

    return _framed(path, parts, arrays)


def sparse_sheet(path: Path, rows: int, entries: int, dtype: str, labels: Any) -> Sheet:
    """A frame for ``x: list<struct<index: int32, value: dtype>>``; offsets are 64 bits wide where there are that many entries."""
    kind = pa.from_numpy_dtype(np.dtype(dtype))
    large = entries > WIDE
    parts = {
        "offset": (rows + 1) * (8 if large else 4),
        "index": entries * 4,
        "value": entries * np.dtype(dtype).itemsize,
        **_label_bytes(rows, labels),
    }

    def arrays(holes: dict[str, pa.Buffer]) -> dict[str, pa.Array]:
        index = pa.Array.from_buffers(pa.int32(), entries, [None, holes["index"]])
        value = pa.Array.from_buffers(kind, entries, [None, holes["value"]])
        pairs = pa.StructArray.from_arrays([index, value], ["index", "value"])
        # the end is taken from the offsets, which are not there yet: zeros would make arrow drop the children
        outer = pa.large_list(pairs.type) if large else pa.list_(pairs.type)
        return {"x": pa.Array.from_buffers(outer, rows, [None, holes["offset"]], children=[pairs]), **_label_array(rows, labels, holes)}

    return _framed(path, parts, arrays, entries=entries, large=large)


def _label_bytes(rows: int, labels: Any) -> dict[str, int]:
    if labels is None:
        return {}
    return {"y": rows * (8 if isinstance(labels, str) else 4)}


def _label_array(rows: int, labels: object, holes: dict[str, pa.Buffer]) -> dict[str, pa.Array]:
    if labels is None:
        return {}
    if isinstance(labels, str):
        return {"y": pa.Array.from_buffers(pa.float64(), rows, [None, holes["y"]])}
    codes = pa.Array.from_buffers(pa.int32(), rows, [None, holes["y"]])
    # Unchecked, as the codes are not there yet: a check would read a hole of the size of the column.
    return {"y": pa.DictionaryArray.from_arrays(codes, pa.array(labels), safe=False)}


class _Holes(io.RawIOBase):
    """Writes all but the stand-ins of the holes, which it leaps over."""

    def __init__(self, path: Path, holes: dict[int, str]) -> None:
        self._file = path.open("wb")
        self._holes = holes
        self.at: dict[str, int] = {}

    def writable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Bytes so far."""
        return self._file.tell()

    def write(self, data: Any) -> int:
        """Bytes, or a hole."""
        buffer = pa.py_buffer(data)
        # Arrow hands buffers on as they are, so the address tells a stand-in from the frame's own bytes.
        part = self._holes.get(buffer.address) if buffer.size else None
        if part is None:
            self._file.write(data)
        else:
            self.at[part] = self._file.tell()
            self._file.seek(buffer.size, os.SEEK_CUR)
        return int(buffer.size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def flush(self) -> None:
        """Nothing is held back here."""


def _framed(path: Path, parts: dict[str, int], arrays: Any, entries: int = 0, *, large: bool = False) -> Sheet:
    """Write the frame of one record batch around holes of so many bytes each.

    The stand-ins of the holes are a mapped file without content: they take neither memory nor disk.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        empty = Path(folder, "empty")
        places, size = {}, 0
        for name, length in parts.items():
            places[name] = (size, length)
            size += -(-length // 64) * 64
        with empty.open("wb") as file:
            file.truncate(max(size, 1))
            if parts.get("offset"):
                start, length = places["offset"]  # arrow looks at the last offset to know how much of the children is meant
                last = np.array([entries], dtype=np.int64 if large else np.int32)
                os.pwrite(file.fileno(), last.tobytes(), start + length - last.itemsize)
        with pa.memory_map(str(empty)) as mapped:
            whole = mapped.read_buffer()
            holes = {name: whole.slice(start, length) for name, (start, length) in places.items()}
            made = arrays(holes)
            batch = pa.RecordBatch.from_arrays(list(made.values()), list(made))
            with _Holes(path, {holes[name].address: name for name, length in parts.items() if length}) as sink:
                with pyarrow.ipc.new_file(sink, batch.schema) as writer:
                    writer.write_batch(batch)
                return Sheet(str(path), dict(sink.at))


def put(descriptor: int, values: np.ndarray, offset: int) -> None:
    """Write an array's bytes at a place of a file."""
    left = memoryview(np.ascontiguousarray(values).data).cast("B") if values.size else memoryview(b"")
    while len(left):
        # Linux writes 2 GB at once at most, and less when it is interrupted.
        done = os.pwrite(descriptor, left, offset)
        left, offset = left[done:], offset + done


def copy(source: Path, descriptor: int, offset: int) -> None:
    """Copy a whole file to a place of another, in the kernel."""
    with source.open("rb") as file:
        os.lseek(descriptor, offset, os.SEEK_SET)
        left = source.stat().st_size
        while left:
            # As in `put`: 2 GB at once at most.
            done = os.sendfile(descriptor, file.fileno(), None, left)
            if not done:
                raise OSError(f"{source}: ended early")
            left -= done
