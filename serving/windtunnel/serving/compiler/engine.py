"""An engine: one model version in memory, answering rows; the same for batch scoring and for the server, so both give the same numbers."""

import dataclasses
import math
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from windtunnel.lifecycle.contract.errors import IntegrityError
from windtunnel.lifecycle.model import answers
from windtunnel.lifecycle.model.bundle import Bundle, read, read_pipeline, read_samples
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.serving.base.batch import Rows
from windtunnel.serving.base.values import Column, Columns, InvalidInputError, Schema, Texts, from_arrow
from windtunnel.serving.compiler import curves, estimators, masks, steps, texts  # noqa: F401 - their import makes the steps known to Plan.load
from windtunnel.serving.compiler.plan import WIDEST_ROW, Plan, refuse

if TYPE_CHECKING:
    import pyarrow as pa
    from sklearn.base import BaseEstimator

__all__ = ["Engine", "Guesses"]

PLAN = "plan"


@dataclasses.dataclass(frozen=True, slots=True)
class Guesses:
    """What an answer rests on that is no knowledge.

    Attributes:
        absent: columns that were not sent, and were taken as null.
        unseen: column -> rows with a category that the model was not trained with.
    """

    absent: tuple[str, ...] = ()
    unseen: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.absent or self.unseen)

    def to_dict(self) -> JsonObject:
        """Plain data: what an answer shows of it."""
        return {"absent": list(self.absent), "unseen": dict(self.unseen)}


