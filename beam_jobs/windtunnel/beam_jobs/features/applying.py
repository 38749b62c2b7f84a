"""Writing shards: a fitted transformer over any number of rows, each file exactly once."""

import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.ipc
import scipy.sparse

from windtunnel.beam_jobs import job
from windtunnel.beam_jobs.features.columnwise import Columnwise
from windtunnel.beam_jobs.features.data import Data
from windtunnel.beam_jobs.features.options import Options
from windtunnel.beam_jobs.features.passes import NAME, guard, unwrap
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.streams import Chunk, Stream

__all__ = ["layout_of", "names_of", "write_split"]


def layout_of(made: Any, options: Options) -> str:
    """How features are laid out: as the transformer answers them, unless the caller chose."""
    if options.layout != "auto":
        return options.layout
    if scipy.sparse.issparse(made):
        return "sparse"
    if isinstance(made, pd.DataFrame):
        return "dense" if all(isinstance(dtype, np.dtype) and dtype.kind in "iufb" for dtype in made.dtypes) else "columns"
    return "dense" if np.asarray(made).dtype.kind in "iufb" else "columns"


def names_of(transformer: Any, width: int) -> list[str]:
    """The features' names, or x0, x1, ... where a step cannot tell."""
    try:
        return [str(name) for name in transformer.get_feature_names_out()]
    except (AttributeError, ValueError):
        return [f"x{i}" for i in range(width)]


class _Write(beam.DoFn):
    """One bin: its rows' features as one file, a record batch a chunk."""

    def __init__(self, data: Data, stream: Stream, folder: str, layout: str, names: list[str], dtype: str, starts: list[int]) -> None:
        self._data, self._stream, self._folder, self._layout = data, stream, folder, layout
        self._names, self._dtype, self._starts = names, dtype, starts

    def process(self, element: tuple[int, int, list[Any]]) -> Iterable[tuple[int, int]]:
        """Answers (bin, rows)."""
        number, _, groups = element
        target = Path(self._folder, f"part-{number:05d}.arrow")
        temporary = target.with_suffix(f".{uuid.uuid4().hex}")
        rows = 0
        writer: Any = None
        progress = job.progress_of(NAME)
        columns = sorted(self._stream.source_columns(list(self._data.dtypes)))
        try:
            for chunk in self._data.chunks(groups, columns, self._starts[number]):
                with quiet():
                    made = self._made(chunk)
                batch = encode(made, chunk.y, self._layout, self._names, self._dtype)
                if writer is None:
                    writer = pyarrow.ipc.new_file(str(temporary), batch.schema)
                writer.write_batch(batch)
                rows += chunk.rows
                progress.add(chunk.rows)
        except (ValueError, TypeError, AttributeError) as error:
            raise guard(error, "while transforming") from error
        finally:
            if writer is not None:
                writer.close()
            if writer is not None and not rows:
                temporary.unlink()
        if rows:
            temporary.replace(target)
        Path(self._folder, f"{number:05d}.rows").write_text(str(rows), encoding="ascii")
        yield number, rows

    def _made(self, chunk: Chunk) -> Any:
        step = self._stream.step
        if self._layout == "dense" and isinstance(step, Columnwise):
            return step.dense(chunk, self._dtype)
        return self._stream.evaluate(chunk)


def encode(made: Any, y: Any, layout: str, names: Sequence[str], dtype: str) -> pa.RecordBatch:
    """Features and labels as one record batch of a shard."""
    arrays: dict[str, Any] = {}
    if layout == "dense":
        table = made.toarray() if scipy.sparse.issparse(made) else np.asarray(made)
        flat = np.ascontiguousarray(table, dtype=dtype).reshape(-1)
        arrays["x"] = pa.FixedSizeListArray.from_arrays(pa.array(flat), len(names))
    elif layout == "sparse":
        matrix = scipy.sparse.csr_matrix(made)
        offsets = pa.array(matrix.indptr.astype(np.int32))
        index = pa.ListArray.from_arrays(offsets, pa.array(matrix.indices.astype(np.int32)))
        value = pa.ListArray.from_arrays(offsets, pa.array(matrix.data.astype(dtype)))
        arrays["x"] = pa.StructArray.from_arrays([index, value], ["index", "value"])
    else:
        frame = made if isinstance(made, pd.DataFrame) else pd.DataFrame(np.asarray(made), columns=list(names))
        arrays = {name: pa.array(frame.iloc[:, i], from_pandas=True) for i, name in enumerate(names)}
    if y is not None:
        arrays["y"] = pa.array(y if y.dtype.kind == "O" else y.astype(np.float64))
    return pa.RecordBatch.from_arrays(list(arrays.values()), list(arrays))


def write_split(
    data: Data, stream: Stream, folder: Path, split: str, layout: str, names: list[str], options: Options, starts: list[int]
) -> dict[str, Any]:
    """Write a split's shards into ``folder/split``; answers its entry of the manifest.

    Args:
        data: the rows.
        stream: their features.
        folder: the folder of the manifest.
        split: the folder in it; empty for itself.
        layout: see `layout_of`.
        names: the features' names.
        options: where and how it runs.
        starts: the position of each bin's first row.
    """
    target = folder / split if split else folder
    target.mkdir(parents=True, exist_ok=True)
    bins = data.bins()
    try:
        with job.pipeline(options.spec) as pipeline:
            _ = (
                pipeline
                | "Bins" >> beam.Create(bins)
                | "Spread" >> beam.Reshuffle()
                | "Write" >> beam.ParDo(_Write(data, stream, str(target), layout, names, options.dtype, starts))
            )
    except Exception as error:
        raise unwrap(error) from error
    rows = 0
    for number, _, _ in bins:
        counted = target / f"{number:05d}.rows"
        rows += int(counted.read_text(encoding="ascii"))
        counted.unlink()
    files = sorted(path.relative_to(folder).as_posix() for path in target.glob("part-*.arrow"))
    return {"rows": rows, "files": files}
