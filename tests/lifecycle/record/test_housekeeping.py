"""Housekeeping: what nobody needs goes by its rule, what anybody needs stays, and readers are told."""

import dataclasses
import datetime as dt
import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import ExpiredError, UnavailableError
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.references import SnapshotRef, StatisticsRef
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.data import expiry
from windtunnel.lifecycle.data.artifacts import Stage, local_copy, read_text
from windtunnel.lifecycle.data.days import day_path, replace_days
from windtunnel.lifecycle.data.parquet import write_file
from windtunnel.lifecycle.data.pins import files
from windtunnel.lifecycle.data.tables import open_table, table_name
from windtunnel.lifecycle.keeping.housekeeping import housekeep
from windtunnel.lifecycle.record.ledger import Ledger
from windtunnel.lifecycle.record.manifest import record
from windtunnel.lifecycle.record.promotion import promote
from windtunnel.lifecycle.record.tracking import client
from windtunnel.lifecycle.release.decisions import ask

NOW = dt.datetime.now(dt.UTC)
LATER = NOW + dt.timedelta(days=400)


@pytest.fixture
def settings(settings, tmp_path):
    return dataclasses.replace(settings, catalog_uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=str(tmp_path / "warehouse"))


@pytest.fixture
def keeping(problem):
    """The problem, with rules that keep one version."""
    return parse({**problem.model_dump(mode="json", by_alias=True, exclude_none=True), "retention": {"versions": 1}})


def left(settings, name, fingerprint, text="x" * 1000):
    """What a stage left behind."""
    stage = Stage(settings, "churn", name, fingerprint)
    with stage.writing() as folder:
        (folder / "file.txt").write_text(text)
        stage.finish(folder, {"fingerprint": fingerprint})
    return stage


def there(settings):
    root = Path(settings.artifacts) / "churn"
    return {f"{path.parent.name}/{path.name}" for path in root.glob("*/*") if path.parent.name not in {"runs", expiry.FOLDER}}


def freed(outcome):
    return {row.kind: (row.count, row.kept) for row in outcome.freed if row.count or row.kept}


def test_what_is_old_and_needed_by_nobody_goes_and_says_so(keeping, settings):
    stage, shards = left(settings, "profile", "aaa"), left(settings, "preprocess", "bbb")
    for days, gone in ((1, set()), (15, {"preprocess/bbb"}), (91, {"profile/aaa", "preprocess/bbb"})):
        dry = housekeep(keeping, settings, dry=True, now=NOW + dt.timedelta(days=days))
        assert {name for row in dry.freed for name in row.names} == gone
        assert there(settings) == {"profile/aaa", "preprocess/bbb"}, "looked at only"
    outcome = housekeep(keeping, settings, now=NOW + dt.timedelta(days=15))
    assert there(settings) == {"profile/aaa"}
    (row,) = [row for row in outcome.freed if row.kind == "shards"]
    assert (row.count, row.rule) == (1, "retention.shards_days = 14")
    assert row.size == outcome.size > 1000
    with pytest.raises(ExpiredError, match=r"expired on \d{4}-\d\d-\d\d by the rule retention.shards_days = 14"):
        read_text(shards.path("file.txt"))
    with pytest.raises(ExpiredError), local_copy(shards.uri):
        pass
    assert shards.result() is None
    with pytest.raises(FileNotFoundError):
        read_text(stage.path("none.txt"))
    # Computed anew it is there, and the note is history.
    left(settings, "preprocess", "bbb")
    assert read_text(shards.path("file.txt"))
    assert not freed(housekeep(keeping, settings, now=NOW + dt.timedelta(days=2)))


def run_of(keeping, settings, name, at, **references):
    context = RunContext(keeping, settings, Run("churn", name, "scheduled"))
    for stage, output in references.items():
        record(context, stage, {}, output)
        file = next(Path(settings.artifacts, "churn", "runs").glob(f"{name}-*/{stage}.json"))
        values = json.loads(file.read_text())
        file.write_text(json.dumps(values | {"at": at.isoformat(timespec="seconds")}))


def statistics_at(settings, fingerprint):
    stage = left(settings, "profile", fingerprint)
    names = [field.name for field in dataclasses.fields(StatisticsRef)]
    values = {name: {"uri": stage.uri, "fingerprint": fingerprint}.get(name) for name in names}
    return StatisticsRef(**values)