class Engine:
    """One model version.

    Args:
        bundle: its manifest.
        plan: the compiled pipeline, or None.
        pipeline: the scikit-learn pipeline, where there is no plan.
        samples: the bundle's sample rows and answers.

    Attributes:
        kind: ``plan`` or ``pipeline``: what answers.
        schema: what the model takes.
        classes: what it answers, in the order of the probabilities and in the label's type; empty for regression.
        names: class -> its name, as tables and metrics have it.
        outputs: the columns of an answer: name -> ``string``, ``bool``, ``int64``, ``float64`` or ``floats`` (one for each class).
    """

    def __init__(
        self, bundle: Bundle, plan: Plan | None, pipeline: "BaseEstimator" = None, samples: Mapping[str, Any] | None = None
    ) -> None:
        self.bundle = bundle
        self.kind = "pipeline" if plan is None else "plan"
        self.samples = dict(samples or {})
        self._plan = plan
        self._pipeline = pipeline
        # scikit-learn's estimators are not promised to be safe for several threads at once.
        self._lock = threading.Lock()
        self.schema = Schema.of(bundle)
        narrow = plan is not None and plan.width <= WIDEST_ROW
        self._order = Schema.of(bundle, plan.inputs) if narrow and plan is not None else None
        self._known = known_categories(plan, pipeline, bundle)
        below = bundle.options.get("abstain_below")
        self._abstain_below = float(below) if below is not None and bundle.task in {"binary", "multiclass"} else None
        self.names = names_of(bundle)
        self.classes = list(self.names)
        self.outputs = self._outputs()

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
            IntegrityError: the model did not give one answer a row: some requests would get those of others.
        """
        # no warnings: what is not finite in the end is refused below
        with np.errstate(all="ignore"):
            found = self._plan.run(columns) if self._plan is not None else self._by_pipeline(columns)
        if len(found) != columns.count:
            raise IntegrityError(f"the model gave {len(found)} answers to {columns.count} rows")
        if not np.isfinite(found).all():
            raise refuse("these values are so extreme that the model's answer is no number")
        return found

    def row_scores(self, row: Mapping[str, object]) -> np.ndarray | None:
        """The score matrix of one JSON object by the short way for single rows; None where the long way has to say something.

        Raises:
            InvalidInputError: the model cannot take these values.
        """
        if self._order is None or self._plan is None:
            return None
        values = self._order.one(row)
        if values is None:
            return None
        found = self._plan.one(values)
        if not all(map(math.isfinite, found)):
            raise refuse("these values are so extreme that the model's answer is no number")
        return np.array([found])

    def plain_answer(self, row: Mapping[str, Any]) -> JsonObject | None:
        """The answer to one JSON object in which nothing is odd; None where the long way has to say something, or to count a guess."""
        if self._order is None or self._plan is None or self._abstain_below is not None:
            return None
        values = self._order.one(row)
        if values is None or any(row[name] not in known and row[name] is not None for name, known in self._known.items()):
            return None
        try:
            found = self._plan.one(values)
        except InvalidInputError:
            return None
        if not all(map(math.isfinite, found)):
            return None
        return answers.one(self.bundle.task, self.classes, self.bundle.threshold, found)

    def guesses(self, columns: Columns) -> Guesses:
        """What the answer to some rows would be guessed from."""
        unseen = {}
        for name, known in self._known.items():
            count = rows_beyond(columns[name], known)
            if count:
                unseen[name] = count
        return Guesses(columns.absent, unseen)

    def row_guesses(self, row: Mapping[str, object]) -> Guesses:
        """The same for one JSON object that `row_scores` has answered."""
        unseen = {}
        for name, known in self._known.items():
            value = row[name]
            if value is not None and value not in known:
                unseen[name] = 1
        return Guesses(unseen=unseen) if unseen else _NOTHING

    def _by_pipeline(self, columns: Columns) -> np.ndarray:
        from windtunnel.serving.compiler.frame import frame_of

        with self._lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return answers.scores(self._pipeline, self.bundle.task, frame_of(self.bundle, columns))
            except (ValueError, TypeError, OverflowError) as error:
                raise refuse(f"the model cannot take these values: {error}") from error

    def columns(self, found: np.ndarray, classes: Sequence[Any] | None = None) -> dict[str, Any]:
        """The answer columns of a score matrix; ``decision`` too, where the model may abstain.

        Args:
            found: the scores.
            classes: what to call the classes; by default `classes`.
        """
        bundle = self.bundle
        columns = answers.columns(bundle.task, self.classes if classes is None else classes, bundle.threshold, found)
        if self._abstain_below is not None:
            sure = answers.confidence(bundle.task, found)
            assert sure is not None  # abstaining is for classifiers, see __init__
            columns["decision"] = [answers.PERSON if low else "model" for low in (sure < self._abstain_below).tolist()]
        return columns

    def predict_rows(self, rows: Sequence[Mapping[str, object]]) -> list[JsonObject]:
        """Answers for rows as JSON objects.

        Raises:
            InvalidInputError: names the fields that do not fit.
        """
        if len(rows) == 1:
            found = self.row_scores(rows[0])
            if found is not None:
                return self.answers(found)
        return self.answers(self.scores(Rows(rows).columns(self.schema))) if rows else []

    def answers(self, found: np.ndarray) -> list[JsonObject]:
        """A score matrix as one JSON object a row."""
        if len(found) == 1 and self._abstain_below is None:
            bundle = self.bundle
            return [answers.one(bundle.task, self.classes, bundle.threshold, found[0].tolist())]
        columns = self.columns(found)
        lists = [values.tolist() if isinstance(values, np.ndarray) else values for values in columns.values()]
        names = list(columns)
        return [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]

    def predict(self, batch: "pa.RecordBatch") -> "pa.RecordBatch":
        """Answers for an Arrow batch, in the same order.

        Returns:
            ``prediction`` (the class's name, or float64 for a regression), ``score`` (float64), ``probabilities`` (list of float64,
            multiclass), ``decision`` (string, where the model may abstain).
        """
        import pyarrow as pa

        schema = self.answer_schema
        if batch.num_rows == 0:
            return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
        columns = self.columns(self.scores(from_arrow(self.bundle.inputs, batch)), list(self.names.values()))
        arrays = []
        for field in schema:
            values = columns[field.name]
            if field.name == "probabilities":
                width = values.shape[1]
                offsets = pa.array(np.arange(0, width * (len(values) + 1), width, dtype=np.int32))
                arrays.append(pa.ListArray.from_arrays(offsets, pa.array(values.ravel())))
            else:
                arrays.append(pa.array(values, field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _outputs(self) -> dict[str, str]:
        task = self.bundle.task
        found = {"prediction": "float64" if task == "regression" else _KINDS[type(self.classes[0])]}
        if task != "regression":
            found["score"] = "float64"
        if task == "multiclass":
            found["probabilities"] = "floats"
        if self._abstain_below is not None:
            found["decision"] = "string"
        return found

    @property
    def answer_schema(self) -> "pa.Schema":
        """The columns of an answer to an Arrow batch."""
        import pyarrow as pa

        types = {"string": pa.string(), "float64": pa.float64(), "floats": pa.list_(pa.float64())}
        kinds = self.outputs if self.bundle.task == "regression" else {**self.outputs, "prediction": "string"}
        return pa.schema([pa.field(name, types[kind]) for name, kind in kinds.items()])

    def warm(self) -> None:
        """Answer the samples once: first calls allocate and import."""
        rows = self.samples.get("inputs", [])[:8]
        if rows:
            self.predict_rows(rows)
            # single rows have a way of their own, which is to be warm as well
            self.predict_rows(rows[:1])


def names_of(bundle: Bundle) -> dict[Any, str]:
    """The classes that a bundle's model answers, in the label's type -> their names.

    Example:
        >>> names_of(Bundle("p", "binary", ["0", "1"], 0.5, [], "y", "2013", label_type="bool"))
        {False: '0', True: '1'}
    """
    if bundle.task == "regression":
        return {}
    names = [str(name) for name in bundle.classes] or ["0", "1"]
    return dict(zip(answers.typed(names, bundle.label_type), names, strict=True))


_NOTHING = Guesses()
_KINDS = {str: "string", bool: "bool", int: "int64", float: "float64"}


def rows_beyond(column: Column, known: frozenset[object]) -> int:
    """Rows of a column whose value is neither known nor null."""
    values = column.values if isinstance(column, Texts) else column.tolist()
    odd = [place for place, value in enumerate(values) if value not in known and not (value is None or value != value)]  # NaN
    if odd and isinstance(column, Texts) and column.codes is not None:
        return int(np.isin(column.codes, odd).sum())
    return len(odd)


def known_categories(plan: Plan | None, pipeline: "BaseEstimator", bundle: Bundle) -> dict[str, frozenset[object]]:
    """The categories that a model's encoders know, by the input that goes straight to one; several encoders know what any of them does."""
    if plan is None:
        from windtunnel.serving.compiler.unseen import categories_of

        return {} if pipeline is None else categories_of(pipeline, bundle)
    found: dict[str, set[object]] = {}
    plan.step.trace(list(plan.inputs), found)
    return {name: frozenset(values) for name, values in found.items()}
