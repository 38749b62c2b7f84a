"""What would have been: the same answer in any order, and production as it was."""

import dataclasses
import datetime as dt
import random

import pytest

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.problem import Gate
from windtunnel.lifecycle.contract.references import CandidateRef, EvaluationRef
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.judging.counterfactual import answer, champion_before, note, series, stale
from windtunnel.lifecycle.record.champion import champion, champion_of_entry, registered
from windtunnel.lifecycle.record.ledger import Ledger
from windtunnel.lifecycle.record.promotion import promote, rollback
from windtunnel.lifecycle.record.tracking import client

DAYS = [(dt.date(2013, 2, 1) + dt.timedelta(days=i)).isoformat() for i in range(12)]
WORTH = dict(zip(DAYS, [0.70, 0.72, 0.71, 0.73, 0.60, 0.74, 0.73, 0.75, 0.75, 0.80, 0.10, 0.81], strict=True))
ASKING = Run("churn", "backfill", "backfill", counterfactual=True)


@pytest.fixture
def strict(shop, problem):
    """A problem whose gate looks at the champion."""
    shop.problem = problem.model_copy(update={"gates": [Gate(metric="auc", above_champion_by=0.0)]})
    return shop


def judge(shop, cutoff, before):
    """An evaluation as the gate would have it: better than who would have been champion, or nobody to beat."""
    value = WORTH[cutoff]
    passed = before is None or value >= before.value
    reasons = [f"{'passed' if passed else 'FAILED'}: auc {value} against {before.value if before else None}"]
    return EvaluationRef(str(shop.folder), "", "auc", value, 0.5, None, passed, reasons, f"{cutoff}{before.cutoff if before else ''}")


def one_run(shop, cutoff):
    candidate, before = shop.candidate(cutoff), champion_before(shop.settings, "churn", cutoff)
    evaluation = judge(shop, cutoff, before)
    note(RunContext(shop.problem, shop.settings, ASKING), candidate, evaluation, approved=evaluation.passed, judged_against=before)
    while (found := stale(shop.settings, shop.problem)) is not None:
        day, before = found
        known = {field.name: day.entry.payload[field.name] for field in dataclasses.fields(CandidateRef) if field.name != "problem"}
        again = judge(shop, day.cutoff, before)
        note(
            RunContext(shop.problem, shop.settings, ASKING),
            CandidateRef("churn", **known),
            again,
            approved=again.passed,
            judged_against=before,
        )


def expected():
    best, champions = 0.0, []
    for day in DAYS:
        if WORTH[day] >= best:
            best = WORTH[day]
            champions.append(day)
        else:
            champions.append(champions[-1])
    return champions


@pytest.mark.parametrize("order", [DAYS, DAYS[::-1], random.Random(5).sample(DAYS, 12), random.Random(6).sample(DAYS, 12)])
def test_every_order_gives_the_same_answer(strict, settings, order):
    for day in order:
        one_run(strict, day)
    rows = answer(settings, "churn")
    assert [row["cutoff"] for row in rows] == DAYS
    assert [row["champion"] for row in rows] == expected()
    assert [row["approved"] for row in rows] == [row["champion"] == row["cutoff"] for row in rows]
    assert all(row["reasons"] for row in rows if not row["approved"])
    before = len(Ledger(settings).entries())
    for day in order:
        one_run(strict, day)
    assert len(Ledger(settings).entries()) == before, "the same again is not written again"
    assert registered(settings, "churn") == {}
    assert champion(settings, "churn") is None
    assert Ledger(settings).verify()


def test_where_no_gate_looks_at_the_champion_nothing_is_judged_again(shop, settings):
    for day in DAYS[::-1]:
        one_run(shop, day)
    assert len(Ledger(settings).entries("churn", ["counterfactual"])) == len(DAYS)


def test_production_stays_and_is_part_of_the_answer(strict, settings, problem):
    scheduled = Run("churn", "scheduled", "scheduled")
    promote(RunContext(problem, settings, scheduled), strict.register(strict.candidate(DAYS[3]), scheduled))
    held, ledger = champion(settings, "churn"), Ledger(settings)
    aliases = dict(client(settings).get_registered_model("churn").aliases)
    at = ledger.at("churn", dt.datetime.now(dt.UTC))
    for day in (DAYS[9], DAYS[1]):
        one_run(strict, day)
    assert champion(settings, "churn") == held
    assert dict(client(settings).get_registered_model("churn").aliases) == aliases
    assert ledger.at("churn", dt.datetime.now(dt.UTC)) == at
    rows = {row["cutoff"]: row for row in answer(settings, "churn")}
    assert rows[DAYS[3]]["was_champion"]
    assert (rows[DAYS[1]]["version"], rows[DAYS[1]]["was_champion"]) == (None, False)
    assert not rows[DAYS[9]]["approved"], "the champion of the day before was worth 0.9"
    entry = series(settings, "churn")[0].entry
    assert champion_of_entry(settings, entry.hash).version == f"as of {DAYS[1]}"
    refused = promote(
        RunContext(problem, settings, dataclasses.replace(ASKING, run_type="manual")),
        strict.register(strict.candidate(DAYS[11]), scheduled),
    )
    assert not refused.promoted
    assert "counterfactual" in refused.reason


def test_a_version_that_was_rolled_back_does_not_count(shop, settings, problem):
    scheduled = Run("churn", "scheduled", "scheduled")
    for day in DAYS[:2]:
        promote(RunContext(problem, settings, scheduled), shop.register(shop.candidate(day), scheduled))
    rollback(settings, "churn", reason="alarms")
    assert [row["cutoff"] for row in answer(settings, "churn")] == [DAYS[0]]
