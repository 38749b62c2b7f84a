import datetime as dt
import multiprocessing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.lifecycle.contract.errors import ConfigurationError, DataError, SchemaMismatchError, SourceFormatError
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.days import day_files, day_path, replace_days
from windtunnel.lifecycle.data.parquet import batches, write_file
from windtunnel.lifecycle.data.tables import existing, open_table
from windtunnel.lifecycle.live.labels import add_labels

NOON = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)


def problem(task="binary", **changes):
    label = {"column": "y", "positive": {"equals": "late"}} if task == "binary" else {"column": "y"}
    return parse(
        {
            "name": "p",
            "owner": "o",
            "task": task,
            "source": {"format": "csv", "path": "x"},
            "columns": {"k": "int64", "c": "string", "x": "float64", "y": "float64" if task == "regression" else "string"},
            "keys": ["k", "c"],
            "features": {"numeric": ["x"]},
            "label": label,
        }
        | changes
    )


@pytest.fixture
def place(tmp_path):
    return Settings(catalog_uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=str(tmp_path / "w"), artifacts=str(tmp_path / "a"))


def held(place):
    table = existing(place, "p.labels")
    return [row for batch in batches([entry.path for entry in day_files(table)]) for row in batch.to_pylist()] if table else []


def csv(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_of_labels(place, tmp_path):
    path = csv(tmp_path, "k,c,label,by,at\n1,a,late,ada,2024-01-01T09:00:00+02:00\n2,b,0,bob,2024-01-02\n")
    assert add_labels(problem(), path, place).added == 2
    rows = sorted(held(place), key=lambda row: row["k"])
    assert [(row["k"], row["label"], row["by"]) for row in rows] == [(1, "1", "ada"), (2, "0", "bob")]
    assert rows[0]["at"] == dt.datetime(2024, 1, 1, 7, tzinfo=dt.UTC)
    assert [row["event_date"] for row in rows] == [dt.date(2024, 1, 1), dt.date(2024, 1, 2)]


def test_the_same_file_again_adds_nothing(place, tmp_path):
    path = csv(tmp_path, "k,c,label\n1,a,1\n")
    assert add_labels(problem(), path, place, by="ada", at=NOON).added == 1
    assert add_labels(problem(), path, place, by="ada", at=NOON + dt.timedelta(days=3)).added == 0
    assert add_labels(problem(), path, place, by="bob", at=NOON).added == 1
    assert len(held(place)) == 2


def test_parquet_and_the_problems_own_label_column(place, tmp_path):
    pq.write_table(pa.table({"k": [1, 2], "c": ["a", "b"], "y": ["late", "on time"]}), tmp_path / "labels.parquet")
    add_labels(problem(), tmp_path / "labels.parquet", place, by="ada", at=NOON)
    assert sorted(row["label"] for row in held(place)) == ["0", "1"]


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("k,label\n1,1\n", SchemaMismatchError, "lacks the key columns ['c']"),
        ("k,c\n1,a\n", SchemaMismatchError, "neither a column 'label' nor 'y'"),
        ("k,c,label\n,a,1\n", DataError, "row 1 has no 'k'"),
        ("k,c,label\n1,a,1\n2,b,maybe\n", DataError, "row 2: label 'maybe' is not 0 or 1"),
        ("k,c,label\n1,a,\n", DataError, "row 1: label None is not 0 or 1"),
        ("k,c,label,at\n1,a,1,yesterday\n", DataError, "at='yesterday' is not an ISO time"),
        ("k,c,label\nx,a,1\n", SourceFormatError, "cannot be read as labels"),
        ("k,c,label\n1,a\n", SourceFormatError, "cannot be read as labels"),
        ("", SourceFormatError, "cannot be read as labels"),
    ],
)
def test_bad_labels_are_refused_whole(place, tmp_path, text, error, said):
    with pytest.raises(error) as caught:
        add_labels(problem(), csv(tmp_path, text), place, by="ada")
    assert said in str(caught.value)
    assert held(place) == []


def test_who_gave_a_label_must_be_said(place, tmp_path):
    with pytest.raises(ConfigurationError, match="who gave them"):
        add_labels(problem(), csv(tmp_path, "k,c,label\n1,a,1\n"), place)
    with pytest.raises(ConfigurationError, match="names no keys"):
        add_labels(problem(keys=[]), csv(tmp_path, "k,c,label\n1,a,1\n"), place, by="ada")
    with pytest.raises(SourceFormatError, match="no such file"):
        add_labels(problem(), tmp_path / "nowhere.csv", place, by="ada")


@pytest.mark.parametrize(
    ("task", "label", "kept"),
    [("regression", "2.50", "2.5"), ("regression", "nan", None), ("multiclass", "cat", "cat"), ("multiclass", "cow", None)],
)
def test_labels_of_other_tasks(place, tmp_path, task, label, kept):
    asked = problem(task) if task == "regression" else problem(task, label={"column": "y", "classes": ["cat", "dog"]})
    path = csv(tmp_path, f"k,c,label\n1,a,{label}\n")
    if kept is None:
        with pytest.raises(DataError, match="row 1: label"):
            add_labels(asked, path, place, by="ada", at=NOON)
    else:
        add_labels(asked, path, place, by="ada", at=NOON)
        assert [row["label"] for row in held(place)] == [kept]


def _add(place, number):
    add_labels(problem(), pa.table({"k": [number], "c": ["a"], "label": ["1"]}), place, by="ada", at=NOON)


def test_labels_given_at_the_same_time_are_all_kept(place):
    _add(place, 0)
    processes = [multiprocessing.get_context("spawn").Process(target=_add, args=(place, number)) for number in (1, 2, 3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(row["k"] for row in held(place)) == [0, 1, 2, 3]


def test_a_key_that_no_row_has_is_kept_apart_and_counted(place, tmp_path):
    known = pa.table({"k": [1], "c": ["a"], "x": [0.5], "y": ["late"], "event_date": [dt.date(2024, 1, 1)]})
    table = open_table(place, "p.examples", known.schema)
    path = day_path(table, "2024-01-01", "ab", 0)
    write_file(path.rpartition("/")[0], [known], known.schema, lambda: path)
    replace_days(place, "p.examples", {"2024-01-01": [path]})
    given = csv(tmp_path, "k,c,label\n1,a,1\n1,b,0\n7,a,1\n")
    found = add_labels(problem(), given, place, by="ada", at=NOON)
    assert (found.added, found.apart, found.first) == (1, 2, {"k": 1, "c": "b"})
    assert [(row["k"], row["c"]) for row in held(place)] == [(1, "a")]
    again = add_labels(problem(), given, place, by="ada", at=NOON)
    assert (again.added, again.apart) == (0, 2)
    apart = existing(place, "p.labels_apart")
    assert sum(entry.rows for entry in day_files(apart)) == 2


def test_a_key_that_was_only_predicted_is_known(place, tmp_path):
    answers = pa.table({"inputs": ['{"k": 5, "c": "z", "x": 1.0}'], "event_date": [dt.date(2024, 1, 1)]})
    table = open_table(place, "p.predictions", answers.schema)
    path = day_path(table, "2024-01-01", "ab", 0)
    write_file(path.rpartition("/")[0], [answers], answers.schema, lambda: path)
    replace_days(place, "p.predictions", {"2024-01-01": [path]})
    found = add_labels(problem(), csv(tmp_path, "k,c,label\n5,z,1\n6,z,1\n"), place, by="ada", at=NOON)
    assert (found.added, found.apart) == (1, 1)