def test_a_run_within_the_replay_horizon_keeps_what_it_used(keeping, settings):
    run_of(keeping, settings, "young", LATER - dt.timedelta(days=29), profile=statistics_at(settings, "aaa"))
    run_of(keeping, settings, "old", LATER - dt.timedelta(days=31), profile=statistics_at(settings, "bbb"))
    outcome = housekeep(keeping, settings, now=LATER)
    assert there(settings) == {"profile/aaa"}
    assert freed(outcome)["artefacts"] == (1, 1)


def test_a_version_in_use_keeps_all_it_was_made_from(keeping, settings, shop, tmp_path):
    shop.folder = tmp_path / "artifacts" / "churn" / "train"
    versions = {}
    for number, day in enumerate(["2013-01-01", "2013-01-02", "2013-01-03", "2013-01-04"]):
        run = Run("churn", f"run{number}", "backfill" if number == 3 else "scheduled")
        run_of(keeping, settings, f"run{number}", NOW, profile=statistics_at(settings, f"s{number}"))
        candidate = shop.candidate(day)
        versions[day] = shop.register(candidate, run)
        if number < 3:
            assert promote(RunContext(shop.problem, settings, run), versions[day]).promoted
    housekeep(keeping, settings, now=LATER)
    kept = {name.partition("/")[2] for name in there(settings) if name.startswith("profile/")}
    # The champion, the one before it, and the backfill with its alias; the first champion is nobody's any more.
    assert kept == {"s1", "s2", "s3"}
    bundles = {path.name for path in shop.folder.iterdir() if not path.name.startswith("evaluation-")}
    assert len(bundles) == 3


def test_a_waiting_decision_keeps_its_candidate(keeping, settings, shop, tmp_path):
    shop.folder = tmp_path / "artifacts" / "churn" / "train"
    candidate = shop.candidate("2013-01-01")
    evaluation = shop.evaluate(candidate)
    shop.register(shop.candidate("2013-01-02"))
    asking = parse({**keeping.model_dump(mode="json", by_alias=True, exclude_none=True), "approval": {"timeout_hours": 24 * 1000}})
    run = Run("churn", "waits", "manual")
    run_of(keeping, settings, "waits", NOW, profile=statistics_at(settings, "aaa"))
    ask(RunContext(asking, settings, run), candidate, evaluation, "")
    housekeep(keeping, settings, now=LATER)
    assert {"profile/aaa", f"train/{candidate.fingerprint}"} <= there(settings)
    Ledger(settings).append("churn", "decision", {"approved": False, "candidate": candidate.fingerprint}, run)
    housekeep(keeping, settings, now=LATER)
    assert not {"profile/aaa", f"train/{candidate.fingerprint}"} & there(settings)


@pytest.mark.parametrize("step", ["rm_file", "rm"])
def test_killed_in_between_the_next_one_goes_on(keeping, settings, monkeypatch, step):
    import fsspec

    stage = left(settings, "profile", "aaa")
    filesystem = fsspec.filesystem("file")

    class KilledError(BaseException):
        pass

    def killed(*_args, **_more):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(type(filesystem), step, killed)
        with pytest.raises(KilledError):
            housekeep(keeping, settings, now=LATER)
    assert expiry.expired(stage.uri)
    assert (stage.result() is None) is (step == "rm"), "it no longer counts before it goes"
    housekeep(keeping, settings, now=LATER)
    assert there(settings) == set()


def test_what_a_run_uses_again_while_housekeeping_is_under_way_stays(keeping, settings, monkeypatch):
    """What is needed was looked up; then a run finds an old result and goes on with it, before its manifest says so."""
    from windtunnel.lifecycle.keeping import housekeeping

    stage, other = left(settings, "profile", "aaa"), left(settings, "profile", "bbb")
    old = (NOW - dt.timedelta(days=100)).timestamp()
    for path in Path(settings.artifacts).rglob("*"):
        os.utime(path, (old, old))
    real = housekeeping.needs_of

    def needs_then_a_run(*arguments):
        found = real(*arguments)
        assert stage.result() == {"fingerprint": "aaa"}
        return found

    monkeypatch.setattr(housekeeping, "needs_of", needs_then_a_run)
    housekeep(keeping, settings)
    assert there(settings) == {"profile/aaa"}
    assert other.result() is None


