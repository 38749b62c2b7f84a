"""Ingest: a window's rows are in the table once, whatever happened on the way."""

import datetime as dt
import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from windtunnel.beam_jobs.ingest import ingest
from windtunnel.beam_jobs.job import Progress
from windtunnel.lifecycle.contract.errors import (
    EmptyWindowError,
    QuarantineLimitError,
    SchemaMismatchError,
    SourceFormatError,
    UnavailableError,
    WindtunnelError,
)
from windtunnel.lifecycle.contract.problem import Problem, parse
from windtunnel.lifecycle.contract.references import SnapshotRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.days import day_files
from windtunnel.lifecycle.data.pins import files, pin
from windtunnel.lifecycle.data.tables import load_table

DAYS = [dt.date(2013, 1, day) for day in range(1, 8)]


def window(first: int = 1, last: int = 7) -> Window:
    return Window(dt.date(2013, 1, first), dt.date(2013, 1, last) + dt.timedelta(days=1))


def make(path: str = "{landing}/d_{day}.csv", **more: object) -> Problem:
    source = {"format": "csv", "path": path} | more.pop("source", {})
    return parse(
        {
            "name": "p",
            "owner": "o",
            "task": "regression",
            "source": source,
            "columns": {"k": "int64", "x": "float64", "t": "string"},
            "features": {"numeric": ["k"]},
            "label": {"column": "x"},
            "keys": ["k"],
        }
        | more
    )


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    (tmp_path / "l").mkdir()
    return Settings(
        catalog_uri=f"sqlite:///{tmp_path}/c.db", warehouse=str(tmp_path / "w"), artifacts=str(tmp_path / "a"), landing=str(tmp_path / "l")
    )


def land(settings: Settings, day: dt.date, rows: int = 10, extra: str = "") -> None:
    text = "k,x,t\n" + "".join(f"{i},{i}.5,a\n" for i in range(rows)) + extra
    Path(settings.landing, f"d_{day}.csv").write_text(text)


def run(problem: Problem, asked: Window, settings: Settings) -> SnapshotRef:
    return ingest(problem, asked, settings, Progress())


def count(settings: Settings, ref: SnapshotRef) -> int:
    return sum(pq.read_metadata(path).num_rows for path in files(settings, ref))


def table(settings: Settings, kind: str = "examples") -> pa.Table:
    return load_table(settings, f"p.{kind}").scan().to_arrow()


def test_the_same_source_changes_nothing(place):
    for day in DAYS:
        land(place, day)
    first = run(make(), window(), place)
    assert (first.rows, first.quarantined, count(place, first)) == (70, 0, 70)
    assert run(make(), window(), place) == first
    assert len(load_table(place, "p.examples").snapshots()) == 1
    assert set(table(place)["event_date"].to_pylist()) == set(DAYS)


def test_only_what_changed_is_read_again_and_earlier_versions_stay(place):
    for day in DAYS:
        land(place, day)
    first = run(make(), window(), place)
    before = {entry.path for entry in day_files(load_table(place, "p.examples"))}
    land(place, DAYS[2], 13)
    second = run(make(), window(), place)
    after = {entry.path for entry in day_files(load_table(place, "p.examples"))}
    assert len(before - after) == len(after - before) == 1
    assert (second.rows, count(place, first), count(place, second)) == (73, 70, 73)
    assert second.fingerprint != first.fingerprint
    land(place, DAYS[2])
    assert run(make(), window(), place).fingerprint == first.fingerprint


def test_the_fingerprint_does_not_depend_on_the_order_of_runs(place, tmp_path):
    for day in DAYS:
        land(place, day)
    run(make(), window(3, 5), place)
    run(make(), window(1, 4), place)
    pieces = run(make(), window(), place)
    other = Settings(**{**place.to_dict(), "catalog_uri": f"sqlite:///{tmp_path}/other.db", "warehouse": str(tmp_path / "w2")})
    assert run(make(), window(), other).fingerprint == pieces.fingerprint


def test_bad_rows_go_to_quarantine_with_the_reason(place):
    land(place, DAYS[0], 300, "x,1,a\n1,2\n")
    ref = run(make(), window(), place)
    assert (ref.rows, ref.quarantined) == (300, 2)
    bad = table(place, "quarantine").sort_by("line").to_pylist()
    assert [(row["line"], row["column"], row["reason"], row["raw"], row["event_date"]) for row in bad] == [
        (302, "k", "'x' is not int64", "x,1,a", DAYS[0]),
        (303, None, "has 2 cells where the header has 3", "1,2", DAYS[0]),
    ]
    land(place, DAYS[0], 301)
    assert run(make(), window(), place).quarantined == 0
    assert table(place, "quarantine").num_rows == 0


