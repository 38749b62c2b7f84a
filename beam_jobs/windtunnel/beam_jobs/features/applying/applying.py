"""Writing shards: a fitted transformer over any number of rows, each file exactly once."""

import dataclasses
import os
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.ipc
import scipy.sparse

from windtunnel.beam_jobs import job
from windtunnel.beam_jobs.features.applying import sheets
from windtunnel.beam_jobs.features.applying.columnwise import Columnwise
from windtunnel.beam_jobs.features.data import Data
from windtunnel.beam_jobs.features.fitting.passes import COMPLAINTS, NAME, gather, guard, on_disk, run_bins
from windtunnel.beam_jobs.features.options import Options
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.tallies.accumulator import Gatherer, Request
from windtunnel.beam_jobs.features.tallies.rows import Rows
from windtunnel.beam_jobs.features.tallies.streams import SOURCE, Chunk, Pick, Stream
from windtunnel.beam_jobs.outcome import Outcomes
from windtunnel.lifecycle.contract.errors import ConflictError, UnsupportedError
from windtunnel.lifecycle.payload import JsonObject

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["layout_of", "names_of", "write_split"]

_NOTHING = Stream(SOURCE).then(Pick([], []))
_CLASSES = 1_000_000
_BLOCK = 1 << 20
_ROWS = 65_536
"""Rows that are transformed at a time: half of them cost a third more, twice as many take 150 MB more."""


def layout_of(made: Any, options: Options) -> str:
    """How features are laid out: as the transformer answers them, unless the caller chose."""
    if options.layout != "auto":
        return options.layout
    if scipy.sparse.issparse(made):
        return "sparse"
    if isinstance(made, pd.DataFrame):
        return "dense" if all(isinstance(dtype, np.dtype) and dtype.kind in "iufb" for dtype in made.dtypes) else "columns"
    return "dense" if np.asarray(made).dtype.kind in "iufb" else "columns"


def names_of(transformer: "BaseEstimator", width: int) -> list[str]:
    """The features' names, or x0, x1, ... where a step cannot tell."""
    try:
        return [str(name) for name in transformer.get_feature_names_out()]
    except (AttributeError, ValueError):
        return [f"x{i}" for i in range(width)]


class _Write(beam.DoFn):
    """One bin: its rows' features, into its part of the split."""

    def __init__(self, data: Data, stream: Stream, plan: "Plan", found: Outcomes) -> None:
        self._data, self._stream, self._plan, self._found = data, stream, plan, found

    def process(self, element: tuple[int, int, list[object]]) -> Iterable[tuple[int, int]]:
        """Answers (bin, rows)."""
        number, _, groups = element
        name = f"{number:05d}"
        with self._found.reporting(name, f"writing features, part {number}"):
            writer = _WRITERS[self._plan.layout](self._plan, number)
            rows = self._rows(writer, groups, self._plan.starts[number])
            if rows != self._plan.counts[number]:
                raise ConflictError(
                    f"part {number} of the data has {rows:,} rows but had {self._plan.counts[number]:,} before",
                    hint="the files changed while they were read: run it again",
                )
            self._found.put(name, {"rows": rows, **writer.done()})
            yield number, rows

    def _rows(self, writer: Any, groups: list[Any], start: int) -> int:
        progress = job.progress_of(NAME)
        columns = sorted(self._stream.source_columns(list(self._data.dtypes)))
        rows = 0
        try:
            for chunk in self._data.chunks(groups, columns, start, _ROWS):
                with quiet():
                    made = self._made(chunk)
                writer.add(made, chunk.y)
                rows += chunk.rows
                progress.add(chunk.rows)
        except COMPLAINTS as error:
            raise guard(error, "while transforming") from error
        finally:
            writer.close()
        return rows

    def _made(self, chunk: Chunk) -> Any:
        step = self._stream.step
        if self._plan.layout == "dense" and isinstance(step, Columnwise):
            return step.dense(chunk, self._plan.dtype)
        return self._stream.evaluate(chunk)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a split is written.

    Attributes:
        folder: of its files.
        layout: see `layout_of`.
        names: the features' names.
        dtype: of numbers.
        counts: rows of each bin.
        labels: see `sheets.dense_sheet`.
        sheet: the frame, where the layout is dense.
    """

    folder: str
    layout: str
    names: list[str]
    dtype: str
    counts: list[int]
    labels: Any
    sheet: sheets.Sheet | None = None

    @property
    def starts(self) -> list[int]:
        """The position of each bin's first row."""
        return [int(n) for n in np.cumsum([0, *self.counts[:-1]])]

    def coded(self, y: np.ndarray) -> np.ndarray:
        """Labels as they are kept: numbers, or the places of classes."""
        if isinstance(self.labels, str):
            return y.astype(np.float64)
        places = {label: place for place, label in enumerate(self.labels)}
        return np.fromiter((places[_label(value)] for value in y), dtype=np.int32, count=len(y))


