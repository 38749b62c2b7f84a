"""From metrics that GX asks for to passes over chunks, and back.

One pass answers everything that does not depend on another answer; a second one finds the rows that did not do and the standard
deviations. What distinct values answered is kept, so that later questions about the same columns need no pass at all.
"""

import contextlib
import contextvars
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from great_expectations.validator.metric_configuration import MetricConfiguration

from windtunnel.beam_jobs.expectations.engine.aggregates import OF_THE_SET, aggregate
from windtunnel.beam_jobs.expectations.engine.asked import Asked, Question, listed_columns
from windtunnel.beam_jobs.expectations.engine.calls import Calls, FrameEngine, Later, MetricFailure, MetricId, domain_columns
from windtunnel.beam_jobs.expectations.engine.distinct import Counter, Counters, Limit, Store, Weighted
from windtunnel.beam_jobs.expectations.engine.kinds import ALONE, FILTERED, IN_ORDER, LISTS, MOMENTS, ONE_ROW_AT_A_TIME, SCHEMA
from windtunnel.beam_jobs.expectations.engine.known import STATISTICS, Known
from windtunnel.beam_jobs.expectations.engine.moments import Moments
from windtunnel.beam_jobs.expectations.engine.source import Chunk, Source
from windtunnel.beam_jobs.expectations.engine.tasks import (
    REMEMBERED,
    Condition,
    Domain,
    Duplicates,
    Failing,
    InOrder,
    OfDistinct,
    OfRows,
    Whole,
    wanted,
)

__all__ = ["COUNTING", "PROGRESS", "Asked", "Questions"]

PROGRESS: contextvars.ContextVar[Callable[[int], None] | None] = contextvars.ContextVar("progress", default=None)
"""Told the rows of every chunk that is read: GX makes the batches itself, so this cannot be handed to them."""

Counting = Callable[[Source, Sequence[tuple[str, ...]], Limit, Callable[[tuple[str, ...], Weighted], None]], None]
COUNTING: contextvars.ContextVar[Counting | None] = contextvars.ContextVar("counting", default=None)
"""Counts the distinct rows of several sets of columns in another way than chunk by chunk here (a Beam job, see `route`)."""


_REUSED = {"table.row_count", *MOMENTS, *OF_THE_SET}


class Questions:
    """Answers metrics about one source.

    Args:
        source: the rows.
        engine: to call GX's functions with.
        limit: of distinct values to hold in memory, a column.
    """

    def __init__(
        self,
        source: Source,
        engine: FrameEngine,
        limit: Limit = Limit(),  # noqa: B008 - frozen
    ) -> None:
        self.source, self.engine, self.limit = source, engine, limit
        self.passes = 0
        self._progress = PROGRESS.get()
        self._count = COUNTING.get()
        statistics = STATISTICS.get()
        self.known = None if statistics is None else Known(source, statistics, engine)
        self._known: dict[tuple[str, ...], Weighted] = {}
        self.empty = source.empty()
        self.blank = _blank(source, self.empty) if source.rows else self.empty

    def answer(self, asked: Sequence[Asked]) -> tuple[dict[MetricId, Any], dict[MetricId, MetricFailure]]:
        """Values and failures, by metric id; a failure may be that of a condition that a metric needs."""
        return _Round(self, asked).run()

    def now(self, metric: MetricConfiguration, needs: Mapping[str, Any]) -> Any:
        """A metric that no row is needed for.

        Raises:
            MetricFailure: its function raised.
        """
        frame = self.blank if metric.metric_domain_kwargs.get("row_condition") else self.empty
        return Calls(self.engine, frame).value(metric, needs)

    @functools.cached_property
    def index_repeats(self) -> bool:
        """Whether pandas' index, where files have one, names several rows alike. A pass of its own, over the index."""
        columns = self.source.index_columns()
        if not columns:
            return False
        if not set(columns) <= set(self.source.keyed):
            return True
        store, counter = Store(self.limit), Counter(self.source, columns, self.limit)
        with contextlib.closing(store):
            for chunk in self.source.chunks(columns):
                if counter.add(chunk) and (found := counter.take()) is not None:
                    store.add(found)
            if (found := counter.take()) is not None:
                store.add(found)
            return any(bool((part.counts > 1).any()) for part in store.parts())

    def depends_on_rows(self, metric: MetricConfiguration) -> bool:
        """Whether a metric of the schema may fail by its row condition: only values that are objects fail one by one."""
        if metric.metric_name not in SCHEMA or not metric.metric_domain_kwargs.get("row_condition"):
            return False
        return any(self.source.dtypes[name] == np.dtype(object) for name in domain_columns(metric, self.source.columns) or [])

    def count_distinct(self, wanted: Sequence[tuple[str, ...]], rows: Sequence[OfRows], take: Callable[..., None]) -> None:
        """One pass: distinct rows for `take`, chunks for `rows`."""
        fresh = []
        for columns in wanted:
            if columns in self._known:
                take(columns, self._known[columns])
            else:
                fresh.append(columns)
        rows = [task for task in rows if not task.done]
        if self._count is not None and fresh:
            self._count(self.source, fresh, self.limit, take)
            self.passes += 1
            fresh = []
        if fresh or rows:
            self._pass(fresh, rows, take)

    def _pass(self, fresh: Sequence[tuple[str, ...]], rows: Sequence[OfRows], take: Callable[..., None]) -> None:
        counters = Counters(self.source, fresh, self.limit, take)
        start = 0 if fresh else min(task.start_at for task in rows)
        columns = {*itertools.chain(*fresh, *(task.columns for task in rows))}
        active = list(rows)
        self.passes += 1
        for chunk in self.source.chunks(sorted(columns), start_at=start):
            counters.add(chunk)
            active = [task for task in active if _goes_on(task, chunk)]
            if self._progress is not None:
                self._progress(chunk.batch.num_rows)
            if not active and not fresh:
                break
        for task in rows:
            task.end_pass()
        for names, whole in counters.end():
            self._known[names] = whole or _nothing(self.source, names)
            take(names, self._known[names])


