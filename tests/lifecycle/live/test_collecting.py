import dataclasses
import datetime as dt
import json
import multiprocessing
import shutil
import time
from pathlib import Path

import pyarrow as pa
import pytest

from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.days import day_files, day_path, replace_days
from windtunnel.lifecycle.data.parquet import batches, write_file
from windtunnel.lifecycle.data.tables import existing, open_table
from windtunnel.lifecycle.live.collecting import collect
from windtunnel.serving.base.log import PredictionLog
from windtunnel.serving.routing.ship import to_parquet

NEW_YEAR = 1_704_067_200.0
PROBLEM = parse(
    {
        "name": "p",
        "owner": "o",
        "task": "multiclass",
        "source": {"format": "csv", "path": "x"},
        "columns": {"k": "int64", "y": "string"},
        "keys": ["k"],
        "features": {"numeric": ["k"]},
        "label": {"column": "y"},
    }
)


@pytest.fixture
def place(tmp_path):
    return Settings(
        catalog_uri=f"sqlite:///{tmp_path}/catalog.db",
        warehouse=str(tmp_path / "w"),
        artifacts=str(tmp_path / "a"),
        server_log=str(tmp_path / "server" / "predictions"),
    )


def answer(home, numbers, at=NEW_YEAR, problem="p"):
    """What the model server's own log and shipping leave for some answers."""
    writer = PredictionLog(home / "log", 0)
    for number in numbers:
        answers = [{"prediction": "cat", "score": 0.7, "probabilities": [0.7, 0.3]}]
        about = {"problem": problem, "model": problem, "version": "1", "route": "champion", "protocol": "json", "seconds": 0.001}
        writer.append({"id": f"r{number}", "time": at, **about, "inputs": [{"k": number}], "answers": answers})
    writer.close()
    return to_parquet(home)


def held(place):
    table = existing(place, "p.predictions")
    return (
        [] if table is None else [row for b in batches([entry.path for entry in day_files(table) if entry.rows]) for row in b.to_pylist()]
    )


def ids(place):
    return sorted(row["request_id"] for row in held(place))


def test_shipped_logs_come_into_the_table_and_go_from_the_folder(place, tmp_path):
    home = tmp_path / "server"
    answer(home, range(3))
    answer(home, [9], problem="other")
    assert collect(PROBLEM, place) == 3
    assert ids(place) == ["r0", "r1", "r2"]
    row = held(place)[0]
    assert (row["prediction"], row["seconds"]) == ("cat", 0.001)
    assert (json.loads(row["probabilities"]), json.loads(row["inputs"])) == ([0.7, 0.3], {"k": 0})
    assert row["predicted_at"].timestamp() == NEW_YEAR
    assert [path.parts[-3] for path in home.rglob("*.parquet")] == ["other"]


def test_nothing_to_collect_is_no_error(place):
    assert collect(PROBLEM, place) == 0
    assert collect(PROBLEM, dataclasses.replace(place, server_log="")) == 0
    assert existing(place, "p.predictions") is None


def test_later_logs_are_added_and_none_is_taken_twice(place, tmp_path):
    home = tmp_path / "server"
    first = answer(home, range(3))
    kept = tmp_path / "kept.parquet"
    shutil.copy(first[0], kept)
    collect(PROBLEM, place)
    answer(home, range(3, 5))
    answer(home, range(5, 6), at=NEW_YEAR + 86_400)
    shutil.copy(kept, first[0])  # as if it had been killed after the commit and before the removal
    assert collect(PROBLEM, place) == 3
    assert ids(place) == [f"r{number}" for number in range(6)]
    assert collect(PROBLEM, place) == 0
    assert not list(home.rglob("predictions/**/*.parquet"))
    assert {str(row["event_date"]) for row in held(place)} == {"2024-01-01", "2024-01-02"}


def test_answers_of_batch_jobs_stay(place, tmp_path):
    schema = pa.schema([("event_date", pa.date32()), ("k", pa.int64()), ("prediction", pa.string())])
    table = open_table(place, "p.predictions", schema)
    path = day_path(table, "2024-01-01", "ba00", 0)
    rows = pa.Table.from_pylist([{"event_date": dt.date(2024, 1, 1), "k": 7, "prediction": "dog"}], schema=schema)
    write_file(path.rpartition("/")[0], [rows], schema, lambda: path)
    replace_days(place, "p.predictions", {"2024-01-01": [path]}, among="ba")
    answer(tmp_path / "server", range(2))
    collect(PROBLEM, place)
    answer(tmp_path / "server", range(2, 4))
    collect(PROBLEM, place)
    assert sorted(row["prediction"] for row in held(place)) == ["cat"] * 4 + ["dog"]


def test_a_damaged_log_does_not_stop_the_others(place, tmp_path):
    home = tmp_path / "server"
    (bad,) = answer(home, range(3))
    bad.write_bytes(bad.read_bytes()[:100])
    time.sleep(0.01)
    answer(home, range(3, 5))
    assert collect(PROBLEM, place) == 2
    assert collect(PROBLEM, place) == 0
    assert bad.exists()


def _collect(place):
    collect(PROBLEM, place)


def test_collecting_at_the_same_time_takes_each_answer_once(place, tmp_path):
    for start in range(0, 30, 10):
        answer(tmp_path / "server", range(start, start + 10))
    processes = [multiprocessing.get_context("spawn").Process(target=_collect, args=(place,)) for _ in range(3)]
    for process in processes:
        process.start()
    answer(tmp_path / "server", range(30, 40))
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    collect(PROBLEM, place)
    assert ids(place) == sorted(f"r{number}" for number in range(40))
    assert not list(Path(place.server_log).rglob("*.parquet"))
