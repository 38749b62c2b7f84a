"""Which arm of a route is better: a test that may be looked at as often as one likes, and shares that follow what the arms are worth.

Each arm's rewards are numbers between 0 and 1 (right or wrong, or a figure of the team's own), kept as a count and a sum.

While the shares of the traffic are fixed, two arms are compared by the mixture sequential probability ratio test of Johari, Koomen,
Pekelis, Walsh, "Always Valid Inference: Continuous Monitoring of A/B Tests" (2022, arXiv:1512.04922), in the large-sample form of
Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas (2021, arXiv:2103.06476): with d the difference of the means, V its variance (that of rewards
of 0 and 1, the largest there is) and a prior N(0, t^2) of the true difference,

    E = sqrt(V / (V + t^2)) * exp(t^2 d^2 / (2 V (V + t^2)))

starts at one and has no trend while the arms are worth the same, so by Ville's inequality it ever exceeds 1/alpha with a probability of at
most alpha, whenever one looks and whenever one stops.

A bandit shares out traffic by what is known so far, and then d is no such thing. There the test is exact instead, and slower. For one arm
of mean p, the mixture of likelihood ratios over a Beta(1/2, 1/2) prior (Robbins 1970; Howard, Ramdas, McAuliffe, Sekhon 2021,
arXiv:1810.08240)

    M(p) = B(S + 1/2, F + 1/2) / B(1/2, 1/2) / (p^S (1 - p)^F)        with S the sum, F the count less the sum

is a non-negative supermartingale that starts at one: for rewards of 0 and 1 by construction, for rewards between them because the ratio is
convex in the reward. So is the product over two arms, whatever rule shares out the traffic; at its least over equal means it is the
evidence against "both are worth the same" (see also Turner, Gruenwald 2023, arXiv:2203.09785). ``{p: M(p) < 1/alpha}`` holds an arm's mean
at all times at once (`interval`).

Thompson sampling with rewards between 0 and 1: Agrawal, Goyal (2012, arXiv:1111.1797).
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from windtunnel.lifecycle.payload import JsonObject

__all__ = ["ALPHA", "Rewards", "Verdict", "evidence", "interval", "shares", "verdict"]

ALPHA = 0.05
"""The largest probability of ever calling arms different that are worth the same."""

_PRIOR = 0.5
_SPREAD = 0.1
"""t: the differences that the test is quickest to find."""

_LEAST, _LEAST_KIND = 30, 10
"""Answers of each arm, and answers that earned something and nothing, before the large-sample form says anything."""

_DRAWS = 20_000


@dataclasses.dataclass(frozen=True)
class Rewards:
    """What the answers of an arm were worth.

    Attributes:
        count: answers whose worth is known.
        total: the sum of their rewards, each between 0 and 1.
    """

    count: float = 0.0
    total: float = 0.0

    @property
    def mean(self) -> float | None:
        """The mean reward; None without any."""
        return self.total / self.count if self.count else None

    @property
    def rest(self) -> float:
        """What is missing from a reward of one each."""
        return max(self.count - self.total, 0.0)


def evidence(one: Rewards, other: Rewards, *, adaptive: bool = False) -> float:
    """How strongly two arms differ: the natural logarithm of an e-value; beyond ``log(1 / alpha)`` they may be called different.

    Args:
        one: an arm.
        other: the arm that it is compared with.
        adaptive: whether the shares of the traffic followed the rewards: then the exact test is needed.

    Example:
        >>> evidence(Rewards(1000, 500), Rewards(1000, 510)) < 0 < evidence(Rewards(1000, 500), Rewards(1000, 600))
        True
    """
    total, rest = one.total + other.total, one.rest + other.rest
    if adaptive:
        return _log_mixture(one) + _log_mixture(other) - _log_likelihood(total, rest, total / (total + rest)) if total + rest else 0.0
    if min(one.count, other.count) < _LEAST or min(total, rest) < _LEAST_KIND:
        return 0.0
    pooled = total / (total + rest)
    variance = pooled * (1 - pooled) * (1 / one.count + 1 / other.count)
    difference = one.total / one.count - other.total / other.count
    prior = _SPREAD**2
    return 0.5 * math.log(variance / (variance + prior)) + prior * difference**2 / (2 * variance * (variance + prior))


def interval(rewards: Rewards, alpha: float = ALPHA) -> tuple[float, float]:
    """Bounds of an arm's mean reward that hold at all times at once, with a probability of at least ``1 - alpha``.

    Example:
        >>> low, high = interval(Rewards(1000, 500))
        >>> round(low, 2), round(high, 2)
        (0.44, 0.56)
    """
    if not rewards.count:
        return 0.0, 1.0
    limit = _log_mixture(rewards) - math.log(1 / alpha)
    middle = rewards.total / rewards.count

    def edge(outside: float) -> float:
        inside = middle
        if _log_likelihood(rewards.total, rewards.rest, outside) > limit:
            return outside
        # 60 halvings of an interval below 1 end beyond what a float tells apart.
        for _ in range(60):
            between = (inside + outside) / 2
            if _log_likelihood(rewards.total, rewards.rest, between) > limit:
                inside = between
            else:
                outside = between
        # The outer end, so that rounding can only widen the interval.
        return outside

    return edge(0.0), edge(1.0)


def shares(arms: Sequence[Rewards], floor: float = 0.05, seed: int = 0) -> list[float]:
    """Thompson sampling for a whole batch of requests: each arm's share is the probability that it is worth most, given its rewards.

    Sharing out by that probability is what drawing once for each request does on average, but the same key can keep its arm, and workers
    need not agree on draws. The same rewards and seed give the same shares.

    Args:
        arms: what each is worth.
        floor: the least share of an arm: what gets nothing is never learned about again.
        seed: of the draws.

    Example:
        >>> shares([Rewards(100, 50), Rewards(100, 90)])
        [0.05, 0.95]
    """
    generator = np.random.default_rng(seed)
    draws = np.stack([generator.beta(_PRIOR + arm.total, _PRIOR + arm.rest, _DRAWS) for arm in arms])
    best = np.bincount(draws.argmax(axis=0), minlength=len(arms)) / _DRAWS
    # The floors of many arms must not add up to more than one.
    floor = min(floor, 1 / len(arms))
    found = floor + (1 - floor * len(arms)) * best
    return [round(float(share), 6) for share in found]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What may be said of an experiment now.

    Attributes:
        decided: whether it may end: some arm is better than the reference, or every one is worse.
        winner: which arm to keep; empty while it is not decided.
        text: the same for people.
        arms: arm -> ``count``, ``mean``, ``low``, ``high`` (an interval that holds at all times), and for all but the reference ``p``, an
            always-valid p-value of being worth the same as the reference.
    """

    decided: bool
    winner: str
    text: str
    arms: dict[str, JsonObject]


