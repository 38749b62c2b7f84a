"""Batch scoring: the same numbers as online, once, whatever is run twice."""

import importlib.util
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from windtunnel.beam_jobs import predict
from windtunnel.beam_jobs.job import Progress
from windtunnel.lifecycle.contract.errors import ConfigurationError, IntegrityError
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.references import SnapshotRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data import pins, tables
from windtunnel.lifecycle.data.days import day_path, replace_days
from windtunnel.lifecycle.model import bundle
from windtunnel.serving.compiler.engine import Engine

HELPERS = Path(__file__).parent.parent / "serving" / "serving_models.py"


@pytest.fixture(scope="module")
def models():
    spec = importlib.util.spec_from_file_location("serving_models", HELPERS)
    module = importlib.util.module_from_spec(spec)
    sys.modules["serving_models"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scored(models, tmp_path_factory):
    """A bundle, and flights as Parquet of several row groups with a day."""
    root = tmp_path_factory.mktemp("predict")
    models.flight_bundle(root / "bundle", "linear", abstain_below=0.6)
    frame = models.flights(6000, 0)
    frame["event_date"] = [f"2013-01-0{1 + n % 3}" for n in range(len(frame))]
    table = pa.Table.from_pandas(frame, preserve_index=False)
    place = table.schema.names.index("event_date")
    table = table.set_column(place, "event_date", table.column("event_date").cast(pa.date32()))
    pq.write_table(table, root / "rows.parquet", row_group_size=700)
    return root, table


@pytest.mark.parametrize("options", [{}, {"runner_options": "--direct_runner_bundle_repeat=1"}, {"workers": 2}])
def test_every_row_once_with_the_engine_s_numbers(scored, tmp_path, options):
    root, table = scored
    spec = {
        "bundle": str(root / "bundle"),
        "data": str(root / "rows.parquet"),
        "output": str(tmp_path / "out"),
        "keep": ["flight", "event_date"],
        **options,
    }
    found = predict.run(spec, Progress())
    assert (found["rows"], found["engine"]) == (table.num_rows, "plan")
    assert sorted(str(path) for path in (tmp_path / "out").iterdir()) == sorted(found["files"])
    answers = ds.dataset(found["files"]).to_table()
    wanted = Engine.load(root / "bundle").predict(table.combine_chunks().to_batches()[0])
    assert sorted(answers.column("value").to_pylist()) == sorted(wanted.column("score").to_pylist())
    assert set(answers.column("decision").to_pylist()) == {"model", "person"}


def test_a_snapshot_into_the_table_of_predictions(scored, tmp_path, models):
    root, table = scored
    settings = Settings(artifacts=str(tmp_path / "a"), catalog_uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=str(tmp_path / "w"))
    columns = {
        name: {"int64": "int64", "double": "float64"}.get(str(table.schema.field(name).type), "string")
        for name in ("flight", "dep_delay", "arr_delay")
    }
    problem = parse(
        {
            "name": "flight_delays",
            "owner": "o",
            "task": "binary",
            "source": {"format": "csv", "path": "x"},
            "columns": columns,
            "keys": ["flight"],
            "label": {"column": "arr_delay", "positive": {"above": 15}},
            "features": {"numeric": ["dep_delay"]},
        }
    )
    name = tables.table_name(problem, "examples")
    examples = tables.open_table(settings, name, table.schema)
    days = {}
    for day in ("2013-01-01", "2013-01-02", "2013-01-03"):
        path = day_path(examples, day, "abc", 0)
        Path(path.removeprefix("file://")).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.filter(pa.compute.equal(table.column("event_date").cast(pa.string()), day)), path.removeprefix("file://"))
        days[day] = [path]
    number = replace_days(settings, name, days)
    ref = SnapshotRef(name, number, "2013-01-01", "2013-01-04", table.num_rows, 0, "f1")
    first = predict.predict(problem, str(root / "bundle"), ref, settings, Progress())
    assert (first.table, first.rows) == ("flight_delays.predictions", table.num_rows)
    assert predict.predict(problem, str(root / "bundle"), ref, settings, Progress()) == first
    # Scored anew (other rows, other fingerprint): a day's answers are replaced, not added to.
    again = predict.predict(problem, str(root / "bundle"), SnapshotRef(**{**ref.__dict__, "fingerprint": "f2"}), settings, Progress())
    rows = ds.dataset(pins.files(settings, again)).to_table()
    assert rows.num_rows == table.num_rows
    assert {"flight", "arr_delay", "event_date", "prediction", "value", "version", "route"} <= set(rows.schema.names)


def test_a_wrong_bundle_is_refused(scored, tmp_path):
    root, _ = scored
    with pytest.raises(ConfigurationError, match="lacks 'output'"):
        predict.run({"bundle": "b", "data": "d"}, Progress())
    with pytest.raises(IntegrityError):
        predict.run(
            {"bundle": str(root / "bundle"), "data": str(root / "rows.parquet"), "output": str(tmp_path), "digest": "0" * 64}, Progress()
        )


def test_the_command_prints_what_it_did(scored, tmp_path, capsys):
    from windtunnel.cli.main import main

    root, table = scored
    asked = ["predict", str(root / "bundle"), str(root / "rows.parquet"), "-o", str(tmp_path / "out"), "--keep", "flight"]
    assert main(asked) == 0
    assert f"{table.num_rows:,} rows scored" in capsys.readouterr().out
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == table.num_rows
    assert found["digest"] == bundle.read(root / "bundle").digest
