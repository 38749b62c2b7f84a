"""Every way that a run can start; what the context holds in each is from a real Airflow 3.3."""

import datetime as dt
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
            "2013-03-01",
            "interval",
            id="an interval of hours: the day that is not over is not seen",
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


def moment(text, zone):
    return dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def interval(start, end, zone="UTC"):
    return {"data_interval_start": moment(start, zone), "data_interval_end": moment(end, zone), "dag_run": run(run_type="scheduled")}


NEW_YORK = "America/New_York"


@pytest.mark.parametrize(
    ("context", "zone", "end"),
    [
        pytest.param(interval("2013-03-01T03:00", "2013-03-02T03:00"), "UTC", "2013-03-02", id="at three every night"),
        pytest.param(interval("2013-03-02T09:00", "2013-03-02T10:00"), "UTC", "2013-03-02", id="hourly"),
        pytest.param(interval("2013-03-01T23:00", "2013-03-02T00:00"), "UTC", "2013-03-02", id="the last hour of a day ends it"),
        pytest.param(interval("2013-03-01T00:00", "2013-03-02T00:00", NEW_YORK), NEW_YORK, "2013-03-02", id="midnight in New York"),
        pytest.param(interval("2013-03-10T00:00", "2013-03-11T00:00", NEW_YORK), NEW_YORK, "2013-03-11", id="a day of 23 hours"),
        pytest.param(interval("2013-11-03T00:00", "2013-11-04T00:00", NEW_YORK), NEW_YORK, "2013-11-04", id="a day of 25 hours"),
        pytest.param(interval("2013-03-01T00:00", "2013-03-02T00:00", NEW_YORK), "UTC", "2013-03-02", id="another zone"),
        pytest.param({"dag_run": run(run_after=at("2013-03-02T03:00"))}, NEW_YORK, "2013-03-01", id="by hand, the evening before there"),
        pytest.param({"dag_run": run(run_after=at("2013-03-01T18:00"))}, "Asia/Tokyo", "2013-03-02", id="by hand, the morning after there"),
        pytest.param(
            {"dag_run": run(partition_key="x", partition_date=moment("2013-03-01T00:00", NEW_YORK))}, NEW_YORK, "2013-03-02", id="partition"
        ),
        pytest.param({"dag_run": run(partition_key="x", partition_date=at("2013-03-01T05:00"))}, "UTC", "2013-03-01", id="hour"),
    ],
)
def test_a_cutoff_is_the_end_of_the_last_whole_day_where_the_problem_is(context, zone, end):
    assert resolve_window(context, WEEK, zone).cutoff == end


@given(
    st.datetimes(dt.datetime.fromisoformat("2013-01-01"), dt.datetime.fromisoformat("2014-01-01"), timezones=st.just(dt.UTC)),
    st.timedeltas(dt.timedelta(minutes=1), dt.timedelta(days=9)),
    st.sampled_from(["UTC", NEW_YORK, "Asia/Kolkata", "Pacific/Apia", "Europe/Berlin"]),
)
def test_no_cutoff_lies_in_the_future_and_none_leaves_out_a_whole_day(end, width, zone):
    context = {"data_interval_start": end - width, "data_interval_end": end}
    cutoff = dt.date.fromisoformat(resolve_window(context, WEEK, zone).cutoff)
    midnight, next_one = (dt.datetime.combine(day, dt.time(), ZoneInfo(zone)) for day in (cutoff, cutoff + dt.timedelta(days=1)))
    assert midnight.astimezone(dt.UTC) <= end < next_one.astimezone(dt.UTC)


def test_weeks_end_on_mondays():
    weeks = Windows(train_days=28, unit="week")
    assert resolve_window({"dag_run": run(run_after=at("2013-03-07T10:00"))}, weeks).cutoff == "2013-03-04"
    assert resolve_window(interval("2013-02-25T00:00", "2013-03-04T00:00"), weeks).cutoff == "2013-03-04"
    assert resolve_window({"partition_key": "2013-02-25"}, weeks).cutoff == "2013-03-04", "a rollup's key is the week's first day"
    assert resolve_window({"params": {"window_end": "2013-03-06"}}, weeks).cutoff == "2013-03-06", "what was asked for stays"


def test_an_asset_event_of_ours_tells_the_cutoff():
    events = {
        "a": [SimpleNamespace(extra={"cutoff": "2013-02-03"}), SimpleNamespace(extra={"cutoff": "2013-02-05"})],
        "b": [SimpleNamespace(extra=None)],
    }
    window = resolve_window({"triggering_asset_events": events, "dag_run": run(run_type="asset_triggered")}, WEEK)
    assert (window.cutoff, window.origin) == ("2013-02-05", "asset")
    events = {"b": [SimpleNamespace(extra={"rows": 3})]}
    assert resolve_window({"triggering_asset_events": events, "dag_run": run(run_type="asset_triggered")}, WEEK).origin == "now"
