import dataclasses

import pytest

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import ConfigurationError, ConflictError, GateError
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.references import DecisionRef
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.model import bundle as bundles
from windtunnel.lifecycle.record.champion import champion, repair
from windtunnel.lifecycle.record.ledger import Ledger
from windtunnel.lifecycle.record.promotion import promote, rollback
from windtunnel.lifecycle.record.registration import register
from windtunnel.lifecycle.record.tracking import client
from windtunnel.lifecycle.record.versions import next_version, recipe_of, signature_of

SCHEDULED = Run("churn", "scheduled__1", "scheduled")
BACKFILL = Run("churn", "backfill__1", "backfill")


def test_a_version_is_registered_once_and_says_what_it_is(shop, settings):
    candidate = shop.candidate("2013-02-01")
    first = shop.register(candidate)
    again = shop.register(candidate, Run("churn", "another", "scheduled"))
    assert (first.version, first.semantic, first.alias, first.new) == ("1", "1.0.0", "challenger", True)
    assert (again.version, again.new) == ("1", False)
    held = client(settings).get_model_version("churn", "1")
    assert held.tags["windtunnel.fingerprint"] == candidate.fingerprint
    assert held.tags["windtunnel.cutoff"] == "2013-02-01"
    assert held.tags["windtunnel.digest"] == candidate.digest
    assert not [value for value in held.tags.values() if str(shop.folder) in value], "no path of this machine"
    assert len(client(settings).search_model_versions("name = 'churn'")) == 1


def test_promotion_goes_through_the_ledger_and_the_alias_follows(shop, settings, problem):
    version = shop.register(shop.candidate("2013-02-01"), by="ada")
    made = promote(RunContext(problem, settings, SCHEDULED), version)
    assert made.promoted
    found = champion(settings, "churn")
    assert (found.version, found.cutoff, found.semantic) == ("1", "2013-02-01", "1.0.0")
    assert str(client(settings).get_model_version_by_alias("churn", "champion").version) == "1"
    assert promote(RunContext(problem, settings, SCHEDULED), version).entry.hash == made.entry.hash, "twice is once"
    answer = Ledger(settings).at("churn", "2100-01-01")
    assert (answer.version, answer.by, answer.until) == ("1", "ada", None)
    assert [entry.kind for entry in answer.evidence] == ["evaluation", "decision", "register"]
    assert Ledger(settings).at("churn", "2000-01-01") is None


def test_a_backfill_never_becomes_champion_and_the_refusal_is_recorded(shop, settings, problem):
    version = shop.register(shop.candidate("2013-02-01"), BACKFILL)
    assert version.alias == "asof-2013-02-01"
    assert "backfill" in version.reason
    assert not promote(RunContext(problem, settings, BACKFILL), version).promoted
    assert champion(settings, "churn") is None
    (refusal,) = Ledger(settings).entries("churn", ("refusal",))
    assert "backfill" in refusal.payload["reason"]


def test_older_data_never_displaces_newer(shop, settings, problem):
    newer = shop.register(shop.candidate("2013-03-01"))
    assert promote(RunContext(problem, settings, SCHEDULED), newer).promoted
    late = shop.register(shop.candidate("2013-02-01"), Run("churn", "late", "manual"))
    assert late.alias == "asof-2013-02-01"
    assert "2013-03-01" in late.reason
    assert not promote(RunContext(problem, settings, Run("churn", "late", "manual")), late).promoted
    assert champion(settings, "churn").version == newer.version


def test_a_decision_made_against_another_champion_is_made_anew(shop, settings, problem):
    first, second = shop.candidate("2013-02-01"), shop.candidate("2013-02-02")
    one, two = shop.register(first), shop.register(second)
    assert promote(RunContext(problem, settings, SCHEDULED), one).promoted
    with pytest.raises(ConflictError, match="judged against no champion") as caught:
        promote(RunContext(problem, settings, SCHEDULED), two)
    assert caught.value.retryable
    anew = shop.register(second)
    assert (anew.version, anew.new) == (two.version, False)
    assert promote(RunContext(problem, settings, SCHEDULED), anew).promoted
    assert champion(settings, "churn").version == two.version


def test_what_was_not_approved_is_not_registered(shop, settings, problem):
    candidate = shop.candidate("2013-02-01")
    evaluation = shop.evaluate(candidate)
    no = DecisionRef(False, "grace", "too few rows", "")
    with pytest.raises(GateError, match="too few rows"):
        register(RunContext(problem, settings, SCHEDULED), candidate, evaluation, no)
    assert Ledger(settings).entries("churn", ("register",)) == []
    assert len(Ledger(settings).entries("churn", ("refusal",))) == 1


