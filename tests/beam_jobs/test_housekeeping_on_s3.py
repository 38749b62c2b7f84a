"""Housekeeping where artefacts and warehouse are in an object store: the same goes, the same stays, and readers are told."""

import datetime as dt
import time

import fsspec
import pyarrow as pa
import pytest

from windtunnel.lifecycle.contract.errors import ExpiredError, UnavailableError
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.references import SnapshotRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data import expiry
from windtunnel.lifecycle.data.artifacts import Stage, read_text
from windtunnel.lifecycle.data.days import day_path, replace_days
from windtunnel.lifecycle.data.parquet import write_file
from windtunnel.lifecycle.data.pins import files
from windtunnel.lifecycle.data.tables import open_table
from windtunnel.lifecycle.keeping.housekeeping import housekeep

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the server's and client's own

LATER = dt.datetime.now(dt.UTC) + dt.timedelta(days=400)
PROBLEM = {
    "name": "churn",
    "owner": "ada",
    "task": "binary",
    "source": {"format": "csv", "path": "x.csv"},
    "columns": {"id": "int64", "left": "int64"},
    "features": {"numeric": ["id"]},
    "label": {"column": "left", "positive": {"equals": 1}},
    "keys": ["id"],
}


@pytest.fixture
def settings(bucket, tmp_path):
    return Settings(
        catalog_uri=f"sqlite:///{tmp_path}/catalog.db",
        warehouse=f"s3://{bucket}/warehouse",
        artifacts=f"s3://{bucket}/artifacts",
        ledger_uri=f"sqlite:///{tmp_path}/ledger.db",
        server_log=f"s3://{bucket}/log",
    )


def left(settings, name, fingerprint):
    stage = Stage(settings, "churn", name, fingerprint)
    with stage.writing() as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file.txt").write_text("x" * 1000)
        stage.finish(folder, {"fingerprint": fingerprint})
    return stage


def written(settings, digest, rows):
    schema = pa.schema([("event_date", pa.date32()), ("age", pa.int64())])
    table = open_table(settings, "churn.examples", schema)
    content = [pa.table({"event_date": [dt.date(2013, 1, 1)] * rows, "age": list(range(rows))}, schema=schema)]
    place = day_path(table, "2013-01-01", digest, 0)
    path, _ = write_file(place.rpartition("/")[0], content, schema, lambda: place)
    return replace_days(settings, "churn.examples", {"2013-01-01": [path]})


def objects(bucket, folder):
    store = fsspec.filesystem("s3")
    store.invalidate_cache()
    return [path for path in store.find(f"{bucket}/{folder}") if store.exists(path)]


def test_what_nobody_needs_goes_also_after_a_kill(bucket, settings, monkeypatch):
    problem = parse(PROBLEM)
    stages = [left(settings, "profile", "aaa"), left(settings, "preprocess", "bbb")]
    one, two = written(settings, "a" * 16, 1), written(settings, "b" * 16, 2)
    fsspec.filesystem("s3").pipe_file(f"{bucket}/log/churn/1.jsonl", b"{}")
    dry = housekeep(problem, settings, dry=True, now=LATER)
    assert dry.size > 2000
    assert len(objects(bucket, "artifacts/churn")) == 4, "looked at only"

    class KilledError(BaseException):
        pass

    store = fsspec.filesystem("s3")
    remove = store.rm

    def killed(path, recursive=False, **more):
        if recursive:  # a folder; others are single files, such as a note that is moved to its place
            raise KilledError
        return remove(path, recursive=recursive, **more)

    with monkeypatch.context() as patch:
        patch.setattr(store, "rm", killed)
        with pytest.raises(KilledError):
            housekeep(problem, settings, now=LATER)
    assert [stage.result() is None for stage in stages].count(True) == 1, "one no longer counts, though its files are there"
    outcome = housekeep(problem, settings, now=LATER)
    assert not outcome.failed
    assert not [path for path in objects(bucket, "artifacts/churn") if "/expired/" not in path]
    assert not objects(bucket, "log")
    for stage, rule in zip(stages, ("artifacts_days = 90", "shards_days = 14"), strict=True):
        with pytest.raises(ExpiredError, match=rf"expired on {LATER.date()} by the rule retention.{rule}"):
            read_text(stage.path("inner/file.txt"))
    with pytest.raises(UnavailableError, match="no snapshot"):
        files(settings, SnapshotRef("churn.examples", one, "2013-01-01", "2013-01-02", 1, 0, "f"))
    assert len(files(settings, SnapshotRef("churn.examples", two, "2013-01-01", "2013-01-02", 1, 0, "f"))) == 1
    assert len([path for path in objects(bucket, "warehouse") if path.endswith(".parquet")]) == 1
    (note,) = expiry.notes_of(settings, "churn", {"snapshot_id": one})
    assert "by the rule retention.snapshots_days = 90" in note
    assert housekeep(problem, settings, now=LATER).size == 0


def test_a_result_that_is_used_again_is_new_and_one_that_goes_does_not_come_back(settings, monkeypatch):
    from windtunnel.lifecycle.data import artifacts

    stage = left(settings, "profile", "aaa")
    monkeypatch.setattr(artifacts, "_FRESH", dt.timedelta(0))
    filesystem, path = fsspec.core.url_to_fs(stage.path("result.json"))
    before = expiry.modified(filesystem.info(path))
    time.sleep(1.1)  # the store counts seconds
    assert stage.result() == {"fingerprint": "aaa"}
    filesystem.invalidate_cache()
    assert expiry.modified(filesystem.info(path)) > before
    # A housekeeping that is between its note and the removal.
    expiry.note(stage.uri, "retention.artifacts_days = 90", dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2))
    assert stage.result() is None
    assert not filesystem.exists(path)