def _label(value: object) -> Any:
    """A label as a dictionary's key: a null is None, whatever shows it."""
    return None if value is None or value != value else value  # NaN is the only value that differs from itself


class _Dense:
    """Rows go straight to their place in the frame."""

    def __init__(self, plan: Plan, number: int) -> None:
        if plan.sheet is None:
            raise TypeError("a dense split has a frame")
        self._plan, self._at = plan, plan.starts[number]
        self._offsets = plan.sheet.at
        # Never for appending: Linux would then write at the end, whatever place is asked for.
        self._file = os.open(plan.sheet.path, os.O_WRONLY)

    def add(self, made: Any, y: np.ndarray | None) -> None:
        """A chunk's features and labels."""
        table = np.ascontiguousarray(made.toarray() if scipy.sparse.issparse(made) else made, dtype=self._plan.dtype)
        if "x" in self._offsets:
            sheets.put(self._file, table, self._offsets["x"] + self._at * table.shape[1] * table.itemsize)
        if y is not None:
            labels = self._plan.coded(y)
            sheets.put(self._file, labels, self._offsets["y"] + self._at * labels.itemsize)
        self._at += table.shape[0]

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def done(self) -> dict[str, object]:
        """Nothing more to say."""
        return {}


class _Sparse:
    """Entries go to files of the bin, which the driver puts together: where they belong depends on the bins before."""

    def __init__(self, plan: Plan, number: int) -> None:
        self._plan, self._stem = plan, f"{number:05d}-{uuid.uuid4().hex}"
        self._files = {part: Path(plan.folder, f"{self._stem}.{part}").open("wb") for part in ("index", "value", "height", "y")}  # noqa: SIM115 - closed by close()
        self._entries = 0

    def add(self, made: object, y: np.ndarray | None) -> None:
        """A chunk's features and labels."""
        matrix = scipy.sparse.csr_matrix(made)
        self._files["index"].write(matrix.indices.astype(np.int32).data)
        self._files["value"].write(matrix.data.astype(self._plan.dtype).data)
        self._files["height"].write(np.diff(matrix.indptr).astype(np.int32).data)
        self._entries += int(matrix.nnz)
        if y is not None:
            self._files["y"].write(self._plan.coded(y).data)

    def close(self) -> None:
        """Write what is held back."""
        for file in self._files.values():
            file.close()

    def done(self) -> dict[str, object]:
        """Which files, and how many entries; a bin that runs twice names its last."""
        return {"stem": self._stem, "entries": self._entries}


class _Columns:
    """A file of record batches for each bin."""

    def __init__(self, plan: Plan, number: int) -> None:
        self._plan, self._target = plan, Path(plan.folder, f"part-{number:05d}.arrow")
        self._temporary = self._target.with_suffix(f".{uuid.uuid4().hex}")
        self._writer: Any = None

    def add(self, made: Any, y: np.ndarray | None) -> None:
        """A chunk's features and labels."""
        names = self._plan.names
        frame = made if isinstance(made, pd.DataFrame) else pd.DataFrame(np.asarray(made), columns=names)
        arrays = {name: _plain(pa.array(frame.iloc[:, i], from_pandas=True)) for i, name in enumerate(names)}
        if y is not None:
            arrays["y"] = pa.array(y if y.dtype.kind == "O" else y.astype(np.float64))
        batch = pa.RecordBatch.from_arrays(list(arrays.values()), list(arrays))
        if self._writer is None:
            self._writer = pyarrow.ipc.new_file(str(self._temporary), batch.schema)
            self._schema = batch.schema
        self._writer.write_batch(batch if batch.schema == self._schema else batch.cast(self._schema))

    def close(self) -> None:
        """Write the footer."""
        if self._writer is not None:
            self._writer.close()

    def done(self) -> dict[str, object]:
        """The file, in its place."""
        if self._writer is None:
            return {}
        self._temporary.replace(self._target)
        return {"file": self._target.name}


def _plain(values: pa.Array) -> pa.Array:
    """Values whose type does not depend on which of them a chunk has: no dictionaries, and text where all are null."""
    if pa.types.is_dictionary(values.type):
        return values.cast(values.type.value_type)
    return values.cast(pa.string()) if pa.types.is_null(values.type) else values


_WRITERS: dict[str, type[_Dense | _Sparse | _Columns]] = {"dense": _Dense, "sparse": _Sparse, "columns": _Columns}


