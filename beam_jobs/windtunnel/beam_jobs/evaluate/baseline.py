"""Reading what a baseline learns from: a bounded sample of the training rows, or the means of days."""

import dataclasses
import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.beam_jobs.batches import RowGroup, read_row_group
from windtunnel.beam_jobs.evaluate.counting import Plan
from windtunnel.lifecycle.contract.errors import DataError
from windtunnel.lifecycle.data.rows import DAY, label_of, split_of
from windtunnel.lifecycle.judging.baselines import CLOSED, Baseline, DayMeans, fit, kind_of

__all__ = ["with_baseline"]

_ROWS = 50_000
_GROUPS = 64


def with_baseline(plan: Plan, references: list[RowGroup]) -> tuple[Plan, list[str]]:
    """The plan with the problem's baseline fitted; and what could not be done, and why.

    Args:
        plan: what the pass counts.
        references: its row groups. At most 64 of them, spread evenly, give a sample of 50,000 rows; ``previous`` reads its three columns of
            all of them.
    """
    problem, kind = plan.problem, kind_of(plan.problem)
    if kind == CLOSED:
        return plan, []
    try:
        found: Baseline = _days(plan, references) if kind == "previous" else _sampled(plan, references)
    except DataError as error:
        instead = "mean" if problem.task == "regression" else "share of each class"
        return plan, [f"the baseline {kind!r} was not fitted, the {instead} stands in: {error.message}"]
    return dataclasses.replace(plan, baseline=found), []


def _sampled(plan: Plan, references: list[RowGroup]) -> Baseline:
    problem = plan.problem
    if plan.everything:
        raise DataError(f"all rows are judged, so the baseline {kind_of(problem)!r} has no training row to learn from")
    count = min(len(references), _GROUPS)
    chosen = sorted({round(index * (len(references) - 1) / max(count - 1, 1)) for index in range(count)})
    quota = math.ceil(_ROWS / max(len(chosen), 1))
    # The same sample each time: an evaluation is named by what went into it.
    rng = np.random.default_rng(0)
    parts = []
    for index in chosen:
        rows = pa.Table.from_batches(list(read_row_group(references[index], plan.columns, dictionary=plan.dictionary)))
        if not rows.num_rows:
            continue
        # Batches come with dictionaries of their own, and only one dictionary for all makes them one batch.
        rows = rows.unify_dictionaries().combine_chunks()
        batch = rows.to_batches()[0]
        keep = np.flatnonzero(
            pc.is_valid(label_of(problem, batch, plan.end)).to_numpy(zero_copy_only=False) & ~split_of(problem, batch, plan.end)
        )
        if len(keep) > quota:
            keep = np.sort(rng.choice(keep, quota, replace=False))
        parts.append(rows.take(pa.array(keep)))
    if not parts:
        raise DataError("there is no row at all")
    table = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
    label = label_of(problem, table, plan.end)
    label = label.combine_chunks() if isinstance(label, pa.ChunkedArray) else label
    return fit(problem, plan.models[0].bundle, table, label)


def _days(plan: Plan, references: list[RowGroup]) -> Baseline:
    problem = plan.problem
    if DAY not in plan.columns:
        raise DataError("the rows have no event date", hint="give the problem an event_time")
    means = DayMeans(problem.baseline.group)
    for reference in references:
        for batch in read_row_group(reference, (problem.label.column, DAY, *problem.baseline.group), dictionary=()):
            means.add(batch, label_of(problem, batch, plan.end))
    if not means.sums:
        raise DataError("no row has a label")
    return means.baseline(problem.label.delay_days)
