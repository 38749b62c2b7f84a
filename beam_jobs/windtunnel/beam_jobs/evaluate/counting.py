"""The pass over the rows: score each batch with every model, and add up what judging needs. Nothing here grows with rows."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue
from threadpoolctl import threadpool_limits

from windtunnel.beam_jobs.batches import RowGroup, read_row_group
from windtunnel.beam_jobs.job import progress_of
from windtunnel.lifecycle.contract.errors import DataError, UnsupportedError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.data.artifacts import local_copy
from windtunnel.lifecycle.data.frames import to_frame
from windtunnel.lifecycle.data.rows import DAY, label_of, split_of
from windtunnel.lifecycle.judging.baselines import Baseline
from windtunnel.lifecycle.judging.evaluation import needs_answers
from windtunnel.lifecycle.judging.explaining import TRUTH
from windtunnel.lifecycle.judging.sample import Sample
from windtunnel.lifecycle.judging.slices import Codes, Cuts, Slicing, cell_stats, encode
from windtunnel.lifecycle.judging.tallies import GROUPS, Tally, tally
from windtunnel.lifecycle.model import answers
from windtunnel.lifecycle.model import bundle as bundles
from windtunnel.lifecycle.model.bundle import Bundle
from windtunnel.lifecycle.payload import JsonMapping
from windtunnel.serving.base.values import InvalidInputError, from_arrow
from windtunnel.serving.compiler.compile import compile_pipeline

__all__ = ["Count", "CountRows", "Merge", "Model", "Plan"]

_DOMAIN = 5_000
_ENOUGH = 32_768  # rows that are scored at once
_EXPLAINED = 1_000
_KPI = 200_000
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclasses.dataclass(frozen=True)
class Model:
    """A model that takes part: its name here (candidate, champion) and its bundle."""

    name: str
    uri: str
    bundle: Bundle


@dataclasses.dataclass(frozen=True)
class Plan:
    """What one pass counts.

    Attributes:
        problem: says label and split.
        models: the candidate first.
        columns: what is read.
        dictionary: string columns, read as dictionaries.
        cuts: how columns become slices.
        declared: slicings with AUC, for every model.
        searched: slicings to look for weak spots in, for the candidate.
        domains: columns of which values are listed.
        end: the data cut-off, ISO.
        newest: rows from this day on (days since 1970) are also counted by themselves.
        everything: judge all labelled rows, not only the test split (data that was never trained on).
        baseline: a simple model that is scored too; None if its figures follow from counts.
    """

    problem: Problem
    models: tuple[Model, ...]
    columns: tuple[str, ...]
    dictionary: tuple[str, ...]
    cuts: tuple[Cuts, ...]
    declared: tuple[tuple[str, ...], ...]
    searched: tuple[tuple[str, ...], ...]
    domains: tuple[str, ...]
    end: str
    newest: int | None
    everything: bool = False
    baseline: Baseline | None = None

    @property
    def judged(self) -> list[str]:
        """The names of what is scored: the models, and the baseline where it needs scoring."""
        return [*(model.name for model in self.models), *(["baseline"] if self.baseline is not None else [])]


class Count:
    """All that a pass adds up; mergeable."""

    def __init__(self, plan: Plan) -> None:
        task = plan.problem.task
        self.rows = self.labelled = 0
        self.training: dict[Any, float] = {}  # label -> rows; for regression: n and sum
        self.heldout: dict[str, Tally] = {}
        self.newest: dict[str, Tally] = {}
        self.declared: dict[str, list[Slicing]] = {}
        bundles_of = {model.name: model.bundle for model in plan.models}
        for name in plan.judged:
            bundle = bundles_of.get(name, plan.models[0].bundle)
            for tallies in (self.heldout, self.newest):
                tallies[name] = tally(task, bundle.classes, bundle.threshold)
            self.declared[name] = [Slicing(columns, task, histogram=True) for columns in plan.declared]
        self.searched = [Slicing(columns, task) for columns in plan.searched]
        self.domains: dict[str, dict[str, list[int]]] = {column: {} for column in plan.domains}
        self.sample = Sample(_EXPLAINED)
        self.kpi: dict[str, Sample] = {}
        if needs_answers(plan.problem):
            self.kpi = {model.name: Sample(_KPI) for model in plan.models}

    def merge(self, other: "Count") -> None:
        """Take in another."""
        self.rows += other.rows
        self.labelled += other.labelled
        for label, rows in other.training.items():
            self.training[label] = self.training.get(label, 0) + rows
        for name in self.heldout:
            self.heldout[name].merge(other.heldout[name])
            self.newest[name].merge(other.newest[name])
            for mine, theirs in zip(self.declared[name], other.declared[name], strict=True):
                mine.merge(theirs)
        for mine, theirs in zip(self.searched, other.searched, strict=True):
            mine.merge(theirs)
        for column, values in other.domains.items():
            held = self.domains[column]
            for value, (all_rows, judged) in values.items():
                entry = held.setdefault(value, [0, 0])
                entry[0] += all_rows
                entry[1] += judged
        self.sample.merge(other.sample)
        for name, sample in self.kpi.items():
            sample.merge(other.kpi[name])


def _recent(plan: Plan, rows: pa.RecordBatch) -> Any:
    """Which rows are of the newest days; None where none is, or days do not matter."""
    if plan.newest is None or DAY not in rows.schema.names:
        return None
    recent = rows.column(DAY).cast(pa.int32()).to_numpy(zero_copy_only=False) >= plan.newest
    return recent if recent.any() else None


class CountRows(beam.DoFn):
    """References to row groups, with their place in the list -> one `Count` a bundle."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._count: Count | None = None
        self._scorers: dict[str, Callable[[pa.RecordBatch], np.ndarray]] = {}
        self._pending: list[tuple[pa.RecordBatch, np.ndarray]] = []
        self._waiting = 0

    def setup(self) -> None:
        """Load the models, once a worker; a worker is one process among many, so its numeric libraries get one thread."""
        threadpool_limits(limits=1)
        for model in self._plan.models:
            with local_copy(model.uri) as folder:
                self._scorers[model.name] = _scorer(model, self._plan.problem.task, bundles.read_pipeline(folder))

    def start_bundle(self) -> None:
        """Begin to count."""
        self._count = Count(self._plan)
        self._pending, self._waiting = [], 0

    def process(self, element: tuple[int, RowGroup]) -> Iterable[Count]:
        """Count the rows of a row group."""
        ordinal, reference = element
        offset = 0
        for batch in read_row_group(reference, self._plan.columns, dictionary=self._plan.dictionary):
            self._add(batch, ordinal, offset)
            offset += batch.num_rows
            progress_of("evaluate").add(batch.num_rows)
        return ()

    def finish_bundle(self) -> Iterable[object]:
        """Hand on what was counted."""
        self._judge()
        if self._count is not None and self._count.rows:
            # At the end of a bundle Beam has no element to take window and time from: they must be said.
            yield WindowedValue(self._count, GlobalWindow().max_timestamp(), [GlobalWindow()])
        self._count = None

    def _add(self, batch: pa.RecordBatch, ordinal: int, offset: int) -> None:
        plan, count = self._plan, self._count
        assert count is not None  # Beam calls start_bundle first
        label = label_of(plan.problem, batch, plan.end)
        labelled = pc.is_valid(label).to_numpy(zero_copy_only=False)
        judged = labelled if plan.everything else labelled & split_of(plan.problem, batch, plan.end)
        count.rows += batch.num_rows
        count.labelled += int(labelled.sum())
        _count_training(count, plan.problem, label.filter(pa.array(labelled & ~judged)))
        _count_domains(count, plan, batch, judged)
        if not judged.any():
            return
        # A row's place in the whole is the same whoever reads it: groups and samples do not depend on the runner.
        place = (np.flatnonzero(judged) + offset + (ordinal << 20)).astype(np.uint64)
        key = place * _MIX
        self._pending.append((batch.filter(pa.array(judged)), key))
        self._waiting += int(judged.sum())
        if self._waiting >= _ENOUGH:
            self._judge()

    def _judge(self) -> None:
        """Score the rows that were collected: small files would otherwise cost a call of the model each."""
        plan, count = self._plan, self._count
        if count is None or not self._pending:
            return
        table = pa.Table.from_batches([rows for rows, _ in self._pending]).unify_dictionaries().combine_chunks()
        key = np.concatenate([keys for _, keys in self._pending])
        self._pending, self._waiting = [], 0
        # The upper bits, as a product mixes upwards: neighbouring rows must not fall into the same groups.
        group = (key >> np.uint64(40)).astype(np.int64) % GROUPS
        rows = table.to_batches()[0]
        labels = label_of(plan.problem, rows)
        truth = np.array(labels.to_pylist(), dtype=object) if plan.problem.task == "multiclass" else labels.to_numpy(zero_copy_only=False)
        inputs = pa.Table.from_batches([rows.select(list(plan.models[0].bundle.dtypes))])
        count.sample.add(_scattered(key), _decoded(inputs).append_column(TRUTH, labels))
        codes = {cuts.column: encode(cuts, rows.column(cuts.column)) for cuts in plan.cuts}
        recent = _recent(plan, rows)
        for model in plan.models:
            answers = self._answer(model, rows)
            self._count_answers(count, model, codes, truth, answers, group, recent)
            if model.name in count.kpi:
                count.kpi[model.name].add(_scattered(key), _answered(plan, model, labels, answers))
        if plan.baseline is not None:
            baseline = dataclasses.replace(plan.models[0], name="baseline")
            self._count_answers(count, baseline, codes, truth, plan.baseline.scores(rows), group, recent)

    def _count_answers(
        self,
        count: Count,
        model: Model,
        codes: JsonMapping,
        truth: Any,
        answers: Any,
        group: Any,
        recent: Any,
    ) -> None:
        """Count a model's answers: all of them, those to the newest rows by themselves, and by slice."""
        count.heldout[model.name].add(truth, answers, group)
        if recent is not None:
            count.newest[model.name].add(truth[recent], answers[recent], group[recent])
        self._slice(count, model, codes, truth, answers)

    def _answer(self, model: Model, rows: pa.RecordBatch) -> np.ndarray:
        try:
            return self._scorers[model.name](rows)
        except (ValueError, TypeError, InvalidInputError) as error:
            raise DataError(
                f"the {model.name} cannot answer the held-out rows: {error}",
                hint="were the rows that it learnt from of the same kind? look at nulls and at the columns' types",
            ) from error

    def _slice(self, count: Count, model: Model, codes: Mapping[str, Codes], truth: np.ndarray, found: np.ndarray) -> None:
        searched: Sequence[Slicing] = count.searched if model.name == "candidate" else ()
        if not (count.declared[model.name] or searched):
            return
        stats = cell_stats(self._plan.problem.task, truth, found, model.bundle.threshold, model.bundle.classes)
        for slicing in (*count.declared[model.name], *searched):
            slicing.add(codes, stats)


