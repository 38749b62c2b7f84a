"""The ledger on SQLite and on a real PostgreSQL."""

import datetime as dt
import multiprocessing as mp
import time

import pytest
import sqlalchemy as sa

from windtunnel.lifecycle.contract.errors import ConfigurationError, ConflictError, IntegrityError, UnavailableError
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.record.ledger import GENESIS, Ledger

_NUMBER = iter(range(1_000_000))


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request, tmp_path):
    if request.param == "sqlite":
        return Settings(ledger_uri=f"sqlite:///{tmp_path}/ledger.db")
    server = request.getfixturevalue("postgres")
    name = f"ledger{next(_NUMBER)}"
    server.psql(f"CREATE DATABASE {name}")
    return Settings(ledger_uri=server.get_uri(name).replace("postgresql:", "postgresql+psycopg2:"))


def tamper(settings, statement, *, disarm=True):
    """Do what somebody with the database's password could do."""
    engine = sa.create_engine(settings.ledger_uri)
    with engine.begin() as connection:
        if disarm and engine.dialect.name == "sqlite":
            connection.exec_driver_sql("DROP TRIGGER windtunnel_ledger_no_update")
            connection.exec_driver_sql("DROP TRIGGER windtunnel_ledger_no_delete")
        elif disarm:
            connection.exec_driver_sql("ALTER TABLE windtunnel_ledger DISABLE TRIGGER ALL")
        connection.exec_driver_sql(statement)
    engine.dispose()


def test_entries_are_chained_and_come_back(settings):
    ledger = Ledger(settings)
    first = ledger.append("churn", "decision", {"approved": True, "share": 0.1}, Run("dag", "run", by="ada"))
    second = ledger.append("fraud", "decision", {"text": "ünïcode ' \" \0x"}, None)
    assert (first.previous, second.previous) == (GENESIS, first.hash)
    assert ledger.entries() == [first, second]
    assert ledger.entries("churn") == [first]
    assert ledger.entries(kinds=["promotion"]) == []
    assert ledger.entries(limit=1) == [second]
    assert ledger.entries(since=second.at) == [second]
    assert ledger.entries(until="2000-01-01") == []
    assert ledger.entry(first.hash[:10]) == first
    assert ledger.verify().entries == 2


def test_a_key_makes_an_entry_the_only_one(settings):
    ledger = Ledger(settings)
    first = ledger.append("churn", "evaluation", {"value": 1}, key="k")
    assert ledger.append("churn", "evaluation", {"value": 2}, key="k") == first
    assert ledger.append("fraud", "evaluation", {"value": 2}, key="k") != first
    assert len(ledger.entries("churn")) == 1


def test_the_database_refuses_to_change_entries(settings):
    Ledger(settings).append("churn", "decision", {})
    statements = ["UPDATE windtunnel_ledger SET payload = '{}'", "DELETE FROM windtunnel_ledger"]
    if settings.ledger_uri.startswith("postgresql"):
        statements.append("TRUNCATE windtunnel_ledger")
    for statement in statements:
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            tamper(settings, statement, disarm=False)
    assert Ledger(settings).verify().entries == 1


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE windtunnel_ledger SET payload = '{\"i\":9}' WHERE seq = 3", r"entry 3 .* was changed"),
        ("UPDATE windtunnel_ledger SET at = '2001-01-01T00:00:00+00:00' WHERE seq = 3", r"entry 3 .* was changed"),
        ("UPDATE windtunnel_ledger SET run = '{}' WHERE seq = 5", r"entry 5 .* was changed"),
        ("UPDATE windtunnel_ledger SET key = 'x' WHERE seq = 2", r"entry 2 .* was changed"),
        ("DELETE FROM windtunnel_ledger WHERE seq = 3", r"lacks entry 3"),
        ("DELETE FROM windtunnel_ledger WHERE seq = 1", r"lacks entry 1"),
        ("UPDATE windtunnel_ledger SET hash = 'ab' WHERE seq = 4", r"entry 4 .* was changed"),
    ],
)
def test_tampering_is_found_and_named(settings, statement, message):
    ledger = Ledger(settings)
    for i in range(5):
        ledger.append("churn", "decision", {"i": i})
    tamper(settings, statement)
    with pytest.raises(IntegrityError, match=message):
        ledger.verify()


def test_a_cut_off_end_is_found_by_a_hash_seen_before(settings):
    ledger = Ledger(settings)
    entries = [ledger.append("churn", "decision", {"i": i}) for i in range(3)]
    assert ledger.verify([entries[-1].hash]).head == entries[-1].hash
    tamper(settings, "DELETE FROM windtunnel_ledger WHERE seq = 3")
    ledger.verify()
    with pytest.raises(IntegrityError, match="lost entries"):
        ledger.verify([entries[-1].hash])


