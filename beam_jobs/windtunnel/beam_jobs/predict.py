"""Predict: score data of any size with a bundle, by the same engine as the model server, so batch and online give the same numbers.

``python -m windtunnel.beam_jobs.predict --spec S``, where the spec has ``bundle``, ``data`` (Parquet), ``output`` (a folder), and
optionally ``digest``, ``keep`` (columns to copy beside the answers), ``scores`` (the bare scores instead of answers), ``runner`` and
``workers``.
"""

import dataclasses
import datetime as dt
import functools
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.beam_jobs import job
from windtunnel.beam_jobs.batches import RowGroup, read_row_group, row_groups
from windtunnel.beam_jobs.job import Progress
from windtunnel.lifecycle.contract.errors import ConfigurationError, SchemaMismatchError
from windtunnel.lifecycle.contract.fingerprint import code_version, fingerprint
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import LookupRef, SnapshotRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data import pins, tables
from windtunnel.lifecycle.data.artifacts import Stage, local_copy
from windtunnel.lifecycle.data.days import day_path, replace_days
from windtunnel.lifecycle.data.rows import DAY
from windtunnel.lifecycle.model import bundle as bundles
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.serving.base.values import from_arrow
from windtunnel.serving.compiler.engine import Engine
from windtunnel.serving.routing.lookup import FILE, key_of, write_lookup

__all__ = ["precompute", "predict", "run"]

PROGRESS = "predict"
BATCH = "ba"
"""What the digest in a batch-scored file's name begins with; files of the server's log begin with ``ca``."""


def predict(problem: Problem, candidate_uri: str, snapshot: SnapshotRef, settings: Settings, progress: Progress) -> SnapshotRef:
    """Score a snapshot into ``<problem>.predictions``; the same snapshot and model again are not scored again.

    The table holds answers of the server as well: a day's earlier batch answers are replaced, the server's stay.

    Args:
        problem: whose.
        candidate_uri: the bundle.
        snapshot: the rows.
        settings: where tables are, and the runner.
        progress: told of rows.

    Returns:
        the snapshot of the table of predictions, with the window of the rows that were scored.
    """
    with local_copy(candidate_uri) as folder:
        manifest = bundles.read(folder)
    keys = [name for name in dict.fromkeys([*problem.keys, *problem.splits.key, problem.label.column]) if name in problem.columns]
    name = fingerprint(manifest.digest, snapshot.fingerprint, keys, code_version(), "predict 1")
    table = tables.table_name(problem, "predictions")
    stage = Stage(settings, problem.name, "predict", name)
    known = stage.result()
    if known is not None:
        return SnapshotRef.from_dict(known)
    spec = {
        "bundle": candidate_uri,
        "digest": manifest.digest,
        "data": pins.files(settings, snapshot),
        "keep": [DAY, *keys],
        "columns": {"model": problem.name, "version": manifest.lineage.get("candidate", manifest.digest)[:32], "route": "batch"},
        "runner": settings.runner,
        "runner_options": settings.runner_options,
        "workers": settings.workers,
    }
    with stage.writing() as folder:
        # Inside of a local root the folder is the stage's own; other runners need a place that their workers reach.
        scored = run({**spec, "output": str(folder / "rows") if settings.runner == "in-process" else stage.path("rows")}, progress)
        found = _into_table(settings, table, scored["files"], name, snapshot)
        answer = SnapshotRef(table, found, snapshot.start, snapshot.end, scored["rows"], 0, name)
        # They are in the table now, and would lie in the artefact a second time.
        if settings.runner == "in-process":
            for path in scored["files"]:
                Path(path).unlink(missing_ok=True)
        stage.finish(folder, answer.to_dict())
    return answer


