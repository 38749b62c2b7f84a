"""Files that are polluted one way at a time, with the rows that are right: the ways of Pollock (VLDB 2023), on tables of our own.

A pollution changes a clean table's file, or some of its records. Each yields the bytes, and the options that a person would give who knows
how the file is written; the truth stays that of the clean table, but for records that cannot be what they were.
"""

import csv
import dataclasses
import datetime as dt
import io
from collections.abc import Callable, Iterator

Row = tuple[object, ...]


@dataclasses.dataclass(frozen=True)
class Table:
    """A clean table: the declared types of its columns, and its rows."""

    name: str
    columns: dict[str, str]
    rows: list[Row]


@dataclasses.dataclass(frozen=True)
class Polluted:
    """A polluted file.

    Attributes:
        name: which pollution.
        table: what it was.
        data: the bytes.
        options: that a person gives who knows.
        also: rows that it may be read as too: a quote within a cell without quotes is one of its characters.
        spoiled: the places of rows that may be lost (refused), but never be read as something else.
        suffix: of the file's name.
    """

    name: str
    table: Table
    data: bytes
    options: dict[str, object] = dataclasses.field(default_factory=dict)
    spoiled: frozenset[int] = frozenset()
    also: tuple[Row, ...] = ()
    suffix: str = "csv"


def tables() -> list[Table]:
    """Numbers; texts with delimiters, quotes and line ends; dates, blanks and flags."""
    day = dt.date(2013, 1, 1)
    texts = ["plain", "a, b", 'say "hi"', "two\nlines", "ünï", "semi;colon", "tab\there", "x" * 300]
    return [
        Table("numbers", {"id": "int64", "price": "float64", "count": "int64"}, [(i, i * 0.25, i * i) for i in range(1, 41)]),
        Table("texts", {"id": "int64", "note": "string", "code": "string"}, [(i, texts[i % 8], f"k{i:03}") for i in range(1, 41)]),
        Table(
            "mixed",
            {"id": "int64", "when": "date", "open": "bool", "amount": "float64", "name": "string"},
            [(i, day + dt.timedelta(i), i % 2 == 0, None if i % 5 == 0 else i / 8, f"n{i % 7}") for i in range(1, 41)],
        ),
    ]


