"""Training: from shards to a candidate, within a memory bound, with everything written down.

What comes out is a bundle (`windtunnel.lifecycle.model.bundle`): the fitted preprocessor and the model as one scikit-learn pipeline over
raw columns, so the very object that was trained is what scores and serves. The same shards, parameters and versions give the same bundle,
which is not trained again.
"""

import json
import logging
import platform
import tempfile
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import DataError, EmptyWindowError, UnavailableError
from windtunnel.lifecycle.contract.fingerprint import code_version, fingerprint
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import BalanceRef, CandidateRef, FeaturesRef, SnapshotRef, TrialsRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data import parquet
from windtunnel.lifecycle.data.artifacts import Stage, read_text
from windtunnel.lifecycle.data.rows import class_type
from windtunnel.lifecycle.learning.estimators import dense_only, estimator, evened, one_thread, weighted
from windtunnel.lifecycle.learning.shards import load_shards, load_transformer
from windtunnel.lifecycle.model import answers, bundle
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.lifecycle.record import tracking

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["train"]

log = logging.getLogger(__name__)

_LIBRARIES = ("numpy", "scikit-learn", "skops")
_TYPICAL = 20_000
"""Rows that the typical row is taken from."""

_SAMPLES = 16
_BYTES_A_VALUE = 9  # a float64 working copy and the 8-bit bins of histogram boosting


def train(
    context: RunContext,
    snapshot: SnapshotRef,
    features: FeaturesRef,
    trials: TrialsRef | None,
    balance: BalanceRef | None = None,
) -> CandidateRef:
    """Train a candidate and record it in MLflow.

    Args:
        context: its problem's ``model`` section says what learns, ``budget.memory_mb`` how much memory that may take; its settings say
            where bundles and the MLflow server are.
        snapshot: what the features were made from; its end is the model's data cut-off.
        features: the shards and the fitted preprocessor.
        trials: the parameters that a search found; None for the problem's own.
        balance: who chose what is done about unbalanced classes; ``problem.model.class_balance`` is what is done.

    Raises:
        EmptyWindowError: there is no training row, or only one class.
        UnavailableError: MLflow does not answer.
    """
    parameters = trials.best if trials else {}
    versions = {name: metadata.version(name) for name in _LIBRARIES}
    name = fingerprint(
        features.fingerprint,
        snapshot.end,
        # Serving and sensitive columns too: the bundle carries what they say.
        context.problem.part_fingerprint("model", "label", "task", "serving", "budget", "sensitive"),
        parameters,
        code_version(),
        versions,
    )
    stage = Stage(context.settings, context.problem.name, "train", name)
    known = stage.result()
    if known is not None:
        log.info("this candidate was trained before: %s", known["uri"])
        return CandidateRef.from_dict(known)

    remedy = context.problem.model.class_balance
    began = time.perf_counter()
    x, y = load_shards(features.uri, "train")
    model = estimator(context.problem, parameters)
    with one_thread():
        classes, model, rows = _fit(context.problem, model, x, y)
    seconds = time.perf_counter() - began
    log.info("trained %s on %s rows of %s values in %.1f s", type(model).__name__, f"{rows:,}", features.width, seconds)
    pipeline = _pipeline(features, model)
    manifest = json.loads(read_text(f"{features.uri}/manifest.json"))
    described = bundle.Bundle(
        problem=context.problem.name,
        task=context.problem.task,
        classes=classes,
        threshold=context.problem.serving.threshold,
        inputs=[bundle.Input(**column) for column in manifest["inputs"]],
        label=context.problem.label.column,
        label_type=class_type(context.problem),
        cutoff=snapshot.end,
        lineage={
            "table": snapshot.table,
            "snapshot_id": snapshot.snapshot_id,
            "start": snapshot.start,
            "end": snapshot.end,
            "snapshot": snapshot.fingerprint,
            "features": features.fingerprint,
            "problem": context.problem.fingerprint,
            "parameters": parameters,
            "class_balance": remedy,
            "candidate": name,
            "versions": {**versions, "windtunnel": code_version(), "python": platform.python_version()},
        },
        options=context.problem.serving.model_dump(mode="json")
        | {"redact": context.problem.redacted, "optional": context.problem.optional_columns},
    )
    if context.problem.serving.explain:
        described.options["baseline"] = _typical(described, snapshot, context.settings)
    samples = _samples(described, pipeline, snapshot, context.settings)
    with stage.writing() as folder:
        sealed = bundle.write(folder, described, pipeline, samples)
        run_id = _record(context, folder, sealed, {"rows": rows, "seconds": seconds, "width": features.width}, pipeline, balance)
        found = CandidateRef(
            problem=context.problem.name, uri=stage.uri, digest=sealed.digest, run_id=run_id, fingerprint=name, cutoff=snapshot.end
        )
        stage.finish(folder, found.to_dict())
    # Another worker may have been first with the same inputs: what stands is what counts.
    return CandidateRef.from_dict(stage.result() or found.to_dict())


