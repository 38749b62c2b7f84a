"""Thirty days in whatever order, at whatever pace: the same champion, and a ledger that explains itself."""

import dataclasses
import datetime as dt
import multiprocessing as mp
import random

import pytest

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import ConflictError
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.record.champion import champion, registered
from windtunnel.lifecycle.record.ledger import Ledger
from windtunnel.lifecycle.record.promotion import promote
from windtunnel.lifecycle.record.tracking import client

DAYS = [(dt.date(2013, 2, 1) + dt.timedelta(days=i)).isoformat() for i in range(30)]
NEWEST = (dt.date(2013, 2, 1) + dt.timedelta(days=30)).isoformat()
ORDERS = {"oldest first": DAYS, "newest first": DAYS[::-1], "shuffled": random.Random(7).sample(DAYS, 30)}


def one_run(shop, cutoff, run):
    """What the stages of one run do to the record: evaluate, decide, register, promote; and anew if somebody else came first."""
    candidate = shop.candidate(cutoff)
    for _ in range(20):
        version = shop.register(candidate, run)
        try:
            return promote(RunContext(shop.problem, shop.settings, run), version)
        except ConflictError:
            continue
    raise AssertionError("never came to a decision")


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_backfills_in_any_order_leave_the_scheduled_champion(shop, settings, order):
    for i, day in enumerate(ORDERS[order]):
        if i == 15:
            assert one_run(shop, NEWEST, Run("churn", "scheduled", "scheduled")).promoted
        assert not one_run(shop, day, Run("churn", f"backfill-{day}", "backfill")).promoted
    found = champion(settings, "churn")
    assert found.cutoff == NEWEST
    explains_itself(settings, backfilled=True)


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_scheduled_runs_in_any_order_end_with_the_newest(shop, settings, order):
    for day in ORDERS[order]:
        one_run(shop, day, Run("churn", f"scheduled-{day}", "scheduled"))
    assert champion(settings, "churn").cutoff == DAYS[-1]
    explains_itself(settings, backfilled=False)


def _work(shop, days, kind):
    for day in days:
        one_run(shop, day, Run("churn", f"{kind}-{day}", kind))


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_thirty_days_in_parallel_while_a_scheduled_run_goes_on(shop, settings, problem, order):
    context = mp.get_context("spawn")
    days = ORDERS[order]
    for day in (*days, NEWEST):
        shop.candidate(day)  # what training would have left
    jobs = [(days[i::3], "backfill") for i in range(3)] + [([NEWEST], "scheduled")]
    workers = [context.Process(target=_work, args=(shop, part, kind)) for part, kind in jobs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
        assert worker.exitcode == 0
    assert champion(settings, "churn").cutoff == NEWEST
    assert len(registered(settings, "churn")) == 31
    assert len(client(settings).search_model_versions("name = 'churn'")) == 31
    explains_itself(settings, backfilled=True)


def _promote_at_once(shop, version, start, answers):
    start.wait()
    try:
        answers.put(promote(RunContext(shop.problem, shop.settings, Run("churn", version.version, "scheduled")), version).promoted)
    except ConflictError:
        answers.put(False)


@pytest.mark.slow
def test_two_promotions_raced_fifty_times_never_both_win(shop, settings):
    """Threads, with the database's own serialisation between them; what two processes do is in test_ledger."""
    import threading

    wins = []
    for i in range(50):
        day = (dt.date(2013, 1, 1) + dt.timedelta(days=i)).isoformat()
        pair = [shop.register(shop.candidate(day, parameters={"n": n})) for n in range(2)]
        start, answers = threading.Barrier(2), mp.get_context("spawn").Queue()
        threads = [threading.Thread(target=_promote_at_once, args=(shop, version, start, answers)) for version in pair]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        won = [answers.get(timeout=10) for _ in pair]
        wins.append(sum(won))
        present = champion(settings, "churn")
        assert present.cutoff == day
        assert str(client(settings).get_model_version_by_alias("churn", "champion").version) == present.version
    assert wins == [1] * 50
    Ledger(settings).verify()


def explains_itself(settings, *, backfilled):
    ledger = Ledger(settings)
    ledger.verify()
    present = champion(settings, "churn")
    aliases = client(settings).get_registered_model("churn").aliases
    assert str(aliases["champion"]) == present.version
    versions = registered(settings, "churn")
    refused = {str(entry.payload["version"]): entry.payload["reason"] for entry in ledger.entries("churn", ["refusal"])}
    promoted = {str(entry.payload["version"]) for entry in ledger.entries("churn", ["promotion"])}
    assert set(versions) == set(refused) | promoted, "every version was promoted or refused with a reason"
    if backfilled:
        assert promoted == {present.version}
        for version, entry in versions.items():
            if version != present.version:
                assert str(aliases[f"asof-{entry.payload['cutoff']}"]) == version
    found = ledger.at("churn", dt.datetime.now(dt.UTC))
    assert found.version == present.version
    assert [entry.kind for entry in found.evidence] == ["evaluation", "decision", "register"]


def test_a_few_days_shuffled_around_a_scheduled_run(shop, settings):
    for day in (DAYS[5], DAYS[2]):
        one_run(shop, day, Run("churn", f"backfill-{day}", "backfill"))
    assert one_run(shop, NEWEST, Run("churn", "scheduled", "scheduled")).promoted
    for day in (DAYS[9], DAYS[1]):
        one_run(shop, day, Run("churn", f"backfill-{day}", "backfill"))
    explains_itself(settings, backfilled=True)


def test_dataclass_of_the_run_is_what_the_ledger_keeps(shop, settings):
    run = Run("churn", "r", "scheduled", by="ada", reason="why")
    one_run(shop, DAYS[0], run)
    entry = Ledger(settings).entries("churn", ["promotion"])[0]
    assert entry.run == dataclasses.asdict(run)
