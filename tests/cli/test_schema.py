import datetime as dt
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from windtunnel.cli.data.schema import reference
from windtunnel.cli.main import COMMANDS, main

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_is_up_to_date():
    assert (DOCS / "problem.md").read_text(encoding="utf-8") == reference() + "\n", "run: windtunnel schema --markdown > docs/problem.md"


def test_every_field_says_what_it_means():
    for line in reference().splitlines():
        if line.startswith("| `"):
            name, meaning = line.split("|")[1], line.split("|")[4]
            bounds = {"above", "at_least", "at_most", "equals", "not_equals", "above_baseline_by", "above_champion_by"}
            costs = {"false_positive", "false_negative", "true_positive", "true_negative"}
            assert meaning.strip() or name.strip(" `") in bounds | costs | {"format"}, line


def test_the_schema_is_json(capsys):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Problem"


DATA = "id,price,when,open,note\n1,1.5,2013-01-01,true,\n2,,2013-01-02,false,x y\n3,2,2013-01-03,true,\n"


def test_columns_are_inferred_and_then_pinned(tmp_path, capsys):
    """What was found stands in the problem file; a later run holds the source to it, whatever inference would say by then."""
    from windtunnel.beam_jobs.ingest import ingest
    from windtunnel.beam_jobs.job import Progress
    from windtunnel.lifecycle.contract.errors import QuarantineLimitError, SchemaMismatchError
    from windtunnel.lifecycle.contract.problem import parse
    from windtunnel.lifecycle.contract.settings import Settings
    from windtunnel.lifecycle.contract.window import Window

    source = tmp_path / "x.csv"
    source.write_text(DATA)
    assert main(["schema", "--infer", str(source)]) == 0
    columns = yaml.safe_load(capsys.readouterr().out)["columns"]
    assert columns == {"id": "int64", "price": "float64", "when": "date", "open": "bool", "note": "string"}
    settings = Settings(catalog_uri=f"sqlite:///{tmp_path}/c.db", warehouse=str(tmp_path / "w"), artifacts=str(tmp_path / "a"))
    window = Window(dt.date(2013, 1, 1), dt.date(2013, 1, 4))
    values = {"name": "p", "owner": "o", "task": "regression", "event_time": {"column": "when"}, "label": {"column": "price"}}
    values |= {"source": {"format": "csv", "path": str(source)}, "features": {"categorical": ["note"]}}
    problem = parse(values | {"columns": columns})
    assert ingest(problem, window, settings, Progress()).rows == 3
    source.write_text(DATA.replace("1,1.5", "1,cheap"))
    with pytest.raises(QuarantineLimitError, match="'price' is not double"):
        ingest(problem, window, settings, Progress())
    source.write_text(DATA.replace("note", "remark"))
    with pytest.raises(SchemaMismatchError, match="'note' missing"):
        ingest(problem, window, settings, Progress())
    source.write_text(DATA.replace("note\n", "note,new\n").replace(",\n", ",,\n").replace("x y\n", "x y,7\n"))
    assert ingest(problem, window, settings, Progress()).rows == 3, "a column more is not looked at until the problem declares it"
    grown = parse(values | {"columns": columns | {"new": "int64"}})
    assert ingest(grown, window, settings, Progress()).rows == 3
    with pytest.raises(SchemaMismatchError, match="is int64 in the table but the problem now says string"):
        ingest(parse(values | {"columns": columns | {"new": "string"}}), window, settings, Progress())


def test_what_cannot_be_inferred_is_said(tmp_path, capsys):
    pq.write_table(pa.table({"a": [1], "b": [[1]]}), tmp_path / "x.parquet")
    assert main(["schema", "--infer", str(tmp_path / "x.parquet")]) == 0
    assert "# left out: b" in capsys.readouterr().out
    assert main(["schema", "--infer", str(tmp_path / "none.csv")]) == 1
    assert "no such file" in capsys.readouterr().err


def test_every_command_exists_and_says_what_it_does(capsys):
    import importlib

    for name, command in COMMANDS.items():
        found = importlib.import_module(command.module)
        assert callable(found.run), name
        assert callable(found.add_arguments), name
        assert command.text
        assert command.examples


def test_a_clear_message_instead_of_a_traceback(capsys, tmp_path):
    assert main(["status", "--home", str(tmp_path / "none")]) == 1
    assert "windtunnel status: no instance" in capsys.readouterr().err
