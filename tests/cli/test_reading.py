"""One reader for every command: what it guesses it says, and whatever data is like, a command ends with figures or one message."""

import gzip
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
import yaml
from pyarrow import orc

from windtunnel.cli.main import main


@pytest.fixture
def run(tmp_path, capsys):
    """A command over one file: its exit status, standard output and standard error."""

    def call(command, name, data, *more):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        capsys.readouterr()
        status = main([*command.split(), str(path), *more])
        out, err = capsys.readouterr()
        return status, out, err

    return call


def profiled(run, data, *more, name="x.csv"):
    status, out, err = run("profile", name, data, *more, "--json")
    assert status == 0, err
    return json.loads(out), err


def inferred(run, data, *more, name="x.csv"):
    status, out, err = run("schema --infer", name, data, *more)
    assert status == 0, err
    return yaml.safe_load(out), [line for line in out.splitlines() if line.startswith("#")]


def test_what_does_not_print_back_is_text_and_says_why(run):
    found, comments = inferred(run, "zip,hex,n,plus\n" + "".join(f"{i:05},{i:#x},{i},+{i}\n" for i in range(100, 200)))
    assert found["columns"] == {"zip": "string", "hex": "string", "n": "int64", "plus": "string"}
    assert any("zip: text, because 100 of 100 would lose characters as numbers: '00100' (line 2)" in line for line in comments)


def test_a_zero_in_front_after_many_blocks_is_seen_too(run):
    body = "1,x\n" * 1_200_000 + "007,y\n" + "2,z\n" * 10
    found, comments = inferred(run, "a,b\n" + body)
    assert found["columns"] == {"a": "string", "b": "string"}
    assert any("'007' (line 1200002)" in line for line in comments)


def test_blanks_among_numbers_are_told_with_their_lines_and_the_option(run):
    data = "a,b\n" + "".join(f"{i},{' ' if i % 100 == 7 else i + 0.5}\n" for i in range(1000))
    _, comments = inferred(run, data)
    assert any(
        "b: text, because 10 of 1,000 values are not numbers: ' ' (line 9); if these mean no value: nulls: ['', ' ']" in c for c in comments
    )
    found, _ = inferred(run, data, "--nulls", ", ")
    assert found["columns"]["b"] == "float64"
    assert found["source"]["options"]["nulls"] == ["", " "]


def test_nulls_mean_the_same_everywhere(run):
    data = "a,b\n1,x\nNA,y\n3,z\n"
    assert inferred(run, data)[0]["columns"]["a"] == "string"
    assert inferred(run, data, "--nulls", "NA,")[0]["columns"]["a"] == "int64"


@pytest.mark.parametrize(
    ("data", "more", "rows", "option"),
    [
        ("Report of 2020\nby us\nid,n\n" + "1,2\n" * 20, (), 20, {"skip_lines": 2}),
        ("Report of 2020\nby us\nid,n\n" + "1,2\n" * 20, ("--skip-lines", "2"), 20, {}),
        ("Report,,\nid,n,m\n" + "1,2,3\n" * 20, (), 20, {"skip_lines": 1}),
        ("id;n\n" + "1;2\n" * 20, (), 20, {"delimiter": ";"}),
        ("id,n\n" + "1,2,\n" * 20, (), 20, {}),
        ("id,n,\n" + "1,2,\n" * 20, (), 20, {}),
        ("id,n,\n" + "1,2\n" * 20, (), 20, {}),
        ("1,2\n" * 20, ("--no-header",), 20, {}),
        ("1.000,5;x\n" * 20, ("--no-header", "--delimiter", ";", "--thousands", ".", "--decimal-point", ","), 20, {}),
        ("id,n\n1,a\\,b\n", ("--escape", "\\"), 1, {}),
    ],
)
def test_layouts(run, data, more, rows, option):
    told, _ = profiled(run, data, *more)
    assert told["rows"] == rows
    assert told.get("reading", {}).get("options", {}) == option
    assert not any(name.startswith("(unnamed") for name in told["columns"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("1,2\n3,4\n5,6\n", "--no-header"),
        ("a,b,c\n1,2\n3,4\n", "none of 2 records is a row of 3 columns"),
        ('a,"b\n1,2\n', "line 1: the header opens a quote that is never closed"),
    ],
)
def test_nothing_read_is_no_success(run, data, message):
    status, _, err = run("profile", "x.csv", data)
    assert status == 1
    assert message in err