@pytest.mark.parametrize(("step", "left_over"), [("note", 4), ("commit", 4), ("rm_file", 3)])
def test_tables_killed_in_between_lose_nothing_and_the_next_one_goes_on(keeping, settings, monkeypatch, step, left_over):
    import fsspec
    from pyiceberg.table.update.snapshot import ExpireSnapshots

    one, two, three = (written(settings, "examples", "2013-01-01", digest * 16, rows) for digest, rows in (("a", 1), ("b", 2), ("c", 3)))
    run_of(keeping, settings, "young", LATER, ingest=SnapshotRef("churn.examples", two, "2013-01-01", "2013-01-02", 1, 0, "f"))
    orphan = parquet(settings)[0].with_name("left-over.parquet")
    orphan.write_bytes(b"x" * 500)
    what = {"note": (expiry, "note"), "commit": (ExpireSnapshots, "commit"), "rm_file": (type(fsspec.filesystem("file")), "rm_file")}[step]
    real, calls = getattr(*what), []

    class KilledError(BaseException):
        pass

    def killed(*arguments, **more):
        calls.append(arguments)
        if step == "rm_file" and len(calls) == 1:
            return real(*arguments, **more)  # the first file goes, then it is killed
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(*what, killed)
        with pytest.raises(KilledError):
            housekeep(keeping, settings, now=LATER)
    assert len(parquet(settings)) == left_over
    for number in (two, three):
        assert len(files(settings, SnapshotRef("churn.examples", number, "2013-01-01", "2013-01-02", 1, 0, "f"))) == 1
    housekeep(keeping, settings, now=LATER)
    assert len(parquet(settings)) == 2
    (note,) = expiry.notes_of(settings, "churn", {"snapshot_id": one})
    assert "by the rule retention.snapshots_days = 90" in note


def test_what_a_killed_stage_was_writing_goes_and_what_one_writes_stays(keeping, settings):
    with Stage(settings, "churn", "train", "aaa").writing() as folder:
        (folder / "half").write_text("x")
        housekeep(keeping, settings, now=NOW + dt.timedelta(days=1))
        assert folder.exists()
        housekeep(keeping, settings, now=NOW + dt.timedelta(days=3))
        assert not folder.exists()


def test_when_nobody_can_say_what_is_needed_nothing_goes(keeping, settings, shop):
    left(settings, "profile", "aaa")
    shop.register(shop.candidate("2013-01-01"))
    for broken in ({"tracking_uri": "http://127.0.0.1:9"}, {"ledger_uri": "postgresql+psycopg2://a:b@127.0.0.1:9/x"}):
        with pytest.raises(UnavailableError):
            housekeep(keeping, dataclasses.replace(settings, **broken), now=LATER)
    assert there(settings) == {"profile/aaa"}


# Tables -----------------------------------------------------------------------------------------------------------------------------


def written(settings, kind, day, digest, rows):
    schema = pa.schema([("event_date", pa.date32()), ("age", pa.int64())])
    name = table_name("churn", kind)
    table = open_table(settings, name, schema)
    content = [pa.table({"event_date": [dt.date.fromisoformat(day)] * rows, "age": list(range(rows))}, schema=schema)]
    path, _ = write_file(day_path(table, day, digest, 0).rpartition("/")[0], content, schema, lambda: day_path(table, day, digest, 0))
    return replace_days(settings, name, {day: [path]})


def parquet(settings):
    return sorted(Path(settings.warehouse).rglob("*.parquet"))


def test_old_versions_of_tables_go_with_their_files_and_needed_ones_stay(keeping, settings):
    one, two, three = (written(settings, "examples", "2013-01-01", digest * 16, rows) for digest, rows in (("a", 1), ("b", 2), ("c", 3)))
    references = {number: SnapshotRef("churn.examples", number, "2013-01-01", "2013-01-02", 1, 0, "f") for number in (one, two, three)}
    run_of(keeping, settings, "young", LATER, ingest=references[two])
    orphan = parquet(settings)[0].with_name("left-over.parquet")
    orphan.write_bytes(b"x" * 500)
    assert len(parquet(settings)) == 4
    assert not freed(housekeep(keeping, settings, now=NOW + dt.timedelta(days=2)))
    outcome = freed(housekeep(keeping, settings, now=LATER))
    assert outcome["snapshots of churn.examples"] == (1, 1)
    assert outcome["files of churn.examples"] == (2, 0)
    assert not orphan.exists()
    assert [len(files(settings, references[number])) for number in (two, three)] == [1, 1]
    with pytest.raises(UnavailableError, match="no snapshot"):
        files(settings, references[one])
    (note,) = expiry.notes_of(settings, "churn", references[one].to_dict())
    assert "by the rule retention.snapshots_days = 90" in note
    assert not freed(housekeep(keeping, settings, now=LATER)).get("files of churn.examples", (0, 0))[0]


