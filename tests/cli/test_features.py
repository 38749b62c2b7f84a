"""``windtunnel features`` and ``python -m windtunnel.beam_jobs.features``."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from windtunnel.beam_jobs.features import load_shards
from windtunnel.cli.main import main

MODULE = """
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def make():
    return make_column_transformer((StandardScaler(), ["x"]), (OneHotEncoder(), ["c"]))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    pd.DataFrame({"x": np.arange(50.0), "c": ["a", "b"] * 25, "y": np.arange(50)}).to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "my_features.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_fits_then_applies(folder, capsys):
    assert main(["features", "rows.parquet", "--transformer", "my_features:make", "--label", "y", "--output", "out"]) == 0
    assert "50 rows, 3 features (dense), 1 pass to fit" in capsys.readouterr().out
    x, y = load_shards("out")
    assert x.shape == (50, 3)
    assert y.tolist() == list(range(50))
    assert main(["features", "rows.parquet", "--fitted", "out", "--output", "again", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 50
    np.testing.assert_array_equal(load_shards("again")[0], x)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rows.parquet", "--transformer", "my_features:absent"], "cannot be made"),
        (["absent.parquet", "--transformer", "my_features:make"], "no such file"),
        (["rows.parquet", "--fitted", "nowhere"], "pipeline.skops"),
        (["rows.parquet", "--transformer", "my_features:make", "--columns", "x"], "not columns"),
    ],
    ids=["no function", "no data", "not fitted", "no column"],
)
def test_says_what_is_wrong(folder, capsys, arguments, says):
    assert main(["features", *arguments, "--output", "out"]) == 1
    assert says in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_the_job_alone(folder):
    spec = {"data": "rows.parquet", "transformer": "my_features:make", "output": "out", "options": {"label": "y"}}
    (folder / "spec.json").write_text(json.dumps(spec))
    command = [sys.executable, "-m", "windtunnel.beam_jobs.features", "--spec", "spec.json", "--result", "result.json"]
    subprocess.run(command, check=True, cwd=folder, capture_output=True)
    assert json.loads((folder / "result.json").read_text())["width"] == 3
    (folder / "spec.json").write_text(json.dumps({"data": "rows.parquet"}))
    assert subprocess.run(command, check=False, cwd=folder, capture_output=True).returncode == 1
    assert "output" in json.loads((folder / "result.json").read_text())["error"]["message"]
