"""Counted values on disk: in sorted runs, for who needs them in order, or split by a hash, for who needs each value with all its counts."""

import contextlib
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc

__all__ = ["Parts", "Runs"]

_BLOCK = 1 << 18
_PARTS = 64


class Runs:
    """Files of sorted distinct numbers, with their counts beside them, in a folder that others may share.

    Args:
        folder: where they are written; who makes it removes it.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._names: list[str] = []

    def add(self, values: npt.NDArray[np.generic], counts: npt.NDArray[np.int64]) -> None:
        """One run: distinct numbers, ascending."""
        name = str(Path(self._folder, uuid.uuid4().hex))
        np.save(f"{name}.values.npy", values)
        np.save(f"{name}.counts.npy", counts)
        self._names.append(name)

    def merge(self, other: Self) -> None:
        """Take over another's files."""
        self._names += other._names

    def at_ranks(self, ranks: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """The numbers at zero-based ranks of all that were counted."""
        answer = np.empty(len(ranks))
        before = 0
        for values, counts in self.blocks():
            ends = before + np.cumsum(counts)
            here = (ranks >= before) & (ranks < ends[-1])
            answer[here] = values[np.searchsorted(ends, ranks[here], side="right")]
            before = int(ends[-1])
        return answer

    def blocks(self) -> Iterator[tuple[npt.NDArray[np.generic], npt.NDArray[np.int64]]]:
        """All distinct numbers with their counts, ascending, block by block: the files are merged as they are read."""
        values = [np.load(f"{name}.values.npy", mmap_mode="r") for name in self._names]
        counts = [np.load(f"{name}.counts.npy", mmap_mode="r") for name in self._names]
        at = [0] * len(values)
        # All runs are read side by side: the more there are, the less is held of each.
        block = max(1024, _BLOCK // max(1, len(values)))
        while live := [i for i in range(len(values)) if at[i] < len(values[i])]:
            # no number up to the smallest of the blocks' last ones can come again in a later block
            pivot = min(values[i][min(at[i] + block, len(values[i])) - 1] for i in live)
            taken, times = [], []
            for i in live:
                end = at[i] + int(np.searchsorted(values[i][at[i] : at[i] + block], pivot, side="right"))
                taken.append(np.asarray(values[i][at[i] : end]))
                times.append(np.asarray(counts[i][at[i] : end]))
                at[i] = end
            unique, inverse = np.unique(np.concatenate(taken), return_inverse=True)
            yield unique, np.bincount(inverse, weights=np.concatenate(times), minlength=len(unique)).astype(np.int64)


class Parts:
    """Rows of Arrow tables in a temporary folder, split by a hash of theirs so that the same values meet in the same part."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._folder = tempfile.TemporaryDirectory(prefix="windtunnel-")
        self._writers = [pa.ipc.new_stream(pa.OSFile(str(path), "wb"), schema) for path in self._paths()]

    def _paths(self) -> list[Path]:
        return [Path(self._folder.name, str(number)) for number in range(_PARTS)]

    def add(self, table: pa.Table, hashes: npt.NDArray[np.uint64]) -> None:
        """Rows of the schema's types, or of types that it has room for."""
        part = hashes % np.uint64(_PARTS)
        order = np.argsort(part, kind="stable")
        edges = np.searchsorted(part[order], np.arange(_PARTS + 1, dtype=np.uint64))
        table = table.cast(self.schema).take(pa.array(order))
        for number, writer in enumerate(self._writers):
            low, high = int(edges[number]), int(edges[number + 1])
            if high > low:
                writer.write_table(table.slice(low, high - low))

    def tables(self) -> Iterator[pa.Table]:
        """Each part; nothing can be added afterwards."""
        self._end()
        for path in self._paths():
            with pa.OSFile(str(path), "rb") as file:
                yield pa.ipc.open_stream(file).read_all()

    def close(self) -> None:
        """Remove the files."""
        # On a full disk closing fails, too, and then all the more the files must go.
        with contextlib.suppress(OSError):
            self._end()
        self._folder.cleanup()

    def _end(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers = []
