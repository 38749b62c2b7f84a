"""The gate of a compiled model: the plan must answer as scikit-learn does, on real and on adversarial rows.

`compile_bundle` compiles a bundle, proves parity, and seals it again.
"""

import random
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.lifecycle.contract.errors import GateError
from windtunnel.lifecycle.model import answers
from windtunnel.lifecycle.model.bundle import Bundle, Input, read, read_pipeline, read_samples, seal
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.serving.base.batch import from_rows
from windtunnel.serving.base.values import InvalidInputError, Schema
from windtunnel.serving.compiler.compile import NotCompilableError, compile_pipeline
from windtunnel.serving.compiler.frame import frame_of
from windtunnel.serving.compiler.plan import WIDEST_ROW, Plan

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["FOLDER", "Parity", "adversarial_rows", "compile_bundle", "parity"]

TOLERANCE = 1e-9
"""Largest difference of a score, absolute below 1 and relative above."""

FOLDER = "plan"

# some change their length in lower or upper case (İ, ß), two look alike but are not equal, some are words for null elsewhere
_TEXTS = ["", " ", "zz-unseen", "A" * 300, "a\u0000b", "İ", "ß"]
_TEXTS += ["é", "e\u0301", "日本", "\U0001f600", "nan", "None", "NULL", "0", "1", "UA"]
# beyond float32, beyond int32, and where a float no longer tells whole numbers apart
_NUMBERS = [0, -0.0, 1, -1, 0.5, 1e-300, 1e15, -1e15, 1e30, 3.5e38, float("nan"), 2**31, 2**53, 10**12 + 1]


def adversarial_rows(inputs: Sequence[Input], samples: Sequence[dict[str, object]], count: int, seed: int = 0) -> list[JsonObject]:
    """Rows made from real ones: real values recombined, nulls, unseen and empty texts, Unicode, extremes.

    Values that the typed check refuses may be among them; those rows must be refused before any model sees them.
    """
    rng = random.Random(seed)  # test rows, no secret
    real = {column.name: [row.get(column.name) for row in samples] or [None] for column in inputs}
    rows = []
    for index in range(count):
        row: dict[str, Any] = {}
        bad = index % 4  # a quarter purely recombined, the others with more and more odd values
        for column in inputs:
            value = rng.choice(real[column.name])
            if bad and rng.random() < bad * 0.15:
                value = _odd(column, value, rng)
            row[column.name] = value
        rows.append(row)
    return rows


def _odd(column: Input, value: Any, rng: random.Random) -> object:
    if column.type == "string":
        changed = [str(value) + " ", str(value).lower(), str(value)[:1]] if value is not None else []
        return rng.choice([None, *_TEXTS, *changed])
    if column.type == "bool":
        return rng.choice([None, True, False])
    if column.type in {"int32", "int64"}:
        near = [int(value) + 1, int(value) - 1, float(int(value)), -int(value)] if isinstance(value, int | float) and value == value else []
        return rng.choice([None, 0, -1, 1, 2**31 - 1, 10**9, 1.0, *near])
    if column.type in {"float32", "float64"}:
        near = [value + 0.5, value * 1.0000001, -value, int(value)] if isinstance(value, int | float) and value == value else []
        return rng.choice([None, *_NUMBERS, *near])
    return value


class Parity:
    """What `parity` found: rows compared, rows that both refuse, the largest difference."""

    def __init__(self) -> None:
        self.rows = 0
        self.refused = 0
        self.difference = 0.0

    def to_dict(self) -> JsonObject:
        """Plain data."""
        return {"rows": self.rows, "refused_by_both": self.refused, "largest_difference": self.difference}


def parity(plan: Plan, pipeline: "BaseEstimator", bundle: Bundle, rows: Sequence[dict[str, object]]) -> Parity:
    """Run rows through both, all at once where both can, and one by one where one refuses.

    Raises:
        GateError: they differ; says in which row and by how much.
    """
    found = Parity()
    _compare(plan, pipeline, bundle, [row for row in rows if _fits(bundle, row)], found)
    return found


def _fits(bundle: Bundle, row: dict[str, object]) -> bool:
    try:
        from_rows(bundle.inputs, [row])
    except InvalidInputError:
        return False
    return True


