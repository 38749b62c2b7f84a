"""Values that the model server was asked about."""

import datetime as dt
import json

import pyarrow as pa
import pytest

from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.predictions import LOGGED
from windtunnel.lifecycle.data.tables import open_table
from windtunnel.lifecycle.judging.evaluation import unseen
from windtunnel.lifecycle.live.seen import seen_live


@pytest.fixture
def settings(tmp_path):
    return Settings(catalog_uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=str(tmp_path / "warehouse"))


def test_without_a_log_nothing_was_seen(settings):
    assert seen_live(settings, "churn", ["plan"]) == {}
    assert seen_live(Settings(), "churn", ["plan"]) == {}


def test_values_of_logged_requests_that_no_judged_row_has_are_listed(settings):
    asked = [json.dumps({"plan": plan, "age": 3}) for plan in ("gold", "gold", "new", "basic")] + [None, json.dumps({"age": 1})]
    rows = [{**dict.fromkeys(LOGGED.names), "event_date": dt.date(2026, 1, 1), "inputs": text} for text in asked]
    open_table(settings, "churn.predictions", LOGGED).append(pa.Table.from_pylist(rows, schema=LOGGED))
    found = seen_live(settings, "churn", ["plan", "redacted"])
    assert found == {"plan": {"gold": 2, "new": 1, "basic": 1}}
    domains = {"plan": {"basic": [9, 4], "gold": [5, 0], "old": [1, 0]}}
    assert unseen(domains, found) == [{"column": "plan", "count": 2, "values": [{"value": "gold", "rows": 2}, {"value": "new", "rows": 1}]}]
    assert [entry["value"] for entry in unseen(domains)[0]["values"]] == ["gold", "old"]
