"""Profile: the statistics of a window, its drift from a reference, and a page that shows both.

Statistics are kept for each data file and merged, so a window of days that were profiled before costs milliseconds.

    python -m windtunnel.beam_jobs.profile --spec spec.json --result result.json

with a spec of ``{"problem": {...}, "snapshot": {...}, "settings": {...}, "reference": {...} or null}``.
"""

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence

import apache_beam as beam
import fsspec

from windtunnel.beam_jobs.job import Progress, main, pipeline, progress_of, reporting, spread
from windtunnel.beam_jobs.outcome import Outcomes, outcomes
from windtunnel.lifecycle.contract.fingerprint import code_version, fingerprint
from windtunnel.lifecycle.contract.problem import Problem, parse
from windtunnel.lifecycle.contract.references import SnapshotRef, StatisticsRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.artifacts import Stage, replace_file
from windtunnel.lifecycle.data.days import day_of
from windtunnel.lifecycle.data.pins import files
from windtunnel.lifecycle.data.rows import DAY, first_test_day, first_unknown_day, label_of
from windtunnel.lifecycle.data.sources.days import event_columns
from windtunnel.lifecycle.pages.eda import profile_page, split_warnings, warnings_of
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.lifecycle.quality.history import Recorder
from windtunnel.lifecycle.quality.readiness import assess, subject_of
from windtunnel.lifecycle.statistics import summarize
from windtunnel.lifecycle.statistics.association import associations
from windtunnel.lifecycle.statistics.drift import compare, label_shift
from windtunnel.lifecycle.statistics.profiled import Profiled
from windtunnel.lifecycle.statistics.scan import GroupTask, scan_groups, tasks_of
from windtunnel.lifecycle.statistics.stratification import stratified

__all__ = ["profile", "profile_files", "run"]

log = logging.getLogger("windtunnel.jobs.profile")

_PROTOCOL = 1
STATE = "statistics.arrow"


def profile(
    problem: Problem, snapshot: SnapshotRef, settings: Settings, progress: Progress, reference: StatisticsRef | None = None
) -> StatisticsRef:
    """Statistics of a snapshot's window.

    Args:
        problem: says which columns matter, what the label is, and the limits of drift.
        snapshot: the rows.
        settings: name the artifact root and the runner.
        progress: counts rows.
        reference: statistics of what is normal, such as the window that the champion learned from.

    Returns:
        where ``statistics.json``, ``statistics.arrow`` (to be merged and compared) and ``report.html`` are, and which columns drifted.
    """
    parts = problem.part_fingerprint(
        "columns", "features", "label", "sensitive", "slices", "splits", "keys", "limits", "task", "event_time"
    )
    against = reference.fingerprint if reference else ""
    key = fingerprint(_PROTOCOL, code_version(), snapshot.fingerprint, snapshot.start, snapshot.end, parts, against)
    stage = Stage(settings, problem.name, "profile", key)
    done = stage.result()
    if done is not None:
        return StatisticsRef.from_dict(done)
    found = _window(problem, snapshot, settings, progress)
    described = _describe(problem, snapshot, found, _reference(reference))
    drifted = described["drifted"]
    ref = StatisticsRef(stage.uri, stage.path("report.html"), found.table.rows, key, drifted)
    with stage.writing() as folder:
        (folder / "statistics.json").write_text(json.dumps(described, indent=1, allow_nan=False), encoding="utf-8")
        (folder / STATE).write_bytes(found.to_bytes())
        title = f"{problem.title or problem.name}: data of {snapshot.start} to {snapshot.end}"
        subtitle = f"{snapshot.table}, version {snapshot.snapshot_id}; {snapshot.quarantined:,} rows in quarantine"
        (folder / "report.html").write_text(profile_page(title, subtitle, described), encoding="utf-8")
        stage.finish(folder, ref.to_dict())
    return ref


def _window(problem: Problem, snapshot: SnapshotRef, settings: Settings, progress: Progress) -> Profiled:
    """The merged statistics of the window's files; those that are not kept yet are computed and kept."""
    paths = files(settings, snapshot)
    parts = problem.part_fingerprint("columns", "features", "label", "sensitive", "slices", "splits", "keys", "task")
    places = [
        settings.artifact_path(problem.name, "profile-files", f"{fingerprint(_PROTOCOL, code_version(), path, parts)}.arrow")
        for path in paths
    ]
    filesystem, _ = fsspec.core.url_to_fs(settings.need("artifacts"))
    lacking = [i for i, place in enumerate(places) if not filesystem.exists(place)]
    if lacking:
        computed = profile_files([paths[i] for i in lacking], settings, progress, problem)
        for i, state in zip(lacking, computed, strict=True):
            replace_file(places[i], state.to_bytes())
    whole, recorder = Profiled(), Recorder(settings, snapshot)
    first_test = first_test_day(problem, snapshot.end).isoformat() if problem.splits.by == "time" else ""
    for path, place in zip(paths, places, strict=True):
        part = Profiled.from_bytes(filesystem.cat_file(place))
        day = day_of(path)
        recorder.add(day, part.table)
        if first_test and day:
            part.splits = {"test" if day >= first_test else "train": part.table}
        whole.merge(part)
    recorder.finish()
    if problem.label.delay_days:
        whole.hide_labels(first_unknown_day(problem, snapshot.end).isoformat())
    return whole


