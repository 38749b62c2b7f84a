"""Quality over time: a day's measures are recorded once, replaced when the day is, and a bad day is told with its reason."""

import copy
import datetime as dt
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from windtunnel.beam_jobs.ingest import ingest
from windtunnel.beam_jobs.job import Progress
from windtunnel.beam_jobs.profile import profile
from windtunnel.cli.main import main
from windtunnel.lifecycle.contract.errors import UnavailableError
from windtunnel.lifecycle.contract.problem import Problem, parse
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.days import day_files
from windtunnel.lifecycle.data.tables import load_table
from windtunnel.lifecycle.pages.quality import quality_page
from windtunnel.lifecycle.quality.history import Measures, history, measures_of
from windtunnel.lifecycle.quality.score import scores, trend
from windtunnel.lifecycle.statistics.table import TableStatistics

DAYS = 12


def rows(day: int, **changed: object) -> pa.Table:
    random = np.random.default_rng(day)
    columns = {
        "x": random.normal(10, 2, 300),
        "g": random.choice(["a", "b", "c"], 300),
        "n": random.integers(0, 50, 300),
        "y": random.integers(0, 2, 300),
    }
    return pa.table(columns | changed)


def measured(table: pa.Table) -> Measures:
    found = TableStatistics()
    found.add_batch(table)
    return measures_of(found)


@pytest.fixture(scope="module")
def usual() -> dict[str, Measures]:
    return {f"2024-01-{day:02}": measured(rows(day)) for day in range(1, 31)}


def test_usual_days_score_well_and_nobody_is_blamed(usual: dict[str, Measures]) -> None:
    found = scores(usual)
    assert min(entry.score for entry in found) > 99
    assert sum(bool(entry.blame) for entry in found) == 0
    assert trend(found).word == "steady"
    assert [entry.compared for entry in found[:7]] == [0, 0, 0, 0, 0, 5, 6]


@pytest.mark.parametrize(
    ("fault", "column", "measure"),
    [
        ({"x": np.where(np.arange(300) % 3 == 0, np.nan, rows(31)["x"].to_numpy())}, "x", "missing"),
        ({"x": rows(31)["x"].to_numpy() * 1000}, "x", None),
        ({"g": np.array(["a"] * 300)}, "g", "top"),
        ({"g": np.array(["ab cd"] * 150 + ["x"] * 150)}, "g", "length"),
        ({"n": np.zeros(300, int)}, "n", None),
    ],
)
def test_a_bad_day_is_scored_lower_and_says_why(usual: dict[str, Measures], fault: dict, column: str, measure: str | None) -> None:
    found = scores(usual | {"2024-01-31": measured(rows(31, **fault))})
    bad = found[-1]
    assert bad.score < 80 < min(entry.score for entry in found[:-1])
    assert bad.blame[0].column == column
    assert {entry.column for entry in bad.blame} == {column}
    assert measure is None or bad.blame[0].measure == measure
    assert column in quality_page("p", usual | {"2024-01-31": measured(rows(31, **fault))}, 30)


def test_few_rows_quarantine_and_slow_decay_are_seen(usual: dict[str, Measures]) -> None:
    few = scores(usual | {"2024-01-31": measured(rows(31).slice(0, 20))})[-1]
    assert (few.blame[0].column, few.blame[0].measure) == ("", "rows")
    assert few.score < 20
    aside = copy.deepcopy(usual["2024-01-30"])
    aside[""]["quarantined"] = 100.0
    assert round(scores(usual | {"2024-01-31": aside})[-1].score) == 75
    decaying = {}
    for day in range(1, 31):
        gone = np.random.default_rng(day).random(300) < day / 100
        decaying[f"2024-01-{day:02}"] = measured(rows(day, x=np.where(gone, np.nan, rows(day)["x"].to_numpy())))
    assert trend(scores(decaying)).word == "falling"
    assert trend(scores(decaying)[:4]).word == "unknown"


def problem() -> Problem:
    return parse(
        {
            "name": "p",
            "owner": "o",
            "task": "binary",
            "source": {"format": "csv", "path": "{landing}/{day}.csv"},
            "columns": {"k": "int64", "x": "float64", "g": "string", "n": "int64", "y": "int64"},
            "features": {"numeric": ["x", "n"], "categorical": ["g"]},
            "label": {"column": "y", "positive": {"at_least": 1}},
            "keys": ["k"],
        }
    )


def land(folder: Path, day: int, **changed: object) -> None:
    frame = rows(day, **changed).to_pandas()
    frame.insert(0, "k", range(day * 1000, day * 1000 + len(frame)))
    frame.to_csv(folder / f"2024-01-{day:02}.csv", index=False)


def test_every_run_records_its_days_once_and_a_day_that_changed_replaces_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    landing = tmp_path / "l"
    landing.mkdir()
    for day in range(1, DAYS + 1):
        land(landing, day)
    settings = Settings(
        catalog_uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"{tmp_path}/w", artifacts=f"{tmp_path}/a", landing=str(landing)
    )

    def run(first: int, last: int) -> object:
        snapshot = ingest(problem(), Window(dt.date(2024, 1, first), dt.date(2024, 1, last + 1)), settings, Progress())
        profile(problem(), snapshot, settings, Progress())
        return snapshot

    def files() -> dict[str, str]:
        return {file.day: file.path for file in day_files(load_table(settings, "p.quality"))}

    with pytest.raises(UnavailableError, match="nothing is recorded"):
        history(settings, "p")
    old = run(1, 8)
    first = files()
    assert len(first) == 8
    run(4, DAYS)  # overlapping: only new days are added
    second = files()
    assert len(second) == DAYS
    assert first.items() <= second.items()
    assert history(settings, "p")["2024-01-03"][""] == {"rows": 300.0, "quarantined": 0.0}
    assert list(history(settings, "p", 2)) == [f"2024-01-{DAYS - 1}", f"2024-01-{DAYS}"]
    # The newest day comes again, broken: its row is replaced, once.
    land(landing, DAYS, x=np.full(300, 10_000.0))
    run(4, DAYS)
    third = files()
    assert {day for day in third if third[day] != second[day]} == {f"2024-01-{DAYS}"}
    assert len(day_files(load_table(settings, "p.quality"))) == DAYS
    # A run over what the table no longer holds changes nothing, not even if its artefacts are gone.
    land(landing, 5, n=np.zeros(300, int))
    run(1, 8)
    newest = files()
    elsewhere = Settings(**{**settings.to_dict(), "artifacts": f"{tmp_path}/b"})
    profile(problem(), old, elsewhere, Progress())
    assert files() == newest
    for name, value in settings.to_dict().items():
        monkeypatch.setenv(f"AIRFLOW__WINDTUNNEL__{name.upper()}", str(value))
    assert main(["quality", "p", "--days", "3", "--json", "--html", f"{tmp_path}/q.html"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [entry["day"] for entry in told["days"]] == ["2024-01-10", "2024-01-11", "2024-01-12"]
    assert told["worst"][0]["column"] == "x"
    assert "2024-01-12" in Path(tmp_path, "q.html").read_text(encoding="utf-8")
    assert main(["quality", "p.examples"]) == 0
    assert "worst columns: x (1 days)" in capsys.readouterr().out
    assert main(["quality", "nobody"]) == 1
