"""Training shards: numbers in the layout that trains fastest, Arrow IPC files that are memory-mapped.

A folder of features holds ``pipeline.skops`` (the fitted transformer), ``manifest.json`` and, a split a folder, ``train/*.arrow`` and
``test/*.arrow``. A shard has the column ``x`` and, where there is a label, ``y`` (a float64, or a string for multiclass):

.. code-block:: text

    dense     x: fixed_size_list<float32>[width]
    sparse    x: struct<index: list<int32>, value: list<float32>>
    columns   one Arrow column a feature, for features that are not numbers
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from windtunnel.lifecycle import artifacts, bundle
from windtunnel.lifecycle.errors import ConfigurationError, IntegrityError

__all__ = ["iterate", "load_manifest", "load_shards", "load_transformer"]

_MANIFEST = "manifest.json"


def load_manifest(uri: str) -> dict[str, Any]:
    """What a folder of features says of itself.

    Raises:
        ConfigurationError: it is no such folder.
    """
    try:
        found: dict[str, Any] = json.loads(artifacts.read_text(f"{uri.rstrip('/')}/{_MANIFEST}"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"{uri}: has no {_MANIFEST}", hint="PreprocessOperator and features.transform write one") from error
    return found


def load_transformer(uri: str) -> Any:
    """The fitted scikit-learn transformer, rebuilt from types of the allow-list only."""
    import skops.io

    with artifacts.local_copy(uri) as folder:
        path = folder / "pipeline.skops"
        if not path.is_file():
            raise ConfigurationError(f"{uri}: has no pipeline.skops", hint="PreprocessOperator and features.fit write one")
        return skops.io.load(path, trusted=list(bundle.TRUSTED))


def load_shards(uri: str, split: str | None = None) -> tuple[Any, np.ndarray]:
    """All rows of a split: a float32 array, or a scipy csr matrix where the layout is sparse, and the labels.

    Without a split, ``train`` is meant, or the only one there is. A single record batch is a view of the mapped file, without a copy;
    without a label, ``y`` is an empty array.

    Raises:
        ConfigurationError: there is no such split.
        IntegrityError: a shard is damaged, or its rows are not those of the manifest.
    """
    manifest = load_manifest(uri)
    split = _split(manifest, split)
    if split not in manifest["splits"]:
        raise ConfigurationError(f"{uri}: has no split {split!r}", hint=f"it has: {', '.join(manifest['splits'])}")
    parts = list(iterate(uri, split))
    rows = sum(len(y) if y is not None else _height(x) for x, y in parts)
    if rows != manifest["splits"][split]["rows"]:
        raise IntegrityError(f"{uri}: split {split!r} has {rows} rows but the manifest says {manifest['splits'][split]['rows']}")
    labels = [y for _, y in parts if y is not None]
    y = labels[0] if len(labels) == 1 else np.concatenate(labels) if labels else np.empty(0)
    return _stack([x for x, _ in parts], manifest), y


def iterate(uri: str, split: str | None = None) -> Iterator[tuple[Any, np.ndarray | None]]:
    """The record batches of a split one by one, as (features, labels)."""
    manifest = load_manifest(uri)
    entry = manifest["splits"][_split(manifest, split)]
    with artifacts.local_copy(uri) as folder:
        for name in entry["files"]:
            try:
                source = pa.memory_map(str(folder / name))
                reader = pyarrow.ipc.open_file(source)
                batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            except (OSError, pa.ArrowException) as error:
                raise IntegrityError(f"{folder / name}: is missing or damaged: {error}", file=name) from error
            for batch in batches:
                y = batch.column("y") if "y" in batch.schema.names else None
                yield _decode(batch, manifest), None if y is None else y.to_numpy(zero_copy_only=False)


def _split(manifest: dict[str, Any], split: str | None) -> str:
    return split or ("train" if "train" in manifest["splits"] else next(iter(manifest["splits"])))


def _decode(batch: pa.RecordBatch, manifest: dict[str, Any]) -> Any:
    width = int(manifest["width"])
    if manifest["layout"] == "dense":
        column = batch.column("x")
        return column.flatten().to_numpy(zero_copy_only=True).reshape(len(column), width)
    if manifest["layout"] == "sparse":
        import scipy.sparse

        column = batch.column("x")
        index, value = column.field("index"), column.field("value")
        offsets = index.offsets.to_numpy(zero_copy_only=True)
        data = value.values.to_numpy(zero_copy_only=True)[offsets[0] : offsets[-1]]
        indices = index.values.to_numpy(zero_copy_only=True)[offsets[0] : offsets[-1]]
        return scipy.sparse.csr_matrix((data, indices, offsets - offsets[0]), shape=(len(column), width))
    return batch.select([name for name in batch.schema.names if name != "y"]).to_pandas()


def _stack(parts: list[Any], manifest: dict[str, Any]) -> Any:
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


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Put a manifest beside its shards."""
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
