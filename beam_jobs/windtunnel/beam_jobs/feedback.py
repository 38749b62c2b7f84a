"""Feedback: predictions meet the truth that came later, and the labels that people gave.

The days of answers are spread over workers; a day's answers are read batch by batch and looked up, by the problem's keys, in the examples
of the day that each row says it belongs to. Of examples only the keys, label and features of a few days are held at a time, so memory goes
with a day's examples and not with the rows of the window, which is why no shuffle by key is needed. What was joined becomes the content of
``<problem>.feedback``, one file a day of answers in one commit; it depends only on what the tables hold, so a retry, a backfill and two
runs at once leave the same.

    python -m windtunnel.beam_jobs.feedback --spec spec.json --result result.json

with a spec of ``{"problem": {...}, "window": {"start": ..., "end": ...}, "settings": {...}}``.
"""

import collections
import dataclasses
import datetime as dt
import functools
import json
import logging
from collections.abc import Iterator, Sequence

import apache_beam as beam
import pyarrow as pa

from windtunnel.beam_jobs.job import Progress, main, pipeline, progress_of, reporting
from windtunnel.beam_jobs.outcome import Outcomes, outcomes
from windtunnel.lifecycle.contract.errors import JobError
from windtunnel.lifecycle.contract.fingerprint import code_version, fingerprint
from windtunnel.lifecycle.contract.problem import Problem, parse
from windtunnel.lifecycle.contract.references import FeedbackRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.artifacts import Stage, read_text
from windtunnel.lifecycle.data.days import DayFile, content_fingerprint, day_files, day_path, replace_days
from windtunnel.lifecycle.data.parquet import batches, write_file
from windtunnel.lifecycle.data.tables import existing, open_table, table_name
from windtunnel.lifecycle.live.collecting import collect
from windtunnel.lifecycle.live.feedback import Truth, add_labels, feedback_schema, horizon, join, truth_columns
from windtunnel.lifecycle.live.joined import feedback_report, figures_of, outcomes_of
from windtunnel.lifecycle.live.labels import labels_schema
from windtunnel.lifecycle.pages.feedback import render
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.lifecycle.record.champion import champion
from windtunnel.lifecycle.release.rewards import tell_server

__all__ = ["add_labels", "feedback", "run"]

log = logging.getLogger("windtunnel.jobs.feedback")

_PARTS = ("keys", "columns", "label", "features", "event_time", "task", "serving", "sensitive")
_HELD = 4
"""Days of examples that a worker holds at a time."""


@dataclasses.dataclass(frozen=True)
class _Task:
    """One day of answers."""

    day: str
    files: tuple[DayFile, ...]


def feedback(problem: Problem, window: Window, settings: Settings, progress: Progress) -> FeedbackRef:
    """Join the predictions of a window with what is known by its end.

    The answers looked at are those from ``label.delay_days`` before the window on, so that each is looked at once its truth is due. At the
    end of a closed history (``windows.history_end``) answers and labels given since count as well.

    Args:
        problem: names keys, label and delay.
        window: its end is the data cut-off: what became known later waits.
        settings: name the catalog and where reports go.
        progress: counts answers.

    Where the model server compares arms of the problem, it is told what their answers turned out to be worth.

    Raises:
        SchemaMismatchError: the problem's columns no longer fit the table of feedback.
        UnavailableError: the catalog is out of reach.
    """
    collect(problem, settings)
    until = horizon(problem, window)
    since = window.start - dt.timedelta(days=problem.label.delay_days)
    names = {kind: table_name(problem, kind) for kind in ("predictions", "examples", "labels", "feedback")}
    tables = {kind: existing(settings, name) for kind, name in names.items()}
    answers, examples, labels, done = (
        [] if table is None else day_files(table, *((since, until) if kind in {"predictions", "feedback"} else (None, None)))
        for kind, table in tables.items()
    )
    known = [content_fingerprint(found) for found in (answers, examples, labels)]
    name = fingerprint("feedback", code_version(), problem.part_fingerprint(*_PARTS), since, until, known)
    stage = Stage(settings, problem.name, "feedback", name)
    found = stage.result()
    # A report may be kept of a table that was changed or restored since: then days are joined again.
    if found is None or json.loads(read_text(stage.path("feedback.json")))["content"] != content_fingerprint(done):
        tasks = [_Task(day, tuple(files)) for day, files in _by_day(answers).items()] if problem.keys else []
        days: list[JsonObject] = []
        if tasks or done:
            table = open_table(settings, names["feedback"], feedback_schema(problem))
            step = _JoinDay(problem, examples, labels, day_path(table, "{day}", "{digest}", 0), until)
            days = _run(problem, step, tasks, settings, progress)
            replace_days(settings, names["feedback"], _contents(done, days), {"windtunnel.feedback": name})
            done = day_files(table.refresh(), since, until)
        live, present = outcomes_of(problem, settings, done, until), champion(settings, problem.name)
        report = feedback_report(problem, window, live, days, sum(entry.rows for entry in answers), present)
        report |= {"table": names["feedback"], "content": content_fingerprint(done)}
        found = _publish(stage, problem, report, figures_of(report, live, present), names["feedback"], name)
    tell_server(problem, settings, until)
    return FeedbackRef.from_dict(found)


