"""The demo's days: normal ones pass, corrupted ones stop the run and say why."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from windtunnel.beam_jobs.expectations import validate
from windtunnel.beam_jobs.job import Progress
from windtunnel.lifecycle.contract.errors import ConfigurationError, EmptyWindowError, ValidationFailedError
from windtunnel.lifecycle.contract.references import ValidationRef

FIRST, LAST = "2013-03-01", "2013-03-07"


def _some(rows: pd.DataFrame, share: float) -> pd.Series:
    return pd.Series(np.random.default_rng(1).random(len(rows)) < share, index=rows.index)


def unknown_carrier(rows):
    return rows.assign(carrier=rows.carrier.mask(_some(rows, 0.01), "XX"))


def negative_distance(rows):
    return rows.assign(distance=rows.distance.mask(_some(rows, 0.01), -100))


def no_delay(rows):
    return rows.assign(dep_delay=rows.dep_delay.mask(_some(rows, 0.5)))


def late(rows):
    return rows.assign(arr_delay=rows.arr_delay.mask(_some(rows, 0.7) & rows.arr_delay.notna(), 60))


def test_a_normal_week_passes_and_is_not_computed_again(demo):
    demo.land(FIRST, LAST)
    snapshot = demo.snapshot(FIRST, LAST)
    progress = Progress()
    first = validate(demo.problem, snapshot, None, demo.settings, progress)
    assert isinstance(first, ValidationRef)
    assert first.success
    assert first.unsuccessful == 0
    assert first.evaluated > 38
    assert progress.rows >= snapshot.rows
    page = Path(first.docs).read_text(encoding="utf-8")
    assert "passed" in page
    assert "http" not in page.split("<body>")[1]
    assert json.loads(Path(first.uri).read_text(encoding="utf-8"))["success"]
    again = Progress()
    assert validate(demo.problem, snapshot, None, demo.settings, again) == first
    assert again.rows == 0


@pytest.mark.parametrize(
    ("change", "column", "said"),
    [
        (unknown_carrier, "carrier", "'XX'"),
        (negative_distance, "distance", "-100"),
        (no_delay, "dep_delay", "dep_delay"),
        (late, "arr_delay", "arr_delay"),
    ],
)
def test_a_corrupted_day_stops_and_says_why_and_the_mended_one_goes_on(demo, change, column, said):
    demo.land(FIRST, LAST, change)
    snapshot = demo.snapshot(FIRST, LAST)
    with pytest.raises(ValidationFailedError) as caught:
        validate(demo.problem, snapshot, None, demo.settings, Progress())
    error = caught.value
    assert error.details["column"] == column
    assert column in error.message
    assert said.strip("'") in error.message
    assert len(error.message.splitlines()) < 25
    assert error.details["samples"] or column in {"arr_delay", "dep_delay"}
    assert "stopped" in Path(error.details["docs"]).read_text(encoding="utf-8")
    assert Path(error.details["uri"]).exists()
    with pytest.raises(ValidationFailedError) as again:
        validate(demo.problem, snapshot, None, demo.settings, Progress())
    assert again.value.message == error.message
    demo.land(LAST, LAST)
    assert validate(demo.problem, demo.snapshot(FIRST, LAST), None, demo.settings, Progress()).success


def test_without_a_suite_a_proposal_is_made_kept_and_met(demo):
    demo.land(FIRST, LAST)
    problem = demo.problem.model_copy(update={"suite": None})
    result = validate(problem, demo.snapshot(FIRST, LAST), None, demo.settings, Progress())
    assert result.success
    proposal = json.loads((Path(result.uri).parent / "proposal.json").read_text(encoding="utf-8"))
    assert len(proposal["expectations"]) > 20
    assert all(entry["meta"]["notes"]["content"] for entry in proposal["expectations"])


def test_a_missing_suite_file_is_named(demo):
    demo.land(FIRST, FIRST)
    problem = demo.problem.model_copy(update={"suite": "nowhere.json"})
    with pytest.raises(ConfigurationError, match=r"nowhere\.json"):
        validate(problem, demo.snapshot(FIRST, FIRST), None, demo.settings, Progress())


def test_too_few_rows_stop(demo):
    demo.land(FIRST, FIRST)
    with pytest.raises(ValidationFailedError, match="at least 1,000"):
        validate(demo.problem, demo.snapshot(FIRST, FIRST), None, demo.settings, Progress())
    assert EmptyWindowError.retryable is False


def test_drift_and_label_shift_against_the_profiles_reference_stop(demo):
    from windtunnel.beam_jobs.profile import profile

    demo.land("2013-01-01", "2013-01-07")
    calm = demo.snapshot("2013-01-01", "2013-01-07")
    reference = profile(demo.problem, calm, demo.settings, Progress())

    def storm(rows):
        return rows.assign(dep_delay=rows.dep_delay + 90, arr_delay=rows.arr_delay + 90)

    for day in ("2013-01-08", "2013-01-09", "2013-01-10"):
        demo.land(day, day, storm)
    worse = demo.snapshot("2013-01-08", "2013-01-10")
    statistics = profile(demo.problem, worse, demo.settings, Progress(), reference)
    with pytest.raises(ValidationFailedError) as caught:
        validate(demo.problem, worse, statistics, demo.settings, Progress())
    told = "\n".join(caught.value.details["failures"])
    assert "label shift" in told
    assert "column 'dep_delay': drift" in told
    alone = profile(demo.problem, calm, demo.settings, Progress(), reference)
    assert validate(demo.problem, calm, alone, demo.settings, Progress()).success
