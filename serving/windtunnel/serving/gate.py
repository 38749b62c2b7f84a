"""The gate of a compiled model: the plan must answer as scikit-learn does, on real and on adversarial rows.

``python -m windtunnel.serving.gate FOLDER --digest D`` compiles a bundle, proves parity, answers the bundle's samples and measures
latency and size in this process, which has neither Airflow nor Beam nor the training code; with ``--load-p99-ms`` it also serves it to
several clients at once. It prints one JSON object.
"""

import argparse
import json
import random
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from windtunnel.lifecycle import answers
from windtunnel.lifecycle.bundle import Bundle, Input, read, read_pipeline, read_samples, seal
from windtunnel.lifecycle.errors import GateError, WindtunnelError
from windtunnel.serving.compile import NotCompilableError, compile_pipeline
from windtunnel.serving.engine import plan_inputs
from windtunnel.serving.frame import frame_of
from windtunnel.serving.load import percentiles, under_load
from windtunnel.serving.plan import WIDEST_ROW, Plan
from windtunnel.serving.values import InvalidInputError, Reader, from_rows

__all__ = ["FOLDER", "Parity", "adversarial_rows", "compile_bundle", "main", "parity"]

TOLERANCE = 1e-9
"""Largest difference of a score, absolute below 1 and relative above."""

FOLDER = "plan"

_FOREIGN = {"airflow", "apache_beam", "mlflow", "great_expectations", "pyiceberg", "optuna"}

_TEXTS = ["", " ", "zz-unseen", "A" * 300, "a\u0000b", "İ", "ß"]
_TEXTS += ["é", "e\u0301", "日本", "\U0001f600", "nan", "None", "NULL", "0", "1", "UA"]
_NUMBERS = [0, -0.0, 1, -1, 0.5, 1e-300, 1e15, -1e15, 1e30, 3.5e38, float("nan"), 2**31, 2**53, 10**12 + 1]