def test_too_many_bad_rows_stop_before_anything_is_committed(place):
    land(place, DAYS[0])
    land(place, DAYS[1], 10, "x,1,a\n" * 5)
    with pytest.raises(QuarantineLimitError, match=r"5 of 25 rows \(20\.00%\).*column 'k' is not int64") as caught:
        run(make(), window(), place)
    assert caught.value.details["samples"][0]["line"] == 12
    assert load_table(place, "p.examples").current_snapshot() is None
    assert load_table(place, "p.quarantine").current_snapshot() is None
    assert run(make(limits={"quarantine_share": 0.5}), window(), place).quarantined == 5


@pytest.mark.parametrize("content", [None, "k,x,t\n"])
def test_a_window_without_rows(place, content):
    if content:
        Path(place.landing, f"d_{DAYS[0]}.csv").write_text(content)
    with pytest.raises(EmptyWindowError, match="2013-01-01"):
        run(make(), window(), place)


def test_a_window_of_bad_rows_only(place):
    land(place, DAYS[0], 0, "x,1,a\n")
    with pytest.raises(QuarantineLimitError):
        run(make(), window(), place)


def test_damage_is_named_and_nothing_is_left(place):
    land(place, DAYS[0])
    packed = gzip.compress(b"k,x,t\n" + b"1,2.5,a\n" * 50_000)
    Path(place.landing, f"d_{DAYS[1]}.csv").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(SourceFormatError, match=r"d_2013-01-02\.csv"):
        run(make(), window(), place)
    assert load_table(place, "p.examples").current_snapshot() is None
    assert not list(Path(place.warehouse).rglob("*.tmp"))


def test_runs_of_the_same_bundle_twice_change_nothing(place, tmp_path):
    for day in DAYS:
        land(place, day, 10)
    land(place, DAYS[3], 1000, "x,1,a\n")
    once = run(make(), window(), place)
    other = {
        "catalog_uri": f"sqlite:///{tmp_path}/b.db",
        "warehouse": str(tmp_path / "w2"),
        "runner_options": "--direct_runner_bundle_repeat=1",
    }
    twice = run(make(), window(), Settings(**{**place.to_dict(), **other}))
    assert (once.fingerprint, once.rows, once.quarantined) == (twice.fingerprint, twice.rows, twice.quarantined)


@pytest.mark.slow
def test_two_workers_change_nothing(place, tmp_path):
    for day in DAYS:
        land(place, day, 10)
    once = run(make(), window(), place)
    other = {"catalog_uri": f"sqlite:///{tmp_path}/b.db", "warehouse": str(tmp_path / "w2"), "workers": 2}
    assert run(make(), window(), Settings(**{**place.to_dict(), **other})).fingerprint == once.fingerprint


CHILD = """
import sys, json, resource, signal
if int(sys.argv[1]):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit fails as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
from windtunnel.beam_jobs.ingest import run
from windtunnel.beam_jobs.job import Progress
spec = json.loads(sys.stdin.readline())
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps(run(spec, Progress())), flush=True)
"""