def _fit(problem: Problem, model: "BaseEstimator", x: Any, y: np.ndarray) -> tuple[list[str], Any, int]:
    """Fit within the memory budget; answers class names, the fitted estimator and how many rows it saw."""
    classification = problem.task in {"binary", "multiclass"}
    _refuse_too_little(problem, y, classification=classification)
    if hasattr(x, "toarray") and dense_only(model):
        _within(problem, x.shape[0] * x.shape[1] * 4)  # float32
        x = x.toarray()
    if classification:
        x, y = evened(problem, x, y)
    x, y = _sampled(problem, x, y)
    if problem.task == "anomaly":
        model.fit(x)
        return ["0", "1"], model, len(y)
    if classification:
        y = y.astype(str) if problem.task == "multiclass" else y.astype(np.int8)
    model.fit(x, y, **weighted(problem, model, y))
    return ([str(kind) for kind in model.classes_] if classification else []), model, len(y)


def _refuse_too_little(problem: Problem, y: np.ndarray, *, classification: bool) -> None:
    if len(y) == 0:
        raise EmptyWindowError(
            f"{problem.name}: there is no training row in the window", hint="widen the window, or look at the quarantine"
        )
    if classification and len(np.unique(y)) < 2:
        raise DataError(
            f"{problem.name}: every training row has label {y[0]!r}: there is nothing to tell apart",
            hint="look at label.positive, and at the label's share in the statistics",
        )


def _sampled(problem: Problem, x: Any, y: np.ndarray) -> tuple[Any, np.ndarray]:
    """As many dense rows as the memory budget has room for, a uniform sample where they are more."""
    limit = int(problem.budget.memory_mb * 2**20 / (_BYTES_A_VALUE * max(x.shape[1], 1)))
    if len(y) <= limit or hasattr(x, "toarray"):
        return x, y
    log.warning(
        "%s rows of %s values need more than budget.memory_mb=%s: learning from a uniform sample of %s rows",
        f"{len(y):,}",
        x.shape[1],
        problem.budget.memory_mb,
        f"{limit:,}",
    )
    # In order, so that the mapped file is read from front to back.
    keep = np.sort(np.random.default_rng(problem.model.seed).choice(len(y), size=limit, replace=False))
    return x[keep], y[keep]


def _within(problem: Problem, size: int) -> None:
    budget = problem.budget.memory_mb * 2**20
    if size > budget:
        raise DataError(
            f"{problem.name}: the dense training matrix takes {size / 2**20:,.0f} MiB but budget.memory_mb is {problem.budget.memory_mb}",
            hint="choose a model family that takes sparse input (linear), fewer features, or a larger budget",
        )


def _pipeline(features: FeaturesRef, model: "BaseEstimator") -> object:
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    transformer = load_transformer(features.uri)
    if isinstance(transformer, ColumnTransformer) and dense_only(model):
        # Whether its output is sparse was decided at its fit; this model takes none that is.
        transformer.sparse_threshold = 0
        transformer.sparse_output_ = False
    return Pipeline([("features", transformer), ("model", model)])