def _goes_on(task: OfRows, chunk: Chunk) -> bool:
    """Hand a chunk to a task that wants it; answers whether the task wants more."""
    return chunk.start + chunk.batch.num_rows <= task.start_at or not task.given(chunk)


def _blank(source: Source, empty: pd.DataFrame) -> pd.DataFrame:
    """One row with as little as can be in it: a row condition of the wrong type fails on it as on the rows there are."""
    columns = {}
    for name, dtype in empty.dtypes.items():
        void = source.nulls.get(str(name), 0) == source.rows
        value = None if void else "" if isinstance(dtype, pd.StringDtype) else 0 if getattr(dtype, "kind", "O") in "iub" else None
        columns[name] = pd.Series([value], dtype=dtype)
    return pd.DataFrame(columns, columns=empty.columns)


def _nothing(source: Source, names: Sequence[str]) -> Weighted:
    frame = source.empty().reset_index(drop=True)[list(names)]
    return Weighted(frame, np.empty(0, np.int64), np.empty(0, np.int64))


class _Round:
    """One call of `Questions.answer`."""

    def __init__(self, questions: Questions, asked: Sequence[Asked]) -> None:
        self._questions = questions
        self._source, self._engine = questions.source, questions.engine
        self._asked = asked
        self._answers: dict[MetricId, Any] = {}
        self._failures: dict[MetricId, MetricFailure] = {}
        self._conditions: dict[MetricId, Condition] = {}
        self._domains: dict[tuple[object, tuple[str, ...]], Domain] = {}
        self._moments: dict[MetricId, Moments] = {}
        self._orders: dict[MetricId, InOrder] = {}
        self._lists: dict[MetricId, list[Asked]] = {}
        self._duplicates: dict[MetricId, Duplicates] = {}
        self._failing: dict[MetricId, Failing] = {}
        self._whole: list[Asked] = []
        self._finish: list[tuple[Asked, Callable[[], Any]]] = []
        self._from_statistics: Any = None

    def run(self) -> tuple[dict[MetricId, Any], dict[MetricId, MetricFailure]]:
        with contextlib.ExitStack() as stack:
            for metric, needs in self._asked:
                self._place(Question((metric, needs), self._source))
            for domain in self._domains.values():
                stack.callback(domain.store.close)
            self._read()
            for asked, finish in self._finish:
                self._settle(asked[0], finish)
        return self._answers, self._failures

    def _settle(self, metric: MetricConfiguration, finish: Callable[[], object]) -> None:
        try:
            self._answers[metric.id] = finish()
        except MetricFailure as failure:
            self._failures[failure.metric.id] = failure
        except Exception as error:  # noqa: BLE001 - GX would give up the whole suite: one metric fails instead, with its reason
            self._failures[metric.id] = MetricFailure(metric, error)

    def _place(self, question: Question) -> None:
        """Say which task answers a metric: the first row of the table that applies."""
        next(place for applies, place in _WAYS if applies(self, question))(self, question)

    def place_now(self, question: Question) -> None:
        self._settle(question.metric, lambda: self._questions.now(question.metric, question.needs))

    def place_all_rows(self, question: Question) -> None:
        self._answers[question.metric.id] = self._source.rows

    def place_first_rows(self, question: Question) -> None:
        self._settle(question.metric, lambda: self._head(question.metric, question.needs))

    def place_whole(self, question: Question) -> None:
        self._whole.append(question.asked)

    def place_schema(self, question: Question) -> None:
        task = self._domain(question.metric, question.columns, [])
        self._finish.append((question.asked, lambda: _checked(task, None) or self._questions.now(question.metric, question.needs)))

    def is_known(self, question: Question) -> bool:
        """Whether statistics of the rows answer a metric."""
        known = self._questions.known
        if known is None or not (question.name in _REUSED or question.of_distinct_values):
            return False
        self._from_statistics = known.value(question.metric, question.needs, question.columns, self._questions.empty)
        return self._from_statistics is not None

    def place_known(self, question: Question) -> None:
        self._answers[question.metric.id] = self._from_statistics

    def place_rows(self, question: Question) -> None:
        task = self._domain(question.metric, question.columns, [])
        self._finish.append((question.asked, lambda: _checked(task, task.rows)))

    def place_values(self, question: Question) -> None:
        column = question.column
        task = self._domain(question.metric, question.columns, [column])
        empty = self._questions.empty[[column]]
        metric, needs = question.asked
        self._finish.append((question.asked, lambda: _checked(task, None) or aggregate(metric, needs, task.store, empty, self._engine)))

    def place_map(self, question: Question) -> None:
        """A metric about the rows of a condition, by the kind of the condition."""
        later = question.condition
        assert later is not None  # the table asked
        kind = later.metric.metric_name
        place = next((place for kinds, place in _OF_CONDITIONS if kind in kinds), None)
        # where pandas' index repeats, GX looks listed rows up by it, and finds them all
        if place is None or not question.counts_or_lists or (question.is_list and self._questions.index_repeats):
            self._whole.append(question.asked)
        else:
            place(self, question, later)

    def place_condition(self, question: Question, later: Later) -> None:
        condition = self._condition(later, question.columns)
        self._count_or_list(question, later, lambda: _count_of(condition, question.name))

    def place_duplicates(self, question: Question, later: Later) -> None:
        self._alone(later, question.columns)
        self._count_or_list(question, later, lambda: self._of_duplicates(later, question.name))

    def place_order(self, question: Question, later: Later) -> None:
        order = self._orders.get(later.metric.id)
        if order is None:
            group = [entry for entry in self._asked if entry[1].get("unexpected_condition") is later and _is_list(entry[0])]
            extra = {name for entry in group for name in listed_columns(entry[0], self._source)}
            order = InOrder(self._source, self._engine, later, group, sorted({*question.columns, *extra}))
            self._orders[later.metric.id] = order
        rows = order
        answer = (lambda: _listed(rows, question.metric)) if question.is_list else (lambda: _count_of(rows, question.name))
        self._finish.append((question.asked, answer))

    def _count_or_list(self, question: Question, later: Later, count: Callable[[], int]) -> None:
        if question.is_list:
            self._lists.setdefault(later.metric.id, []).append(question.asked)
            self._finish.append((question.asked, lambda: self._found(later, question.metric)))
        else:
            self._finish.append((question.asked, count))

    def _condition(self, later: Later, columns: list[str]) -> Condition:
        if later.metric.id not in self._conditions:
            known = self._questions.known
            found = None if known is None else known.condition(later, columns)
            self._conditions[later.metric.id] = found or Condition(later, columns)
        return self._conditions[later.metric.id]

    def place_moment(self, question: Question) -> None:
        key = question.metric.metric_domain_kwargs_id
        moments = self._moments.setdefault(key, Moments(self._source, self._engine, question.metric, question.columns))
        if question.name == "column.standard_deviation":
            moments.squares_wanted = True
        value = {"column.sum": moments.sum, "column.mean": moments.mean, "column.standard_deviation": moments.std}[question.name]
        self._finish.append((question.asked, lambda: _checked(moments, None) or value()))

    def _domain(self, metric: MetricConfiguration, columns: Sequence[str], keep: Sequence[str]) -> Domain:
        key = (metric.metric_domain_kwargs_id, tuple(keep))
        if key not in self._domains:
            self._domains[key] = Domain(metric, columns, keep, Store(self._questions.limit))
        return self._domains[key]

    def _alone(self, later: Later, columns: Sequence[str]) -> Domain:
        kwargs = later.metric.metric_domain_kwargs
        keep = [kwargs["column"]] if "column" in kwargs else list(dict.fromkeys(kwargs["column_list"]))
        return self._domain(later.metric, columns, keep)

    def _head(self, metric: MetricConfiguration, needs: dict[str, Any]) -> object:
        rows = metric.metric_value_kwargs.get("n_rows") or 5
        if metric.metric_value_kwargs.get("fetch_all") or rows < 0:
            rows = self._source.rows
        frames, have = [], 0
        for chunk in self._source.chunks([*self._source.columns, *self._source.index_columns()]):
            frames.append(self._source.frame(chunk.batch, start=chunk.start))
            have += len(frames[-1])
            if have >= rows:
                break
        frame = pd.concat(frames) if frames else self._source.empty()
        return Calls(self._engine, frame).value(metric, needs)

    def _read(self) -> None:
        by_columns = self._by_columns()

        def take(columns: tuple[str, ...], rows: Weighted) -> None:
            calls = Calls(self._engine, rows.frame)
            for task in by_columns[columns]:
                task.take(calls, rows)

        whole = self._whole_rows()
        rows: list[OfRows] = [*self._moments.values(), *self._orders.values(), *([whole] if whole else [])]
        if by_columns or rows:
            self._questions.count_distinct(list(by_columns), rows, take)
        for condition in self._conditions.values():
            condition.end()
        if whole is not None:
            calls = Calls(self._engine, whole.frame())
            for metric, needs in self._whole:
                self._settle(metric, functools.partial(self._of_whole, calls, metric, needs))
        self._find_rows()
        while pending := [task for task in [*self._moments.values(), *self._failing.values()] if not task.done]:
            self._questions.count_distinct([], pending, take)

    def _by_columns(self) -> dict[tuple[str, ...], list[OfDistinct]]:
        """The tasks that distinct rows answer, by the columns whose rows they are."""
        by_columns: dict[tuple[str, ...], list[OfDistinct]] = {}
        for task in self._conditions.values():
            if not task.known:
                by_columns.setdefault(task.columns, []).append(task)
        for domain in self._domains.values():
            by_columns.setdefault(domain.columns, []).append(domain)
        return by_columns

    def _whole_rows(self) -> Whole | None:
        """All rows of the columns that metrics want at once; None where none does."""
        columns = {name for metric, _ in self._whole for name in listed_columns(metric, self._source)}
        return Whole(self._source, sorted(columns)) if self._whole else None

    def _of_whole(self, calls: Calls, metric: MetricConfiguration, needs: dict[str, object]) -> Any:
        if metric.metric_name not in SCHEMA:
            return calls.value(metric, needs)
        try:
            calls.domain(metric.metric_domain_kwargs)  # only for what its row condition may raise
        except Exception as error:
            raise MetricFailure(metric, error) from error
        return self._questions.now(metric, needs)

    def _find_rows(self) -> None:
        """Plan to look for the rows that listing metrics want."""
        for asked in self._lists.values():
            later: Later = asked[0][1]["unexpected_condition"]
            hits = self._hits(later, asked)
            if hits is None:
                continue
            domain = domain_columns(later.metric, self._source.columns) or []
            columns = sorted({*domain, *(name for metric, _ in asked for name in listed_columns(metric, self._source))})
            task, mask, only = hits
            failing = Failing(self._source, self._engine, later, asked, columns, expected=task.unexpected, mask=mask, only=only)
            failing.start_at = self._source.start_of(task.first_chunk) if task.first_chunk else 0
            self._failing[later.metric.id] = failing

    def _hits(self, later: Later, asked: Sequence[Asked]) -> "_Hits | None":
        """Whose rows to look for, how to tell them, and the values that they have; None if the condition failed."""
        condition = self._conditions.get(later.metric.id)
        if condition is not None:
            return None if condition.failure is not None else (condition, None, condition.bad)
        domain = self._domains_of(later)
        if domain.failure is not None:
            return None
        duplicates, names = self._of(later), domain.keep
        return duplicates, lambda frame: duplicates.in_frame(frame, names), self._values_of(later, duplicates, asked)

    @staticmethod
    def _values_of(later: Later, duplicates: Duplicates, asked: Sequence[Asked]) -> list[Any] | None:
        """The values of a single column that occur more than once, where they are few or the first of them will do."""
        if "column" not in later.metric.metric_domain_kwargs or duplicates.rows is None or not _one_column(duplicates):
            return None
        values = duplicates.rows.iloc[:, 0].tolist()
        few = max(wanted(metric) for metric, _ in asked) <= REMEMBERED  # the first rows have the values that were seen first
        return values[:REMEMBERED] or None if few or len(values) <= REMEMBERED else None

    def _of(self, later: Later) -> Duplicates:
        if later.metric.id not in self._duplicates:
            domain = self._domains_of(later)
            self._duplicates[later.metric.id] = Duplicates(domain.store, skip_nulls="column" in later.metric.metric_domain_kwargs)
        return self._duplicates[later.metric.id]

    def _domains_of(self, later: Later) -> Domain:
        return self._alone(later, domain_columns(later.metric, self._source.columns) or [])

    def _of_duplicates(self, later: Later, name: str) -> int:
        _checked(self._domains_of(later), None)
        found = self._of(later)
        return found.filtered if name.endswith(FILTERED) else found.unexpected

    def _found(self, later: Later, metric: MetricConfiguration) -> object:
        condition = self._conditions.get(later.metric.id)
        if condition is not None:
            _checked(condition, None)
        else:
            _checked(self._domains_of(later), None)
        return _listed_rows(self._failing[later.metric.id], metric)


