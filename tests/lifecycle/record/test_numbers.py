"""Numbers of versions in data time, and what a person is told about a candidate."""

import itertools

import pytest

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import GateError
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.references import DecisionRef
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.record.champion import champion
from windtunnel.lifecycle.record.promotion import promote
from windtunnel.lifecycle.record.registration import register
from windtunnel.lifecycle.record.versions import Semantic
from windtunnel.lifecycle.release.changes import changes_of

SCHEDULED, BACKFILL = Run("churn", "s", "scheduled"), Run("churn", "b", "backfill")


@pytest.fixture
def searching(problem, shop):
    """The problem, with a search over n."""
    values = {**problem.model_dump(mode="json", by_alias=True, exclude_none=True), "model": {"family": "linear", "search": {"C": [1, 2]}}}
    shop.problem = parse(values)
    return shop


def released(shop, cutoff, **lineage):
    version = shop.register(shop.candidate(cutoff, **lineage), SCHEDULED)
    assert promote(RunContext(shop.problem, shop.settings, SCHEDULED), version).promoted
    return version


def test_what_a_search_chose_is_no_minor_change(searching):
    released(searching, "2013-01-01", parameters={"C": 1})
    assert released(searching, "2013-01-02", parameters={"C": 2}).semantic == "1.0.1"
    assert released(searching, "2013-01-03", parameters={"C": 2, "other": 3}).semantic == "1.1.0"


@pytest.mark.parametrize("order", list(itertools.permutations(["2013-01-01", "2013-01-02", "2013-01-04"])))
def test_backfills_in_any_order_never_look_newer_than_the_champion(searching, order):
    released(searching, "2013-01-03", parameters={"C": 1})
    found = {day: searching.register(searching.candidate(day, parameters={"C": 2}), BACKFILL).semantic for day in order}
    newest = Semantic.parse(champion(searching.settings, "churn").semantic)
    assert all(Semantic.parse(text) < newest for text in found.values())
    assert len(set(found.values())) == 3
    assert all(day.replace("-", "") in text for day, text in found.items())
    assert released(searching, "2013-01-05", parameters={"C": 2}).semantic == "1.0.1"


def test_a_backfill_before_anything_else(searching):
    assert searching.register(searching.candidate("2013-01-01"), BACKFILL).semantic == "1.0.0-asof.20130101"
    assert released(searching, "2013-01-02").semantic == "1.0.0"


def test_a_late_run_does_not_look_newer_either(searching):
    released(searching, "2013-01-03")
    late = searching.register(searching.candidate("2013-01-02", inputs=("age",)), SCHEDULED)
    assert Semantic.parse(late.semantic) < Semantic.parse("1.0.0")


@pytest.mark.parametrize("text", ["1.0.0", "1.2.3-asof.20130101", "1.2.3-asof.20130101.2"])
def test_numbers_are_read_as_they_are_written(text):
    assert str(Semantic.parse(text)) == text


def test_a_number_that_is_taken_is_not_given_again():
    one = Semantic(1, 0, 0).as_of("2013-01-01")
    assert str(one.after({"1.0.0-asof.20130101", "1.0.0-asof.20130101.2"})) == "1.0.0-asof.20130101.3"
    assert str(Semantic(1, 0, 0).after({"1.0.0"})) == "1.0.1"


def test_a_person_is_told_what_differs(shop):
    first = shop.candidate("2013-01-01", parameters={"n": 1})
    context = RunContext(shop.problem, shop.settings, SCHEDULED)
    assert changes_of(context, first) == ["there is no champion yet: this would be the first"]
    released(shop, "2013-01-01", parameters={"n": 1})
    (line,) = changes_of(context, first)
    assert line.startswith("nothing differs")
    said = changes_of(context, shop.candidate("2013-01-02", inputs=("age",), parameters={"n": 2}))
    assert said[0] == "data up to 2013-01-02 instead of 2013-01-01"
    assert "input plan was removed" in said
    assert any("n changed from 1 to 2" in line for line in said)


def test_an_approval_does_not_overrule_a_hard_gate(shop):
    import dataclasses
    import json
    from pathlib import Path

    candidate = shop.candidate("2013-01-01")
    evaluation = dataclasses.replace(shop.evaluate(candidate), passed=False)
    file = Path(evaluation.uri) / "evaluation.json"
    context = RunContext(shop.problem, shop.settings, SCHEDULED)
    for hard in (True, False):
        gates = [{"gate": "g", "passed": False, "reason": "too unfair", "hard": hard}]
        file.write_text(json.dumps(json.loads(file.read_text()) | {"gates": gates}))
        decision = DecisionRef(True, "ada", "I like it", shop.decide(evaluation, by=f"ada {hard}").entry)
        if hard:
            with pytest.raises(GateError, match="hard gates are not met: too unfair"):
                register(context, candidate, evaluation, decision)
        else:
            assert register(context, candidate, evaluation, decision).semantic == "1.0.0"
