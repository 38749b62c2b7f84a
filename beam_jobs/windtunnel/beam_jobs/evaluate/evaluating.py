"""From references to an evaluation: plan the pass, run it, judge what it counted, write the report."""

import datetime as dt
import itertools
import json
import math
from collections.abc import Mapping
from typing import Any

import apache_beam as beam
import pyarrow as pa
from threadpoolctl import threadpool_limits

from windtunnel.beam_jobs.batches import RowGroup, open_parquet, row_groups
from windtunnel.beam_jobs.evaluate.baseline import with_baseline
from windtunnel.beam_jobs.evaluate.counting import Count, CountRows, Merge, Model, Plan
from windtunnel.beam_jobs.job import Progress, pipeline, reporting
from windtunnel.lifecycle.contract import problem as problems
from windtunnel.lifecycle.contract.errors import ConfigurationError, EmptyWindowError, IntegrityError
from windtunnel.lifecycle.contract.fingerprint import code_version, fingerprint
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import CandidateRef, EvaluationRef, SnapshotRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.artifacts import Stage, local_copy
from windtunnel.lifecycle.data.rows import DAY, newest_from
from windtunnel.lifecycle.judging.evaluation import conclude, unseen
from windtunnel.lifecycle.judging.explaining import explain
from windtunnel.lifecycle.judging.slices import Cuts, declared_slicings, searched_slicings
from windtunnel.lifecycle.judging.tallies import MAIN
from windtunnel.lifecycle.live.seen import seen_live
from windtunnel.lifecycle.model import bundle as bundles
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.lifecycle.record.champion import Champion, champion, judged_against
from windtunnel.lifecycle.record.ledger import Ledger

__all__ = ["evaluate", "run"]

_PARTS = (
    *("task", "label", "splits", "keys", "slices", "sensitive", "gates", "serving", "features", "kpi", "windows", "costs", "objectives"),
    *("baseline", "explanations"),
)

# None says that there is no champion, so the default needs a value of its own.
_NOW: Any = object()


def evaluate(
    problem: Problem,
    candidate: CandidateRef,
    snapshot: SnapshotRef,
    settings: Settings,
    progress: Progress,
    *,
    against: Champion | None = _NOW,
    uses: int | None = None,
    remember: bool = True,
) -> EvaluationRef:
    """Judge a candidate on the held-out rows of a snapshot, beside the champion and a simple baseline.

    The same candidate, champion and rows are not judged twice; each judgement is an entry in the ledger, which counts how often these
    rows were used.

    Args:
        problem: says what is judged and how.
        candidate: the trained model.
        snapshot: the rows; those of its window that are in the test split are judged by.
        settings: where things are.
        progress: counts the rows.
        against: the champion to compare with, for a replay; by default the one of this moment.
        uses: how many candidates these rows have judged, for a replay; by default the ledger counts.
        remember: whether the ledger is told; not for what only would have been.

    Raises:
        EmptyWindowError: no held-out row has a label, or all have the same.
        IntegrityError: the bundle is not what the reference says.
    """
    from windtunnel.lifecycle.data import pins

    present = champion(settings, problem.name) if against is _NOW else against
    if present is not None and present.fingerprint == candidate.fingerprint:
        # The champion itself, in another run for the same inputs: what it was judged against before is what it is judged against now.
        present = judged_against(settings, problem.name, present)
    identity = fingerprint(
        "evaluate",
        code_version(),
        candidate.digest,
        present.entry if present else None,
        (snapshot.fingerprint, snapshot.start, snapshot.end),
        problem.part_fingerprint(*_PARTS),
    )
    stage = Stage(settings, problem.name, "evaluate", identity)
    found = stage.result()
    if found is None:
        heldout = fingerprint(snapshot.fingerprint, snapshot.start, snapshot.end, problem.part_fingerprint("label", "splits", "keys"))
        times = _uses(settings, problem, heldout, identity) if uses is None else uses
        data = pins.files(settings, snapshot)
        count, plan, left_out = _pass(problem, candidate.uri, candidate.digest, present, data, snapshot, settings.to_dict(), progress)
        body = _conclude(problem, plan, count, present, times, left_out)
        body["unseen_live"] = unseen(count.domains, seen_live(settings, problem.name, plan.domains))
        body |= {"heldout": heldout, "snapshot": snapshot.to_dict(), "reference": candidate.to_dict(), "fingerprint": identity}
        found = _publish(stage, problem, body)
    evaluation = EvaluationRef.from_dict(found)
    if remember and Ledger.configured(settings):
        _remember(settings, problem, candidate, evaluation, present, snapshot)
    return evaluation


