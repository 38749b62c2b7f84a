import dataclasses
import datetime as dt
import json
import multiprocessing
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from windtunnel.beam_jobs.feedback import add_labels, feedback
from windtunnel.beam_jobs.job import Progress
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import FeedbackRef
from windtunnel.lifecycle.data.days import day_files
from windtunnel.lifecycle.data.rows import DAY
from windtunnel.lifecycle.data.tables import existing

EVENING = dt.datetime(2013, 1, 3, 20, tzinfo=dt.UTC)
KEYS = ["year", "month", "day", "carrier", "flight", "origin", "sched_dep_time"]


@pytest.fixture
def january(world):
    world.ingest("2013-01-02", "2013-01-05")
    return world


def join(world, start="2013-01-01", end="2013-01-08"):
    return feedback(world.problem, world.window(start, end), world.settings, Progress("feedback"))


def version(world):
    table = existing(world.settings, "flight_delays.feedback")
    return table.current_snapshot().snapshot_id if table is not None and table.current_snapshot() else None


def changed(world, **changes):
    return dataclasses.replace(world, problem=Problem.model_validate(world.problem.model_dump() | changes))


def test_every_prediction_meets_its_flight(january):
    flights = january.examples("2013-01-03")
    january.ask(flights, EVENING)
    found = join(january)
    assert found.joined == flights.num_rows - flights["arr_delay"].null_count == 900
    assert (found.waiting, found.figures["waiting.no_label"]) == (14, 14)
    assert found.figures["live.auc"] == found.figures["live.accuracy"] == 1.0
    rows = january.contents("feedback")
    assert rows["correct"].to_pylist() == [True] * 900
    late = [delay > 15 for delay in flights["arr_delay"].to_pylist() if delay is not None]
    assert sum(rows["label"].to_pylist()) == sum(late)
    assert FeedbackRef.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert "900" in Path(found.report).read_text(encoding="utf-8")


@pytest.mark.parametrize("ingested", [False, True])
def test_no_predictions_is_no_error(world, ingested):
    if ingested:
        world.ingest("2013-01-01", "2013-01-02")
    found = join(world)
    assert (found.joined, found.waiting) == (0, 0)
    assert "No predictions of flight_delays were logged" in Path(found.report).read_text(encoding="utf-8")
    assert existing(world.settings, "flight_delays.feedback") is None


def test_doing_it_again_changes_nothing(january):
    january.ask(january.examples("2013-01-03").slice(0, 50), EVENING)
    found, before = join(january), version(january)
    assert join(january) == found
    shutil.rmtree(Path(found.report).parent)
    assert join(january) == found
    assert version(january) == before


def test_later_predictions_and_later_truth_are_taken_in(world):
    world.ingest("2013-01-01", "2013-01-03")
    later = dataclasses.replace(world, settings=world.settings)
    world.ingest("2013-01-03", "2013-01-04")
    flights = world.examples("2013-01-03")
    world.ask(flights.slice(0, 10), EVENING)
    assert join(world).joined == 10
    world.ask(flights.slice(10, 10), EVENING + dt.timedelta(hours=1))
    assert join(later).joined == 20
    assert world.contents("feedback").num_rows == 20
    tomorrow = flights.slice(0, 5).set_column(2, "day", pa.array([4] * 5, pa.int32()))
    world.ask(tomorrow, EVENING)
    assert join(world).figures["waiting.no_examples"] == 5
    world.ingest("2013-01-04", "2013-01-05")
    assert "waiting.no_examples" not in join(world).figures


def test_what_is_known_only_after_the_cut_off_waits(january):
    slow = changed(january, label=january.problem.label.model_dump() | {"delay_days": 2})
    january.ask(january.examples("2013-01-03").slice(0, 10), EVENING)
    assert join(slow, end="2013-01-05").figures["waiting.not_due"] == 10
    early = join(slow, end="2013-01-05")
    assert (early.joined, early.waiting) == (0, 10)
    late = join(slow, end="2013-01-06")
    assert (late.joined, late.waiting) == (10, 0)
    assert join(january, end="2013-01-03").figures["answers"] == 0
    # Looking again from an earlier day forgets nothing.
    assert join(slow, end="2013-01-05") == early
    assert january.contents("feedback").num_rows == 10


def test_a_prediction_is_looked_at_until_its_truth_is_due(january):
    slow = changed(january, label=january.problem.label.model_dump() | {"delay_days": 3})
    january.ask(january.examples("2013-01-03").slice(0, 10), EVENING)
    assert join(slow, "2013-01-06", "2013-01-08").joined == 10
    assert join(january, "2013-01-06", "2013-01-08").figures["answers"] == 0


def test_answers_given_today_about_a_closed_history(january):
    january.ask(january.examples("2013-01-03").slice(0, 10), dt.datetime(2026, 11, 21, tzinfo=dt.UTC))
    assert join(january, "2013-12-04", "2014-01-01").joined == 10
    assert join(january, "2013-12-04", "2013-12-31").figures["answers"] == 0


def test_keys_that_are_not_sent_are_said_to_be_missing(january):
    january.ask(january.examples("2013-01-03").slice(0, 10), EVENING, drop=("flight",))
    found = join(january)
    assert (found.joined, found.figures["waiting.no_keys"]) == (0, 10)
    assert "do not carry the key columns" in Path(found.report).read_text(encoding="utf-8")
    assert join(changed(january, keys=[], splits={"by": "time"})).figures["waiting.no_keys"] == 10


