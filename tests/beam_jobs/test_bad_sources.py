"""Broken sources, each through ingest and through `windtunnel profile`: rows, quarantine with the reason, or one clear message."""

import contextlib
import datetime as dt
import gzip
import io
import json
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from windtunnel.beam_jobs.ingest import ingest
from windtunnel.beam_jobs.job import Progress
from windtunnel.cli.main import main
from windtunnel.lifecycle.contract.errors import UnavailableError, WindtunnelError
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.sources.untyped import format_of
from windtunnel.lifecycle.data.tables import load_table

WINDOW = Window(dt.date(2013, 1, 1), dt.date(2013, 1, 2))
GOOD = b"a,b\n" + b"".join(b"%d,x%d\n" % (i, i) for i in range(500))


def make(path, kind="csv", columns=None, **options):
    columns = columns or {"a": "int64", "b": "string"}
    return parse(
        {
            "name": "p",
            "owner": "o",
            "task": "regression",
            "source": {"format": kind, "path": str(path), "options": options},
            "columns": columns,
            "optional_columns": [name for name in columns if name.startswith("maybe")],
            "features": {"numeric": [next(iter(columns))]},
            "label": {"column": list(columns)[-1]},
            "limits": {"quarantine_share": 0.1},
        }
    )


@pytest.fixture
def place(tmp_path):
    return Settings(catalog_uri=f"sqlite:///{tmp_path}/c.db", warehouse=str(tmp_path / "w"), artifacts=str(tmp_path / "a"))


def ingested(problem, place):
    """(rows, quarantined) as the tables say, or the error; after an error nothing is in them."""
    try:
        ref = ingest(problem, WINDOW, place, Progress())
    except WindtunnelError as error:
        with contextlib.suppress(UnavailableError):
            assert load_table(place, "p.examples").scan().to_arrow().num_rows == 0
        return error
    assert load_table(place, "p.examples").scan().to_arrow().num_rows == ref.rows
    assert load_table(place, "p.quarantine").scan().to_arrow().num_rows == ref.quarantined
    return ref.rows, ref.quarantined


def profiled(path, capsys, *more):
    """What the command writes, or its one message."""
    capsys.readouterr()
    code = main(["profile", str(path), "--json", *more])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    if code:
        assert code == 1
        assert err.startswith("windtunnel profile: ")
        return err
    return json.loads(out)


def _zip(*members):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return sink.getvalue()


QUOTED = b'a,b\n1,"two\nlines"\n2,"a ""quoted"" word"\n3,"a, comma"\n' + b"4,x\n" * 50
# name: bytes, what ingest gives (rows, quarantined) or a part of its message, what profile gives (rows) or a part of its message
CASES = {
    "truncated.csv.gz": (gzip.compress(GOOD)[:-40], "truncated or damaged", "truncated or damaged"),
    "no_end.csv.gz": (gzip.compress(GOOD)[:-8], "truncated or damaged", "truncated or damaged"),
    "not.csv.gz": (b"\x1f\x8b" + b"nonsense" * 20, "truncated or damaged", "truncated or damaged"),
    "twice.csv.gz": (gzip.compress(GOOD) + gzip.compress(b"7,y\n"), (501, 0), 501),
    "utf16.csv": (GOOD.decode().encode("utf-16"), "utf-16", "utf-16"),
    "latin1.csv": (GOOD + "9,Zürich\n".encode("latin-1"), (500, 1), 500),
    "ragged.csv": (GOOD + b"1\n1,2,3\n,,,,\n", (500, 3), 500),
    "quoted.csv": (QUOTED, (53, 0), 53),
    "open_quote.csv": (GOOD + b'9,"never closed\n' + b"10,x\n" * 20, (520, 1), 520),
    "bom.csv": (b"\xef\xbb\xbf" + GOOD, (500, 0), 500),
    "two_boms.csv": (b"\xef\xbb\xbf\xef\xbb\xbf" + GOOD, (500, 0), 500),
    "nul.csv": (GOOD + b"9,x\0y\n", (500, 1), 500),
    "nul_only.csv": (b"\0" * 5000, "binary", "binary"),
    "twice_named.csv": (b"a,b,a\n1,2,3\n", "2 times", "2 times"),
    "unnamed.csv": (b"a,,b\n" + b"1,2,3\n" * 20, (20, 0), 20),
    "no_header_names.csv": (b",\n1,2\n", "'a', 'b' missing", 1),
    "blank_lines.csv": (b"\n\n" + GOOD.replace(b"\n", b"\n\n"), (500, 0), 500),
    "spaces.csv": (b"a , b\n 1 , x\n" * 1 + b"2,y\n" * 20, (21, 0), 21),
    "huge_cell.csv": (GOOD + b'9,"' + b"z" * (10 << 20) + b'"\n', (501, 0), 501),
    "mixed.csv": (GOOD + b"eleven,x\n1.5,y\n1e3,z\n9999999999999999999,w\n", (500, 4), 504),
    "mac.csv": (GOOD.replace(b"\n", b"\r"), (500, 0), 500),
    "mixed_ends.csv": (b"a,b\r\n1,x\n2,y\r\n3,z\n" + b"4,w\n" * 30, (33, 0), 33),
    "formula.csv": (GOOD + b"9,=cmd|' /C calc'!A0\n", (501, 0), 501),
    "nothing.csv": (b"", "empty", "empty"),
    "newlines.csv": (b"\n\n\n", "empty", "empty"),
    "html.csv": (b"<!DOCTYPE html><html><body>404</body></html>", "missing", "HTML"),
    "header.csv": (b"a,b\n", "no row", "not a single row"),
    "bad_only.csv": (b"a,b\n" + b"x,y\n" * 30, "30 of 30 rows", 30),
    "two.zip": (_zip(("1.csv", GOOD), ("2.csv", GOOD)), (1000, 0), 1000),
    "empty.zip": (_zip(), "holds no file", "holds no file"),
    "bomb_like.csv.gz": (gzip.compress(b"a,b\n" + b"1,x\n" * 1_000_000), (1_000_000, 0), 1_000_000),
    "wide.csv": (b"a,b," + b",".join(b"c%d" % i for i in range(3000)) + b"\n" + b",".join([b"1"] * 3002) + b"\n", (1, 0), 1),
    "escapes.csv": (b'a,b\n1,"x\\"\n2,y\n' + b"3,z\n" * 20, (22, 0), 22),
    "control.csv": (GOOD + b"9,\x1b[31mred\x07\n", (501, 0), 501),
    "surrogate.csv": (GOOD + b"9,\xed\xa0\x80\n", (500, 1), 500),
    "unicode_digits.csv": (GOOD + "٣,x\n".encode(), (500, 1), 501),
}