class _Classes(Gatherer):
    """The distinct labels of a split, where they are no numbers."""

    def __init__(self) -> None:
        self.seen: dict[Any, None] = {}

    def gather(self, stream: Stream, chunk: Chunk) -> None:
        """Take a chunk's."""
        if chunk.y is not None:
            self.seen |= dict.fromkeys(_label(value) for value in pd.unique(pd.Series(chunk.y)).tolist())
        if len(self.seen) > _CLASSES:
            raise UnsupportedError(f"the label has more than {_CLASSES:,} distinct texts", hint="is it the right column?")

    def merge(self, other: "_Classes") -> None:
        """Add."""
        self.seen |= other.seen

    @property
    def classes(self) -> list[object]:
        """In order; a null comes last."""
        return [
            *sorted((label for label in self.seen if label is not None), key=lambda v: (str(type(v)), v)),
            *([None] if None in self.seen else []),
        ]


@on_disk("writing features")
def write_split(
    data: Data, stream: Stream, folder: Path, split: str, layout: str, names: list[str], options: Options, counts: list[int] | None = None
) -> dict[str, object]:
    """Write a split's shards into ``folder/split``; answers its entry of the manifest.

    Numbers become one file with one record batch, which a reader maps as a single array.

    Args:
        data: the rows.
        stream: their features.
        folder: the folder of the manifest.
        split: the folder in it; empty for itself.
        layout: see `layout_of`.
        names: the features' names.
        options: where and how it runs.
        counts: rows of each bin, where known.
    """
    target = folder / split if split else folder
    target.mkdir(parents=True, exist_ok=True)
    head = data.head()
    labels: Any = None if head.y is None else "float64" if head.y.dtype.kind in "iufb" else []
    counts = counts if counts is not None else data.counts()
    if layout == "columns":
        counts, labels = counts if counts is not None else _asked(data, [], options)[-1], None
    elif counts is None or labels == []:
        classes, counts = _asked(data, [Request("classes", _NOTHING, _Classes())], options)
        labels = classes.classes if labels == [] else labels
    rows = sum(counts)
    if not rows:
        return {"rows": 0, "files": []}
    path = target / "part-00000.arrow"
    sheet = sheets.dense_sheet(path, rows, len(names), options.dtype, labels) if layout == "dense" else None
    plan = Plan(str(target), layout, names, options.dtype, counts, labels, sheet)
    # Beside the output, because workers reach that.
    with tempfile.TemporaryDirectory(prefix=".bins-", dir=folder) as place:
        found = Outcomes(place)
        run_bins(data, options.spec, _Write(data, stream, plan, found), "Write")
        written = found.collect()
    if layout == "sparse":
        _put_together(path, plan, written)
    files = sorted(entry.relative_to(folder).as_posix() for entry in target.glob("part-*.arrow"))
    return {"rows": rows, "files": files}


def _asked(data: Data, requests: list[Request], options: Options) -> list[Any]:
    with tempfile.TemporaryDirectory(prefix="features-", dir=options.work) as work:
        return gather(data, requests or [Request("rows", _NOTHING, Rows())], options.spec, work)


def _put_together(path: Path, plan: Plan, written: list[JsonObject]) -> None:
    """The bins' entries, one after the other, in one frame; offsets chunk by chunk."""
    total = sum(entry["entries"] for entry in written)
    sheet = sheets.sparse_sheet(path, sum(plan.counts), total, plan.dtype, plan.labels)
    descriptor = os.open(sheet.path, os.O_WRONLY)
    try:
        at = dict(sheet.at)
        wide = np.dtype(np.int64 if total > sheets.WIDE else np.int32)
        sheets.put(descriptor, np.zeros(1, dtype=wide), at["offset"])
        at["offset"] += wide.itemsize
        before = 0
        for entry in written:
            for part in ("index", "value", "y"):
                file = Path(plan.folder, f"{entry['stem']}.{part}")
                if part in at:
                    sheets.copy(file, descriptor, at[part])
                    at[part] += file.stat().st_size
            heights = (
                np.memmap(Path(plan.folder, f"{entry['stem']}.height"), dtype=np.int32, mode="r")
                if entry["rows"]
                else np.empty(0, np.int32)
            )
            for start in range(0, len(heights), _BLOCK):
                ends = before + np.cumsum(heights[start : start + _BLOCK], dtype=np.int64)
                sheets.put(descriptor, ends.astype(wide), at["offset"])
                at["offset"] += len(ends) * wide.itemsize
                before = int(ends[-1])
    finally:
        os.close(descriptor)
    # Of a bin that ran twice there are files that nobody named: they go as well.
    for file in Path(plan.folder).iterdir():
        if file.suffix in {".index", ".value", ".height", ".y"}:
            file.unlink()
