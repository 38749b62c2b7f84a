"""Metrics from mergeable state: the same in whatever order and parts, and scikit-learn's."""

import copy
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from windtunnel.lifecycle.contract.errors import DataError
from windtunnel.lifecycle.contract.seams.metrics import lower_is_better
from windtunnel.lifecycle.judging.curves import BINS, Scores
from windtunnel.lifecycle.judging.tallies import GROUPS, Binary, Multiclass, Regression, Spread


def rows(task, n=400, seed=0):
    rng = np.random.default_rng(seed)
    group = rng.integers(0, GROUPS, n)
    if task == "binary":
        truth = rng.integers(0, 2, n)
        return Binary(0.5), truth, np.clip(rng.normal(0.35 + 0.3 * truth, 0.2), 0, 1).round(2).reshape(-1, 1), group
    if task == "anomaly":
        truth = rng.integers(0, 2, n)
        return Binary(0.5, probability=False), truth, rng.normal(truth * 2.0, 3.0).reshape(-1, 1), group
    if task == "multiclass":
        answer = rng.dirichlet([1, 2, 3], n)
        return Multiclass(["a", "b", "c"]), rng.choice(["a", "b", "c"], n).astype(object), answer, group
    truth = rng.normal(1e6, 5, n)
    return Regression(), truth, (truth + rng.normal(0.5, 2, n)).reshape(-1, 1), group


@pytest.mark.parametrize("task", ["binary", "anomaly", "multiclass", "regression"])
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 400), max_size=5), seed=st.integers(0, 5))
def test_parts_merged_in_any_order_are_the_whole(task, cuts, seed):
    empty, truth, answer, group = rows(task, seed=seed)
    whole = copy.deepcopy(empty)
    whole.add(truth, answer, group)
    edges = [0, *sorted(cuts), 400]
    parts = []
    for a, b in itertools.pairwise(edges):
        part = copy.deepcopy(empty)
        if b > a:
            part.add(truth[a:b], answer[a:b], group[a:b])
        parts.append(part)
    np.random.default_rng(seed).shuffle(parts)
    merged = copy.deepcopy(empty)
    for part in parts:
        merged.merge(part)
    for group_left_out in (None, 3):
        one, other = whole.figures(group_left_out), merged.figures(group_left_out)
        assert one.keys() == other.keys()
        for name in one:
            assert other[name] == pytest.approx(one[name], rel=1e-9, abs=1e-12, nan_ok=True), name


def test_scores_are_exact_until_the_limit_and_then_within_the_stated_error():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 20_000)
    score = 1 / (1 + np.exp(-rng.normal(truth * 1.0, 1.5)))
    exact, binned = Scores(), Scores(limit=1000)
    for part in np.array_split(np.arange(20_000), 7):
        exact.add(truth[part], score[part])
        binned.add(truth[part], score[part])
    expected = metrics.roc_auc_score(truth, score)
    assert exact.exact
    assert exact.auc_error == 0
    assert exact.curve().auc == pytest.approx(expected, abs=1e-12)
    assert exact.curve().average_precision == pytest.approx(metrics.average_precision_score(truth, score), abs=1e-12)
    assert not binned.exact
    assert 0 < binned.auc_error < 1e-3
    assert abs(binned.curve().auc - expected) <= binned.auc_error
    assert len(binned.counts[0]) == BINS


def test_whether_scores_spill_does_not_depend_on_the_order():
    truth, score = np.zeros(30, dtype=int), np.linspace(0.1, 0.9, 30)
    found = []
    for order in (slice(None), slice(None, None, -1)):
        parts = [Scores(limit=20) for _ in range(3)]
        for part, place in zip(parts, np.array_split(np.arange(30), 3), strict=True):
            part.add(truth[place], score[place])
        total = Scores(limit=20)
        for part in parts[order]:
            total.merge(part)
        found.append(total)
    assert not found[0].exact
    assert not found[1].exact
    assert np.array_equal(found[0].counts, found[1].counts)


def test_delongs_variance_is_that_of_repeated_samples():
    rng = np.random.default_rng(2)
    aucs, variances = [], []
    for _ in range(300):
        truth = rng.integers(0, 2, 300)
        scores = Scores()
        scores.add(truth, 1 / (1 + np.exp(-rng.normal(truth, 1.0))))
        aucs.append(scores.curve().auc)
        variances.append(scores.curve().auc_variance)
    assert np.mean(variances) == pytest.approx(np.var(aucs), rel=0.25)


def test_the_jackknife_interval_covers():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(100):
        counted = Binary()
        truth = rng.integers(0, 2, 1000)
        counted.add(truth, (truth ^ (rng.random(1000) < 0.2)).astype(float).reshape(-1, 1) * 0.8 + 0.1, rng.integers(0, GROUPS, 1000))
        low, high = Spread.of(counted).interval("accuracy")
        hits += low <= 0.8 <= high
    assert 88 <= hits <= 100


def test_a_paired_difference_is_narrower_than_two_intervals():
    rng = np.random.default_rng(4)
    truth, group = rng.integers(0, 2, 5000), rng.integers(0, GROUPS, 5000)
    score = np.clip(rng.normal(0.4 + 0.2 * truth, 0.2), 0, 1)
    one, other = Binary(), Binary()
    one.add(truth, score.reshape(-1, 1), group)
    other.add(truth, np.clip(score + rng.normal(0, 0.02, 5000), 0, 1).reshape(-1, 1), group)
    one, other = Spread.of(one), Spread.of(other)
    value, low, high = one.difference(other, "auc")
    assert low < value < high
    assert high - low < 0.5 * (one.interval("auc")[1] - one.interval("auc")[0])


def test_one_class_alone_has_no_auc_and_no_crash():
    counted = Binary()
    counted.add(np.zeros(5, dtype=int), np.full((5, 1), 0.2), np.arange(5))
    figures = counted.figures()
    assert math.isnan(figures["auc"])
    assert math.isnan(figures["recall"])
    assert figures["accuracy"] == 1.0


def test_answers_that_are_no_numbers_are_refused():
    with pytest.raises(DataError, match="1 of 2 values with NaN"):
        Binary().add(np.array([0, 1]), np.array([[0.1], [np.nan]]), np.array([0, 1]))


def test_a_class_that_the_model_does_not_know_is_counted_apart():
    counted = Multiclass(["a", "b"])
    counted.add(np.array(["a", "z"], dtype=object), np.array([[0.9, 0.1], [0.5, 0.5]]), np.array([0, 1]))
    assert (counted.rows, counted.unknown) == (1, 1)


def test_which_way_is_better():
    assert [
        lower_is_better(m) for m in ("auc", "rmse", "worst_group_log_loss", "demographic_parity_difference", "demographic_parity_ratio")
    ] == [
        False,
        True,
        True,
        True,
        False,
    ]