def adversarial_rows(inputs: Sequence[Input], samples: Sequence[dict[str, Any]], count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows made from real ones: real values recombined, nulls, absent fields, unseen and empty texts, Unicode, extremes.

    Values that the typed check refuses may be among them; those rows must be refused before any model sees them.
    """
    rng = random.Random(seed)  # noqa: S311 - test rows, no secret
    real = {column.name: [row.get(column.name) for row in samples] or [None] for column in inputs}
    rows = []
    for index in range(count):
        row: dict[str, Any] = {}
        bad = index % 4  # a quarter purely recombined, the others with more and more odd values
        for column in inputs:
            value = rng.choice(real[column.name])
            if bad and rng.random() < bad * 0.15:
                value = _odd(column, value, rng)
            if value is not None or rng.random() < 0.5:  # noqa: PLR2004 - half of the nulls are absent fields
                row[column.name] = value
        rows.append(row)
    return rows


def _odd(column: Input, value: Any, rng: random.Random) -> Any:
    if column.type == "string":
        changed = [str(value) + " ", str(value).lower(), str(value)[:1]] if value is not None else []
        return rng.choice([None, *_TEXTS, *changed])
    if column.type == "bool":
        return rng.choice([None, True, False])
    if column.type in {"int32", "int64"}:
        near = [int(value) + 1, int(value) - 1, float(int(value)), -int(value)] if isinstance(value, int | float) and value == value else []  # noqa: PLR0124
        return rng.choice([None, 0, -1, 1, 2**31 - 1, 10**9, 1.0, *near])
    if column.type in {"float32", "float64"}:
        near = [value + 0.5, value * 1.0000001, -value, int(value)] if isinstance(value, int | float) and value == value else []  # noqa: PLR0124
        return rng.choice([None, *_NUMBERS, *near])
    return value


class Parity:
    """What `parity` found: rows compared, rows that both refuse, the largest difference."""

    def __init__(self) -> None:
        self.rows = 0
        self.refused = 0
        self.difference = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"rows": self.rows, "refused_by_both": self.refused, "largest_difference": self.difference}


def parity(plan: Plan, pipeline: Any, bundle: Bundle, rows: Sequence[dict[str, Any]]) -> Parity:
    """Run rows through both, all at once where both can, and one by one where one refuses.

    Raises:
        GateError: they differ; says in which row and by how much.
    """
    found = Parity()
    _compare(plan, pipeline, bundle, [row for row in rows if _fits(bundle, row)], found)
    return found


def _fits(bundle: Bundle, row: dict[str, Any]) -> bool:
    try:
        from_rows(bundle.inputs, [row])
    except InvalidInputError:
        return False
    return True


def _compare(plan: Plan, pipeline: Any, bundle: Bundle, rows: Sequence[dict[str, Any]], found: Parity) -> None:
    if not rows:
        return
    columns = from_rows(bundle.inputs, rows)
    theirs = _try(lambda: _score(pipeline, bundle, columns))
    ours = _try(lambda: plan.run(columns))
    if len(rows) == 1 and (theirs is None) != (ours is None):
        raise GateError(f"{'only scikit-learn' if theirs is None else 'only the plan'} refuses the row {rows[0]!r}")
    if theirs is None and len(rows) == 1:
        if plan.width <= WIDEST_ROW:
            values = Reader(plan_inputs(bundle, plan)).read(rows[0])
            if values is not None and _try(lambda: np.array(plan.one(values))) is not None:
                raise GateError(f"the plan refuses the row {rows[0]!r} among others but not by itself")
        found.refused += 1
        return
    if theirs is None or ours is None:
        for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
            _compare(plan, pipeline, bundle, half, found)
        return
    difference = _difference(ours, theirs) if ours.shape == theirs.shape else None
    if difference is None or not np.all(np.isfinite(difference)):
        raise GateError(f"the plan answers {ours[:3].tolist()} where scikit-learn answers {theirs[:3].tolist()}")
    worst = int(difference.max(axis=1).argmax())
    if difference.max() > TOLERANCE:
        raise GateError(
            f"the plan differs from scikit-learn by {difference.max():.3g} for the row {rows[worst]!r}: "
            f"{ours[worst].tolist()} instead of {theirs[worst].tolist()}"
        )
    if plan.width <= WIDEST_ROW:
        _compare_single(plan, pipeline, bundle, rows, ours)
    found.rows += len(rows)
    found.difference = max(found.difference, float(difference.max()))


def _compare_single(plan: Plan, pipeline: Any, bundle: Bundle, rows: Sequence[dict[str, Any]], ours: np.ndarray) -> None:
    """The short way for single rows must say what the plan says of the batch, or what scikit-learn says of that row alone.

    The two differ where BLAS, which sums one row in another order than many, stands before a tree with a threshold within that last bit.
    """
    reader = Reader(plan_inputs(bundle, plan))
    for row, wanted in zip(rows, ours, strict=True):
        values = reader.read(row)
        if values is None:  # `from_rows` reads this row
            continue
        found = _try(lambda values=values: np.array(plan.one(values)))
        if _agree(found, wanted):
            continue
        alone = _try(lambda row=row: _score(pipeline, bundle, from_rows(bundle.inputs, [row])))
        if alone is None or not _agree(found, alone[0]):
            raise GateError(f"the plan answers {found} for the row {row!r} by itself and {wanted.tolist()} among others")


def _agree(found: np.ndarray | None, wanted: np.ndarray) -> bool:
    return found is not None and found.shape == wanted.shape and bool(np.all(_difference(found, wanted) <= TOLERANCE))


def _difference(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Absolute below one, relative above; answers beyond all numbers are equal where both are so."""
    with np.errstate(all="ignore"):
        return np.where(ours == theirs, 0.0, np.abs(ours - theirs) / np.maximum(1.0, np.abs(theirs)))


def _score(pipeline: Any, bundle: Bundle, columns: Any) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return answers.scores(pipeline, bundle.task, frame_of(bundle, columns))


def _try(function: Any) -> np.ndarray | None:
    try:
        with np.errstate(all="ignore"):
            return np.asarray(function())
    except (ValueError, TypeError, InvalidInputError, OverflowError):
        return None


def compile_bundle(folder: Path, rows: int = 2000) -> dict[str, Any]:
    """Compile a bundle in place, if it can be and passes the gate, and seal it again; its digest changes.

    Returns:
        ``engine`` (``plan`` or ``pipeline``), ``reason`` for the latter, the parity figures, the new ``digest``.
    """
    bundle = read(folder)
    pipeline = read_pipeline(folder)
    samples = read_samples(folder).get("inputs", [])
    result: dict[str, Any] = {"engine": "pipeline", "reason": "", "parity": None}
    try:
        plan = compile_pipeline(pipeline, bundle)
        result["parity"] = parity(plan, pipeline, bundle, [*samples, *adversarial_rows(bundle.inputs, samples, rows)]).to_dict()
        plan.save(folder / FOLDER)
        result["engine"] = "plan"
    except (NotCompilableError, GateError) as error:
        result["reason"] = error.message
    return result | {"digest": seal(folder, bundle).digest}


def check(folder: Path, digest: str | None, seconds: float) -> dict[str, Any]:
    """Load a bundle as the server will, answer its samples, measure: what the smoke test of a deployment reports.

    Raises:
        GateError: an answer differs from the training environment's.
    """
    from windtunnel.serving.engine import Engine

    started = time.perf_counter()
    engine = Engine.load(folder, digest)
    load_seconds = time.perf_counter() - started
    samples = read_samples(folder)
    inputs, expected = samples.get("inputs", []), samples.get("outputs", [])
    for row, output in zip(inputs, expected, strict=True):
        found = engine.predict_rows([row])[0]
        wanted = output if isinstance(output, dict) else {"score" if bundle_has_score(engine.bundle) else "prediction": output}
        if not answers.same(found, wanted):
            raise GateError(f"the model answers {found} where training answered {wanted}, for {row!r}")
    taken: list[float] = []
    ends = time.perf_counter() + seconds
    while inputs and (len(taken) < 20 or (time.perf_counter() < ends and len(taken) < 5000)):  # noqa: PLR2004 - enough for a p99
        begin = time.perf_counter()
        engine.predict_rows([inputs[len(taken) % len(inputs)]])
        taken.append((time.perf_counter() - begin) * 1000)
    return {
        "samples": len(expected),
        "engine": engine.kind,
        "load_seconds": round(load_seconds, 4),
        "latency_ms": percentiles(taken) if taken else {},
        "size_mb": round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6, 3),
        "foreign": foreign(),
    }


