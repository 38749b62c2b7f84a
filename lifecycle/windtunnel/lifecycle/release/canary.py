"""The canary: a version takes a share of the real traffic for a while, and is watched.

It is ended, with a `GateError`, when it fails requests, when it is too slow, when its answers are no longer those that the champion gives
to the same traffic, or when what its answers turn out to be worth is below the champion's. The last needs the truth: the feedback DAG
tells the server (`windtunnel.lifecycle.release.rewards`), so such a canary bakes for as long as the truth takes to come. The test of it
may be looked at as often as one likes (`windtunnel.lifecycle.release.experiment`).
"""

import math
import time
from collections.abc import Callable, Mapping

from windtunnel.lifecycle.contract.errors import GateError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.lifecycle.release.targets import Router
from windtunnel.lifecycle.statistics.drift import answer_drift

__all__ = ["bake"]

_LEAST_REQUESTS = 20
"""Requests that a canary must have answered for its figures to say something."""

_LEAST_ANSWERS = 100
"""Answers that the canary and the champion must both have given for a drift to say something."""

_ERROR_SHARE = 0.01
"""Largest share of requests that a canary may fail, and that may take longer than the p99 limit."""

_KPI_ERRORS = 3.5
"""Standard errors that the canary's KPI may lie below the champion's; it is looked at again and again, so more than the usual two."""


def bake(problem: Problem, target: Router, version: str, note: Callable[..., None]) -> JsonObject:
    """Let a version take a share of the traffic for the bake time; answers its figures.

    Args:
        problem: ``serving`` has share, bake time and limits.
        target: the server, on which the version is loaded.
        version: which.
        note: writes a step to the ledger.

    Raises:
        GateError: it did badly; the message says in what.
        UnavailableError: the server is out of reach.
    """
    model, serving = problem.name, problem.serving
    labels = target.route(model)["labels"]
    if "champion" not in labels:
        return {"skipped": "there is no champion to compare with"}
    route: JsonObject = {
        "arms": {"champion": 1.0 - serving.canary_share, "canary": serving.canary_share},
        "experiment": {"reference": "champion", "bandit": serving.bandit},
    }
    if serving.sticky:
        route["sticky"] = serving.sticky
    # With all of the traffic there is no second arm, so nothing that an experiment could compare.
    if serving.canary_share >= 1.0:
        route = {"arms": {"canary": 1.0}}
    mine, theirs = f"{version}/canary", f"{labels['champion']}/champion"
    # Before the route is set: what an earlier attempt left in the counters is taken off, and no request is missed.
    before = target.statistics(model)
    target.label(model, version, ["canary"], route)
    note("canary started", share=serving.canary_share, seconds=serving.bake_seconds)
    ends = time.monotonic() + serving.bake_seconds
    # A hundred looks in a bake time, but never a busy loop, and a bad canary is seen within ten seconds.
    every = min(max(serving.bake_seconds / 100, 0.2), 10.0)
    while True:
        now = target.statistics(model)
        figures = _since(problem, now.get(mine, {}), before.get(mine, {}))
        others = _since(problem, now.get(theirs, {}), before.get(theirs, {}))
        # What the champion refuses of the same traffic is the callers' fault; what only the canary refuses is its own.
        asked = figures["requests"] + figures["errors"] + figures["refused"]
        figures["errors"] += max(figures["refused"] - asked * others["refused"] / max(others["requests"] + others["refused"], 1.0), 0.0)
        figures |= _drift(now, before, mine, theirs, serving.canary_drift)
        figures |= _worth(target.experiment(model))
        _judge(problem, figures)
        left = ends - time.monotonic()
        if left <= 0:
            return _concluded(problem, figures, note)
        time.sleep(min(every, left))


def _concluded(problem: Problem, figures: dict[str, float], note: Callable[..., None]) -> JsonObject:
    """The end of the bake time: what was seen must be enough to say something, or the problem must allow that it is not.

    Raises:
        GateError: too few requests came.
    """
    answered, needed = figures["requests"], problem.serving.canary_requests
    if answered >= needed:
        note("canary passed", figures=figures)
        return figures
    text = f"the canary answered {answered:.0f} requests in {problem.serving.bake_seconds:g} s, serving.canary_requests is {needed}"
    if not problem.serving.canary_without_evidence:
        raise GateError(
            f"{problem.name}: {text}: too few to say that it does well",
            hint="a longer serving.bake_seconds, a larger canary_share, or canary_without_evidence: true",
            figures=dict(figures),
        )
    note("promoted without evidence", figures=figures, reason=text)
    return {**figures, "without_evidence": text}


