"""The arrival of data: absent, empty and growing files are waited for; a window without its newest file is never claimed as seen."""

import datetime as dt
import os

import pytest

from windtunnel.lifecycle.contract.errors import ProblemError, UnavailableError
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.sources.arrival import await_arrival, lacking_days

WINDOW = Window(dt.date(2013, 1, 1), dt.date(2013, 1, 4))
END = dt.datetime(2013, 1, 4, tzinfo=dt.UTC).timestamp()


def problem(**wait):
    values = {"name": "p", "owner": "o", "task": "regression", "label": {"column": "y"}, "keys": ["a"]}
    values |= {"columns": {"a": "int64", "x": "int64", "y": "float64"}}
    values |= {"source": {"format": "csv", "path": "{landing}/{day}.csv", "wait": wait}, "features": {"numeric": ["x"]}}
    return parse(values)


@pytest.fixture
def land(tmp_path):
    def write(day, data="a,x,y\n1,2,3\n", changed=END - 3600):
        path = tmp_path / f"2013-01-{day:02}.csv"
        path.write_text(data)
        os.utime(path, (changed, changed))

    return write


class Time:
    """A clock that moves when somebody sleeps, and then lets something happen."""

    def __init__(self, now, *events):
        self.now, self.events = now, list(events)

    def sleep(self, seconds):
        self.now += seconds
        if self.events:
            self.events.pop(0)()


def wait(tmp_path, time, **options):
    await_arrival(problem(**options), WINDOW, Settings(landing=str(tmp_path)), clock=lambda: time.now, sleep=time.sleep)


def test_what_is_there_is_not_waited_for(tmp_path, land):
    for day in (1, 2, 3):
        land(day)
    wait(tmp_path, Time(END), complete="all")


def test_an_absent_an_empty_and_a_growing_file_are_waited_for(tmp_path, land):
    land(1)
    land(2)
    time = Time(END)
    time.events = [lambda: land(3, ""), lambda: land(3, "a,x", changed=time.now), lambda: land(3, changed=time.now), lambda: None]
    wait(tmp_path, time, until=6)
    assert not time.events
    assert time.now - END >= 120


@pytest.mark.parametrize(
    ("days", "complete", "absent"), [((1, 2), "newest", ["2013-01-03"]), ((1, 3), "all", ["2013-01-02"]), ((1, 3), "newest", [])]
)
def test_required_days(tmp_path, land, days, complete, absent):
    for day in days:
        land(day)
    assert list(lacking_days(problem(complete=complete), WINDOW, Settings(landing=str(tmp_path)), END)) == absent
    if absent:
        with pytest.raises(UnavailableError, match=f"1 required days have no whole file by 2013-01-04 02:00 UTC: {absent[0]}: no file"):
            wait(tmp_path, Time(END), until=2, complete=complete)


def test_a_window_without_its_newest_file_is_not_ingested(tmp_path, land):
    from windtunnel.beam_jobs.ingest import ingest
    from windtunnel.beam_jobs.job import Progress

    land(1)
    places = Settings(f"sqlite:///{tmp_path}/c.db", f"{tmp_path}/w", artifacts=f"{tmp_path}/a", landing=str(tmp_path))
    with pytest.raises(UnavailableError, match="2013-01-03: no file"):
        ingest(problem(), WINDOW, places, Progress())
    assert not (tmp_path / "c.db").exists()


def test_only_files_can_be_waited_for():
    values = problem().model_dump(exclude_unset=True) | {"source": {"format": "python", "generator": "m:f", "wait": {}}}
    with pytest.raises(ProblemError, match="wait is for files"):
        parse(values)