def _compare(plan: Plan, pipeline: "BaseEstimator", bundle: Bundle, rows: Sequence[dict[str, Any]], found: Parity) -> None:
    if not rows:
        return
    columns = from_rows(bundle.inputs, rows)
    theirs = _try(lambda: _score(pipeline, bundle, columns))
    ours = _try(lambda: plan.run(columns))
    if theirs is not None and ours is not None:
        difference = _within_tolerance(rows, ours, theirs)
        if plan.width <= WIDEST_ROW:
            _compare_single(plan, pipeline, bundle, rows, ours)
        found.rows += len(rows)
        found.difference = max(found.difference, difference)
    elif len(rows) == 1:
        if (theirs is None) != (ours is None):
            raise GateError(f"{'only scikit-learn' if theirs is None else 'only the plan'} refuses the row {rows[0]!r}")
        _refused_alone(plan, bundle, rows[0])
        found.refused += 1
    else:  # one of them refuses some of the rows: which?
        for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
            _compare(plan, pipeline, bundle, half, found)


def _within_tolerance(rows: Sequence[dict[str, Any]], ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference.

    Raises:
        GateError: it is too large.
    """
    difference = _difference(ours, theirs) if ours.shape == theirs.shape else None
    if difference is None or not np.all(np.isfinite(difference)):
        raise GateError(f"the plan answers {ours[:3].tolist()} where scikit-learn answers {theirs[:3].tolist()}")
    worst = int(difference.max(axis=1).argmax())
    if difference.max() > TOLERANCE:
        raise GateError(
            f"the plan differs from scikit-learn by {difference.max():.3g} for the row {rows[worst]!r}: "
            f"{ours[worst].tolist()} instead of {theirs[worst].tolist()}"
        )
    return float(difference.max())


def _refused_alone(plan: Plan, bundle: Bundle, row: dict[str, object]) -> None:
    """What is refused among others must be refused by itself.

    Raises:
        GateError: it is not.
    """
    if plan.width > WIDEST_ROW:
        return
    values = Schema.of(bundle, plan.inputs).one(row)
    if values is not None and _try(lambda: np.array(plan.one(values))) is not None:
        raise GateError(f"the plan refuses the row {row!r} among others but not by itself")


def _compare_single(plan: Plan, pipeline: "BaseEstimator", bundle: Bundle, rows: Sequence[dict[str, Any]], ours: np.ndarray) -> None:
    """The short way for single rows must say what the plan says of the batch, or what scikit-learn says of that row alone.

    The two differ where BLAS, which sums one row in another order than many, stands before a tree with a threshold within that last bit.
    """
    schema = Schema.of(bundle, plan.inputs)
    for row, wanted in zip(rows, ours, strict=True):
        values = schema.one(row)
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


def _score(pipeline: "BaseEstimator", bundle: Bundle, columns: Any) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return answers.scores(pipeline, bundle.task, frame_of(bundle, columns))


def _try(function: Any) -> np.ndarray | None:
    try:
        with np.errstate(all="ignore"):
            return np.asarray(function())
    except (ValueError, TypeError, InvalidInputError, OverflowError):
        return None


def compile_bundle(folder: Path, rows: int = 2000) -> JsonObject:
    """Compile a bundle in place, if it can be and passes the gate, and seal it again; its digest changes.

    Returns:
        ``engine`` (``plan`` or ``pipeline``), ``reason`` for the latter, the parity figures, the new ``digest``.
    """
    bundle = read(folder)
    pipeline = read_pipeline(folder)
    samples = read_samples(folder).get("inputs", [])
    result: JsonObject = {"engine": "pipeline", "reason": "", "parity": None}
    try:
        plan = compile_pipeline(pipeline, bundle)
        result["parity"] = parity(plan, pipeline, bundle, [*samples, *adversarial_rows(bundle.inputs, samples, rows)]).to_dict()
        # after the gate: a plan that has not passed must not lie in the bundle, where it would be served
        plan.save(folder / FOLDER)
        result["engine"] = "plan"
    except (NotCompilableError, GateError) as error:
        result["reason"] = error.message
    return result | {"digest": seal(folder, bundle).digest}