def child(problem: Problem, asked: Window, settings: Settings, limit: int = 0) -> subprocess.Popen:
    import json

    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(limit)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    spec = {"problem": problem.model_dump(mode="json"), "window": asked.to_dict(), "settings": settings.to_dict()}
    process.stdin.write(json.dumps(spec) + "\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_parallel_backfills_keep_every_row_once(place, postgres, database):
    if database == "postgresql":
        place = Settings(**{**place.to_dict(), "catalog_uri": postgres.get_uri()})
    for day in DAYS:
        land(place, day)
    asked = [window(1, 4), window(2, 5), window(3, 7), window(1, 7)]
    running = [child(make(), each, place) for each in asked]
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in running:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err[-2000:]
        assert '"kind": "snapshot"' in out
    ref = pin(make(), window(), place)
    assert (ref.rows, count(place, ref)) == (70, 70)


@pytest.mark.slow
def test_killed_and_run_again(place):
    for day in DAYS:
        land(place, day, 30_000)
    for delay in (0.05, 0.3, 0.8):
        process = child(make(), window(), place)
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    ref = run(make(), window(), place)
    assert (ref.rows, count(place, ref)) == (210_000, 210_000)
    clean = run(make(), window(), place)
    assert clean == ref


@pytest.mark.slow
def test_a_full_disk_is_told_and_leaves_nothing(place):
    for day in DAYS:
        Path(place.landing, f"d_{day}.csv").write_text("k,x,t\n" + "".join(f"{i * 7919 % 100_003},{i}.5,u{i}\n" for i in range(50_000)))
    run(make(name="other"), window(1, 1), place)  # the catalog's tables are there
    process = child(make(), window(), place, limit=300_000)
    _, err = process.communicate("go\n", timeout=200)
    assert process.returncode != 0
    assert "Error" in err.splitlines()[-1] or "Hint" in err.splitlines()[-1]
    assert run(make(), window(), place).rows == 350_000


def whole(source: dict, **more: object) -> Problem:
    return make(source=source, columns={"k": "int64", "x": "float64", "t": "string", "w": "date"}, event_time={"column": "w"}, **more)


def rows_of(days: list[dt.date], each: int = 10) -> pa.Table:
    return pa.table(
        {
            "k": pa.array(range(each * len(days)), pa.int64()),
            "x": [i / 2 for i in range(each * len(days))],
            "t": ["a"] * each * len(days),
            "w": pa.array([day for day in days for _ in range(each)], pa.date32()),
        }
    )


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow", "jsonl"])
def test_files_of_many_days_are_split_by_event_time(place, kind):
    data = rows_of(DAYS)
    path = Path(place.landing, f"all.{kind}")
    if kind == "csv":
        pyarrow.csv.write_csv(data, path)
    elif kind == "parquet":
        pq.write_table(data, path, row_group_size=7)
    elif kind == "arrow":
        with pyarrow.ipc.new_file(str(path), data.schema) as writer:
            writer.write_table(data, 9)
    else:
        import json

        path.write_text("".join(json.dumps(row, default=str) + "\n" for row in data.to_pylist()))
    problem = whole({"format": kind, "path": f"{{landing}}/all.{kind}"})
    ref = run(problem, window(2, 4), place)
    assert (ref.rows, count(place, ref)) == (30, 30)
    assert run(problem, window(2, 4), place) == ref
    assert run(problem, window(1, 7), place).rows == 70
    assert run(problem, window(2, 4), place).fingerprint == ref.fingerprint


def test_days_without_rows_are_looked_at_once(place):
    pq.write_table(rows_of([DAYS[0], DAYS[4]]), Path(place.landing, "all.parquet"))
    problem = whole({"format": "parquet", "path": "{landing}/all.parquet"})
    first = run(problem, window(), place)
    assert first.rows == 20
    assert run(problem, window(), place) == first


def test_rows_without_a_day_are_quarantined_once(place):
    Path(place.landing, "all.csv").write_text("k,x,t,w\n" + "1,1,a,2013-01-01\n" * 200 + "2,2,b,\n")
    problem = whole({"format": "csv", "path": "{landing}/all.csv"})
    assert run(problem, window(1, 1), place).quarantined == 1
    assert run(problem, window(1, 3), place).quarantined == 1
    assert table(place, "quarantine")["reason"].to_pylist() == ["null is no event time"]


def test_a_source_without_time_is_there_once(place):
    Path(place.landing, "all.csv").write_text("k,x,t\n1,1,a\n2,2,b\n")
    problem = make("{landing}/all.csv")
    assert run(problem, window(1, 3), place).rows == 2
    assert run(problem, window(1, 5), place).rows == 2


def test_a_new_column_is_added_and_a_retyped_one_is_refused(place):
    Path(place.landing, f"d_{DAYS[0]}.csv").write_text("k,x,t,n\n1,1,a,5\n")
    run(make(), window(), place)
    wider = {"k": "int64", "x": "float64", "t": "string", "n": "int32"}
    assert run(make(columns=wider), window(), place).rows == 1
    assert table(place)["n"].to_pylist() == [5]
    assert run(make(columns={**wider, "n": "int64"}), window(), place).rows == 1
    with pytest.raises(SchemaMismatchError, match="'t' is string in the table but the problem now says int64"):
        run(make(columns={**wider, "t": "int64"}), window(), place)
    Path(place.landing, f"d_{DAYS[0]}.csv").write_text("k,x,n\n1,1,5\n")
    with pytest.raises(SchemaMismatchError, match="'t' missing"):
        run(make(columns={**wider, "n": "int64"}), window(), place)


def test_a_retyped_typed_source_is_refused(place):
    pq.write_table(pa.table({"k": ["1"], "x": [1.0], "t": ["a"]}), Path(place.landing, "d_2013-01-01.parquet"))
    with pytest.raises(SchemaMismatchError, match="'k' is string in the source but columns says int64"):
        run(make("{landing}/d_{day}.parquet", source={"format": "parquet"}), window(), place)


def test_a_typed_value_that_does_not_fit_is_quarantined(place):
    pq.write_table(pa.table({"k": [1.0, 2.5] + [3.0] * 200, "x": [1] * 202, "t": ["a"] * 202}), Path(place.landing, "d_2013-01-01.parquet"))
    ref = run(make("{landing}/d_{day}.parquet", source={"format": "parquet"}), window(), place)
    assert (ref.rows, ref.quarantined) == (201, 1)


def generate(start: dt.date, end: dt.date):
    yield rows_of([day for day in DAYS if start <= day < end])
    yield [{"k": 99, "x": 1.0, "t": "b", "w": start}]


def broken(_start: dt.date, _end: dt.date):
    yield rows_of(DAYS[:1])
    raise ValueError("no more")


def test_a_generator(place, tmp_path, monkeypatch):
    (tmp_path / "wt_test_source.py").write_text(Path(__file__).read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    problem = whole({"format": "python", "path": "", "generator": "wt_test_source:generate"})
    ref = run(problem, window(1, 3), place)
    assert ref.rows == 31
    assert run(problem, window(1, 3), place) == ref
    with pytest.raises(SourceFormatError, match="no more"):
        run(whole({"format": "python", "path": "", "generator": "wt_test_source:broken"}), window(1, 3), place)
    with pytest.raises(WindtunnelError, match="cannot be imported"):
        run(whole({"format": "python", "path": "", "generator": "nothing:here"}), window(1, 3), place)


def test_a_database(place, postgres, monkeypatch):
    import psycopg2

    uri = postgres.get_uri()
    with psycopg2.connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS raw; CREATE TABLE raw (k bigint, x numeric, t text, w date)")
        cursor.executemany("INSERT INTO raw VALUES (%s, %s, %s, %s)", [list(row.values()) for row in rows_of(DAYS).to_pylist()])
    connection.close()
    monkeypatch.setenv("AIRFLOW_CONN_SOURCE", uri)
    source = {"format": "sql", "path": "", "table": "raw", "connection": "source"}
    ref = run(whole(source), window(2, 4), place)
    assert (ref.rows, count(place, ref)) == (30, 30)
    assert run(whole(source), window(2, 4), place) == ref
    parts = whole({**source, "options": {"partition_column": "k", "partitions": 3}})
    assert run(parts, window(2, 4), place).rows == 30
    assert run(whole({**source, "options": {"partition_column": "w"}}), window(2, 4), place).rows == 30
    query = {"format": "sql", "path": "", "connection": "source", "query": "select * from raw where w >= '{start}' and w < '{end}'"}
    assert run(whole(query), window(2, 4), place).rows == 30
    with pytest.raises(SourceFormatError, match="refused"):
        run(whole({**query, "query": "select nonsense"}), window(2, 4), place)
    monkeypatch.setenv("AIRFLOW_CONN_SOURCE", "postgresql://me:secret@127.0.0.1:1/none")
    with pytest.raises(UnavailableError) as caught:
        run(whole(query), window(2, 4), place)
    assert "secret" not in str(caught.value)


def test_parts_of_a_database_are_read_at_one_version(place, postgres, monkeypatch):
    """Rows that move from a part that is not read yet to one that was, meanwhile, are neither lost nor there twice."""
    import psycopg2

    from windtunnel.beam_jobs import ingest as job

    uri = postgres.get_uri()

    def execute(statement: str) -> None:
        connection = psycopg2.connect(uri)
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
        connection.close()

    execute("DROP TABLE IF EXISTS moving; CREATE TABLE moving (k bigint, x double precision, t text, w date)")
    execute("INSERT INTO moving SELECT i, i, 'a', date '2013-01-02' FROM generate_series(1, 400) AS i")
    monkeypatch.setenv("AIRFLOW_CONN_SOURCE", uri)
    read, begun = job.read, []

    def meanwhile(problem, piece, settings):
        yield from read(problem, piece, settings)
        begun.append(piece.query)
        if len(begun) == 1:
            execute("UPDATE moving SET k = k - 390 WHERE k > 390; DELETE FROM moving WHERE k BETWEEN 200 AND 300")

    monkeypatch.setattr(job, "read", meanwhile)
    source = {"format": "sql", "path": "", "table": "moving", "connection": "source", "options": {"partition_column": "k"}}
    ref = run(whole(source), window(2, 2), place)
    assert len(begun) == 4
    found = table(place)
    assert (ref.rows, sorted(found["k"].to_pylist())) == (400, list(range(1, 401)))
    assert run(whole(source), window(2, 2), place).rows == 299, "the next run sees what was changed"
    monkeypatch.setenv("AIRFLOW_CONN_SOURCE", "sqlite:///x.db")
    with pytest.raises(WindtunnelError, match="partition_column needs PostgreSQL"):
        run(whole({**source, "options": {"partition_column": "k", "driver": "sqlite"}}), window(2, 2), place)


def test_a_database_is_let_go_when_its_rows_cannot_be_written(place, postgres, monkeypatch):
    import gc

    import psycopg2

    from windtunnel.beam_jobs.ingest_write import PieceWriter

    uri = postgres.get_uri()
    connection = psycopg2.connect(uri)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT i::bigint k, i::float8 x, 'a' t, date '2013-01-02' w "
            "FROM generate_series(1, 1000) i"
        )
    monkeypatch.setenv("AIRFLOW_CONN_SOURCE", uri)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PieceWriter, "add", full)
    gc.disable()  # a connection that only the collector closes would still be there below
    try:
        with pytest.raises(UnavailableError, match="No space left"):
            run(whole({"format": "sql", "path": "", "table": "kept", "connection": "source"}), window(2, 2), place)
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%kept%' AND pid <> pg_backend_pid()")
            assert cursor.fetchone() == (0,)
    finally:
        gc.enable()
        connection.close()


