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

from windtunnel.lifecycle.judging.tallies import GROUPS, MAIN, Tally, interval, tally
from windtunnel.lifecycle.problem import Problem

__all__ = ["COLUMNS", "Arm", "Live"]

COLUMNS = ("version", "route", "shadow", "prediction", "value", "probabilities", "label", "label_by", "known_on", "differs")
"""The columns of the feedback table that `Live` reads."""

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
        for entry in pc.value_counts(table["differs"]).to_pylist():
            for name in filter(None, (entry["values"] or "").split(",")):
                self.differs[name] += entry["counts"]
        place = (np.arange(table.num_rows) + self._seen).astype(np.uint64)
        self._seen += table.num_rows
        table = table.append_column("__group", pa.array(((place * _MIX) >> np.uint64(40)).astype(np.int64) % GROUPS))
        arms = table.select(["version", "route", "shadow"]).group_by(["version", "route", "shadow"]).aggregate([])
        for entry in arms.to_pylist():
            mask = np.ones(table.num_rows, dtype=bool)
            for name, value in entry.items():
                mask &= (
                    pc.is_null(table[name]) if value is None else pc.fill_null(pc.equal(table[name], value), fill_value=False)
                ).to_numpy()
            self._count(Arm(entry["version"] or "", entry["route"] or "", bool(entry["shadow"])), table.filter(pa.array(mask)))

    def _count(self, arm: Arm, table: pa.Table) -> None:
        task = self._problem.task
        self.rows[arm] += table.num_rows
        if task != "regression":
            same = pc.equal(table["prediction"], table["label"].cast(pa.string()))
            self.right[arm] += int(pc.sum(pc.fill_null(same, fill_value=False)).as_py() or 0)
        scored = table.filter(pc.is_valid(table["probabilities" if task == "multiclass" else "value"]))
        classes = self._classes.get(arm.version, self._problem.label.classes or [])
        if task == "multiclass" and not classes:
            return
        if scored.num_rows:
            truth = np.array(scored["label"].to_pylist(), dtype=object) if task == "multiclass" else scored["label"].to_numpy()
            answer = scored["value"].to_numpy().reshape(-1, 1)
            if task == "multiclass":
                answer = np.array([json.loads(text) for text in scored["probabilities"].to_pylist()], dtype=np.float64)
            found = self.tallies.setdefault(arm, tally(task, classes, self._problem.serving.threshold))
            found.add(truth, answer, scored["__group"].to_numpy())

    def figures(self, arm: Arm) -> dict[str, float]:
        """The metrics of an arm that are numbers."""
        found = {name: value for name, value in self._figures(arm).items() if math.isfinite(value)}
        if self._problem.task != "regression" and self.rows[arm]:
            found["accuracy"] = self.right[arm] / self.rows[arm]
        return found

    def _figures(self, arm: Arm) -> dict[str, float]:
        return self.tallies[arm].figures() if arm in self.tallies else {}

    def main(self, arms: Iterable[Arm]) -> tuple[str, float, float, float, int] | None:
        """The main metric of some arms together: name, value, its 95 % interval, rows; None where it cannot be told."""
        chosen = [self.tallies[arm] for arm in arms if arm in self.tallies]
        if not chosen:
            return None
        classes = next((self._classes[arm.version] for arm in arms if arm.version in self._classes), self._problem.label.classes or [])
        total: Tally = tally(self._problem.task, classes, self._problem.serving.threshold)
        for one in chosen:
            total.merge(one)
        name = MAIN[self._problem.task]
        value = total.figures().get(name, math.nan)
        if not math.isfinite(value):
            return None
        low, high = interval(total, name)
        return name, value, low, high, total.rows

    def shares(self) -> dict[str, float]:
        """Feature -> the share of rows that were sent with another value than the row has."""
        return {name: count / self.compared for name, count in self.differs.most_common()} if self.compared else {}