def _one_column(duplicates: Duplicates) -> bool:
    return duplicates.rows is not None and duplicates.rows.shape[1] == 1 and not duplicates.rows.iloc[:, 0].isna().any()


def _is_list(metric: MetricConfiguration) -> bool:
    return metric.metric_name.endswith(LISTS)


def _checked(task: Condition | Domain | Moments | InOrder, value: Any) -> Any:
    if task.failure is not None:
        raise task.failure
    return value


def _count_of(condition: Condition | InOrder, name: str) -> int:
    _checked(condition, None)
    if name.endswith(FILTERED) and isinstance(condition, Condition):
        return condition.filtered
    return condition.unexpected


def _listed(order: InOrder, metric: MetricConfiguration) -> object:
    _checked(order, None)
    return _listed_rows(order.rows, metric)


def _listed_rows(failing: Failing, metric: MetricConfiguration) -> object:
    for failure in failing.failures.values():
        if failure.metric.id == metric.id:
            raise failure
    return failing.result(metric)


def names_of(metrics: Iterable[MetricConfiguration]) -> list[str]:
    """The names of metrics, sorted: for the log."""
    return sorted(metric.metric_name for metric in metrics)


_Hits = tuple[Condition | Duplicates, Callable[[pd.DataFrame], npt.NDArray[np.bool_]] | None, list[Any] | None]

