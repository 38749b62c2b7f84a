"""A world of its own for each test: the real flights of 2013 in a catalog, and predictions as the model server logs them."""

import dataclasses
import datetime as dt
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from windtunnel.cli.running.landing import lay_out
from windtunnel.lifecycle.contract.problem import Problem, load
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.rows import DAY, label_of

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside the tests

PROBLEM = Path(__file__).parents[2] / "dags" / "problems" / "flight_delays.yaml"


@pytest.fixture(scope="session")
def landing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("landing")
    lay_out(folder)
    return folder


@dataclasses.dataclass
class World:
    """Flights come in, people ask, answers are logged."""

    settings: Settings
    problem: Problem
    _numbers: Any = dataclasses.field(default_factory=itertools.count)

    @staticmethod
    def window(start, end):
        return Window(dt.date.fromisoformat(start), dt.date.fromisoformat(end))

    def ingest(self, start, end):
        from windtunnel.beam_jobs.ingest import ingest
        from windtunnel.beam_jobs.job import Progress

        return ingest(self.problem, self.window(start, end), self.settings, Progress())

    def examples(self, day):
        from windtunnel.lifecycle.data.days import day_files
        from windtunnel.lifecycle.data.parquet import batches
        from windtunnel.lifecycle.data.tables import existing, table_name

        table = existing(self.settings, table_name(self.problem, "examples"))
        return pa.Table.from_batches(list(batches([entry.path for entry in day_files(table) if entry.day == day])))

    def contents(self, kind):
        from windtunnel.lifecycle.data.days import day_files
        from windtunnel.lifecycle.data.parquet import batches
        from windtunnel.lifecycle.data.tables import existing, table_name

        table = existing(self.settings, table_name(self.problem, kind))
        found = [] if table is None else list(batches([entry.path for entry in day_files(table) if entry.rows]))
        return pa.Table.from_batches(found) if found else None

    def ask(self, rows, at, *, version="1", scores=None, seconds=(0.002,), route="champion", shadow=False, drop=(), change=None, log=True):
        """An answer to each row, one request each; without `scores` every answer is right."""
        from windtunnel.serving.routing.entries import Entries

        truth = label_of(self.problem, rows).to_pylist()
        logged = Entries()
        for index, row in enumerate(rows.drop_columns([DAY]).to_pylist()):
            score = (0.9 if truth[index] else 0.1) if scores is None else scores[index]
            sent = {name: value for name, value in row.items() if name not in drop and name != self.problem.label.column}
            entry = {
                "id": f"request-{next(self._numbers)}",
                "time": at.timestamp(),
                "problem": self.problem.name,
                "model": self.problem.name,
                "version": version,
                "route": route,
                "seconds": seconds[index % len(seconds)],
                "inputs": [sent | (change or {})],
                "answers": [{"prediction": "1" if score >= 0.5 else "0", "score": score}],
            }
            logged.add(entry | ({"shadow": True} if shadow else {}))
        entries = logged.table().to_pylist()
        if log:
            self.log(entries)
        return entries

    def log(self, entries):
        """Put logged rows into the table of predictions, beside what is there."""
        from windtunnel.lifecycle.data.days import day_files, day_path, replace_days
        from windtunnel.lifecycle.data.parquet import write_file
        from windtunnel.lifecycle.data.predictions import LOGGED
        from windtunnel.lifecycle.data.tables import open_table, table_name

        schema = pa.schema([pa.field(f.name, pa.string()) if f.name == "probabilities" else f for f in LOGGED])
        name = table_name(self.problem, "predictions")
        for day in sorted({entry["event_date"] for entry in entries}):
            table = open_table(self.settings, name, schema)
            mine = [
                entry | {"probabilities": entry["probabilities"] and json.dumps(entry["probabilities"])}
                for entry in entries
                if entry["event_date"] == day
            ]
            path = day_path(table, day, f"ca{next(self._numbers):032x}", 0)
            write_file(path.rpartition("/")[0], [pa.Table.from_pylist(mine, schema=schema)], schema, lambda path=path: path)
            there = [entry.path for entry in day_files(table) if entry.day == day.isoformat()]
            replace_days(self.settings, name, {day.isoformat(): [*there, path]})


@pytest.fixture
def world(tmp_path, landing):
    settings = Settings(
        catalog_uri=f"sqlite:///{tmp_path}/catalog.db",
        warehouse=str(tmp_path / "warehouse"),
        artifacts=str(tmp_path / "artifacts"),
        ledger_uri=f"sqlite:///{tmp_path}/ledger.db",
        landing=str(landing),
    )
    return World(settings, load(PROBLEM))


@pytest.fixture(scope="module")
def server():
    """An S3 on the loopback interface."""
    import fsspec
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        running.start()
        host, port = running.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "something",
            "AWS_DEFAULT_REGION": "us-east-1",
            "NO_PROXY": "127.0.0.1,localhost",
        }.items():
            patch.setenv(name, value)
        yield running
        running.stop()
        fsspec.filesystem("s3").clear_instance_cache()


@pytest.fixture
def bucket(server, request):
    """A bucket of the test's own."""
    import fsspec

    name = f"b{abs(hash(request.node.nodeid))}"
    fsspec.filesystem("s3").mkdir(name)
    return name