def _samples(described: bundle.Bundle, pipeline: "BaseEstimator", snapshot: SnapshotRef, settings: Settings) -> JsonObject:
    """A few real rows, and what this environment answers for them: every later environment must answer the same."""
    from windtunnel.lifecycle.data.frames import to_frame
    from windtunnel.lifecycle.data.pins import files

    names = [column.name for column in described.inputs]
    first = parquet.head(files(settings, snapshot), _SAMPLES, names)
    frame = to_frame(first, described.dtypes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unseen categories in the first rows are no news here
        scores = answers.scores(pipeline, described.task, frame)
    classes = answers.typed(described.classes, described.label_type)
    columns = answers.columns(described.task, classes, described.threshold, scores)
    rows = [
        {name: value[i].tolist() if hasattr(value[i], "tolist") else value[i] for name, value in columns.items()}
        for i in range(first.num_rows)
    ]
    return {"inputs": json.loads(json.dumps(first.to_pylist(), default=str)), "outputs": rows}


def _typical(described: bundle.Bundle, snapshot: SnapshotRef, settings: Settings) -> JsonObject:
    """The row that explanations compare with: the median of each number and the most frequent text among the first rows."""
    import pyarrow.compute as pc

    from windtunnel.lifecycle.data.pins import files

    names = [column.name for column in described.inputs]
    first = parquet.head(files(settings, snapshot), _TYPICAL, names)
    found: JsonObject = {}
    for column in described.inputs:
        values = first[column.name].drop_null()
        if not len(values):
            found[column.name] = None
        elif column.type.startswith(("int", "float")):
            # A value that a row had: between two whole numbers lies none.
            middle = pc.quantile(values, q=0.5, interpolation="lower")[0].as_py()
            found[column.name] = int(middle) if column.type.startswith("int") else float(middle)
        else:
            counts = sorted(pc.value_counts(values).to_pylist(), key=lambda entry: (-entry["counts"], str(entry["values"])))
            found[column.name] = counts[0]["values"]
    return dict(json.loads(json.dumps(found, default=str)))


def _record(
    context: RunContext,
    folder: Path,
    sealed: bundle.Bundle,
    figures: dict[str, float],
    pipeline: "BaseEstimator",
    balance: BalanceRef | None,
) -> str:
    """A run in MLflow with parameters, lineage, the bundle, and the model as MLflow knows models; found again by a retry."""
    from mlflow.exceptions import MlflowException

    uri = context.settings.need("tracking_uri")
    mlflow = tracking.client(context.settings)
    lineage = sealed.lineage
    experiment = tracking.experiment(context.settings, context.problem.name)
    try:
        mine = f"tags.`windtunnel.candidate` = '{lineage['candidate']}'"
        earlier = mlflow.search_runs([experiment], filter_string=mine, max_results=1)
        found = (
            earlier[0]
            if earlier
            else mlflow.create_run(
                experiment,
                run_name=f"{context.problem.name} until {sealed.cutoff}",
                tags=tracking.tags_of(
                    {
                        "candidate": lineage["candidate"],
                        "problem": context.problem.name,
                        "cutoff": sealed.cutoff,
                        "digest": sealed.digest,
                        "table": lineage["table"],
                        "snapshot_id": lineage["snapshot_id"],
                        "snapshot": lineage["snapshot"],
                        "features": lineage["features"],
                        "class_balance": lineage["class_balance"],
                        "class_balance_by": balance.by if balance else "the problem's rule",
                        "dag_id": context.run.dag_id,
                        "run_id": context.run.run_id,
                        "run_type": context.run.run_type,
                        "by": context.run.by,
                        "reason": context.run.reason,
                    }
                ),
            )
        )
        run_id = str(found.info.run_id)
        # A retry logs the same values again, which MLflow takes; only another value it refuses.
        for name, value in {**context.problem.model.parameters, **lineage["parameters"], "family": context.problem.model.family}.items():
            mlflow.log_param(run_id, name, value)
        for name, value in figures.items():
            mlflow.log_metric(run_id, name, float(value))
        tracking.log_data(context.settings, run_id, lineage["table"], str(lineage["snapshot_id"]), lineage["snapshot"])
        mlflow.log_artifacts(run_id, str(folder), "bundle")
        _log_model(mlflow, run_id, folder, sealed, pipeline)
        mlflow.set_terminated(run_id)
    except MlflowException as error:
        raise UnavailableError(
            f"MLflow at {uri} did not take the run: {error}", hint="is the server up? `windtunnel status` tells"
        ) from error
    return run_id


def _log_model(mlflow: Any, run_id: str, folder: Path, sealed: bundle.Bundle, pipeline: "BaseEstimator") -> None:
    """The same pipeline in MLflow's own layout, so that its UI and loaders know it; the bundle stays what is deployed."""
    import mlflow.sklearn as flavor
    from mlflow.models import infer_signature

    rows = bundle.read_samples(folder)["inputs"]
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target = Path(temporary) / "model"
        frame = _frame(sealed, rows)
        flavor.save_model(
            pipeline,
            str(target),
            serialization_format="skops",
            skops_trusted_types=bundle.trusted(),
            signature=infer_signature(frame, pipeline.predict(frame)) if len(frame) else None,
            # Given, because MLflow would otherwise start a process to find out.
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in (*_LIBRARIES, "pandas", "mlflow")],
        )
        mlflow.log_artifacts(run_id, str(target), "model")


def _frame(sealed: bundle.Bundle, rows: list[dict[str, object]]) -> Any:
    import pandas as pd

    return pd.DataFrame(rows, columns=[column.name for column in sealed.inputs]).astype(sealed.dtypes)
