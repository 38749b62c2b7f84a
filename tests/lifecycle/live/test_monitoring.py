import dataclasses
import datetime as dt
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.live.monitoring import (
    Histogram,
    Latencies,
    Server,
    check_latency,
    check_quality,
    check_server,
    check_skew,
    check_staleness,
    look_at_server,
    read_metrics,
)
from windtunnel.lifecycle.live.outcomes import Outcome
from windtunnel.lifecycle.record.champion import Champion

CHAMPION = Champion("3", "1.2.0", "2024-01-31", "", "", "auc", 0.9, "entry")


def problem(**changes):
    return parse(
        {
            "name": "p",
            "owner": "o",
            "task": "binary",
            "source": {"format": "csv", "path": "x"},
            "columns": {"x": "float64", "y": "float64"},
            "features": {"numeric": ["x"]},
            "label": {"column": "y", "positive": {"above": 0}},
        }
        | changes
    )


def outcome(value, *, rows=1000, width=0.01, metric="auc", **figures):
    return Outcome(metric, rows, {metric: value} | figures, (value - width, value + width))


# Latency


def test_percentiles_as_the_field_defines_them():
    times = Latencies()
    times.add([ms / 1000 for ms in (100, 102, 100, 100, 99, 104, 110, 90, 3000, 95)])
    assert [times.percentile(share) * 1e3 for share in (0.5, 0.9, 0.99)] == [100, 3000, 3000]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 10_000_000), min_size=1, max_size=60), st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]), st.integers(0, 60))
def test_percentiles_are_numpys_higher_however_they_are_merged(micros, share, cut):
    one, other = Latencies(), Latencies()
    one.add([time / 1e6 for time in micros[:cut]])
    other.add([time / 1e6 for time in micros[cut:]])
    one.merge(other)
    assert one.percentile(share) == pytest.approx(np.percentile(micros, share * 100, method="higher") / 1e6, abs=1e-9)


def test_what_is_no_time_is_left_out_and_many_times_are_rounded_up():
    times = Latencies()
    times.add(np.array([np.nan, -1.0, np.inf, 0.5]))
    assert (times.requests, times.percentile(0.5)) == (1, 0.5)
    assert math.isnan(Latencies().percentile(0.5))
    many = Latencies()
    exact = np.arange(1, 200_001) / 1e6
    many.add(exact)
    assert len(many.counts) < 5_000
    assert many.requests == 200_000
    for share in (0.5, 0.99):
        true = np.percentile(exact, share * 100, method="higher")
        assert true <= many.percentile(share) <= true * 1.01


def test_a_histogram_answers_with_the_upper_bound():
    assert Histogram((0.001, 0.01, math.inf), (90, 99, 100)).percentile(0.99) == math.inf
    assert Histogram((0.001, 0.01, math.inf), (90, 99, 99)).percentile(0.99) == 0.01
    assert math.isnan(Histogram().percentile(0.5))


@pytest.mark.parametrize(("requests", "seconds", "alerts"), [(1000, 0.2, 1), (1000, 0.1, 0), (19, 0.2, 0), (0, 0.2, 0)])
def test_slow_answers_are_an_alert(requests, seconds, alerts):
    times = Latencies()
    times.add([seconds] * requests)
    found, figures = check_latency(problem(), times, "the log", "latency")
    assert len(found) == alerts
    assert figures["latency.requests"] == requests
    if found:
        assert "200 ms, limit serving.latency_p99_ms = 100" in found[0].text
        assert not found[0].retrain


# Staleness


@pytest.mark.parametrize(
    ("newest", "end", "checks"),
    [
        ("2024-02-13", "2024-02-14", []),
        ("2024-02-14", "2024-02-15", ["staleness"]),
        ("2024-01-30", "2024-02-15", ["data"]),
        ("2024-02-01", "2024-02-15", []),
        (None, "2024-03-15", ["data"]),
        ("2024-02-20", "2024-03-15", ["staleness", "data"]),
    ],
)
def test_an_old_champion_and_data_that_stopped_are_different_things(newest, end, checks):
    day = dt.date.fromisoformat(newest) if newest else None
    found, figures = check_staleness(problem(), CHAMPION, day, dt.date.fromisoformat(end))
    assert [alert.check for alert in found] == checks
    assert [alert.retrain for alert in found] == [check == "staleness" for check in checks]
    assert all("limit monitoring.stale_days = 14" in alert.text for alert in found)
    assert figures["champion.age_days"] == (dt.date.fromisoformat(end) - dt.date(2024, 1, 31)).days


# Quality


