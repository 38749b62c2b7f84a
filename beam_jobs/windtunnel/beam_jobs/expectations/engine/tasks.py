"""What a pass over chunks works out: one task a question.

A task is fed either distinct rows (`OfDistinct`) or rows in their order (`OfRows`), pass after pass until it is done.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from great_expectations.constants import MAX_RESULT_RECORDS
from great_expectations.validator.metric_configuration import MetricConfiguration

from windtunnel.beam_jobs.expectations.engine.calls import Calls, FrameEngine, Later, MetricFailure, MetricId
from windtunnel.beam_jobs.expectations.engine.distinct import Store, Weighted, codes_of
from windtunnel.beam_jobs.expectations.engine.source import Chunk, Source

__all__ = ["LISTED", "REMEMBERED", "Condition", "Domain", "Duplicates", "Failing", "InOrder", "OfDistinct", "OfRows", "Whole", "wanted"]

LISTED = 200_000
"""Rows that ``unexpected_index_list`` names at most (only result format COMPLETE asks for all of them)."""

REMEMBERED = 4096  # unexpected distinct values that are kept to find their rows quickly


class OfDistinct:
    """A task that needs distinct rows of some columns."""

    columns: tuple[str, ...]

    def take(self, calls: Calls, rows: Weighted) -> None:
        """Distinct rows; a row may come again in a later call."""
        raise AssertionError(f"{type(self).__name__} takes no rows")


class OfRows:
    """A task that needs rows in their order.

    Attributes:
        columns: what it reads.
        done: whether it needs no (further) pass.
        start_at: the first row that it needs in the next pass.
    """

    columns: tuple[str, ...]
    done = False
    start_at = 0

    def take(self, chunk: Chunk) -> bool:
        """The next chunk; true if this pass has nothing more to give it."""
        raise AssertionError(f"{type(self).__name__} takes no chunks")

    def end_pass(self) -> None:
        """The chunks of a pass are through."""
        self.done = True

    def given(self, chunk: Chunk) -> bool:
        """As `take`; what goes wrong is this task's failure, and not that of the others which share the pass."""
        try:
            return self.take(chunk)
        except Exception as error:  # noqa: BLE001 - a value that some library cannot digest
            self.fail(error)
            return True

    def fail(self, error: Exception) -> None:
        """Remember an error as the answer; a task that cannot raises it."""
        raise error


class Condition(OfDistinct):
    """How many rows a condition does not like, for conditions that look at one row at a time."""

    def __init__(self, later: Later, columns: Sequence[str]) -> None:
        self.later, self.columns = later, tuple(columns)
        self.unexpected = 0
        self.filtered = 0
        self.first_chunk: int | None = None
        self.bad: list[Any] | None = [] if "column" in later.metric.metric_domain_kwargs else None
        self.failure: MetricFailure | None = None
        self.known = False  # answered, by statistics: no pass needs to bring it rows
        self._looked = False
        self._pending: MetricFailure | None = None

    def take(self, calls: Calls, rows: Weighted) -> None:
        """Ask the condition about distinct rows."""
        if self.failure is not None:
            return
        try:
            places, bad = calls.unexpected(self.later)
            domain = self._domain(calls)
        except MetricFailure as failure:
            # an empty frame has types that some functions cannot digest: GX would meet that only if the whole is empty
            if self._nothing_to_look_at(calls):
                self._pending = failure
            else:
                self.failure = failure
            return
        if domain is not None:
            self.filtered += int(rows.counts[domain].sum())
        self._looked = self._looked or bool(len(places))
        hits = places[bad]
        if not len(hits):
            return
        self.unexpected += int(rows.counts[hits].sum())
        first = int(rows.first_chunks[hits].min())
        self.first_chunk = first if self.first_chunk is None else min(first, self.first_chunk)
        values = rows.frame.iloc[hits, 0]
        # Rows cannot be found again by null, which equals nothing.
        if self.bad is None or len(self.columns) > 1 or len(self.bad) + len(hits) > REMEMBERED or values.isna().any():
            self.bad = None
        else:
            self.bad += values.tolist()

    def end(self) -> None:
        """All rows were seen."""
        if not self._looked and self._pending is not None:
            self.failure = self._pending

    def _domain(self, calls: Calls) -> npt.NDArray[np.intp] | None:
        kwargs = self.later.metric.metric_domain_kwargs
        return None if "column" in kwargs else calls.domain(kwargs).index.to_numpy()

    def _nothing_to_look_at(self, calls: Calls) -> bool:
        kwargs = self.later.metric.metric_domain_kwargs
        try:
            frame = calls.domain(kwargs)
        except Exception:  # noqa: BLE001 - whatever is wrong with the domain is the failure itself
            return False
        column = kwargs.get("column")
        return frame.empty or (column in frame.columns and bool(frame[column].isna().all()))


