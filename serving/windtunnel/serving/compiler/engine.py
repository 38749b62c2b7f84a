"""An engine: one model version in memory, answering rows; the same for batch scoring and for the server, so both give the same numbers."""

import math
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from windtunnel.lifecycle.model import answers
from windtunnel.lifecycle.model.bundle import Bundle, Input, read, read_pipeline, read_samples
from windtunnel.serving.base.values import Columns, Reader, from_batch, from_rows
from windtunnel.serving.compiler import curves, estimators, steps, texts  # noqa: F401 - their import makes the steps known to Plan.load
from windtunnel.serving.compiler.plan import WIDEST_ROW, Plan, refuse

__all__ = ["Engine"]

PLAN = "plan"


class Engine:
    """One model version.

    Args:
        bundle: its manifest.
        plan: the compiled pipeline, or None.
        pipeline: the scikit-learn pipeline, where there is no plan.
        samples: the bundle's sample rows and answers.

    Attributes:
        kind: ``plan`` or ``pipeline``: what answers.
    """

    def __init__(self, bundle: Bundle, plan: Plan | None, pipeline: Any = None, samples: Mapping[str, Any] | None = None) -> None:
        self.bundle = bundle
        self.kind = "pipeline" if plan is None else "plan"
        self.samples = dict(samples or {})
        self._plan = plan
        self._pipeline = pipeline
        # scikit-learn's estimators are not promised to be safe for several threads at once.
        self._lock = threading.Lock()
        narrow = plan is not None and plan.width <= WIDEST_ROW
        self._reader = Reader(plan_inputs(bundle, plan)) if narrow and plan is not None else None
        below = bundle.options.get("abstain_below")
        self._abstain_below = float(below) if below is not None and bundle.task in {"binary", "multiclass"} else None

    @classmethod
    def load(cls, folder: str | Path, digest: str | None = None) -> Self:
        """Load a bundle after checking every digest; the plan if it has one, else the pipeline from allowed types only.

        Raises:
            IntegrityError: a digest differs.
            ConfigurationError: there is no bundle.
        """
        folder = Path(folder)
        bundle = read(folder, digest)
        samples = read_samples(folder)
        if f"{PLAN}/plan.json" in bundle.files:
            return cls(bundle, Plan.load(folder / PLAN), samples=samples)
        return cls(bundle, None, read_pipeline(folder), samples)

    def scores(self, columns: Columns) -> np.ndarray:
        """The score matrix of checked columns.

        Raises:
            InvalidInputError: the model cannot take these values.
        """
        with np.errstate(all="ignore"):
            found = self._plan.run(columns) if self._plan is not None else self._by_pipeline(columns)
            if not np.isfinite(found).all():
                raise refuse("these values are so extreme that the model's answer is no number")
            return found

    def row_scores(self, row: Mapping[str, Any]) -> np.ndarray | None:
        """The score matrix of one JSON object by the short way for single rows; None where the long way has to say something.

        Raises:
            InvalidInputError: the model cannot take these values.
        """
        if self._reader is None or self._plan is None:
            return None
        values = self._reader.read(row)
        if values is None:
            return None
        found = self._plan.one(values)
        if not all(map(math.isfinite, found)):
            raise refuse("these values are so extreme that the model's answer is no number")
        return np.array([found])

    def _by_pipeline(self, columns: Columns) -> np.ndarray:
        from windtunnel.serving.compiler.frame import frame_of

        with self._lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return answers.scores(self._pipeline, self.bundle.task, frame_of(self.bundle, columns))
            except (ValueError, TypeError, OverflowError) as error:
                raise refuse(f"the model cannot take these values: {error}") from error

    def columns(self, found: np.ndarray) -> dict[str, Any]:
        """The answer columns of a score matrix; ``decision`` too, where the model may abstain."""
        bundle = self.bundle
        columns = answers.columns(bundle.task, bundle.classes, bundle.threshold, found)
        if self._abstain_below is not None:
            sure = answers.confidence(bundle.task, found)
            assert sure is not None  # noqa: S101 - abstaining is for classifiers, see __init__
            columns["decision"] = [answers.PERSON if low else "model" for low in (sure < self._abstain_below).tolist()]
        return columns

    def predict_rows(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answers for rows as JSON objects.

        Raises:
            InvalidInputError: names the fields that do not fit.
        """
        if len(rows) == 1:
            found = self.row_scores(rows[0])
            if found is not None:
                return self.answers(found)
        return self.answers(self.scores(from_rows(self.bundle.inputs, rows))) if rows else []

    def answers(self, found: np.ndarray) -> list[dict[str, Any]]:
        """A score matrix as one JSON object a row."""
        if len(found) == 1 and self._abstain_below is None:
            bundle = self.bundle
            return [answers.one(bundle.task, bundle.classes, bundle.threshold, found[0].tolist())]
        columns = self.columns(found)
        lists = [values.tolist() if isinstance(values, np.ndarray) else values for values in columns.values()]
        names = list(columns)
        return [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]

    def predict(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Answers for an Arrow batch, in the same order.

        Returns:
            ``prediction`` (string, or float64 for a regression), ``score`` (float64), ``probabilities`` (list of float64, multiclass),
            ``decision`` (string, where the model may abstain).
        """
        if batch.num_rows == 0:
            return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in self.schema], schema=self.schema)
        columns = self.columns(self.scores(from_batch(self.bundle.inputs, batch)))
        arrays = []
        for field in self.schema:
            values = columns[field.name]
            if field.name == "probabilities":
                width = values.shape[1]
                offsets = pa.array(np.arange(0, width * (len(values) + 1), width, dtype=np.int32))
                arrays.append(pa.ListArray.from_arrays(offsets, pa.array(values.ravel())))
            else:
                arrays.append(pa.array(values, field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    @property
    def schema(self) -> pa.Schema:
        """The columns of an answer."""
        task = self.bundle.task
        fields = [pa.field("prediction", pa.float64() if task == "regression" else pa.string())]
        if task != "regression":
            fields.append(pa.field("score", pa.float64()))
        if task == "multiclass":
            fields.append(pa.field("probabilities", pa.list_(pa.float64())))
        if self._abstain_below is not None:
            fields.append(pa.field("decision", pa.string()))
        return pa.schema(fields)

    def warm(self) -> None:
        """Answer the samples once: first calls allocate and import."""
        rows = self.samples.get("inputs", [])[:8]
        if rows:
            self.predict_rows(rows)
            self.predict_rows(rows[:1])


def plan_inputs(bundle: Bundle, plan: Plan) -> list[Input]:
    """A bundle's inputs in the order in which its plan takes them."""
    known = {column.name: column for column in bundle.inputs}
    return [known[name] for name in plan.inputs]