def _contents(before: Sequence[DayFile], days: Sequence[JsonMapping]) -> dict[str, list[str]]:
    """The files of each day from now on; a day that had rows and has none any more becomes empty."""
    contents: dict[str, list[str]] = {entry.day: [] for entry in before}
    return contents | {entry["day"]: [entry["path"]] for entry in days if entry["rows"]}


def _by_day(files: Sequence[DayFile]) -> dict[str, list[DayFile]]:
    found: dict[str, list[DayFile]] = {}
    for entry in files:
        if entry.rows:
            found.setdefault(entry.day, []).append(entry)
    return found


class _JoinDay(beam.DoFn):
    """Joins one day of answers and writes its file; run twice, it leaves the same file."""

    def __init__(
        self, problem: Problem, examples: Sequence[DayFile], labels: Sequence[DayFile], target: str, until: dt.date | None
    ) -> None:
        self._problem = problem.model_dump(mode="json")
        self._examples, self._labels, self._target, self._until = (
            _by_day(examples),
            [entry for entry in labels if entry.rows],
            target,
            until,
        )
        self.results: Outcomes | None = None

    def process(self, element: _Task) -> None:
        """One day."""
        assert self.results is not None  # set before the pipeline is made
        with self.results.reporting(element.day, f"the answers of {element.day}"):
            self.results.put(element.day, self._day(element))

    def _day(self, task: _Task) -> JsonObject:
        problem, schema = parse(self._problem), feedback_schema(parse(self._problem))
        used: dict[str, list[str]] = {"answers": [entry.digest for entry in task.files], "labels": []}
        reasons: collections.Counter[str] = collections.Counter()
        seen = 0

        @functools.lru_cache(_HELD)
        def truth_of(day: dt.date) -> Truth | None:
            files = self._examples.get(day.isoformat())
            used[day.isoformat()] = [entry.digest for entry in files or []]
            return Truth(problem, day, batches([entry.path for entry in files], truth_columns(problem))) if files else None

        def people(keys: pa.Table) -> pa.Table | None:
            return self._people(problem, keys, used["labels"])

        def joined() -> Iterator[pa.Table]:
            nonlocal seen
            for batch in batches([entry.path for entry in task.files]):
                part, why = join(problem, batch, truth_of, people, until=self._until)
                reasons.update(why)
                seen += batch.num_rows
                progress_of("feedback").add(batch.num_rows)
                if part.num_rows:
                    yield part

        def path() -> str:
            digest = fingerprint("feedback", code_version(), problem.part_fingerprint(*_PARTS), used)
            return self._target.replace("{day}", task.day).replace("{digest}", digest)

        folder = self._target.rpartition("/")[0].replace("{day}", task.day)
        written, rows = write_file(folder, joined(), schema, path)
        return {"day": task.day, "answers": seen, "path": written, "rows": rows, "waiting": dict(reasons)}

    def _people(self, problem: Problem, keys: pa.Table, used: list[str]) -> pa.Table | None:
        wanted, found = keys.group_by(problem.keys).aggregate([]), []
        for entry in self._labels:
            for batch in batches([entry.path]):
                table = pa.Table.from_batches([batch]).select(labels_schema(problem).names).cast(labels_schema(problem))
                mine = table.join(wanted, keys=problem.keys, join_type="left semi")
                if mine.num_rows:
                    found.append(mine)
                    used.append(entry.digest) if entry.digest not in used else None
        return pa.concat_tables(found) if found else None


def _run(problem: Problem, step: _JoinDay, tasks: Sequence[_Task], settings: Settings, progress: Progress) -> list[JsonObject]:
    if not tasks:
        return []
    progress.total = progress.total or sum(entry.rows for task in tasks for entry in task.files)
    with outcomes(settings, problem.name, "feedback") as results, reporting("feedback", progress):
        step.results = results
        with pipeline(settings.to_dict()) as flow:
            _ = flow | beam.Create(tasks) | beam.Reshuffle() | beam.ParDo(step)
        found = results.collect()
    # A day that a runner lost would look like one without answers.
    if len(found) != len(tasks):
        raise JobError(f"{len(tasks)} days of answers were given out but {len(found)} came back", hint="run it again")
    return found


def _publish(stage: Stage, problem: Problem, report: JsonObject, figures: dict[str, float], table: str, name: str) -> JsonObject:
    reference = FeedbackRef(
        report=stage.path("feedback.html"),
        table=table,
        joined=report["joined"],
        waiting=sum(report["waiting"].values()),
        figures=figures,
        fingerprint=name,
    )
    with stage.writing() as folder:
        (folder / "feedback.json").write_text(json.dumps(report, sort_keys=True, indent=1), encoding="utf-8")
        (folder / "feedback.html").write_text(render(problem, report), encoding="utf-8")
        stage.finish(folder, reference.to_dict())
    return stage.result() or reference.to_dict()


def run(spec: JsonObject, progress: Progress) -> JsonObject:
    """The job: a spec of problem, window and settings in, a feedback reference out."""
    return feedback(parse(spec["problem"]), Window.from_dict(spec["window"]), Settings.from_mapping(spec["settings"]), progress).to_dict()


if __name__ == "__main__":
    main(run)
