"""Profile: the statistics of a window are the merge of its days, and say what a person should look at."""

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.beam_jobs.ingest import ingest
from windtunnel.beam_jobs.job import Progress
from windtunnel.beam_jobs.profile import profile, profile_files
from windtunnel.lifecycle.contract.errors import SourceFormatError
from windtunnel.lifecycle.contract.problem import Problem, parse
from windtunnel.lifecycle.contract.references import SnapshotRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.pins import files
from windtunnel.lifecycle.statistics import TableStatistics, summarize


def make(**more: object) -> Problem:
    return parse(
        {
            "name": "p",
            "owner": "o",
            "task": "binary",
            "source": {"format": "csv", "path": "{landing}/{day}.csv"},
            "columns": {"k": "int64", "x": "float64", "g": "string", "leak": "float64", "y": "float64"},
            "features": {"numeric": ["x", "leak"], "categorical": ["g"]},
            "label": {"column": "y", "positive": {"above": 0.5}},
            "keys": ["k"],
            "sensitive": ["g"],
            "slices": ["g"],
        }
        | more
    )


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    (tmp_path / "l").mkdir()
    rng = np.random.default_rng(0)
    for day in range(1, 15):
        share = 0.5 if day <= 7 else 0.7
        y = (rng.random(400) < share).astype(float)
        frame = pd.DataFrame(
            {"k": range(day * 1000, day * 1000 + 400), "x": rng.normal(day // 8 * 2, 1, 400), "g": rng.choice(["a", "b"], 400)}
        )
        frame["leak"] = y * 10 + rng.random(400)
        frame["y"] = y
        frame.to_csv(tmp_path / "l" / f"2013-01-{day:02}.csv", index=False)
    return Settings(
        catalog_uri=f"sqlite:///{tmp_path}/c.db", warehouse=str(tmp_path / "w"), artifacts=str(tmp_path / "a"), landing=str(tmp_path / "l")
    )


def week(settings: Settings, first: int, problem: Problem) -> SnapshotRef:
    start = dt.date(2013, 1, first)
    return ingest(problem, Window(start, start + dt.timedelta(days=7)), settings, Progress())


def read(uri: str) -> dict:
    return json.loads(Path(uri, "statistics.json").read_text(encoding="utf-8"))


def test_a_window_is_the_merge_of_its_days_and_of_one_pass(place):
    problem = make()
    snapshot = week(place, 1, problem)
    found = profile(problem, snapshot, place, Progress())
    told = read(found.uri)
    whole = TableStatistics()
    for path in files(place, snapshot):
        whole.add_batch(pq.read_table(path))
    assert json.dumps(told["columns"], sort_keys=True) == json.dumps(summarize(whole)["columns"], sort_keys=True)
    assert told["rows"] == found.rows == 2800
    assert sum(told["labels"]["train"].values()) + sum(told["labels"]["test"].values()) == 2800
    assert told["slices"]["g=a"]["rows"] + told["slices"]["g=b"]["rows"] == 2800
    assert profile(problem, snapshot, place, Progress()) == found
    page = Path(found.report).read_text(encoding="utf-8")
    assert "leaks the label" in page
    answers = {(answer["question"], answer["column"]): answer["grade"] for answer in told["readiness"]["answers"]}
    assert told["readiness"]["verdict"] == "not ready"
    assert (answers["leaks", "leak"], answers["duplicates", ""], answers["labels", "y"]) == ("stop", "fine", "fine")
    assert "Ready to be learned from?" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_drift_and_label_shift_against_a_reference(place):
    problem = make()
    before = profile(problem, week(place, 1, problem), place, Progress())
    after = profile(problem, week(place, 8, problem), place, Progress(), before)
    told = read(after.uri)
    assert set(after.drifted) == {"x", "y"}
    assert told["label_shift"]["shifted"]
    assert not told["drift"]["columns"]["g"]["drifted"]
    same = profile(problem, week(place, 1, problem), place, Progress(), before)
    assert same.drifted == []


@pytest.mark.parametrize(
    "options", [{"runner_options": "--direct_runner_bundle_repeat=1"}, pytest.param({"workers": 2}, marks=pytest.mark.slow)]
)
def test_runners_change_no_figure(place, options, tmp_path):
    problem = make()
    snapshot = week(place, 1, problem)
    once = read(profile(problem, snapshot, place, Progress()).uri)
    other = Settings(**{**place.to_dict(), "artifacts": str(tmp_path / "a2"), **options})
    assert read(profile(problem, snapshot, other, Progress()).uri) == once


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": np.random.default_rng(0).random(50_000)}), path)
    data = bytearray(path.read_bytes())
    data[4:40] = b"\xff" * 36
    path.write_bytes(data)
    with pytest.raises(SourceFormatError, match=r"a\.parquet"):
        profile_files([str(path)], Settings(artifacts=str(tmp_path / "a")), Progress())