def foreign() -> list[str]:
    """What was imported that a model server does not have."""
    return sorted({name.split(".")[0] for name in sys.modules} & _FOREIGN)


class _Blocker:
    """Refuses to import what a model server does not have, so that a model that needs it fails here and not there."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:  # noqa: ARG002 - importlib's signature
        """None for what may be imported.

        Raises:
            ImportError: for what may not.
        """
        if name.split(".", maxsplit=1)[0] in _FOREIGN:
            raise ImportError(f"{name} is not there where models are served")


def bundle_has_score(bundle: Bundle) -> bool:
    """Whether a plain number among a bundle's sample answers is a score (else it is the predicted value)."""
    return bundle.task != "regression"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; status 1 and ``{"error": ...}`` where the bundle does not pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--digest", help="the digest that the bundle must have")
    parser.add_argument("--compile", action="store_true", help="compile it in place first")
    parser.add_argument("--seconds", type=float, default=0.2, help="how long to measure the latency of one row")
    parser.add_argument("--load-p99-ms", type=float, help="serve it to several clients at once too; the p99 that is wanted")
    given = parser.parse_args(arguments)
    sys.meta_path.insert(0, _Blocker())
    try:
        result: dict[str, Any] = {}
        digest = given.digest
        if given.compile:
            read(given.folder, digest)
            result = compile_bundle(given.folder)
            digest = result["digest"]
        result |= check(given.folder, digest, given.seconds)
        rows = read_samples(given.folder).get("inputs", [])
        if given.load_p99_ms is not None and rows:
            result["under_load"] = under_load(given.folder, rows, given.load_p99_ms)
            result["foreign"] = foreign()
        code = 0
    except WindtunnelError as error:
        result = {"error": {"type": type(error).__name__, "message": error.message, "hint": error.hint}}
        code = 1
    sys.stdout.write(json.dumps(result) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