@pytest.mark.parametrize("name", CASES)
def test_csv(name, tmp_path, place, capsys):
    data, kept, shown = CASES[name]
    path = tmp_path / name
    path.write_bytes(data)
    got = ingested(make(path), place)
    assert got == kept if isinstance(kept, tuple) else kept in str(got), str(got)
    told = profiled(path, capsys)
    if isinstance(shown, str):
        assert isinstance(told, str), told
        assert shown in told
    elif shown is not None:
        assert not isinstance(told, str), told
        assert told["rows"] == shown


COLUMNAR = {
    "empty.parquet": b"",
    "short.parquet": b"PAR1",
    "marks.parquet": b"PAR1" + b"\xff" * 100 + b"PAR1",
    "text.parquet": GOOD,
    "short.arrow": b"ARROW1\0\0",
    "text.arrow": GOOD,
    "array.jsonl": b'[{"a": 1}]\n',
    "cut.jsonl": b'{"a": 1, "b": "x"}\n{"a": 2, "b"\n',
    "scalar.jsonl": b"17\n",
    "deep.jsonl": b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}\n",
    "binary.jsonl": bytes(range(256)) * 10,
    "empty.jsonl": b"",
}


@pytest.mark.parametrize("name", COLUMNAR)
def test_other_formats(name, tmp_path, place, capsys):
    path = tmp_path / name
    path.write_bytes(COLUMNAR[name])
    kind = name.rpartition(".")[2]
    assert isinstance(ingested(make(path, kind), place), WindtunnelError)
    profiled(path, capsys)  # a message or rows (text is text whatever its name), never a trace


def _parquet(**options):
    sink = io.BytesIO()
    rows = 60_000
    pq.write_table(pa.table({"a": np.arange(rows), "b": [f"t{i % 977}" for i in range(rows)]}), sink, row_group_size=20_000, **options)
    return bytearray(sink.getvalue())


def _arrow():
    sink = io.BytesIO()
    table = pa.table({"a": np.arange(60_000), "b": [f"t{i % 977}" for i in range(60_000)]})
    with pyarrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=20_000)
    return bytearray(sink.getvalue())


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_flipped_and_lost_bytes(kind, tmp_path, place, capsys):
    """Wherever bytes are wrong: rows or a message, and rows only if all of them are there."""
    whole = _parquet() if kind == "parquet" else _arrow()
    rng = np.random.default_rng(0)
    path = tmp_path / f"x.{kind}"
    for i in range(14):
        data = bytearray(whole)
        if i % 2:
            data = data[: int(rng.integers(1, len(data)))]
        else:
            for spot in rng.integers(0, len(data), 6):
                data[spot] ^= 0xFF
        path.write_bytes(data)
        told = profiled(path, capsys)
        assert isinstance(told, str) or told["rows"] == 60_000
        if i < 6:
            there = Settings(**{**place.to_dict(), "catalog_uri": f"sqlite:///{tmp_path}/{i}.db", "warehouse": str(tmp_path / f"w{i}")})
            got = ingested(make(path, kind), there)
            assert isinstance(got, WindtunnelError) or sum(got) == 60_000


def _shared_files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "SOURCE.md" and path.suffix not in {".md", ".json"})


@pytest.mark.parametrize("which", ["malformed_csv", "malformed_columnar"])
def test_every_file_that_others_stumbled_over(which, shared_data, tmp_path, capsys):
    """Collections of broken files: each gives rows or one message, by ingest and by profile, and nothing is left half-way."""
    found = _shared_files(shared_data / which)
    assert found
    for i, path in enumerate(found):
        profiled(path, capsys)
        with contextlib.suppress(WindtunnelError):
            kind = format_of(str(path))
            there = Settings(catalog_uri=f"sqlite:///{tmp_path}/{i}.db", warehouse=str(tmp_path / f"w{i}"), artifacts=str(tmp_path / "a"))
            ingested(make(path, kind, {"maybe_a": "int64", "maybe_b": "string"}), there)