class Merge(beam.CombineFn):
    """Counts into one."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def create_accumulator(self) -> Count:
        """Nothing counted."""
        return Count(self._plan)

    def add_input(self, mutable_accumulator: Count, element: Count) -> Count:
        """One more."""
        mutable_accumulator.merge(element)
        return mutable_accumulator

    def merge_accumulators(self, accumulators: Iterable[Count]) -> Count:
        """Several into one."""
        total = Count(self._plan)
        for count in accumulators:
            total.merge(count)
        return total

    def extract_output(self, accumulator: Count) -> Count:
        """As it is."""
        return accumulator


def _scorer(model: Model, task: str, pipeline: object) -> Callable[[pa.RecordBatch], np.ndarray]:
    """What scores a batch: the plan that will serve the model, or scikit-learn's own pipeline where it has none."""
    try:
        plan = compile_pipeline(pipeline, model.bundle)
    except UnsupportedError:
        return lambda rows: answers.scores(pipeline, task, to_frame(rows, model.bundle.dtypes))
    return lambda rows: plan.run(from_arrow(model.bundle.inputs, rows))


def _count_training(count: Count, problem: Problem, label: pa.Array) -> None:
    if not len(label):
        return
    if problem.task == "regression":
        for key, value in (("n", len(label)), ("sum", pc.sum(label).as_py())):
            count.training[key] = count.training.get(key, 0) + value
        return
    for entry in pc.value_counts(label).to_pylist():
        count.training[entry["values"]] = count.training.get(entry["values"], 0) + entry["counts"]


