"""Feedback: predictions meet the truth that came later, and the labels that people gave.

A prediction's row is found again among the problem's examples by the problem's keys; its label is what
`windtunnel.lifecycle.data.rows.label_of`
says of that row, known ``label.delay_days`` after the row's day. A person's label comes before it. What is compared here is one batch of
predictions with one day of examples; `windtunnel.beam_jobs.feedback` goes over all of them.
"""

import datetime as dt
import json
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.predictions import PREDICTION
from windtunnel.lifecycle.data.rows import DAY, label_of
from windtunnel.lifecycle.data.schema import arrow_schema
from windtunnel.lifecycle.data.sources.days import event_columns, event_days
from windtunnel.lifecycle.live.inputs import inputs_of
from windtunnel.lifecycle.live.labels import add_labels, label_type

__all__ = [
    "Reasons",
    "Truth",
    "add_labels",
    "feedback_schema",
    "horizon",
    "inputs_of",
    "join",
    "truth_columns",
]

Reasons = dict[str, int]
"""Why predictions wait, and how many: ``no_keys``, ``not_due``, ``no_examples``, ``no_row``, ``no_label``, ``ambiguous``."""

_AROUND = 7
"""Days before and after the answer in which a row is looked for that does not say its own day."""

_CLOSE = 1e-9


def horizon(problem: Problem, window: Window) -> dt.date | None:
    """The first day that a run must not look at; None at the end of a closed history.

    Nothing that became known on or after the data cut-off is visible. The clock of a closed history (``windows.history_end``) stands still
    at its end: there, whatever was predicted or labelled since counts.
    """
    end = problem.windows.history_end
    return None if end is not None and window.end >= end else window.end


def feedback_schema(problem: Problem) -> pa.Schema:
    """The columns of ``<problem>.feedback``: the prediction, the truth, and the row's raw columns as they were sent.

    Besides those of `PREDICTION`: ``row_date`` (the row's own day), ``label``, ``label_source`` (``truth`` or ``person``), ``label_by``,
    ``known_on`` (the day from which the label counts as known), ``correct`` (null for a regression), ``error`` (prediction minus label, of
    a regression), ``differs`` (features that were sent with another value than the row has, separated by commas; null where there is no
    row to compare with). A raw column that has one of these names is called ``input_<name>``.
    """
    added = [
        pa.field("row_date", pa.date32()),
        pa.field("label", label_type(problem)),
        pa.field("label_source", pa.string()),
        pa.field("label_by", pa.string()),
        pa.field("known_on", pa.date32()),
        pa.field("correct", pa.bool_()),
        pa.field("error", pa.float64()),
        pa.field("differs", pa.string()),
    ]
    taken = {*PREDICTION.names, *(field.name for field in added)}
    raw = [pa.field(f"input_{f.name}" if f.name in taken else f.name, f.type) for f in arrow_schema(problem, day=False)]
    return pa.schema([*PREDICTION, *added, *raw])


# What was sent ----------------------------------------------------------------------------------------------------------------------


# Joining ----------------------------------------------------------------------------------------------------------------------------


def truth_columns(problem: Problem) -> list[str]:
    """The columns of examples that joining needs."""
    return list(dict.fromkeys([*problem.keys, problem.label.column, *(c for c in problem.features.columns if c in problem.columns)]))


class Truth:
    """One day of examples: keys, label and features, each key once.

    Args:
        problem: whose.
        day: which day.
        rows: its rows, batch by batch.
    """

    def __init__(self, problem: Problem, day: dt.date, rows: Iterator[pa.RecordBatch]) -> None:
        self.day = day
        types = {field.name: field.type for field in arrow_schema(problem)}
        parts = []
        for batch in rows:
            label = label_of(problem, batch).cast(label_type(problem))
            columns = {name: batch.column(name) for name in batch.schema.names}
            parts.append(
                pa.table({name: column.cast(types.get(name, column.type)) for name, column in columns.items()} | {"__label": label})
            )
        self.rows = pa.concat_tables(parts, promote_options="default") if parts else None
        self.by_key: pa.Table | None = None
        if self.rows is not None and self.rows.num_rows:
            place = pa.array(np.arange(self.rows.num_rows))
            numbered = self.rows.select([*problem.keys, "__label"]).append_column("__place", place)
            # Where the least and the largest label differ, the key does not name one row.
            grouped = numbered.group_by(problem.keys).aggregate([("__label", "min"), ("__label", "max"), ("__place", "min")])
            self.by_key = grouped.rename_columns([*problem.keys, "__low", "__high", "__place"])


