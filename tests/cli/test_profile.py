"""The commands profile and compare, as a person calls them."""

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
    assert main(["profile", path, "--json", str(tmp_path / "s.json"), "--html", str(tmp_path / "s.html"), "--label", "c"]) == 0
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
    assert main(["compare", even, far, "--json", str(tmp_path / "1.json"), "--html", str(tmp_path / "1.html")]) == 0
    assert main(["compare", str(tmp_path / "even"), str(tmp_path / "far"), "--json", str(tmp_path / "2.json")]) == 0
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


def test_slices(table, tmp_path, capsys):
    even, far = table("even.parquet"), table("far.parquet", 0.7)
    assert main(["compare", even, far, "--slice", "c=a"]) == 0
    assert "2,000 and 2,800 rows" in capsys.readouterr().out
    assert main(["profile", even, "--slice", "c", "--json", str(tmp_path / "s.json")]) == 0
    assert json.loads((tmp_path / "s.json").read_text())["slices"]["c=b"]["rows"] == 2000
    assert main(["compare", even, far, "--slice", "c=z"]) == 1


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
    assert main(["profile", str(tmp_path), "--json", "-"]) == 1
    assert "no such file" in capsys.readouterr().err


def test_types_widen_as_values_come(tmp_path, capsys):
    rows = ["1,1,1"] * 900_000 + ["1.5,x,2"]  # past the block that types are guessed from
    (tmp_path / "x.csv").write_text("a,b,c\n" + "\n".join([*rows, "1,2", ""]))
    assert main(["profile", str(tmp_path / "x.csv"), "--json", str(tmp_path / "s.json")]) == 0
    told = json.loads((tmp_path / "s.json").read_text())
    assert [told["columns"][name]["dtype"] for name in "abc"] == ["double", "string", "int64"]
    assert told["rows"] == 900_001
    assert told["skipped"]["rows"] == 1
    assert "1 rows" in capsys.readouterr().err


def test_json_lines(tmp_path, capsys):
    (tmp_path / "x.jsonl").write_text('{"a": 1, "b": "x"}\n{"a": 2.5}\n')
    assert main(["profile", str(tmp_path / "x.jsonl")]) == 0
    assert capsys.readouterr().out.startswith("2 rows")
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n[1]\n')
    assert main(["profile", str(tmp_path / "x.jsonl")]) == 1
    assert "line 2" in capsys.readouterr().err