def _count_domains(count: Count, plan: Plan, batch: pa.RecordBatch, judged: np.ndarray) -> None:
    for column in plan.domains:
        coded = encode(Cuts(column), batch.column(column))
        size = len(coded.values)
        everywhere, tested = np.bincount(coded.codes, minlength=size), np.bincount(coded.codes[judged], minlength=size)
        held = count.domains[column]
        for index in np.flatnonzero(everywhere).tolist():
            value = coded.values[index]
            if value in held or len(held) < _DOMAIN:
                entry = held.setdefault(value, [0, 0])
                entry[0] += int(everywhere[index])
                entry[1] += int(tested[index])


def _scattered(key: np.ndarray) -> np.ndarray:
    """Keys whose order is as good as random (the finaliser of SplitMix64), for sampling."""
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


def _decoded(table: pa.Table) -> pa.Table:
    """Without dictionaries, which differ from batch to batch."""
    return table.cast(
        pa.schema([field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in table.schema])
    )


def _answered(plan: Plan, model: Model, truth: pa.Array, found: np.ndarray) -> pa.Table:
    said = answers.columns(plan.problem.task, model.bundle.classes, model.bundle.threshold, found)["prediction"]
    if plan.problem.task in {"binary", "anomaly"}:
        said = (found[:, -1] >= model.bundle.threshold).astype(np.int8)
    return pa.table({"truth": truth, "prediction": said})
