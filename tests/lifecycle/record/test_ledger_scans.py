"""No step of registering reads the whole ledger."""

import pytest
import sqlalchemy as sa

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.record import ledger as ledgers
from windtunnel.lifecycle.record.champion import registration
from windtunnel.lifecycle.record.ledger import Ledger
from windtunnel.lifecycle.record.promotion import promote

RUN = Run("churn", "scheduled__1", "scheduled")


@pytest.fixture
def rows(monkeypatch):
    """How many entries were read from the database since it was last set to nought."""
    count = [0]
    real = ledgers._entry

    def counted(row):
        count[0] += 1
        return real(row)

    monkeypatch.setattr(ledgers, "_entry", counted)
    return count


def test_registering_reads_as_many_entries_of_a_long_ledger_as_of_a_short_one(shop, settings, problem, rows):
    def cost(cutoff):
        candidate = shop.candidate(cutoff)
        rows[0] = 0
        promote(RunContext(problem, settings, RUN), shop.register(candidate))
        return rows[0]

    cost("2013-02-01")
    short = cost("2013-02-02")
    ledger = Ledger(settings)
    (entry,) = [e for e in ledger.entries("churn", ("register",)) if e.payload["cutoff"] == "2013-02-02"]
    for number in range(100):  # registrations of long ago, each of a candidate of its own
        name = f"{number:032x}"
        payload = {**entry.payload, "fingerprint": name, "version": f"old-{number}", "judged_against": ""}
        ledger.append("churn", "register", payload, RUN, key=f"{name}:")
    assert cost("2013-02-03") <= short + 8


def test_the_newest_cutoff_survives_a_ledger_that_did_not_note_it(shop, settings, problem):
    first = shop.register(shop.candidate("2013-03-01"))
    ledger = Ledger(settings)
    (entry,) = ledger.entries("churn", ("register",))
    old = {name: value for name, value in entry.payload.items() if name != "newest_cutoff"} | {"cutoff": "2013-04-01", "fingerprint": "ab"}
    ledger.append("churn", "register", old, RUN, key="ab:")
    assert first.alias == "challenger"
    again = shop.register(shop.candidate("2013-02-01"))
    newest = ledger.entries("churn", ("register",))[-1]
    assert newest.payload["newest_cutoff"] == "2013-04-01"
    assert again.alias == "challenger"


def test_entries_of_one_fingerprint_are_found_whatever_follows(settings):
    ledger = Ledger(settings)
    for key in ("ab:", "ab:12", "abc:12", "ab", "ac:"):
        ledger.append("churn", "register", {"version": key}, RUN, key=key)
    assert [entry.key for entry in ledger.keyed("churn", "register", "ab")] == ["ab:", "ab:12"]
    assert [entry.key for entry in ledger.newest_first("churn", ("register",))] == ["ac:", "ab", "abc:12", "ab:12", "ab:"]
    assert registration(ledger, "churn", "abc:12").key == "abc:12"
    with pytest.raises(ConfigurationError, match="no registered version 9"):
        registration(ledger, "churn", "9")


def test_an_entry_is_found_by_an_index(settings):
    ledger = Ledger(settings)
    entry = ledger.append("churn", "decision", {}, RUN)
    assert ledger.entry(entry.hash) == ledger.entry(entry.hash[:10]) == entry
    if ledger._engine.dialect.name == "sqlite":
        with ledger._reading() as connection:
            plan = connection.execute(
                sa.text("EXPLAIN QUERY PLAN SELECT * FROM windtunnel_ledger WHERE hash >= :h AND hash < :a"), {"h": "a", "a": "ag"}
            ).all()
        assert "USING INDEX" in str(plan)
