"""Precomputed answers: the batch job's numbers are the server's, bit for bit; what is not there, or too old, the model answers."""

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.beam_jobs import predict
from windtunnel.beam_jobs.job import Progress
from windtunnel.lifecycle.contract.errors import ConfigurationError, IntegrityError, UnavailableError
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.references import SnapshotRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data import tables
from windtunnel.lifecycle.data.days import day_path, replace_days
from windtunnel.lifecycle.model import bundle
from windtunnel.lifecycle.release.targets import ServerTarget
from windtunnel.serving.base.batch import Rows
from windtunnel.serving.compiler.engine import Engine
from windtunnel.serving.routing.lookup import FILE, Lookup, key_of, write_lookup

HELPERS = Path(__file__).parent.parent / "serving" / "serving_models.py"
KEY = ["carrier", "flight", "origin"]


@pytest.fixture(scope="module")
def models():
    spec = importlib.util.spec_from_file_location("serving_models", HELPERS)
    module = importlib.util.module_from_spec(spec)
    sys.modules["serving_models"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["trees", "linear"])
def world(models, request, tmp_path_factory):
    """A compiled model, a snapshot of flights with one row a key, and the problem that wants them looked up."""
    root = tmp_path_factory.mktemp("lookup")
    models.flight_bundle(root / "bundle", request.param, iterations=10, lookup={"key": KEY, "max_age_hours": 1.0})
    frame = models.flights(1200, 4).drop_duplicates(KEY)
    frame["event_date"] = "2013-01-01"
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.set_column(table.schema.names.index("event_date"), "event_date", table.column("event_date").cast(pa.date32()))
    settings = Settings(artifacts=str(root / "a"), catalog_uri=f"sqlite:///{root}/catalog.db", warehouse=str(root / "w"))
    types = {"int64": "int64", "double": "float64"}
    problem = parse(
        {
            "name": "flight_delays",
            "owner": "o",
            "task": "binary",
            "source": {"format": "csv", "path": "x"},
            "columns": {name: types.get(str(table.schema.field(name).type), "string") for name in [*KEY, *models.NUMERIC, "arr_delay"]},
            "keys": KEY,
            "label": {"column": "arr_delay", "positive": {"above": 15}},
            "features": {"numeric": models.NUMERIC},
            "serving": {"lookup": {"max_age_hours": 1.0}},
        }
    )
    name = tables.table_name(problem, "examples")
    examples = tables.open_table(settings, name, table.schema)
    path = day_path(examples, "2013-01-01", "abc", 0)
    Path(path.removeprefix("file://")).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path.removeprefix("file://"), row_group_size=300)
    number = replace_days(settings, name, {"2013-01-01": [path]})
    ref = SnapshotRef(name, number, "2013-01-01", "2013-01-02", table.num_rows, 0, "f1")
    rows = models.rows_of(frame[[*KEY, *models.NUMERIC, "dest"]])
    return root, settings, problem, ref, rows