@pytest.mark.parametrize(
    ("live", "gates", "texts"),
    [
        (outcome(0.9), [], []),
        (outcome(0.86), [], []),
        (outcome(0.84), [], ["was 0.9 when it was evaluated, limit 0.855"]),
        (outcome(0.84, width=0.05), [], []),
        (outcome(0.84, rows=99), [], []),
        (outcome(0.95), [{"metric": "auc", "at_least": 0.96}], ["limit at_least = 0.96"]),
        (outcome(0.9, precision=0.4), [{"metric": "precision", "at_least": 0.5}], ["live precision is 0.4"]),
        (outcome(0.9, brier=0.4), [{"metric": "brier", "at_most": 0.3}], ["limit at_most = 0.3"]),
        (outcome(0.9), [{"metric": "recall", "at_least": 0.5}, {"metric": "auc", "above_baseline_by": 0.1}], []),
        (outcome(0.9), [{"metric": "auc", "at_least": 0.95, "slices": True}], []),
        (None, [{"metric": "auc", "at_least": 0.95}], []),
    ],
)
def test_quality_is_held_against_gates_and_evaluation(live, gates, texts):
    found, figures = check_quality(problem(gates=gates), CHAMPION, live)
    assert len(found) == len(texts)
    for alert, text in zip(found, texts, strict=True):
        assert text in alert.text
        assert alert.retrain
    if live is not None:
        assert figures["live.rows"] == live.rows
        assert figures["evaluated.auc"] == 0.9


def test_where_less_is_better():
    champion = dataclasses.replace(CHAMPION, metric="rmse", value=10.0)
    assert not check_quality(problem(), champion, outcome(10.4, metric="rmse"))[0]
    assert not check_quality(problem(), champion, outcome(5.0, metric="rmse"))[0]
    assert "limit 10.5" in check_quality(problem(), champion, outcome(10.6, metric="rmse"))[0][0].text


def test_skew_is_no_reason_to_retrain():
    found, _ = check_skew({"x": 0.5, "z": 0.005}, 100)
    assert [(alert.check, alert.retrain) for alert in found] == [("skew", False)]
    assert check_skew({"x": 0.5}, 10)[0] == []


# The server

METRICS = r"""
# HELP windtunnel_requests_total Requests by how they ended
windtunnel_requests_total{code="200",model="p",protocol="http"} 90.0
windtunnel_requests_total{code="503",model="p",protocol="http"} 9.0
windtunnel_requests_total{code="200",model="p",protocol="grpc"} 1.0
windtunnel_requests_total{code="200",model="other",protocol="http"} 1000.0
windtunnel_request_seconds_bucket{le="0.1",model="p",protocol="http",route="a\"b",version="3"} 89.0
windtunnel_request_seconds_bucket{le="0.2",model="p",protocol="http",route="a\"b",version="3"} 90.0
windtunnel_request_seconds_bucket{le="+Inf",model="p",protocol="http",route="a\"b",version="3"} 90.0
windtunnel_request_seconds_bucket{le="0.1",model="p",protocol="json",route="champion",version="3"} 1.0
windtunnel_request_seconds_bucket{le="0.2",model="p",protocol="json",route="champion",version="3"} 1.0
windtunnel_request_seconds_bucket{le="+Inf",model="p",protocol="json",route="champion",version="3"} 1.0
"""


def test_metrics_are_read_and_added_up():
    codes, seconds = read_metrics(METRICS, "p")
    assert codes == {"200": 91, "503": 9}
    assert seconds == {"3": Histogram((0.1, 0.2, math.inf), (90.0, 91.0, 91.0))}


def test_a_server_that_fails_or_serves_something_else():
    codes, seconds = read_metrics(METRICS, "p")
    found, figures = check_server(problem(), Server("http://x", "", {"champion": "3"}, codes, seconds), CHAMPION)
    assert [alert.check for alert in found] == ["server", "latency"]
    assert "failed 9 of 100 requests for p (9.0%), limit 1%" in found[0].text
    assert (figures["server.up"], figures["server.p50_ms"], figures["server.p99_ms"]) == (1.0, 100.0, 200.0)
    found, _ = check_server(problem(), Server("http://x", "", {"champion": "2"}), CHAMPION)
    assert "calls version 2 of p champion, but the ledger says version 3" in found[0].text
    assert check_server(problem(), Server("http://x", "", {"champion": "3"}), CHAMPION)[0] == []


def test_a_server_that_is_down_is_an_alert():
    server = look_at_server(Settings(server_url="http://127.0.0.1:9"), "p")
    found, figures = check_server(problem(), server, CHAMPION)
    assert "http://127.0.0.1:9 does not answer" in found[0].text
    assert figures == {"server.up": 0.0}


@pytest.mark.parametrize("url", ["", "mlflow:", "some/folder"])
def test_no_server_is_no_alert(url):
    assert check_server(problem(), look_at_server(Settings(server_url=url), "p"), CHAMPION) == ([], {})