def test_old_days_of_quarantine_and_predictions_go(keeping, settings):
    for kind in ("quarantine", "predictions"):
        written(settings, kind, "2013-01-01", "a" * 16, 5)
        written(settings, kind, NOW.date().isoformat(), "b" * 16, 5)
    outcome = freed(housekeep(keeping, settings))
    assert outcome["days of quarantine"] == outcome["days of predictions"] == (1, 0)
    assert not freed(housekeep(keeping, settings))
    later = freed(housekeep(keeping, settings, now=NOW + dt.timedelta(days=100)))
    assert later["files of churn.quarantine"] == later["files of churn.predictions"] == (1, 0)


# MLflow -----------------------------------------------------------------------------------------------------------------------------


def test_old_runs_of_mlflow_go_and_those_of_versions_in_use_stay(keeping, settings, shop, tmp_path):
    mlflow = client(settings)
    experiment = mlflow.create_experiment("churn", artifact_location=str(tmp_path / "mlruns"))
    (tmp_path / "file").write_text("x" * 100)
    runs = {}
    for day in ("2013-01-01", "2013-01-02", "2013-01-03"):
        runs[day] = mlflow.create_run(experiment, start_time=int(NOW.timestamp() * 1000)).info.run_id
        for folder in ("bundle", "model"):
            mlflow.log_artifact(runs[day], str(tmp_path / "file"), folder)
        mlflow.set_terminated(runs[day])
    running = mlflow.create_run(experiment, start_time=int(NOW.timestamp() * 1000)).info.run_id
    for day in ("2013-01-01", "2013-01-02", "2013-01-03"):
        version = shop.register(dataclasses.replace(shop.candidate(day), run_id=runs[day]))
        promote(RunContext(shop.problem, settings, Run("churn", "r", "scheduled")), version)
    outcome = housekeep(keeping, settings, now=LATER)
    (row,) = [row for row in outcome.freed if row.kind == "MLflow runs"]
    assert (row.names, row.size, row.kept) == ((runs["2013-01-01"],), 200, 3)
    assert mlflow.get_run(runs["2013-01-01"]).info.lifecycle_stage == "deleted"
    assert not list((tmp_path / "mlruns" / runs["2013-01-01"]).rglob("file"))
    assert "by the rule retention.runs_days = 180" in mlflow.get_model_version("churn", "1").tags["windtunnel.expired"]
    for run_id in (runs["2013-01-02"], runs["2013-01-03"], running):
        assert mlflow.get_run(run_id).info.lifecycle_stage == "active"


def test_the_command_says_what_it_freed(keeping, settings, monkeypatch, capsys, tmp_path):
    import yaml

    from windtunnel.cli.main import main
    from windtunnel.lifecycle.contract.settings import PREFIX

    for name, value in settings.to_dict().items():
        monkeypatch.setenv(f"{PREFIX}{name.upper()}", str(value))
    left(settings, "profile", "aaa")
    folder = tmp_path / "problems"
    folder.mkdir()
    values = keeping.model_dump(mode="json", by_alias=True, exclude_none=True)
    (folder / "churn.yaml").write_text(yaml.safe_dump(values | {"keys": ["age"]}))
    old = (NOW - dt.timedelta(days=100)).timestamp()
    for path in (Path(settings.artifacts) / "churn" / "profile" / "aaa").rglob("*"):
        os.utime(path, (old, old))
    assert main(["gc", str(folder), "--dry-run", "--names"]) == 0
    said = capsys.readouterr().out
    assert "would go" in said
    assert "    profile/aaa" in said
    assert main(["gc", str(folder / "churn.yaml"), "--json"]) == 0
    (outcome,) = json.loads(capsys.readouterr().out)
    assert outcome["size"] > 1000
    assert there(settings) == set()
    assert main(["gc", str(tmp_path / "artifacts")]) == 1
