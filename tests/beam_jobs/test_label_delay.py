"""Point in time: a label that was not known at a run's data cut-off is no label of that run, whenever the run runs."""

import dataclasses
import datetime as dt
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from windtunnel.beam_jobs.evaluate import evaluate
from windtunnel.beam_jobs.expectations.engine.source import Source
from windtunnel.beam_jobs.expectations.figures import count_figures
from windtunnel.beam_jobs.features import preprocess
from windtunnel.beam_jobs.ingest import ingest
from windtunnel.beam_jobs.job import Progress
from windtunnel.beam_jobs.profile import profile
from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import EmptyWindowError, ProblemError
from windtunnel.lifecycle.contract.problem import Problem, parse
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.pins import files
from windtunnel.lifecycle.learning.training import train

pytestmark = pytest.mark.filterwarnings("ignore")  # third parties' warnings are tested where they are called

ROWS = 200
WINDOW = Window(dt.date(2013, 1, 1), dt.date(2013, 1, 15))


def make(delay: int = 3, **more: object) -> Problem:
    return parse(
        {
            "name": "late",
            "owner": "o",
            "task": "binary",
            "source": {"format": "csv", "path": "{landing}/{day}.csv"},
            "columns": {"k": "int64", "x": "float64", "y": "string"},
            "features": {"numeric": ["x"]},
            "label": {"column": "y", "positive": {"equals": "yes"}, "delay_days": delay},
            "keys": ["k"],
            "windows": {"train_days": 14},
            "model": {"family": "linear"},
        }
        | more
    )


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "l").mkdir()
    rng = np.random.default_rng(0)
    for day in range(1, 15):
        x = rng.normal(size=ROWS)
        truth = x + rng.normal(size=ROWS) > 0
        late = ~truth if day >= 12 else truth  # labels that came later say the opposite: whoever sees them learns otherwise
        keys = range(day * 1000, day * 1000 + ROWS)
        pd.DataFrame({"k": keys, "x": x, "y": np.where(late, "yes", "no")}).to_csv(tmp_path / "l" / f"2013-01-{day:02}.csv", index=False)
    return Settings(
        catalog_uri=f"sqlite:///{tmp_path}/c.db",
        ledger_uri=f"sqlite:///{tmp_path}/c.db",
        warehouse=str(tmp_path / "w"),
        artifacts=str(tmp_path / "a"),
        tracking_uri=f"sqlite:///{tmp_path}/m.db",
        landing=str(tmp_path / "l"),
    )


@pytest.mark.parametrize("splits", [{}, {"by": "time"}])
def test_no_stage_sees_a_label_before_it_was_known(place, splits):
    problem = make(splits=splits)
    snapshot = ingest(problem, WINDOW, place, Progress())
    assert snapshot.rows == 14 * ROWS, "the rows themselves are there"
    told = json.loads(Path(profile(problem, snapshot, place, Progress()).uri, "statistics.json").read_text(encoding="utf-8"))
    assert told["unlabelled"] == 3 * ROWS
    features = preprocess(problem, snapshot, place, Progress())
    assert sum(features.rows.values()) == 11 * ROWS
    assert {name: sum(counts.values()) for name, counts in told["labels"].items()} == features.rows
    if splits:
        assert features.rows["test"] == 2 * ROWS, "the newest fifth of the days whose labels are known"
    figures = count_figures(problem, Source(files(place, snapshot)), snapshot.end)
    assert figures.unlabelled == 3 * ROWS
    assert {"train": sum(figures.train.values()), "test": sum(figures.test.values())} == features.rows


def test_a_run_of_old_data_gives_the_same_whatever_came_to_be_known_since(place, tmp_path):
    """The cut-off is the window's end, not the clock and not the newest data."""
    problem = make()
    early = Window(dt.date(2013, 1, 1), dt.date(2013, 1, 15))
    snapshot = ingest(problem, early, place, Progress())
    before = preprocess(problem, snapshot, place, Progress())
    later = Window(dt.date(2013, 1, 4), dt.date(2013, 1, 18))
    for day in (15, 16, 17):
        (tmp_path / "l" / f"2013-01-{day}.csv").write_text("k,x,y\n1,1.0,yes\n")
    moved = preprocess(problem, ingest(problem, later, place, Progress()), place, Progress())
    assert sum(moved.rows.values()) == 11 * ROWS, "what was not known then is known now"
    again = preprocess(
        problem, ingest(problem, early, place, Progress()), dataclasses.replace(place, artifacts=str(tmp_path / "b")), Progress()
    )
    assert (again.fingerprint, again.rows) == (before.fingerprint, before.rows)


def test_models_are_judged_by_labels_that_were_known(place):
    """The labels of the last three days say the opposite of the others: a run that saw them would find its model worse."""
    problem = make()
    snapshot = ingest(problem, WINDOW, place, Progress())
    features = preprocess(problem, snapshot, place, Progress())
    candidate = train(RunContext(problem, place, Run("d", "r", "manual")), snapshot, features, None)
    known = evaluate(problem, candidate, snapshot, place, Progress())
    careless = evaluate(make(0), candidate, snapshot, place, Progress())
    assert known.value > 0.8 > careless.value + 0.05


def test_a_delay_that_leaves_nothing_is_refused():
    with pytest.raises(ProblemError, match="no label of a window of 14 days would be known"):
        make(14)
    with pytest.raises(ProblemError, match=r"label\.delay_days: needs event_time"):
        make(source={"format": "csv", "path": "{landing}/all.csv"})


def test_a_window_whose_labels_all_come_later_is_told(place):
    problem = make(10)
    snapshot = ingest(problem, Window(dt.date(2013, 1, 10), dt.date(2013, 1, 15)), place, Progress())
    with pytest.raises(EmptyWindowError):
        preprocess(problem, snapshot, place, Progress())