def precompute(problem: Problem, candidate_uri: str, snapshot: SnapshotRef, settings: Settings, progress: Progress) -> LookupRef:
    """Score a snapshot for the model server to look up by key; of rows with the same key the last counts.

    Args:
        problem: ``serving.lookup`` names the key.
        candidate_uri: the bundle.
        snapshot: the rows.
        settings: where artefacts are, and the runner.
        progress: told of rows.

    Raises:
        ConfigurationError: the problem has no ``serving.lookup``.
    """
    wanted = problem.serving.lookup
    if wanted is None:
        raise ConfigurationError(f"{problem.name} has no serving.lookup", hint="say in the problem file which columns are the key")
    key = wanted.key or problem.keys
    with local_copy(candidate_uri) as folder:
        manifest = bundles.read(folder)
    # How old answers are is part of what they are: computed anew on another day, they are other answers.
    name = fingerprint(manifest.digest, snapshot.fingerprint, key, code_version(), dt.datetime.now(dt.UTC).date(), "lookup 1")
    stage = Stage(settings, problem.name, "lookup", name)
    known = stage.result()
    if known is None:
        spec = {
            "bundle": candidate_uri,
            "digest": manifest.digest,
            "data": pins.files(settings, snapshot),
            "keep": key,
            "scores": True,
            "runner": settings.runner,
            "runner_options": settings.runner_options,
            "workers": settings.workers,
        }
        # Before scoring: answers must not be taken for younger than the rows that they are about.
        made_at = time.time()
        with stage.writing() as folder:
            scored = run({**spec, "output": str(folder / "rows") if settings.runner == "in-process" else stage.path("rows")}, progress)
            width = {"multiclass": len(manifest.classes), "binary": len(manifest.classes)}.get(manifest.task, 1)
            candidate = str(manifest.lineage.get("candidate", ""))
            rows = write_lookup(folder / FILE, key, candidate, made_at, width, _keyed(scored["files"], key))
            for path in scored["files"]:
                filesystem, place = fsspec.core.url_to_fs(path)
                filesystem.rm_file(place)
            with (folder / FILE).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found = LookupRef(stage.uri, digest, rows, served=False, fingerprint=name)
            stage.finish(folder, found.to_dict())
        known = stage.result() or found.to_dict()
    return LookupRef.from_dict(known)


