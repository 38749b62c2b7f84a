"""Training shards: numbers in the layout that trains fastest, Arrow IPC files that are memory-mapped.

A folder of features holds ``pipeline.skops`` (the fitted transformer), ``manifest.json`` and, a split a folder, ``train/*.arrow`` and
``test/*.arrow``. A split of numbers is one file with one record batch, so that all of it is one array of the mapped file; other features
are a file of several batches for each part of the rows. A shard has the column ``x`` and, where there is a label, ``y`` (a float64, or
dictionary-encoded classes):

.. code-block:: text

    dense     x: fixed_size_list<float32>[width]
    sparse    x: list<struct<index: int32, value: float32>>
    columns   one Arrow column a feature, for features that are not numbers
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from windtunnel.lifecycle.contract.errors import ConfigurationError, IntegrityError
from windtunnel.lifecycle.data import artifacts
from windtunnel.lifecycle.model import bundle
from windtunnel.lifecycle.payload import JsonObject

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["iterate", "load_manifest", "load_shards", "load_transformer"]

_MANIFEST = "manifest.json"


def load_manifest(uri: str) -> JsonObject:
    """What a folder of features says of itself.

    Raises:
        ConfigurationError: it is no such folder.
    """
    try:
        found: JsonObject = json.loads(artifacts.read_text(f"{uri.rstrip('/')}/{_MANIFEST}"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"{uri}: has no {_MANIFEST}", hint="PreprocessOperator and features.transform write one") from error
    return found


def load_transformer(uri: str) -> "BaseEstimator":
    """The fitted scikit-learn transformer, rebuilt from types of the allow-list only."""
    import skops.io

    with artifacts.local_copy(uri) as folder:
        path = folder / "pipeline.skops"
        if not path.is_file():
            raise ConfigurationError(f"{uri}: has no pipeline.skops", hint="PreprocessOperator and features.fit write one")
        return skops.io.load(path, trusted=bundle.trusted())


def load_shards(uri: str, split: str | None = None) -> tuple[Any, np.ndarray]:
    """All rows of a split: a float32 array, or a scipy csr matrix where the layout is sparse, and the labels.

    Without a split, ``train`` is meant, or the only one there is. Both are views of the mapped file, which is read as it is used, and
    cannot be written to; without a label, ``y`` is an empty array.

    Raises:
        ConfigurationError: there is no such split.
        IntegrityError: a shard is damaged, or its rows are not those of the manifest.
    """
    manifest = load_manifest(uri)
    split = _split(manifest, split)
    if split not in manifest["splits"]:
        raise ConfigurationError(f"{uri}: has no split {split!r}", hint=f"it has: {', '.join(manifest['splits'])}")
    parts = [_decoded(batch, manifest) for batch in _batches(uri, manifest, split)]
    rows = sum(_height(x) for x, _ in parts)
    if rows != manifest["splits"][split]["rows"]:
        raise IntegrityError(f"{uri}: split {split!r} has {rows} rows but the manifest says {manifest['splits'][split]['rows']}")
    labels = [y for _, y in parts if y is not None]
    # One part stays a view of the mapped file; concatenating would copy it.
    y = labels[0] if len(labels) == 1 else np.concatenate(labels) if labels else np.empty(0)
    return _stack([x for x, _ in parts], manifest), y


def iterate(uri: str, split: str | None = None, rows: int = 131_072) -> Iterator[tuple[object, np.ndarray | None]]:
    """A split bit by bit, as (features, labels) of at most so many rows, without a copy where the layout is dense."""
    manifest = load_manifest(uri)
    for batch in _batches(uri, manifest, _split(manifest, split)):
        for start in range(0, batch.num_rows, rows):
            yield _decoded(batch.slice(start, rows), manifest)


def _batches(uri: str, manifest: JsonObject, split: str) -> Iterator[pa.RecordBatch]:
    with artifacts.local_copy(uri) as folder:
        for name in manifest["splits"][split]["files"]:
            try:
                source = pa.memory_map(str(folder / name))
                reader = pyarrow.ipc.open_file(source)
                batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            except (OSError, pa.ArrowException) as error:
                raise IntegrityError(f"{folder / name}: is missing or damaged: {error}", file=name) from error
            yield from batches


def _split(manifest: JsonObject, split: str | None) -> str:
    return split or ("train" if "train" in manifest["splits"] else next(iter(manifest["splits"])))


def _decoded(batch: pa.RecordBatch, manifest: dict[str, object]) -> tuple[object, np.ndarray | None]:
    y = batch.column("y") if "y" in batch.schema.names else None
    if y is not None and pa.types.is_dictionary(y.type):
        labels: np.ndarray | None = y.dictionary.to_numpy(zero_copy_only=False)[y.indices.to_numpy(zero_copy_only=False)]
    else:
        labels = None if y is None else y.to_numpy(zero_copy_only=False)
    return _features(batch, manifest), labels


def _features(batch: pa.RecordBatch, manifest: JsonObject) -> object:
    width = int(manifest["width"])
    if manifest["layout"] == "dense":
        column = batch.column("x")
        # flatten(), because the child `values` of a slice are those of the whole column.
        return column.flatten().to_numpy(zero_copy_only=True).reshape(len(column), width)
    if manifest["layout"] == "sparse":
        import scipy.sparse

        column = batch.column("x")
        if pa.types.is_struct(column.type):  # format 1: two lists side by side
            offsets = column.field("index").offsets
            index, value = column.field("index").values, column.field("value").values
        else:
            offsets = column.offsets
            index, value = column.values.field("index"), column.values.field("value")
        ends = offsets.to_numpy(zero_copy_only=True)
        # A slice shares its children with the whole column: its offsets begin in the middle.
        inside = slice(int(ends[0]), int(ends[-1]))
        if ends[0]:
            ends = ends - ends[0]
        arrays = value.to_numpy(zero_copy_only=True)[inside], index.to_numpy(zero_copy_only=True)[inside], ends
        return scipy.sparse.csr_matrix(arrays, shape=(len(column), width))
    return batch.select([name for name in batch.schema.names if name != "y"]).to_pandas()


def _stack(parts: list[Any], manifest: JsonObject) -> Any:
    if manifest["layout"] == "dense":
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty((0, manifest["width"]), np.float32)
    if manifest["layout"] == "sparse":
        import scipy.sparse

        if not parts:
            return scipy.sparse.csr_matrix((0, manifest["width"]), dtype=np.float32)
        return parts[0] if len(parts) == 1 else scipy.sparse.vstack(parts, format="csr")
    import pandas as pd

    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=manifest["names"])


def _height(x: Any) -> int:
    return int(x.shape[0])


def write_manifest(folder: Path, manifest: JsonObject) -> None:
    """Put a manifest beside its shards."""
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