_Way = tuple[Callable[[_Round, Question], bool], Callable[[_Round, Question], None]]
_WAYS: tuple[_Way, ...] = (
    (lambda _, question: question.elsewhere, _Round.place_now),
    (lambda _, question: question.of_all_rows, _Round.place_all_rows),
    (lambda _, question: question.of_first_rows, _Round.place_first_rows),
    (lambda _, question: question.of_the_whole, _Round.place_whole),
    (lambda _, question: question.of_the_schema, _Round.place_schema),
    (_Round.is_known, _Round.place_known),
    (lambda _, question: question.of_some_rows, _Round.place_rows),
    (lambda _, question: question.condition is not None, _Round.place_map),
    (lambda _, question: question.of_moments, _Round.place_moment),
    (lambda _, question: question.of_distinct_values, _Round.place_values),
    (lambda _, __: True, _Round.place_whole),
)
"""Which questions are answered in which way; the first row that applies counts, so cheap ways stand first."""

_OF_CONDITIONS: tuple[tuple[set[str], Callable[[_Round, Question, Later], None]], ...] = (
    (ONE_ROW_AT_A_TIME, _Round.place_condition),
    (ALONE, _Round.place_duplicates),
    (IN_ORDER, _Round.place_order),
)
"""How the rows of a condition are counted and listed, by whether one row, the rows alike or the row before decide."""