def join(
    problem: Problem,
    predictions: pa.RecordBatch,
    truth_of: Callable[[dt.date], Truth | None],
    people: Callable[[pa.Table], pa.Table | None],
    *,
    until: dt.date | None = None,
) -> tuple[pa.Table, Reasons]:
    """The rows of one batch of predictions whose truth is known, and why the others wait.

    Args:
        problem: names the keys.
        predictions: as the table of predictions has them.
        truth_of: a day's examples, or None if there are none.
        people: the labels that people gave for any of these keys (columns: keys, ``label``, ``by``, ``at``), or None.
        until: what became known on or after this day waits (`horizon`).

    Returns:
        rows of `feedback_schema`, and `Reasons`. Rows that are only known on or after `until` are both: joined, and counted as waiting.
    """
    inputs = inputs_of(problem, predictions)
    rows = predictions.num_rows
    found = _Found(problem, predictions, inputs)
    for day in sorted(set(found.days(found.own))):
        found.look(np.flatnonzero(found.keyed & found.is_day(found.own, day)), truth_of(day))
    for day in sorted(set(found.days(pc.if_else(pc.is_null(found.own), found.answered, pa.scalar(None, pa.date32()))))):
        mine = found.keyed & pc.is_null(found.own).to_numpy(zero_copy_only=False) & found.is_day(found.answered, day)
        # The nearest days first: the same key may stand in several.
        for offset in sorted(range(-_AROUND, _AROUND + 1), key=abs):
            left = np.flatnonzero(mine & np.isin(found.reason, ("no_examples", "no_row")))
            if len(left):
                found.look(left, truth_of(day + dt.timedelta(days=offset)))
    if rows:
        found.listen(people(inputs.select(problem.keys)))
    return found.table(), found.waiting(until)


def _own_days(problem: Problem, inputs: pa.Table) -> pa.Array:
    """The day that each row says it belongs to; null of a problem without event time."""
    if not event_columns(problem) or not inputs.num_rows:
        return pa.nulls(inputs.num_rows, pa.date32())
    batch = pa.record_batch([column.combine_chunks() for column in inputs.columns], schema=inputs.schema)
    return event_days(problem, batch).cast(pa.date32())


