"""Every way that a run can start; what the context holds in each is from a real Airflow 3.3."""

import datetime as dt
from types import SimpleNamespace

import pytest

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.problem import Windows
from windtunnel.lifecycle.contract.window import Window, resolve_window

WEEK = Windows(train_days=7)


def at(text):
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def run(**values):
    return SimpleNamespace(**({"conf": {}, "run_type": "manual", "run_after": at("2013-03-05T10:00")} | values))


@pytest.mark.parametrize(
    ("context", "end", "origin"),
    [
        pytest.param(
            {
                "logical_date": at("2013-03-01"),
                "data_interval_start": at("2013-03-01"),
                "data_interval_end": at("2013-03-02"),
                "dag_run": run(run_type="scheduled"),
            },
            "2013-03-02",
            "interval",
            id="scheduled or backfilled with an interval timetable",
        ),
        pytest.param({"dag_run": run()}, "2013-03-05", "now", id="manual without a logical date"),
        pytest.param(
            {"logical_date": None, "data_interval_start": None, "data_interval_end": None, "dag_run": run(run_type="asset_triggered")},
            "2013-03-05",
            "now",
            id="triggered by an asset",
        ),
        pytest.param(
            {
                "logical_date": at("2013-03-02T12:00"),
                "data_interval_start": at("2013-03-01"),
                "data_interval_end": at("2013-03-02"),
                "dag_run": run(),
            },
            "2013-03-02",
            "interval",
            id="manual with a logical date: the interval before it",
        ),
        pytest.param(
            {
                "logical_date": at("2013-03-02"),
                "data_interval_start": at("2013-03-02"),
                "data_interval_end": at("2013-03-02"),
                "dag_run": run(),
            },
            "2013-03-02",
            "logical_date",
            id="zero-width interval of @daily in Airflow 3",
        ),
        pytest.param({"partition_key": "2013-03-01", "dag_run": run()}, "2013-03-02", "partition", id="partitioned asset by key"),
        pytest.param(
            {"dag_run": run(partition_key="2013-03-01|JFK", partition_date=at("2013-03-01"))},
            "2013-03-02",
            "partition",
            id="CronPartitionTimetable",
        ),
        pytest.param({"params": {"window_end": "2013-02-01"}, "dag_run": run()}, "2013-02-01", "conf", id="the trigger form"),
        pytest.param({"dag_run": run(conf={"window_end": "2013-02-01"})}, "2013-02-01", "conf", id="the run's conf"),
        pytest.param(
            {
                "data_interval_start": at("2013-03-01T06:00"),
                "data_interval_end": at("2013-03-01T12:00"),
                "dag_run": run(run_type="scheduled"),
            },
            "2013-03-02",
            "interval",
            id="an interval of hours takes in its day",
        ),
    ],
)
def test_the_cutoff_of_every_way_to_start(context, end, origin):
    window = resolve_window(context, WEEK)
    assert (window.end.isoformat(), window.origin) == (end, origin)
    assert (window.end - window.start).days == 7
    assert window.cutoff == end


def test_a_closed_history_bounds_a_run_as_of_now():
    windows = Windows(train_days=28, history_start=dt.date(2013, 1, 1), history_end=dt.date(2014, 1, 1))
    window = resolve_window({"dag_run": run(run_after=at("2026-11-21T08:00"))}, windows)
    assert window.to_dict() == {"start": "2013-12-04", "end": "2014-01-01", "origin": "now"}
    early = resolve_window({"params": {"window_end": "2013-01-05"}}, windows)
    assert early.start == dt.date(2013, 1, 1)
    with pytest.raises(ConfigurationError, match="2013-01-01"):
        resolve_window({"params": {"window_end": "2013-01-01"}}, windows)
    with pytest.raises(ConfigurationError, match="after the end of the data"):
        resolve_window({"params": {"window_end": "2014-02-01"}}, windows)


def test_a_window_that_was_asked_for_exactly():
    window = resolve_window({"params": {"window_start": "2013-01-10", "window_end": "2013-01-12"}}, WEEK)
    assert [day.isoformat() for day in window.days] == ["2013-01-10", "2013-01-11"]


@pytest.mark.parametrize("value", ["tomorrow", "2013-13-01", "x" * 20])
def test_what_is_not_a_date_is_refused_by_name(value):
    with pytest.raises(ConfigurationError, match="window_end must be a date"):
        resolve_window({"params": {"window_end": value}}, WEEK)


def test_an_empty_window_is_refused():
    with pytest.raises(ConfigurationError, match="must start before it ends"):
        Window(dt.date(2013, 1, 2), dt.date(2013, 1, 2))
    with pytest.raises(ConfigurationError, match="must start before it ends"):
        resolve_window({"params": {"window_start": "2013-02-01", "window_end": "2013-01-01"}}, WEEK)
