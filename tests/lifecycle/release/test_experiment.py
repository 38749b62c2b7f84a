"""Experiments: however often one looks, arms of the same worth are called different no more often than promised."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.lifecycle.release.experiment import Rewards, evidence, interval, shares, verdict


def peeked(generator, mean, rewards_of, answers=1500, every=25, bandit=False):
    """Whether two arms of one mean are ever called different, looking all the time; traffic is even, or follows the rewards."""
    totals, counts, share = np.zeros(2), np.zeros(2), 0.5
    for _ in range(answers // every):
        arms = (generator.random(every) < share).astype(int)
        worth = rewards_of(generator, mean, every)
        totals += np.bincount(arms, worth, 2)
        counts += np.bincount(arms, minlength=2)
        found = [Rewards(count, total) for count, total in zip(counts, totals, strict=True)]
        if evidence(*found, adaptive=bandit) >= math.log(20):
            return True
        if bandit:
            share = shares(found)[1]
    return False


def right_or_wrong(generator, mean, count):
    return (generator.random(count) < mean).astype(float)


def in_between(generator, mean, count):
    return generator.beta(4 * mean, 4 * (1 - mean), count)


@pytest.mark.parametrize("rewards_of", [right_or_wrong, in_between])
@pytest.mark.parametrize("mean", [0.05, 0.5, 0.9])
def test_looking_all_the_time_errs_no_more_often_than_promised(mean, rewards_of):
    generator = np.random.default_rng(7)
    wrong = sum(peeked(generator, mean, rewards_of) for _ in range(300))
    # At most 5 % with a binomial error of three standard deviations; a plain z-test looked at as often errs in more than 20 %.
    assert wrong / 300 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_the_promise_holds_while_a_bandit_shares_out_the_traffic():
    generator = np.random.default_rng(8)
    wrong = sum(peeked(generator, 0.7, right_or_wrong, 500, 50, bandit=True) for _ in range(100))
    assert wrong / 100 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 100)


def test_a_plain_test_would_not_have_held():
    generator, wrong = np.random.default_rng(9), 0
    for _ in range(200):
        one, other = (np.cumsum(right_or_wrong(generator, 0.5, 1500)) for _ in range(2))
        at = np.arange(50, 1501, 25)
        pooled = (one + other)[at - 1] / (2 * at)
        z = (one - other)[at - 1] / at / np.sqrt(2 * pooled * (1 - pooled) / at)
        wrong += bool((np.abs(z) > 1.96).any())
    assert wrong / 200 > 0.15, "which is why this test is here"


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_real_difference_is_found(adaptive):
    generator = np.random.default_rng(10)
    found = sum(
        evidence(*(Rewards(2000, right_or_wrong(generator, mean, 2000).sum()) for mean in (0.7, 0.8)), adaptive=adaptive) > math.log(20)
        for _ in range(50)
    )
    assert found == 50


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 10_000), st.floats(0, 1), st.sampled_from([0.01, 0.05, 0.2]))
def test_an_interval_holds_the_mean_and_grows_with_certainty(count, share, alpha):
    rewards = Rewards(count, count * share)
    low, high = interval(rewards, alpha)
    assert 0 <= low <= rewards.mean <= high <= 1
    wider = interval(rewards, alpha / 10)
    assert wider[0] <= low
    assert wider[1] >= high


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), st.floats(0, 1)), min_size=2, max_size=5), st.floats(0.001, 0.5), st.integers(0, 9))
def test_shares_are_shares_and_the_same_for_the_same_seed(arms, floor, seed):
    given_arms = [Rewards(count, count * share) for count, share in arms]
    found = shares(given_arms, floor, seed)
    assert sum(found) == pytest.approx(1.0, abs=1e-4)
    assert min(found) >= min(floor, 1 / len(arms)) - 1e-6
    assert found == shares(given_arms, floor, seed)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 300), st.floats(0, 1), st.integers(0, 300), st.floats(0, 1))
def test_evidence_does_not_care_which_arm_is_first(one, share, other, rest):
    first, second = Rewards(one, one * share), Rewards(other, other * rest)
    for adaptive in (False, True):
        assert evidence(first, second, adaptive=adaptive) == pytest.approx(evidence(second, first, adaptive=adaptive), abs=1e-9)
        assert math.isfinite(evidence(first, second, adaptive=adaptive))


def test_a_verdict_names_the_winner_or_says_that_there_is_none_yet():
    even = verdict({"champion": Rewards(400, 200), "canary": Rewards(400, 210)}, "champion")
    assert (even.decided, even.winner) == (False, "")
    worse = verdict({"champion": Rewards(400, 300), "canary": Rewards(400, 200)}, "champion")
    assert (worse.decided, worse.winner) == (True, "champion")
    better = verdict({"champion": Rewards(400, 200), "a": Rewards(400, 300), "b": Rewards(400, 200)}, "champion")
    assert (better.decided, better.winner) == (True, "a")
    assert better.arms["a"]["p"] < 0.05 / 2 < better.arms["b"]["p"]
    unclear = verdict({"champion": Rewards(400, 300), "a": Rewards(400, 200), "b": Rewards(10, 7)}, "champion")
    assert not unclear.decided, "b may still be better"
    assert verdict({"champion": Rewards()}, "champion").winner == ""