def _since(problem: Problem, now: JsonMapping, before: JsonMapping) -> dict[str, float]:
    """Requests that were answered, that failed, that were refused and that were slow, of an arm since the canary began."""
    limit = problem.serving.latency_p99_ms / 1000

    def slow(figures: JsonMapping) -> float:
        # The next bucket from the limit on: what is slower than that is slow beyond doubt.
        within = [count for bound, count in sorted((float(b), c) for b, c in figures.get("within", {}).items()) if bound >= limit]
        return float(figures.get("requests", 0.0) - within[0]) if within else 0.0

    found = {name: float(now.get(name, 0.0) - before.get(name, 0.0)) for name in ("requests", "errors", "refused")}
    return found | {"slow": slow(now) - slow(before)}


def _drift(now: JsonMapping, before: JsonMapping, mine: str, theirs: str, limit: float) -> dict[str, float]:
    """How far the canary's answers are from the champion's to the same traffic; nothing while there are few."""

    def answers(arm: str) -> dict[str, float]:
        old = before.get(arm, {}).get("answers", {})
        return {name: count - old.get(name, 0.0) for name, count in now.get(arm, {}).get("answers", {}).items()}

    reference, current = answers(theirs), answers(mine)
    if min(sum(reference.values()), sum(current.values())) < _LEAST_ANSWERS:
        return {}
    found = answer_drift(reference, current, limit)
    return {"drift": float(found["psi"]), "drifted": float(found["drifted"]), "compared": sum(current.values())}


def _worth(experiment: JsonMapping) -> dict[str, float]:
    """What both arms turned out to be worth; nothing while no truth is known."""
    arms = experiment.get("arms") or {}
    if not arms.get("canary", {}).get("count") or not arms.get("champion", {}).get("count"):
        return {}
    found = {f"{name}.{arm}": float(arms[arm][name]) for arm in ("champion", "canary") for name in ("count", "mean")}
    found |= {
        f"{name}.{arm}": float(arms[arm][name]) for arm in ("champion", "canary") for name in ("kpi", "kpi_error") if name in arms[arm]
    }
    return found | {"worse": float(bool(experiment["decided"]) and experiment["winner"] == "champion")}


def _judge(problem: Problem, figures: Mapping[str, float]) -> None:
    """Whether the canary may go on.

    Raises:
        GateError: it may not.
    """
    name, limits = problem.name, problem.serving
    requests, errors, slow = figures["requests"], figures["errors"], figures["slow"]
    known = dict(figures)
    if requests + errors >= _LEAST_REQUESTS:
        if errors / (requests + errors) > _ERROR_SHARE:
            raise GateError(f"{name}: the canary failed {errors:.0f} of {requests + errors:.0f} requests (error rate)", figures=known)
        if slow / max(requests, 1.0) > _ERROR_SHARE:
            text = f"took longer than its p99 limit of {limits.latency_p99_ms:g} ms (latency)"
            raise GateError(f"{name}: {slow:.0f} of {requests:.0f} requests of the canary {text}", figures=known)
    if figures.get("drifted"):
        raise GateError(
            f"{name}: the canary's answers are not those of the champion to the same traffic: population stability index "
            f"{figures['drift']:.2f} over {figures['compared']:.0f} answers, limit serving.canary_drift = {limits.canary_drift:g} (drift)",
            hint="if the new model is meant to answer otherwise, raise the limit",
            figures=known,
        )
    if figures.get("worse"):
        raise GateError(
            f"{name}: the canary's answers are worth {figures['mean.canary']:.3f} each, the champion's {figures['mean.champion']:.3f}, in "
            f"{figures['count.canary']:.0f} and {figures['count.champion']:.0f} answers whose truth is known (KPI)",
            figures=known,
        )
    if {"kpi.canary", "kpi.champion"} <= set(figures):
        _judge_kpi(problem, known)


def _judge_kpi(problem: Problem, figures: Mapping[str, float]) -> None:
    """Whether the canary's KPI is not surely lower than the champion's."""
    lost = figures["kpi.champion"] - figures["kpi.canary"]
    error = math.hypot(figures["kpi_error.champion"], figures["kpi_error.canary"])
    if lost > 0 and lost > _KPI_ERRORS * error:
        kpi = problem.kpi.name if problem.kpi else "KPI"
        raise GateError(
            f"{problem.name}: {kpi} is {figures['kpi.canary']:.4g} with the canary and {figures['kpi.champion']:.4g} with the champion, "
            f"{lost / error if error else math.inf:.1f} standard errors less, limit {_KPI_ERRORS:g} (KPI)",
            figures=figures,
        )