def _keyed(files: Sequence[str], key: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Key and scores of scored rows; rows without a whole key cannot be looked up."""
    for path in files:
        filesystem, place = fsspec.core.url_to_fs(path)
        with filesystem.open(place, "rb") as file, pq.ParquetFile(file, page_checksum_verification=True) as parquet:
            for batch in parquet.iter_batches(columns=[*key, "scores"]):
                for *values, scores in zip(*(batch.column(name).to_pylist() for name in (*key, "scores")), strict=True):
                    text = key_of(values)
                    if text is not None:
                        yield text, scores


def _into_table(settings: Settings, name: str, files: Sequence[str], digest: str, snapshot: SnapshotRef) -> int:
    """Put scored files into the table, one file a day, in one commit."""
    import pyarrow.dataset as ds

    places = [fsspec.core.url_to_fs(path) for path in files]
    checked = ds.ParquetFileFormat(default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True))
    data = ds.dataset([place for _, place in places], format=checked, filesystem=places[0][0] if places else None)
    table = tables.open_table(settings, name, data.schema)
    day, end = dt.date.fromisoformat(snapshot.start), dt.date.fromisoformat(snapshot.end)
    days: dict[str, list[str]] = {}
    while day < end:
        rows = data.to_table(filter=ds.field(DAY) == day)
        days[day.isoformat()] = []
        if rows.num_rows:
            path = day_path(table, day, BATCH + digest, 0)
            filesystem, place = fsspec.core.url_to_fs(path)
            filesystem.makedirs(place.rpartition("/")[0], exist_ok=True)
            temporary = f"{place}.{uuid.uuid4().hex}"
            with filesystem.open(temporary, "wb") as file:
                pq.write_table(rows, file)
            filesystem.mv(temporary, place)
            days[day.isoformat()] = [path]
        day += dt.timedelta(days=1)
    found = replace_days(settings, name, days, {"windtunnel.predict": digest}, among=BATCH)
    if found is None:
        raise SchemaMismatchError(f"{name}: no row was scored", hint="is the snapshot empty?")
    return found


def run(spec: JsonObject, progress: Progress) -> JsonObject:
    """The job: Parquet files in, Parquet files of answers out.

    Returns:
        ``files``, ``rows``, ``engine`` (``plan`` or ``pipeline``), ``digest``.
    """
    for name in ("bundle", "data", "output"):
        if not spec.get(name):
            raise ConfigurationError(f"the spec lacks {name!r}", hint="it has bundle, data, output; optionally digest, keep, columns")
    with local_copy(spec["bundle"]) as folder:
        engine = Engine.load(folder, spec.get("digest"))
        digest = engine.bundle.digest
    references = row_groups(spec["data"])
    progress.total = progress.total or sum(reference.rows for reference in references)
    output = str(spec["output"])
    score = _Score(
        spec["bundle"], digest, list(spec.get("keep", [])), dict(spec.get("columns", {})), output, scores=bool(spec.get("scores"))
    )
    with job.reporting(PROGRESS, progress), job.pipeline(spec) as pipeline:
        (
            pipeline
            | "row groups" >> beam.Create(references)
            | "spread" >> beam.Reshuffle()
            | "score" >> beam.ParDo(score)
            | "collect" >> beam.combiners.ToList()
            | "list" >> beam.ParDo(_Note(output))
        )
    filesystem, place = fsspec.core.url_to_fs(f"{output}/files.json")
    found = json.loads(filesystem.cat_file(place))
    filesystem.rm_file(place)
    return {"files": [path for path, _ in found], "rows": sum(rows for _, rows in found), "engine": engine.kind, "digest": digest}


@functools.lru_cache(maxsize=4)
def _engine(uri: str, digest: str, _process: int) -> Engine:
    """One engine a process, however many bundles of work it gets."""
    with local_copy(uri) as folder:
        return Engine.load(folder, digest)


class _Score(beam.DoFn):
    """A row group to a file of answers; the file's name is that of its rows, so a bundle that runs twice leaves one."""

    def __init__(self, uri: str, digest: str, keep: list[str], columns: dict[str, str], output: str, *, scores: bool) -> None:
        self._scores = scores
        self._uri, self._digest, self._keep, self._columns, self._output = uri, digest, keep, columns, output

    def process(self, element: RowGroup) -> Iterable[tuple[str, int]]:
        """The file and its rows."""
        engine = _engine(self._uri, self._digest, os.getpid())
        names = [column.name for column in engine.bundle.inputs]
        text = [column.name for column in engine.bundle.inputs if column.type == "string"]
        path = f"{self._output}/{fingerprint(dataclasses.asdict(element))}.parquet"
        filesystem, place = fsspec.core.url_to_fs(path)
        filesystem.makedirs(place.rpartition("/")[0], exist_ok=True)
        temporary = f"{place}.{uuid.uuid4().hex}"
        rows = 0
        with filesystem.open(temporary, "wb") as file:
            writer: pq.ParquetWriter | None = None
            for batch in read_row_group(element, list(dict.fromkeys([*names, *self._keep])), dictionary=text):
                answer = self._answer(engine, batch)
                writer = writer or pq.ParquetWriter(file, answer.schema)
                writer.write_batch(answer)
                rows += batch.num_rows
                job.progress_of(PROGRESS).add(batch.num_rows)
            if writer is not None:
                writer.close()
        if rows:
            filesystem.mv(temporary, place)
            yield path, rows
        else:
            filesystem.rm_file(temporary)

    def _answer(self, engine: Engine, batch: pa.RecordBatch) -> pa.RecordBatch:
        fields, arrays = [], []
        if self._scores:
            # The lookup file is little-endian wherever it is read.
            scores = engine.scores(from_arrow(engine.bundle.inputs, batch)).astype("<f8")
            fields.append(pa.field("scores", pa.binary()))
            arrays.append(pa.array([row.tobytes() for row in scores], pa.binary()))
        for name in self._keep:
            column = batch.column(name)
            column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
            fields.append(pa.field(name, column.type))
            arrays.append(column)
        for name, value in self._columns.items():
            fields.append(pa.field(name, pa.string()))
            arrays.append(pa.repeat(pa.scalar(value), batch.num_rows))
        if self._scores:
            return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
        found = engine.predict(batch)
        prediction = found.column("prediction")
        number = pa.types.is_floating(prediction.type)
        fields += [pa.field("prediction", pa.string()), pa.field("value", pa.float64())]
        arrays += [prediction.cast(pa.string()), prediction if number else found.column("score")]
        if "probabilities" in found.schema.names:
            fields.append(pa.field("probabilities", pa.string()))
            arrays.append(pa.array([json.dumps(row) for row in found.column("probabilities").to_pylist()]))
        if "decision" in found.schema.names:
            fields.append(pa.field("decision", pa.string()))
            arrays.append(found.column("decision"))
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


class _Note(beam.DoFn):
    """Write the list of files down, where whoever started the pipeline finds it."""

    def __init__(self, output: str) -> None:
        self._output = output

    def process(self, element: list[tuple[str, int]]) -> Iterable[None]:
        """Write it, by a rename."""
        filesystem, place = fsspec.core.url_to_fs(f"{self._output}/files.json")
        filesystem.makedirs(place.rpartition("/")[0], exist_ok=True)
        temporary = f"{place}.{uuid.uuid4().hex}"
        filesystem.pipe_file(temporary, json.dumps(sorted(element)).encode())
        filesystem.mv(temporary, place)
        return ()


if __name__ == "__main__":
    job.main(run)