def profile_files(
    paths: Sequence[str], settings: Settings, progress: Progress, problem: Problem | None = None, slices: Sequence[Sequence[str]] = ()
) -> list[Profiled]:
    """The statistics of each Parquet file, computed by a Beam pipeline over row groups.

    Raises:
        SourceFormatError: a file is damaged; says which and where.
    """
    tasks = tasks_of(paths)
    folder_settings = settings if settings.artifacts else dataclasses.replace(settings, artifacts=_scratch())
    name = problem.name if problem else "files"
    with outcomes(folder_settings, name, "profile") as results, reporting("profile", progress):
        with pipeline(settings.to_dict()) as p:
            step = _ProfileGroups(problem.model_dump(mode="json") if problem else None, [list(crossing) for crossing in slices], results)
            _ = p | spread(tasks, settings.to_dict()) | beam.ParDo(step)
        results.collect()
        whole = {path: Profiled() for path in paths}
        for task in tasks:
            whole[task.path].merge(Profiled.from_bytes(results.get_bytes(f"{task.number:08}.state")))
    return [whole[path] for path in paths]


def _scratch() -> str:
    import tempfile

    return tempfile.mkdtemp(prefix="windtunnel-")


class _ProfileGroups(beam.DoFn):
    """Reads row groups and keeps their statistics; run twice, it keeps the same ones."""

    def __init__(self, problem: JsonObject | None, slices: list[list[str]], results: Outcomes) -> None:
        self._problem, self._slices, self._results = problem, slices, results

    def process(self, element: GroupTask) -> None:
        """One task."""
        with self._results.reporting(f"{element.number:08}", element.path):
            state = profiled_for(parse(self._problem) if self._problem else None, self._slices)
            scan_groups(element, state, progress_of("profile").add)
            self._results.put_bytes(f"{element.number:08}.state", state.to_bytes())


def profiled_for(problem: Problem | None, slices: Sequence[Sequence[str]] = ()) -> Profiled:
    """Empty statistics that will look into what a problem asks for."""
    if problem is None:
        return Profiled(slices)
    return Profiled(problem.slices, list(dict.fromkeys([*problem.features.columns, problem.label.column])), problem, repeats=True)


def _reference(reference: StatisticsRef | None) -> Profiled | None:
    if reference is None:
        return None
    filesystem, path = fsspec.core.url_to_fs(f"{reference.uri}/{STATE}")
    return Profiled.from_bytes(filesystem.cat_file(path))


def _describe(problem: Problem, snapshot: SnapshotRef, found: Profiled, reference: Profiled | None) -> JsonObject:
    """Everything that ``statistics.json`` says."""
    summary = summarize(found.table)
    sample = found.table.sample.table
    labels = label_of(problem, sample, snapshot.end) if problem.label.column in sample.schema.names else None
    asked = [name for name in problem.columns if name != problem.label.column]
    association = associations(sample, asked, labels) if labels is not None else {}
    proxies = {name: associations(sample, [f for f in problem.features.columns if f != name], name) for name in problem.sensitive}
    first_test = first_test_day(problem, snapshot.end).isoformat() if problem.splits.by == "time" else ""
    labels_by_split = found.label_counts(first_test)
    balances = stratified(labels_by_split, found.group_counts(first_test), problem.limits.split_shift)
    described: JsonObject = {
        **summary,
        "problem": problem.name,
        "snapshot": snapshot.to_dict(),
        "label": problem.label.column,
        "labels": labels_by_split,
        "stratification": [entry.to_dict() for entry in balances],
        "splits": {name: summarize(statistics) for name, statistics in found.splits.items()},
        "unlabelled": found.unlabelled(),
        "association": association,
        "association_rows": sample.num_rows,
        "proxies": proxies,
        "slices": {name: summarize(statistics) for name, statistics in found.slices.items()},
        "drifted": [],
    }
    described["readiness"] = assess(subject_of(found, problem, end=snapshot.end)).to_dict()
    if reference is not None:
        described |= _drift(problem, found, reference)
    features = [name for name in association if name in problem.features.columns]
    flagged = {name: association[name] for name in features}
    described["warnings"] = [*split_warnings(problem.label.column, balances), *warnings_of(summary, flagged, proxies, described["drifted"])]
    return described


def _drift(problem: Problem, found: Profiled, reference: Profiled) -> dict[str, object]:
    ignored = {DAY, *event_columns(problem)} - set(problem.features.columns)
    drift = compare(reference.table, found.table, limit=problem.limits.drift, ignore=ignored)
    watched = {*problem.features.columns, *problem.sensitive}
    drifted = [name for name in drift["drifted"] if name in watched]
    answer: JsonObject = {"drift": drift, "drifted": drifted}
    if problem.task == "regression":
        if problem.label.column in drift["drifted"]:
            drifted.append(problem.label.column)
        return answer
    before, after = (_all_labels(part.label_counts()) for part in (reference, found))
    answer["label_shift"] = label_shift(before, after, problem.limits.label_shift)
    if answer["label_shift"]["shifted"]:
        drifted.append(problem.label.column)
    return answer


def _all_labels(counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for entry in counts.values():
        for label, count in entry.items():
            total[label] = total.get(label, 0) + count
    return total


def run(spec: JsonObject, progress: Progress) -> JsonObject:
    """The job: problem, snapshot, settings and perhaps a reference in, a statistics reference out."""
    reference = StatisticsRef.from_dict(spec["reference"]) if spec.get("reference") else None
    snapshot = SnapshotRef.from_dict(spec["snapshot"])
    return profile(parse(spec["problem"]), snapshot, Settings.from_mapping(spec["settings"]), progress, reference).to_dict()


if __name__ == "__main__":
    main(run)
