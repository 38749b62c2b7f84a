"""Remedies for unbalanced classes are really done, whatever learns, and who chose is kept."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from windtunnel.beam_jobs.stages import remedied
from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.errors import ConfigurationError, ProblemError
from windtunnel.lifecycle.contract.problem import parse
from windtunnel.lifecycle.contract.references import BalanceRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.learning.estimators import estimator, evened, weighted


def problem(**model):
    return parse(
        {
            "name": "p",
            "owner": "o",
            "task": "binary",
            "source": {"format": "csv", "path": "x"},
            "columns": {"a": "float64", "y": "int64"},
            "label": {"column": "y", "positive": {"equals": 1}},
            "features": {"numeric": ["a"]},
            "model": model,
        }
    )


LABELS = np.array([0] * 90 + [1] * 10)
ROWS = np.random.default_rng(0).normal(size=(100, 1)) + LABELS[:, None]


def test_downsampling_leaves_the_same_number_of_each_class():
    x, y = evened(problem(class_balance="downsample"), ROWS, LABELS)
    assert np.bincount(y).tolist() == [10, 10]
    assert len(x) == 20
    assert evened(problem(), ROWS, LABELS)[0] is ROWS


def test_weights_reach_the_loss_by_the_estimators_own_parameter_or_by_the_rows():
    asked = problem(family="linear", class_balance="weights")
    own = estimator(asked, {})
    assert own.class_weight == "balanced"
    assert weighted(asked, own, LABELS) == {}
    by_rows = weighted(asked, GaussianNB(), LABELS)["sample_weight"]
    assert by_rows[LABELS == 0].sum() == pytest.approx(by_rows[LABELS == 1].sum())
    plain, balanced = (LogisticRegression().fit(ROWS, LABELS, sample_weight=w).predict(ROWS).sum() for w in (None, by_rows))
    assert balanced > plain
    with pytest.raises(ConfigurationError, match="cannot be weighted"):
        weighted(asked, KNeighborsClassifier(), LABELS)


def test_a_choice_becomes_the_problems_remedy():
    asking = RunContext(problem(class_balance="ask", unanswered="downsample"), Settings())
    chosen, who = remedied(asking, BalanceRef("weights", "ana", "chosen in Airflow"))
    assert (chosen.problem.model.class_balance, who.by) == ("weights", "ana")
    assert chosen.problem.part_fingerprint("model") != asking.problem.part_fingerprint("model")
    assert remedied(asking, None)[0].problem.model.class_balance == "downsample"
    assert remedied(RunContext(problem(class_balance="weights"), Settings()), None)[1] == BalanceRef(
        "weights", "the problem's rule", "model.class_balance is weights"
    )


def test_alerts_are_checked_with_the_file():
    with pytest.raises(ProblemError, match="notifier"):
        parse({**problem().model_dump(exclude={"directory"}), "alerts": [{"notifier": "not a path"}]})