def cell(value: object) -> str:
    """A value as it is written."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else value.isoformat() if isinstance(value, dt.date) else str(value)


def write(table: Table, *, header: bool = True, end: str = "\n", quoting: int = csv.QUOTE_MINIMAL, **dialect: object) -> str:
    """The table as clean CSV."""
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, lineterminator=end, quoting=quoting, **dialect)
    if header:
        writer.writerow(table.columns)
    writer.writerows([cell(value) for value in row] for row in table.rows)
    return sink.getvalue()


def records(table: Table, **dialect: object) -> list[str]:
    """The records of the clean file, the header first, each with its line end."""
    parts = [write(dataclasses.replace(table, rows=[]), **dialect)]
    return parts + [write(dataclasses.replace(table, rows=[row]), header=False, **dialect) for row in table.rows]


def of_files(table: Table) -> Iterator[Polluted]:
    """Pollutions of a whole file."""
    for mark, name in ((";", "semicolon"), ("\t", "tab"), ("|", "pipe"), (" ", "space"), ("^", "caret")):
        yield Polluted(f"delimiter {name}", table, write(table, delimiter=mark).encode(), {"delimiter": mark})
    yield Polluted("quote '", table, write(table, quotechar="'").encode(), {"quote": "'"})
    yield Polluted("every cell quoted", table, write(table, quoting=csv.QUOTE_ALL).encode())
    escaped = write(table, escapechar="\\", doublequote=False)
    yield Polluted("escape \\", table, escaped.encode(), {"escape": "\\"})
    for end, name in (("\r\n", "CRLF"), ("\r", "CR")):
        broken = {i for i, row in enumerate(table.rows) if end == "\r" and any("\n" in cell(value) for value in row)}  # not quoted
        yield Polluted(f"record delimiter {name}", table, write(table, end=end).encode(), {}, frozenset(broken))
    for encoding in ("utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "utf-8-sig"):
        yield Polluted(f"encoding {encoding}", table, write(table).encode(encoding), {"encoding": encoding})
    yield Polluted("another encoding than said", table, write(table).encode("latin-1"), {}, frozenset(_not_ascii(table)))
    clean = write(table)
    yield Polluted("no header", table, write(table, header=False).encode(), {"header": False, "names": list(table.columns)})
    yield Polluted("no header, not said", table, write(table, header=False).encode())
    yield Polluted("header only", dataclasses.replace(table, rows=[]), clean.splitlines(keepends=True)[0].encode())
    yield Polluted("one row", dataclasses.replace(table, rows=table.rows[:1]), "".join(records(table)[:2]).encode())
    yield Polluted("empty", dataclasses.replace(table, rows=[]), b"")
    yield Polluted("no line end at the end", table, clean[:-1].encode())
    yield Polluted("blank lines at the end", table, (clean + "\n\n\n").encode())
    yield Polluted("blank lines before", table, ("\n\n" + clean).encode())
    yield Polluted("blank lines between", table, "\n".join(records(table)).encode())
    for lines in (1, 3, 10):
        preamble = "".join(f"Report part {i}\n" for i in range(lines))
        yield Polluted(f"preamble of {lines}", table, (preamble + clean).encode())
        yield Polluted(f"preamble of {lines}, said", table, (preamble + clean).encode(), {"skip_lines": lines})
    padded = "Report" + "," * (len(table.columns) - 1) + "\n"
    yield Polluted("preamble padded with delimiters", table, (padded + clean).encode())
    yield Polluted("footer", table, (clean + "Source: us\n").encode())
    yield Polluted("footer of totals", table, (clean + "Total" + "," * (len(table.columns) - 1) + "\n").encode())
    header = records(table)[0]
    yield Polluted("header twice", table, (header + clean).encode())
    yield Polluted("header in the middle", table, _inserted(table, 20, header))
    units = ",".join("unit" for _ in table.columns) + "\n"
    yield Polluted("header of two rows", table, (header + units + "".join(records(table)[1:])).encode())
    for name, wide in (("wider", ["x", "y", "z", "1", "2", "3", "4"]), ("narrower", ["x", "y"]), ("as wide", [*table.columns])):
        more = ",".join(wide) + "\n" + ",".join(["sum"] * len(wide)) + "\n"
        yield Polluted(f"a second table, {name}", table, (clean + "\n" + more).encode())
    yield Polluted("trailing delimiter", table, "".join(_before_end(text, ",") for text in records(table)).encode())
    rows = "".join(_before_end(text, ",") for text in records(table)[1:])
    yield Polluted("trailing delimiter of rows", table, (header + rows).encode())
    yield Polluted("trailing delimiter of the header", table, (_before_end(header, ",") + "".join(records(table)[1:])).encode())
    yield Polluted("byte order mark twice", table, b"\xef\xbb\xbf\xef\xbb\xbf" + clean.encode())


def of_records(table: Table) -> Iterator[Polluted]:
    """Pollutions of one or two records."""
    for where in (0, 17, len(table.rows) - 1):
        at = frozenset({where})

        def one(change: Callable[[str], str], where: int = where) -> bytes:
            texts = records(table)
            texts[where + 1] = change(texts[where + 1])
            return "".join(texts).encode()

        yield Polluted(f"a delimiter more at the end of row {where}", table, one(lambda text: _before_end(text, ",")), {}, at)
        yield Polluted(f"a delimiter more in front of row {where}", table, one(lambda text: "," + text), {}, at)
        yield Polluted(f"a delimiter less in row {where}", table, one(lambda text: text.replace(",", "", 1)), {}, at)
        yield Polluted(f"another delimiter in row {where}", table, one(lambda text: text.replace(",", ";")), {}, at)
        yield Polluted(f"a quote in front of row {where}", table, one(lambda text: '"' + text), {}, at)
        row = table.rows[where]
        also = ((*row[:-1], f'{row[-1]}"'),) if isinstance(row[-1], str) else ()
        yield Polluted(f"a quote at the end of row {where}", table, one(lambda text: _before_end(text, '"')), {}, at, also)
        yield Polluted(f"a quote that opens the last cell of row {where}", table, one(_open_last), {}, at)
        yield Polluted(f"quotes inside quotes in row {where}", table, one(lambda text: _last(text, lambda last: f'"5" {last}"')), {}, at)
        yield Polluted(f"a NUL in row {where}", table, one(lambda text: _before_end(text, "\0")), {}, at)
        yield Polluted(f"a line end in row {where}", table, one(lambda text: text.replace(",", "\n", 1)), {}, at)
        yield Polluted(f"a lone CR in row {where}", table, one(lambda text: text.replace(",", ",\r", 1)), {}, at)
        yield Polluted(f"another number in row {where}", table, one(lambda text: "x" + text), {}, at)
        yield Polluted(f"cut in row {where}", table, one(lambda text: text[: len(text) // 2].rstrip('"') + "\n"), {}, at)
        yield Polluted(
            f"bytes that are no text in row {where}", table, one(lambda text: "\uffff" + text).replace("\uffff".encode(), b"\xff"), {}, at
        )
    for first, second in ((3, 4), (3, 20), (0, 39)):
        texts = records(table)
        for place in (first, second):
            texts[place + 1] = _open_last(texts[place + 1])
        data = "".join(texts).encode()
        yield Polluted(f"quotes that open the last cells of rows {first} and {second}", table, data, {}, frozenset({first, second}))
        texts = records(table)
        texts[first + 1] = _open_last(texts[first + 1])
        texts[second + 1] = texts[second + 1].replace(",", '",', 1)
        gone = frozenset(range(first, second + 1))
        yield Polluted(f"a quote that opens in row {first} and closes in row {second}", table, "".join(texts).encode(), {}, gone)


def polluted() -> list[Polluted]:
    """All of them."""
    return [case for table in tables() for ways in (of_files, of_records) for case in ways(table)]


def _not_ascii(table: Table) -> Iterator[int]:
    return (i for i, row in enumerate(table.rows) if not all(cell(value).isascii() for value in row))


def _inserted(table: Table, place: int, text: str) -> bytes:
    texts = records(table)
    return "".join([*texts[:place], text, *texts[place:]]).encode()


def _before_end(text: str, more: str) -> str:
    return text.removesuffix("\n") + more + "\n"


def _last(text: str, change: Callable[[str], str]) -> str:
    head, _, last = text.removesuffix("\n").rpartition(",")
    return f"{head},{change(last)}\n"


def _open_last(text: str) -> str:
    return _last(text, lambda last: '"' + last)
