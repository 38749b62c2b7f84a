"""An experiment over the arms of a model's route, as part of the server's state: what arms are worth, and what may be said of it.

Rewards come from outside (`windtunnel.lifecycle.release.rewards` counts them when the truth is known) as totals by ``version/arm``: sent
twice they
are the same. They live in the state file that all workers share, like everything that decides who answers; with ``bandit`` the weights of
the arms follow them there, so a request costs nothing more, and a key keeps its arm until the weights move past its place.
"""

import datetime as dt
import sys
from collections.abc import Callable, Mapping
from typing import Any

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.lifecycle.release.experiment import ALPHA, Rewards, shares, verdict

__all__ = ["check_experiment", "is_number", "reward", "start", "told"]

_FIELDS: dict[str, object] = {"reference": "champion", "alpha": ALPHA, "bandit": False, "floor": 0.05, "seed": 0}
_OURS = {"started", "decided"}


def check_experiment(arms: Mapping[str, object], given: object) -> dict[str, object]:
    """The experiment of a route from a request, checked and completed.

    Raises:
        ConfigurationError: names the field and what is allowed.
    """
    if not isinstance(given, Mapping) or set(given) - set(_FIELDS) - _OURS:
        raise ConfigurationError(f"route.experiment has the fields {sorted(_FIELDS)} but is {given!r}")
    found = {name: given.get(name, default) for name, default in _FIELDS.items()}
    if len(arms) < 2:  # nothing to compare
        raise ConfigurationError(f"an experiment needs at least two arms but route.arms is {dict(arms)!r}")
    if not isinstance(found["reference"], str) or found["reference"] not in arms:
        raise ConfigurationError(f"route.experiment.reference must be one of the arms {sorted(arms)} but is {found['reference']!r}")
    for name, (fits, what) in _RULES.items():
        if not fits(found[name]):
            raise ConfigurationError(f"route.experiment.{name} must be {what} but is {found[name]!r}")
    return found


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and is_number(value) and 0 < value <= 0.5


def _is_seed(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_RULES: dict[str, tuple[Callable[[object], bool], str]] = {
    "alpha": (_is_share, "above 0 and at most 0.5"),
    "floor": (_is_share, "above 0 and at most 0.5"),
    "bandit": (lambda value: isinstance(value, bool), "true or false"),
    "seed": (_is_seed, "a whole number from 0 on"),
}


def start(model: JsonObject, route: JsonObject) -> JsonObject:
    """The route that a model gets: the same experiment over the same versions goes on, another one begins with no rewards."""
    given = route.get("experiment")
    if given is None:
        model.pop("rewards", None)
        return route
    before = (model.get("route") or {}).get("experiment") or {}
    versions = {arm: model["labels"].get(arm, arm) for arm in route["arms"]}
    if before.get("versions") == versions and all(before.get(name) == given[name] for name in _FIELDS):
        arms = (model["route"] if given["bandit"] else route)["arms"]  # what a bandit learned stays
        return {**route, "arms": arms, "experiment": before}
    model.pop("rewards", None)
    return {**route, "experiment": {**given, "versions": versions, "started": dt.datetime.now(dt.UTC).isoformat()}}


def _check_rewards(rewards: object) -> JsonMapping:
    if not isinstance(rewards, Mapping):
        raise ConfigurationError(f'rewards must be an object such as {{"2/canary": {{"count": 120, "total": 96}}}} but is {rewards!r}')
    for arm, entry in rewards.items():
        if not _are_totals(entry):
            raise ConfigurationError(f"rewards of {arm!r} must have a count and a total from 0 to the count but are {entry!r}")
        if set(entry) - {"count", "total", "kpi", "kpi_error"}:
            raise ConfigurationError(f"rewards of {arm!r} have count, total, kpi and kpi_error but are {entry!r}")
    return rewards


def reward(model: JsonObject, given: object) -> None:
    """Take in rewards: totals since the experiment began, by ``version/arm``; the weights of a bandit follow.

    Args:
        model: the model's part of the state; changed in place.
        given: ``{"2/canary": {"count": 120, "total": 96.0}}``; ``kpi`` and ``kpi_error`` are kept beside them.

    Raises:
        ConfigurationError: names what is wrong.
    """
    experiment = (model.get("route") or {}).get("experiment")
    if experiment is None:
        raise ConfigurationError("there is no experiment to reward", hint='set a route with "experiment": {}')
    totals = _check_rewards(given)
    model["rewards"] = {str(arm): {name: float(value) for name, value in entry.items()} for arm, entry in totals.items()}
    arms = _rewards(model)
    if experiment["bandit"]:
        weights = shares(list(arms.values()), experiment["floor"], experiment["seed"])
        model["route"] = {**model["route"], "arms": dict(zip(arms, weights, strict=True))}
    said = verdict(arms, experiment["reference"], experiment["alpha"], adaptive=experiment["bandit"])
    if said.decided and "decided" not in experiment:
        # What was decided once stays decided: the level holds for the first time, and a later look may see less.
        decided = {"winner": said.winner, "at": dt.datetime.now(dt.UTC).isoformat(), "rewards": model["rewards"]}
        model["route"] = {**model["route"], "experiment": {**experiment, "decided": decided}}


def told(model: JsonMapping) -> JsonObject | None:
    """What may be said of a model's experiment now; None where there is none."""
    experiment = (model.get("route") or {}).get("experiment")
    if experiment is None:
        return None
    said = verdict(_rewards(model), experiment["reference"], experiment["alpha"], adaptive=experiment["bandit"])
    decided = experiment.get("decided")
    found = {**experiment, "arms": said.arms, "text": said.text, "winner": said.winner, "decided": said.decided}
    if decided:
        text = f"decided on {decided['at'][:16].replace('T', ' ')} UTC: {decided['winner']} is better; later figures do not undo it"
        found |= {"decided": True, "winner": decided["winner"], "text": text}
    for arm, figures in found["arms"].items():
        kept = (model.get("rewards") or {}).get(f"{model['labels'].get(arm, arm)}/{arm}", {})
        figures |= {name: kept[name] for name in ("kpi", "kpi_error") if name in kept}
        figures["weight"] = model["route"]["arms"].get(arm, 0.0)
        figures["version"] = model["labels"].get(arm, arm)
    return found


def _are_totals(entry: Any) -> bool:
    if not isinstance(entry, Mapping):
        return False
    figures: list[Any] = [entry.get(name) for name in ("count", "total")]
    if not all(is_number(figure) for figure in (*figures, *entry.values())):
        return False
    return bool(0 <= figures[1] <= figures[0])


def is_number(value: object) -> bool:
    """Whether a JSON value is a finite number that a float can hold.

    Example:
        >>> is_number(1), is_number(True), is_number(float("nan")), is_number(10**400)
        (True, False, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _rewards(model: JsonMapping) -> dict[str, Rewards]:
    """Arm -> what the version behind it was worth; another version under the same label begins anew."""
    known = model.get("rewards") or {}
    found = {}
    for arm in model["route"]["arms"]:
        entry = known.get(f"{model['labels'].get(arm, arm)}/{arm}", {})
        found[arm] = Rewards(entry.get("count", 0.0), entry.get("total", 0.0))
    return found
