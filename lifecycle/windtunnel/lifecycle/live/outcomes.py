"""How a live model turns out: metrics of predictions whose truth is known, by version and route, added up batch by batch."""

import collections
import dataclasses
import datetime as dt
import json
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.data.predictions import answers_of
from windtunnel.lifecycle.judging.sample import Sample
from windtunnel.lifecycle.judging.tallies import GROUPS, MAIN, Spread, Tally, tally
from windtunnel.lifecycle.payload import JsonMapping

__all__ = ["COLUMNS", "Arm", "Live", "Outcome"]

COLUMNS = ("version", "route", "shadow", "prediction", "value", "probabilities", "label", "label_by", "known_on", "differs")
"""The columns of the feedback table that `Live` reads."""

_KPI = 100_000
"""Answers that a KPI function sees at most: a uniform sample beyond."""

_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclasses.dataclass(frozen=True, order=True)
class Arm:
    """Who answered: a version, by a route; in the shadow its answers were not shown."""

    version: str
    route: str
    shadow: bool


class Live:
    """Adds up rows of the feedback table; its size does not grow with them.

    Args:
        problem: says the task.
        classes: the class names of a version, in the order of its probabilities: of multiclass models.
        until: rows whose truth became known on or after this day are left out; None for none.
    """

    def __init__(self, problem: Problem, classes: Mapping[str, Sequence[str]] | None = None, until: dt.date | None = None) -> None:
        self._problem, self._until = problem, until
        self._classes = dict(classes or {})
        self.tallies: dict[Arm, Tally] = {}
        self.rows: collections.Counter[Arm] = collections.Counter()
        self.right: collections.Counter[Arm] = collections.Counter()
        self.differs: collections.Counter[str] = collections.Counter()
        self._kept: dict[Arm, Sample] = {}
        self.compared = self.corrected = self._seen = 0

    def add(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Count rows."""
        table = pa.table({name: rows.column(name) for name in COLUMNS})
        if self._until is not None:
            table = table.filter(pc.less(table["known_on"], pa.scalar(self._until, pa.date32())))
        if not table.num_rows:
            return
        self.corrected += table.num_rows - table["label_by"].null_count
        self.compared += table.num_rows - table["differs"].null_count
        self._count_differences(table["differs"])
        place = (np.arange(table.num_rows) + self._seen).astype(np.uint64)
        self._seen += table.num_rows
        # The group by the high bits: multiplying mixes the low ones least.
        table = table.append_column("__place", pa.array(place)).append_column(
            "__group", pa.array(((place * _MIX) >> np.uint64(40)).astype(np.int64) % GROUPS)
        )
        arms = table.select(["version", "route", "shadow"]).group_by(["version", "route", "shadow"]).aggregate([])
        for entry in arms.to_pylist():
            arm = Arm(entry["version"] or "", entry["route"] or "", bool(entry["shadow"]))
            self._count(arm, table.filter(_equal(table, entry)))

    def _count_differences(self, differs: pa.ChunkedArray) -> None:
        """Count the features that answers were given for with other values than the rows have."""
        for entry in pc.value_counts(differs).to_pylist():
            for name in filter(None, (entry["values"] or "").split(",")):
                self.differs[name] += entry["counts"]

    def _count(self, arm: Arm, table: pa.Table) -> None:
        task = self._problem.task
        self.rows[arm] += table.num_rows
        if task != "regression":
            same = pc.equal(table["prediction"], table["label"].cast(pa.string()))
            self.right[arm] += int(pc.sum(pc.fill_null(same, fill_value=False)).as_py() or 0)
        self._keep(arm, table)
        classes = self._classes_of(arm)
        if task == "multiclass":
            scored, answer = _with_probabilities(table, len(classes))
            truth = np.array(scored["label"].to_pylist(), dtype=object)
        else:
            scored = table.filter(pc.is_valid(table["value"]))
            answer, truth = scored["value"].to_numpy().reshape(-1, 1), scored["label"].to_numpy()
        if not scored.num_rows:
            return
        finite = np.isfinite(answer).all(axis=1)  # a model that answered NaN was wrong, but has no place on a curve
        found = self.tallies.setdefault(arm, tally(task, classes, self._problem.serving.threshold))
        found.add(truth[finite], answer[finite], scored["__group"].to_numpy()[finite])

    def _keep(self, arm: Arm, table: pa.Table) -> None:
        """A sample of truth and prediction, for a KPI function of the team's own."""
        if self._problem.kpi is None or self._problem.kpi.function is None:
            return
        rows = pa.table({"truth": table["label"], "prediction": answers_of(self._problem.task, table)})
        keys = table["__place"].to_numpy() * _MIX
        self._kept.setdefault(arm, Sample(_KPI)).add(keys ^ (keys >> np.uint64(31)), rows)

    def outcome(self, arms: Iterable[Arm]) -> "Outcome | None":
        """What some arms together were worth; None without a row whose answer can be judged."""
        chosen = [arm for arm in arms if self.rows[arm]]
        rows = sum(self.rows[arm] for arm in chosen)
        if not rows:
            return None
        name = MAIN[self._problem.task]
        figures: dict[str, float] = {}
        bounds = None
        total = self._total(chosen)
        if total is not None:
            figures |= total.figures()
            bounds = _finite(Spread.of(total).interval(name))
        if self._problem.task != "regression":
            # Of all rows: answers without a score are not in the tallies, and were right or wrong all the same.
            figures["accuracy"] = sum(self.right[arm] for arm in chosen) / rows
        figures |= self._kpi(chosen)
        known = {key: float(value) for key, value in figures.items() if math.isfinite(value)}
        return Outcome(name, rows, known, bounds)

    def _total(self, arms: Sequence[Arm]) -> Tally | None:
        """The tallies of arms together; None if none has scored rows.

        Versions that know other classes cannot be added up: those like the one with the most answers are.
        """
        counted = [arm for arm in sorted(arms, key=lambda arm: -self.rows[arm]) if arm in self.tallies]
        if not counted:
            return None
        classes = self._classes_of(counted[0])
        total: Tally = tally(self._problem.task, classes, self._problem.serving.threshold)
        for arm in counted:
            if list(self._classes_of(arm)) == list(classes):
                total.merge(self.tallies[arm])
        return total

    def _kpi(self, arms: Sequence[Arm]) -> dict[str, float]:
        from windtunnel.lifecycle.contract.naming import imported

        kpi = self._problem.kpi
        sample = Sample(_KPI)
        for arm in arms:
            sample.merge(self._kept.get(arm, Sample(_KPI)))
        rows = sample.table()
        if kpi is None or kpi.function is None or rows is None:
            return {}
        return {
            "kpi": float(
                imported(kpi.function, "kpi.function", self._problem.directory)(rows["truth"].to_numpy(), rows["prediction"].to_numpy())
            )
        }

    def _classes_of(self, arm: Arm) -> Sequence[str]:
        return self._classes.get(arm.version, self._problem.label.classes or [])

    def shares(self) -> dict[str, float]:
        """Feature -> the share of rows that were sent with another value than the row has."""
        return {name: count / self.compared for name, count in self.differs.most_common()} if self.compared else {}


def _finite(bounds: tuple[float, float]) -> tuple[float, float] | None:
    return bounds if all(map(math.isfinite, bounds)) else None


def _equal(table: pa.Table, values: JsonMapping) -> pa.Array:
    """Which rows have these values; null is a value."""
    mask = np.ones(table.num_rows, dtype=bool)
    for name, value in values.items():
        same = pc.is_null(table[name]) if value is None else pc.fill_null(pc.equal(table[name], value), fill_value=False)
        mask &= same.to_numpy()
    return pa.array(mask)


def _with_probabilities(table: pa.Table, classes: int) -> tuple[pa.Table, np.ndarray]:
    """The rows that were answered with a probability for each class, and those; none where no classes are known."""
    scored = table.filter(pc.is_valid(table["probabilities"])) if classes else table.slice(0, 0)
    lists = [json.loads(text) for text in scored["probabilities"].to_pylist()]
    fits = [isinstance(entry, list) and len(entry) == classes for entry in lists]
    answers = [entry for entry, fit in zip(lists, fits, strict=True) if fit]
    return scored.filter(pa.array(fits, pa.bool_())), np.array(answers, dtype=np.float64)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What answers were worth.

    Attributes:
        metric: the main metric's name.
        rows: answers with a known truth.
        figures: every metric that is a number; ``kpi`` among them where the problem has a function for it.
        interval: the 95 % interval of the main metric, where there are rows enough for one.
    """

    metric: str
    rows: int
    figures: dict[str, float]
    interval: tuple[float, float] | None

    @property
    def value(self) -> float | None:
        """The main metric, or None where it cannot be told."""
        return self.figures.get(self.metric)
