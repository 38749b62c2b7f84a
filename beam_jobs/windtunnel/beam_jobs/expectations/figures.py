"""Counting what the checks beyond rows are about: labels, splits, days, and features that give the label away. One pass of its own."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.beam_jobs.expectations.engine.source import Source
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.data.rows import DAY, label_of, split_of
from windtunnel.lifecycle.quality.checks import Figures
from windtunnel.lifecycle.statistics.profiled import slice_name

__all__ = ["count_figures"]

_SAMPLE = 200_000  # rows that are looked at for leaks
_GROUPS = 500  # values of sensitive columns
_PER_VALUE = 20  # rows a distinct value, at least, for its label to say something


def _count_days(days: pa.Array, figures: Figures) -> None:
    for entry in pc.value_counts(days).to_pylist():
        if entry["values"] is not None:
            day = str(entry["values"])[:10]
            figures.days[day] = figures.days.get(day, 0) + entry["counts"]


def count_figures(problem: Problem, source: Source, end: str, progress: Callable[[int], None] | None = None) -> Figures:
    """Count a window.

    Args:
        problem: says what label and splits are.
        source: the rows.
        end: the day after the window's last, ISO.
        progress: told the rows of every chunk.
    """
    figures = Figures(rows=source.rows)
    days = DAY in source.columns
    keys = problem.split_columns
    splits = days if problem.splits.by == "time" else bool(keys)
    classes = problem.task != "regression"
    wanted = [problem.label.column, *(keys if splits else []), DAY, *problem.sensitive, *problem.features.columns]
    columns = [name for name in dict.fromkeys(wanted) if name in source.columns]
    if problem.label.column not in columns:
        return figures
    leaks = _Leaks(problem)
    for chunk in source.chunks(columns):
        if days:
            _count_days(chunk.batch.column(DAY), figures)
        if classes:
            _count_labels(problem, chunk.batch, end, figures, leaks, splits=splits and all(key in columns for key in keys))
        if progress is not None:
            progress(chunk.batch.num_rows)
    figures.purity = leaks.found()
    return figures


def _count_labels(problem: Problem, batch: pa.RecordBatch, end: str, figures: Figures, leaks: "_Leaks", *, splits: bool) -> None:
    label = label_of(problem, batch, end)
    known = pc.is_valid(label).to_numpy(zero_copy_only=False)
    figures.unlabelled += int((~known).sum())
    _add(figures.labels, label)
    if splits:
        test = split_of(problem, batch, end)
        _add(figures.test, label.filter(pa.array(test & known)))
        _add(figures.train, label.filter(pa.array(~test & known)))
        for name in problem.sensitive:
            if name in batch.schema.names:
                _count_groups(name, batch, label.filter(pa.array(known)), test, known, figures)
    leaks.look(batch, label, known)


def _count_groups(
    name: str, batch: pa.RecordBatch, label: pa.Array, test: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_], figures: Figures
) -> None:
    """Labels by split within each value of a sensitive column; of one with very many values only the first."""
    values = batch.column(name)
    values = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    rows = pd.DataFrame({"group": values.to_pandas()[known], "test": test[known]}).reset_index(drop=True)
    counts = rows.assign(label=label.cast(pa.string()).to_pandas()).value_counts(dropna=False).reset_index(name="rows")
    for value, tested, text, count in counts.itertuples(index=False):
        group = slice_name([name], [None if pd.isna(value) else value])
        if group in figures.groups or len(figures.groups) < _GROUPS:
            splits = figures.groups.setdefault(group, {"train": {}, "test": {}})
            part = splits["test" if tested else "train"]
            part[text] = part.get(text, 0) + int(count)


def _add(counts: dict[str, int], labels: pa.Array) -> None:
    for entry in pc.value_counts(labels).to_pylist():
        if entry["values"] is not None:
            counts[str(entry["values"])] = counts.get(str(entry["values"]), 0) + entry["counts"]


class _Leaks:
    """How surely a feature's value alone tells the label."""

    def __init__(self, problem: Problem) -> None:
        self._columns = problem.features.numeric + problem.features.categorical
        self._rows = 0
        self._held: dict[str, list[pd.DataFrame]] = {}

    def look(self, batch: pa.RecordBatch, label: pa.Array, known: npt.NDArray[np.bool_]) -> None:
        """The first rows only."""
        if self._rows >= _SAMPLE or not known.any():
            return
        self._rows += int(known.sum())
        codes = label.to_pandas()
        for name in self._columns:
            if name in batch.schema.names:
                values = batch.column(name)
                values = values.indices if pa.types.is_dictionary(values.type) else values
                counts = pd.DataFrame({"value": _plain(values, batch.column(name)), "label": codes})[known].value_counts(dropna=False)
                self._held.setdefault(name, []).append(counts.reset_index(name="count"))

    def found(self) -> dict[str, float]:
        """The share of labels that each feature tells, for those that tell more than the commonest label would."""
        answer = {}
        for name, parts in self._held.items():
            counts = pd.concat(parts).groupby(["value", "label"], dropna=False)["count"].sum()
            by_value = counts.groupby(level="value", dropna=False)
            total = int(counts.sum())
            commonest = counts.groupby(level="label").sum().max() / total
            # A column with nearly as many values as rows would tell every label by its values alone: there one threshold has to do it.
            told = _by_order(counts, total) if total < len(by_value) * _PER_VALUE else float(by_value.max().sum() / total)
            if told > commonest:
                answer[name] = told
        return answer


def _plain(values: pa.Array, column: pa.Array) -> pd.Series:
    """Values for grouping: text by itself, since codes differ from batch to batch."""
    return (column.dictionary_decode() if pa.types.is_dictionary(column.type) else values).to_pandas()


def _by_order(counts: pd.Series, total: int) -> float:
    """The share of labels that one threshold on a number with many values tells."""
    table = counts.unstack("label", fill_value=0)  # noqa: PD010 - a series has no pivot_table
    if table.shape[1] != 2 or not pd.api.types.is_numeric_dtype(table.index.dtype):  # two classes
        return 0.0
    table = table.sort_index()
    first, second = (np.concatenate([[0], np.cumsum(table.iloc[:, i].to_numpy())]) for i in (0, 1))
    split = first + (second[-1] - second)
    return float(max(split.max(), total - split.min()) / total)
