"""`preprocess`: the stage of a retraining run that fits a problem's features on its training rows and writes shards of both splits."""

import dataclasses
from typing import TYPE_CHECKING, Any

from windtunnel.beam_jobs import job
from windtunnel.beam_jobs.features.applying.applying import layout_of, names_of, write_split
from windtunnel.beam_jobs.features.applying.columnwise import applied
from windtunnel.beam_jobs.features.applying.transforming import manifest_of, training_stream
from windtunnel.beam_jobs.features.data import Data, ProblemRows, open_data
from windtunnel.beam_jobs.features.fitting.fitting import Fitted, fit_data
from windtunnel.beam_jobs.features.fitting.passes import on_disk
from windtunnel.beam_jobs.features.fitting.persist import describe, dump, inputs_of
from windtunnel.beam_jobs.features.options import Options
from windtunnel.beam_jobs.features.page import features_page
from windtunnel.lifecycle.contract.fingerprint import code_version, fingerprint
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import FeaturesRef, SnapshotRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.artifacts import Stage
from windtunnel.lifecycle.learning import shards
from windtunnel.lifecycle.learning.transformers import transformer_of
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.lifecycle.record import freshness

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["preprocess", "preprocess_files"]


def preprocess(problem: Problem, snapshot: SnapshotRef, settings: Settings, progress: job.Progress) -> FeaturesRef:
    """Fit and apply a problem's features over a snapshot; the same inputs are not computed again.

    Raises:
        UnsupportedError: a step of the transformer cannot be fitted over any amount of data.
        EmptyWindowError: no row of the window is for training.
    """
    from windtunnel.lifecycle.data import pins

    options = Options(runner=settings.runner, runner_options=settings.runner_options, workers=settings.workers)
    files = pins.files(settings, snapshot)
    return preprocess_files(problem, files, snapshot.end, snapshot.fingerprint, settings, options, progress)


def preprocess_files(
    problem: Problem, files: list[str], end: str, content: str, settings: Settings, options: Options, progress: job.Progress
) -> FeaturesRef:
    """The stage over Parquet files, whose content has the fingerprint `content`."""
    transformer = transformer_of(problem)
    parts = problem.part_fingerprint("task", "label", "features", "splits", "keys", "columns")
    made_of = {
        "content": content,
        "end": end,
        "declaration": fingerprint(parts, problem.windows.train_days),
        "transformer": recipe(transformer),
        "code": code_version(),
        "libraries": freshness.libraries(),
    }
    key = fingerprint("preprocess", made_of)
    stage = Stage(settings, problem.name, "preprocess", key)
    found = stage.result()
    if found is None:
        columns = problem.features.columns or [name for name in problem.columns if name != problem.label.column]
        train = open_data(files, options, ProblemRows(problem, end, "train"), columns)
        test = dataclasses.replace(train, selection=ProblemRows(problem, end, "test"))
        fitted = fit_data(transformer, train, options, progress)
        with on_disk(stage.uri), stage.writing() as folder:
            found = _write(folder, problem, fitted, train, test, options, {"fingerprint": key, "made_of": made_of})
            stage.finish(folder, found)
    freshness.note(settings, problem.name, made_of)
    return FeaturesRef(uri=stage.uri, fingerprint=key, rows=found["rows"], width=found["width"])


def _write(folder: Any, problem: Problem, fitted: Fitted, train: Data, test: Data, options: Options, who: dict[str, object]) -> JsonObject:
    made = fitted.context.peek(fitted.out)
    layout, names = layout_of(made, options), names_of(fitted.transformer, made.shape[1])
    dump(fitted.transformer, folder)
    splits = {
        "train": write_split(train, training_stream(fitted), folder, "train", layout, names, options, fitted.counts),
        "test": write_split(test, applied(fitted.transformer), folder, "test", layout, names, options),
    }
    how = {**who, "passes": fitted.passes, "notes": fitted.notes}
    manifest = manifest_of(layout, options.dtype, names, inputs_of(train.dtypes, problem), splits) | how
    text = features_page(f"Features of {problem.title or problem.name}", fitted.transformer, manifest)
    (folder / "features.html").write_text(text, encoding="utf-8")
    shards.write_manifest(folder, manifest)
    return {"rows": {name: entry["rows"] for name, entry in splits.items()}, "width": manifest["width"], "passes": fitted.passes}


def recipe(transformer: "BaseEstimator") -> str:
    """The fingerprint of an unfitted transformer: classes, parameters and the code of functions."""
    return fingerprint(describe(transformer))
