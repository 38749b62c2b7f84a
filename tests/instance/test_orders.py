"""Backfills through a real Airflow, oldest first, newest first and shuffled, each while a scheduled run goes on; and counterfactual ones.

``WINDTUNNEL_TEST_DAYS`` says how many days each backfill has (3; 30 were run for docs/ledger.md).
"""

import datetime as dt
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from windtunnel.cli.instance import Instance
from windtunnel.cli.running.airflow_api import AirflowApi
from windtunnel.lifecycle.judging.counterfactual import answer
from windtunnel.lifecycle.record.champion import champion, registered
from windtunnel.lifecycle.record.ledger import Ledger
from windtunnel.lifecycle.record.tracking import client
from windtunnel.lifecycle.release.targets import ServerTarget

pytestmark = [pytest.mark.instance, pytest.mark.slow, pytest.mark.timeout(3600)]

COUNT = int(os.environ.get("WINDTUNNEL_TEST_DAYS", "3"))
BEFORE = 2  # days in front of them, for the counterfactual
TODAY = dt.datetime.now(dt.UTC).date()
DAYS = [TODAY - dt.timedelta(days=COUNT + 1 - i) for i in range(COUNT)]  # the scheduled run's day, yesterday, is not among them
EARLIER = [DAYS[0] - dt.timedelta(days=BEFORE - i) for i in range(BEFORE)]
NAMES = ("oldest_first", "newest_first", "shuffled")
_ENDED = {"success", "failed"}


def _problem(name: str, landing: Path) -> dict[str, Any]:
    return {
        "name": name,
        "owner": "test@example.org",
        "task": "binary",
        "source": {"format": "csv", "path": f"{landing}/{{day}}.csv"},
        "columns": {"at": "date", "id": "int64", "a": "float64", "b": "float64", "y": "int64"},
        "event_time": {"column": "at"},
        "keys": ["id"],
        "label": {"column": "y", "positive": {"equals": 1}},
        "features": {"numeric": ["a", "b"]},
        "windows": {"train_days": 2},
        "model": {"family": "linear"},
        "budget": {"trials": 0},
        "limits": {"label_shift": 1.0, "drift": 100.0},
        "gates": [{"metric": "auc", "at_least": 0.6}, {"metric": "auc", "above_champion_by": -0.3}],
        "approval": {"promotion": "auto"},
        "schedule": "0 0 * * *",
        "start_date": (EARLIER[0] - dt.timedelta(days=2)).isoformat(),
    }


@pytest.fixture(scope="module")
def orders() -> Any:
    """An instance with one problem an order, over the same synthetic days up to yesterday."""
    home = Path(tempfile.mkdtemp(prefix="wt-"))
    landing, dags = home / "landing", home / "dags"
    landing.mkdir()
    (dags / "problems").mkdir(parents=True)
    first = EARLIER[0] - dt.timedelta(days=2)
    for i in range((TODAY - first).days):
        day, rng = first + dt.timedelta(days=i), np.random.default_rng(i)
        a, b = rng.normal(size=400), rng.normal(size=400)
        y = (a - b / 2 + rng.normal(size=400) > 0).astype(int)
        frame = pd.DataFrame({"at": day.isoformat(), "id": np.arange(400) + 1000 * i, "a": a, "b": b, "y": y})
        frame.to_csv(landing / f"{day}.csv", index=False)
    shutil.copy(Path(__file__).parents[2] / "dags" / "lifecycle.py", dags)
    running = Instance(home / "w", dags=dags)
    try:
        running.up()
        yield running
    finally:
        running.down()
        shutil.rmtree(home, ignore_errors=True)