def test_years_may_be_names(run):
    assert profiled(run, "country,2010,2011\nA,1,2\nB,3,4\n")[0]["rows"] == 2


def test_broken_quotes_cost_their_own_rows_alone(run):
    rows = [f'{i},"name {i}"' for i in range(99)] + ['99,"5" inch"']
    told, err = profiled(run, "id,name\n" + "\n".join(rows) + "\n")
    assert (told["rows"], told["columns"]["id"]["dtype"]) == (99, "int64")
    assert told["skipped"]["samples"][0]["line"] == 101
    assert "1 rows do not fit and were left out: line 101 name a closing quote is followed by ' '" in err


def test_no_mark_of_ours_is_a_value(run):
    told, _ = profiled(run, b"a\nx\n\n\xff\n\ny\n")
    assert (told["rows"], sorted(value for value, _ in told["columns"]["a"]["top"])) == (2, ["x", "y"])


def test_a_problem_file_says_how_its_csv_is_read(run, tmp_path):
    (tmp_path / "p.yaml").write_text(
        "name: p\nowner: o\ntask: regression\ncolumns: {a: int64, b: string}\nlabel: {column: a}\nfeatures: {categorical: [b]}\nkeys: [b]\n"
        "source: {format: csv, path: x, options: {delimiter: '|', nulls: ['-']}}\n"
    )
    told, _ = profiled(run, "a|b\n1|x\n-|y\n", "--problem", str(tmp_path / "p.yaml"))
    assert (told["columns"]["a"]["dtype"], told["columns"]["a"]["nulls"]) == ("int64", 1)


@pytest.mark.parametrize("option", [{"skip_lines": "2"}, {"header": "no"}, {"delimiter": '"'}, {"decimal_point": ","}])
def test_options_of_a_wrong_type_are_named(option):
    from windtunnel.lifecycle.contract.errors import ConfigurationError
    from windtunnel.lifecycle.data.sources.text.inferred import TextOptions

    with pytest.raises(ConfigurationError, match=next(iter(option))):
        TextOptions.of(option, "problem p")


def parquet(table):
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def footer():
    sink = io.BytesIO()
    with pyarrow.ipc.new_file(sink, pa.schema([("a", pa.int64())])) as writer:
        writer.write_table(pa.table({"a": range(1000)}))
    data = bytearray(sink.getvalue())
    data[-26] ^= 0xFF
    return bytes(data)


BORDER = {
    "twice.parquet": (parquet(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])), "column 'a' is there 2 times"),
    "year.parquet": (parquet(pa.table({"a": pa.array([2**40 * 10**6], pa.timestamp("us"))})), "column 'a' row 1"),
    "day.parquet": (parquet(pa.table({"a": pa.array([1, 6_000_000], pa.date32())})), "column 'a' row 2"),
    "footer.arrow": (footer(), "is not a readable Arrow IPC file"),
    "cut.json": (b'[{"a": 1},\n{"a": 2', "line 2: the array cannot be read on"),
}


@pytest.mark.parametrize("name", BORDER)
@pytest.mark.parametrize("command", ["profile", "schema --infer"])
def test_nothing_but_our_errors_leaves_a_command(run, command, name):
    data, message = BORDER[name]
    status, _, err = run(command, name, data)
    assert status == 1
    assert message in err


def test_json_arrays_and_numbers_that_widen(run):
    assert profiled(run, '[\n {"a": 1,\n  "b": "x"},\n {"a": 2}\n]\n', name="x.json")[0]["rows"] == 2
    told, _ = profiled(run, '{"a": 1}\n' * 20_000 + '{"a": 2.5}\n', name="x.jsonl")
    assert (told["rows"], told["columns"]["a"]["dtype"]) == (20_001, "double")
    assert profiled(run, '{"a": 1}\n{"a": 9223372036854775808}\n', name="x.jsonl")[0]["columns"]["a"]["dtype"] == "string"


def test_page_checksums_are_verified(run):
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": np.arange(1000) * 7919 % 1009}), sink, write_page_checksum=True, compression="none", use_dictionary=False)
    data = bytearray(sink.getvalue())
    data[2000] ^= 0x01
    status, _, err = run("profile", "x.parquet", bytes(data))
    assert status == 1
    assert "row group 0" in err