def test_an_iceberg_table_is_pinned_or_copied(place):
    for day in DAYS:
        land(place, day)
    ours = run(make(), window(), place)
    pinned = run(make(name="q", source={"format": "iceberg", "path": "", "table": "p.examples"}), window(2, 3), place)
    assert (pinned.table, pinned.snapshot_id, pinned.rows, count(place, pinned)) == ("p.examples", ours.snapshot_id, 20, 20)
    from windtunnel.lifecycle.data.catalog import catalog

    lake = catalog(place).create_table("p.lake", rows_of(DAYS).schema)
    lake.append(rows_of(DAYS))
    problem = whole({"format": "iceberg", "path": "", "table": "p.lake"}, name="r")
    copied = run(problem, window(2, 3), place)
    assert (copied.table, copied.rows, count(place, copied)) == ("r.examples", 20, 20)
    assert run(problem, window(2, 3), place) == copied
    lake.append(rows_of(DAYS[:2], 1))
    assert run(problem, window(2, 3), place).rows == 21


def test_what_is_gone_or_wrong_is_told(place):
    with pytest.raises(WindtunnelError, match="unknown fields"):
        run(make("{landing}/{hour}.csv"), window(), place)
    with pytest.raises(UnavailableError, match="no table"):
        files(place, SnapshotRef("p.nothing", 1, "2013-01-01", "2013-01-02", 1, 0, ""))
    land(place, DAYS[0])
    ref = run(make(), window(), place)
    with pytest.raises(UnavailableError, match="no snapshot 5"):
        files(place, SnapshotRef(ref.table, 5, ref.start, ref.end, 1, 0, ""))


def test_a_window_without_a_row_says_where_the_rows_are(tmp_path):
    (tmp_path / "old.csv").write_text("day,x,y\n2013-05-02,1,0\n2015-05-27,2,1\n", encoding="utf-8")
    problem = parse(
        {
            "name": "p",
            "owner": "o",
            "task": "regression",
            "source": {"format": "csv", "path": str(tmp_path / "old.csv")},
            "columns": {"day": "date", "x": "int64", "y": "float64"},
            "event_time": {"column": "day"},
            "features": {"numeric": ["x"]},
            "label": {"column": "y"},
        }
    )
    place = Settings(catalog_uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=str(tmp_path / "w"), artifacts=str(tmp_path / "a"))
    for _ in range(2):  # a retry is told the same
        with pytest.raises(EmptyWindowError) as caught:
            ingest(problem, Window(dt.date(2025, 1, 1), dt.date(2026, 1, 1)), place, Progress())
        assert "the source has 2 rows of 2013-05-02 to 2015-05-27" in str(caught.value)
        assert "windows.history_end: 2015-05-28" in caught.value.hint
