"""Waiting for files in Airflow's triggerer, and by itself where there is none."""

import asyncio
import datetime as dt
import os
import time
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import TaskDeferred

from windtunnel.lifecycle.contract.errors import UnavailableError
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.operators import IngestOperator
from windtunnel.operators.arrival import ArrivalTrigger

TODAY = dt.datetime.now(dt.UTC).date()
DAYS = [TODAY - dt.timedelta(days=2), TODAY - dt.timedelta(days=1)]


@pytest.fixture
def landing(tmp_path, monkeypatch):
    for name, value in {
        "CATALOG_URI": f"sqlite:///{tmp_path}/catalog.db",
        "WAREHOUSE": str(tmp_path / "warehouse"),
        "ARTIFACTS": str(tmp_path / "artifacts"),
        "LANDING": str(tmp_path),
    }.items():
        monkeypatch.setenv(f"AIRFLOW__WINDTUNNEL__{name}", value)

    def land(day):
        path = tmp_path / f"{day}.csv"
        path.write_text("a,x,y\n1,2,3\n")
        os.utime(path, (time.time() - 3600,) * 2)

    land(DAYS[0])
    return land


def problem(**wait):
    values = {"name": "p", "owner": "o", "task": "regression", "label": {"column": "y"}, "keys": ["a"], "windows": {"train_days": 2}}
    values |= {"columns": {"a": "int64", "x": "int64", "y": "float64"}, "features": {"numeric": ["x"]}}
    return parse(values | {"source": {"format": "csv", "path": "{landing}/{day}.csv", **({"wait": wait} if wait else {})}})


def context():
    run = SimpleNamespace(dag_id="p", run_id="r", run_type="scheduled", conf={}, triggering_user_name="", run_after=None)
    return {"dag_run": run, "params": {"window_end": str(TODAY)}, "run_id": "r", "ti": None}


async def first(trigger):
    async for event in trigger.run():
        return event.payload
    return None


def test_it_leaves_the_worker_until_the_file_has_come(landing):
    operator = IngestOperator(task_id="ingest", problem=problem(until=48), deferrable=True, data_version="")
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context())
    path, arguments = deferred.value.trigger.serialize()
    assert path == f"{ArrivalTrigger.__module__}.{ArrivalTrigger.__name__}"
    trigger = ArrivalTrigger(**(arguments | {"poll": 0.02}))

    async def wait():
        looking = asyncio.create_task(first(trigger))
        await asyncio.sleep(0.2)
        assert not looking.done()
        landing(DAYS[1])
        return await asyncio.wait_for(looking, 30)

    event = asyncio.run(wait())
    assert event == {"lacking": {}}
    snapshot = getattr(operator, deferred.value.method_name)(context(), event)
    assert (snapshot["rows"], snapshot["end"]) == (2, str(TODAY))


def test_when_the_time_is_over_it_fails_and_says_which_day(landing):
    waiting = problem(until=0)
    trigger = ArrivalTrigger(waiting.model_dump(mode="json"), {"start": str(DAYS[0]), "end": str(TODAY)}, str(landing), 60.0)
    event = asyncio.run(asyncio.wait_for(first(trigger), 30))
    assert list(event["lacking"]) == [str(DAYS[1])]
    operator = IngestOperator(task_id="ingest", problem=waiting, deferrable=True, data_version="")
    with pytest.raises(UnavailableError, match=f"{DAYS[1]}: no file"):
        operator.execute_complete(context(), event)


def test_without_a_triggerer_the_task_waits_by_itself_and_airflows_option_decides(landing, monkeypatch):
    monkeypatch.setattr("windtunnel.lifecycle.data.sources.arrival.POLL_SECONDS", 0.02)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    looks = []

    def lacking(*_):
        looks.append(1)
        if len(looks) > 1:
            landing(DAYS[1])
        return {} if len(looks) > 2 else {str(DAYS[1]): "no file"}

    monkeypatch.setattr("windtunnel.lifecycle.data.sources.arrival.lacking_days", lacking)
    operator = IngestOperator(task_id="ingest", problem=problem(until=48), data_version="")
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    with pytest.raises(TaskDeferred):
        operator.execute(context())
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "False")
    assert operator.execute(context())["rows"] == 2
    assert operator.execution_timeout >= dt.timedelta(hours=48 + 6), "waiting takes nothing of the time to work"


def test_without_wait_the_cutoff_is_that_of_the_newest_day_that_came(landing, caplog):
    operator = IngestOperator(task_id="ingest", problem=problem(), deferrable=True, data_version="")
    snapshot = operator.execute(context())
    assert (snapshot["rows"], snapshot["start"], snapshot["end"]) == (1, str(DAYS[0]), str(DAYS[1]))
    assert f"the data cut-off is {DAYS[1]} and not {TODAY}" in caplog.text
    landing(DAYS[1])
    assert operator.execute(context())["end"] == str(TODAY), "it came: the next run claims it"
