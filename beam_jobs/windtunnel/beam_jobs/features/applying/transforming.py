"""`transform` and `fit_transform`: features of any number of rows as shards in a folder."""

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec

from windtunnel.beam_jobs import job
from windtunnel.beam_jobs.features.applying.applying import layout_of, names_of, write_split
from windtunnel.beam_jobs.features.applying.columnwise import applied
from windtunnel.beam_jobs.features.data import AllRows, Data, open_data
from windtunnel.beam_jobs.features.fitting.compose import crossed
from windtunnel.beam_jobs.features.fitting.fitting import Fitted, fit_data
from windtunnel.beam_jobs.features.fitting.passes import COMPLAINTS, NAME, guard, on_disk
from windtunnel.beam_jobs.features.fitting.persist import dump, inputs_of
from windtunnel.beam_jobs.features.options import Options
from windtunnel.beam_jobs.features.page import features_page
from windtunnel.beam_jobs.features.quiet import quiet
from windtunnel.beam_jobs.features.tallies.streams import Stream
from windtunnel.lifecycle.contract.errors import ConfigurationError, SchemaMismatchError
from windtunnel.lifecycle.contract.references import SnapshotRef
from windtunnel.lifecycle.data.artifacts import is_local_store
from windtunnel.lifecycle.learning import shards
from windtunnel.lifecycle.payload import JsonObject

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["fit_transform", "manifest_of", "output_folder", "training_stream", "transform"]

SPLIT = "rows"


def transform(
    fitted: "BaseEstimator", data: str | Sequence[str] | SnapshotRef, output: str | Path, options: Options | Mapping[str, Any] | None = None
) -> JsonObject:
    """Apply a fitted transformer and write shards.

    Args:
        fitted: any fitted scikit-learn transformer.
        data: Parquet: a path, a folder, a glob, a list of them; or a snapshot.
        output: a folder, which is replaced; read it with `load_shards`.
        options: see `Options`; with a `label`, the shards hold it too.

    Returns:
        The manifest: files, rows, layout, names.

    Raises:
        DataError: scikit-learn refuses the data, a column is missing.
    """
    chosen = Options.of(options)
    found = opened(fitted, data, chosen)
    stream = applied(fitted)
    try:
        with quiet():
            made = stream.evaluate(found.head())
    except COMPLAINTS as error:
        raise guard(error, "while transforming") from error
    with on_disk(str(output)), output_folder(str(output)) as folder, job.reporting(NAME, job.Progress("transform features", found.rows)):
        return _write(folder, fitted, stream, made, found, chosen, None, {})


def fit_transform(
    transformer: "BaseEstimator",
    data: str | Sequence[str] | SnapshotRef,
    output: str | Path,
    options: Options | Mapping[str, object] | None = None,
) -> tuple[Any, JsonObject]:
    """Fit a transformer and write the shards that its own ``fit_transform`` would answer: cross-fitted, where a step is a TargetEncoder.

    Returns:
        The fitted transformer, and the manifest; the folder holds both, the transformer as ``pipeline.skops``.
    """
    chosen = Options.of(options)
    found = open_data(data, chosen)
    fitted = fit_data(transformer, found, chosen)
    made = fitted.context.peek(fitted.out)
    with on_disk(str(output)), output_folder(str(output)) as folder, job.reporting(NAME, job.Progress("transform features", found.rows)):
        dump(fitted.transformer, folder)
        how = {"passes": fitted.passes, "notes": fitted.notes}
        manifest = _write(folder, fitted.transformer, training_stream(fitted), made, found, chosen, fitted.counts, how)
        (folder / "features.html").write_text(features_page("Features", fitted.transformer, manifest), encoding="utf-8")
    return fitted.transformer, manifest


def training_stream(fitted: Fitted) -> Stream:
    """The training rows' features: by distinct values, unless a step is cross-fitted."""
    return fitted.out if crossed(fitted.out) else applied(fitted.transformer)


def opened(fitted: "BaseEstimator", data: str | Sequence[str] | SnapshotRef, options: Options) -> Data:
    """The data with the columns that a fitted transformer knows."""
    names = getattr(fitted, "feature_names_in_", None)
    if names is None or options.columns is not None:
        return open_data(data, options)
    label = options.label
    everything = open_data(data, Options(), AllRows())
    present = [str(name) for name in names if str(name) in everything.dtypes]
    if not present and len(names):
        raise SchemaMismatchError(
            f"none of the columns that the transformer was fitted on is there: {list(names)}",
            hint=f"there are: {', '.join(everything.dtypes)}",
        )
    selection = AllRows(label if label in everything.dtypes else None)
    return dataclasses.replace(everything, dtypes={name: everything.dtypes[name] for name in present}, selection=selection)


def _write(
    folder: Path,
    fitted: "BaseEstimator",
    stream: Stream,
    made: Any,
    data: Data,
    options: Options,
    counts: list[int] | None,
    how: dict[str, object],
) -> dict[str, object]:
    layout, names = layout_of(made, options), names_of(fitted, made.shape[1])
    entry = write_split(data, stream, folder, "", layout, names, options, counts)
    manifest = manifest_of(layout, options.dtype, names, inputs_of(data.dtypes), {SPLIT: entry}) | how
    shards.write_manifest(folder, manifest)
    return manifest


def manifest_of(layout: str, dtype: str, names: list[str], inputs: list[dict[str, Any]], splits: dict[str, JsonObject]) -> JsonObject:
    """What a folder of features says of itself."""
    return {
        "format": 2,
        "layout": layout,
        "dtype": dtype,
        "width": len(names),
        "names": names,
        "inputs": inputs,
        "splits": splits,
        "rows": sum(entry["rows"] for entry in splits.values()),
    }


@contextlib.contextmanager
def output_folder(output: str) -> Iterator[Path]:
    """A folder to fill, which takes the output's place once it is complete.

    Raises:
        ConfigurationError: the output exists and is no folder of features.
    """
    filesystem, path = fsspec.core.url_to_fs(output)
    local = is_local_store(filesystem)
    place = Path(path)
    if local and place.exists() and (place.is_file() or (any(place.iterdir()) and not (place / "manifest.json").is_file())):
        raise ConfigurationError(
            f"{output}: exists and is no folder of features", hint="name a new folder, or an earlier output to replace"
        )
    if local:
        place.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".writing-", dir=place.parent if local else None))
    folder.chmod(0o755)
    try:
        yield folder
        if local:
            # First, because no rename takes the place of a folder with files.
            shutil.rmtree(place, ignore_errors=True)
            folder.rename(place)
        else:
            # The manifest comes last: without it a folder counts as none of features.
            for file in sorted(folder.rglob("*"), key=lambda entry: entry.name == "manifest.json"):
                if file.is_file():
                    filesystem.put_file(str(file), f"{path}/{file.relative_to(folder).as_posix()}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