def run(spec: JsonObject, progress: Progress) -> JsonObject:
    """Evaluate a bundle over Parquet files, without a catalog or a ledger.

    Args:
        spec: ``problem`` (a path or its content), ``model`` (a bundle's folder), ``data`` (Parquet paths), ``output`` (a folder for
            evaluation.json and report.html); optional: ``champion`` (another bundle), ``end`` (the data cut-off), ``rows`` (``test``,
            the default, or ``all``), and where it runs (``runner``, ``runner_options``, ``workers``).
        progress: counts the rows.
    """
    for name in ("problem", "model", "data", "output"):
        if name not in spec:
            raise ConfigurationError(f"the spec of evaluate lacks {name!r}", hint="it needs problem, model, data and output")
    given = spec["problem"]
    problem = problems.load(given) if isinstance(given, str) else problems.parse(given)
    other = None
    if spec.get("champion"):
        other = Champion("given", "", "", str(spec["champion"]), "", MAIN[problem.task], None, "")
    end = str(spec.get("end") or dt.datetime.now(dt.UTC).date())
    snapshot = SnapshotRef("files", 0, "1970-01-01", end, 0, 0, fingerprint(spec["data"]))
    everything = spec.get("rows") == "all"
    count, plan, left_out = _pass(problem, spec["model"], None, other, spec["data"], snapshot, spec, progress, everything=everything)
    body = _conclude(problem, plan, count, other, 1, left_out)
    body |= {"snapshot": snapshot.to_dict(), "fingerprint": fingerprint(spec)}
    stage = Stage(Settings(artifacts=str(spec["output"])), problem.name, "evaluate", body["fingerprint"])
    return _publish(stage, problem, body)


def _pass(
    problem: Problem,
    uri: str,
    digest: str | None,
    present: Champion | None,
    data: Any,
    snapshot: SnapshotRef,
    where: Mapping[str, object],
    progress: Progress,
    *,
    everything: bool = False,
) -> tuple[Count, Plan, list[str]]:
    references = row_groups(data)
    with open_parquet(references[0].path) as file:
        schema: pa.Schema = file.schema_arrow
    models, left_out = [_model("candidate", uri, digest, schema)], list[str]()
    if present is not None:
        try:
            models.append(_model("champion", present.uri, present.digest or None, schema))
        # A champion that cannot be read any more must not keep its successor from being judged; the report says so.
        except (ConfigurationError, IntegrityError, OSError) as error:
            left_out.append(f"the champion, version {present.version}, could not be scored: {error}")
    plan = _plan(problem, tuple(models), schema, references, snapshot, everything=everything)
    plan, not_fitted = with_baseline(plan, references)
    left_out += not_fitted
    progress.total = progress.total or sum(reference.rows for reference in references)
    with reporting("evaluate", progress):
        found: list[Count] = []
        _run(plan, references, where, found)
    if not found or not found[0].heldout["candidate"].rows:
        rows, labelled = (found[0].rows, found[0].labelled) if found else (0, 0)
        raise EmptyWindowError(
            f"{problem.name}: no held-out row to judge by: {rows} rows, {labelled} of them with a label, none in the test split",
            hint="widen the window, or raise splits.test",
            rows=rows,
        )
    mine = found[0].heldout["candidate"]
    if not math.isfinite(mine.figures().get(MAIN[problem.task], math.nan)):
        raise EmptyWindowError(
            f"{problem.name}: {MAIN[problem.task]} cannot be computed: all {mine.rows} held-out rows have the same label",
            hint="widen the window, or raise splits.test",
        )
    return found[0], plan, left_out


def _conclude(problem: Problem, plan: Plan, count: Count, present: Champion | None, uses: int, left_out: list[str]) -> JsonObject:
    """Judge what was counted, with the explanations and figures that need the model itself."""
    candidate = plan.models[0]
    sample = count.sample.table()
    with local_copy(candidate.uri) as folder, threadpool_limits(limits=1):
        size = sum((folder / name).stat().st_size for name in candidate.bundle.files) / 1e6
        fitted = bundles.read_pipeline(folder)
        more, found = {"size_mb": size}, dict[str, Any]()
        if sample is not None:
            found = explain(problem, candidate.bundle, fitted, sample)
    return conclude(
        problem, plan.models, count, present, uses=uses, left_out=left_out, about=_about(problem, plan), explanations=found, more=more
    )


def _about(problem: Problem, plan: Plan) -> str:
    """The baseline in words."""
    if plan.baseline is not None:
        return plan.baseline.what
    return f"always the training rows' {'mean' if problem.task == 'regression' else 'shares of the classes'}"


def _run(plan: Plan, references: list[RowGroup], where: Mapping[str, object], found: list[Count]) -> None:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder, "count"))
        with pipeline(where) as flow:
            (
                flow
                | "references" >> beam.Create(list(enumerate(references)))
                | "spread" >> beam.Reshuffle()
                | "count" >> beam.ParDo(CountRows(plan))
                | "merge" >> beam.CombineGlobally(Merge(plan))
                | "keep" >> beam.Map(_keep, target)
            )
        found.append(_kept(target))


# Beam hands nothing back to whoever started a pipeline, so its one result goes by a file.
def _keep(count: Count, path: str) -> None:
    import pickle
    from pathlib import Path

    Path(path).write_bytes(pickle.dumps(count))


def _kept(path: str) -> Count:
    import pickle
    from pathlib import Path

    return pickle.loads(Path(path).read_bytes())  # noqa: S301 - written by our own step a moment ago, in a private folder


