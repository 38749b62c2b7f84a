"""CSV sources: every row of a file is either typed or set aside with its line, column and reason."""

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from windtunnel.lifecycle.contract.errors import ConfigurationError, SchemaMismatchError, SourceFormatError, UnavailableError
from windtunnel.lifecycle.contract.problem import Problem, parse
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.sources import Piece, read
from windtunnel.lifecycle.data.sources.files import state_of
from windtunnel.lifecycle.data.sources.piece import Rejected

NUMBERS = {"a": "int32", "b": "float64"}
TEXTS = {"a": "string", "b": "string"}


def problem(path: Path, columns: dict[str, str], options: dict | None = None, **more: object) -> Problem:
    names = list(columns)
    return parse(
        {
            "name": "p",
            "owner": "o",
            "task": "regression",
            "source": {"format": "csv", "path": str(path), "options": options or {}},
            "columns": columns,
            "features": {"numeric": [names[0]]},
            "label": {"column": names[-1]},
            **more,
        }
    )


def rows(path: Path, columns: dict[str, str], options: dict | None = None, **more: object) -> tuple[list[dict], list[Rejected]]:
    good, bad = [], []
    for chunk in read(problem(path, columns, options, **more), Piece(0, str(path), state_of(str(path))), Settings()):
        assert chunk.rows == chunk.batch.num_rows + len(chunk.rejected)
        good += chunk.batch.to_pylist()
        bad += chunk.rejected
    return good, bad


@pytest.fixture
def file(tmp_path: Path):
    def write(data: bytes | str, name: str = "data.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return write


def test_rows_that_fit_are_typed_and_others_are_told_by_line(file):
    good, bad = rows(file('a,b\n1,2\n3\n\n4,5,6\n5,x\n"7","8"\n'), NUMBERS)
    assert good == [{"a": 1, "b": 2.0}, {"a": 7, "b": 8.0}]
    assert [(entry.line, entry.column, entry.reason, entry.raw) for entry in bad] == [
        (3, "", "has 1 cells where the header has 2", "3"),
        (5, "", "has 3 cells where the header has 2", "4,5,6"),
        (6, "b", "'x' is not double", "5,x"),
    ]


def test_lines_are_counted_past_newlines_inside_quotes(file):
    good, bad = rows(file('a,b\n"x\ny\nz",1\n\n2\n"p\nq",2\n3,4,5\n'), TEXTS)
    assert [row["a"] for row in good] == ["x\ny\nz", "p\nq"]
    assert [entry.line for entry in bad] == [6, 9]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_every_line_ending(file, newline):
    assert rows(file(newline.join(["a,b", "1,2", "3,4", ""])), NUMBERS)[0] == [{"a": 1, "b": 2.0}, {"a": 3, "b": 4.0}]


def test_a_byte_order_mark_belongs_to_nobody(file):
    assert rows(file(b"\xef\xbb\xbfa,b\n1,+2\n"), NUMBERS) == ([{"a": 1, "b": 2.0}], [])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "shift_jis"])
def test_encodings(file, encoding):
    text = "ナ" if encoding == "shift_jis" else "é"
    good, bad = rows(file(f"a,b\n{text},2\n".encode(encoding)), TEXTS, {"encoding": encoding})
    assert good == [{"a": text, "b": "2"}]
    assert not bad


def test_another_encoding_than_declared_is_told(file):
    with pytest.raises(SourceFormatError, match="utf-16"):
        rows(file("a,b\n1,2\n".encode("utf-16")), NUMBERS)


def test_bytes_that_are_no_text_are_set_aside(file):
    good, bad = rows(file(b"a,b\n1,2\n\xff,3,4\n\xff,2\nok,z\n"), TEXTS)
    assert [row["a"] for row in good] == ["1", "ok"]
    assert [(entry.line, entry.reason) for entry in bad] == [
        (3, "has 3 cells where the header has 2"),
        (4, "cannot be decoded as utf-8"),
    ]


@pytest.mark.parametrize("columns", [NUMBERS, TEXTS])
def test_nul_bytes_are_set_aside(file, columns):
    good, bad = rows(file(b"a,b\n1,\x00\n2,3\n"), columns)
    assert len(good) == 1
    assert [(entry.line, entry.reason, entry.raw) for entry in bad] == [(2, "has a NUL byte", "1,␀")]