@pytest.fixture
def server():
    home = Path(tempfile.mkdtemp(prefix="wtl-"))
    command = [sys.executable, "-m", "windtunnel.serving", "--home", str(home), "--port", "0", "--workers", "2"]
    process = subprocess.Popen(command, env=os.environ | {"WINDTUNNEL_TOKEN": ""}, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with contextlib.suppress(OSError, ValueError):
                url = json.loads((home / "server.json").read_text())["url"]
                urllib.request.urlopen(f"{url}/v2/health/ready").close()
                yield ServerTarget(url)
                break
            time.sleep(0.1)
    finally:
        process.terminate()
        process.wait(timeout=30)
        shutil.rmtree(home, ignore_errors=True)


def counted(target):
    with urllib.request.urlopen(f"{target.url}/metrics") as answer:
        lines = [line for line in answer.read().decode().splitlines() if line.startswith("windtunnel_lookups_total{")]
    return {found: sum(float(line.rsplit(" ", 1)[1]) for line in lines if f'found="{found}"' in line) for found in ("true", "false")}


def test_the_server_s_answers_are_the_batch_s_bit_for_bit(world, server):
    root, settings, problem, ref, rows = world
    found = predict.precompute(problem, str(root / "bundle"), ref, settings, Progress())
    assert found.rows == len(rows)
    assert predict.precompute(problem, str(root / "bundle"), ref, settings, Progress()) == found
    server.push("flight_delays", "1", str(root / "bundle"), bundle.read(root / "bundle").digest, ["champion"])
    by_model = [server.predict("flight_delays", "champion", [row])[0] for row in rows[:150]]
    at_once = server.predict("flight_delays", "champion", rows[:150])
    assert counted(server) == {"true": 0, "false": 0}
    server.look_up("flight_delays", found.uri, found.digest)
    # Keys alone are enough now, in the types that a request happens to have.
    looked_up = [server.predict("flight_delays", "champion", [{name: row[name] for name in KEY}])[0] for row in rows[:150]]
    assert looked_up == by_model == at_once
    assert counted(server) == {"true": 150, "false": 0}
    # A key that is not there, and a request that has one, is the model's business.
    other = {**rows[0], "flight": 999_999}
    assert server.predict("flight_delays", "champion", [other])[0] == by_model[0]
    assert server.predict("flight_delays", "champion", [rows[1], other]) == [by_model[1], by_model[0]]
    assert counted(server) == {"true": 150, "false": 2}


def test_other_versions_and_old_answers_are_not_looked_up(world, server, models, tmp_path, monkeypatch):
    root, settings, problem, ref, rows = world
    found = predict.precompute(problem, str(root / "bundle"), ref, settings, Progress())
    models.flight_bundle(tmp_path / "other", "linear", seed=5, lookup={"key": KEY, "max_age_hours": 1.0})
    server.push("flight_delays", "1", str(root / "bundle"), bundle.read(root / "bundle").digest, ["champion"])
    server.push("flight_delays", "2", str(tmp_path / "other"), bundle.read(tmp_path / "other").digest, ["canary"])
    server.look_up("flight_delays", found.uri, found.digest)
    assert server.predict("flight_delays", "canary", rows[:1]) == Engine.load(tmp_path / "other").predict_rows(rows[:1])
    assert counted(server) == {"true": 0, "false": 0}
    # The same answers, made two hours ago.
    shutil.copytree(found.uri, tmp_path / "old")
    with sqlite3.connect(tmp_path / "old" / FILE) as database:
        database.execute("UPDATE about SET value = ? WHERE name = 'made_at'", (str(time.time() - 7200),))
        database.execute("UPDATE answers SET scores = ?", (np.array([0.25, 0.75]).tobytes(),))
    database.close()
    server.look_up("flight_delays", str(tmp_path / "old"), hashlib.sha256((tmp_path / "old" / FILE).read_bytes()).hexdigest())
    assert server.predict("flight_delays", "champion", rows[:1]) == Engine.load(root / "bundle").predict_rows(rows[:1])
    assert counted(server) == {"true": 0, "false": 1}
    with pytest.raises(IntegrityError, match="digest"):
        server.look_up("flight_delays", found.uri, "0" * 64)
    monkeypatch.setattr("windtunnel.lifecycle.contract.calls.PAUSE", 0.01)
    with pytest.raises(UnavailableError, match="has no answers"):
        server.look_up("flight_delays", str(tmp_path), "1" * 64)


def test_a_problem_without_a_lookup_says_so(world):
    root, settings, problem, ref, _ = world
    plain = problem.model_copy(update={"serving": problem.serving.model_copy(update={"lookup": None})})
    with pytest.raises(ConfigurationError, match=r"serving\.lookup"):
        predict.precompute(plain, str(root / "bundle"), ref, settings, Progress())


def test_the_last_of_equal_keys_counts_and_broken_files_are_refused(tmp_path):
    key = key_of(["é", 1])
    assert write_lookup(tmp_path / "a", ["x", "y"], "c", time.time(), 1, [(key, np.array([v]).tobytes()) for v in (1.0, 2.0)]) == 1
    known = Lookup(tmp_path / "a")
    assert known.find(Rows([{"x": "é", "y": 1.0}]), 60.0).tolist() == [[2.0]]
    assert known.find(Rows([{"x": "é"}]), 60.0) is None
    assert known.find(Rows([{"x": "é", "y": 1}]), -1.0) is None
    (tmp_path / "b").write_bytes(b"SQLite format 3\0" + b"x" * 200)
    with pytest.raises(IntegrityError, match="no file of precomputed answers"):
        Lookup(tmp_path / "b")