def test_people_correct_the_truth(january, tmp_path):
    flights = january.examples("2013-01-03").slice(0, 3)
    january.ask(flights, EVENING)
    before = join(january)
    truth = january.contents("feedback")["label"].to_pylist()
    rows = flights.select(KEYS).append_column("label", pa.array([str(1 - label) for label in truth]))
    at = dt.datetime(2013, 1, 5, 9, tzinfo=dt.UTC)
    assert add_labels(january.problem, rows.slice(0, 2), january.settings, by="ada", at=at).added == 2
    after = join(january)
    assert (before.figures["corrected"], after.figures["corrected"], after.joined) == (0, 2, 3)
    found = january.contents("feedback")
    assert found["label"].to_pylist() == [1 - truth[0], 1 - truth[1], truth[2]]
    assert found["label_by"].to_pylist() == ["ada", "ada", None]
    assert join(january, end="2013-01-05").figures["corrected"] == 0


def test_training_serving_skew_is_counted(january):
    flights = january.examples("2013-01-03")
    january.ask(flights.slice(0, 30), EVENING)
    january.ask(flights.slice(30, 10), EVENING, change={"distance": 1.0})
    found = join(january)
    assert found.figures["differs.distance"] == pytest.approx(10 / found.joined)
    assert "differs.dep_delay" not in found.figures


def test_versions_and_shadows_are_told_apart(january):
    flights = january.examples("2013-01-03").slice(0, 40)
    wrong = [0.1 if (delay or 0) > 15 else 0.9 for delay in flights["arr_delay"].to_pylist()]
    january.ask(flights, EVENING)
    january.ask(flights, EVENING, version="2", scores=wrong, shadow=True)
    found = join(january)
    assert found.figures["live.auc"] == 1.0
    body = json.loads((Path(found.report).parent / "feedback.json").read_text())
    assert [(arm["version"], arm["shadow"], arm["figures"]["auc"]) for arm in body["arms"]] == [("1", False, 1.0), ("2", True, 0.0)]


@pytest.mark.parametrize(
    "options", [{"runner_options": "--direct_runner_bundle_repeat=1"}, pytest.param({"workers": 2}, marks=pytest.mark.slow)]
)
def test_bundles_that_run_twice_and_several_workers_leave_the_same(january, options):
    for day in (2, 3, 4):
        at = EVENING.replace(day=day)
        january.ask(january.examples(f"2013-01-0{day}").slice(0, 100), at)
        january.ask(january.examples(f"2013-01-0{day}").slice(100, 100), at)
    other = dataclasses.replace(january, settings=dataclasses.replace(january.settings, **options))
    found = join(other)
    rows = january.contents("feedback").sort_by("request_id")
    shutil.rmtree(Path(found.report).parent)
    assert join(january) == found
    assert january.contents("feedback").sort_by("request_id") == rows
    assert rows.num_rows == found.joined == len(set(rows["request_id"].to_pylist()))


def _join(world):
    join(world)


def test_two_runs_at_once_leave_one_content(january):
    january.ask(january.examples("2013-01-03").slice(0, 60), EVENING)
    january.ask(january.examples("2013-01-04").slice(0, 60), EVENING.replace(day=4))
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_join, args=(january,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    found = january.contents("feedback")
    assert found.num_rows == len(set(found["request_id"].to_pylist())) == join(january).joined


def test_a_full_disk_leaves_nothing_half_written(january, monkeypatch):
    from windtunnel.lifecycle.contract.errors import UnavailableError
    from windtunnel.lifecycle.data import parquet

    class Full(parquet.pq.ParquetWriter):
        def write_table(self, *_args, **_options):
            raise OSError(28, "No space left on device")

    january.ask(january.examples("2013-01-03").slice(0, 60), EVENING)
    monkeypatch.setattr(parquet.pq, "ParquetWriter", Full)
    with pytest.raises(UnavailableError, match="No space left"):
        join(january)
    monkeypatch.undo()
    table = existing(january.settings, "flight_delays.feedback")
    assert day_files(table) == []
    left = list(Path(january.settings.warehouse).rglob("flight_delays/feedback/data/**/*.tmp"))
    assert left == []
    assert join(january).joined > 0


def test_a_table_that_was_dropped_is_made_again(january):
    from windtunnel.lifecycle.data.catalog import catalog

    january.ask(january.examples("2013-01-03").slice(0, 60), EVENING)
    found = join(january)
    catalog(january.settings).drop_table("flight_delays.feedback")
    assert join(january) == found
    assert january.contents("feedback").num_rows == found.joined


def test_the_examples_hold_their_day(january):
    assert set(january.examples("2013-01-03")[DAY].to_pylist()) == {dt.date(2013, 1, 3)}


@pytest.mark.slow
def test_killed_half_way_it_leaves_the_same(january, tmp_path):
    for day in (2, 3, 4):
        january.ask(january.examples(f"2013-01-0{day}").slice(0, 200), EVENING.replace(day=day))
    spec = {
        "problem": january.problem.model_dump(mode="json"),
        "window": january.window("2013-01-01", "2013-01-08").to_dict(),
        "settings": january.settings.to_dict(),
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    command = [sys.executable, "-m", "windtunnel.beam_jobs.feedback", "--spec", str(tmp_path / "spec.json"), "--result"]
    process = subprocess.Popen([*command, str(tmp_path / "never.json")], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until and not list(Path(january.settings.warehouse).glob("*/feedback/data/**/*.*")):
        time.sleep(0.001)
    assert process.poll() is None
    process.kill()
    process.wait()
    assert not (tmp_path / "never.json").exists()
    subprocess.run([*command, str(tmp_path / "result.json")], check=True, stderr=subprocess.DEVNULL)
    found = FeedbackRef.from_dict(json.loads((tmp_path / "result.json").read_text(encoding="utf-8")))
    assert found == join(january)
    rows = january.contents("feedback")
    assert rows.num_rows == len(set(rows["request_id"].to_pylist())) == found.joined > 500