@pytest.mark.parametrize("columns", [NUMBERS, TEXTS])
def test_a_quote_that_is_never_closed_does_not_swallow_rows(file, columns):
    good, bad = rows(file('a,b\n1,2\n1,"2\n3,4\n' + "7,8\n" * 30), columns)
    assert len(good) == 32
    assert [(entry.line, entry.last_line, entry.column, entry.raw) for entry in bad] == [(3, 3, "b", '1,"2')]
    assert bad[0].reason == "opens a quote that is never closed"


@pytest.mark.slow
def test_a_quote_that_is_never_closed_in_a_file_of_many_blocks(file):
    good, bad = rows(file("a,b\n" + "1,2\n" * 5 + '1,"2\n' + "7,8\n" * 1_100_000), NUMBERS)
    assert (len(good), [entry.line for entry in bad]) == (1_100_005, [7])


def test_a_cell_of_ten_megabytes(file):
    good, bad = rows(file("a,b\n1," + "x" * 10_000_000 + "\n2,3\n"), TEXTS)
    assert [len(row["b"]) for row in good] == [10_000_000, 1]
    assert not bad


def test_a_bad_row_after_millions_keeps_those_that_were_handed_on(file):
    count = 1_200_000  # several blocks of the strict reader
    good, bad = rows(file("a,b\n" + "1,2.5\n" * count + "x,1\n3,3\n"), NUMBERS)
    assert len(good) == count + 1
    assert [(entry.line, entry.column) for entry in bad] == [(count + 2, "a")]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", SourceFormatError, "empty"),
        ("a,a,b\n1,2,3\n", SchemaMismatchError, "2 times"),
        ("A,c\n1,2\n", SchemaMismatchError, "'a', 'b' missing"),
        ("b\n1\n", SchemaMismatchError, "'a' missing"),
    ],
)
def test_a_header_that_cannot_do(file, text, error, message):
    with pytest.raises(error, match=message):
        rows(file(text), NUMBERS)


@pytest.mark.parametrize("text", ["a,b", "a,b\n", '"a","b"\r\n'])
def test_a_header_alone_is_no_row(file, text):
    assert rows(file(text), NUMBERS) == ([], [])


def test_names_that_are_not_declared_may_be_empty_or_twice(file):
    assert rows(file("a,,b,,z,z\n1,2,3,4,5,6\n"), NUMBERS)[0] == [{"a": 1, "b": 3.0}]


def test_optional_columns_are_filled_with_null(file):
    assert rows(file("a\n1\n"), NUMBERS, optional_columns=["b"])[0] == [{"a": 1, "b": None}]


def test_conventions(file):
    options = {
        "delimiter": ";",
        "decimal_point": ",",
        "thousands": ".",
        "nulls": ["-"],
        "skip_lines": 2,
        "names": ["a", "b"],
        "header": False,
    }
    assert rows(file("x\ny\n1.000;2,5\n-;-\n"), NUMBERS, options)[0] == [{"a": 1000, "b": 2.5}, {"a": None, "b": None}]


def test_times(file):
    data = "a,b\n2013-01-01T05:00:00Z,1\n2013-01-01 05:00:00,1\n2013-01-01T05:00:00+01:00,2\nq,1\n,\n"
    good, bad = rows(file(data), {"a": "timestamp", "b": "decimal"})
    assert [row["a"] and row["a"].isoformat() for row in good] == [
        "2013-01-01T05:00:00",
        "2013-01-01T05:00:00",
        "2013-01-01T04:00:00",
        None,
    ]
    assert [entry.line for entry in bad] == [5]
    good, _ = rows(file("a,b\n31/12/2013,yes\n"), {"a": "date", "b": "bool"}, {"timestamp_formats": ["%d/%m/%Y"]})
    assert good[0]["a"].isoformat() == "2013-12-31"
    assert good[0]["b"] is True


def test_options_that_are_wrong(file):
    path = file("a,b\n")
    with pytest.raises(ConfigurationError, match="sep"):
        rows(path, NUMBERS, {"sep": ";"})
    with pytest.raises(ConfigurationError, match="one ASCII character"):
        rows(path, NUMBERS, {"delimiter": "ab"})
    with pytest.raises(ConfigurationError, match="unknown"):
        rows(path, NUMBERS, {"encoding": "klingon"})