def verdict(arms: Mapping[str, Rewards], reference: str, alpha: float = ALPHA, *, adaptive: bool = False) -> Verdict:
    """Compare every arm with the reference; the probability of ever being wrong about arms of the same worth is at most `alpha` in all.

    Args:
        arms: what each is worth.
        reference: the arm that the others are compared with.
        alpha: the probability of being wrong.
        adaptive: whether the shares of the traffic followed the rewards.

    Example:
        >>> verdict({"champion": Rewards(500, 300), "canary": Rewards(500, 400)}, "champion").winner
        'canary'
    """
    base = arms.get(reference, Rewards())
    others = [arm for arm in arms if arm != reference]
    # Bonferroni: each comparison with the reference gets its part of alpha.
    level = alpha / max(len(others), 1)
    found: dict[str, JsonObject] = {}
    better: list[str] = []
    worse: list[str] = []
    for arm, rewards in arms.items():
        low, high = interval(rewards, level)
        found[arm] = {"count": rewards.count, "mean": rewards.mean, "low": low, "high": high}
        if arm == reference:
            continue
        strength = evidence(base, rewards, adaptive=adaptive)
        # By Markov's inequality one over an e-value is a p-value.
        found[arm]["p"] = math.exp(-max(strength, 0.0))
        if strength >= math.log(1 / level) and base.mean is not None and rewards.mean is not None:
            (better if rewards.mean > base.mean else worse).append(arm)
    best = max(better, key=lambda arm: arms[arm].mean or 0.0, default="")
    winner, text = _decided(reference, others, best, worse)
    return Verdict(bool(winner), winner, f"{text} (probability of a wrong call at most {alpha:g}, however often it is looked at)", found)


def _decided(reference: str, others: Sequence[str], best: str, worse: Sequence[str]) -> tuple[str, str]:
    """Who won, and the verdict in words; nobody while the arms may be worth the same."""
    if not others:
        return "", "there is nothing to compare"
    if best:
        return best, f"decided: {best} is better than {reference}"
    if len(worse) == len(others):
        return reference, f"decided: {reference} is better than {', '.join(worse)}"
    return "", "not decided yet: the arms may be worth the same"


def _log_mixture(rewards: Rewards) -> float:
    return _log_beta(_PRIOR + rewards.total, _PRIOR + rewards.rest) - _log_beta(_PRIOR, _PRIOR)


def _log_beta(one: float, other: float) -> float:
    return math.lgamma(one) + math.lgamma(other) - math.lgamma(one + other)


def _log_likelihood(total: float, rest: float, mean: float) -> float:
    if (total and mean <= 0) or (rest and mean >= 1):
        return -math.inf
    return (total * math.log(mean) if total else 0.0) + (rest * math.log1p(-mean) if rest else 0.0)