def test_a_suite_is_proposed_from_csv_as_profile_reads_it(run):
    data = "id;zip\n" + "".join(f"{i};{i:05}\n" for i in range(50))
    status, out, err = run("infer-suite", "x.csv", data)
    assert status == 0
    assert "zip: text" in err
    kinds = {entry["kwargs"]["column"] for entry in json.loads(out)["expectations"] if "column" in entry["kwargs"]}
    assert kinds == {"id", "zip"}


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: gzip.compress(data[:40]) + gzip.compress(data[40:])])
def test_compressed_whatever_the_name(run, pack):
    assert profiled(run, pack(b"a,b\n" + b"1,x\n" * 30))[0]["rows"] == 30


def damaged(whole, rng, times):
    """Copies with bytes flipped, cut off, left out, or swapped."""
    for i in range(times):
        data = bytearray(whole)
        if i % 4 == 0:
            data = data[: int(rng.integers(1, len(data)))]
        elif i % 4 == 1:
            for spot in rng.integers(0, len(data), 1 + i % 7):
                data[spot] ^= int(rng.integers(1, 256))
        elif i % 4 == 2:
            start = int(rng.integers(0, len(data) - 8))
            data[start : start + 8] = data[start : start + 8][::-1]
        else:  # near the end: lengths and footers
            data[-int(rng.integers(1, min(600, len(data))))] ^= int(rng.integers(1, 256))
        yield bytes(data)


def columnar(kind):
    table = pa.table({"a": np.arange(3000), "b": [f"t{i % 97}" for i in range(3000)], "c": pa.array(np.arange(3000), pa.timestamp("us"))})
    sink = io.BytesIO()
    if kind == "parquet":
        pq.write_table(table, sink, row_group_size=1000)
    else:
        with pyarrow.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=1000)
    return sink.getvalue()


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("times", [40, pytest.param(400, marks=pytest.mark.slow)])
def test_damaged_files_are_rows_or_one_message(run, tmp_path, kind, times):
    from windtunnel.lifecycle.contract.errors import WindtunnelError
    from windtunnel.lifecycle.contract.problem import parse
    from windtunnel.lifecycle.contract.settings import Settings
    from windtunnel.lifecycle.data.sources import Piece, read

    path = tmp_path / f"x.{kind}"
    problem = parse(
        {
            "name": "p",
            "owner": "o",
            "task": "regression",
            "source": {"format": kind, "path": str(path)},
            "columns": {"a": "int64", "b": "string", "c": "timestamp"},
            "features": {"categorical": ["b"]},
            "label": {"column": "a"},
        }
    )
    for data in damaged(columnar(kind), np.random.default_rng(times), times):
        status, _, err = run("profile", f"x.{kind}", data)
        assert status in {0, 1}
        assert not status or err.startswith("windtunnel profile: ")
        try:
            for chunk in read(problem, Piece(0, str(path)), Settings()):
                assert chunk.rows == chunk.batch.num_rows + len(chunk.rejected)
        except WindtunnelError:
            continue


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("{},5", "decimal_point: ','"),
        ("1.{:03},25", "decimal comma"),
        ("1,{:03}.50", "thousands: ','"),
        ("{:02}/01/2024", "%d/%m/%Y"),
        ("{} kg", "with a unit"),
        ("€{}", "currency"),
    ],
)
def test_numbers_and_dates_that_are_written_otherwise_are_text_and_said(run, cell, said):
    rows = "".join(f'{i};"{cell.format(i % 12 + 1)}"\n' for i in range(60))
    told, err = profiled(run, f"id;v\n{rows}")
    assert told["columns"]["v"]["dtype"] == "string"
    assert "v: text, because its values are" in err
    assert said in err
    assert "because" not in profiled(run, "id;v\n" + "".join(f"{i};word {i} of many\n" for i in range(60)))[1]


def test_what_is_no_table_of_text_is_refused(run):
    status, _, err = run("profile", "x.csv", "id||name||v\n" + "".join(f"{i}||n{i}||2\n" for i in range(30)))
    assert status == 1
    assert "two delimiters, '||'" in err
    status, _, err = run("profile", "x.csv", "id,name\n")
    assert status == 1
    assert "not a single row" in err
    sink = io.BytesIO()
    orc.write_table(pa.table({"a": [1, 2, 3]}), sink)
    status, _, err = run("profile", "x.orc", sink.getvalue())
    assert status == 1
    assert "ORC" in err or "binary data" in err
    status, _, err = run("profile", "x.db", b"SQLite format 3\0" + bytes(200))
    assert status == 1
    assert "an SQLite database" in err