class _Found:
    """What was found for the rows of a batch, so far."""

    def __init__(self, problem: Problem, predictions: pa.RecordBatch, inputs: pa.Table) -> None:
        rows = predictions.num_rows
        self._problem, self._predictions, self._inputs = problem, predictions, inputs
        self.answered = predictions.column(DAY) if DAY in predictions.schema.names else pa.nulls(rows, pa.date32())
        self.own = _own_days(problem, inputs)
        hidden = set(problem.redacted)
        sent = inputs.column_names if "inputs" in predictions.schema.names else predictions.schema.names
        self._sent = [name for name in problem.features.columns if name in sent and name not in hidden]
        self.keyed: np.ndarray = np.ones(rows, dtype=bool)
        for name in problem.keys:
            self.keyed &= pc.is_valid(inputs[name]).to_numpy()
        self.reason = np.where(self.keyed, "no_examples", "no_keys").astype(object)
        self._label, self._by, self._differs = (np.full(rows, None, dtype=object) for _ in range(3))
        self._known: np.ndarray = np.full(rows, "NaT", dtype="datetime64[D]")
        self._row_date = self.own.to_numpy(zero_copy_only=False).astype("datetime64[D]")

    def days(self, column: pa.Array) -> list[dt.date]:
        """The days of rows that have their keys."""
        return [day for day in pc.unique(column.filter(pa.array(self.keyed))).to_pylist() if day is not None]

    def is_day(self, column: pa.Array, day: dt.date) -> np.ndarray:
        """Which rows are of a day."""
        return pc.fill_null(pc.equal(column, pa.scalar(day, pa.date32())), fill_value=False).to_numpy(zero_copy_only=False)

    def look(self, index: np.ndarray, truth: Truth | None) -> None:
        """Find the rows of an index in a day's examples."""
        if truth is None or truth.by_key is None or truth.rows is None:
            return
        self.reason[index] = "no_row"
        left = self._inputs.select(self._problem.keys).take(pa.array(index)).append_column("__i", pa.array(index))
        got = left.join(truth.by_key, keys=self._problem.keys, join_type="inner")
        if not got.num_rows:
            return
        at, low = got["__i"].to_numpy(), got["__low"].combine_chunks()
        labelled = pc.is_valid(low).to_numpy(zero_copy_only=False)
        one = labelled & pc.fill_null(pc.equal(got["__low"], got["__high"]), fill_value=False).to_numpy()
        self.reason[at] = np.where(one, "", np.where(labelled, "ambiguous", "no_label"))
        self._label[at[one]] = np.array(low.to_pylist(), dtype=object)[one]
        day = np.datetime64(truth.day, "D")
        self._known[at[one]] = day + np.timedelta64(self._problem.label.delay_days, "D")
        self._row_date[at] = day
        self._compare(at, got["__place"].to_numpy(), truth.rows)

    def _compare(self, at: np.ndarray, place: np.ndarray, rows: pa.Table) -> None:
        """Which features were sent with another value than the row has."""
        names: np.ndarray = np.full(len(at), "", dtype=object)
        for name in self._sent:
            if name not in rows.column_names:
                continue
            sent, real = (table[name].take(pa.array(index)).combine_chunks() for table, index in ((self._inputs, at), (rows, place)))
            other = _differ(sent, real)
            names[other] = [f"{before},{name}" if before else name for before in names[other]]
        if self._sent:
            self._differs[at] = names

    def listen(self, people: pa.Table | None) -> None:
        """Take in what people said; the newest word counts."""
        if people is None or not people.num_rows:
            return
        keys = self._problem.keys
        # "last" goes by the order of rows, which Arrow keeps on one thread only.
        newest = people.sort_by("at").group_by(keys, use_threads=False).aggregate([("label", "last"), ("by", "last"), ("at", "last")])
        index = np.flatnonzero(self.keyed)
        left = self._inputs.select(keys).take(pa.array(index)).append_column("__i", pa.array(index))
        got = left.join(newest, keys=keys, join_type="inner")
        if not got.num_rows:
            return
        at = got["__i"].to_numpy()
        convert = {"regression": float, "multiclass": str}.get(self._problem.task, int)
        self._label[at] = np.array([convert(text) for text in got["label_last"].to_pylist()], dtype=object)
        self._by[at] = np.array(got["by_last"].to_pylist(), dtype=object)
        self._known[at] = got["at_last"].to_numpy().astype("datetime64[D]")
        self.reason[at] = ""

    def table(self) -> pa.Table:
        """The joined rows."""
        found = self.reason == ""
        index = pa.array(np.flatnonzero(found))
        schema = feedback_schema(self._problem)
        columns: dict[str, pa.Array | pa.ChunkedArray] = {}
        for field in PREDICTION:
            columns[field.name] = _prediction_column(self._predictions, field).take(index)
        label = pa.array(self._label[found].tolist(), label_type(self._problem))
        said, value = columns["prediction"], columns["value"]
        regression = self._problem.task == "regression"
        nothing = pa.nulls(len(label))
        columns |= {
            "row_date": pa.array(self._row_date[found]).cast(pa.date32()),
            "label": label,
            "label_source": pa.array(["truth" if by is None else "person" for by in self._by[found]], pa.string()),
            "label_by": pa.array(self._by[found].tolist(), pa.string()),
            "known_on": pa.array(self._known[found]).cast(pa.date32()),
            "correct": nothing.cast(pa.bool_()) if regression else pc.equal(said, label.cast(pa.string())),
            "error": pc.subtract(value, label) if regression else nothing.cast(pa.float64()),
            "differs": pa.array(self._differs[found].tolist(), pa.string()),
        }
        inputs = self._inputs.take(index)
        for field, name in zip(list(schema)[-inputs.num_columns :], inputs.column_names, strict=True):
            columns[field.name] = inputs[name]
        return pa.table(columns, schema=schema)

    def waiting(self, until: dt.date | None) -> Reasons:
        """Why rows wait, as seen on a day."""
        reason = self.reason.copy()
        if until is not None:
            due = self._row_date + np.timedelta64(self._problem.label.delay_days, "D")
            limit = np.datetime64(until, "D")
            reason[(reason == "") & (self._known >= limit)] = "not_due"
            # A row that says no day has NaT, which is never due later.
            reason[np.isin(reason, ("no_examples", "no_row", "no_label")) & (due >= limit)] = "not_due"
        names, counts = np.unique(reason[reason != ""].astype(str), return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _differ(sent: pa.Array, real: pa.Array) -> np.ndarray:
    """Where two columns differ: nulls and NaN are alike, numbers are compared up to rounding."""
    if pa.types.is_floating(real.type):
        one, other = (pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy(zero_copy_only=False) for column in (sent, real))
        return ~np.isclose(one, other, rtol=_CLOSE, atol=0, equal_nan=True)
    one_null, other_null = pc.is_null(sent), pc.is_null(real)
    # not_equal() is null beside a null; the xor decides there.
    differ = pc.or_kleene(pc.xor(one_null, other_null), pc.not_equal(sent, real))
    return pc.fill_null(differ, fill_value=False).to_numpy(zero_copy_only=False)


def _prediction_column(predictions: pa.RecordBatch, field: pa.Field) -> pa.Array:
    if field.name not in predictions.schema.names:
        return pa.nulls(predictions.num_rows, field.type)
    column = predictions.column(field.name)
    if field.name == "probabilities" and (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        return pa.array([None if value is None else json.dumps(value) for value in column.to_pylist()], pa.string())
    return column.cast(field.type)