def test_compare_and_set(settings):
    ledger = Ledger(settings)
    first = ledger.append("churn", "promotion", {"version": "1"}, expect="")
    ledger.append("churn", "decision", {})
    ledger.append("fraud", "promotion", {"version": "1"}, expect="")
    with pytest.raises(ConflictError):
        ledger.append("churn", "promotion", {"version": "2"}, expect="")
    second = ledger.append("churn", "promotion", {"version": "2"}, expect=first.hash)
    assert ledger.head("churn") == second.hash
    assert len(ledger.entries("churn", ["promotion"])) == 2


def _race(settings, start, name, answers):
    ledger = Ledger(settings)
    for i in range(50):
        head = ledger.head("churn")
        start.wait()
        try:
            ledger.append("churn", "promotion", {"version": f"{name}-{i}"}, expect=head)
            answers.put((i, name))
        except ConflictError:
            pass
        start.wait()


def test_of_two_that_promote_at_once_one_wins_fifty_times(settings):
    context = mp.get_context("spawn")
    start, answers = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_race, args=(settings, start, name, answers)) for name in "ab"]
    for worker in workers:
        worker.start()
    won = [answers.get(timeout=120) for _ in range(50)]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert sorted(i for i, _ in won) == list(range(50))
    assert answers.empty()
    assert len(Ledger(settings).entries("churn", ["promotion"])) == 50
    Ledger(settings).verify()


def _many(settings, name):
    ledger = Ledger(settings)
    for i in range(25):
        with ledger.lock("a"):
            ledger.append("churn", "decision", {"by": name, "i": i})


def test_four_processes_on_an_empty_database_keep_one_chain(settings):
    context = mp.get_context("spawn")
    workers = [context.Process(target=_many, args=(settings, str(i))) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    assert Ledger(settings).verify().entries == 100


def test_at_answers_for_any_moment(settings):
    ledger = Ledger(settings)
    evidence = ledger.append("churn", "decision", {"approved": True, "by": "ada"})
    one = ledger.append("churn", "promotion", {"version": "1", "evidence": [evidence.hash]})
    time.sleep(0.01)
    between = dt.datetime.now(dt.UTC)
    two = ledger.append("churn", "promotion", {"version": "2", "evidence": []}, Run("dag", by="grace"))
    assert ledger.at("churn", one.at).version == "1"
    found = ledger.at("churn", between)
    assert (found.version, found.by, found.until) == ("1", "ada", two)
    assert found.evidence == [evidence]
    assert ledger.at("churn", dt.datetime.now(dt.UTC).date().isoformat()).version == "2"
    assert ledger.at("churn", "2001-01-01T00:00") is None
    assert ledger.at("fraud", between) is None
    with pytest.raises(ConfigurationError, match="ISO"):
        ledger.at("churn", "yesterday")


def test_what_cannot_hold_a_ledger_says_so(tmp_path):
    for uri, message in (
        ("", "ledger_uri is empty"),
        ("http://catalog:8181", "REST"),
        ("sqlite://", "forget"),
        ("mysql://h/d", "mysql"),
        ("not a url", "not a SQLAlchemy URL"),
    ):
        key = "catalog_uri" if uri.startswith("http") else "ledger_uri"
        with pytest.raises(ConfigurationError, match=message):
            Ledger(Settings(**{key: uri}))
    with pytest.raises(UnavailableError, match="out of reach"):
        Ledger(Settings(ledger_uri="postgresql://u:secret@127.0.0.1:1/none")).entries()


def test_the_password_is_not_shown():
    with pytest.raises(UnavailableError) as caught:
        Ledger(Settings(ledger_uri="postgresql://u:secret@127.0.0.1:1/none")).entries()
    assert "secret" not in str(caught.value)


@pytest.mark.slow
def test_a_hundred_thousand_entries_verify_in_five_seconds(settings):
    from windtunnel.lifecycle.contract.fingerprint import canonical
    from windtunnel.lifecycle.record.ledger import _digest

    Ledger(settings).append("churn", "decision", {})
    head = Ledger(settings).entries()[0]
    rows, previous = [], head.hash
    payload, run = canonical({"version": "1", "evidence": ["a" * 64, "b" * 64], "reason": "x" * 200}), canonical(Run("d", "r").to_dict())
    for seq in range(2, 100_001):
        at = f"2030-01-01T00:00:00.{seq:06}+00:00"
        digest = _digest(previous, seq, "churn", "refusal", at, "", payload, run)
        rows.append(
            {
                "seq": seq,
                "problem": "churn",
                "kind": "refusal",
                "at": at,
                "payload": payload,
                "run": run,
                "previous": previous,
                "hash": digest,
            }
        )
        previous = digest
    engine = sa.create_engine(settings.ledger_uri)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO windtunnel_ledger (seq, problem, kind, at, payload, run, previous, hash) "
                "VALUES (:seq, :problem, :kind, :at, :payload, :run, :previous, :hash)"
            ),
            rows,
        )
    engine.dispose()
    began = time.process_time()
    assert Ledger(settings).verify().entries == 100_000
    assert time.process_time() - began < 5