def _backfill(orders: Instance, dag: str, days: list[dt.date], *more: str) -> None:
    command = [sys.executable, "-m", "airflow", "backfill", "create", "--dag-id", dag, "--max-active-runs", "3"]
    command += ["--from-date", days[0].isoformat(), "--to-date", days[-1].isoformat(), *more]
    environment = {**os.environ, **orders.environment()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _until(question: Callable[[], Any], seconds: float) -> Any:
    end = time.monotonic() + seconds
    while not (found := question()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(1)
    return found


def _ended(api: AirflowApi, dag: str, count: int) -> list[dict[str, Any]] | None:
    runs = api.call(f"dags/{dag}/dagRuns?limit=200")["dag_runs"]
    return runs if len(runs) == count and all(run["state"] in _ENDED for run in runs) else None


@pytest.fixture(scope="module")
def runs(orders: Instance) -> dict[str, list[dict[str, Any]]]:
    """All runs of each order: the scheduled one begins when Airflow sees the DAG, and goes on while the others start."""
    api = AirflowApi(orders.airflow_url, orders.token())
    found = {}
    for name in NAMES:
        problem = _problem(name, orders.home.parent / "landing")
        (orders.home.parent / "dags" / "problems" / f"{name}.yaml").write_text(yaml.safe_dump(problem), encoding="utf-8")
        api.wait_for_dag(name)
        api.call(f"dags/{name}", {"is_paused": False}, method="PATCH")
        if name == "shuffled":
            for day in random.Random(3).sample(DAYS, COUNT):
                api.trigger(name, {"window_end": (day + dt.timedelta(days=1)).isoformat()})
        else:
            _backfill(orders, name, DAYS, *(["--run-backwards"] if name == "newest_first" else []))
        found[name] = _until(lambda name=name: _ended(api, name, COUNT + 1), 60 + 40 * COUNT)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_whatever_the_order_the_champion_is_the_scheduled_runs_and_the_ledger_says_why(
    orders: Instance, runs: dict[str, list[dict[str, Any]]], name: str
) -> None:
    assert {run["state"] for run in runs[name]} == {"success"}
    assert sum(run["run_type"] == "scheduled" for run in runs[name]) == 1
    settings = orders.settings()
    ledger, present, versions = Ledger(settings), champion(settings, name), registered(settings, name)
    assert present is not None
    assert present.cutoff == TODAY.isoformat()
    assert present.value == champion(settings, NAMES[0]).value, "the same data, the same figures"
    aliases = client(settings).get_registered_model(name).aliases
    assert str(aliases["champion"]) == present.version
    assert len(versions) == COUNT + 1
    assert {str(entry.payload["cutoff"]) for entry in versions.values()} == {
        *((day + dt.timedelta(days=1)).isoformat() for day in DAYS),
        TODAY.isoformat(),
    }
    refused = {str(entry.payload["version"]) for entry in ledger.entries(name, ["refusal"]) if entry.payload["reason"]}
    promoted = ledger.entries(name, ["promotion"])
    assert set(versions) == refused | {str(entry.payload["version"]) for entry in promoted}
    cutoffs = [str(entry.payload["cutoff"]) for entry in promoted]
    assert cutoffs == sorted(cutoffs), "production never went back in time"
    if name != "shuffled":
        assert cutoffs == [TODAY.isoformat()], "a backfill never changes what is in production"
        assert set(aliases) >= {f"asof-{day + dt.timedelta(days=1)}" for day in DAYS}
    found = ledger.at(name, dt.datetime.now(dt.UTC))
    assert found is not None
    assert (found.version, [entry.kind for entry in found.evidence][-3:]) == (present.version, ["evaluation", "decision", "register"])
    server = ServerTarget(settings.server_url, settings.server_token).versions(name)
    assert [version for version, entry in server.items() if "champion" in entry["labels"]] == [present.version]
    ledger.verify()


def test_a_counterfactual_backfill_answers_and_touches_nothing(orders: Instance, runs: dict[str, list[dict[str, Any]]]) -> None:
    name, settings = NAMES[1], orders.settings()
    api, ledger, mlflow = AirflowApi(orders.airflow_url, orders.token()), Ledger(settings), client(settings)
    server = ServerTarget(settings.server_url, settings.server_token)

    def production() -> tuple[Any, ...]:
        model = mlflow.get_registered_model(name)
        versions = sorted(int(version.version) for version in mlflow.search_model_versions(f"name = '{name}'"))
        at = ledger.at(name, dt.datetime.now(dt.UTC))
        decisive = [entry.hash for entry in ledger.entries(name, ["promotion", "rollback", "register", "evaluation"])]
        return champion(settings, name), dict(model.aliases), versions, at, decisive, server.versions(name)

    before = production()
    _until(lambda: all(entry["completed_at"] for entry in api.call(f"backfills?dag_id={name}")["backfills"]), 120)
    _backfill(orders, name, EARLIER, "--run-backwards", "--dag-run-conf", '{"counterfactual": true}')
    ended = _until(lambda: _ended(api, name, COUNT + 1 + BEFORE), 300)
    mine = [run for run in ended if (run["conf"] or {}).get("counterfactual")]
    assert [run["state"] for run in mine] == ["success"] * BEFORE
    assert production() == before
    assert {api.result(name, run["dag_run_id"], "deploy")["deployed"] for run in mine} == {False}
    rows = answer(settings, name)
    cutoffs = [(day + dt.timedelta(days=1)).isoformat() for day in EARLIER]
    assert [row["cutoff"] for row in rows[:BEFORE]] == cutoffs
    assert all(row["source"] == "counterfactual" and row["champion"] == row["cutoff"] and row["approved"] for row in rows[:BEFORE])
    newest = {str(entry.payload["cutoff"]): entry for entry in ledger.entries(name, ["counterfactual"])}
    judged = [newest[cutoff].payload["judged_against"] for cutoff in cutoffs]
    assert judged == ["", *(row["candidate"] for row in rows[: BEFORE - 1])], "each against the day before, though they ran backwards"
    ledger.verify()
