"""Which version answers a request: by version, by label, by weight, sticky by key; and which others answer in the shadow.

A model's route, as part of the server's state::

    {"arms": {"champion": 0.9, "canary": 0.1},   label or version -> weight; weights need not add up to one
     "sticky": "tailnum",                        a field of the row; the same value always gets the same arm
     "salt": "",                                 changes who gets which arm
     "shadow": ["challenger"],                   answer too, are logged, and are never shown
     "experiment": {"bandit": true}}             which arm is better, see `windtunnel.serving.routing.arms`

Without arms the label ``champion`` answers, then ``stable``, then the version that was loaded last.
"""

import dataclasses
import hashlib
import random
from collections.abc import Mapping
from typing import Any

from windtunnel.lifecycle.contract.errors import ConfigurationError, UnavailableError
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.serving.routing.arms import check_experiment, is_number

__all__ = ["Route", "Unknown", "check_route"]

_SPACE = float(1 << 64)
_FIELDS = {"arms", "sticky", "salt", "shadow", "experiment"}


class Unknown(ConfigurationError):  # answered as 404, not an error of ours
    """There is no such model, version or label."""


@dataclasses.dataclass(frozen=True)
class Route:
    """The route of one model, made ready for requests.

    Attributes:
        labels: label -> version.
        versions: the versions that are loaded, in the order of loading.
        arms: ``(arm, version, upper bound)`` with bounds growing to 1.
        sticky: the field that makes the choice stick, or nothing.
        salt: part of the hash.
        shadow: ``(arm, version)`` of those that answer unseen.
    """

    labels: Mapping[str, str]
    versions: tuple[str, ...]
    arms: tuple[tuple[str, str, float], ...] = ()
    sticky: str = ""
    salt: str = ""
    shadow: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, model: JsonMapping) -> "Route":
        """The route of a model in the state; arms whose label is gone are left out."""
        labels, versions, route = model["labels"], tuple(model["versions"]), model.get("route", {})
        found = [(arm, labels.get(arm, arm), float(weight)) for arm, weight in route.get("arms", {}).items() if weight > 0]
        found = [(arm, version, weight) for arm, version, weight in found if version in versions]
        total = sum(weight for _, _, weight in found)
        arms, reached = [], 0.0
        for arm, version, weight in found:
            reached += weight / total
            arms.append((arm, version, reached))
        shadow = tuple((arm, labels.get(arm, arm)) for arm in route.get("shadow", []) if labels.get(arm, arm) in versions)
        return cls(labels, versions, tuple(arms), route.get("sticky", ""), route.get("salt", ""), shadow)

    def choose(self, key: str | None = None) -> tuple[str, str]:
        """``(arm, version)`` for a request that asks for none; the same key gets the same arm while weights stay.

        Raises:
            UnavailableError: nothing is loaded.
        """
        if not self.arms:
            for label in ("champion", "stable"):
                if label in self.labels:
                    return label, self.labels[label]
            if not self.versions:
                raise UnavailableError("no version of the model is loaded")
            return self.versions[-1], self.versions[-1]
        if len(self.arms) == 1:
            return self.arms[0][0], self.arms[0][1]
        place = random.random() if key is None else place_of(key, self.salt)  # traffic split, no secret
        for arm, version, bound in self.arms:
            if place < bound:
                return arm, version
        # bounds are sums of floats: the last may be a bit below 1
        return self.arms[-1][0], self.arms[-1][1]

    def named(self, name: str) -> tuple[str, str]:
        """``(arm, version)`` of a version or a label that a request asks for.

        Raises:
            Unknown: there is none of that name.
        """
        if name in self.labels:
            return name, self.labels[name]
        if name in self.versions:
            return name, name
        raise Unknown(
            f"no version or label {name!r}",
            hint=f"versions: {', '.join(self.versions) or 'none'}; labels: {', '.join(self.labels) or 'none'}",
        )


def place_of(key: str, salt: str) -> float:
    """A key's place in [0, 1), uniform over keys.

    Example:
        >>> place_of("N14228", "") == place_of("N14228", "")
        True
    """
    # NUL between them: one pair of salt and key must not read as another
    return int.from_bytes(hashlib.blake2b(f"{salt}\0{key}".encode(), digest_size=8).digest()) / _SPACE


def check_route(model: JsonMapping, route: Any) -> JsonObject:
    """A route from a request, checked.

    Raises:
        ConfigurationError: names the field and what is allowed.
    """
    if not isinstance(route, Mapping) or set(route) - _FIELDS:
        raise ConfigurationError(f"a route has the fields {sorted(_FIELDS)} but got {route!r}")
    arms, shadow = _check_arms(route.get("arms", {})), _check_shadow(route.get("shadow", []))
    known = {*model["labels"], *model["versions"]}
    unknown = sorted({*arms, *shadow} - known)
    if unknown:
        raise ConfigurationError(f"route names {unknown}, which are no labels or versions of the model", hint=f"there are: {sorted(known)}")
    for name in ("sticky", "salt"):
        if not isinstance(route.get(name, ""), str):
            raise ConfigurationError(f"route.{name} must be text but is {route[name]!r}")
    if route.get("experiment") is None:
        return {name: value for name, value in route.items() if name != "experiment"}
    return {**route, "experiment": check_experiment(arms, route["experiment"])}


def _check_arms(arms: Any) -> Mapping[str, float]:
    """Who answers, with which weight."""
    if not isinstance(arms, Mapping) or not all(is_number(weight) and weight >= 0 for weight in arms.values()):
        raise ConfigurationError(f"route.arms must map a label or version to a weight of at least 0 but is {arms!r}")
    if arms and not sum(arms.values()):
        raise ConfigurationError("every weight of route.arms is 0: nothing would answer")
    return arms


def _check_shadow(shadow: Any) -> list[str]:
    """Who answers unseen."""
    if not isinstance(shadow, list) or not all(isinstance(arm, str) for arm in shadow):
        raise ConfigurationError(f"route.shadow must be a list of labels or versions but is {shadow!r}")
    return shadow