def _model(name: str, uri: str, digest: str | None, schema: pa.Schema) -> Model:
    with local_copy(uri) as folder:
        bundle = bundles.read(folder, digest)
    missing = [column.name for column in bundle.inputs if column.name not in schema.names]
    if missing:
        raise ConfigurationError(f"the model needs columns that the rows lack: {', '.join(missing)}", columns=missing)
    return Model(name, uri, bundle)


def _plan(
    problem: Problem, models: tuple[Model, ...], schema: pa.Schema, references: list[RowGroup], snapshot: SnapshotRef, *, everything: bool
) -> Plan:
    declared = declared_slicings(problem)
    features = [column for column in problem.features.columns if column in schema.names and column not in problem.features.text]
    sliced = list(dict.fromkeys([*itertools.chain(*declared), *features]))
    columns = _columns(problem, models, schema, sliced, everything=everything)
    sample = _sample(references, sliced)
    return Plan(
        problem=problem,
        models=models,
        columns=columns,
        dictionary=tuple(field.name for field in schema if field.name in columns and pa.types.is_string(field.type)),
        cuts=tuple(Cuts.of(column, sample.column(column)) for column in sample.column_names),
        declared=declared,
        searched=searched_slicings(features),
        domains=tuple(column for column in problem.features.categorical if column in columns),
        end=snapshot.end,
        newest=newest_from(problem, snapshot.end) if DAY in schema.names else None,
        everything=everything,
    )


def _columns(problem: Problem, models: tuple[Model, ...], schema: pa.Schema, sliced: list[str], *, everything: bool) -> tuple[str, ...]:
    """What the pass reads: what the models, the label, the split, the slices and the baseline need."""
    keys = [] if everything else problem.split_columns
    inputs = [column.name for model in models for column in model.bundle.inputs]
    days = [DAY] if DAY in schema.names else []
    columns = tuple(dict.fromkeys([*inputs, problem.label.column, *keys, *sliced, *problem.baseline.group, *days]))
    missing = [column for column in columns if column not in schema.names]
    if missing:
        raise ConfigurationError(f"the rows lack columns that judging needs: {', '.join(missing)}", columns=missing)
    return columns


def _sample(references: list[RowGroup], columns: list[str]) -> pa.Table:
    """Rows of the first, middle and last row group: enough to cut numbers at their fifths."""
    chosen = sorted({0, len(references) // 2, len(references) - 1})
    tables = []
    for index in chosen:
        with open_parquet(references[index].path) as file:
            tables.append(file.read_row_group(references[index].index, columns=columns).slice(0, 50_000))
    return pa.concat_tables(tables, promote_options="default")


def _publish(stage: Stage, problem: Problem, body: JsonObject) -> dict[str, object]:
    from windtunnel.lifecycle.pages.report import render

    metric = MAIN[problem.task]
    with stage.writing() as folder:
        # NaN is no JSON: browsers stop at it.
        (folder / "evaluation.json").write_text(json.dumps(body, sort_keys=True, indent=1, allow_nan=False), encoding="utf-8")
        (folder / "report.html").write_text(render(problem, body), encoding="utf-8")
        reference = EvaluationRef(
            uri=stage.uri,
            report=stage.path("report.html"),
            metric=metric,
            value=body["candidate"][metric],
            baseline=body["baseline_figures"].get(metric),
            champion=(body["champion_figures"] or {}).get(metric),
            passed=all(gate["passed"] for gate in body["gates"]),
            reasons=[f"{'passed' if gate['passed'] else 'FAILED'}: {gate['gate']}: {gate['reason']}" for gate in body["gates"]],
            fingerprint=body["fingerprint"],
        )
        stage.finish(folder, reference.to_dict())
    return stage.result() or reference.to_dict()


def _uses(settings: Settings, problem: Problem, heldout: str, identity: str) -> int:
    if not Ledger.configured(settings):
        return 1
    before = Ledger(settings).entries(problem, ("evaluation",))
    # The same judgement again is no further use of the rows.
    return 1 + len({entry.payload["candidate"] for entry in before if entry.payload.get("heldout") == heldout and entry.key != identity})


def _remember(
    settings: Settings,
    problem: Problem,
    candidate: CandidateRef,
    evaluation: EvaluationRef,
    present: Champion | None,
    snapshot: SnapshotRef,
) -> None:
    heldout = fingerprint(snapshot.fingerprint, snapshot.start, snapshot.end, problem.part_fingerprint("label", "splits", "keys"))
    payload = {
        "candidate": candidate.fingerprint,
        "cutoff": candidate.cutoff,
        "heldout": heldout,
        "metric": evaluation.metric,
        "value": evaluation.value,
        "baseline": evaluation.baseline,
        "champion": {"version": present.version, "value": evaluation.champion} if present else None,
        "passed": evaluation.passed,
        "reasons": evaluation.reasons,
        "uri": evaluation.uri,
        "report": evaluation.report,
        "snapshot": {"table": snapshot.table, "snapshot_id": snapshot.snapshot_id, "start": snapshot.start, "end": snapshot.end},
    }
    Ledger(settings).append(problem, "evaluation", payload, key=evaluation.fingerprint)
