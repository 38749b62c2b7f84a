"""From metrics that GX asks for to passes over chunks, and back.

One pass answers everything that does not depend on another answer; a second one finds the rows that did not do and the standard
deviations. What distinct values answered is kept, so that later questions about the same columns need no pass at all.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from great_expectations.validator.metric_configuration import MetricConfiguration

from windtunnel.beam_jobs.expectations.engine.aggregates import OF_COUNTS, OF_THE_SET, aggregate
from windtunnel.beam_jobs.expectations.engine.calls import Calls, FrameEngine, Later, MetricFailure, domain_columns, mentions_index
from windtunnel.beam_jobs.expectations.engine.distinct import Counter, Limit, Store, Weighted
from windtunnel.beam_jobs.expectations.engine.kinds import ALONE, COUNT, FILTERED, IN_ORDER, LISTS, MOMENTS, ONE_ROW_AT_A_TIME, SCHEMA
from windtunnel.beam_jobs.expectations.engine.known import STATISTICS, Known
from windtunnel.beam_jobs.expectations.engine.moments import Moments
from windtunnel.beam_jobs.expectations.engine.source import Source, is_number
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

Asked = tuple[MetricConfiguration, dict[str, Any]]

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

    def answer(self, asked: Sequence[Asked]) -> tuple[dict[Any, Any], dict[Any, MetricFailure]]:
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
        counters = {columns: Counter(self.source, columns, self.limit) for columns in fresh}
        overflown = set()
        columns = {name for names in fresh for name in names} | {name for task in rows for name in task.columns}
        start = 0 if counters else min(task.start_at for task in rows)
        active = list(rows)
        self.passes += 1
        for chunk in self.source.chunks(sorted(columns), start_at=start):
            for names, counter in counters.items():
                if counter.add(chunk):
                    overflown.add(names)
                    self._hand_on(names, counter, take)
            active = [task for task in active if chunk.start + chunk.batch.num_rows <= task.start_at or not task.given(chunk)]
            if self._progress is not None:
                self._progress(chunk.batch.num_rows)
            if not active and not counters:
                break
        for task in rows:
            task.end_pass()
        for names, counter in counters.items():
            if names in overflown:
                self._hand_on(names, counter, take)
            else:
                found = counter.take() or _nothing(self.source, names)
                self._known[names] = found
                take(names, found)

    @staticmethod
    def _hand_on(names: tuple[str, ...], counter: Counter, take: Callable[..., None]) -> None:
        found = counter.take()
        if found is not None:
            take(names, found)


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
        self._answers: dict[Any, Any] = {}
        self._failures: dict[Any, MetricFailure] = {}
        self._conditions: dict[Any, Condition] = {}
        self._domains: dict[Any, Domain] = {}
        self._moments: dict[Any, Moments] = {}
        self._orders: dict[Any, InOrder] = {}
        self._lists: dict[Any, list[Asked]] = {}
        self._duplicates: dict[Any, Duplicates] = {}
        self._failing: dict[Any, Failing] = {}
        self._whole: list[Asked] = []
        self._finish: list[tuple[Asked, Callable[[], Any]]] = []

    def run(self) -> tuple[dict[Any, Any], dict[Any, MetricFailure]]:
        with contextlib.ExitStack() as stack:
            for metric, needs in self._asked:
                self._place(metric, needs)
            for domain in self._domains.values():
                stack.callback(domain.store.close)
            self._read()
            for asked, finish in self._finish:
                self._settle(asked[0], finish)
        return self._answers, self._failures

    def _settle(self, metric: MetricConfiguration, finish: Callable[[], Any]) -> None:
        try:
            self._answers[metric.id] = finish()
        except MetricFailure as failure:
            self._failures[failure.metric.id] = failure
        except Exception as error:  # noqa: BLE001 - GX would give up the whole suite: one metric fails instead, with its reason
            self._failures[metric.id] = MetricFailure(metric, error)

    def _place(self, metric: MetricConfiguration, needs: dict[str, Any]) -> None:
        """Say which task answers a metric."""
        name = metric.metric_name
        columns = domain_columns(metric, self._source.columns)
        asked = (metric, needs)
        if self._names_a_missing_column(metric) or metric.metric_domain_kwargs.get("table"):  # another table: GX's own error
            self._settle(metric, lambda: self._questions.now(metric, needs))
        elif name == "table.row_count" and not metric.metric_domain_kwargs.get("row_condition"):
            self._answers[metric.id] = self._source.rows
        elif name == "table.head" and not metric.metric_domain_kwargs.get("row_condition"):
            self._settle(metric, lambda: self._head(metric, needs))
        elif (
            not self._source.rows
            or not columns
            or mentions_index(metric, self._source.columns)
            or not set(columns) <= set(self._source.keyed)
        ):
            self._whole.append(asked)
        elif name in SCHEMA:
            seen = self._domain(metric, columns, [])
            self._finish.append((asked, lambda: _checked(seen, None) or self._questions.now(metric, needs)))
        elif self._reused(metric, needs, columns):
            pass
        elif name == "table.row_count":
            task = self._domain(metric, columns, [])
            self._finish.append((asked, lambda: _checked(task, task.rows)))
        elif isinstance(needs.get("unexpected_condition"), Later):
            self._place_map(metric, needs, columns)
        elif name in MOMENTS and is_number(self._source.dtypes[metric.metric_domain_kwargs["column"]]):
            self._place_moment(metric, needs, columns)
        elif name in OF_THE_SET or (name in OF_COUNTS and self._counts_do(metric)):
            column = metric.metric_domain_kwargs["column"]
            task = self._domain(metric, columns, [column])
            empty = self._questions.empty[[column]]
            self._finish.append((asked, lambda: _checked(task, None) or aggregate(metric, needs, task.store, empty, self._engine)))
        else:
            self._whole.append(asked)

    def _reused(self, metric: MetricConfiguration, needs: dict[str, Any], columns: list[str]) -> bool:
        """Whether statistics of the rows answer a metric."""
        known, name = self._questions.known, metric.metric_name
        if known is None or not (name in _REUSED or (name in OF_COUNTS and self._counts_do(metric))):
            return False
        found = known.value(metric, needs, columns, self._questions.empty)
        if found is not None:
            self._answers[metric.id] = found
        return found is not None

    def _place_map(self, metric: MetricConfiguration, needs: dict[str, Any], columns: list[str]) -> None:
        name = metric.metric_name
        later: Later = needs["unexpected_condition"]
        asked = (metric, needs)
        kind = later.metric.metric_name
        lists = name.endswith(LISTS)
        if not lists and not name.endswith((COUNT, FILTERED)):
            self._whole.append(asked)
            return
        if lists and self._questions.index_repeats:
            self._whole.append(asked)  # GX looks rows up by their index, and finds them all
            return
        if kind in ONE_ROW_AT_A_TIME:
            condition = self._condition(later, columns)
            if not lists:
                self._finish.append((asked, lambda: _count_of(condition, name)))
        elif kind in ALONE:
            self._alone(later, columns)
            if not lists:
                self._finish.append((asked, lambda: self._of_duplicates(later, name)))
        elif kind in IN_ORDER:
            order = self._orders.get(later.metric.id)
            if order is None:
                group = [entry for entry in self._asked if entry[1].get("unexpected_condition") is later and _is_list(entry[0])]
                extra = {name for entry in group for name in self._listed_columns(entry[0])}
                order = InOrder(self._source, self._engine, later, group, sorted({*columns, *extra}))
                self._orders[later.metric.id] = order
            found = order
            self._finish.append((asked, (lambda: _listed(found, metric)) if lists else (lambda: _count_of(found, name))))
            return
        else:
            self._whole.append(asked)
            return
        if lists:
            self._lists.setdefault(later.metric.id, []).append(asked)
            self._finish.append((asked, lambda: self._found(later, metric)))

    def _condition(self, later: Later, columns: list[str]) -> Condition:
        if later.metric.id not in self._conditions:
            known = self._questions.known
            found = None if known is None else known.condition(later, columns)
            self._conditions[later.metric.id] = found or Condition(later, columns)
        return self._conditions[later.metric.id]

    def _place_moment(self, metric: MetricConfiguration, needs: dict[str, Any], columns: list[str]) -> None:
        key = metric.metric_domain_kwargs_id
        moments = self._moments.setdefault(key, Moments(self._source, self._engine, metric, columns))
        if metric.metric_name == "column.standard_deviation":
            moments.squares_wanted = True
        value = {"column.sum": moments.sum, "column.mean": moments.mean, "column.standard_deviation": moments.std}[metric.metric_name]
        self._finish.append(((metric, needs), lambda: _checked(moments, None) or value()))

    def _counts_do(self, metric: MetricConfiguration) -> bool:
        """Whether the way by counts knows the column's type (and the method)."""
        dtype = self._source.dtypes[metric.metric_domain_kwargs["column"]]
        number = is_number(dtype) and dtype.kind != "b"
        if metric.metric_name == "column.outlier_statistics":
            return number and metric.metric_value_kwargs.get("method") == "iqr"
        if metric.metric_name == "column.histogram":
            return number and not isinstance(metric.metric_value_kwargs.get("bins"), int | str)
        if metric.metric_name in {"column.median", "column.quantile_values"}:
            return number
        return True

    def _domain(self, metric: MetricConfiguration, columns: Sequence[str], keep: Sequence[str]) -> Domain:
        key = (metric.metric_domain_kwargs_id, tuple(keep))
        if key not in self._domains:
            self._domains[key] = Domain(metric, columns, keep, Store(self._questions.limit))
        return self._domains[key]

    def _alone(self, later: Later, columns: Sequence[str]) -> Domain:
        kwargs = later.metric.metric_domain_kwargs
        keep = [kwargs["column"]] if "column" in kwargs else list(dict.fromkeys(kwargs["column_list"]))
        return self._domain(later.metric, columns, keep)

    def _names_a_missing_column(self, metric: MetricConfiguration) -> bool:
        kwargs = metric.metric_domain_kwargs
        named = [kwargs[key] for key in ("column", "column_A", "column_B") if kwargs.get(key) is not None]
        return any(name not in self._source.columns for name in [*named, *(kwargs.get("column_list") or [])])

    def _head(self, metric: MetricConfiguration, needs: dict[str, Any]) -> Any:
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
        conditions = [condition for condition in self._conditions.values() if not condition.known]
        tasks: list[OfDistinct] = [*conditions, *self._domains.values()]
        by_columns: dict[tuple[str, ...], list[OfDistinct]] = {}
        for task in tasks:
            by_columns.setdefault(task.columns, []).append(task)

        def take(columns: tuple[str, ...], rows: Weighted) -> None:
            calls = Calls(self._engine, rows.frame)
            for task in by_columns[columns]:
                task.take(calls, rows)

        whole_columns = {name for metric, _ in self._whole for name in self._listed_columns(metric)}
        whole = Whole(self._source, sorted(whole_columns)) if self._whole else None
        rows: list[OfRows] = [*self._moments.values(), *self._orders.values(), *([whole] if whole else [])]
        if by_columns or rows:
            self._questions.count_distinct(list(by_columns), rows, take)
        for condition in self._conditions.values():
            condition.end()
        if whole is not None:
            frame = whole.frame()
            calls = Calls(self._engine, frame)
            for metric, needs in self._whole:
                self._settle(metric, lambda metric=metric, needs=needs: self._of_whole(calls, metric, needs))  # type: ignore[misc]
        self._find_rows()
        while pending := [task for task in [*self._moments.values(), *self._failing.values()] if not task.done]:
            self._questions.count_distinct([], pending, take)

    def _of_whole(self, calls: Calls, metric: MetricConfiguration, needs: dict[str, Any]) -> Any:
        if metric.metric_name not in SCHEMA:
            return calls.value(metric, needs)
        try:
            calls.domain(metric.metric_domain_kwargs)  # only for what its row condition may raise
        except Exception as error:
            raise MetricFailure(metric, error) from error
        return self._questions.now(metric, needs)

    def _find_rows(self) -> None:
        for asked in self._lists.values():
            later: Later = asked[0][1]["unexpected_condition"]
            domain = domain_columns(later.metric, self._source.columns) or []
            columns = sorted({*domain, *(name for metric, _ in asked for name in self._listed_columns(metric))})
            mask = None
            condition: Condition | Duplicates
            if later.metric.id in self._conditions:
                condition = self._conditions[later.metric.id]
                only = condition.bad
            else:
                found = self._domains_of(later)
                if found.failure is not None:
                    continue
                condition = duplicates = self._of(later)
                names = found.keep
                mask = lambda frame, duplicates=duplicates, names=names: duplicates.in_frame(frame, names)  # noqa: E731
                single = "column" in later.metric.metric_domain_kwargs and _one_column(duplicates)
                few = max(wanted(metric) for metric, _ in asked) <= REMEMBERED  # the first rows have the values that were seen first
                known = duplicates.rows.iloc[:, 0].tolist() if single and duplicates.rows is not None else None
                only = known[:REMEMBERED] if known and (few or len(known) <= REMEMBERED) else None
            if isinstance(condition, Condition) and condition.failure is not None:
                continue
            failing = Failing(self._source, self._engine, later, asked, columns, expected=condition.unexpected, mask=mask, only=only)
            failing.start_at = (condition.first_chunk or 0) and self._source.start_of(condition.first_chunk or 0)
            self._failing[later.metric.id] = failing

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

    def _found(self, later: Later, metric: MetricConfiguration) -> Any:
        condition = self._conditions.get(later.metric.id)
        if condition is not None:
            _checked(condition, None)
        else:
            _checked(self._domains_of(later), None)
        return _listed_rows(self._failing[later.metric.id], metric)

    def _listed_columns(self, metric: MetricConfiguration) -> list[str]:
        """The columns that a metric's answer shows or needs, index columns included."""
        columns = domain_columns(metric, self._source.columns)
        form = metric.metric_value_kwargs.get("result_format") or {}
        if columns is None or metric.metric_name.endswith(".unexpected_rows") or mentions_index(metric, self._source.columns):
            return [*self._source.columns, *self._source.index_columns()]
        named = [name for name in form.get("unexpected_index_column_names") or [] if name in self._source.columns]
        return [*columns, *named, *self._source.index_columns()]


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


def _listed(order: InOrder, metric: MetricConfiguration) -> Any:
    _checked(order, None)
    return _listed_rows(order.rows, metric)


def _listed_rows(failing: Failing, metric: MetricConfiguration) -> Any:
    for failure in failing.failures.values():
        if failure.metric.id == metric.id:
            raise failure
    return failing.result(metric)


def names_of(metrics: Iterable[MetricConfiguration]) -> list[str]:
    """The names of metrics, sorted: for the log."""
    return sorted(metric.metric_name for metric in metrics)