def test_rollback_goes_back_says_why_and_the_left_version_stays_out(shop, settings, problem):
    for cutoff in ("2013-02-01", "2013-02-02"):
        promote(RunContext(problem, settings, SCHEDULED), shop.register(shop.candidate(cutoff)))
    bad = champion(settings, "churn")
    found = rollback(settings, "churn", reason="precision fell", run=Run("cli", by="ada"))
    assert found.version == "1"
    assert str(client(settings).get_model_version_by_alias("churn", "champion").version) == "1"
    again = promote(RunContext(problem, settings, SCHEDULED), shop.register(shop.candidate("2013-02-02")))
    assert not again.promoted
    assert "precision fell" in again.reason
    with pytest.raises(ConfigurationError, match="no other champion"):
        rollback(settings, "churn", reason="again")
    assert rollback(settings, "churn", bad.version, reason="it was right").version == bad.version
    with pytest.raises(ConfigurationError, match="reason"):
        rollback(settings, "churn", reason=" ")


def test_a_stray_alias_is_put_right(shop, settings, problem):
    promote(RunContext(problem, settings, SCHEDULED), shop.register(shop.candidate("2013-02-01")))
    shop.register(shop.candidate("2013-02-02"))
    client(settings).set_registered_model_alias("churn", "champion", "2")
    assert repair(settings, "churn")
    assert str(client(settings).get_model_version_by_alias("churn", "champion").version) == "1"
    assert not repair(settings, "churn")


def test_semantic_versions_have_reasons(shop, problem):
    first = shop.register(shop.candidate("2013-02-01"))
    patch = shop.register(shop.candidate("2013-02-02"))
    minor = shop.register(shop.candidate("2013-02-03", parameters={"max_iter": 10}))
    major = shop.register(shop.candidate("2013-02-04", inputs=("age", "plan", "city"), parameters={"max_iter": 10}))
    assert [v.semantic for v in (first, patch, minor, major)] == ["1.0.0", "1.0.1", "1.1.0", "2.0.0"]
    assert "other data" in patch.reason
    assert "hyperparameters.max_iter was added" in minor.reason
    assert "input city was added" in major.reason


@pytest.mark.parametrize(
    ("change", "expected", "reason"),
    [
        ({}, "1.2.4", "patch: the same recipe on other data"),
        ({"features": {"numeric": ["age"], "categorical": ["plan"], "impute": "mean"}}, "1.3.0", "minor: features.impute"),
        ({"model": {"family": "linear"}}, "1.3.0", "minor: model.family changed from hist_gradient_boosting to linear"),
        ({"model": {"parameters": {"max_iter": 5}}}, "1.3.0", "minor: model.parameters.max_iter was added"),
        ({"splits": {"test": 0.5}}, "1.3.0", "minor: splits.test changed"),
        ({"label": {"column": "left", "positive": {"equals": "No"}}}, "2.0.0", "major: positive.equals changed from Yes to No"),
        (
            {"columns": {"age": "int64", "plan": "string", "gone": "string"}, "label": {"column": "gone", "positive": {"equals": "Yes"}}},
            "2.0.0",
            "major: label",
        ),
        ({"task": "multiclass", "label": {"column": "left", "classes": ["Yes", "No"]}}, "2.0.0", "major: classes"),
    ],
)
def test_what_breaks_callers_is_major_what_learns_otherwise_minor(problem, change, expected, reason):
    other = parse({**problem.model_dump(mode="json", by_alias=True, exclude_none=True), **change})

    def described(given, **more):
        columns = [bundles.Input(column, "int64", "int64") for column in more.get("inputs", ("age", "plan"))]
        classes = ["Yes", "No"] if given.task == "multiclass" else ["no", "yes"]
        bundle = bundles.Bundle("churn", given.task, classes, 0.5, columns, given.label.column, "2013-02-01")
        return signature_of(given, bundle), recipe_of(given, bundle)

    version, why = next_version("1.2.3", described(problem), described(other))
    assert str(version) == expected
    assert why.startswith(reason)
    for inputs in (("age",), ("age", "plan", "city")):
        version, why = next_version("1.2.3", described(problem), described(problem, inputs=inputs))
        assert str(version) == "2.0.0"
        assert why.startswith("major: input ")


def test_a_registration_killed_before_the_ledger_is_taken_up(shop, settings, problem):
    candidate = shop.candidate("2013-02-01")
    mlflow = client(settings)
    mlflow.create_registered_model("churn")
    mlflow.create_model_version("churn", candidate.uri, tags={"windtunnel.fingerprint": candidate.fingerprint})
    assert shop.register(candidate).version == "1"
    assert len(mlflow.search_model_versions("name = 'churn'")) == 1


def test_never_means_never(shop, settings, problem):
    version = shop.register(shop.candidate("2013-02-01"), dataclasses.replace(SCHEDULED, promotion="never"))
    assert version.alias == "asof-2013-02-01"
    assert champion(settings, "churn") is None
