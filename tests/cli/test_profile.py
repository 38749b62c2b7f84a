"""The commands profile and compare, as a person calls them."""

import datetime as dt
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.cli.main import main


@pytest.fixture
def table(tmp_path):
    def write(name: str, share: float = 0.5, rows: int = 4000) -> str:
        rng = np.random.default_rng(0)
        data = pa.table(
            {"n": rng.normal(size=rows), "c": np.where(np.arange(rows) < rows * share, "a", "b"), "t": [f"id {i}" for i in range(rows)]}
        )
        path = tmp_path / name
        if name.endswith("parquet"):
            pq.write_table(data, path)
        else:
            data.to_pandas().to_csv(path, index=False)
        return str(path)

    return write


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.csv.gz"])
def test_profile_writes_what_the_manual_says(table, tmp_path, name):
    path = table(name)
    assert main(["profile", path, "--json", "-o", str(tmp_path / "s.json"), "--html", str(tmp_path / "s.html"), "--label", "c"]) == 0
    told = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert told["rows"] == 4000
    assert set(told["columns"]["n"]) >= {"count", "nulls", "distinct", "min", "max", "mean", "std", "quantiles", "top"}
    assert told["columns"]["c"]["top"] == [["a", 2000], ["b", 2000]]
    assert (tmp_path / "s.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_glob_a_folder_and_several_paths(table, tmp_path, capsys):
    table("a.parquet")
    table("b.parquet")
    for data in ([str(tmp_path / "*.parquet")], [str(tmp_path)], [str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")]):
        assert main(["profile", *data]) == 0
        assert capsys.readouterr().out.startswith("8,000 rows")


@pytest.mark.parametrize("end", ["parquet", "csv"])
def test_compare_alerts_on_seventy_thirty_and_not_on_fifty_two(table, end, capsys):
    even, near, far = table(f"even.{end}"), table(f"near.{end}", 0.52), table(f"far.{end}", 0.7)
    assert main(["compare", even, near, "--fail"]) == 0
    assert "drifted: none" in capsys.readouterr().out
    assert main(["compare", even, far, "--fail"]) == 3
    assert "drifted: c\n" in capsys.readouterr().out


def test_compare_of_kept_statistics_is_the_same(table, tmp_path):
    even, far = table("even.parquet"), table("far.parquet", 0.7)
    for name, path in (("even", even), ("far", far)):
        assert main(["profile", path, "--state", str(tmp_path / name)]) == 0
    assert main(["compare", even, far, "--json", "-o", str(tmp_path / "1.json"), "--html", str(tmp_path / "1.html")]) == 0
    assert main(["compare", str(tmp_path / "even"), str(tmp_path / "far"), "--json", "-o", str(tmp_path / "2.json")]) == 0
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


def test_slices(table, tmp_path, capsys):
    even, far = table("even.parquet"), table("far.parquet", 0.7)
    assert main(["compare", even, far, "--slice", "c=a"]) == 0
    assert "2,000 and 2,800 rows" in capsys.readouterr().out
    assert main(["profile", even, "--slice", "c", "--json", "-o", str(tmp_path / "s.json")]) == 0
    assert json.loads((tmp_path / "s.json").read_text())["slices"]["c=b"]["rows"] == 2000
    assert main(["compare", even, far, "--slice", "c=z"]) == 1


PROBLEM = """
name: p
owner: o
task: binary
source: {format: csv, path: "{landing}/{day}.csv"}
columns: {n: float64, c: string, t: string}
label: {column: c, positive: {equals: a}}
features: {numeric: [n]}
keys: [t]
sensitive: [c]
"""


def test_each_side_is_any_slice_or_split(table, tmp_path, capsys):
    far = table("far.parquet", 0.7)
    (tmp_path / "p.yaml").write_text(PROBLEM)
    assert main(["compare", far, far, "--a-slice", "c=a", "--b-slice", "c=b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == [2800, 1200]
    split = ["--problem", str(tmp_path / "p.yaml"), "--a-split", "train", "--b-split", "test"]
    assert (
        main(["compare", far, far, *split, "--html", str(tmp_path / "s.html"), "--json", "-o", str(tmp_path / "s.json"), "--label", "c"])
        == 0
    )
    told = json.loads((tmp_path / "s.json").read_text())
    assert sum(told["rows"]) == 4000
    assert 600 < told["rows"][1] < 1000
    assert (told["drifted"], told["label_shift"]["shifted"]) == ([], False)
    assert "split test" in (tmp_path / "s.html").read_text()
    assert main(["profile", far, "--problem", str(tmp_path / "p.yaml"), "--state", str(tmp_path / "state")]) == 0
    assert main(["compare", str(tmp_path / "state"), str(tmp_path / "state"), "--a-split", "train", "--b-split", "test", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == told["rows"]
    assert main(["compare", far, far, "--split", "train"]) == 1
    assert "give --problem" in capsys.readouterr().err
    assert main(["compare", far, far, *split, "--slice", "c=a"]) == 1
    assert "not both" in capsys.readouterr().err


def test_a_label_shifts_at_seventy_thirty(table, capsys):
    even, near, far = table("even.parquet"), table("near.parquet", 0.52), table("far.parquet", 0.7)
    assert main(["compare", even, far, "--label", "c", "--ignore", "c", "--fail"]) == 3
    assert "! label c: a class's share changed by 20.0%" in capsys.readouterr().out
    assert main(["compare", even, near, "--label", "c", "--fail"]) == 0
    assert main(["compare", even, far, "--label", "z"]) == 1
    assert "there is no column 'z'" in capsys.readouterr().err


@pytest.fixture
def lake(tmp_path, monkeypatch):
    """Days 1 to 7 with as many a as b, days 8 to 14 with 70 of 100; then day 1 is delivered anew."""
    from windtunnel.beam_jobs.ingest import ingest
    from windtunnel.beam_jobs.job import Progress
    from windtunnel.lifecycle.contract.problem import load
    from windtunnel.lifecycle.contract.settings import Settings
    from windtunnel.lifecycle.contract.window import Window

    (tmp_path / "l").mkdir()
    (tmp_path / "p.yaml").write_text(PROBLEM + "windows: {train_days: 14}\nsplits: {by: time, test: 0.5}\n")
    places = {"catalog_uri": f"sqlite:///{tmp_path}/c.db", "warehouse": str(tmp_path / "w"), "artifacts": str(tmp_path / "a")}
    for name, value in {**places, "landing": str(tmp_path / "l")}.items():
        monkeypatch.setenv(f"AIRFLOW__WINDTUNNEL__{name.upper()}", value)
    settings, problem = Settings.from_environment(), load(tmp_path / "p.yaml")

    def land(day, share, rows=300):
        lines = [f"{i / 7},{'a' if i < rows * share else 'b'},{day}-{i}" for i in range(rows)]
        (tmp_path / "l" / f"2013-01-{day:02}.csv").write_text("\n".join(["n,c,t", *lines]))

    for day in range(1, 15):
        land(day, 0.5 if day < 8 else 0.7)
    window = Window(dt.date(2013, 1, 1), dt.date(2013, 1, 15))
    first = ingest(problem, window, settings, Progress())
    land(1, 0.5, 30)
    ingest(problem, window, settings, Progress())
    return first


def test_windows_snapshots_and_splits_of_a_table(lake, tmp_path, capsys):
    name = lake.table
    assert main(["compare", name, name, "--a-end", "2013-01-08", "--b-start", "2013-01-08", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], "c" in told["drifted"]) == ([1830, 2100], True)
    assert main(["compare", name, name, "--a-snapshot", str(lake.snapshot_id), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == [4200, 3930]
    split = ["--problem", str(tmp_path / "p.yaml"), "--a-split", "train", "--b-split", "test"]
    assert main(["compare", name, name, *split, "--end", "2013-01-15", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], "c" in told["drifted"]) == ([1830, 2100], True)
    assert main(["compare", name, name, *split]) == 1
    assert "give --end" in capsys.readouterr().err
    assert main(["compare", name, name, "--a-snapshot", "nothing"]) == 1
    assert "nothing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"a,a\n1,2\n", "2 times"),
        ("a,b\n1,2\n".encode("utf-16"), "utf-16"),
        (b"<html><body>", "HTML"),
        (b"PAR1xxxx", "Parquet"),
        (b"\xd0\xcf\x11\xe0" + b"\0" * 100, "Excel"),
    ],
)
def test_what_cannot_be_read_is_one_message(tmp_path, capsys, data, message):
    (tmp_path / "x.csv").write_bytes(data)
    assert main(["profile", str(tmp_path / "x.csv")]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_nothing_there(tmp_path, capsys):
    assert main(["profile", str(tmp_path / "none.csv")]) == 1
    assert main(["profile", str(tmp_path), "--json"]) == 1
    assert "no such file" in capsys.readouterr().err


def test_types_widen_as_values_come(tmp_path, capsys):
    rows = ["1,1,1"] * 900_000 + ["1.5,x,2"]  # past the block that types are guessed from
    (tmp_path / "x.csv").write_text("a,b,c\n" + "\n".join([*rows, "1,2", ""]))
    assert main(["profile", str(tmp_path / "x.csv"), "--json", "-o", str(tmp_path / "s.json")]) == 0
    told = json.loads((tmp_path / "s.json").read_text())
    assert [told["columns"][name]["dtype"] for name in "abc"] == ["double", "string", "int64"]
    assert told["rows"] == 900_001
    assert told["skipped"]["rows"] == 1
    assert "1 rows" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        ("x.tsv", "a, b, c\td\n1\t2\n", ["a, b, c", "d"]),
        ("x.csv", "id;text\n1;a, b, c, d\n2;e, f\n", ["id", "text"]),
        ("x.csv", "id|a,b|c\n1|2|3\n", ["id", "a,b", "c"]),
        ("x.csv", "id,a;b;c,d\n1,2,3\n2,3,4\n", ["id", "a;b;c", "d"]),
        ("x.txt", "only\none\ncolumn, says who\n", ["only"]),
    ],
)
def test_what_stands_between_cells_is_found(tmp_path, name, text, columns):
    (tmp_path / name).write_text(text)
    assert main(["profile", str(tmp_path / name), "--json", "-o", str(tmp_path / "s.json")]) == 0
    assert list(json.loads((tmp_path / "s.json").read_text())["columns"]) == columns


def test_json_lines(tmp_path, capsys):
    (tmp_path / "x.jsonl").write_text('{"a": 1, "b": "x"}\n{"a": 2.5}\n')
    assert main(["profile", str(tmp_path / "x.jsonl")]) == 0
    assert capsys.readouterr().out.startswith("2 rows")
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n[1]\n')
    assert main(["profile", str(tmp_path / "x.jsonl")]) == 1
    assert "line 2" in capsys.readouterr().err