def _zip(data: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("one.csv", data)
        archive.writestr("folder/two.csv", data)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("pack", "times"),
    [(gzip.compress, 1), (bz2.compress, 1), (lzma.compress, 1), (lambda data: pa.compress(data, "zstd", asbytes=True), 1), (_zip, 2)],
)
def test_compression(file, pack, times):
    assert len(rows(file(pack(b"a,b\n1,2\n3,x\n")), NUMBERS)[0]) == times
    good, bad = rows(file(pack(b"a,b\n1,2\n3,x\n")), NUMBERS)
    assert (len(good), [entry.line for entry in bad]) == (times, [3] * times)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, _zip])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_compression(file, pack, share):
    data = pack(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * 7919 % 1000) for i in range(50_000)))
    with pytest.raises((SourceFormatError, SchemaMismatchError)):
        rows(file(data[: int(len(data) * share)]), NUMBERS)


def test_damaged_compression(file):
    data = bytearray(gzip.compress(b"a,b\n" + b"1,2\n" * 100_000))
    data[-6] ^= 0xFF
    with pytest.raises(SourceFormatError, match="damaged"):
        rows(file(bytes(data)), NUMBERS)


def test_a_file_that_changes_while_it_is_read(file):
    path = file("a,b\n" + "1,2\n" * 10)
    piece = Piece(0, str(path), state_of(str(path)))
    chunks = read(problem(path, NUMBERS), piece, Settings())
    next(chunks)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(UnavailableError, match="changed"):
        list(chunks)
    path.unlink()
    with pytest.raises(UnavailableError, match="no such file"):
        list(read(problem(path, NUMBERS), piece, Settings()))


def test_a_row_must_say_its_day_where_it_alone_can(file):
    path = file("a,b\n2013-01-01,1\n,2\n2013-02-30,3\n")
    chunks = list(
        read(
            problem(path, {"a": "string", "b": "float64"}, event_time={"column": "a"}, features={"numeric": ["a"]}),
            Piece(0, str(path), dated=True),
            Settings(),
        )
    )
    assert sum(chunk.batch.num_rows for chunk in chunks) == 1
    assert [entry.line for chunk in chunks for entry in chunk.rejected] == [3, 4]


def test_csv_spectrum(shared_data):
    folder = shared_data / "malformed_csv" / "csv_spectrum"
    for path in sorted((folder / "csvs").glob("*.csv")):
        truth = json.loads((folder / "json" / f"{path.stem}.json").read_text(encoding="utf-8"))
        truth = truth if isinstance(truth, list) else [truth]
        for row in truth:
            row.pop("Contact Phone Number", None)  # the published truth has another number than its CSV
        good, bad = rows(path, dict.fromkeys(truth[0], "string"))
        assert not bad, path
        for row in truth if path.stem == "newlines_crlf" else []:
            row["a"] = row["a"].replace("\r\n", "\n")  # the published file has lost its carriage returns
        expected = [{name: value or None for name, value in row.items()} for row in truth]
        assert [{name: row[name] for name in truth[0]} for row in good] == expected, path


CELLS = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufdd0"), max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=20), st.booleans())
def test_what_the_standard_library_writes_is_read_back(tmp_path_factory, cells, spoil):
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, quoting=csv.QUOTE_ALL)
    writer.writerow(["a", "b"])
    for row in cells:
        writer.writerow(row)
    if spoil:  # sends the file through the lenient reader
        writer.writerow(["1", "2", "3"])
    path = tmp_path_factory.mktemp("csv") / "data.csv"
    path.write_bytes(sink.getvalue().encode())
    good, bad = rows(path, TEXTS)
    assert [(row["a"] or "", row["b"] or "") for row in good] == cells
    assert len(bad) == int(spoil)


NUMBER = st.one_of(st.integers(-(2**31), 2**31 - 1).map(str), st.sampled_from(["", "x", "1.5", "99999999999", " 7 ", "+3", "1e3", "-"]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(NUMBER, min_size=1, max_size=3), max_size=30))
def test_every_row_is_kept_or_set_aside(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("csv") / "data.csv"
    path.write_text("a,b\n" + "".join(",".join(row) + "\n" for row in table))
    good, bad = rows(path, {"a": "int32", "b": "int64"})
    assume(not all(len(row) == 3 and not row[2] for row in table))  # then it is the file that has a delimiter too many
    lines = [line for line, row in enumerate(table, 2) if ",".join(row)]
    assert len(good) + len(bad) == len(lines)

    def fits(row: list[str]) -> bool:
        whole = len(row) == 2 and all(cell.strip() == "" or cell.strip().lstrip("+-").isdigit() for cell in row)
        return whole and (not row[0].strip() or abs(int(row[0])) < 2**31 + (int(row[0]) < 0))

    assert [entry.line for entry in bad] == [line for line, row in enumerate(table, 2) if ",".join(row) and not fits(row)]