class Domain(OfDistinct):
    """The values of a domain with their counts: for column metrics, or the number of its rows."""

    def __init__(self, metric: MetricConfiguration, columns: Sequence[str], keep: Sequence[str], store: Store) -> None:
        self.metric, self.columns = metric, tuple(columns)
        self.store = store
        self.rows = 0
        self.failure: MetricFailure | None = None
        self.keep = list(keep)

    def take(self, calls: Calls, rows: Weighted) -> None:
        """Keep the rows that belong to the domain."""
        if self.failure is not None:
            return
        try:
            frame = calls.domain(self.metric.metric_domain_kwargs)
        except Exception as error:  # noqa: BLE001 - a row condition may raise anything
            self.failure = MetricFailure(self.metric, error)
            return
        places = frame.index.to_numpy()
        self.rows += int(rows.counts[places].sum())
        if self.keep:
            kept = frame[self.keep].reset_index(drop=True)
            self.store.add(Weighted(kept, rows.counts[places], rows.first[places]))


class Duplicates:
    """Rows that are not alone in a store."""

    def __init__(self, store: Store, *, skip_nulls: bool) -> None:
        self.unexpected = 0
        self.filtered = 0
        self.first_chunk: int | None = None
        best: list[tuple[npt.NDArray[np.int64], pd.DataFrame]] = []
        self.complete = True
        for part in store.parts():
            bad = part.counts > 1
            present = part.frame.iloc[:, 0].notna().to_numpy() if skip_nulls else np.ones(len(bad), bool)
            bad &= present
            self.filtered += int(part.counts[present].sum())
            if not bad.any():
                continue
            self.unexpected += int(part.counts[bad].sum())
            first = part.first[bad]
            order = np.argsort(first, kind="stable")[:LISTED]
            self.complete = self.complete and len(order) == len(first)
            best.append((first[order], part.frame[bad].iloc[order]))
            here = int(part.first_chunks[bad].min())
            self.first_chunk = here if self.first_chunk is None else min(here, self.first_chunk)
        self.rows: pd.DataFrame | None = None
        if best:
            order = np.argsort(np.concatenate([first for first, _ in best]), kind="stable")[:LISTED]
            self.rows = pd.concat([frame for _, frame in best], ignore_index=True).iloc[order]

    def in_frame(self, frame: pd.DataFrame, columns: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which rows of a frame are among them."""
        if self.rows is None or frame.empty:
            return np.zeros(len(frame), bool)
        # Coded together: codes of two frames say nothing about each other.
        both = pd.concat([self.rows[list(columns)], frame[list(columns)]], ignore_index=True)
        codes = codes_of(both)
        return np.isin(codes[len(self.rows) :], codes[: len(self.rows)])


class Failing(OfRows):
    """The rows that a condition does not like: values, places, whole rows; as many as were asked for.

    Args:
        source: where rows come from.
        engine: to call GX's functions with.
        condition: the condition.
        asked: the metrics that list rows, with what they depend on.
        columns: what to read.
        expected: how many rows there are to find.
        mask: the condition, where it cannot be asked of a chunk alone: domain rows -> those that it does not like.
        only: values of the one column; rows with others need not be looked at.
    """

    def __init__(
        self,
        source: Source,
        engine: FrameEngine,
        condition: Later,
        asked: Sequence[tuple[MetricConfiguration, dict[str, object]]],
        columns: Sequence[str],
        *,
        expected: int,
        mask: Callable[[pd.DataFrame], npt.NDArray[np.bool_]] | None = None,
        only: list[Any] | None = None,
    ) -> None:
        self.columns = tuple(columns)
        self.found: dict[MetricId, list[Any]] = {metric.id: [] for metric, _ in asked}
        self.failures: dict[MetricId, MetricFailure] = {}
        self._source, self._engine, self._condition, self._asked = source, engine, condition, asked
        self._mask = mask
        self._only = [*only, *_zeros(only)] if only else None
        self._left = expected
        self._wanted = max((wanted(metric) for metric, _ in asked), default=0)
        self._have = 0
        self.done = expected == 0

    def take(self, chunk: Chunk) -> bool:
        """Look for rows in a chunk."""
        frame = self._frame(chunk)
        if not len(frame):
            return False
        calls = Calls(self._engine, frame)
        try:
            if self._mask is not None:
                triple = self._own_condition(frame, self._mask)
                calls = Calls(self._engine, frame, {self._condition.metric.id: triple})
            mask, _, _ = calls.value(self._condition.metric, self._condition.needs)
        except MetricFailure as failure:
            self.failures.setdefault(failure.metric.id, failure)
            return True
        self._collect(calls, int(np.count_nonzero(mask)))
        return self._left <= 0 or self._have >= self._wanted

    def fail(self, error: Exception) -> None:
        """None of the lists can be given."""
        self.failures = {metric.id: MetricFailure(metric, error) for metric, _ in self._asked}
        self.done = True

    def collect(self, calls: Calls, hits: int) -> None:
        """List the unexpected rows of a frame whose condition is known, unless there are enough."""
        if self._have < self._wanted:
            self._collect(calls, hits)

    def _collect(self, calls: Calls, hits: int) -> None:
        if not hits:
            return
        for metric, needs in self._asked:
            try:
                self.found[metric.id].append(calls.value(metric, needs))
            except MetricFailure as failure:
                self.failures[metric.id] = failure
        self._have += hits
        self._left -= hits

    def result(self, metric: MetricConfiguration) -> Any:
        """The list for one of the metrics."""
        parts = self.found[metric.id]
        if metric.metric_name.endswith(".unexpected_index_query"):
            return _query(metric, parts)
        if metric.metric_name.endswith(".unexpected_rows"):
            return pd.concat(parts)[: wanted(metric)] if parts else self._source.empty()
        if _by_column(metric) and parts:  # one entry: for each column all its values
            return [{column: _joined(part[0][column] for part in parts) for column in parts[0][0]}]
        return _joined(parts)[: wanted(metric)]

    def _frame(self, chunk: Chunk) -> pd.DataFrame:
        batch = chunk.batch
        places = self._places(batch)
        if places is None:
            return self._source.frame(batch, start=chunk.start)
        return self._source.frame(batch.take(pa.array(places)), start=chunk.start, places=places)

    def _places(self, batch: pa.RecordBatch) -> npt.NDArray[np.intp] | None:
        """The rows of a chunk that can be unexpected, if that is known by their values."""
        if self._only is None:
            return None
        name = str(self._condition.metric.metric_domain_kwargs["column"])
        column = batch.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        try:
            if pa.types.is_integer(column.type) and self._source.dtypes[name].kind == "f":
                column = column.cast(pa.float64(), safe=False)  # as pandas holds it, because there are nulls
            keep = pc.is_in(column, value_set=pa.array(self._only, column.type, from_pandas=True))
        except (pa.ArrowException, OverflowError, TypeError):
            # What Arrow cannot compare as pandas does is looked for among all rows.
            self._only = None
            return None
        return np.flatnonzero(keep.to_numpy(zero_copy_only=False))

    def _own_condition(self, frame: pd.DataFrame, mask: Callable[[pd.DataFrame], npt.NDArray[np.bool_]]) -> tuple[object, object, object]:
        kwargs = self._condition.metric.metric_domain_kwargs
        self._engine.look_at(frame)
        try:
            kind = "column" if "column" in kwargs else "column_pair" if "column_A" in kwargs else "multicolumn"
            rows, compute, accessor = self._engine.get_compute_domain(kwargs, kind)
            # GX, too, shows a condition on one column no nulls.
            if kind == "column":
                rows = rows[rows[kwargs["column"]].notna()]
        except Exception as error:
            raise MetricFailure(self._condition.metric, error) from error
        return pd.Series(mask(rows), index=rows.index, dtype=bool), compute, accessor


def _zeros(values: list[object]) -> list[float]:
    """Both zeros where one is meant: Arrow tells them apart, pandas does not."""
    return [0.0, -0.0] if any(isinstance(value, float) and value == 0 for value in values) else []


def _by_column(metric: MetricConfiguration) -> bool:
    """Whether places are given as one entry that has, for each column that names a row, the values of all rows."""
    form = metric.metric_value_kwargs.get("result_format") or {}
    named = bool(form.get("unexpected_index_column_names")) and bool(form.get("exclude_unexpected_values"))
    return named and metric.metric_name.endswith(".unexpected_index_list")


def _joined(parts: Iterable[Iterable[object]]) -> list[Any]:
    return list(itertools.chain.from_iterable(parts))


def _query(metric: MetricConfiguration, parts: Sequence[str]) -> str | None:
    """GX's text that filters the rows; None where it is not wanted."""
    if metric.metric_value_kwargs["result_format"].get("return_unexpected_index_query") is False:
        return None
    inner = [text.removeprefix("df.filter(items=[").removesuffix("], axis=0)") for text in parts]
    return f"df.filter(items=[{', '.join(filter(None, inner))}], axis=0)"


def wanted(metric: MetricConfiguration) -> int:
    """How many rows a listing metric gives at most."""
    form = metric.metric_value_kwargs.get("result_format") or {}
    every = form.get("result_format") == "COMPLETE" or _by_column(metric) or metric.metric_name.endswith(".unexpected_index_query")
    limit = LISTED if every else int(form.get("partial_unexpected_count", 20))
    # GX lists places without end, and cuts values and rows off
    return min(limit, MAX_RESULT_RECORDS) if metric.metric_name.endswith((".unexpected_values", ".unexpected_rows")) else limit


class InOrder(OfRows):
    """A condition that compares a row with the one before: counted and listed in one pass, a row carried over between chunks."""

    def __init__(
        self,
        source: Source,
        engine: FrameEngine,
        condition: Later,
        asked: Sequence[tuple[MetricConfiguration, dict[str, object]]],
        columns: Sequence[str],
    ) -> None:
        self.columns = tuple(columns)
        self.later = condition
        self.unexpected = 0
        self.failure: MetricFailure | None = None
        # How many there are is only known at the end of the pass.
        self.rows = Failing(source, engine, condition, asked, columns, expected=1 << 62)
        self._source, self._engine = source, engine
        self._carried: pd.DataFrame | None = None
        self._pending: MetricFailure | None = None
        self._looked = False

    def take(self, chunk: Chunk) -> bool:
        """Ask the condition about a chunk behind the row before it."""
        if self.failure is not None:
            return True
        frame = self._source.frame(chunk.batch, start=chunk.start)
        kwargs = self.later.metric.metric_domain_kwargs
        column = kwargs["column"]
        joined = frame if self._carried is None else pd.concat([self._carried, frame])
        calls = Calls(self._engine, joined)
        try:
            mask, compute, accessor = calls.value(self.later.metric, self.later.needs)
            domain = calls.domain(kwargs)
        except MetricFailure as failure:
            if joined.empty or (column in joined.columns and joined[column].isna().all()):
                self._pending = failure
                return False
            self.failure = failure
            return True
        if self._carried is not None:
            # The row that was carried over was judged at the end of the chunk before.
            mask = mask.iloc[1:]
        # GX leaves nulls out before it compares neighbours, so the last value that is there is carried on.
        domain = domain[domain[column].notna()]
        if len(domain):
            self._carried = domain.iloc[[-1]]
            self._looked = True
        hits = int(np.count_nonzero(mask))
        self.unexpected += hits
        if hits:
            own = Calls(self._engine, frame, {self.later.metric.id: (mask, compute, accessor)})
            self.rows.collect(own, hits)
        return False

    def fail(self, error: Exception) -> None:
        """Neither number nor list can be given."""
        self.failure = MetricFailure(self.later.metric, error)

    def end_pass(self) -> None:
        """Done after one pass."""
        self.done = True
        if not self._looked and self._pending is not None:
            self.failure = self._pending


class Whole(OfRows):
    """Columns as a whole, for metrics that no stream can answer: memory grows with the rows of these columns, and of no others."""

    def __init__(self, source: Source, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._source = source
        self._chunks: list[pa.RecordBatch] = []

    def take(self, chunk: Chunk) -> bool:
        """Keep the chunk."""
        names = [name for name in chunk.batch.schema.names if name in self.columns]
        self._chunks.append(chunk.batch.select(names))
        return False

    def frame(self) -> pd.DataFrame:
        """All rows."""
        tables = []
        for batch in self._chunks:
            table = pa.Table.from_batches([batch])
            for place, field in enumerate(table.schema):
                target = self._source.schema.field(field.name).type
                if field.type != target:
                    table = table.set_column(place, field.name, table.column(place).cast(target))
            tables.append(table)
        self._chunks = []
        if not tables:
            return self._source.empty()
        everything = pa.concat_tables(tables, promote_options="permissive")
        return self._source.frame(everything, start=0)
